"""A process that fetches and publishes on request: huggingface_hub reads its settings when it is imported.

Each line on stdin is a JSON list, the name of a function below and its arguments; the answer is a line on stdout, what
the function returned or the text of its error.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

LOADED = "loaded"


def load(prefix: str, system: str) -> str:
    """Find a checkpoint, with that BRAIN_TUMOR_HUB_REPO, and load it."""
    from brain_tumor.checkpoints import find_checkpoint, load_network
    from brain_tumor.registry import get_spec

    os.environ["BRAIN_TUMOR_HUB_REPO"] = prefix
    load_network(find_checkpoint(system), get_spec(system))
    return LOADED


def measured(prefix: str, system: str) -> list:
    """What the catalogue says of a checkpoint: where it comes from, and its measured accuracy."""
    from brain_tumor.catalogue import list_models

    os.environ["BRAIN_TUMOR_HUB_REPO"] = prefix
    model = next(model for model in list_models() if model.spec.name == system)
    return [model.checkpoint and model.checkpoint.source, model.measured_accuracy]


def publish_models(repo: str, token: str, weights: str) -> str:
    """Publish the checkpoints in a folder through the command line; returns what it printed."""
    from training.__main__ import main

    os.environ.update(HF_TOKEN=token, BRAIN_TUMOR_WEIGHTS=weights)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["publish", "models", "--repo", repo])
    return printed.getvalue()


def publish_space(repo: str, token: str, weights: str) -> str:
    """Publish the page with the checkpoints in a folder; returns its address."""
    from training.publish import send, space_upload

    os.environ.update(HF_TOKEN=token, BRAIN_TUMOR_WEIGHTS=weights)
    return send(space_upload(repo), private=True)


def main() -> None:
    functions = {function.__name__: function for function in (load, measured, publish_models, publish_space)}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = functions[name](*arguments)
        except RuntimeError as error:  # what this project's errors are
            answer = str(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
