"""Where a benchmark was measured, as far as it bears on the numbers. Part of every result."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Where this was measured, as far as it bears on the numbers."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "loadAverage": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "libraries": {
            name: version(name) for name in ("torch", "transformers", "sentence-transformers", "onnxruntime")
        },
    }
