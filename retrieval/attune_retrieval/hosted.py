"""A version that an API answers for: its vectors, and the linear adapter that maps them. Used by evaluation, index and serving alike.

Its artifact has no weights of the model, only `adapter.safetensors` (where there is an adapter), `golden.json` and
`manifest.json`, which names the API.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attune.contract import HostedModel
from attune_retrieval import endpoint
from attune_retrieval.encoding import Advance, Role, Vectors
from attune_retrieval.errors import BadData
from attune_retrieval.graph import Floats, Tokens
from attune_retrieval.manifest import CORRUPT, Manifest

ADAPTER_FILE = "adapter.safetensors"
WEIGHT = "weight"
CHARACTERS_PER_TOKEN = 4
"""The API's tokenizer is not here: lengths are estimated, as English has them."""
MIN_COSINE = 0.999
"""To a recorded vector, of the API's own today: hosted models answer the same text a little differently each time (their batches
differ), usually by less than 0.0001; another model or other dimensions are far below this."""
MIN_MAPPED_COSINE = 0.99999
"""Of the adapter over the recorded vectors of the API, which is arithmetic."""
Side = Literal["both", "query"]
Embed = Callable[[Sequence[str], Advance | None], Floats]


@dataclass(frozen=True, slots=True)
class Adapter:
    """A linear map of vectors, shape (dimensions, dimensions): `weight @ vector`, then unit length."""

    weight: Floats
    side: Side = "both"

    def map(self, vectors: Floats, role: Role) -> Floats:
        """Rows mapped where this role is; float32, unit length."""
        if role == "document" and self.side == "query":
            return vectors
        mapped = vectors @ self.weight.T
        return np.asarray(mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12), dtype=np.float32)


class HostedEncoder:
    """Texts to unit vectors by an API and an adapter. `embed` may be replaced by one that remembers."""

    def __init__(
        self, model: HostedModel, *, prompts: dict[str, str], max_length: int, adapter: Adapter | None = None
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.max_length = max_length
        self.adapter = adapter
        self.embed: Embed = lambda texts, advance: endpoint.embed(model, texts, advance).vectors

    def prepared(self, texts: Sequence[str], role: Role) -> list[str]:
        """As they are sent: with the role's prompt, cut at about `max_length` tokens."""
        prompt = self.prompts.get(role, "")
        return [(prompt + text)[: CHARACTERS_PER_TOKEN * self.max_length] for text in texts]

    def tokenize(self, texts: Sequence[str], role: Role) -> list[Tokens]:
        """As many tokens as the API is likely to count; what they are is not known here."""
        return [Tokens(range(1 + len(text) // CHARACTERS_PER_TOKEN)) for text in self.prepared(texts, role)]

    def mapped(self, raw: Floats, role: Role) -> Vectors:
        """The API's vectors as this version gives them."""
        return raw if self.adapter is None else self.adapter.map(raw, role)

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """As `Encoder.encode`. BadConfig, StoreUnavailable where the API does not answer."""
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        return self.mapped(self.embed(self.prepared(texts, role), advance), role)


def open_hosted(folder: Path, described: Manifest) -> HostedEncoder:
    """The encoder as the files say, right or not; `check` says whether it is."""
    assert described.openai is not None
    adapter = None
    if described.adapter is not None:
        adapter = Adapter(_weight(folder / ADAPTER_FILE, described.dimensions or 0), described.adapter)
    return HostedEncoder(
        described.openai, prompts=described.prompts, max_length=described.max_sequence_length, adapter=adapter
    )


def _weight(path: Path, dimensions: int) -> Floats:
    from safetensors.numpy import load_file

    found: Floats = load_file(path)[WEIGHT]
    if found.shape != (dimensions, dimensions) or not np.isfinite(found).all():
        raise BadData(
            f"{path}: the adapter has shape {found.shape}, or values that are no numbers; {dimensions} dimensions are due",
            reason=CORRUPT,
        )
    return found


def check(folder: Path, encoder: HostedEncoder, golden: Sequence[dict[str, Any]]) -> None:
    """The adapter maps the recorded vectors as recorded, and the API still gives them. BadData where not; StoreUnavailable,
    BadConfig where the API does not answer: a version that cannot be checked could not answer either."""
    for number, entry in enumerate(golden):
        raw = np.asarray([entry["raw"]], dtype=np.float32)
        _near(folder, number, encoder.mapped(raw, entry["role"])[0], entry["vector"], MIN_MAPPED_COSINE)
    sent = [text for entry in golden for text in encoder.prepared([entry["text"]], entry["role"])]
    now = endpoint.embed(encoder.model, sent).vectors
    for number, (entry, raw) in enumerate(zip(golden, now, strict=True)):
        _near(folder, number, raw, entry["raw"], MIN_COSINE, f"{encoder.model.base_url}, {encoder.model.model}: ")


def _near(folder: Path, number: int, found: Floats, wanted: Sequence[float], least: float, by: str = "") -> None:
    expected = np.asarray(wanted, dtype=np.float32)
    cosine = float(found @ expected) if found.shape == expected.shape else 0.0
    if not cosine >= least:
        why = "the API answers by another model now" if by else "the files are damaged"
        raise BadData(
            f"{folder}: {by}golden text {number} gives cosine {cosine:.5f} < {least} to its recorded vector "
            f"({found.shape[0]} dimensions, {expected.shape[0]} recorded); {why}.",
            reason="ApiDiffers" if by else CORRUPT,
        )


def golden(encoder: HostedEncoder, texts: Sequence[tuple[Role, str]]) -> list[dict[str, Any]]:
    """Texts with the API's vectors and this version's, for `check`."""
    sent = [sent for role, text in texts for sent in encoder.prepared([text], role)]
    raw = endpoint.embed(encoder.model, sent).vectors
    return [
        {
            "role": role,
            "text": text,
            "raw": _rounded(vector),
            "vector": _rounded(encoder.mapped(vector[None, :], role)[0]),
        }
        for (role, text), vector in zip(texts, raw, strict=True)
    ]


def _rounded(vector: Floats) -> list[float]:
    return [round(float(value), 7) for value in vector]


def read_golden(path: Path) -> list[dict[str, Any]]:
    """The entries of golden.json."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found
