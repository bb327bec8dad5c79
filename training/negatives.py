"""Pictures that are no brain MRI slice, as many kinds as can be drawn by program or come with installed packages.

A detector of such pictures is easily fooled by its own examples: whatever it was shown, it detects. So the kinds, not
the pictures, are divided among three roles, and so are the photographs and slices that pictures are made from. What a
gate was fitted to says little; what it makes of the kinds kept for the test says how it may do on the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from scipy import ndimage
from scipy.spatial import KDTree

from brain_tumor.images import ImageError, read_image
from training.data import IMAGE_SUFFIXES

ROLES = ("fit", "choose", "test")
"""A gate is fitted to the first, its thresholds and its kind of score are chosen on the second, it is judged on the
third."""

# Where installed packages keep photographs: package, path inside it, role.
_PHOTOGRAPHS = (
    ("gradio", "media_assets/images/cheetah.jpg", "fit"),
    ("gradio", "media_assets/images/lion.jpg", "fit"),
    ("gradio", "media_assets/images/tower.jpg", "fit"),
    ("sklearn", "datasets/images/china.jpg", "choose"),
    ("gradio", "media_assets/images/groot.jpeg", "choose"),
    ("sklearn", "datasets/images/flower.jpg", "test"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "test"),
)
# Scans that pydicom is tested with: an abdomen and an elbow or wrist in MRI, a spine in CT, hearts in ultrasound.
_SCANS = ("examples_overlay.dcm", "MR_small.dcm", "CT_small.dcm", "examples_ybr_color.dcm", "examples_palette.dcm")
_WORDS = ("the", "of", "and", "patient", "with", "reported", "since", "a", "water", "number", "which", "seventeen")


@dataclass(frozen=True)
class Stock:
    """What negatives may be made from.

    Attributes:
        slices: MRI slices, for pictures that are made by spoiling one.
        photographs: in colour.
    """

    slices: Sequence[Image.Image]
    photographs: Sequence[Image.Image]


@dataclass(frozen=True)
class Kind:
    """One kind of picture: `draw` makes another one with every call, the same for the same state of the generator."""

    name: str
    role: str
    draw: Callable[[np.random.Generator, Stock], Image.Image]


KINDS: dict[str, Kind] = {}


def draw(role: str, each: int, stock: Stock, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """`each` pictures of every kind of that role, as pairs (kind, picture); the same for the same arguments."""
    for kind in KINDS.values():
        if kind.role == role:
            for i in range(each):
                yield kind.name, kind.draw(np.random.default_rng([seed, i, *kind.name.encode()]), stock)


def photographs(role: str) -> list[Image.Image]:
    """The photographs of that role that installed packages bring along, at most 320 px large; rendered scenes where
    there is none."""
    found = []
    for package, path, part in _PHOTOGRAPHS:
        spec = find_spec(package)
        if part == role and spec and spec.origin and (file := Path(spec.origin).parent / path).exists():
            photograph = read_image(file)
            photograph.thumbnail((320, 320))
            found.append(photograph)
    rng = np.random.default_rng(ROLES.index(role))
    return found or [_scene(rng) for _ in range(3)]


@lru_cache(maxsize=1)
def _scans() -> list[Image.Image]:
    """Scans of other parts of the body that pydicom brings along, in grey; none where it is not installed."""
    if not (spec := find_spec("pydicom")):
        return []
    from pydicom import dcmread

    scans = []
    for name in _SCANS:
        file = Path(spec.origin).parent / "data" / "test_files" / name
        if file.exists():
            pixels = dcmread(file).pixel_array
            # Of a film the first picture; colours are the last axis.
            while pixels.ndim > 3 or (pixels.ndim > 2 and pixels.shape[-1] != 3):
                pixels = pixels[0]
            scans.append(read_image(np.ascontiguousarray(pixels)).convert("L"))
    return scans


def bundled() -> Iterator[tuple[str, Image.Image]]:
    """Pictures in the packages that are installed beside Pillow, as pairs (path, picture): logos, figures of tests,
    photographs. Which there are differs among machines; no stock of any kind's pictures is among them."""
    site = Path(Image.__file__).parent.parent
    own = {path for _, path, _ in _PHOTOGRAPHS}
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        if path.suffix.lower() in {*IMAGE_SUFFIXES, ".gif"} and not any(name.endswith(used) for used in own):
            try:
                yield name, read_image(path)
            except ImageError:  # an icon of few pixels, or a file damaged for a test
                continue


def _kind(role: str, *names: str) -> Callable:
    """Register the function as a kind; with several names, as several kinds, told apart by the name it is given."""

    def register(function: Callable) -> Callable:
        for name in names or (function.__name__.strip("_").replace("_", " "),):
            drawn = (lambda rng, stock, name=name: function(rng, stock, name)) if names else function
            KINDS[name] = Kind(name, role, drawn)
        return function

    return register


def _side(rng: np.random.Generator) -> int:
    return int(rng.integers(140, 330))


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates y, x in [-1, 1], each float (size, size)."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    return y, x


def _grey(values: np.ndarray) -> Image.Image:
    """Values in [0, 1] (H, W) -> 8-bit grey."""
    return Image.fromarray((255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8))


def _clouds(rng: np.random.Generator, size: int, exponent: float) -> np.ndarray:
    """Noise with the power spectrum 1 / f ** exponent: 0 is white, natural scenes have about 2. In [0, 1]."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    amplitude = np.maximum(np.hypot(fy, fx), 1 / size) ** (-exponent / 2)
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * amplitude, (size, size))
    low, high = np.percentile(field, (1, 99))
    return ((field - low) / (high - low)).clip(0, 1)


def _ellipse(rng: np.random.Generator, size: int, low: float = 0.5, high: float = 0.9) -> np.ndarray:
    """Distance from a random ellipse's centre in units of its radius (size, size): 1 on its edge."""
    y, x = _grid(size)
    turn = rng.uniform(0, np.pi)
    a, b = rng.uniform(low, high, 2)
    cy, cx = rng.uniform(-0.08, 0.08, 2)
    u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
    return np.hypot(u / a, v / b)


def _soft(distance: np.ndarray, edge: float = 0.03) -> np.ndarray:
    """1 inside (distance below 1), 0 outside, smooth between."""
    return np.clip((1 - distance) / edge + 0.5, 0, 1)


def _patch(rng: np.random.Generator, stock: Stock, smallest: float = 0.4) -> Image.Image:
    """A part of a photograph, perhaps mirrored."""
    photograph = stock.photographs[rng.integers(len(stock.photographs))]
    part = rng.uniform(smallest, 1)
    width, height = int(photograph.width * part), int(photograph.height * part)
    left = int(rng.integers(photograph.width - width + 1))
    top = int(rng.integers(photograph.height - height + 1))
    patch = photograph.crop((left, top, left + width, top + height))
    return ImageOps.mirror(patch) if rng.random() < 0.5 else patch


def _slice(rng: np.random.Generator, stock: Stock) -> Image.Image:
    return stock.slices[rng.integers(len(stock.slices))].convert("L")


def _framed(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """On a larger black square."""
    side = int(max(image.size) * rng.uniform(1.1, 1.6))
    frame = Image.new("L", (side, side))
    frame.paste(image.convert("L"), ((side - image.width) // 2, (side - image.height) // 2))
    return frame


def _shaped(values: np.ndarray, mask: np.ndarray) -> Image.Image:
    return _grey(values * mask)


def _sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(rng.choice(_WORDS, words))


def _lit(height: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A relief in slanting light, in [0, 1]."""
    gy, gx = np.gradient(height)
    light = rng.standard_normal(2)
    shade = (gx * light[0] + gy * light[1]) / (1e-6 + np.hypot(gx, gy).std())
    return 1 / (1 + np.exp(-shade))


# Noise and plain patterns


@_kind("fit", "white noise", "pink noise", "clouds")
def _spectrum(rng, _, name):
    low, high = {"white noise": (0, 0.4), "pink noise": (0.6, 1.8), "clouds": (2, 4)}[name]
    return _grey(_clouds(rng, _side(rng), rng.uniform(low, high)))


@_kind("fit", "clouds in an ellipse", "clouds in a disc")
def _spectrum_shaped(rng, _, name):
    size = _side(rng)
    distance = _ellipse(rng, size) if "ellipse" in name else np.hypot(*_grid(size)) / rng.uniform(0.4, 0.95)
    return _shaped(0.15 + 0.85 * _clouds(rng, size, rng.uniform(0, 4)), _soft(distance))


@_kind("fit")
def _gradient(rng, _):
    y, x = _grid(_side(rng))
    turn = rng.uniform(0, 2 * np.pi)
    ramp = np.hypot(x, y) / 1.4 if rng.random() < 0.3 else (x * np.cos(turn) + y * np.sin(turn)) / 2.8 + 0.5
    return _grey(rng.uniform(0, 0.3) + rng.uniform(0.3, 1) * ramp)


@_kind("choose")
def _blank(rng, _):
    size = _side(rng)
    return _grey(rng.choice([0, 1, rng.random()]) + rng.uniform(0, 0.01) * rng.standard_normal((size, size)))


@_kind("fit")
def _empty_ellipse(rng, _):
    """A head without anything in it: one grey, perhaps a rim, perhaps smooth shading."""
    size = _side(rng)
    distance = _ellipse(rng, size)
    inside = rng.uniform(0.2, 0.9) + rng.uniform(0, 0.15) * (_clouds(rng, size, 4) - 0.5)
    if rng.random() < 0.5:
        inside = np.where(distance > rng.uniform(0.85, 0.95), rng.uniform(0.3, 1), inside)
    return _shaped(inside + rng.uniform(0, 0.04) * rng.standard_normal((size, size)), _soft(distance))


@_kind("choose")
def _checkerboard(rng, _):
    size, cells = _side(rng), int(rng.integers(3, 24))
    index = np.arange(size) * cells // size
    return _grey(rng.uniform(0, 0.3) + rng.uniform(0.4, 0.7) * ((index[:, None] + index) % 2))


@_kind("fit")
def _stripes(rng, _):
    y, x = _grid(_side(rng))
    turn, frequency = rng.uniform(0, np.pi), rng.uniform(3, 60)
    return _grey(0.5 + 0.5 * np.sin(frequency * (x * np.cos(turn) + y * np.sin(turn))))


@_kind("fit")
def _discs(rng, _):
    """Circles, filled or not, on black."""
    size = _side(rng)
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 9)):
        x, y, r = *rng.uniform(0.1, 0.9, 2) * size, rng.uniform(0.04, 0.4) * size
        grey = int(rng.integers(60, 256))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=grey if rng.random() < 0.6 else None, outline=grey, width=3)
    return image


@_kind("choose")
def _rings(rng, _):
    distance = _ellipse(rng, _side(rng), 0.6, 0.95)
    return _shaped(0.5 + 0.5 * np.sin(rng.uniform(8, 60) * distance ** rng.uniform(0.7, 2)), _soft(distance))


@_kind("fit")
def _polygons(rng, _):
    size = _side(rng)
    image = Image.new("L", (size, size), int(rng.choice([0, 0, 255])))
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 12)):
        corners = rng.uniform(0, size, (int(rng.integers(3, 8)), 2))
        pen.polygon([tuple(c) for c in corners], fill=int(rng.integers(0, 256)))
    return image


@_kind("fit")
def _cells_of_a_mosaic(rng, _):
    size = _side(rng)
    values = _voronoi(rng, size, int(rng.integers(8, 300)))
    return _shaped(values, _soft(_ellipse(rng, size)) if rng.random() < 0.4 else 1.0)


@_kind("test")
def _fractal(rng, _):
    size = 200
    y, x = _grid(size)
    z = 1.5 * (x + 1j * y)
    c = complex(rng.uniform(-0.9, 0.3), rng.uniform(0.1, 0.8))
    steps = np.zeros((size, size))
    for _ in range(40):
        alive = np.abs(z) < 4
        z = np.where(alive, z * z + c, z)
        steps += alive
    return _grey(steps / steps.max())


@_kind("test")
def _moire(rng, _):
    y, x = _grid(_side(rng))
    k1, k2 = rng.uniform(10, 90, 2)
    return _grey(0.5 + 0.25 * np.sin(k1 * np.hypot(x - 0.2, y)) + 0.25 * np.sin(k2 * np.hypot(x + 0.2, y)))


# Text, tables, plots, screens


def _text(rng: np.random.Generator, dark: bool, code: bool = False) -> Image.Image:
    width, height = int(rng.integers(260, 600)), int(rng.integers(260, 700))
    paper, ink = (int(rng.integers(0, 50)), int(rng.integers(170, 256)))
    if not dark:
        paper, ink = 255 - paper, 255 - ink
    image = Image.new("L", (width, height), paper)
    pen, size = ImageDraw.Draw(image), int(rng.integers(9, 22))
    font, y = ImageFont.load_default(size), size
    while y < height - size:
        indent = size * int(rng.integers(0, 4)) if code else 0
        words = int(rng.integers(1, 8)) if code else int(width / size / 2.2)
        if rng.random() < 0.85:
            pen.text((size + indent, y), _sentence(rng, max(words, 1)), fill=ink, font=font)
        y += int(1.5 * size)
    return image


@_kind("fit")
def _text_page(rng, _):
    return _text(rng, dark=False)


@_kind("fit")
def _code_in_dark_mode(rng, _):
    return _text(rng, dark=True, code=True)


@_kind("choose")
def _heading_on_black(rng, _):
    size = _side(rng)
    image = Image.new("L", (size, size))
    font = ImageFont.load_default(int(size / rng.uniform(3, 9)))
    ImageDraw.Draw(image).text((size / 2, size / 2), _sentence(rng, 2).upper(), fill=255, font=font, anchor="mm")
    return image


@_kind("test", "table", "dark web page", "terminal", "form")
def _screen(rng, _, name):
    width, height = int(rng.integers(300, 640)), int(rng.integers(240, 480))
    dark = name in ("dark web page", "terminal")
    paper, ink = (20, 220) if dark else (250, 30)
    image = Image.new("L", (width, height), paper)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(int(rng.integers(9, 14)))
    if name == "terminal":
        for y in range(6, height - 10, 16):
            pen.text((6, y), f"$ {_sentence(rng, int(rng.integers(0, 9)))}", fill=ink, font=font)
    elif name == "dark web page":
        pen.rectangle((0, 0, width, 36), fill=45)
        pen.text((12, 10), _sentence(rng, 4), fill=ink, font=font)
        for x in range(12, width - 90, 100):
            for y in range(50, height - 60, 90):
                pen.rounded_rectangle((x, y, x + 88, y + 78), 8, fill=int(rng.integers(35, 90)))
                pen.text((x + 6, y + 58), _sentence(rng, 2), fill=ink, font=font)
    else:
        step_x, step_y = int(rng.integers(50, 100)), int(rng.integers(18, 30))
        for y in range(10, height - step_y, step_y):
            for x in range(10, width - step_x, step_x):
                if name == "table" or rng.random() < 0.3:
                    pen.rectangle((x, y, x + step_x, y + step_y), outline=ink)
                pen.text((x + 4, y + 3), f"{rng.normal():.2f}" if name == "table" else "name", fill=ink, font=font)
    return image


def _figure(rng: np.random.Generator, dark: bool) -> tuple[Figure, object]:
    ground, ink = ("black", "white") if dark else ("white", "black")
    figure = Figure(figsize=rng.uniform(2, 4, 2), dpi=80, facecolor=ground)
    axes = figure.add_subplot(facecolor=ground)
    axes.tick_params(colors=ink)
    for spine in axes.spines.values():
        spine.set_color(ink)
    return figure, axes


def _rendered(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L")


@_kind("fit", "line plot", "bar plot", "line plot on black")
def _plot(rng, _, name):
    figure, axes = _figure(rng, dark="black" in name)
    for _ in range(rng.integers(1, 5)):
        if "line" in name:
            axes.plot(rng.standard_normal(int(rng.integers(10, 200))).cumsum(), c=str(rng.uniform(0.3, 0.7)))
        else:
            axes.bar(np.arange(9), rng.random(9), color=str(rng.uniform(0.2, 0.8)))
    return _rendered(figure)


@_kind("choose", "scatter plot", "contour plot", "pie chart on black")
def _plot_to_choose_by(rng, _, name):
    figure, axes = _figure(rng, dark="black" in name or rng.random() < 0.5)
    if "scatter" in name:
        axes.scatter(*rng.standard_normal((2, 300)), s=rng.uniform(3, 40), c=rng.random(300), cmap="gray")
    elif "contour" in name:
        axes.contourf(_clouds(rng, 80, 4), cmap="gray")
    else:
        axes.pie(rng.random(int(rng.integers(3, 9))), colors=[str(g) for g in rng.uniform(0.2, 1, 9)])
    return _rendered(figure)


@_kind("test", "heat map", "surface", "histogram on black", "polar plot on black", "electrocardiogram", "spectrogram")
def _plot_to_test(rng, _, name):
    if name == "spectrogram":
        power = np.abs(np.fft.rfft(rng.standard_normal((160, 256)) * np.hanning(256)))[:, :128].T
        return _grey(power * np.exp(-np.linspace(0, rng.uniform(1, 5), 128))[:, None] / power.max() * 2)
    figure, axes = _figure(rng, dark="black" in name or rng.random() < 0.3)
    if name == "heat map":
        axes.imshow(rng.random((8, 8)) * _clouds(rng, 8, 2), cmap="gray")
    elif name == "histogram on black":
        axes.hist(rng.standard_normal(500), bins=30, color="0.7")
    elif name == "electrocardiogram":
        t = np.linspace(0, 6, 900)
        beat = np.exp(-(((t % 0.8) - 0.3) ** 2) / 0.0006) - 0.2 * np.exp(-(((t % 0.8) - 0.35) ** 2) / 0.001)
        axes.plot(t, beat + 0.03 * rng.standard_normal(900), c="0.5", lw=1)
        axes.grid(True)
    else:
        figure.clear()
        projection = {"surface": "3d", "polar plot on black": "polar"}[name]
        axes = figure.add_subplot(projection=projection, facecolor=figure.get_facecolor())
        if projection == "3d":
            y, x = _grid(40)
            axes.plot_surface(x, y, _clouds(rng, 40, 4), cmap="gray")
        else:
            axes.fill(np.linspace(0, 6.28, 60), 1 + rng.random(60).cumsum() / 30, color="0.6")
    return _rendered(figure)


@_kind("choose")
def _matrix_code(rng, _):
    modules = int(rng.integers(21, 45))
    code = rng.integers(0, 2, (modules, modules))
    for y, x in ((0, 0), (0, modules - 7), (modules - 7, 0)):
        code[y : y + 7, x : x + 7] = 0
        code[y + 1 : y + 6, x + 1 : x + 6] = 1
        code[y + 2 : y + 5, x + 2 : x + 5] = 0
    code = np.pad(code, 3, constant_values=1)
    code = 1 - code if rng.random() < 0.5 else code
    return _grey(code.repeat(5, 0).repeat(5, 1).astype(float))


# Photographs and scenes


@_kind("fit", "photograph in grey", "photograph on black", "photograph in an ellipse", "photograph with a vignette")
def _photograph(rng, stock, name):
    return _grey_photograph(rng, stock, name)


@_kind("choose", *(f"another {n}" for n in ("photograph in grey", "photograph on black", "photograph in an ellipse")))
def _another_photograph(rng, stock, name):
    return _grey_photograph(rng, stock, name)


@_kind("test", *(f"unseen {n}" for n in ("photograph in grey", "photograph on black", "photograph in an ellipse")))
def _unseen_photograph(rng, stock, name):
    return _grey_photograph(rng, stock, name)


@_kind("choose")
def _colour_photograph(rng, stock):
    return _patch(rng, stock)


@_kind("test")
def _unseen_colour_photograph(rng, stock):
    return _patch(rng, stock)


def _grey_photograph(rng: np.random.Generator, stock: Stock, name: str) -> Image.Image:
    patch = _patch(rng, stock).convert("L")
    if name.endswith("grey"):
        return patch
    if name.endswith("black"):
        return _framed(rng, patch)
    size = 240
    values = np.asarray(patch.resize((size, size))) / 255
    if name.endswith("vignette"):
        return _grey(values * np.exp(-((np.hypot(*_grid(size)) / rng.uniform(0.5, 0.9)) ** rng.uniform(2, 6))))
    distance = _ellipse(rng, size, 0.55, 0.95)
    mask = _soft(distance)
    if rng.random() < 0.4:  # and a bright rim, like a scalp
        values = np.where(distance > rng.uniform(0.9, 0.96), rng.uniform(0.5, 1), values)
    return _shaped(values, mask)


def _scene(rng: np.random.Generator) -> Image.Image:
    """Spheres on a textured ground under a sky, lit from one side."""
    size = 220
    y, x = _grid(size)
    horizon = rng.uniform(-0.5, 0.3)
    sky, ground = _clouds(rng, size, 3) * rng.uniform(0.2, 0.6) + rng.uniform(0, 0.5), _clouds(rng, size, 1.6)
    values = np.where(y < horizon, sky, ground * rng.uniform(0.4, 1))
    light = rng.standard_normal(3)
    light /= np.linalg.norm(light)
    for _ in range(rng.integers(1, 7)):
        cx, cy, r = rng.uniform(-0.8, 0.8), rng.uniform(horizon, 0.9), rng.uniform(0.08, 0.45)
        u, v = (x - cx) / r, (y - cy) / r
        inside = u * u + v * v < 1
        w = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        shade = np.clip(u * light[0] + v * light[1] + w * abs(light[2]), 0.05, 1)
        values = np.where(inside, shade * (0.5 + 0.5 * _clouds(rng, size, rng.uniform(1, 3))), values)
    return _grey(values)


@_kind("fit")
def _rendered_scene(rng, _):
    return _scene(rng)


def _leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Overlapping discs of power-law radii (size, size), in [0, 1]: the simplest picture with the statistics of a
    natural scene (Lee, Mumford and Huang 2001)."""
    image = Image.new("L", (size, size), int(rng.integers(0, 256)))
    pen = ImageDraw.Draw(image)
    for _ in range(500):
        r = min(3 * rng.random() ** -0.6, 90)
        x, y = rng.uniform(-20, size + 20, 2)
        pen.ellipse((x - r, y - r * rng.uniform(0.4, 1), x + r, y + r), fill=int(rng.integers(0, 256)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2)))) / 255


@_kind("fit")
def _dead_leaves(rng, _):
    leaves = _leaves(rng, 220)
    shape = rng.random()
    if shape < 0.25:
        return _framed(rng, _grey(leaves))
    if shape < 0.5:
        return _shaped(leaves, _soft(_ellipse(rng, 220)))
    return _grey(leaves)


@_kind("choose")
def _relief(rng, _):
    size = _side(rng)
    return _grey(_lit(_clouds(rng, size, rng.uniform(2, 4)), rng))


@_kind("test", "planet", "crumpled ball", "fruit cut in half")
def _ball(rng, _, name):
    """Round, textured and on black, as heads are."""
    size = _side(rng)
    y, x = _grid(size)
    radius = np.hypot(x, y) / rng.uniform(0.55, 0.9)
    if name == "planet":
        light = np.clip(np.sqrt(np.clip(1 - radius**2, 0, 1)) + rng.uniform(-0.5, 0.5) * x, 0, 1)
        texture = light * (0.4 + 0.6 * _clouds(rng, size, 2.5))
    elif name == "crumpled ball":
        texture = _lit(_clouds(rng, size, 3), rng) * np.sqrt(np.clip(1.05 - radius**2, 0, 1))
    else:
        spokes = 0.5 + 0.5 * np.cos(int(rng.integers(6, 14)) * np.arctan2(y, x))
        texture = np.where(radius > 0.85, 0.85, 0.3 + 0.5 * spokes**0.3 * (radius > 0.12))
        texture *= 0.9 + 0.2 * _clouds(rng, size, 1)
    return _shaped(texture, _soft(radius))


@_kind("choose")
def _face(rng, _):
    return _drawn_head(rng, cat=False)


@_kind("test")
def _cat(rng, _):
    return _drawn_head(rng, cat=True)


def _drawn_head(rng: np.random.Generator, cat: bool) -> Image.Image:
    size = 240
    ground = int(rng.choice([0, 0, 255, rng.integers(0, 256)]))
    skin = int(rng.integers(90, 256)) if ground < 128 else int(rng.integers(0, 170))
    image = Image.new("L", (size, size), ground)
    pen, dark = ImageDraw.Draw(image), max(skin - 80, 0)
    wide, high = rng.integers(60, 100, 2)
    pen.ellipse((120 - wide, 120 - high, 120 + wide, 120 + high), fill=skin)
    for side in (-1, 1):
        ear, eye = 120 + side * wide * 0.6, 120 + side * wide * 0.4
        if cat:
            top = 120 - high * 1.2
            pen.polygon([(ear - 25, 120 - high * 0.6), (ear + 25, 120 - high * 0.6), (ear + 8 * side, top)], fill=skin)
            for k in (-1, 0, 1):
                pen.line((120 + 10 * side, 145, 120 + side * wide * 1.2, 145 + 12 * k), fill=dark, width=2)
        pen.ellipse((eye - 12, 95, eye + 12, 112), fill=255)
        pen.ellipse((eye - 5, 97, eye + 5, 110), fill=0)
    pen.arc((85, 130, 155, 175), 20, 160, fill=dark, width=4)
    pen.polygon([(120, 120), (112, 140), (128, 140)], fill=dark)
    texture = _clouds(rng, size, 1.5) * rng.uniform(0, 0.4)
    return _grey(np.asarray(image.filter(ImageFilter.GaussianBlur(1))) / 255 * (1 - texture))


# Other medical pictures


def _body(rng: np.random.Generator, size: int, windowed: bool) -> Image.Image:
    """An axial CT of a trunk: fat, muscle, spine, organs or lungs."""
    y, x = _grid(size)
    a, b = rng.uniform(0.75, 0.95), rng.uniform(0.5, 0.7)
    trunk = np.hypot(x / a, y / b)
    values = np.where(trunk < 1, rng.uniform(0.25, 0.4), 0)
    values = np.where(trunk < rng.uniform(0.82, 0.93), rng.uniform(0.5, 0.6), values)
    for side in (-1, 1):
        lung = np.hypot((x - side * 0.4 * a) / (0.33 * a), (y + 0.05) / (0.7 * b))
        organ = 0.03 + 0.1 * _clouds(rng, size, 2) if windowed else rng.uniform(0.45, 0.75)
        values = np.where(lung < 1, organ, values)
    spine = np.hypot(x / 0.12, (y - 0.62 * b) / 0.11)
    values = np.where(spine < 1, 0.95, values)
    for angle in np.linspace(0.2, np.pi - 0.2, 9):
        for turn in (-1, 1):
            rib = np.hypot((x - 0.86 * a * np.cos(angle)) / 0.05, (y - turn * 0.86 * b * np.sin(angle)) / 0.03)
            values = np.where(rib < 1, 0.9, values)
    return _grey(values + 0.05 * (_clouds(rng, size, 1) - 0.5))


@_kind("fit")
def _abdominal_ct(rng, _):
    return _body(rng, _side(rng), windowed=False)


@_kind("test")
def _thoracic_ct(rng, _):
    return _body(rng, _side(rng), windowed=True)


@_kind("fit")
def _chest_radiograph(rng, _):
    size = _side(rng)
    y, x = _grid(size)
    values = 0.55 + 0.3 * np.exp(-((x / 0.18) ** 2))
    for side in (-1, 1):
        lung = np.hypot((x - side * 0.42) / 0.3, (y + 0.05) / 0.65)
        values -= 0.42 * _soft(lung, 0.3)
    values += 0.25 * _soft(np.hypot((x - 0.15) / 0.35, (y - 0.25) / 0.35), 0.3)
    values += 0.08 * np.sin(rng.uniform(18, 30) * (y - 0.5 * x * x)) * (np.abs(x) > 0.12)
    values *= 1 - 0.7 * _soft(1.9 - np.abs(x) * rng.uniform(0.9, 1.1), 0.2) * (y < 0)
    return _grey(values + 0.06 * (_clouds(rng, size, 1.5) - 0.5))


@_kind("choose")
def _hand_radiograph(rng, _):
    size = 260
    image = Image.new("L", (size, size), int(rng.integers(0, 40)))
    pen = ImageDraw.Draw(image)
    for flesh in (True, False):
        for finger, reach in enumerate(rng.uniform(0.75, 1.05, 5) * (0.7, 0.95, 1, 0.95, 0.8)):
            angle = -np.pi / 2 + (finger - 2) * 0.28
            joints = [
                (130 + r * reach * np.cos(angle), 190 + r * reach * np.sin(angle)) for r in (5, 65, 110, 145, 170)
            ]
            if flesh:
                pen.line(joints, fill=90, width=30, joint="curve")
            else:
                for start, end in pairwise(joints):
                    pen.line((start, end), fill=int(rng.integers(170, 240)), width=10)
        if flesh:
            pen.ellipse((75, 130, 185, 255), fill=95)
    return image.filter(ImageFilter.GaussianBlur(2)).rotate(rng.uniform(-40, 40))


@_kind("test")
def _dental_radiograph(rng, _):
    size = _side(rng)
    y, x = _grid(size)
    values = 0.25 + 0.2 * _clouds(rng, size, 2)
    for i in range(-5, 6):
        for row in (-1, 1):
            tooth = np.hypot((x - 0.18 * i + rng.normal(0, 0.01)) / 0.08, (y - row * 0.3 - 0.15 * x * x) / 0.27)
            values = np.where(tooth < 1, 0.8 - 0.3 * (tooth < 0.25), values)
    return _grey(values)


@_kind("test")
def _mammogram(rng, _):
    size = _side(rng)
    y, x = _grid(size)
    breast = np.hypot((x + 1) / rng.uniform(1, 1.6), (y - rng.uniform(-0.1, 0.1)) / rng.uniform(0.7, 0.95))
    tissue = 0.3 + 0.6 * _clouds(rng, size, 2.5) ** 2
    image = _shaped(tissue * (1.1 - 0.5 * breast), _soft(breast, 0.05))
    return ImageOps.mirror(image) if rng.random() < 0.5 else image


@_kind("fit")
def _ultrasound(rng, _):
    """Speckle in a fan on black, with a few dark cysts."""
    size = _side(rng)
    y, x = np.mgrid[0 : 1 : size * 1j, -0.5 : 0.5 : size * 1j]
    depth, angle = np.hypot(x, y + 0.15), np.arctan2(x, y + 0.15)
    fan = (depth > rng.uniform(0.18, 0.3)) & (depth < rng.uniform(0.9, 1.1)) & (np.abs(angle) < rng.uniform(0.45, 0.9))
    speckle = np.abs(_clouds(rng, size, 0.6) - 0.5) * 2
    values = speckle * (0.25 + 0.9 * _clouds(rng, size, 3)) * (1.2 - 0.7 * depth)
    for _ in range(rng.integers(0, 4)):
        cyst = np.hypot(x - rng.uniform(-0.3, 0.3), y - rng.uniform(0.3, 0.8)) < rng.uniform(0.04, 0.15)
        values[cyst] *= 0.2
    return _grey(1.5 * values * fan)


@_kind("choose")
def _fundus(rng, _):
    """A retina: bright disc on black, optic disc, branching vessels."""
    size = 260
    y, x = _grid(size)
    values = 0.45 + 0.15 * _clouds(rng, size, 3) - 0.2 * np.hypot(x, y)
    disc = rng.uniform(-0.5, 0.5), rng.uniform(-0.1, 0.1)
    values += 0.45 * np.exp(-((x - disc[0]) ** 2 + (y - disc[1]) ** 2) / 0.015)
    image = _grey(values)
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        point, angle = np.array(disc), rng.uniform(0, 2 * np.pi)
        path = [tuple((point + 1) * size / 2)]
        for _ in range(30):
            angle += rng.normal(0, 0.25)
            point = point + 0.05 * np.array([np.cos(angle), np.sin(angle)])
            path.append(tuple((point + 1) * size / 2))
        pen.line(path, fill=60, width=int(rng.integers(1, 5)))
    values = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8))) / 255
    return _shaped(values, _soft(np.hypot(x, y) / 0.93, 0.02))


@_kind("choose")
def _histology(rng, _):
    size = _side(rng)
    values = 0.75 + 0.2 * (_clouds(rng, size, 2) - 0.5)
    seeds = np.zeros((size, size))
    seeds[tuple(rng.integers(0, size, (2, int(rng.integers(80, 400)))))] = 1
    nuclei = ndimage.gaussian_filter(seeds, rng.uniform(2, 4))
    return _grey(values - 0.6 * np.clip(nuclei / nuclei.max() * 2, 0, 1))


@_kind("test")
def _fluorescence(rng, _):
    size = _side(rng)
    seeds = np.zeros((size, size))
    n = int(rng.integers(5, 90))
    seeds[tuple(rng.integers(0, size, (2, n)))] = rng.uniform(0.3, 1, n)
    spots = ndimage.gaussian_filter(seeds, rng.uniform(2, 9))
    return _grey(np.clip(2 * spots / spots.max(), 0, 1) * (0.6 + 0.4 * _clouds(rng, size, 1)))


@_kind("fit")
def _spine(rng, _):
    """A sagittal MRI of a spine: vertebrae and discs in a bent column, the canal behind them."""
    size = 260
    y, x = _grid(size)
    bend = rng.uniform(-0.25, 0.25)
    column = x - bend * y * y + rng.uniform(-0.1, 0.1)
    values = 0.25 + 0.2 * _clouds(rng, size, 2) + 0.3 * (column > 0.5)
    block = 0.5 + 0.5 * np.cos(2 * np.pi * y * rng.uniform(2.5, 4))
    inside = np.abs(column) < 0.17
    values = np.where(inside, np.where(block > 0.25, rng.uniform(0.5, 0.7), rng.uniform(0.1, 0.9)), values)
    canal = np.abs(column - 0.26) < 0.07
    values = np.where(canal, rng.uniform(0.1, 0.95), values)
    return _grey(ndimage.gaussian_filter(values, 1) * np.clip(1.6 - np.abs(x) * rng.uniform(0.8, 2), 0, 1))


@_kind("choose")
def _knee(rng, _):
    size = 260
    y, x = _grid(size)
    flesh = _soft(np.abs(x + 0.1 * y) / rng.uniform(0.6, 0.85), 0.05)
    values = 0.3 + 0.15 * _clouds(rng, size, 2)
    for centre, reach in ((-0.75, 0.62), (0.8, 0.72)):
        bone = np.hypot(x / (0.42 - 0.15 * np.abs(y)), (y - centre) / reach)
        values = np.where(bone < 1, rng.uniform(0.6, 0.9), np.where(bone < 1.08, 0.08, values))
    patella = np.hypot((x + 0.55) / 0.12, (y + 0.2) / 0.25)
    values = np.where(patella < 1, 0.7, values)
    return _grey(ndimage.gaussian_filter(values, 1.2) * flesh)


@_kind("test", "heart", "pelvis")
def _other_organ(rng, _, name):
    size = 260
    y, x = _grid(size)
    body = np.hypot(x / 0.95, y / rng.uniform(0.65, 0.8))
    values = np.where(body < 0.88, 0.3, 0.75) + 0.2 * (_clouds(rng, size, 2) - 0.5)
    if name == "heart":
        for cx, cy, r in ((0.15, 0.05, 0.3), (-0.15, 0, 0.22)):
            wall = np.hypot((x - cx), (y - cy) * 1.2) / r
            values = np.where(wall < 1, np.where(wall < 0.7, 0.95, 0.25), values)
        for side in (-1, 1):
            values = np.where(np.hypot((x - side * 0.6) / 0.25, y / 0.45) < 1, 0.05, values)
    else:
        for side in (-1, 1):
            head = np.hypot(x - side * 0.5, y - 0.05) / 0.17
            values = np.where(head < 1, 0.9, np.where(head < 1.15, 0.1, values))
        values = np.where(np.hypot(x / 0.22, (y + 0.15) / 0.2) < 1, 0.95, values)
    return _grey(ndimage.gaussian_filter(values, 1.2) * _soft(body))


@_kind("test")
def _scan_of_another_part(rng, stock):
    """A real one, cropped, turned and windowed; drawn where pydicom is not installed."""
    scans = _scans() or [_body(rng, 260, windowed=False)]
    scan = _patch(rng, Stock([], [scans[rng.integers(len(scans))]]), 0.75).rotate(rng.uniform(-15, 15))
    scan.thumbnail((400, 400))
    return _grey((np.asarray(scan) / 255) ** rng.uniform(0.7, 1.4))


# One thing on a dark ground, as a head is: whatever its outline, whatever fills it


def _outline(rng: np.random.Generator, stock: Stock, size: int) -> np.ndarray:
    """Where a thing is, bool (size, size): the outline of a slice, or one to four parts, round, wavy or with corners,
    perhaps mirrored."""
    if rng.random() < 0.25:
        return _head(np.asarray(_slice(rng, stock).resize((size, size))) / 255)
    y, x = _grid(size)
    inside = np.zeros((size, size), bool)
    parts = 1 if rng.random() < 0.75 else int(rng.integers(2, 5))
    for _ in range(parts):
        reach = rng.uniform(0.55, 0.92) if parts == 1 else rng.uniform(0.25, 0.55)
        cy, cx = rng.uniform(-1, 1, 2) * (0.95 - reach)
        stretch = rng.uniform(0.65, 1)
        turn = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        u, v = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn), (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        angle, edge = np.arctan2(v / stretch, u), np.full((size, size), reach)
        style = rng.random()
        if style < 0.4:
            for k in range(1, 9):
                edge *= 1 + rng.uniform(0, 0.25) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        elif style < 0.6:
            sector = 2 * np.pi / rng.integers(3, 10)
            edge *= np.cos(sector / 2) / np.cos((angle + 7) % sector - sector / 2)
        inside |= np.hypot(u, v / stretch) < edge
    return inside | inside[:, ::-1] if rng.random() < 0.3 else inside


def _head(values: np.ndarray) -> np.ndarray:
    """Where the head is in a slice in [0, 1], bool (H, W)."""
    return ndimage.binary_fill_holes(ndimage.gaussian_filter(values, 2) > 0.12)


def _voronoi(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Voronoi cells, grey each (size, size), in [0, 1]."""
    coordinates = np.stack(_grid(size), -1).reshape(-1, 2)
    nearest = KDTree(rng.uniform(-1, 1, (cells, 2))).query(coordinates)[1]
    return rng.random(cells)[nearest].reshape(size, size)


def _spots(rng: np.random.Generator, size: int, count: int, largest: float) -> np.ndarray:
    """Ellipses, grey each, on another grey; perhaps with a rim, perhaps in pairs, one in the mirror (size, size)."""
    y, x = _grid(size)
    values = np.full((size, size), rng.random())
    paired = rng.random() < 0.4
    for _ in range(count):
        cy, cx = rng.uniform(-0.7, 0.7, 2)
        a, b = rng.uniform(0.04, largest, 2)
        grey, rim = rng.random(2)
        for side in (-1, 1) if paired else (1,):
            distance = np.hypot((x - side * cx) / a, (y - cy) / b)
            values = np.where(distance < 1, np.where(distance > 0.85, rim, grey), values)
    return values


def _branches(rng: np.random.Generator, size: int) -> np.ndarray:
    """Lines that wander and fork (size, size), in [0, 1]."""
    image = Image.new("L", (size, size))
    pen = ImageDraw.Draw(image)
    tips = [(*rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0, 2 * np.pi), rng.uniform(2, 7)) for _ in range(5)]
    for _ in range(160):
        x, y, angle, width = tips.pop(0)
        angle += rng.normal(0, 0.3)
        end = x + 0.06 * size * np.cos(angle), y + 0.06 * size * np.sin(angle)
        pen.line((x, y, *end), fill=int(rng.integers(120, 256)), width=max(1, round(width)))
        tips.append((*end, angle, width * 0.97))
        if rng.random() < 0.15 and len(tips) < 30:
            tips.append((*end, angle + rng.choice([-0.8, 0.8]), width * 0.7))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2)))) / 255


def _warped(rng: np.random.Generator, values: np.ndarray, reach: float, exponent: float = 4) -> np.ndarray:
    """Each pixel taken from up to about `reach` (of half the picture) elsewhere, neighbours from alike places."""
    size = len(values)
    shift = [(_clouds(rng, size, exponent) - 0.5) * reach * size for _ in range(2)]
    y, x = np.mgrid[:size, :size]
    return ndimage.map_coordinates(values, (y + shift[0], x + shift[1]), order=1, mode="reflect")


def _bands_of_grey(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """A field in [0, 1], whose values are mapped to a few random greys."""
    edges = np.sort(rng.random(int(rng.integers(2, 8))))
    return rng.random(len(edges) + 1)[np.searchsorted(edges, field)]


FILLINGS: dict[str, Callable[[np.random.Generator, Stock, np.ndarray], np.ndarray]] = {
    "clouds": lambda rng, _, depth: _clouds(rng, len(depth), rng.uniform(0, 4)),
    "a photograph": lambda rng, stock, depth: _resized(_patch(rng, stock, 0.15), len(depth)),
    "a mosaic": lambda rng, _, depth: _voronoi(rng, len(depth), int(rng.integers(6, 200))),
    "one grey or a gradient": lambda rng, _, depth: rng.random() + rng.uniform(-0.5, 0.5) * _grid(len(depth))[0],
    "shells": lambda rng, _, depth: _bands_of_grey(rng, depth),
    "levels": lambda rng, _, depth: _bands_of_grey(rng, _clouds(rng, len(depth), rng.uniform(2, 4))),
    "spots": lambda rng, _, depth: _spots(rng, len(depth), int(rng.integers(5, 40)), 0.2),
    "organs": lambda rng, _, depth: _spots(rng, len(depth), int(rng.integers(2, 8)), 0.5),
    "branches": lambda rng, _, depth: rng.uniform(0.1, 0.6) + rng.choice([-0.5, 0.5]) * _branches(rng, len(depth)),
    "leaves": lambda rng, _, depth: _leaves(rng, len(depth)),
    "waves": lambda rng, _, depth: _warped(rng, _waves(rng, len(depth)), rng.uniform(0, 0.5)),
    "writing": lambda rng, _, depth: _resized(_text(rng, dark=rng.random() < 0.5), len(depth)),
    "a detail of a slice": lambda rng, stock, depth: _resized(_detail(rng, stock), len(depth)),
}
"""What a thing may be filled with: a function of the generator, what to make it from, and how deep in the thing each
pixel lies, in [0, 1] (size, size); it gives values in about [0, 1] (size, size). Reliefs and spokes are left out: kinds
of pictures to test on have them."""


def _resized(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.convert("L").resize((size, size))) / 255


def _waves(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = _grid(size)
    turn = rng.uniform(0, np.pi)
    return 0.5 + 0.5 * np.sin(rng.uniform(6, 60) * (x * np.cos(turn) + y * np.sin(turn)))


def _detail(rng: np.random.Generator, stock: Stock) -> Image.Image:
    """A small part of the middle of a slice, turned."""
    image = _slice(rng, stock).resize((224, 224)).rotate(rng.uniform(0, 360))
    side = int(rng.integers(40, 90))
    left, top = rng.integers(60, 164 - side // 2, 2)
    return image.crop((int(left), int(top), int(left) + side, int(top) + side))


@_kind("fit", *(f"thing filled with {filling}" for filling in FILLINGS))
def _thing(rng, stock, name):
    """Perhaps with another filling in its middle, shaded towards its edge, with rims, soft; of any brightness."""
    size = int(rng.integers(128, 225))
    mask = _outline(rng, stock, size)
    depth = ndimage.distance_transform_edt(mask)
    depth /= max(depth.max(), 1)
    fillings = list(FILLINGS.values())
    low, contrast = rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.9)
    values = low + contrast * FILLINGS[name.removeprefix("thing filled with ")](rng, stock, depth)
    if rng.random() < 0.25:
        other = fillings[rng.integers(len(fillings))](rng, stock, depth)
        values = np.where(depth > rng.uniform(0.3, 0.7), rng.uniform(0, 0.4) + rng.uniform(0.3, 0.9) * other, values)
    if rng.random() < 0.3:
        values *= rng.uniform(0.2, 0.6) + depth ** rng.uniform(0.3, 1)
    if rng.random() < 0.5:
        for rim in sorted(rng.uniform(0.02, 0.2, int(rng.integers(1, 4))), reverse=True):
            values = np.where(depth < rim, rng.random(), values)
    values = values * ndimage.gaussian_filter(mask.astype(float), rng.uniform(0.4, 2))
    values += rng.uniform(0, 0.06) * rng.random(values.shape)
    return _grey(ndimage.gaussian_filter(values, rng.choice([0, 0, 0.7, 1.5])))


# Spoilt slices


@_kind("choose")
def _inverted_slice(rng, stock):
    return ImageOps.invert(_slice(rng, stock))


@_kind("test")
def _unseen_inverted_slice(rng, stock):
    return ImageOps.invert(_slice(rng, stock)).resize((_side(rng),) * 2)


@_kind("fit")
def _shuffled_slice(rng, stock):
    """The slice cut into tiles that are laid anew."""
    n, size = int(rng.integers(2, 9)), 224
    values = np.asarray(_slice(rng, stock).resize((size, size)))[: size // n * n, : size // n * n]
    tiles = values.reshape(n, size // n, n, size // n).swapaxes(1, 2).reshape(n * n, size // n, size // n)
    tiles = tiles[rng.permutation(n * n)].reshape(n, n, size // n, size // n)
    return Image.fromarray(np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(values.shape)))


@_kind("fit", "outline of a slice filled with clouds", "outline of a slice filled with a photograph")
def _filled_slice(rng, stock, name):
    size = 224
    values = np.asarray(_slice(rng, stock).resize((size, size))) / 255
    filling = _clouds(rng, size, rng.uniform(0.5, 4))
    if name.endswith("photograph"):
        filling = np.asarray(_patch(rng, stock).convert("L").resize((size, size))) / 255
    return _shaped(0.1 + 0.9 * filling, ndimage.gaussian_filter(_head(values).astype(float), 1))


@_kind("fit")
def _sheet_of_slices(rng, stock):
    return _sheet(rng, stock, int(rng.integers(2, 5)), int(rng.integers(2, 5)))


@_kind("test")
def _two_slices_side_by_side(rng, stock):
    return _sheet(rng, stock, 1, 2)


def _sheet(rng: np.random.Generator, stock: Stock, rows: int, columns: int) -> Image.Image:
    tile = 140
    sheet = Image.new("L", (tile * columns, tile * rows))
    for row in range(rows):
        for column in range(columns):
            sheet.paste(_slice(rng, stock).resize((tile, tile)), (tile * column, tile * row))
    return sheet


@_kind("test")
def _slice_in_false_colours(rng, stock):
    colours = colormaps[rng.choice(["jet", "hot", "viridis", "magma"])](np.asarray(_slice(rng, stock)))
    return Image.fromarray((255 * colours[..., :3]).astype(np.uint8))


@_kind("test")
def _slice_drowned_in_noise(rng, stock):
    values = np.asarray(_slice(rng, stock)) / 255
    return _grey(0.15 * values + 0.85 * rng.random(values.shape))


@_kind(
    "fit",
    "slice with quadrants exchanged",
    "slice strongly warped",
    "slice with its inside elsewhere",
    "slice with its inside blurred away",
    "slice stretched along its radius",
    "slice as a kaleidoscope",
    "slice unrolled",
    "edges of a slice",
)
def _spoilt_slice(rng, stock, name):
    size = 192
    values = _resized(_slice(rng, stock), size)
    y, x = _grid(size)
    radius, angle, inside = np.hypot(x, y), np.arctan2(y, x), _head(values)
    depth = ndimage.distance_transform_edt(inside) / size

    def taken_from(v: np.ndarray, u: np.ndarray) -> np.ndarray:
        places = [(np.clip(c, -1, 1) + 1) / 2 * (size - 1) for c in (v, u)]
        return ndimage.map_coordinates(values, places, order=1)

    if name.endswith("exchanged"):
        values = np.roll(values, (size // 2, [0, size // 2, size // 3][rng.integers(3)]), (0, 1))
    elif name.endswith("warped"):
        moved = _warped(rng, values, rng.uniform(0.5, 1.5), rng.uniform(3, 4))
        keep = rng.random() < 0.5
        values = np.where(inside & (depth > 0.05), moved, values) if keep else moved
    elif name.endswith("elsewhere"):
        shift = rng.integers(size // 5, size // 2, 2) * rng.choice([-1, 1], 2)
        values = np.where(depth > rng.uniform(0.04, 0.12), np.roll(values, shift, (0, 1))[::-1], values)
    elif name.endswith("away"):
        flat = ndimage.gaussian_filter(values, rng.uniform(12, 30))
        values = np.where(depth > rng.uniform(0.01, 0.08), flat, values)
    elif name.endswith("radius"):
        power = np.exp(rng.choice([-1, 1]) * rng.uniform(0.6, 1.3))
        new = np.clip(radius, 1e-3, 1) ** power
        values = taken_from(new * np.sin(angle), new * np.cos(angle))
    elif name.endswith("kaleidoscope"):
        n = int(rng.integers(2, 6))
        folded = np.abs((angle + rng.uniform(0, 6)) % (2 * np.pi / n) - np.pi / n) + rng.uniform(0, 2 * np.pi)
        values = taken_from(radius * np.sin(folded), radius * np.cos(folded))
    elif name.endswith("unrolled"):
        values = taken_from((y + 1) / 2 * np.sin(np.pi * x), (y + 1) / 2 * np.cos(np.pi * x))
    else:
        values = ndimage.gaussian_gradient_magnitude(values, rng.uniform(0.7, 2))
        values /= np.percentile(values, 99.5) + 1e-6
    return _grey(values)
