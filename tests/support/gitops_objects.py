"""Our objects in every state, as tests/unit/monitoring/objects.yaml describes them, for those who judge their health."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from attune.api import kinds

OBJECTS = yaml.safe_load((Path(__file__).parents[1] / "unit" / "monitoring" / "objects.yaml").read_text())


def object_of(case: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """As the API server has it; its metadata is that of its kind, unless another one is given."""
    base = OBJECTS["bases"][case["kind"]]
    conditions = [
        {"type": kind, "reason": r, "status": s, "message": m, "lastTransitionTime": "2026-03-15T10:00:00Z"}
        for kind, (r, s, m) in case["status"].get("conditions", {}).items()
    ]
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": case["kind"],
        "metadata": {**(metadata or base["metadata"]), "annotations": case.get("annotations", {})},
        "spec": {**base["spec"], **case.get("spec", {})},
        "status": {**case["status"], **({"conditions": conditions} if conditions else {})},
    }
