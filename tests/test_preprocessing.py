"""A slice is seen exactly as torchvision would show it, and the same in training as in the app."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from brain_tumor.preprocessing import fit, normalize, preprocess
from brain_tumor.registry import MODELS, get_spec
from training.augmentation import Augmentation, augment, draw

# What the network sees of black and of white, per channel.
SYMMETRIC = (128, [-1.0] * 3, [1.0] * 3)
UNIT = (224, [0.0] * 3, [1.0] * 3)
IMAGENET = (224, [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225])
RANGES = {
    "cnn_v1": SYMMETRIC,
    "cnn_v2": SYMMETRIC,
    "cnn_v3": SYMMETRIC,
    "cnn_v4": SYMMETRIC,
    "resnet18": IMAGENET,
    "resnet50": IMAGENET,
    "efficientnet_b0": IMAGENET,
    "baseline_cnn": UNIT,
    "resnet50_linear_probe": UNIT,
    "focused_resnet": (352, *IMAGENET[1:]),
}


def picture(width: int, height: int, mode: str) -> Image.Image:
    rng = np.random.default_rng(width * height)
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("width", "height"), [(224, 224), (128, 128), (37, 101), (333, 500), (512, 511), (1, 1)])
@pytest.mark.parametrize("size", [128, 224])
def test_fit_is_torchvisions_resize(width, height, mode, size):
    image = picture(width, height, mode)
    expected = transforms.PILToTensor()(transforms.Resize((size, size))(image))
    pixels = fit(image, size)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, expected.expand(3, -1, -1))


def test_fit_leaves_the_image_alone():
    image = picture(224, 224, "RGB")
    before = image.tobytes()
    fit(image, 224).zero_()
    assert image.tobytes() == before


@pytest.mark.parametrize("name", MODELS)
def test_preprocess_is_torchvisions_pipeline(name):
    how = get_spec(name).preprocessing
    images = [picture(300, 200, "RGB"), picture(how.size, how.size, "L")]
    pipeline = transforms.Compose(
        [transforms.Resize((how.size, how.size)), transforms.ToTensor(), transforms.Normalize(how.mean, how.std)]
    )
    expected = torch.stack([pipeline(image.convert("RGB")) for image in images])
    assert torch.equal(preprocess(images, how), expected)


@pytest.mark.parametrize("name", MODELS)
def test_value_range_is_the_systems_own(name):
    how = get_spec(name).preprocessing
    size, black, white = RANGES[name]
    seen = preprocess([Image.new("L", (60, 50), 0), Image.new("L", (60, 50), 255)], how)
    assert seen.shape == (2, 3, size, size)
    assert seen.dtype == torch.float32
    for image, values in zip(seen, (black, white), strict=True):
        torch.testing.assert_close(image, torch.tensor(values).view(3, 1, 1).expand(3, size, size))


@pytest.mark.parametrize("name", MODELS)
def test_training_without_changes_sees_what_the_app_sees(name):
    how = get_spec(name).preprocessing
    images = [picture(300, 200, "RGB"), picture(150, 151, "L")]
    pixels = torch.stack([fit(image, how.size) for image in images])
    unchanged = draw(2, Augmentation(), torch.Generator().manual_seed(3))
    assert torch.equal(normalize(augment(pixels, unchanged, how.size), how), preprocess(images, how))


def test_normalize_does_not_change_what_it_is_given():
    pixels = torch.rand(1, 3, 4, 4)
    before = pixels.clone()
    normalize(pixels, get_spec("resnet18").preprocessing)
    assert torch.equal(pixels, before)
