"""Heads drawn by program, plane by plane: scalp, skull, brain with its folds, face and neck.

Outlines are splines through hand-set points, cortical folds are the zero lines of band-passed noise along and across
the surface of the brain, and tissues have the grey values that a table gives to a sequence.

Lengths are in half sides of the picture: x grows to the right and y downwards, both from -1 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import fft as scipy_fft
from scipy import ndimage

GRID = 512
"""Side of a drawing, px."""

AXIS = ((np.arange(GRID) + 0.5) * 2 / GRID - 1).astype(np.float32)
X, Y = np.meshgrid(AXIS, AXIS)

FAR = 0.08
"""Distances to tubes are right up to here and no larger anywhere."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Contrast:
    """Grey values in [0, 1] that a sequence gives to tissues."""

    fat: float
    muscle: float
    bone: float
    marrow: float
    csf: float
    grey: float
    white: float
    nuclei: float
    vessel: float
    dura: float
    mucosa: float
    air: float = 0.01


CONTRASTS = {
    "T1 with contrast agent": Contrast(
        fat=0.70, muscle=0.27, bone=0.03, marrow=0.30, csf=0.085, grey=0.235, white=0.285, nuclei=0.25,
        vessel=0.62, dura=0.36, mucosa=0.55,
    ),
    "T1": Contrast(
        fat=0.95, muscle=0.40, bone=0.04, marrow=0.45, csf=0.14, grey=0.40, white=0.54, nuclei=0.45,
        vessel=0.16, dura=0.25, mucosa=0.45,
    ),
    "FLAIR": Contrast(
        fat=0.97, muscle=0.35, bone=0.03, marrow=0.40, csf=0.06, grey=0.56, white=0.47, nuclei=0.52,
        vessel=0.08, dura=0.25, mucosa=0.60,
    ),
    "T2": Contrast(
        fat=0.70, muscle=0.22, bone=0.02, marrow=0.30, csf=0.92, grey=0.47, white=0.32, nuclei=0.36,
        vessel=0.06, dura=0.10, mucosa=0.85,
    ),
}  # fmt: skip


# --- shapes -----------------------------------------------------------------------------------------------------------


def cover(distance: np.ndarray, edge: float = 0.006) -> np.ndarray:
    """Signed distance, negative inside -> coverage in [0, 1] with a soft edge."""
    return np.clip(0.5 - distance / (2 * edge), 0, 1)


def ellipse(cx: float, cy: float, rx: float, ry: float, degrees: float = 0) -> np.ndarray:
    """Signed distance to an ellipse, right near its edge."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    u, v = (X - cx) * c + (Y - cy) * s, (Y - cy) * c - (X - cx) * s
    return (np.hypot(u / rx, v / ry) - 1) * min(rx, ry)


def tube(points: Points, radii: float | Sequence[float]) -> np.ndarray:
    """Signed distance to a spline through the points whose thickness changes along it."""
    points = np.array(points, float)
    radii = np.broadcast_to(np.asarray(radii, float), len(points))
    if len(points) > 2:
        points, radii = _spline(np.column_stack([points, radii]), closed=False, steps=6)
    best = np.full(X.shape, FAR, np.float32)
    for (ax, ay), (bx, by), ra, rb in zip(points, points[1:], radii, radii[1:], strict=False):
        # Only where the segment is near: most are short, and a slice has hundreds.
        reach = FAR + max(ra, rb)
        rows = slice(*np.searchsorted(AXIS, (min(ay, by) - reach, max(ay, by) + reach)))
        columns = slice(*np.searchsorted(AXIS, (min(ax, bx) - reach, max(ax, bx) + reach)))
        x, y = X[rows, columns] - np.float32(ax), Y[rows, columns] - np.float32(ay)
        dx, dy = np.float32(bx - ax), np.float32(by - ay)
        t = np.clip((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        near = np.hypot(x - t * dx, y - t * dy) - (np.float32(ra) + t * np.float32(rb - ra))
        np.minimum(best[rows, columns], near, out=best[rows, columns])
    return best


def _spline(points: np.ndarray, closed: bool, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Catmull-Rom through rows (x, y, extra) -> the curve's (x, y) and extra."""
    p = (
        np.concatenate([points[-1:], points, points[:2]])
        if closed
        else np.concatenate([points[:1], points, points[-1:]])
    )
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    curve = np.concatenate(parts if closed else [*parts, points[-1:]])
    return curve[:, :2], curve[:, 2]


def region(points: Points) -> np.ndarray:
    """Inside of the closed spline through the points: bool (GRID, GRID)."""
    rows = np.column_stack([np.array(points, float), np.zeros(len(points))])
    curve, _ = _spline(rows, closed=True, steps=10)
    canvas = Image.new("1", (GRID, GRID))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in (curve + 1) * GRID / 2 - 0.5], fill=1)
    return np.array(canvas)


def depth(mask: np.ndarray) -> np.ndarray:
    """Distance of every point in the mask to its outside; 0 outside."""
    return ndimage.distance_transform_edt(mask).astype(np.float32) * (2 / GRID)


def signed(mask: np.ndarray) -> np.ndarray:
    """Signed distance to a mask's edge, negative inside."""
    return depth(~mask) - depth(mask)


def region_distance(points: Points) -> np.ndarray:
    """Signed distance to the closed spline through the points."""
    return signed(region(points))


def both(points: Points) -> list[Points]:
    """The points and their mirror image."""
    return [list(points), [(-x, y) for x, y in points]]


def symmetric(points: Points) -> Points:
    """Half an outline, from the top of the midline to its bottom -> the whole of it."""
    return [*points, *[(-x, y) for x, y in reversed(points) if x]]


# --- drawing ----------------------------------------------------------------------------------------------------------


class Drawing:
    """A slice in the making: `pixels` float (GRID, GRID), `tissue` the grey values, `rng` the only source of chance.

    Attributes:
        brain: where brain is: bool (GRID, GRID).
        inside: the inside of the skull: bool (GRID, GRID).
        dura: signed distance to its edge, negative within.
        scalp: thickness of skin and fat, (GRID, GRID).
    """

    def __init__(self, tissue: Contrast, rng: np.random.Generator):
        self.tissue = tissue
        self.rng = rng
        self.pixels = np.zeros((GRID, GRID))
        self.brain = np.zeros((GRID, GRID), bool)
        self.dura = np.ones((GRID, GRID))
        self.inside = np.zeros((GRID, GRID), bool)
        self.scalp = np.zeros((GRID, GRID))

    def paint(self, coverage: np.ndarray, value: np.ndarray | float) -> None:
        self.pixels = self.pixels * (1 - coverage) + value * coverage

    def jitter(self, points: Points, amount: float) -> Points:
        return [
            (x + dx, y + dy) for (x, y), (dx, dy) in zip(points, amount * self._normal(len(points), 2), strict=True)
        ]

    def _normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def noise(self, period: float, roughness: float | None = None, stretch: float = 1) -> np.ndarray:
        """Gaussian noise, mean 0 and deviation 1, that wraps around.

        Args:
            period: wavelength of its band; with `roughness`, the longest one.
            roughness: all shorter waves too, falling with this power of the frequency.
            stretch: how much longer its waves are in y than in x.
        """
        # Cycles per picture; beyond `last` there is next to nothing.
        last = min(int(2 / period * (1.9 if roughness is None else 10)) + 1, GRID // 2 - 1)
        fx, fy = np.arange(last + 1), np.concatenate([np.arange(last + 1), np.arange(-last, 0)])
        f = np.hypot(fx[None], fy[:, None] * stretch) * period / 2
        gain = (
            np.exp(-(((f - 1) / 0.3) ** 2)) if roughness is None else np.where(f > 0, (1 + f**2) ** (-roughness / 2), 0)
        )
        spectrum = np.zeros((GRID, GRID // 2 + 1), np.complex64)
        spectrum[fy[:, None], fx[None]] = gain * (self._normal(*gain.shape) + 1j * self._normal(*gain.shape))
        field = scipy_fft.irfft2(spectrum, (GRID, GRID))
        return field / field.std()

    # --- head ---------------------------------------------------------------------------------------------------------

    def head(self, outline: Points, scalp: float) -> np.ndarray:
        """Skin and fat under the outline; returns the depth below the skin."""
        head = region(outline)
        below = depth(head)
        tissue = self.tissue
        fat = tissue.fat * (0.86 + 0.045 * self.noise(0.08, 1.8) + 0.07 * self.noise(0.5, 2.5))
        self.paint(head.astype(float), tissue.muscle)
        self.paint(cover(-below + 0.004) * head, fat)
        self.paint(cover(np.abs(below - 0.006) - 0.003) * head, 0.62 * tissue.fat)
        self.scalp = scalp * np.clip(1 + 0.25 * self.noise(1.2, 4), 0.5, 1.6)
        return below

    def skull(self, inner: np.ndarray, below: np.ndarray, thickness: float, bare: np.ndarray | float = 1.0) -> None:
        """Bone around the cavity `inner`, whose marrow shows between two dark tables, then dura and fluid."""
        tissue = self.tissue
        out = signed(inner)
        width = thickness * (1 + 0.12 * self.noise(0.9, 4))
        bone = cover(out - width) * bare
        self.paint(bone, tissue.bone)
        middle = cover(np.abs(out - 0.55 * width) - 0.22 * width, 0.008) * bare
        self.paint(middle, tissue.marrow * (0.75 + 0.25 * self.noise(0.1, 1.5)))
        self.paint(cover(out), tissue.bone * 0.6 + tissue.csf * 0.4)
        line = cover(np.abs(out - 0.002) - 0.003, 0.004) * np.clip(0.5 + 0.5 * self.noise(0.2, 1.5), 0, 1)
        self.paint(line * bare, tissue.dura)
        self.dura, self.inside = out, inner

    def flesh(self, where: np.ndarray, grain: float = 0.12, fat: float = 0.3, stretch: float = 1.6) -> None:
        """Muscles with fat between them and dark sinews, as in the face and the neck."""
        tissue = self.tissue
        warp = 0.6 * self.noise(0.5, 3)
        n = self.noise(grain, 1.6, stretch) + warp
        sheets = np.abs(self.noise(grain * 1.6, None, stretch) + 0.5 * self.noise(grain * 0.6, None, stretch))
        value = tissue.muscle * (1 + 0.22 * self.noise(0.05, 1.2, stretch))
        value = np.where(n > 1.0 - fat, tissue.fat * (0.55 + 0.12 * self.noise(0.06, 1.2)), value)
        value = ndimage.gaussian_filter(value, 1.6)
        value += tissue.fat * 0.42 * np.clip(1 - sheets / 0.22, 0, 1) * (n > 0.1 - fat)
        value *= 1 - 0.85 * np.clip(1 - np.abs(self.noise(grain * 1.8)) / 0.12, 0, 1)
        self.paint(where, np.clip(value, 0.02, 1))

    def cells(self, where: np.ndarray, size: float = 0.07) -> None:
        """Air cells between thin walls of mucosa: ethmoid, mastoid, nose."""
        n = self.noise(size) + 0.35 * self.noise(size * 0.5)
        walls = np.clip(1 - np.abs(n) / 0.45, 0, 1)
        self.paint(where, self.tissue.air + self.tissue.mucosa * walls * (0.75 + 0.35 * self.noise(0.2, 2)))

    # --- brain --------------------------------------------------------------------------------------------------------

    def cortex(
        self,
        mask: np.ndarray,
        centre: tuple[float, float],
        reach: float = 0.16,
        period: float = 0.22,
        fissures: np.ndarray | None = None,
        openness: float = 1.0,
    ) -> np.ndarray:
        """Grey matter folded around white matter in the mask; returns the depth below the surface.

        Args:
            centre: what the folds point to.
            reach: of the deepest sulci.
            period: two gyri.
            fissures: signed distance to clefts besides the sulci, such as the Sylvian fissure.
            openness: how wide the sulci gape.
        """
        tissue = self.tissue
        below = depth(mask)
        angle = np.arctan2(Y - centre[1], X - centre[0]) / (2 * np.pi)
        texture = self.noise(period * 0.62)
        across = 0.27 * below / 3.1 + 0.008 * self.noise(0.35, 2.5)
        along = angle + 0.010 * self.noise(0.3, 2.5)
        n = ndimage.map_coordinates(texture, [across * GRID, along * GRID], order=1, mode="grid-wrap")
        # Deep inside, lines that point to the centre would meet there in a star.
        deep = np.clip((below - 0.10) / 0.08, 0, 1)
        n = (1 - deep) * n + deep * self.noise(period)
        gy, gx = np.gradient(ndimage.gaussian_filter(n, 1))
        sulcus = np.abs(n) / (np.hypot(gx, gy) + 0.02) * 2 / GRID
        limit = reach * np.clip(0.72 + 0.4 * self.noise(0.3, 2), 0.15, 1.5)
        line = (sulcus < 0.005) & (below < limit)
        if fissures is not None:
            line |= fissures < 0
        near = np.minimum(ndimage.distance_transform_edt(mask & ~line) * 2 / GRID, below)
        ribbon = 0.036 * (1 + 0.2 * self.noise(0.15, 2))
        body = mask * cover(-below, 0.004) * 1.0
        white = tissue.white * (1 + 0.012 * self.noise(0.06, 1.2) + 0.02 * self.noise(0.5, 3))
        self.paint(body, white)
        self.paint(body * cover(near - ribbon, 0.014), tissue.grey * (1 + 0.02 * self.noise(0.08, 1.2)))
        gape = openness * (
            0.003 + 0.010 * np.clip(1 - below / limit, 0, 1) * np.clip(1 + 0.7 * self.noise(0.25, 2), 0, 2)
        )
        self.paint(body * cover(sulcus - gape, 0.006) * cover(below - limit, 0.03) * 0.92, tissue.csf)
        if fissures is not None:
            self.paint(body * cover(fissures), tissue.csf)
        lively = np.clip(self.noise(0.12, 1.2) - 1.1, 0, 1) * cover(below - 0.8 * limit, 0.03)
        self.paint(body * lively * cover(sulcus - 0.006, 0.004), tissue.vessel)
        self.brain |= mask
        return below

    def vessels(self, where: np.ndarray, count: int, length: float = 0.12, width: float = 0.005) -> None:
        """Short winding vessels that start somewhere in the mask."""
        ys, xs = np.nonzero(where)
        if not len(ys):
            return
        for _ in range(count):
            i = self.rng.integers(len(ys))
            x, y, heading = AXIS[xs[i]], AXIS[ys[i]], self.rng.uniform(0, 2 * np.pi)
            points = [(x, y)]
            for _ in range(4):
                heading += 0.7 * self.rng.standard_normal()
                x, y = x + length / 4 * np.cos(heading), y + length / 4 * np.sin(heading)
                points.append((x, y))
            strength = self.rng.uniform(0.35, 1)
            line = tube(points, np.linspace(width, width * 0.4, 5) * self.rng.uniform(0.6, 1.2))
            self.paint(cover(line, 0.005) * strength * self.brain, self.tissue.vessel)

    def cerebellum(self, mask: np.ndarray, centre: tuple[float, float], vermis: bool) -> None:
        """Thin leaves around a tree of white matter."""
        tissue = self.tissue
        below = depth(mask)
        phase = 2 * np.pi * (below / 0.042) + 2.2 * self.noise(0.25, 2)
        leaf = 0.5 + 0.5 * np.sin(phase)
        value = tissue.grey * (1 + 0.02 * self.noise(0.05, 1.2))
        self.paint(mask * 1.0, value)
        self.paint(mask * np.clip((leaf - 0.7) * 3, 0, 1) * cover(below - 0.10, 0.06) * 0.75, tissue.csf)
        angle = np.arctan2(Y - centre[1], X - centre[0])
        radius = np.hypot(X - centre[0], Y - centre[1])
        branches = np.abs(np.sin((3.5 if vermis else 2.5) * angle + 1.3 * self.noise(0.3, 2))) * radius
        tree = cover(branches - (0.030 if vermis else 0.05), 0.03) * cover(-below + 0.05, 0.03)
        self.paint(mask * tree * 0.85, tissue.white)
        self.brain |= mask


def _fluid(draw: Drawing, distance: np.ndarray, edge: float = 0.007) -> None:
    draw.paint(cover(distance, edge), draw.tissue.csf)


# --- planes -----------------------------------------------------------------------------------------------------------


def _axial_dome(draw: Drawing, narrow: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scalp and skull of an axial slice above the orbits; returns the cavity and the depth below the skin."""
    rng = draw.rng
    w, front = 0.62 * narrow * rng.uniform(0.95, 1.05), rng.uniform(0.80, 0.92)
    half = [(0, -0.80), (w * 0.45, -0.75), (w * front, -0.47), (w * 0.985, -0.05), (w * 0.98, 0.28), (w * 0.75, 0.61)]
    outline = draw.jitter(symmetric([*half, (w * 0.35, 0.77), (0, 0.81)]), 0.006)
    below = draw.head(outline, rng.uniform(0.030, 0.045))
    bone = rng.uniform(0.042, 0.056)
    inner = below > bone + draw.scalp + 0.004 * draw.noise(0.8, 4)
    draw.skull(inner, below, bone)
    return inner, below


def _hemispheres(draw: Drawing, inner: np.ndarray, gap: float, reach: float, fissures=None, openness=1.0) -> np.ndarray:
    """Two halves with folds and the falx between them; returns the depth below the surface."""
    tissue = draw.tissue
    middle = 0.012 * draw.noise(0.8, 3) * np.clip(1 - np.abs(X) / 0.2, 0, 1)
    room = signed(inner) + draw.rng.uniform(0.014, 0.024) * (1 + 0.4 * draw.noise(0.3, 2)) < 0
    below = np.zeros_like(X)
    for side in (-1, 1):
        mask = room & (side * (X - middle) > gap)
        below += draw.cortex(mask, (side * 0.22, 0.0), reach, fissures=fissures, openness=openness)
    # The cortex's own noise differs from side to side; the cleft between them belongs to neither.
    cleft = np.abs(X - middle) - gap
    draw.paint(cover(cleft, 0.006) * inner, tissue.csf)
    falx = cover(np.abs(X - middle) - 0.004, 0.004) * np.clip(0.55 + 0.3 * draw.noise(0.3, 2), 0, 1)
    draw.paint(falx * inner, tissue.dura)
    return below


def _sinus(draw: Drawing, x: float, y: float, size: float, up: bool) -> None:
    """A dural sinus in section: a bright triangle."""
    s = -1 if up else 1
    half = [(0, -s * size * 1.6), (size * 0.9, s * size * 0.5), (0, s * size * 0.8)]
    triangle = signed(region([(x + dx, y + dy) for dx, dy in symmetric(half)]))
    draw.paint(cover(triangle, 0.008), draw.tissue.vessel * 1.05)


def axial_ventricles(draw: Drawing) -> None:
    """Axial slice through the lateral ventricles and the basal ganglia."""
    rng, tissue = draw.rng, draw.tissue
    inner, _ = _axial_dome(draw)
    wide = rng.uniform(0.8, 1.35)
    sylvian = np.minimum(*[
        tube(p, [0.012, 0.009, 0.008, 0.006])
        for p in both(draw.jitter([(0.56, -0.12), (0.42, -0.10), (0.34, -0.04), (0.33, 0.12)], 0.012))
    ])  # fmt: skip
    below = _hemispheres(draw, inner, 0.009, 0.17, sylvian, openness=rng.uniform(0.7, 1.5))
    calm = np.minimum(ellipse(0, -0.02, 0.30, 0.36), ellipse(0, 0, 0.25, 0.45))
    draw.paint(cover(calm, 0.05) * draw.brain, tissue.white * (1 + 0.012 * draw.noise(0.06, 1.2)))
    for side in (-1, 1):
        s = side
        for shape, value in (
            (ellipse(s * 0.22, 0.00, 0.052, 0.135, s * 14), tissue.nuclei),
            (ellipse(s * 0.165, 0.015, 0.032, 0.075, s * 16), 0.5 * (tissue.nuclei + tissue.white)),
            (ellipse(s * 0.085, 0.10, 0.070, 0.105, s * -14), tissue.nuclei),
            (tube([(s * 0.15, -0.27), (s * 0.135, -0.18), (s * 0.11, -0.10)], [0.03, 0.036, 0.02]), tissue.grey),
            (tube([(s * 0.315, -0.08), (s * 0.30, 0.0), (s * 0.30, 0.12)], 0.014), tissue.grey),
        ):
            draw.paint(cover(shape + 0.006 * draw.noise(0.15, 2), 0.014) * 0.85, value)
        horn = draw.jitter([(s * 0.155, -0.33), (s * 0.105, -0.24), (s * 0.055, -0.14), (s * 0.03, -0.08)], 0.008)
        _fluid(draw, tube(horn, np.array([0.018, 0.040, 0.034, 0.012]) * wide) + 0.003 * draw.noise(0.12, 2))
        back = draw.jitter([(s * 0.12, 0.21), (s * 0.185, 0.28), (s * 0.20, 0.36), (s * 0.17, 0.44)], 0.008)
        _fluid(draw, tube(back, np.array([0.010, 0.036, 0.034, 0.012]) * wide) + 0.003 * draw.noise(0.12, 2))
        plexus = tube([(s * 0.14, 0.235), (s * 0.18, 0.29), (s * 0.19, 0.33)], [0.008, 0.016 * wide, 0.008])
        draw.paint(cover(plexus + 0.008 * draw.noise(0.04, 1), 0.008) * 0.8, 0.8 * tissue.vessel + 0.2 * tissue.grey)
    draw.paint(cover(np.abs(X) - 0.005, 0.004) * cover(np.abs(Y + 0.19) - 0.11, 0.01) * 0.8, tissue.white)
    _fluid(draw, tube([(0, -0.03), (0, 0.06), (0, 0.14)], [0.006, 0.013 * wide, 0.006]))
    _fluid(draw, tube([(-0.05, 0.24), (0, 0.205), (0.05, 0.24)], [0.012, 0.022, 0.012]) + 0.004 * draw.noise(0.1, 2))
    for s in (-1, 1):
        draw.paint(cover(tube([(s * 0.008, 0.16), (s * 0.012, 0.21)], 0.006)), tissue.vessel)
    draw.paint(cover(tube([(0, 0.225), (0.003, 0.27)], 0.010)), tissue.vessel)
    inside = signed(inner)
    _sinus(draw, 0, _midline_edge(inside, bottom=True) - 0.012, 0.034, up=False)
    _sinus(draw, 0, _midline_edge(inside, bottom=False) + 0.008, 0.020, up=True)
    draw.vessels((below > 0.005) & (below < 0.12), 16, 0.09)
    draw.vessels((np.abs(X) < 0.06) & (Y > 0.3) & inner, 4, 0.08)


def _midline_edge(inside: np.ndarray, bottom: bool) -> float:
    rows = np.nonzero(inside[:, GRID // 2] < 0)[0]
    return float(AXIS[rows[-1] if bottom else rows[0]])


def axial_high(draw: Drawing) -> None:
    """Axial slice above the ventricles: deep white matter in both hemispheres."""
    rng = draw.rng
    inner, _ = _axial_dome(draw, rng.uniform(0.93, 1.02))
    below = _hemispheres(draw, inner, 0.010, 0.27, openness=rng.uniform(0.8, 1.7))
    inside = signed(inner)
    _sinus(draw, 0, _midline_edge(inside, bottom=True) - 0.012, 0.034, up=False)
    _sinus(draw, 0, _midline_edge(inside, bottom=False) + 0.008, 0.024, up=True)
    draw.vessels((below > 0.005) & (below < 0.16), 18, 0.09)


def axial_low(draw: Drawing) -> None:
    """Axial slice through orbits, sella and posterior fossa."""
    rng, tissue = draw.rng, draw.tissue
    w = rng.uniform(0.56, 0.62)
    half = [(0, -0.84), (0.09, -0.82), (0.17, -0.76), (0.32, -0.79), (0.47, -0.69), (w * 0.94, -0.45), (w, -0.05)]
    below = draw.head(
        draw.jitter(symmetric([*half, (w * 0.97, 0.25), (w * 0.72, 0.58), (0.2, 0.73), (0, 0.75)]), 0.006), 0.045
    )
    deep = cover(-below + draw.scalp * 0.9 + 0.01)
    front = cover(Y + 0.12 - 0.3 * np.abs(X), 0.06)
    draw.flesh(deep * front, 0.14, 0.35, 1.5)
    fossa = draw.jitter([(0.15, -0.12), (0.20, -0.27), (0.33, -0.34), (w * 0.80, -0.26), (w * 0.85, -0.02)], 0.012)
    posterior = draw.jitter([(0.15, 0.06), (0.24, 0.12), (w * 0.72, 0.24), (w * 0.70, 0.40), (0.24, 0.59)], 0.010)
    middle = [
        region([*p, (sx * w * 0.78, 0.13), (sx * 0.30, 0.09), (sx * 0.18, 0.02)])
        for p, sx in zip(both(fossa), (1, -1), strict=True)
    ]
    inner = (
        middle[0]
        | middle[1]
        | region(symmetric([(0, 0.03), *posterior, (0, 0.62)]))
        | region(symmetric([(0, -0.13), (0.15, -0.1), (0.2, 0.02), (0.16, 0.1), (0, 0.1)]))
    )
    hull = ndimage.binary_closing(inner, iterations=26)
    draw.skull(hull, below, 0.05, cover(-Y - 0.36 + 0.2 * np.abs(X), 0.05))
    draw.paint(cover(signed(hull) - 0.004) * (1 - inner), tissue.bone * 2)
    # Petrous bones and mastoids: dark, with air cells towards the ear.
    for s in (-1, 1):
        petrous = tube([(s * 0.15, 0.05), (s * 0.32, 0.13), (s * 0.52 * w / 0.58, 0.17)], [0.018, 0.032, 0.075])
        draw.paint(cover(petrous + 0.012 * draw.noise(0.1, 1.5), 0.012) * cover(-below + 0.055), tissue.bone)
        mastoid = ellipse(s * w * 0.84, 0.17, 0.07, 0.085)
        draw.cells(cover(mastoid, 0.02) * cover(-below + 0.055) * 0.6, 0.06)
    draw.dura = signed(inner)
    # Middle fossae: temporal lobes.
    lobes = np.zeros_like(X, bool)
    for s, mask in zip((1, -1), middle, strict=True):
        lobe = depth(mask) > 0.014
        lobes |= lobe
        draw.cortex(lobe, (s * 0.33, -0.05), 0.10, openness=0.8)
    # Posterior fossa: cistern, brain stem, cerebellum.
    posterior_room = signed(region(symmetric([(0, 0.03), *posterior, (0, 0.62)])))
    _fluid(draw, posterior_room)
    cerebellum = (posterior_room < -0.014) & (np.hypot(X / 0.15, (Y - 0.10) / 0.11) > 1) & (Y + 0.2 * np.abs(X) > 0.15)
    draw.cerebellum(cerebellum, (0, 0.34), vermis=False)
    stem = np.minimum(ellipse(0, 0.135, 0.125, 0.10), ellipse(0, 0.21, 0.15, 0.07)) + 0.006 * draw.noise(0.2, 2)
    draw.paint(cover(stem), tissue.white * (0.97 + 0.015 * draw.noise(0.08, 1.2)))
    draw.brain |= stem < 0
    _fluid(draw, np.minimum(ellipse(0, 0.265, 0.045, 0.018), tube([(0, 0.25), (0, 0.30)], [0.02, 0.006])))
    draw.paint(cover(tube([(0, 0.45), (0.002, 0.60)], 0.004)) * 0.7, tissue.dura)
    _sinus(draw, 0, 0.60, 0.028, up=False)
    draw.paint(cover(ellipse(0, 0.015, 0.014, 0.014)), tissue.vessel)
    for s in (-1, 1):
        sigmoid = ellipse(s * w * 0.72, 0.30, 0.018, 0.040, s * 30)
        draw.paint(cover(sigmoid, 0.01), tissue.vessel * 0.85)
    _sella_axial(draw)
    _orbits(draw)
    draw.vessels(lobes, 10, 0.08)
    draw.vessels(draw.brain & (Y > 0.3), 6, 0.06)


def _sella_axial(draw: Drawing) -> None:
    """Cavernous sinuses with the carotids in them, gland, sphenoid sinus."""
    tissue = draw.tissue
    draw.paint(
        cover(region_distance(symmetric([(0, -0.42), (0.11, -0.38), (0.13, -0.25), (0.12, -0.15), (0, -0.13)]))),
        tissue.bone,
    )
    sinus = region_distance(
        draw.jitter(symmetric([(0, -0.36), (0.09, -0.33), (0.10, -0.24), (0.07, -0.165), (0, -0.16)]), 0.008)
    )
    draw.paint(cover(np.abs(sinus) - 0.006), tissue.mucosa * 0.8)
    draw.paint(cover(sinus + 0.006), tissue.air)
    draw.paint(cover(np.abs(X - 0.02) - 0.003) * cover(sinus), tissue.mucosa * 0.5)
    draw.paint(cover(ellipse(0, -0.075, 0.13, 0.065) + 0.008 * draw.noise(0.1, 1.5), 0.012), 0.8 * tissue.vessel)
    for s in (-1, 1):
        draw.paint(cover(ellipse(s * 0.088, -0.085, 0.022, 0.026)), tissue.bone)
    draw.paint(cover(ellipse(0, -0.075, 0.05, 0.032), 0.01), 0.9 * tissue.vessel)
    draw.paint(cover(tube([(-0.09, -0.022), (0, -0.03), (0.09, -0.022)], 0.012), 0.008), tissue.bone * 2)


def _orbits(draw: Drawing) -> None:
    """Eyes, their muscles and nerves in fat; ethmoid cells between them."""
    tissue, rng = draw.tissue, draw.rng
    for s in (-1, 1):
        bone = region_distance(
            [
                (s * 0.14, -0.70),
                (s * 0.32, -0.74),
                (s * 0.43, -0.63),
                (s * 0.35, -0.45),
                (s * 0.14, -0.22),
                (s * 0.125, -0.45),
            ]
        )
        draw.paint(cover(bone - 0.012), tissue.bone)
        fat = tissue.fat * (0.58 + 0.10 * draw.noise(0.10, 1.8) - 0.12 * np.clip(Y + 0.6, 0, 1) / 0.4)
        draw.paint(cover(bone), fat)
        for line, r in (
            ([(s * 0.20, -0.61), (s * 0.145, -0.45), (s * 0.125, -0.27)], [0.008, 0.017, 0.008]),
            ([(s * 0.41, -0.58), (s * 0.33, -0.44), (s * 0.15, -0.25)], [0.008, 0.017, 0.008]),
            ([(s * 0.295, -0.50), (s * 0.24, -0.40), (s * 0.135, -0.22)], [0.014, 0.014, 0.012]),
        ):
            draw.paint(cover(tube(draw.jitter(line, 0.004), r), 0.008), tissue.muscle * 1.25)
        globe = ellipse(s * 0.305 + rng.normal(0, 0.006), -0.635 + rng.normal(0, 0.01), 0.098, 0.102)
        draw.paint(cover(globe), tissue.mucosa * 0.75)
        draw.paint(cover(globe + 0.016), tissue.csf * 0.9)
        lens = ellipse(s * 0.305, -0.715, 0.038, 0.016)
        draw.paint(cover(lens), tissue.muscle)
    ethmoid = region_distance(symmetric([(0, -0.74), (0.08, -0.70), (0.11, -0.55), (0.11, -0.40), (0, -0.36)]))
    draw.cells(cover(ethmoid), 0.075)
    draw.paint(cover(np.abs(X) - 0.005) * cover(ethmoid), tissue.mucosa * 0.9)


def coronal(draw: Drawing) -> None:
    """Coronal slice through the third ventricle and the sella, with the face and neck below."""
    rng, tissue = draw.rng, draw.tissue
    w = rng.uniform(0.56, 0.62)
    half = [
        (0, -0.86),
        (w * 0.55, -0.79),
        (w * 0.92, -0.50),
        (w, -0.12),
        (w * 0.97, 0.15),
        (w * 0.96, 0.42),
        (w * 0.86, 0.80),
    ]
    below = draw.head(draw.jitter(symmetric([*half, (w * 0.80, 1.2), (0, 1.3)]), 0.008), 0.045)
    face = cover(-(Y - 0.16 - 0.1 * np.abs(X)), 0.05) * cover(-below + draw.scalp * rng.uniform(0.8, 1.5))
    draw.flesh(face, 0.17, 0.75, 2.0)
    side = cover(np.abs(Y - 0.12) - 0.22, 0.08) * cover(np.abs(below - 0.075) - 0.022, 0.01)
    draw.paint(side, tissue.muscle * (1 + 0.15 * draw.noise(0.06, 1.2, 2)))
    roof = [(0, -0.86), (w * 0.55, -0.79), (w * 0.92, -0.50), (w, -0.12)]
    cavity = [(x * 0.845, y * 0.86) for x, y in roof]
    base = [(w * 0.80, 0.14), (w * 0.60, 0.265), (0.22, 0.25), (0.14, 0.16), (0.08, 0.145), (0, 0.15)]
    inner = region(draw.jitter(symmetric([*cavity, *base]), 0.006))
    draw.skull(inner, below, 0.055, cover(Y - 0.24, 0.05))
    draw.paint(cover(np.abs(signed(inner) - 0.016) - 0.014, 0.008) * cover(0.12 - Y, 0.04), tissue.bone * 1.5)
    wide = rng.uniform(0.8, 1.4)
    sylvian = np.minimum(*[
        np.minimum(
            tube(p, [0.016, 0.012, 0.010, 0.007]),
            tube([p[2], (p[2][0] * 0.95, p[2][1] + 0.09), (p[2][0] * 0.6, p[2][1] + 0.13)], [0.010, 0.012, 0.016]),
        )
        for p in both(draw.jitter([(0.55, 0.015), (0.41, -0.015), (0.31, 0.0), (0.30, -0.13)], 0.012))
    ])  # fmt: skip
    hemi = _hemispheres(draw, inner, 0.008, 0.17, sylvian, openness=rng.uniform(0.7, 1.4))
    calm = np.minimum(ellipse(0, -0.06, 0.26, 0.15), ellipse(0, -0.12, 0.2, 0.16))
    draw.paint(cover(calm, 0.04) * draw.brain, tissue.white * (1 + 0.012 * draw.noise(0.06, 1.2)))
    for s in (-1, 1):
        for shape, value in (
            (ellipse(s * 0.225, -0.02, 0.038, 0.085, s * -12), tissue.nuclei),
            (ellipse(s * 0.165, 0.0, 0.030, 0.05, s * -20), 0.5 * (tissue.nuclei + tissue.white)),
            (ellipse(s * 0.155, -0.145, 0.030, 0.040, s * 30), tissue.grey),
            (ellipse(s * 0.07, 0.0, 0.055, 0.06), tissue.nuclei),
            (ellipse(s * 0.21, 0.15, 0.05, 0.04), tissue.grey),
        ):
            draw.paint(cover(shape + 0.006 * draw.noise(0.15, 2), 0.014) * 0.8 * draw.brain, value)
        horn = draw.jitter([(s * 0.150, -0.205), (s * 0.085, -0.175), (s * 0.032, -0.125), (s * 0.022, -0.085)], 0.006)
        _fluid(draw, tube(horn, np.array([0.012, 0.030, 0.026, 0.008]) * wide) + 0.003 * draw.noise(0.12, 2))
        _fluid(draw, ellipse(s * 0.27, 0.125, 0.010, 0.022, s * 30))
    _fluid(draw, tube([(0, -0.04), (0, 0.0), (0, 0.055)], [0.005, 0.012 * wide, 0.006]))
    cistern = region_distance(symmetric([(0, 0.075), (0.09, 0.085), (0.17, 0.12), (0.13, 0.165), (0, 0.16)]))
    _fluid(draw, cistern + 0.008 * draw.noise(0.15, 2))
    draw.paint(cover(tube([(-0.055, 0.098), (0, 0.09), (0.055, 0.098)], [0.010, 0.012, 0.010])), tissue.white)
    draw.paint(cover(tube([(0, 0.1), (0, 0.16)], 0.005)), tissue.vessel * 0.8)
    _sella_coronal(draw)
    for s in (-1, 1):
        ramus = tube([(s * 0.44, 0.36), (s * 0.43, 0.55), (s * 0.38, 0.78)], [0.012, 0.022, 0.026])
        ramus = ramus + 0.008 * draw.noise(0.15, 2)
        draw.paint(cover(ramus - 0.010, 0.012) * 0.8, tissue.bone)
        draw.paint(cover(ramus, 0.012) * 0.9, tissue.marrow * 1.15 * (1 + 0.15 * draw.noise(0.1, 1.5)))
        muscle = tube(draw.jitter([(s * 0.30, 0.38), (s * 0.30, 0.52), (s * 0.33, 0.70)], 0.02), [0.05, 0.065, 0.04])
        draw.paint(cover(muscle, 0.012), tissue.muscle * (1.05 + 0.12 * draw.noise(0.06, 1.2, 2)))
    inside = signed(inner)
    _sinus(draw, 0, _midline_edge(inside, bottom=False) + 0.010, 0.030, up=True)
    draw.vessels((hemi > 0.003) & (hemi < 0.10), 14, 0.08)
    draw.vessels(cover(sylvian - 0.02) > 0.5, 8, 0.07)


def _sella_coronal(draw: Drawing) -> None:
    """Gland between the cavernous sinuses above the sphenoid sinus, then nose or pharynx."""
    tissue, rng = draw.tissue, draw.rng
    draw.paint(cover(ellipse(0, 0.20, 0.16, 0.055), 0.015), 0.72 * tissue.vessel * (1 + 0.15 * draw.noise(0.05, 1)))
    for s in (-1, 1):
        for x, y, r in ((0.095, 0.185, 0.021), (0.115, 0.225, 0.017)):
            draw.paint(cover(ellipse(s * x, y, r, r)), tissue.bone)
    draw.paint(cover(ellipse(0, 0.188, 0.058, 0.026), 0.01), 0.85 * tissue.vessel)
    bone = region_distance(symmetric([(0, 0.235), (0.14, 0.25), (0.2, 0.33), (0.14, 0.42), (0, 0.43)]))
    draw.paint(cover(bone), tissue.marrow * (1 + 0.2 * draw.noise(0.06, 1.2)))
    t = rng.uniform(0.85, 1.15)
    sinus = region_distance(
        draw.jitter(symmetric([(0, 0.25), (0.085 * t, 0.255), (0.11 * t, 0.31), (0.07 * t, 0.37), (0, 0.375)]), 0.010)
    )
    draw.paint(cover(np.abs(sinus) - 0.006), tissue.mucosa * 0.9)
    draw.paint(cover(sinus + 0.006), tissue.air)
    draw.paint(cover(np.abs(X - 0.015) - 0.003) * cover(sinus), tissue.mucosa * 0.6)
    wall = region_distance(
        draw.jitter(symmetric([(0, 0.44), (0.13, 0.45), (0.14, 0.55), (0.09, 0.63), (0, 0.64)]), 0.012)
    )
    draw.paint(cover(wall), tissue.mucosa * 0.85)
    draw.paint(cover(wall + 0.03 + 0.010 * draw.noise(0.12, 2)), tissue.air)
    tongue = ellipse(0, 0.86, 0.25, 0.18)
    draw.paint(
        cover(tongue + 0.02 * draw.noise(0.3, 2), 0.03) * 0.85, tissue.muscle * (1.2 + 0.22 * draw.noise(0.12, 1.8, 2))
    )
    draw.paint(cover(np.abs(X + 0.01 * draw.noise(0.3, 2)) - 0.004, 0.008) * cover(tongue) * 0.6, tissue.fat * 0.6)


def sagittal(draw: Drawing) -> None:
    """Midsagittal slice: corpus callosum, brain stem, cerebellum, sella, face and neck, facing right."""
    rng, tissue = draw.rng, draw.tissue
    profile = [
        (0.00, -0.90), (0.36, -0.83), (0.66, -0.58), (0.78, -0.24), (0.77, -0.02), (0.79, 0.10),
        (0.88, 0.27), (0.95, 0.39), (0.88, 0.45), (0.85, 0.50), (0.87, 0.58), (0.83, 0.65),
        (0.85, 0.74), (0.80, 0.86), (0.74, 1.15), (0.1, 1.3), (-0.55, 1.3), (-0.58, 0.95),
        (-0.62, 0.66), (-0.76, 0.42), (-0.88, 0.08), (-0.87, -0.34), (-0.64, -0.70), (-0.34, -0.86),
    ]  # fmt: skip
    below = draw.head(draw.jitter(profile, 0.008), 0.045)
    flesh = cover(-(Y - 0.10 - 0.12 * np.clip(-X, 0, 1)), 0.04) * cover(-below + draw.scalp * 0.9)
    draw.flesh(flesh, 0.15, 0.5, 1.4)
    back = cover(X + 0.26 + 0.05 * Y, 0.02) * cover(0.45 - Y, 0.05) * cover(-below + 0.05)
    draw.flesh(back, 0.10, 0.45, 3.0)
    cavity = draw.jitter([
            (-0.05, -0.765), (0.28, -0.71), (0.53, -0.51), (0.645, -0.22), (0.625, -0.03), (0.50, 0.055),
            (0.30, 0.085), (0.17, 0.115), (0.115, 0.15), (0.045, 0.17), (0.02, 0.20), (-0.03, 0.34),
            (-0.10, 0.50), (-0.15, 0.60), (-0.30, 0.60), (-0.46, 0.51), (-0.64, 0.36), (-0.745, 0.10),
            (-0.735, -0.28), (-0.54, -0.61), (-0.29, -0.735),
        ], 0.005)  # fmt: skip
    inner = region(cavity)
    draw.skull(inner, below, 0.06, np.maximum(cover(Y - 0.02 + 0.3 * (X - 0.5), 0.05), cover(X + 0.38, 0.05)))
    _skull_base(draw, inner)
    # Cerebrum above the tentorium, seen on its inner surface: sulci without much white matter.
    room = signed(inner) + 0.016 * (1 + 0.4 * draw.noise(0.3, 2)) < 0
    tentorium = 0.085 + 0.28 * np.clip(-X - 0.12, 0, 1)
    floor = np.where(X < -0.10, tentorium - 0.012, np.where(X < 0.16, 0.06, 0.2))
    cerebrum = room & (floor > Y) & (np.hypot((X - 0.0) / 0.34, (Y + 0.04) / 0.20) > 1)
    below_surface = draw.cortex(cerebrum, (0.0, -0.02), 0.30, period=0.19, openness=rng.uniform(0.6, 1.2))
    draw.brain |= room & (floor > Y)
    _callosum(draw, room & (floor > Y))
    # Posterior fossa.
    stem = np.minimum(
        tube(
            [(-0.03, 0.04), (-0.045, 0.16), (-0.075, 0.28), (-0.15, 0.44), (-0.215, 0.60)],
            [0.065, 0.062, 0.085, 0.055, 0.045],
        ),
        tube([(-0.215, 0.60), (-0.26, 0.80), (-0.28, 1.1)], [0.043, 0.04, 0.04]),
    )
    leaves = (
        signed(
            region(
                [
                    (-0.20, 0.16),
                    (-0.40, 0.15),
                    (-0.58, 0.24),
                    (-0.61, 0.36),
                    (-0.47, 0.46),
                    (-0.30, 0.52),
                    (-0.21, 0.44),
                    (-0.17, 0.32),
                ]
            )
        )
        < 0
    ) & (stem > 0.012)
    draw.cerebellum(leaves & room, (-0.20, 0.30), vermis=True)
    canal = tube([(-0.215, 0.58), (-0.26, 0.80), (-0.28, 1.1)], [0.085, 0.075, 0.07])
    draw.paint(cover(canal, 0.01), tissue.csf)
    draw.paint(cover(stem, 0.008), tissue.white * (0.96 + 0.02 * draw.noise(0.1, 1.5)))
    draw.paint(cover(ellipse(-0.055, 0.27, 0.050, 0.085, 15), 0.03) * 0.5, tissue.grey)
    draw.brain |= (stem < 0) & (Y < 0.62)
    _fluid(
        draw,
        region_distance(
            [
                (-0.155, 0.20),
                (-0.15, 0.28),
                (-0.215, 0.315),
                (-0.19, 0.38),
                (-0.175, 0.42),
                (-0.165, 0.33),
                (-0.135, 0.25),
            ]
        )
        + 0.004,
    )
    draw.paint(cover(ellipse(-0.095, 0.115, 0.045, 0.022, 40)), tissue.white)
    draw.paint(
        cover(tube([(-0.15, 0.055), (-0.25, 0.12), (-0.45, 0.17), (-0.66, 0.235)], [0.010, 0.008, 0.007, 0.013]), 0.006)
        * 0.85,
        0.8 * tissue.vessel,
    )
    sinus = tube(
        [(0.40, -0.60), (0.0, -0.745), (-0.36, -0.69), (-0.64, -0.46), (-0.745, -0.05), (-0.70, 0.22)],
        [0.006, 0.010, 0.012, 0.015, 0.017, 0.02],
    )
    draw.paint(cover(sinus, 0.010) * 0.75, tissue.vessel * np.clip(0.8 + 0.2 * draw.noise(0.2, 2), 0, 1.2))
    draw.vessels((below_surface > 0.005) & (Y < 0.05), 14, 0.12)
    draw.vessels(leaves, 4, 0.06)


def _callosum(draw: Drawing, where: np.ndarray) -> None:
    """Corpus callosum, ventricle, fornix, thalamus and third ventricle in the middle of a sagittal slice."""
    tissue, rng = draw.tissue, draw.rng
    middle = cover(np.hypot(X / 0.345, (Y + 0.035) / 0.205) - 1, 0.04) * where
    draw.paint(middle, tissue.grey * (1 + 0.02 * draw.noise(0.08, 1.2)))
    h = rng.uniform(0.9, 1.15)
    arc = [
        (0.19, 0.00),
        (0.265, -0.045),
        (0.235, -0.125 * h),
        (0.11, -0.185 * h),
        (-0.05, -0.20 * h),
        (-0.19, -0.165 * h),
        (-0.275, -0.085),
        (-0.265, -0.05),
    ]
    arc = draw.jitter(arc, 0.005)
    callosum = tube(arc, [0.008, 0.030, 0.028, 0.021, 0.019, 0.020, 0.030, 0.022])
    _fluid(draw, np.where(where, tube([(x * 1.12, y * 1.2 - 0.012) for x, y in arc[1:-1]], 0.011), 1))
    roof = [
        (0.20, -0.07),
        (0.10, -0.145 * h),
        (-0.05, -0.165 * h),
        (-0.17, -0.135 * h),
        (-0.20, -0.09),
        (-0.06, -0.088),
        (0.08, -0.06),
        (0.15, -0.02),
    ]
    _fluid(draw, region_distance(roof) + 0.004 * draw.noise(0.2, 2))
    draw.paint(cover(callosum), tissue.white * 1.04)
    draw.paint(
        cover(tube([(-0.21, -0.09), (-0.07, -0.098), (0.06, -0.075), (0.135, -0.01), (0.13, 0.03)], 0.010)) * 0.9,
        tissue.white,
    )
    draw.paint(
        cover(ellipse(-0.03, -0.015, 0.125, 0.066, -6), 0.012), tissue.nuclei * (1 + 0.02 * draw.noise(0.1, 1.5))
    )
    draw.paint(cover(tube([(-0.16, -0.062), (-0.05, -0.085), (0.09, -0.055)], 0.005)) * 0.8, tissue.vessel)
    _fluid(draw, tube([(0.10, 0.00), (0.085, 0.05), (0.02, 0.055), (-0.06, 0.04)], [0.012, 0.016, 0.012, 0.008]))
    _fluid(
        draw, region_distance([(0.19, 0.085), (0.10, 0.075), (0.03, 0.075), (0.02, 0.16), (0.05, 0.155), (0.12, 0.145)])
    )
    draw.paint(cover(tube([(0.145, 0.088), (0.105, 0.078)], 0.011)), tissue.white)
    draw.paint(cover(tube([(0.095, 0.08), (0.082, 0.155)], 0.005)), tissue.vessel * 0.75)
    draw.paint(
        cover(tube([(-0.17, -0.04), (-0.24, -0.03), (-0.29, 0.00), (-0.31, 0.08)], [0.006, 0.009, 0.009, 0.008])) * 0.9,
        tissue.vessel,
    )
    draw.paint(cover(ellipse(-0.165, 0.02, 0.022, 0.014)), tissue.vessel * 0.7)


def _skull_base(draw: Drawing, inner: np.ndarray) -> None:
    """Sella, sphenoid sinus, clivus, nose, palate, tongue, pharynx and vertebrae of a sagittal slice."""
    tissue, rng = draw.tissue, draw.rng
    outside = ~inner
    clivus = region_distance(
        draw.jitter([(0.03, 0.22), (0.13, 0.29), (0.08, 0.42), (-0.04, 0.58), (-0.11, 0.57), (-0.045, 0.40)], 0.006)
    )
    draw.paint(cover(clivus - 0.012) * outside, tissue.bone)
    draw.paint(cover(clivus + 0.004), tissue.marrow * 1.5 * (1 + 0.12 * draw.noise(0.05, 1.2)))
    planum = tube([(0.15, 0.14), (0.30, 0.11), (0.50, 0.085), (0.66, 0.0)], [0.012, 0.012, 0.014, 0.02])
    draw.paint(cover(planum) * outside, tissue.bone)
    t = rng.uniform(0.85, 1.15)
    nose = region_distance(
        draw.jitter(
            [
                (0.34, 0.15),
                (0.62, 0.10),
                (0.72, 0.16),
                (0.83, 0.34),
                (0.80, 0.45),
                (0.55, 0.47),
                (0.30, 0.46),
                (0.27, 0.30),
            ],
            0.010,
        )
    )
    stretch = draw.noise(0.20, None, 2.2) + 0.3 * draw.noise(0.08, None, 1.6)
    turbinates = (
        tissue.mucosa
        * (0.62 + 0.2 * draw.noise(0.07, 1.3, 0.5))
        * np.clip(0.9 - 1.0 * np.clip(-stretch - 0.15, 0, 1), 0.05, 1)
    )
    draw.paint(cover(nose), turbinates)
    sinus = region_distance(
        draw.jitter(
            [(0.145, 0.175), (0.24 * t, 0.15), (0.32 * t, 0.19), (0.30 * t, 0.29), (0.20, 0.32), (0.14, 0.27)], 0.010
        )
    )
    draw.paint(cover(np.abs(sinus) - 0.007), tissue.mucosa * 0.8)
    draw.paint(cover(sinus + 0.007), tissue.air)
    frontal = region_distance(draw.jitter([(0.675, -0.12), (0.715, -0.06), (0.70, 0.03), (0.665, 0.02)], 0.008))
    draw.paint(cover(frontal - 0.008) * outside, tissue.bone)
    draw.paint(cover(frontal) * outside, tissue.air)
    palate = tube([(0.30, 0.505), (0.52, 0.50), (0.76, 0.53)], [0.012, 0.014, 0.03])
    draw.paint(cover(palate - 0.010), tissue.bone)
    draw.paint(cover(palate), tissue.marrow * 1.6)
    mouth = tube([(0.28, 0.58), (0.5, 0.56), (0.76, 0.62)], [0.010, 0.022, 0.012])
    draw.paint(
        cover(ellipse(0.50, 0.80, 0.27, 0.225, -10), 0.015), tissue.muscle * (1.25 + 0.14 * draw.noise(0.12, 1.8, 0.6))
    )
    draw.paint(cover(mouth), tissue.air)
    draw.paint(
        cover(tube([(0.29, 0.50), (0.22, 0.58), (0.19, 0.68)], [0.022, 0.028, 0.012]), 0.01), tissue.muscle * 1.5
    )
    pharynx = tube(
        draw.jitter([(0.24, 0.42), (0.155, 0.50), (0.14, 0.68), (0.12, 0.85), (0.10, 1.1)], 0.008),
        [0.03, 0.026, 0.016, 0.03, 0.04],
    )
    draw.paint(cover(pharynx - 0.014), tissue.mucosa * 0.75)
    draw.paint(cover(pharynx), tissue.air)
    for x, y, a in ((-0.075, 0.69, 8), (-0.115, 0.84, 6), (-0.135, 0.985, 4)):
        body = ellipse(x, y, 0.058, 0.066, a)
        draw.paint(cover(body - 0.012), tissue.bone)
        draw.paint(cover(body), tissue.marrow * 1.25 * (1 + 0.12 * draw.noise(0.05, 1.2)))
    draw.paint(cover(ellipse(0.085, 0.192, 0.042, 0.026, -10), 0.008), 0.72 * tissue.vessel)


VIEWS: dict[str, Callable[[Drawing], None]] = {
    "axial, ventricles": axial_ventricles,
    "axial, vertex": axial_high,
    "axial, orbits": axial_low,
    "coronal": coronal,
    "sagittal": sagittal,
}
