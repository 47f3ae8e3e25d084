"""Where a model comes from and how it is loaded. Used by every stage that needs the model in torch.

A base model is named by a hub id, a folder, a URI of the artifact store, or `version:NAME`.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import Layout, TrainingConfig
from attune.contract.layout import join
from attune_retrieval import store
from attune_retrieval.graph import available_cpus
from attune_trainer.errors import BadConfig, StoreUnavailable

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VERSION_PREFIX = "version:"
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)
HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
NEEDED_FROM_HUB = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md", "*/config.json"]
NOT_LOADED = (".bin", ".h5", ".msgpack", ".pt", ".ckpt")


def locate(name: str, layout: Layout | None, scratch: Path) -> Path:
    """A local folder with the model `name`; downloaded under `scratch` where it is remote.

    Raises BadConfig (BaseModelNotFound) where there is none, StoreUnavailable where it could not be reached.
    """
    if name.startswith(VERSION_PREFIX):
        if layout is None:
            raise BadConfig(f"{name!r} names a version, but there is no store to look it up in; give its folder.")
        return _fetched(layout.version(name.removeprefix(VERSION_PREFIX)), scratch)
    if "://" in name:
        return _fetched(name, scratch)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or not HUB_ID.match(name):
        raise _not_found(name, "there is no such folder")
    return _from_hub(name)


def _fetched(uri: str, scratch: Path) -> Path:
    if not any(store.exists(join(uri, name)) for name in ("config.json", "modules.json")):
        raise _not_found(uri, "it has neither config.json nor modules.json")
    place = store.resolve(uri)
    if place.local:
        return Path(place.path)
    target = scratch / "base-model"
    return store.fetch_folder(uri, target) if store.folder_complete(uri) else _download(place, target)


def _download(place: store.Place, target: Path) -> Path:
    """A folder that was not published by Attune, so it has no manifest: file by file, only what is needed."""
    try:
        names = [str(path).removeprefix(place.path.rstrip("/") + "/") for path in place.fs.find(place.path)]
    except Exception as error:
        raise StoreUnavailable(f"{place.uri}: could not list its files: {error}") from error
    for name in names:
        if name.startswith(("onnx/", "openvino/")) or name.endswith(NOT_LOADED):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        with store.local_copy(join(place.uri, name)) as copy:
            shutil.copyfile(copy, target / name)
    return target


def _not_found(name: str, why: str) -> BadConfig:
    return BadConfig(
        f"base model {name!r}: {why}; give a hub id, a folder, file://, pvc://, s3://, gs:// or version:NAME.",
        reason="BaseModelNotFound",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=NEEDED_FROM_HUB))
    except GatedRepoError as error:
        raise BadConfig(
            f"base model {name!r} is gated: accept its terms and give HF_TOKEN.", reason="BaseModelGated"
        ) from error
    except RepositoryNotFoundError as error:
        raise _not_found(name, "the hub has no such public model") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
            raise _not_found(name, "it is not in the local cache, and HF_HUB_OFFLINE forbids downloading it") from error
        raise StoreUnavailable(f"base model {name!r} could not be downloaded from the hub: {error}") from error


AS_IMPORTED = int(TrainingConfig.model_fields["max_sequence_length"].default)
"""Tokens that version 1 reads of a text, at most."""


def check_complete(folder: Path) -> None:
    """Refuse a folder that lacks weights, configuration or tokenizer, naming what is missing."""

    def anywhere(*names: str) -> bool:
        return any(next(folder.rglob(name), None) is not None for name in names)

    if not anywhere("config.json"):
        raise _incomplete(folder, "config.json")
    if not anywhere("*.safetensors"):
        advice = "; pickled ones are never loaded, save them again as safetensors" if anywhere("*.bin", "*.pt") else ""
        raise _incomplete(folder, f"weights (*.safetensors){advice}")
    if not anywhere(*TOKENIZER_FILES):
        raise _incomplete(folder, "a tokenizer (tokenizer.json)")


def _incomplete(folder: Path, missing: str) -> BadConfig:
    return BadConfig(f"base model {folder} is incomplete: no {missing}.", reason="BaseModelIncomplete")


def load_model(folder: Path, *, query_prompt: str = "", document_prompt: str = "") -> "SentenceTransformer":
    """The model on the best device, with the prompts of the configuration or, where it has none, its own."""
    check_complete(folder)
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(available_cpus())
    try:
        model = SentenceTransformer(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        raise BadConfig(f"base model {folder} cannot be loaded: {error}", reason="BaseModelUnloadable") from error
    own: dict[str, Any] = dict(model.prompts or {})
    model.prompts = {
        "query": query_prompt or own.get("query") or "",
        "document": document_prompt or own.get("document") or "",
    }
    model.default_prompt_name = None
    return model


def load_for(config: TrainingConfig, folder: Path) -> "SentenceTransformer":
    """The base model with the prompts of the configuration."""
    return load_model(folder, query_prompt=config.query_prompt, document_prompt=config.document_prompt)


def load_untouched(config: TrainingConfig, folder: Path) -> "SentenceTransformer":
    """The base model as it is: import exports it and evaluate measures it, with texts cut where it declares, at most."""
    model = load_for(config, folder)
    model.max_seq_length = _declared(model, config.max_sequence_length)
    return model


def as_imported(config: TrainingConfig) -> TrainingConfig:
    """How the base model of a training is measured beside it: reading as far as version 1 does, however short the training's texts."""
    longest = max(config.max_sequence_length, AS_IMPORTED)
    return config.model_copy(update={"max_sequence_length": longest})


def trained_length(model: "SentenceTransformer", config: TrainingConfig) -> int:
    """Tokens that a training reads of a text."""
    return min(config.max_sequence_length, position_limit(model) or config.max_sequence_length)


def served_length(model: "SentenceTransformer", config: TrainingConfig) -> int:
    """Tokens that a trained version reads of a text: as many as it was trained on, and no fewer than the base model as version 1.

    What a model learns on the first part of a text holds for the rest of it, too; benchmarks/quality.py measures what is lost by
    reading no further than the training did.
    """
    longest = max(config.max_sequence_length, imported_length(model))
    return min(longest, position_limit(model) or longest)


def imported_length(model: "SentenceTransformer") -> int:
    """Tokens that the base model as version 1 reads of a text."""
    return _declared(model, AS_IMPORTED)


def _declared(model: "SentenceTransformer", most: int) -> int:
    return min(int(model.max_seq_length or position_limit(model) or most), most)


def declared_prompts(folder: Path) -> dict[str, str]:
    """The prompts that the model's own configuration names, by role."""
    try:
        found = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8")).get("prompts")
    except (OSError, ValueError):
        return {}
    return {role: text for role, text in (found or {}).items() if isinstance(text, str)}


def position_limit(model: "SentenceTransformer") -> int | None:
    """The most tokens the architecture can take; None where it has no such limit."""
    first: Any = model[0]
    if hasattr(first, "sub_modules"):  # a side for queries and one for documents, of the same architecture (`towers`)
        first = next(iter(first.sub_modules.values()))[0]
    config = getattr(getattr(first, "auto_model", None), "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    # RoBERTa-like models count positions from padding_idx + 1 on.
    shifted = getattr(config, "model_type", "") in {"roberta", "xlm-roberta", "camembert", "mpnet"}
    return limit - 2 if shifted else limit


def licence(folder: Path) -> str | None:
    """The licence that the model's card declares, for the manifest; None where there is no card or no licence."""
    for name in ("manifest.json", "README.md"):
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        found = json.loads(text).get("license") if name.endswith(".json") else _front_matter(text).get("license")
        if isinstance(found, str):
            return found
    return None


def _front_matter(card: str) -> dict[str, Any]:
    import yaml

    match = re.match(r"^---\n(.*?)\n---", card, re.DOTALL)
    try:
        loaded = yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError:
        return {}
    return loaded if isinstance(loaded, dict) else {}
