"""Models with a side for queries and a side for documents, as method queryOnly makes them. Used by training, export and loading.

In a folder such a model is sentence-transformers' own Router, so that `encode_query` and `encode_document` of the plain library give
the right vectors too. Texts, prompts and dimensions are those of one embedding space: that of the document side.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attune.contract import TrainingConfig
from attune_retrieval import manifest
from attune_trainer import base_model
from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Module

QUERY, DOCUMENT = "query", "document"


@dataclass(frozen=True, slots=True)
class Towers:
    """Both sides, each a model of its own on the same device."""

    query: "SentenceTransformer"
    document: "SentenceTransformer"


def has_two(folder: Path) -> bool:
    """Whether the folder's model has a side for queries and another for documents."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return str(modules[0]["type"]).rsplit(".", maxsplit=1)[-1] == "Router"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def refuse_two(config: TrainingConfig, folder: Path) -> None:
    """BadConfig for a method that trains one model for both sides, from a base that has two."""
    if has_two(folder):
        raise BadConfig(
            f"base model {config.base_model!r} has one model for queries and another for documents (method queryOnly); method "
            f"{config.method} trains one for both. Use method: queryOnly, or baseModel: the version that it was trained from.",
            reason="TwoTowers",
        )


def load(config: TrainingConfig, folder: Path) -> Towers:
    """Both sides of the base model with their prompts; where it has one model for both, that one twice.

    Documents are read as they were when the index was made: the same prompt, the same cut. BadConfig for another prompt.
    """
    model = base_model.load_for(config, folder)
    if not (folder / manifest.NAME).is_file():  # not one of ours: as an import of it would read documents
        model.max_seq_length = base_model.imported_length(model)
    before = base_model.declared_prompts(folder).get(DOCUMENT, "")
    if (now := model.prompts[DOCUMENT]) != before:
        raise BadConfig(
            f"documentPrompt {now!r} is not that of the base model ({before!r}): method queryOnly leaves documents as they are "
            "in the index; use that prompt, or method full.",
            reason="PromptDiffers",
        )
    if has_two(folder):
        return split(model)
    return Towers(copy.deepcopy(model), model)


def split(model: "SentenceTransformer") -> Towers:
    """The two sides of a loaded Router."""
    router: Any = model[0]
    rest = list(model.children())[1:]
    return Towers(*(_side(model, [*router.sub_modules[name], *rest]) for name in (QUERY, DOCUMENT)))


def _side(whole: "SentenceTransformer", modules: list[Any]) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    side: SentenceTransformer = SentenceTransformer(modules=modules, device=str(whole.device))
    side.prompts = dict(whole.prompts)
    return side


def joined(towers: Towers) -> "SentenceTransformer":
    """One model of both sides, as it is saved."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Router

    query, document = (cast("list[Module]", list(side.children())) for side in (towers.query, towers.document))
    router: Any = Router.for_query_document(query, document)
    whole: SentenceTransformer = SentenceTransformer(modules=[router], device=str(towers.query.device))
    whole.prompts = dict(towers.query.prompts)
    return whole
