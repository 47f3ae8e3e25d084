"""`attune-trainer evaluate --model DIR …`: any model folder on BEIR files, as one JSON object. Called by the CLI."""

from pathlib import Path
from typing import Any

from attune.contract import EvaluationConfig
from attune_retrieval import manifest
from attune_retrieval.encoding import Encoder
from attune_trainer.encode import TorchEncoder
from attune_trainer.errors import BadData
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.heldout import read
from attune_trainer.evaluate.measure import Measured, intervals, measure_encoder

SEED = 42


def evaluate_folders(
    model: Path, baseline: Path | None, corpus: Path, queries: Path, qrels: Path | None
) -> dict[str, Any]:
    """Metrics of `model` and, beside them, those of `baseline` with 95% intervals of the difference."""
    held_out = read(corpus, queries, qrels)
    found = measure_encoder(open_encoder(model), held_out)
    answer = _numbers(found) | {"queries": len(held_out.queries), "documents": len(held_out.documents)}
    if baseline is not None:
        other = measure_encoder(open_encoder(baseline), held_out)
        differences = intervals(found, other, held_out, resamples=EvaluationConfig().resamples, seed=SEED)
        answer["baseline"] = _numbers(other)
        answer["intervals"] = {name: value.model_dump() for name, value in differences.items()}
        answer["verdict"] = verdict(differences["ndcgAt10"])
    return answer


def open_encoder(folder: Path) -> Encoder:
    """An exported artifact by its ONNX files, once verified; any other folder as a sentence-transformers model."""
    if not folder.is_dir():
        raise BadData(
            f"{folder} is no folder; give an exported artifact or a sentence-transformers model.", reason="DataNotFound"
        )
    if (folder / manifest.NAME).is_file() and ((folder / "onnx").is_dir() or manifest.read(folder).openai is not None):
        from attune_retrieval.artifact import open_verified

        return open_verified(folder, None).encoder
    from attune_trainer.base_model import load_model

    return TorchEncoder(load_model(folder))


def _numbers(measured: Measured) -> dict[str, Any]:
    return measured.metrics().model_dump(by_alias=True, exclude_none=True)
