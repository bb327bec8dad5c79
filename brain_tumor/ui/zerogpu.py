"""Batches on a GPU: this machine's, or one that Hugging Face's ZeroGPU lends for as long as a batch takes.

A ZeroGPU machine has no GPU of its own. What is decorated with `spaces.GPU` runs in another process on one that is
lent, and a Space that decorates nothing does not start there. A single slice is answered on the CPU sooner than a GPU
is lent, and costs the visitor none of the daily allowance.
"""

from __future__ import annotations

from brain_tumor import inference

SECONDS = 15
"""What a batch may take at most; the shorter, the sooner a GPU is lent."""


def prepare() -> None:
    """Let batches be answered on a GPU where there is one; before the page is launched."""
    try:
        from spaces import GPU  # installed by Hugging Face on its machines; decorates nothing where there is no ZeroGPU
    except ImportError:
        inference.use_gpu()
    else:
        inference.use_gpu(GPU(duration=SECONDS))
