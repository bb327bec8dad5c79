"""What a scanner says it did -> which of the kinds of image that the models know, if any.

Everything said here is chosen from the tables below, never quoted from a file: free texts may name the patient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from brain_tumor.labels import CLASS_NAMES

KNOWN = "T1-weighted MR with contrast agent"
"""What the three tumour classes were mainly learned from, in axial, coronal and sagittal slices."""

MODALITIES = {
    "CT": "a CT scan",
    "PT": "a PET scan",
    "NM": "a nuclear medicine scan",
    "US": "an ultrasound image",
    "CR": "an X-ray image",
    "DX": "an X-ray image",
    "RG": "an X-ray image",
    "MG": "a mammogram",
    "XA": "an X-ray angiogram",
    "RF": "a fluoroscopy",
    "SEG": "a segmentation",
    "RTDOSE": "a radiotherapy dose map",
    "SM": "a microscopy image",
    "ES": "an endoscopy image",
    "XC": "a photograph",
    "GM": "a microscopy image",
    "OP": "an ophthalmic image",
    "OPT": "an ophthalmic image",
    "IO": "a dental X-ray image",
    "PX": "a dental X-ray image",
}
_UNTOLD = ("", "OT", "SC", "DOC")  # modalities of pictures that may show anything

SEQUENCES = {
    "mask": "a segmentation",
    "localiser": "a localiser",
    "diffusion": "diffusion-weighted",
    "perfusion": "a perfusion or functional series",
    "angiography": "an angiography",
    "susceptibility": "susceptibility-weighted",
    "flair": "FLAIR",
    "t1": "T1-weighted",
    "t2": "T2-weighted",
    "pd": "proton-density-weighted",
}
# Looked for in this order: "DWI b0 T2" is diffusion, "T2 FLAIR" FLAIR. In file names "T1c", "T2f" are words too.
_SEQUENCE_WORDS = {
    "mask": r"seg|segmentation|mask|labels?",
    "localiser": r"loc|locali[sz]er|scout|survey",
    "diffusion": r"e?adc|dwi|dti|diff\w*|trace\w*|tensor|b ?\d{3,4}|ep b\d+\w*",
    "perfusion": r"perf\w*|dsc|dce|[p3]?casl|asl|r?cbf|r?cbv|mtt|bold|fmri",
    "angiography": r"tof\w*|mra|mrv|angio\w*|venogra\w*",
    "susceptibility": r"swi\w*|swan|t2 ?\*\w*|t2 ?star\w*|hemo\w*|haemo\w*",
    "flair": r"(?:t2 ?)?flair\w*|dark ?fluid|tirm|t2f",
    "t1": r"t1\w*|mp ?2?rage|f?spgr|bravo|vibe|i?r?tfl\w*|lava",
    "t2": r"t2\w*|haste|ssfse|fiesta\w*|ciss\w*",
    "pd": r"pd|pdw|pd ?fs|proton ?density",
}
_NO_CONTRAST = (
    r"no (?:gad\w*|gd|km|contrast\w*|iv|agent)|pre|non? ?con\w*|without|w ?/? ?o|nativ\w*|unenhanced|t1n|ohne|sans"
    r"|o *km"
)
_CONTRAST = r"post\w*|contrast|enhanced|c?gad\w*|gd|km|ce|t1 ?(?:c|ce|gd|gad|km|post)\w*|c ?\+"
# Before or after something else than the contrast agent: an operation, or a session of a study.
_OTHER_TIME = r"(?<!\w)(?:pre|post) *(?:op|rt|radio|chemo|surg|treat|therap|resect|biops)\w*|(?<!\w)ses \w+"
_AGENT_UNTOLD = r"unk\w*|n[./]?a\.?|[-*.?]+"
_NO_AGENT = r"(?:no|non|none|not|nein|kein\w*|without|w ?/? ?o|ohne|sans)(?![a-z]).*|nil|n|0 ?(?:ml)?"
_HEAD = (
    r"head|brain|skull|pituit|sell|neuro|cran|cereb|orbit|kopf|sch[aä]del|hirn|t[eê]te|sinus|hypoph"
    r"|enc[eé][fp]|cerve(?:au|ll)|cabe[cçz]|testa|hersen|hoofd|huvud|hjern|hj[aä]rn|g[lł]ow|m[oó]zg"
    r"|\b(?:iac|iam|ears?|face)\b"
)
_ACQUISITION_CONTRAST = {  # values of the DICOM element AcquisitionContrast
    "T1": "t1",
    "T2": "t2",
    "T2_STAR": "susceptibility",
    "SUSCEPTIBILITY": "susceptibility",
    "PROTON_DENSITY": "pd",
    "DIFFUSION": "diffusion",
    "PERFUSION": "perfusion",
    "FLUID_ATTENUATED": "flair",
    "FLOW_ENCODED": "angiography",
    "TIME_OF_FLIGHT": "angiography",
    "TOF": "angiography",
}
_OBLIQUE_DEGREES = 30.0


@dataclass(frozen=True)
class Caution:
    """What makes the models' answers less believable on images that were made in some way.

    Attributes:
        text: sentences, for a person.
        unknown: the models know nothing of the kind: none of their answers may stand.
        doubtful: the classes that mean little here, as an answer.
    """

    text: str
    unknown: bool = False
    doubtful: tuple[str, ...] = ()

    def also(self, other: Caution | None) -> Caution:
        """This and the other, which is said first."""
        if other is None:
            return self
        doubtful = tuple(name for name in CLASS_NAMES if name in (*self.doubtful, *other.doubtful))
        return Caution(f"{other.text} {self.text}", self.unknown or other.unknown, doubtful)


BRIGHTER = Caution(
    "It is shown brighter than the slices that the models learned from: on such slices they miss tumours.",
    doubtful=("notumor",),
)
"""How often: "Scans from elsewhere" in docs/trust.md."""


@dataclass(frozen=True)
class Acquisition:
    """How images were made, as far as it is known.

    Attributes:
        modality: a DICOM code such as MR, or empty.
        sequence: a key of `SEQUENCES`, or empty.
        contrast: whether a contrast agent was given; None where nothing is said.
        head: whether the head was examined; None where nothing is said.
        annotated: text is burned into the pixels, so the file says; None where it says nothing and is a capture of a
            screen or the like, on which names often stand.
    """

    modality: str = ""
    sequence: str = ""
    contrast: bool | None = None
    head: bool | None = None
    annotated: bool | None = False

    @property
    def derived(self) -> bool:
        """Drawn or computed over images, not an image itself."""
        return self.sequence == "mask" or self.modality in ("SEG", "RTDOSE")

    @property
    def text(self) -> str:
        """A few words to tell one series of a study from another."""
        kind = MODALITIES.get(self.modality, self.modality if self.modality == "MR" else "image").split(" ", 1)[-1]
        sequence = SEQUENCES.get(self.sequence, "").removeprefix("a ").removeprefix("an ")
        agent = {True: "with contrast agent", None: "", False: "without contrast agent"}[self.contrast]
        return " ".join(filter(None, (kind, sequence, agent)))

    def caution(self, tilt: float = 0.0) -> Caution | None:
        """What makes the models' answers less believable here; None where nothing does.

        Args:
            tilt: degrees between the slices and the nearest of the axial, coronal and sagittal planes.
        """
        sentences = [self._unlike_training()]
        if tilt > _OBLIQUE_DEGREES:
            sentences.append("These slices are oblique; the models were trained on axial, coronal and sagittal ones.")
        if self.annotated:
            sentences.append("Text is burned into these images: look for names before you pass them on.")
        elif self.annotated is None:
            sentences.append("This looks like a capture of a screen: look for names in it before you pass it on.")
        text = " ".join(filter(None, sentences))
        return Caution(text, self._unknown, self._doubtful) if text else None

    @property
    def _unknown(self) -> bool:
        return self.derived or self.modality not in ("MR", *_UNTOLD)

    @property
    def _doubtful(self) -> tuple[str, ...]:
        # A file may be wrong about the part of the body: an answer is given, but not as a verdict.
        if self.head is False or self.sequence not in ("", "t1", "t2", "flair"):
            return CLASS_NAMES
        return ("notumor",) if self.sequence in ("t2", "flair") else ()

    def _unlike_training(self) -> str | None:
        known = f"the models were trained mainly on {KNOWN}"
        if self.modality in MODALITIES:
            return f"This is {MODALITIES[self.modality]}, but {known}: their answers mean nothing here."
        if self.modality not in ("MR", *_UNTOLD):
            return f"This is not an MR image, but {known}: their answers mean nothing here."
        if self.head is False:
            return "The file says that another part of the body than the head was examined: the models know heads only."
        if not self.sequence:
            return f"Which sequence this is could not be told, and {known}: check that it is such."
        if self.sequence in ("flair", "t2"):
            return (
                f"This is {SEQUENCES[self.sequence]}, but {known}, and most images of this kind that they know "
                "are without tumour: no tumour found means little here."
            )
        if self.sequence != "t1":
            return f"This is {SEQUENCES[self.sequence]}, but {known}: their answers mean little here."
        if self.contrast is False:
            return f"This is T1-weighted without contrast agent, but {known}: expect more errors."
        if self.contrast is None:
            return f"No contrast agent is named, but {known}: without one, expect more errors."
        return None


def judge(
    texts: tuple[str, ...],
    modality: str = "",
    agent: str | None = None,
    body_part: str = "",
    scanning: tuple[str, ...] = (),
    echo_time: float | None = None,
    repetition_time: float | None = None,
    inversion_time: float | None = None,
    diffusion_weighting: float | None = None,
    acquisition_contrast: str = "",
    image_type: tuple[str, ...] = (),
    annotated: bool | None = False,
) -> Acquisition:
    """Judge from free texts first, as people name sequences better than parameters do; then from the parameters.

    Args:
        texts: descriptions and names, the most telling first.
        modality: DICOM Modality.
        agent: DICOM ContrastBolusAgent; None where the file has no such element.
        body_part: DICOM BodyPartExamined.
        scanning: DICOM ScanningSequence, such as ("GR", "IR").
        echo_time: ms.
        repetition_time: ms.
        inversion_time: ms.
        diffusion_weighting: b-value, s/mm².
        acquisition_contrast: DICOM AcquisitionContrast.
        image_type: DICOM ImageType.
        annotated: as `Acquisition` has it.
    """
    modality = modality.strip().upper()
    sequence = ""
    if modality == "MR" or modality in _UNTOLD:
        times = (echo_time, repetition_time, inversion_time)
        sequence = (
            ("diffusion" if (diffusion_weighting or 0) > 0 else "")
            or ("localiser" if "LOCALIZER" in image_type else "")
            or next(filter(None, map(_sequence_named, texts)), "")
            or _ACQUISITION_CONTRAST.get(acquisition_contrast, "")
            or _sequence_timed(scanning, *times)
        )
    return Acquisition(modality, sequence, _contrast(texts, agent), _head(body_part), annotated)


def _words(text: str) -> str:
    # Names come as "t1_mprage-SAG.POST": all that separates becomes a space, and "nii" and the like say nothing.
    return re.sub(r"[^\w+*/]|_", " ", text.lower())


def _has(pattern: str, words: str) -> bool:
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", words) is not None


def _sequence_named(text: str) -> str:
    words = _words(text)
    named = [name for name, pattern in _SEQUENCE_WORDS.items() if _has(pattern, words)]
    if "t1" in named and "flair" in named:  # a T1-weighted inversion recovery sequence is called T1 FLAIR
        return "t1"
    return named[0] if named else ""


def _sequence_timed(
    scanning: tuple[str, ...], echo: float | None, repetition: float | None, inversion: float | None
) -> str:
    """The usual ranges at 1.5 and 3 T, in ms; what lies between them is left untold."""
    if not scanning or echo is None:
        return ""
    if "IR" in scanning and (inversion or 0) >= 1500:
        return "flair" if echo >= 60 else "t1"  # the inversion of T1 FLAIR is shorter, but not always
    if "IR" in scanning and "GR" in scanning:
        return "t1"
    if "GR" in scanning:
        return "t1" if echo <= 8 else "susceptibility" if echo >= 15 else ""
    if "SE" in scanning and "EP" not in scanning:
        if echo >= 60:
            return "t2"
        if echo <= 30 and repetition is not None:
            return "t1" if repetition <= 1200 else "pd" if repetition >= 1800 else ""
    return ""


def _contrast(texts: tuple[str, ...], agent: str | None) -> bool | None:
    named = [_contrast_named(text) for text in texts]
    # The agent is often filled in for a whole examination, images before it included.
    if next((one for one in named if one is not None), None) is False:
        return False
    agent = (agent or "").strip().lower()
    if agent and not re.fullmatch(_AGENT_UNTOLD, agent):
        return not re.fullmatch(_NO_AGENT, agent)
    return True if True in named else None


def _contrast_named(text: str) -> bool | None:
    words = re.sub(_OTHER_TIME, " ", _words(text))
    if _has(_NO_CONTRAST, words) or re.search(r"(?<![a-z])c ?-(?![a-z0-9])", text.lower()):
        return False
    if _has(_CONTRAST, words) or re.search(r"\+ ?(?:c|gd|gad|km)", words):  # a plus may follow a letter
        return True
    return None


def _head(body_part: str) -> bool | None:
    if not body_part.strip():
        return None
    return re.search(_HEAD, body_part.lower()) is not None
