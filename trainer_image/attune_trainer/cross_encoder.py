"""How a cross-encoder is loaded and asked in torch. Used by training and export; the exported files go by `attune_retrieval.reranking`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune_retrieval.graph import available_cpus
from attune_trainer.base_model import check_complete
from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

HEAD = "ForSequenceClassification"
DEFAULT_LENGTH = 512


def has_head(folder: Path) -> bool:
    """Whether the folder's model gives one score itself; else a head would be made of random numbers."""
    for path in sorted(folder.rglob("config.json"), key=lambda p: len(p.parts)):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        names = config.get("architectures") or []
        if any(str(name).endswith(HEAD) for name in names):
            return len(config.get("id2label") or {"0": ""}) == 1
    return False


def load(folder: Path, *, max_length: int | None) -> "CrossEncoder":
    """The model with one score, texts cut at `max_length` tokens or where it declares, whichever is shorter."""
    check_complete(folder)
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(available_cpus())
    try:
        model: CrossEncoder = CrossEncoder(str(folder), num_labels=1, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise BadConfig(f"base model {folder} cannot be loaded: {error}", reason="BaseModelUnloadable") from error
    limits = [limit for limit in (max_length, declared_length(model)) if limit is not None]
    model.max_length = min(limits, default=DEFAULT_LENGTH)
    return model


def declared_length(model: "CrossEncoder") -> int | None:
    """The most tokens the architecture can take; None where it has no such limit."""
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    shifted = getattr(config, "model_type", "") in {"roberta", "xlm-roberta", "camembert", "mpnet"}
    return limit - 2 if shifted else limit


def scores(model: "CrossEncoder", pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Relevance in 0..1 of each (query, text)."""
    found: Any = model.predict(list(pairs), batch_size=64, show_progress_bar=False, convert_to_numpy=True)
    return [float(score) for score in found]
