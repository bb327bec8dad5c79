"""Does the device wait for images? Training throughput three ways, in one run, as ratios.

    python -m benchmarks.throughput [--system resnet18] [--recipe NAME] [--size PX] [--data DIR] [--seconds 20]

1. this project's step: uint8 images on the device, augmented there in whole batches;
2. the same step on one synthetic batch that is ready on the device: the most that the network itself allows;
3. study A's way: torchvision's ImageFolder, PIL transforms image by image, a DataLoader with 2 workers.

All three run the same network, optimizer, batch size and precision, and are timed in turn, twice over; the better round
of each counts. The recipe says the batch size and how this project's images are changed; study A is timed with its
own recipe, at the network's own input size, alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from brain_tumor.preprocessing import IMAGENET_MEAN, IMAGENET_STD, normalize
from brain_tumor.registry import MODELS, ModelSpec, get_spec
from training.augmentation import augment, draw
from training.data import KAGGLE, data_root, folder_of, load_samples, read_records
from training.engine import automatic_precision, batches
from training.export import hardware
from training.recipes import RECIPES, Recipe

STUDY_A = "progressive_unfreezing"
Batch = tuple[Tensor, Tensor]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    transfer = [name for name, spec in MODELS.items() if spec.study_recipe == STUDY_A]
    parser.add_argument("--system", choices=transfer, default=transfer[0])
    parser.add_argument("--recipe", choices=RECIPES, default=STUDY_A)
    parser.add_argument("--size", type=int, help="side of the training images, px (default: the network's input size)")
    parser.add_argument("--data")
    parser.add_argument("--images", type=int, default=1024, help="how many images to read (default: 1024)")
    parser.add_argument("--seconds", type=float, default=20, help="of each way in each round (default: 20)")
    arguments = parser.parse_args(argv)

    spec, root, recipe = get_spec(arguments.system), data_root(arguments.data), RECIPES[arguments.recipe]
    size = arguments.size or spec.preprocessing.size
    accelerator = Accelerator(mixed_precision=automatic_precision())
    network = spec.build().to(accelerator.device, memory_format=torch.channels_last)
    network, optimizer = accelerator.prepare(network, torch.optim.Adam(network.parameters()))

    def step(batch: Batch) -> None:
        inputs, labels = (tensor.to(accelerator.device, non_blocking=True) for tensor in batch)
        with accelerator.autocast():
            logits = network(inputs.contiguous(memory_format=torch.channels_last))
        accelerator.backward(F.cross_entropy(logits.float(), labels))
        optimizer.step()
        optimizer.zero_grad()

    records = read_records(KAGGLE, root, "Training")
    records = records[:: max(1, len(records) // arguments.images)]
    ways = {
        "this project": _ours(records, root, spec, recipe, size, accelerator.device),
        "synthetic": _synthetic(recipe, size, accelerator.device),
    }
    if arguments.recipe == STUDY_A and size == spec.preprocessing.size:
        ways["study A"] = _study_a(folder_of(KAGGLE, root) / "Training", recipe, size)
    best = dict.fromkeys(ways, 0.0)
    for _ in range(2):
        for name, source in ways.items():
            best[name] = max(best[name], _throughput(source, step, arguments.seconds, accelerator.device))
    step_of = f"{arguments.system}, {arguments.recipe}, {size} px, batch {recipe.batch_size}"
    print(f"{step_of}, {hardware(accelerator.mixed_precision)}")
    for name, rate in best.items():
        print(f"{name:<14} {rate:8.0f} images/s   {rate / best['synthetic']:.2f} of synthetic")


def _throughput(batches_: Iterator[Batch], step: Callable[[Batch], None], seconds: float, device) -> float:
    step(next(batches_))
    _wait(device)
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        batch = next(batches_)
        step(batch)
        images += len(batch[1])
    _wait(device)
    return images / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _ours(records, root, spec: ModelSpec, recipe: Recipe, size: int, device) -> Iterator[Batch]:
    samples = load_samples(records, root, recipe.load_size or size).to(device)
    generator, epoch = torch.Generator().manual_seed(0), 0
    while True:
        for indices in batches(len(samples), recipe.batch_size, 0, epoch):
            changes, indices = draw(len(indices), recipe.augmentation, generator), indices.to(device)
            pixels = augment(samples.pixels[indices], changes, size)
            yield normalize(pixels, spec.preprocessing), samples.labels[indices]
        epoch += 1


def _synthetic(recipe: Recipe, size: int, device) -> Iterator[Batch]:
    inputs = torch.randn(recipe.batch_size, 3, size, size, device=device)
    # As a real batch is once it is ready, so that no step pays for another order of the memory.
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(recipe.batch_size, dtype=torch.long, device=device)
    while True:
        yield inputs, labels


def _study_a(folder, recipe: Recipe, size: int) -> Iterator[Batch]:
    change = transforms.Compose(
        [
            transforms.Resize((recipe.load_size, recipe.load_size)),
            transforms.RandomResizedCrop(size, scale=(0.85, 1.0)),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomVerticalFlip(0.3),
            transforms.RandomRotation(15),
            transforms.ColorJitter(0.2, 0.2, 0.1),
            transforms.RandomAffine(0, translate=(0.1, 0.1)),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    images = ImageFolder(str(folder), change)
    loader = DataLoader(images, recipe.batch_size, shuffle=True, num_workers=2, drop_last=True)
    while True:
        yield from loader


if __name__ == "__main__":
    main()
