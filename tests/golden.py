"""Golden end-to-end values: what the committed checkpoints answer to slices drawn by program.

    python tests/golden.py

writes tests/golden.json anew from the repository's own weights/; needed whenever a checkpoint there is replaced.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "weights"
GOLDEN = Path(__file__).with_suffix(".json")
COMMAND = "python tests/golden.py"


def golden_slices() -> dict[str, Image.Image]:
    """Name -> slice: three with a mass at different places, one without."""
    from slices import mri_slice

    masses = {"right": (0.32, -0.1, 0.16), "front": (-0.2, -0.4, 0.22), "middle": (0.0, 0.25, 0.1), "none": None}
    return {f"mass-{place}": mri_slice(seed, tumour=mass) for seed, (place, mass) in enumerate(masses.items(), start=1)}


def committed() -> list[str]:
    """Systems with a checkpoint in the repository, in the registry's order."""
    from brain_tumor.checkpoints import MODEL_FILE
    from brain_tumor.registry import MODELS

    return [name for name in MODELS if (WEIGHTS / name / MODEL_FILE).exists()]


def use_committed_weights() -> None:
    """Forget settings under which other weights would be found."""
    for name in ("BRAIN_TUMOR_WEIGHTS", "BRAIN_TUMOR_HUB_REPO"):
        os.environ.pop(name, None)


def main() -> None:
    use_committed_weights()
    from brain_tumor import classify, load_model

    content = {}
    for name in committed():
        answers = {title: classify(image, [name])[0].probabilities for title, image in golden_slices().items()}
        content[name] = {
            "sha256": load_model(name).checkpoint.sha256,
            "slices": {title: {k: round(p, 4) for k, p in answer.items()} for title, answer in answers.items()},
        }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n")
    print(f"{GOLDEN}: {', '.join(content) or 'no checkpoint in weights/'}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
