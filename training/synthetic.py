"""Slices that look like brain MRI and show nobody: the examples of the page, drawn by program.

No pixel or shape of a data set goes in: `training.phantom` draws a head, here a tumour is put into it, and what a
scanner adds comes last: place, field of view, bias field, blur, Rician noise. The trained models only choose among
seeds, so that they are right about an example says nothing about how good they are.

    python -m training.synthetic              draws the committed examples anew
    python -m training.synthetic --search 40  tries seeds and prints how sure the models are of each
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageOps, PngImagePlugin
from scipy import ndimage

from brain_tumor import Classifier, load_model
from brain_tumor.catalogue import offered_models
from brain_tumor.examples import FOLDER, INDEX_FILE
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT, class_index
from training.phantom import AXIS, CONTRASTS, GRID, VIEWS, Drawing, X, Y, cover, ellipse

VERSION = 1
"""Of the generator: whatever changes a drawn pixel raises it."""

SIZE = 256
"""Side of a finished slice, px."""

# --- tumours ----------------------------------------------------------------------------------------------------------


def push(draw: Drawing, x: float, y: float, radius: float, strength: float) -> None:
    """Mass effect: move the brain away from (x, y), less towards the skull, which stays."""
    dx, dy = X - x, Y - y
    distance = np.hypot(dx, dy) + 1e-6
    shift = strength * radius * np.exp(-((distance / (2.6 * radius)) ** 2)) * np.clip(-draw.dura / 0.15, 0, 1)
    shift = np.minimum(shift, 0.8 * distance)
    rows, columns = ((v + 1) * GRID / 2 - 0.5 for v in (Y - shift * dy / distance, X - shift * dx / distance))
    draw.pixels = ndimage.map_coordinates(draw.pixels, [rows, columns], order=1, mode="nearest")


def _lump(draw: Drawing, x: float, y: float, radius: float, ragged: float) -> np.ndarray:
    """Signed distance to a rounded, uneven outline."""
    aspect = draw.rng.uniform(0.8, 1.2)
    body = ellipse(x, y, radius * aspect, radius / aspect, draw.rng.uniform(0, 180))
    return body + radius * ragged * (draw.noise(1.6 * radius, 2.5) + 0.35 * draw.noise(0.5 * radius, 1.5))


def glioma(draw: Drawing, view: str) -> np.ndarray:
    """Within the white matter: a ragged bright ring around a dark core, in a dark swelling; returns its mask."""
    rng, tissue = draw.rng, draw.tissue
    radius = rng.uniform(0.10, 0.17)
    ys, xs = np.nonzero(
        draw.brain & (-draw.dura > radius + 0.05) & (np.abs(X) > (0.14 if view != "sagittal" else 0)) & (Y < 0.05)
    )
    i = rng.integers(len(ys))
    x, y = AXIS[xs[i]], AXIS[ys[i]]
    push(draw, x, y, radius, rng.uniform(0.35, 0.6))
    tumour = _lump(draw, x, y, radius, 0.12)
    swelling = tumour - radius * rng.uniform(0.5, 0.9) * (1 + 0.35 * draw.noise(0.25, 2))
    here = draw.brain * cover(draw.dura + 0.015, 0.01)
    draw.paint(cover(swelling, 0.06) * here * 0.85, 0.60 * tissue.white + 0.25 * tissue.csf)
    ring = radius * np.clip(0.24 + 0.12 * draw.noise(0.8 * radius, 2), 0.06, 0.6)
    solid = tissue.vessel * np.clip(0.85 + 0.15 * draw.noise(0.12, 1.6), 0.4, 1.2)
    body = cover(tumour, 0.012) * here
    draw.paint(body, solid)
    core = tumour + ring + 0.006 * draw.noise(0.12, 1.6)
    draw.paint(cover(core, 0.014) * body, tissue.csf * (1.35 + 0.22 * draw.noise(0.08, 1.5)))
    return (tumour < 0) & (here > 0.5)


def meningioma(draw: Drawing, view: str) -> np.ndarray:
    """On the dura: bright, even, sharply bounded, with a tail along the dura; returns its mask."""
    rng, tissue = draw.rng, draw.tissue
    radius = rng.uniform(0.13, 0.21)
    seat = rng.uniform(0.30, 0.65) * radius
    lowest = 0.5 if view.startswith("axial") else 0.0
    ys, xs = np.nonzero((np.abs(draw.dura + seat) < 0.01) & (lowest > Y) & draw.inside)
    i = rng.integers(len(ys))
    x, y = AXIS[xs[i]], AXIS[ys[i]]
    push(draw, x, y, radius, rng.uniform(0.4, 0.65))
    tumour = _lump(draw, x, y, radius, 0.055)
    here = cover(draw.dura + 0.004, 0.006)
    if rng.random() < 0.5:
        draw.paint(
            cover(tumour - 0.5 * radius * (1 + 0.4 * draw.noise(0.25, 2)), 0.06) * here * draw.brain * 0.6,
            0.55 * tissue.white + 0.3 * tissue.csf,
        )
    tail = cover(np.abs(draw.dura + 0.012) - 0.010) * cover(tumour - 0.55 * radius, 0.03)
    draw.paint(tail, tissue.vessel * 0.9)
    draw.paint(cover(tumour - 0.012, 0.006) * here * 0.75, tissue.csf)
    bright = tissue.vessel * rng.uniform(0.70, 1.05)
    draw.paint(cover(tumour, 0.008) * here, bright * (1 + 0.05 * draw.noise(0.06, 1.2) + 0.05 * draw.noise(0.25, 2)))
    return (tumour < 0) & (here > 0.5)


SELLA = {"axial, orbits": (0.0, -0.075), "coronal": (0.0, 0.155), "sagittal": (0.092, 0.155)}
"""Where a tumour of the pituitary begins, by view."""


def pituitary(draw: Drawing, view: str) -> np.ndarray:
    """Out of the sella into the cistern above it: bright, round, on the midline; returns its mask."""
    rng, tissue = draw.rng, draw.tissue
    x, y = SELLA[view]
    radius = rng.uniform(0.07, 0.115)
    x += rng.uniform(-0.015, 0.015)
    up = 0.0 if view == "axial, orbits" else rng.uniform(0.25, 0.6) * radius
    push(draw, x, y - up, radius, 0.45)
    lower = _lump(draw, x, y + 0.02, radius * 0.85, 0.06)
    upper = _lump(draw, x, y - up, radius, 0.06)
    tumour = np.minimum(lower, upper)
    draw.paint(cover(tumour - 0.010, 0.006) * 0.6, tissue.csf)
    bright = tissue.vessel * rng.uniform(0.56, 0.80)
    draw.paint(cover(tumour, 0.009), bright * (1 + 0.06 * draw.noise(0.05, 1.2) + 0.08 * draw.noise(0.16, 2)))
    return tumour < 0


TUMOURS: dict[str, Callable[[Drawing, str], np.ndarray]] = {
    "glioma": glioma,
    "meningioma": meningioma,
    "pituitary": pituitary,
}


# --- scanner ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """What a slice is to show; with its seed it fixes every pixel.

    Attributes:
        label: class name; "notumor" draws none.
        view: a key of `VIEWS`.
        contrast: a key of `CONTRASTS`.
        seed: of the anatomy and the tumour.
        scan: of how they were imaged: place, field of view, coil, noise.
    """

    label: str
    view: str
    contrast: str
    seed: int
    scan: int = 0


@dataclass(frozen=True)
class Drawn:
    """A finished slice.

    Attributes:
        image: 8-bit grey, SIZE x SIZE px.
        box: left, top, right, bottom of the tumour, fractions of the side; None where there is none.
    """

    image: Image.Image
    box: tuple[float, float, float, float] | None


def draw_slice(design: Design) -> Drawn:
    """The slice of a design, the same on every call."""
    draw, tumour = draw_anatomy(design)
    return scan(design, draw, tumour)


def draw_anatomy(design: Design) -> tuple[Drawing, np.ndarray | None]:
    """The drawing of a design before it is scanned, and the tumour's mask; None where there is none."""
    draw = Drawing(CONTRASTS[design.contrast], np.random.default_rng([VERSION, design.seed]))
    VIEWS[design.view](draw)
    return draw, TUMOURS[design.label](draw, design.view) if design.label in TUMOURS else None


FIELD_OF_VIEW = {"pituitary": (0.74, 0.90)}
"""Least and greatest, relative to the drawing, where it is not (0.90, 1.08): the sella is looked at from nearer."""


def scan(design: Design, draw: Drawing, tumour: np.ndarray | None) -> Drawn:
    """Place the head as it happened to lie, then bias field, blur, noise and window."""
    rng = draw.rng = np.random.default_rng([VERSION, design.seed, design.scan])
    scale, turn = rng.uniform(*FIELD_OF_VIEW.get(design.label, (0.90, 1.08))), np.radians(rng.normal(0, 3))
    side = 1 if rng.random() < 0.5 else -1
    x, y = X - rng.normal(0, 0.02), Y - rng.normal(0, 0.02)
    u = side * scale * (x * np.cos(turn) + y * np.sin(turn)) + 0.016 * draw.noise(0.9, 3.5)
    v = scale * (y * np.cos(turn) - x * np.sin(turn)) + 0.016 * draw.noise(0.9, 3.5)
    # The neck goes on below the drawing; nothing else may come back at an edge.
    where = [(w + 1) * GRID / 2 - 0.5 for w in (np.where(v > 0.99, 1.98 - v, v), u)]
    pixels = ndimage.map_coordinates(draw.pixels, where, order=1, mode="constant")
    coil = np.exp(0.10 * draw.noise(1.5, 4)) * (1 + 0.22 * (np.minimum(np.hypot(u, v), 0.9) ** 2 - 0.3))
    coil *= 1 - rng.uniform(0.2, 0.6) * np.clip((v - 0.55) / 0.5, 0, 1)
    pixels = ndimage.gaussian_filter(pixels * coil, rng.uniform(1.3, 1.9))
    pixels = pixels.reshape(SIZE, 2, SIZE, 2).mean((1, 3))
    strength = rng.uniform(0.010, 0.018)
    grain = ndimage.gaussian_filter(rng.standard_normal((2, SIZE, SIZE)), (0, 0.55, 0.55)) * 1.6 * strength
    pixels = np.hypot(pixels + grain[0], grain[1]) - 1.2 * strength
    pixels = np.clip(pixels * rng.uniform(0.95, 1.3), 0, 1)
    box = None
    if tumour is not None:
        seen = ndimage.map_coordinates(tumour.astype(np.float32), where, order=1) > 0.5
        rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
        edges = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        box = tuple(round(float(edge) / GRID, 4) for edge in edges)
    return Drawn(Image.fromarray((255 * pixels + 0.5).astype(np.uint8)), box)


# --- the committed examples -------------------------------------------------------------------------------------------

CONTRAST_AGENT = "T1 with contrast agent"

EXAMPLES = (
    Design("glioma", "coronal", CONTRAST_AGENT, seed=2, scan=1),
    Design("glioma", "axial, ventricles", CONTRAST_AGENT, seed=1, scan=1),
    Design("glioma", "sagittal", CONTRAST_AGENT, seed=10, scan=6),
    Design("glioma", "axial, ventricles", CONTRAST_AGENT, seed=0, scan=1),
    Design("meningioma", "axial, vertex", CONTRAST_AGENT, seed=3000, scan=1),
    Design("meningioma", "coronal", CONTRAST_AGENT, seed=3000, scan=3),
    Design("meningioma", "axial, ventricles", CONTRAST_AGENT, seed=3000, scan=5),
    Design("meningioma", "sagittal", CONTRAST_AGENT, seed=3000, scan=5),
    Design("notumor", "axial, ventricles", "T1", seed=0, scan=0),
    Design("notumor", "axial, ventricles", "T2", seed=1, scan=0),
    Design("notumor", "axial, vertex", "FLAIR", seed=0, scan=0),
    Design("notumor", "axial, ventricles", "FLAIR", seed=1, scan=0),
    Design("pituitary", "sagittal", CONTRAST_AGENT, seed=4, scan=5),
    Design("pituitary", "coronal", CONTRAST_AGENT, seed=10, scan=5),
    Design("pituitary", "axial, orbits", CONTRAST_AGENT, seed=0, scan=0),
    Design("pituitary", "sagittal", CONTRAST_AGENT, seed=8, scan=0),
)
"""Chosen with `--search`: each offered model gives each its class, also when it is `disturbed`."""

NOTICE = "SYNTHETIC: drawn by a computer program. It shows no patient and must not be used as a medical image."


def write_examples(folder: Path = FOLDER) -> list[Path]:
    """Draw `EXAMPLES` into the folder, with their index; other PNGs in it are removed.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    rows, paths = [], []
    designs = sorted(EXAMPLES, key=lambda design: class_index(design.label))
    for design in designs:
        number = 1 + sum(row["label"] == design.label for row in rows)
        title = f"Synthetic {DISPLAY_TEXT[design.label].lower()} {number}"
        drawn = draw_slice(design)
        path = folder / f"synthetic_{design.label}_{number}.png"
        about = PngImagePlugin.PngInfo()
        about.add_text("Title", f"{title} (SYNTHETIC)")
        about.add_text("Description", NOTICE)
        about.add_text("Software", f"training.synthetic, version {VERSION}, seed {design.seed}")
        drawn.image.save(path, pnginfo=about, optimize=True)
        rows.append({"file": path.name, "title": title, **asdict(design), "box": drawn.box})
        paths.append(path)
    index = folder / INDEX_FILE
    index.write_text(
        json.dumps({"notice": NOTICE, "generator_version": VERSION, "examples": rows}, indent=1) + "\n",
        encoding="utf-8",
    )
    return [*paths, index]


@dataclass(frozen=True)
class Found:
    """A design with, by model, the probability of its class as it is and the least when it is disturbed."""

    design: Design
    certainty: dict[str, tuple[float, float]]

    @property
    def worst(self) -> float:
        return min(least for _, least in self.certainty.values())


def disturbed(image: Image.Image) -> list[Image.Image]:
    """The slice and what should not change an answer about it: mirrored, shifted, turned, darker, brighter."""
    return [
        image,
        ImageOps.mirror(image),
        ImageChops.offset(image, 6, 4),
        ImageChops.offset(image, -6, -4),
        image.rotate(5, Image.Resampling.BILINEAR),
        ImageEnhance.Brightness(image).enhance(0.85),
        ImageEnhance.Brightness(image).enhance(1.15),
    ]


def offered_classifiers() -> list[Classifier]:
    """The offered models whose weights are here."""
    return [load_model(name) for name in offered_models()]


def certainty(image: Image.Image, label: str, classifiers: Sequence[Classifier]) -> dict[str, tuple[float, float]]:
    """Model -> its probability of the class for the slice as it is, and the least of those when it is disturbed."""
    images = disturbed(image.convert("RGB"))
    answers = {c.spec.name: [p.probabilities[label] for p in c.classify(images)] for c in classifiers}
    return {name: (values[0], min(values)) for name, values in answers.items()}


def search(designs: Sequence[Design], scans: int, classifiers: Sequence[Classifier]) -> Iterator[Found]:
    """For each design, the one of its scans whose class the least sure model is surest of."""
    for design in designs:
        draw, tumour = draw_anatomy(design)
        takes = [replace(design, scan=number) for number in range(scans)]
        tried = [Found(take, certainty(scan(take, draw, tumour).image, take.label, classifiers)) for take in takes]
        yield max(tried, key=lambda found: found.worst)


def possible_designs(seed: int) -> list[Design]:
    """What can be drawn from one seed: tumours as contrast agent shows them, "notumor" in all sequences."""
    above = ("axial, ventricles", "axial, vertex", "coronal", "sagittal")
    views = {"glioma": above, "meningioma": above, "pituitary": tuple(SELLA)}
    tumours = [Design(label, view, CONTRAST_AGENT, seed) for label in TUMOURS for view in views[label]]
    return tumours + [Design("notumor", view, contrast, seed) for view in VIEWS for contrast in CONTRASTS]


def main(argv: Sequence[str] | None = None) -> int:
    about = "Draw the committed examples anew."
    parser = argparse.ArgumentParser(prog="python -m training.synthetic", description=about)
    parser.add_argument(
        "--search", type=int, metavar="N", help="instead, try N seeds of every label, view and contrast"
    )
    parser.add_argument("--first", type=int, default=0, help="of these seeds (default: 0)")
    parser.add_argument("--scans", type=int, default=8, help="of each anatomy (default: 8)")
    parser.add_argument("--label", choices=CLASS_NAMES, help="of this class only")
    arguments = parser.parse_args(argv)
    if not arguments.search:
        for path in write_examples():
            print(path)
        return 0
    seeds = range(arguments.first, arguments.first + arguments.search)
    designs = [design for seed in seeds for design in possible_designs(seed)]
    wanted = [design for design in designs if arguments.label in (None, design.label)]
    for found in search(wanted, arguments.scans, offered_classifiers()):
        print(f"{found.worst:.3f}  {found.design}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
