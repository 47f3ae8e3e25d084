"""A trainer that trains nothing: it speaks the stage contract and ends within a second.

For tests of the operator on the real control plane, where hundreds of stages run; the real trainer is in tests/e2e.
A file `behaviour.json` in the claim `store` changes what it does: {"train": {"exitCode": 137}, "prepare": {"newPairs": 120}}.
It says so in its log, so that a test can wait until the file was read.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from attune.contract import StageResult, StageSpec, corpus_digest

BEHAVIOUR = Path("/mnt/pvc/store/behaviour.json")


def main() -> int:
    spec = StageSpec.from_json(Path(sys.argv[sys.argv.index("--spec") + 1]).read_bytes())
    wanted: dict[str, Any] = {}
    if BEHAVIOUR.exists() and spec.owner.kind in {"TrainingJob", "TrainingSchedule"}:
        wanted = json.loads(BEHAVIOUR.read_text()).get(spec.stage.value, {})
    sys.stdout.write(f"behaves {wanted}\n")
    sys.stdout.flush()
    time.sleep(wanted.get("seconds", 0.1))
    if wanted.get("exitCode"):
        return int(wanted["exitCode"])
    result = StageResult(
        stage=spec.stage,
        spec_digest=spec.digest(),
        succeeded=True,
        reason="Completed",
        message=f"{spec.stage.value} done",
        **_made(spec, wanted),
    )
    Path(os.environ.get("ATTUNE_TERMINATION_LOG", "/dev/termination-log")).write_text(result.termination_message())
    return 0


def _made(spec: StageSpec, wanted: dict[str, Any]) -> dict[str, Any]:
    if spec.stage.value == "prepare":
        counted = {"newPairs": wanted["newPairs"]} if "newPairs" in wanted else {}
        return {
            "dataset": {
                "uri": f"{spec.storage}/d",
                "digest": "sha256:" + "d" * 64,
                "examples": 1200,
                "bySource": {"archive": 1200},
                **counted,
            }
        }
    if spec.stage.value == "evaluate":
        metrics = {
            "ndcgAt10": 0.9,
            "queries": 200,
            "documents": 1000,
            "score": 0.9,
            "scoreMetric": "ndcgAt10",
            "improvementPercent": 12.5,
            "verdict": "better",
            "baseline": {"ndcgAt10": 0.8},
            "intervals": {"ndcgAt10": {"low": 0.05, "high": 0.15}},
        }
        return {"evaluation": {"metrics": metrics, "notMeasured": {"faithfulness": "no judge configured"}}}
    if spec.index is not None:
        digest = corpus_digest([("1", "text")])
        return {"index": {"collection": spec.index.collection, "documents": 1000, "embedded": 1000, "digest": digest}}
    if spec.retire is not None:
        return {}
    assert spec.model is not None
    training = {"loss": 0.5, "epochs": 3, "trainingExamples": 1200, "trainingDurationSeconds": 60}
    return {
        "model": {
            "uri": spec.model.uri,
            "digest": "sha256:" + "a" * 64,
            "dimensions": 384,
            "embeddingSpace": f"space of {spec.model.name}",
            "training": training,
        }
    }


if __name__ == "__main__":
    sys.exit(main())
