"""The one training loop.

Runs on a CPU, on one GPU, and on several GPUs or machines under `accelerate launch`, with nothing else to change. All
randomness is a function of seed, epoch and step, learning rates are a function of the epoch, and the state on disk is
replaced in one move after every epoch: a run that is killed at any moment goes on as if it had not been.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from brain_tumor.preprocessing import normalize
from brain_tumor.registry import ModelSpec
from training.augmentation import augment, draw
from training.cpu import speed_up
from training.crops import cut
from training.data import Samples
from training.location import WithLocation, location_losses, place_layer
from training.recipes import Phase, Recipe

STATE_FILE = "state.safetensors"
EVALUATION_BATCH = 128

log = logging.getLogger(__name__)


class TrainingError(RuntimeError):
    """A run cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Epoch:
    """One line of the history; losses are mean cross-entropies in nats, accuracies fractions.

    Nothing is validated where a recipe says so; `val_loss` and `val_accuracy` are then None.
    """

    epoch: int
    phase: str
    size: int
    head_lr: float
    backbone_lr: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    seconds: float
    images_per_second: float


@dataclass
class Progress:
    """What a run has reached, apart from its tensors. `best_epoch` is -1 until one competes."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = -1
    seconds: float = 0.0

    @property
    def next_epoch(self) -> int:
        return len(self.history)


def train(
    network: nn.Sequential,
    spec: ModelSpec,
    recipe: Recipe,
    train_samples: Samples,
    val_samples: Samples,
    folder: Path,
    seed: int = 0,
    precision: str = "auto",
) -> tuple[dict[str, Tensor], Progress]:
    """Train to the end of the recipe, continuing what `folder` holds.

    Args:
        network: freshly initialised; not used if there is a state to resume from.
        train_samples: at the recipe's load size; `val_samples` at the network's input size.
        folder: where the state, `history.json` and `log.txt` go.
        precision: "no", "bf16", "fp16", or "auto" for bf16 where the hardware computes it.

    Returns:
        The state dict of the epoch with the best validation accuracy, or of the last one where nothing is validated
        (on the CPU), and the progress. Where boxes teach, the dict has the `location` layer of `WithLocation` too.
    """
    accelerator = Accelerator(mixed_precision=automatic_precision() if precision == "auto" else precision)
    run = _Run(network, spec, recipe, folder, seed, accelerator)
    run.fit(train_samples.to(accelerator.device), val_samples.to(accelerator.device))
    return run.best, run.progress


def batches(n: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """A random order of 0..n-1 for one epoch, cut into equal batches: every image once, no small batch at the end.

    A last batch of one or two images would give batch norm nonsense, and dropping it would leave images out.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(_mix(seed, epoch)))
    return list(torch.tensor_split(order, max(1, round(n / batch_size))))


def share(n: int, rank: int, world: int) -> slice:
    """Which of n items belong to process `rank` of `world`: contiguous, disjoint, complete."""
    return slice(n * rank // world, n * (rank + 1) // world)


def parameter_groups(network: nn.Sequential, spec: ModelSpec, phase: Phase) -> list[dict]:
    """Freeze what the phase freezes and return optimizer groups "head" and "backbone" with their base rates."""
    thawed = None if phase.thawed is None else [part for group in spec.thaw[: phase.thawed] for part in group]
    head, backbone = [], []
    for name, parameter in network.named_parameters():
        in_head = spec.head is None or name.startswith(f"{spec.head}.")
        learns = in_head or thawed is None or any(name.startswith(f"{part}.") for part in thawed)
        parameter.requires_grad_(learns)
        if learns:
            (head if in_head else backbone).append(parameter)
    groups = [
        {"name": "head", "params": head, "base_lr": phase.head_lr},
        {"name": "backbone", "params": backbone, "base_lr": phase.backbone_lr},
    ]
    return [group for group in groups if group["params"]]


def resolution(recipe: Recipe, size: int, epoch: int) -> int:
    """Side of the training images in that epoch, px; `size` is the network's input size."""
    started = [px for first, px in recipe.resolutions if epoch >= first]
    return started[-1] if started else size


class _Run:
    """The state of one training run: network, average, optimizer, best weights, progress."""

    def __init__(self, network, spec: ModelSpec, recipe: Recipe, folder: Path, seed: int, accelerator: Accelerator):
        self.spec, self.recipe, self.folder, self.seed = spec, recipe, folder, seed
        self.accelerator = accelerator
        self.network = network.to(accelerator.device, memory_format=torch.channels_last)
        if accelerator.device.type == "cpu":
            speed_up(self.network)
        self.average: AveragedModel | None = None
        if recipe.ema:
            self.average = AveragedModel(self.network, use_buffers=True)
        self.best: dict[str, Tensor] = {}
        self.learner: nn.Module = self.network
        if recipe.box_weight:
            self.learner = WithLocation(self.network, spec.location_stages, spec.preprocessing.size)
        self.progress = Progress()
        self.optimizer: torch.optim.Optimizer | None = None
        self.model: nn.Module = self.network

    def fit(self, train_samples: Samples, val_samples: Samples) -> None:
        if self.accelerator.is_main_process:
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        resumed = self._resume()
        resized = _Resized(train_samples), _Resized(val_samples)
        for epoch, phase, epoch_in_phase in self._plan():
            if epoch < self.progress.next_epoch:
                continue
            if self._out_of_patience():
                break
            if epoch_in_phase == 0 or self.optimizer is None:
                self._start_phase(phase, resumed if epoch_in_phase else {})
            self._epoch(epoch, phase, epoch_in_phase, *resized)
            self._save()

    def _plan(self) -> Iterator[tuple[int, Phase, int]]:
        epoch = 0
        for phase in self.recipe.phases:
            for epoch_in_phase in range(phase.epochs):
                yield epoch, phase, epoch_in_phase
                epoch += 1

    def _start_phase(self, phase: Phase, optimizer_state: dict[str, Tensor]) -> None:
        self.accelerator.free_memory()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        groups = parameter_groups(self.network, self.spec, phase)
        if isinstance(self.learner, WithLocation):
            taught = {"name": "location", "params": self.learner.teacher_parameters(), "base_lr": phase.head_lr}
            groups += [taught] if taught["params"] else []
        optimizer = _optimizer(self.recipe, groups)
        _restore_optimizer(optimizer, optimizer_state)
        # DDP looks at requires_grad when it is built, hence once a phase.
        self.model, self.optimizer = self.accelerator.prepare(self.learner, optimizer)

    def _epoch(self, epoch: int, phase: Phase, epoch_in_phase: int, train_data: _Resized, val_data: _Resized) -> None:
        started = time.perf_counter()
        size = resolution(self.recipe, self.spec.preprocessing.size, epoch)
        samples = train_data.at(self.recipe.load_size or size)
        world, rank, device = self.accelerator.num_processes, self.accelerator.process_index, self.accelerator.device
        torch.manual_seed(_mix(self.seed, epoch) + rank)
        drawing = torch.Generator().manual_seed(_mix(self.seed, epoch) + 1)

        self.model.train()
        totals = torch.zeros(2, device=device)
        # Copied now: a copy amid the epoch would have the host wait until the GPU has done all it was given.
        order = batches(len(samples), self.recipe.batch_size, self.seed, epoch)
        todo = [batch.to(device) for batch in order]
        known = samples.labels.cpu(), samples.boxes.cpu()
        title = f"epoch {epoch + 1}/{self.recipe.epochs}"
        bar = tqdm(todo, desc=title, leave=False, disable=not self._shows_progress())
        for step, batch in enumerate(bar):
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.schedule(group["base_lr"], epoch_in_phase + step / len(todo), phase.epochs)
            changes = draw(len(batch), self.recipe.augmentation, drawing)
            mine = share(len(batch), rank, world)
            indices = batch[mine]
            labels = samples.labels[indices]
            if self.recipe.crops:
                changes, shown = cut(changes, *(values[order[step]] for values in known), self.recipe.crops, drawing)
                labels = shown[mine].to(device, non_blocking=True)
            pixels = augment(samples.pixels[indices], changes.take(mine), size)
            inputs = normalize(pixels, self.spec.preprocessing).contiguous(memory_format=torch.channels_last)
            with self.accelerator.autocast():
                outputs = self.model(inputs)
            logits = outputs[0] if self.recipe.box_weight else outputs
            losses = F.cross_entropy(
                logits.float(), labels, label_smoothing=self.recipe.label_smoothing, reduction="none"
            )
            objective = losses.sum()
            if self.recipe.box_weight:
                theta = changes.take(mine).theta.to(device, non_blocking=True)
                taught = location_losses(outputs[1].float(), samples.boxes[indices], theta)
                objective = objective + self.recipe.box_weight * taught.sum()
            # Gradients are averaged over processes whose shares may differ by one image.
            self.accelerator.backward(objective * world / len(batch))
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                _follow(self.average, self.network, self.recipe.ema)
            totals += torch.stack([losses.detach().sum(), (logits.argmax(1) == labels).sum()])
        train_loss, train_correct = self.accelerator.reduce(totals).tolist()
        n = len(samples)
        trained = time.perf_counter() - started

        val_loss, val_accuracy = self._validate(val_data.at(size)) if self.recipe.validate else (None, None)
        rates = {group["name"]: group["lr"] for group in self.optimizer.param_groups}
        row = Epoch(
            epoch=epoch,
            phase=phase.name,
            size=size,
            head_lr=rates.get("head", 0.0),
            backbone_lr=rates.get("backbone", 0.0),
            train_loss=train_loss / n,
            train_accuracy=train_correct / n,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            seconds=time.perf_counter() - started,
            images_per_second=n / trained,
        )
        if not math.isfinite(row.train_loss):
            raise TrainingError(f"The training loss is {row.train_loss} in epoch {epoch + 1}; lower the learning rate.")
        self.progress.seconds += row.seconds
        self._keep_if_best(row)
        self.progress.history.append(row)

    def _validate(self, samples: Samples) -> tuple[float, float]:
        network = self.average.module if self.average is not None else self.network
        mine = share(len(samples), self.accelerator.process_index, self.accelerator.num_processes)
        with self.accelerator.autocast():
            logits = predict(network, self.spec, samples.pixels[mine])
        labels = samples.labels[mine]
        loss = F.cross_entropy(logits, labels, reduction="sum")
        totals = torch.stack([loss, (logits.argmax(1) == labels).sum()])
        loss, correct = self.accelerator.reduce(totals).tolist()
        return loss / len(samples), correct / len(samples)

    @property
    def _first_competing(self) -> int:
        """First epoch at the last resolution; accuracies on smaller images are of another task."""
        return self.recipe.resolutions[-1][0] if self.recipe.resolutions else 0

    def _keep_if_best(self, row: Epoch) -> None:
        if row.epoch < self._first_competing:
            return
        best = self.progress.best_epoch
        # A tie goes to the later epoch, which has seen more.
        if best < 0 or not self.recipe.validate or row.val_accuracy >= self.progress.history[best].val_accuracy:
            self.progress.best_epoch = row.epoch
            source = self.average.module if self.average is not None else self.network
            kept = source.state_dict()
            if isinstance(self.learner, WithLocation):
                location = place_layer(source) or self.learner.location
                kept = kept | _prefixed("location", location.state_dict())
            self.best = {key: value.detach().cpu().clone() for key, value in kept.items()}

    def _out_of_patience(self) -> bool:
        accuracies = [row.val_accuracy for row in self.progress.history[self._first_competing :]]
        if self.recipe.patience is None or not self.recipe.validate or not accuracies:
            return False
        # Patience counts from the last epoch that was truly better, not from a tie.
        first_best = accuracies.index(max(accuracies))
        return len(accuracies) - 1 - first_best >= self.recipe.patience

    def _shows_progress(self) -> bool:
        return self.accelerator.is_local_main_process and os.isatty(2)

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        row = self.progress.history[-1]
        kept = " *" if row.epoch == self.progress.best_epoch else ""
        validated = "" if row.val_loss is None else f"val loss {row.val_loss:.4f} acc {row.val_accuracy:.2%}{kept}  "
        line = (
            f"epoch {row.epoch + 1:3d}/{self.recipe.epochs}  {row.phase}  {row.size} px  "
            f"train loss {row.train_loss:.4f} acc {row.train_accuracy:.2%}  "
            f"{validated}lr {row.head_lr:.1e}  {row.seconds:.0f} s  {row.images_per_second:.0f} images/s"
        )
        log.info(line)
        with open(self.folder / "log.txt", "a") as file:
            file.write(line + "\n")
        history = json.dumps([asdict(row) for row in self.progress.history], indent=1)
        _replace(self.folder / "history.json", history.encode())

        tensors = _prefixed("network", self.network.state_dict()) | _prefixed("best", self.best)
        if self.average is not None:
            tensors |= _prefixed("average", self.average.state_dict())
        if isinstance(self.learner, WithLocation) and not self.learner.shared:
            tensors |= _prefixed("location", self.learner.location.state_dict())
        for i, parameter in enumerate(_parameters(self.optimizer)):
            tensors |= _prefixed(f"optimizer.{i}", self.optimizer.state.get(parameter, {}))
        temporary = self.folder / (STATE_FILE + ".partial")
        # safetensors writes memory as it lies there and refuses channels_last, hence contiguous().
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
            temporary,
            metadata={
                "progress": json.dumps(asdict(self.progress)),
                "recipe": repr(self.recipe),
                "precision": self.accelerator.mixed_precision,
                # How fp16 gradients are scaled; without it, resumed steps would be skipped until it is found anew.
                "scaler": json.dumps(self.accelerator.scaler.state_dict() if self.accelerator.scaler else None),
            },
        )
        os.replace(temporary, self.folder / STATE_FILE)

    def _resume(self) -> dict[str, Tensor]:
        """Load the state, if there is one; returns the optimizer's tensors."""
        path = self.folder / STATE_FILE
        if not path.exists():
            return {}
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            if metadata["recipe"] != repr(self.recipe):
                raise TrainingError(
                    f"{self.folder} was started with another version of its recipe. Delete it to train anew, or take "
                    f"the recipe back to: {metadata['recipe']}"
                )
            precision = self.accelerator.mixed_precision
            if metadata.get("precision", precision) != precision:
                raise TrainingError(
                    f"{self.folder} was started in {metadata['precision']}, and this would go on in {precision}: give "
                    f"--precision {metadata['precision']}, or delete it to train anew."
                )
            scaler = json.loads(metadata.get("scaler", "null"))
            if scaler and self.accelerator.scaler:
                self.accelerator.scaler.load_state_dict(scaler)
            progress = json.loads(metadata["progress"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no dict)
        progress["history"] = [Epoch(**row) for row in progress["history"]]
        self.progress = Progress(**progress)
        self.network.load_state_dict(_under("network", tensors))
        self.best = _under("best", tensors)
        if self.average is not None:
            self.average.load_state_dict(_under("average", tensors))
        if isinstance(self.learner, WithLocation) and not self.learner.shared:
            self.learner.location.load_state_dict(_under("location", tensors))
        log.info("Resuming %s after epoch %d.", self.folder, self.progress.next_epoch)
        return _under("optimizer", tensors)


class _Resized:
    """Samples at another size, made when first asked for and kept until another size is asked for."""

    def __init__(self, samples: Samples):
        self.original = self.current = samples

    def at(self, size: int) -> Samples:
        if self.current.pixels.shape[-1] != size:
            self.current = self.original
        if self.current.pixels.shape[-1] != size:
            chunks = [
                F.interpolate(chunk.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
                for chunk in self.original.pixels.split(EVALUATION_BATCH)
            ]
            self.current = replace(self.original, pixels=torch.cat(chunks))
        return self.current


@torch.no_grad()
def predict(network: nn.Module, spec: ModelSpec, pixels: Tensor) -> Tensor:
    """Logits float32 (N, 4) for uint8 pixels (N, 3, H, W), in evaluation mode, a batch at a time."""
    network.eval()
    logits = [
        network(normalize(chunk, spec.preprocessing).contiguous(memory_format=torch.channels_last)).float()
        for chunk in pixels.split(EVALUATION_BATCH)
    ]
    return torch.cat(logits)


def automatic_precision() -> str:
    """Mixed precision that the hardware computes fast: "bf16", "fp16", or "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bf16" if "amx_bf16" in flags or "avx512_bf16" in flags else "no"


def _optimizer(recipe: Recipe, groups: list[dict]) -> torch.optim.Optimizer:
    for group in groups:
        group["lr"] = group["base_lr"]
    # fused: one pass over memory a step, where steps on small images take a tenth of their time for it otherwise.
    common = {"weight_decay": recipe.weight_decay, "fused": True}
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(groups, **common)
        case "adamw":
            return torch.optim.AdamW(groups, **common)
        case "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=recipe.momentum, **common)
    raise ValueError(f"Unknown optimizer {recipe.optimizer!r}; a recipe says adam, adamw or sgd.")


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    for i, parameter in enumerate(_parameters(optimizer)):
        state = _under(str(i), tensors)
        for key, value in state.items():
            value = value.to(parameter.device)
            # What has the parameter's shape lies in memory as it does (channels_last); Adam's count of steps has none.
            value = torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            optimizer.state[parameter][key] = value


@torch.no_grad()
def _follow(average: AveragedModel, network: nn.Module, decay: float) -> None:
    """One step of the moving average of parameters and buffers.

    `AveragedModel.update_parameters` sends its count of steps to the GPU and has it sent back, which waits for it.
    """
    steps = int(average.n_averaged)  # lies on the CPU, as the average itself was never moved
    # Early averages follow quickly, so that the random start is forgotten.
    weight = 1 - min(decay, (1 + steps) / (10 + steps)) if steps else 1.0
    pairs = [*zip(average.module.parameters(), network.parameters(), strict=True)]
    pairs += zip(average.module.buffers(), network.buffers(), strict=True)
    real = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_(*map(list, zip(*real, strict=True)), weight)
    for mean, value in pairs:
        if not mean.is_floating_point():
            mean.copy_(value)
    average.n_averaged += 1


def _mix(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) * 1_000


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".partial")
    temporary.write_bytes(content)
    os.replace(temporary, path)
