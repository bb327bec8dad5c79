"""The page. The only part of the package that imports gradio; what it shows is computed elsewhere."""

from __future__ import annotations

import os

# Read by gradio when it is imported: without it, building and opening the page contacts other hosts.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
