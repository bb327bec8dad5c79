"""Where a network says that the tumour lies: an output of its own, beside the class.

While it learned the classes, a network may have learned from boxes that experts drew how much of each cell of its
feature maps the tumour covers (`training.location`). A class-activation map shows what an answer came from, this says
where the tumour is taken to be: it is measured on boxes of patients not seen as any answer is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from brain_tumor.calibration import Bin
from brain_tumor.checkpoints import CONFIG_FILE, CheckpointError, read_config

LOCATION_FILE = "location.safetensors"
LOCATED_FILE = "location.json"


@dataclass(frozen=True, eq=False)
class Locator:
    """A 1x1 convolution on the feature maps of several stages of one checkpoint.

    Attributes:
        stages: names of the network's submodules, the finest first.
        weight: a factor per feature map of all stages (C,).
        bias: added to the sum.
        bins: by a map's largest value, ascending: of `n` slices with a tumour, of patients not seen, the hottest place
            lay in the tumour's box on `right`. Empty where it has not been measured.
    """

    stages: tuple[str, ...]
    weight: Tensor
    bias: float
    bins: tuple[Bin, ...] = ()

    def bin_of(self, peak: float) -> Bin | None:
        """Slices of unseen patients whose maps were as sure; None where there were none."""
        return next((b for b in reversed(self.bins) if b.low <= peak <= b.high), None)

    def probabilities(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Feature maps (N, C, h, w) by stage -> how much of each cell a tumour covers, float (N, h, w) in [0, 1]."""
        together = joined([maps[stage] for stage in self.stages]).float()
        logits = torch.einsum("nchw,c->nhw", together, self.weight.to(together.device)) + self.bias
        return logits.sigmoid()


def joined(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps (N, C, h, w) of several stages, the finest first, those of the others enlarged to its size."""
    finest, *others = maps
    enlarged = (F.interpolate(other, finest.shape[-2:], mode="bilinear") for other in others)
    return torch.cat([finest, *enlarged], dim=1)


def run(network: nn.Sequential, inputs: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """The network's output, and what those of its submodules put out that are named.

    No hooks: several threads may run one network.

    Args:
        stages: dotted names; what they lie in must be nn.Sequential throughout.
    """
    kept = {}
    for name, stage in network.named_children():
        inside = [wanted.removeprefix(f"{name}.") for wanted in stages if wanted.startswith(f"{name}.")]
        if inside:
            inputs, more = run(stage, inputs, inside)
            kept |= {f"{name}.{key}": value for key, value in more.items()}
        else:
            inputs = stage(inputs)
        if name in stages:
            kept[name] = inputs
    return inputs, kept


def load_locator(folder: Path) -> Locator | None:
    """The locator that lies beside a checkpoint; None where there is none.

    Raises:
        CheckpointError: the file is damaged, or belongs to other weights than those beside it.
    """
    path = Path(folder) / LOCATION_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() or {}
            weight, bias = file.get_tensor("weight").float(), file.get_tensor("bias").item()
        bins = _load_bins(path.with_name(LOCATED_FILE))
        locator = Locator(tuple(json.loads(known["stages"])), weight, bias, bins)
        belongs_to = known["sha256"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it, or train the system again.") from None
    if belongs_to != read_config(path.with_name(CONFIG_FILE))["sha256"]:
        raise CheckpointError(f"{path} belongs to other weights than those in {path.parent}. Restore it, or remove it.")
    return locator


def located_json(bins: Sequence[Bin]) -> str:
    """The content of `location.json`, from which `load_locator` reads the bins."""
    return json.dumps([asdict(b) for b in bins], indent=1) + "\n"


def _load_bins(path: Path) -> tuple[Bin, ...]:
    if not path.exists():
        return ()
    try:
        return tuple(Bin(**values) for values in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Restore it, or run `python -m training trust SYSTEM --only localisation`."
        ) from None
