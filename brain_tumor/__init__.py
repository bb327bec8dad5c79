"""What several trained networks make of a brain MRI slice, where they looked, and whether to believe them.

    >>> from brain_tumor import classify, explain, list_models, load_model
    >>> load_model("resnet18").classify(read_image("slice.png"))

Not a medical device.
"""

from __future__ import annotations

from collections.abc import Sequence

from brain_tumor.catalogue import ModelInfo, list_models, offered_models
from brain_tumor.explanation import DEFAULT_METHOD, Explanation, explain_reading
from brain_tumor.images import read_image
from brain_tumor.inference import Classifier, Prediction, load_model
from brain_tumor.version import VERSION as __version__  # noqa: F401
from brain_tumor.volumes import is_volume, read_volume

__all__ = [
    "Classifier",
    "Explanation",
    "ModelInfo",
    "Prediction",
    "classify",
    "explain",
    "is_volume",
    "list_models",
    "load_model",
    "read_image",
    "read_volume",
]


def classify(image, models: Sequence[str] | None = None) -> list[Prediction]:
    """Ask several models about one slice.

    Args:
        image: anything `read_image` takes: a path, bytes, a PIL image, an array.
        models: names of systems; None means those that the app offers, as far as they can be loaded.

    Returns:
        One prediction per model, in the order asked for.
    """
    slice_ = read_image(image)
    names = models if models is not None else offered_models()
    return [load_model(name).classify(slice_) for name in names]


def explain(image, model: str, target_class: str | None = None, method: str = DEFAULT_METHOD) -> Explanation:
    """Ask one model about one slice and where it sees the tumour, or with a class, where it saw evidence for that."""
    slice_ = read_image(image)
    classifier = load_model(model)
    return explain_reading(classifier, classifier.read([slice_])[0], slice_.size, target_class, method)
