"""What a person takes away: one page about one slice, as PDF, PNG and JSON.

The page is drawn once, for paper: in black and white, since a colour that a copier loses must not carry a finding.
Where a network looked is drawn as contour lines over the grey slice. The PDF's fonts are embedded and its text is text,
in reading order, for those who search it, copy from it or have it read aloud.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from brain_tumor.checkpoints import find_checkpoint
from brain_tumor.examination import Examination, consensus_of
from brain_tumor.explanation import METHODS, Explanation, overlay
from brain_tumor.inference import Prediction
from brain_tumor.labels import CLASS_NAMES, DISPLAY_TEXT, SHORT_TEXT
from brain_tumor.registry import get_spec
from brain_tumor.trust import REFUSED, UNCERTAIN, Consensus, either
from brain_tumor.version import VERSION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Brain MRI, several opinions"
NOTICE = (
    "Not a medical device. For teaching and research; never base a decision about a patient on it. "
    "The networks know four answers and nothing else: any other disease gets one of them too. They learned to tell "
    "tumours apart, hardly to find them: the slices without one that they learned from are of other kinds. "
    "A heatmap shows what a network used, or where it believes a tumour to be: it can be wrong."
)

SYNTHETIC = "A synthetic slice, drawn by a program: this is no patient."

PAGE_MM = (210.0, 297.0)
MARGIN_MM = 13.0
DPI = 200
SLICE_MM, OVERLAY_MM = 52.0, 55.0
"""Longer sides of the slice and of each overlay, where there is room for them."""
SHA_DIGITS = 16

# Share of a heatmap's largest value -> how the line around the places above it is drawn: (width in pt, dashes).
LEVELS = {0.25: (0.6, (1.0, 1.6)), 0.5: (0.8, (4.0, 1.5)), 0.75: (1.5, None)}
LEGEND = (
    "Lines over a slice enclose the places with at least 25 % (dotted), 50 % (dashed) and 75 % (thick) of the "
    "strongest mark on it. Percentages are scores, not diagnoses: calibrated on "
    "patients that were not trained on, where a model is calibrated; raw: the network's own."
)

# matplotlib's settings and font caches are the process's, and visitors ask at the same time.
_drawing = threading.Lock()


@dataclass(frozen=True, eq=False)
class Report:
    """One page about one slice.

    Attributes:
        examination: the slice.
        explanations: the models' answers and where they looked, at least one.
        when: UTC.
        consensus: what the answers come to.
        sha256: name of the system -> that of its checkpoint, all 64 digits.
        name: what the slice is called on the page; None leaves it out.
    """

    examination: Examination
    explanations: tuple[Explanation, ...]
    when: datetime
    consensus: Consensus
    sha256: dict[str, str]
    name: str | None = None

    def file_name(self, suffix: str) -> str:
        """Name for the report's file, of the minute alone: "brain-mri-report-2026-11-22T0410Z.pdf".

        Args:
            suffix: "pdf", "png" or "json".
        """
        return f"brain-mri-report-{self.when:%Y-%m-%dT%H%MZ}.{suffix}"

    def pdf(self) -> bytes:
        """One page A4, fonts embedded, text selectable; the same bytes for the same answers and time."""
        return self._drawn(
            "pdf",
            metadata={
                "Title": f"{TITLE}: report of {self.when:%Y-%m-%d %H:%M} UTC",
                "Subject": headline(self.consensus),
                "Creator": f"brain-tumor {VERSION}",
                "CreationDate": self.when,
            },
        )

    def png(self) -> bytes:
        """The same page as a picture, DPI pixels an inch."""
        return self._drawn("png", metadata={"Title": TITLE, "Software": f"brain-tumor {VERSION}"})

    def json(self) -> str:
        """The same as data, with the slice and the overlays as PNGs in data URIs.

        Keys: title, notice, version, created (ISO 8601, UTC), synthetic (drawn by a program), size (width and height of
        the slice, px), place (of a slice of a scan: plane, slice, slices, series, all_series, and window with centre
        and width, or null; else null), picture (the slice), consensus (headline, and the keys of `Consensus.to_json`),
        answers (a list, for each model the keys of `Prediction.to_json`, title, sha256, support, belief, target_class,
        method, evidence_found, place_support, and overlay: the slice under the heatmap, in colour; null
        where nothing is marked on the page either: no evidence found, or the picture refused), image (its name, where
        it was asked for).
        Pictures have as many pixels as fit the page: at most `DPI` an inch.
        """
        content: dict[str, Any] = {
            "title": TITLE,
            "notice": NOTICE,
            "version": VERSION,
            "created": self.when.isoformat(timespec="seconds"),
            "synthetic": self.examination.synthetic,
            "size": list(self.examination.image.size),
            "place": self.examination.place and self.examination.place.to_json(),
            "picture": _data_uri(self.examination.image, SLICE_MM),
            "consensus": {"headline": headline(self.consensus), **self.consensus.to_json()},
            "answers": [self._answer(explanation) for explanation in self.explanations],
        }
        if self.name is not None:
            content["image"] = self.name
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def _answer(self, explanation: Explanation) -> dict[str, Any]:
        prediction = explanation.prediction
        support, place = prediction.support, explanation.support
        return {
            **prediction.to_json(),
            "title": get_spec(prediction.model).title,
            "sha256": self.sha256[prediction.model],
            "support": support and {"n": support.n, "right": support.right},
            "belief": [*warnings(prediction), *belief(prediction)],
            "target_class": explanation.target_class,
            "method": explanation.method,
            "evidence_found": explanation.found,
            "place_support": place and {"n": place.n, "right": place.right},
            "overlay": self._marked(explanation),
        }

    def _marked(self, explanation: Explanation) -> str | None:
        if not explanation.found or self.consensus.refused:
            return None
        return _data_uri(Image.fromarray(overlay(self.examination.image, explanation.shown)), OVERLAY_MM)

    def _drawn(self, kind: str, metadata: dict[str, Any]) -> bytes:
        import matplotlib

        file = io.BytesIO()
        # TrueType instead of type 3: text that can be searched and copied.
        with _drawing, matplotlib.rc_context({"pdf.fonttype": 42}):
            self._figure.savefig(file, format=kind, dpi=DPI, metadata=metadata)
        return file.getvalue()

    @cached_property
    def _figure(self) -> Figure:
        return _Sheet(self).figure


def render(
    examination: Examination, explanations: Sequence[Explanation], when: datetime, with_name: bool = False
) -> Report:
    """The report of what has been answered about a slice; nothing is asked or computed anew.

    Args:
        examination: the slice.
        explanations: of one or more models, as `Examination.answers` gives them.
        when: date and time to be printed, with a time zone.
        with_name: print what the slice is called. File names from hospitals tend to name the patient.

    Raises:
        ValueError: no explanations, or a time without a time zone.
        CheckpointError: the checkpoint of a model that answered has been removed since.
    """
    if not explanations:
        raise ValueError("No model has answered, so there is nothing to report. Choose at least one.")
    if when.tzinfo is None:
        raise ValueError(f"{when} has no time zone. Give one, for example `datetime.now(UTC)`.")
    systems = [explanation.prediction.model for explanation in explanations]
    return Report(
        examination=examination,
        explanations=tuple(explanations),
        when=when.astimezone(UTC),
        consensus=consensus_of(explanations, examination.caution),
        sha256={name: find_checkpoint(name, download=False).sha256 for name in systems},
        name=examination.name if with_name else None,
    )


def headline(consensus: Consensus) -> str:
    """The consensus in a few words."""
    if consensus.verdict == REFUSED:
        return "Not answered"
    said = f"Uncertain: {consensus.guess}" if consensus.verdict == UNCERTAIN else DISPLAY_TEXT[consensus.leading]
    return f"{said}, {percent(consensus.probability)}"


def consensus_sentences(consensus: Consensus) -> list[str]:
    """What must be read with the headline, a sentence each: why, how often that was right, what cannot be ruled out,
    what was seen before."""
    if consensus.refused:
        sentences = [f"{consensus.why} What the networks say about it means nothing.", consensus.caution]
    else:
        remaining = f"Cannot be ruled out: {either(consensus.prediction_set)}." if consensus.unsaid else None
        sentences = [consensus.why, consensus.worth, consensus.caution, remaining]
    sentences = [*filter(None, sentences)]
    if consensus.seen_by:
        titles = " and ".join(get_spec(model).title for model in consensus.seen_by)
        sentences.append(f"This slice was in the training data of {titles}: the answer is memory, not evidence.")
    return sentences


def warnings(prediction: Prediction) -> list[str]:
    """What speaks against believing one model's answer, a sentence each."""
    sentences = []
    if prediction.refusal_reason:
        sentences.append(prediction.refusal_reason)
    if prediction.seen_in_training:
        sentences.append("This slice was in its training data: the answer is memory, not evidence.")
    if prediction.prediction_set and len(prediction.prediction_set) > 1:
        sentences.append(f"Uncertain: at 95 %, {either(prediction.prediction_set)}.")
    return sentences


def belief(prediction: Prediction) -> list[str]:
    """How far one model's answer may be believed, a sentence each."""
    sentences = []
    if prediction.refusal_reason is None and prediction.support:
        right, n = prediction.support.of_hundred, prediction.support.n
        sentences.append(f"Of 100 slices from unseen patients scored like this, {right} were right (n = {n}).")
    if prediction.calibrated_probabilities is None:
        sentences.append("Not calibrated: this is the network's own score, often surer than right.")
    if prediction.prediction_set and len(prediction.prediction_set) == 1:
        sentences.append(f"Prediction set at 95 %: {either(prediction.prediction_set)} alone.")
    return sentences


def percent(probability: float) -> str:
    """A score as people read it; never 0 % or 100 %, which no network can know."""
    if probability >= 0.9995:
        return "> 99.9 %"
    if probability < 0.0005:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


@dataclass(frozen=True)
class _Line:
    """A line of text: size relative to the block's, weight, and grey in [0, 1]."""

    text: str
    size: float = 1.0
    bold: bool = False
    grey: float = 0.0


class _Sheet:
    """Draws a report. Lengths are millimetres, from the upper left corner; text is wrapped to measured widths."""

    GAP = 3.0
    LARGEST_ROW = OVERLAY_MM + 3
    SIZES = (9.0, 8.5, 8.0, 7.5, 7.0, 6.5, 6.0, 5.5, 5.0, 4.5)
    LEADING = 1.28
    POINT = 25.4 / 72

    def __init__(self, report: Report):
        # Not before somebody wants a report: the import takes a second, and the first one makes a list of fonts.
        from matplotlib.figure import Figure

        self.report = report
        self.figure = Figure(figsize=[side / 25.4 for side in PAGE_MM], facecolor="white")
        self.left, self.right = MARGIN_MM, PAGE_MM[0] - MARGIN_MM
        self._page()

    def _page(self) -> None:
        report, count = self.report, len(self.report.explanations)
        y = self._write(self.left, MARGIN_MM, [_Line(f"{TITLE}: report", 15 / 8, bold=True)], 8)
        created = f"{report.when:%d %B %Y, %H:%M} UTC · brain-tumor {VERSION}"
        if report.name is not None:
            created += f" · {report.name}"
        lines = [_Line(created, grey=0.3)]
        if report.examination.synthetic:
            lines.append(_Line(SYNTHETIC, 10 / 8, bold=True))
        if (place := report.examination.place) is not None:
            lines.append(_Line(place.text().capitalize()))
        y = self._wrapped(self.left, y, lines, 8, self.right - self.left)
        y = self._wrapped(self.left, y + 1, [_Line(NOTICE, bold=True)], 8, self.right - self.left) + self.GAP
        y = self._summary(y, side=SLICE_MM if count <= 4 else 38.0) + self.GAP
        legend = self._lines([_Line(LEGEND, grey=0.3)], 6.5, self.right - self.left)
        bottom = PAGE_MM[1] - MARGIN_MM - self._height(legend, 6.5)
        self._write(self.left, bottom, legend, 6.5)
        row = min(self.LARGEST_ROW, (bottom - self.GAP / 2 - y) / count)
        size = next((size for size in self.SIZES if self._fits(row, size)), self.SIZES[-1])
        for explanation in report.explanations:
            self._row(explanation, y, row, size)
            y += row

    def _summary(self, y: float, side: float) -> float:
        """The slice beside the consensus; returns where it ends."""
        report = self.report
        axes = self._axes(self.left, y, side, side)
        axes.imshow(_reduced(report.examination.image, side))
        axes.set_anchor("NW")
        x = self.left + side + self.GAP + 2
        found = report.consensus
        lines = [
            _Line("All models together" if len(report.explanations) > 1 else "The model's answer", grey=0.3),
            _Line(headline(found), 15 / 9, bold=True),
            *([] if found.refused else [_Line(found.meaning.capitalize(), grey=0.3)]),
            *(_Line(sentence) for sentence in consensus_sentences(found)),
        ]
        width = self.right - x
        end = self._wrapped(x, y, lines, 9, width)
        # A picture that is refused has no classes to be ranked.
        if not found.refused:
            end = self._bars(x, end + 1.5, width * 0.75, 8, found.probabilities, None, found.leading)
        return max(y + side, end)

    def _row(self, explanation: Explanation, y: float, height: float, size: float) -> None:
        self._rule(y)
        prediction = explanation.prediction
        y, height = y + 1.5, height - 3
        picture, bars, words = self._columns(height)
        self._overlay(explanation, self.left, y, picture[1])
        x, width = bars
        end = self._wrapped(x, y, self._answer_lines(prediction), size, width)
        if not self.report.consensus.refused:
            raw = prediction.probabilities if prediction.calibrated_probabilities else None
            self._bars(x, end + 0.6, width, size, prediction.best_probabilities, raw, prediction.predicted_class)
        self._wrapped(words[0], y, self._word_lines(explanation), size, words[1])

    def _columns(self, height: float) -> tuple[tuple[float, float], ...]:
        """(x, width) of the picture, of the bars and of the words in a row of that height."""
        x = self.left + height + self.GAP
        rest = self.right - x - self.GAP
        return (self.left, height), (x, 0.52 * rest), (x + 0.52 * rest + self.GAP, 0.48 * rest)

    def _fits(self, row: float, size: float) -> bool:
        height = row - 3
        _, bars, words = self._columns(height)
        for explanation in self.report.explanations:
            answer = self._lines(self._answer_lines(explanation.prediction), size, bars[1])
            said = self._lines(self._word_lines(explanation), size, words[1])
            table = (len(CLASS_NAMES) + 1) * self._pitch(size) + 0.6
            if max(self._height(answer, size) + table, self._height(said, size)) > height:
                return False
        return True

    def _answer_lines(self, prediction: Prediction) -> list[_Line]:
        answer = f"{DISPLAY_TEXT[prediction.predicted_class]}, {percent(prediction.confidence)}"
        title = _Line(get_spec(prediction.model).title, grey=0.3)
        if self.report.consensus.refused:
            return [title, _Line(f"Means nothing: {answer}", grey=0.3)]
        return [title, _Line(answer, 1.3, bold=True)]

    def _word_lines(self, explanation: Explanation) -> list[_Line]:
        prediction = explanation.prediction
        if self.report.consensus.refused:
            against, how = filter(None, [prediction.refusal_reason]), []
        else:
            against, how = warnings(prediction), [*belief(prediction), _looked(explanation)]
        return [
            *(_Line(f"! {sentence}", bold=True) for sentence in against),
            *(_Line(sentence) for sentence in how),
            _Line(f"{prediction.model}, sha256 {self.report.sha256[prediction.model][:SHA_DIGITS]}", grey=0.3),
        ]

    def _bars(
        self,
        x: float,
        y: float,
        width: float,
        size: float,
        probabilities: dict[str, float],
        raw: dict[str, float] | None,
        leading: str,
    ) -> float:
        """A bar and its figures per class, the leading one in black; returns where they end."""
        from matplotlib.patches import Rectangle

        pitch, point = self._pitch(size), size * self.POINT
        label, figure = 7.6 * point, 5.4 * point
        track = width - label - (2 if raw else 1) * figure
        if raw:
            self._text(x + width - figure, y, _Line("calibrated", grey=0.3), size, align="right")
            self._text(x + width, y, _Line("raw", grey=0.3), size, align="right")
            y += pitch
        for name in CLASS_NAMES:
            top = name == leading
            self._text(x, y, _Line(SHORT_TEXT[name], bold=top), size)
            for share, style in (
                (1.0, {"facecolor": "white", "edgecolor": "0.55"}),
                (probabilities[name], {"facecolor": "black" if top else "0.55", "edgecolor": "none"}),
            ):
                corner = (self._x(x + label), self._y(y + 0.85 * point))
                box = Rectangle(corner, track * share / PAGE_MM[0], 0.6 * point / PAGE_MM[1], lw=0.4, **style)
                self.figure.add_artist(box)
            self._text(
                x + label + track + figure, y, _Line(percent(probabilities[name]), bold=top), size, align="right"
            )
            if raw:
                self._text(x + width, y, _Line(percent(raw[name]), grey=0.3), size, align="right")
            y += pitch
        return y

    def _overlay(self, explanation: Explanation, x: float, y: float, side: float) -> None:
        """The slice in grey with the heatmap's contour lines, each black under white: seen on dark and on bright."""
        from matplotlib.patheffects import Normal, Stroke

        axes = self._axes(x, y, side, side)
        width, height = self.report.examination.image.size
        extent = (0, width, height, 0)
        axes.imshow(
            _reduced(self.report.examination.image.convert("L"), side), cmap="gray", vmin=0, vmax=255, extent=extent
        )
        axes.set_anchor("NW")
        if not explanation.found or self.report.consensus.refused:
            return
        heat = np.asarray(_reduced(Image.fromarray(explanation.heatmap / explanation.peak), side))
        columns = (np.arange(heat.shape[1]) + 0.5) * width / heat.shape[1]
        rows = (np.arange(heat.shape[0]) + 0.5) * height / heat.shape[0]
        for level, (line, dashes) in LEVELS.items():
            if min(heat.shape) < 2 or not heat.min() < level < heat.max():
                continue
            line *= min(1.0, side / 40)
            drawn = axes.contour(columns, rows, heat, [level], colors="white", linewidths=line)
            if dashes:
                drawn.set_linestyle((0, dashes))
            drawn.set_path_effects([Stroke(linewidth=2 * line + 0.3, foreground="black"), Normal()])

    def _wrapped(self, x: float, y: float, lines: Sequence[_Line], size: float, width: float) -> float:
        return self._write(x, y, self._lines(lines, size, width), size)

    def _write(self, x: float, y: float, lines: Sequence[_Line], size: float) -> float:
        """Lines below each other; returns where they end."""
        for line in lines:
            self._text(x, y, line, size)
            y += self._pitch(size * line.size)
        return y

    def _lines(self, lines: Sequence[_Line], size: float, width: float) -> list[_Line]:
        """The lines, broken where they are too wide."""
        return [
            _Line(text, line.size, line.bold, line.grey)
            for line in lines
            for text in self._broken(line, size * line.size, width)
        ]

    def _broken(self, line: _Line, size: float, width: float) -> Iterator[str]:
        current = ""
        for word in line.text.split():
            longer = f"{current} {word}".strip()
            if current and self._width(longer, size, line.bold) > width:
                yield current
                longer = word
            # A word that is too long for a line of its own, a file name perhaps.
            while self._width(longer, size, line.bold) > width and len(longer) > 1:
                fitting = next(
                    (n for n in range(len(longer) - 1, 1, -1) if self._width(longer[:n], size, line.bold) <= width), 1
                )
                yield longer[:fitting]
                longer = longer[fitting:]
            current = longer
        yield current

    def _text(self, x: float, y: float, line: _Line, size: float, align: str = "left") -> None:
        size *= line.size
        self.figure.text(
            self._x(x),
            self._y(y + size * self.POINT),
            line.text,
            size=size,
            weight="bold" if line.bold else "normal",
            color=str(line.grey),
            ha=align,
            va="baseline",
            # What a visitor's file is called may hold dollar signs.
            parse_math=False,
        )

    def _width(self, text: str, size: float, bold: bool) -> float:
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import text_to_path

        font = FontProperties(size=size, weight="bold" if bold else "normal")
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
        return width * self.POINT

    def _height(self, lines: Sequence[_Line], size: float) -> float:
        return sum(self._pitch(size * line.size) for line in lines)

    def _pitch(self, size: float) -> float:
        return size * self.POINT * self.LEADING

    def _rule(self, y: float) -> None:
        from matplotlib.lines import Line2D

        ends = [self._x(self.left), self._x(self.right)]
        self.figure.add_artist(Line2D(ends, [self._y(y)] * 2, color="0.4", linewidth=0.5))

    def _axes(self, x: float, y: float, width: float, height: float):
        axes = self.figure.add_axes(
            (self._x(x), self._y(y + height), width / PAGE_MM[0], height / PAGE_MM[1]), frameon=False
        )
        axes.set_axis_off()
        return axes

    @staticmethod
    def _x(x: float) -> float:
        return x / PAGE_MM[0]

    @staticmethod
    def _y(y: float) -> float:
        return 1 - y / PAGE_MM[1]


def _reduced(image: Image.Image, side: float) -> Image.Image:
    """No more pixels than are printed on so many millimetres."""
    image = image.copy()
    pixels = round(side / 25.4 * DPI)
    image.thumbnail((pixels, pixels))
    return image


def _data_uri(image: Image.Image, side: float) -> str:
    """A PNG with no more pixels than are printed on so many millimetres."""
    file = io.BytesIO()
    _reduced(image, side).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _looked(explanation: Explanation) -> str:
    """What the lines on the slice are, a sentence or two."""
    if not explanation.located:
        method, target = METHODS[explanation.method].title, DISPLAY_TEXT[explanation.target_class].lower()
        if explanation.found:
            return f"Lines: evidence for {target} by {method}."
        return f"No lines: {method} found nothing that speaks for {target}."
    if not explanation.found:
        return "No lines: no place taken for a tumour."
    sees = "sees" if explanation.likely else "suspects"
    said = f"Lines: where it {sees} a tumour, {percent(explanation.peak)} sure."
    if support := explanation.support:
        there = support.of_hundred
        said += f" Of 100 tumours of unseen patients marked as surely, {there} were there (n = {support.n})."
    return said
