"""A model that an API answers for (OpenAI's, or a server that speaks it): what is asked of it, and which variable holds its key."""

import hashlib
from typing import Literal

from pydantic import Field

from attune.contract.base import Contract

OPENAI_URL = "https://api.openai.com/v1"
HOSTED_PREFIX = "openai:"
"""`baseModel` of a version whose base model an API answers for: `openai:text-embedding-3-small`."""
KEY_VARIABLE = "OPENAI_API_KEY"
"""Key of the Secret, and the variable by hand."""


class OpenAITraining(Contract):
    """How provider openai makes a version. All of it determines the vectors."""

    base_url: str = Field(
        OPENAI_URL, alias="baseURL", min_length=1, max_length=1024, description="Root of the API, without a key."
    )
    model: str = Field(
        min_length=1, max_length=256, description="Model that training starts from, as the API calls it."
    )
    method: Literal["adapter", "fineTune"] = Field(
        "adapter",
        description="adapter: a linear map over the API's vectors, trained here. fineTune: the API trains the model.",
    )
    dimensions: int | None = Field(
        None, ge=1, le=16384, description="Length that the API is asked to cut its vectors to; unset: the model's own."
    )
    side: Literal["both", "query"] = Field(
        "both",
        description="What the adapter maps. query: document vectors stay as the API gives them, so the index stays valid.",
    )
    file_format: Literal["pairs", "chat"] = Field(
        "pairs",
        description="Lines of the file that fineTune uploads. pairs: query, pos, neg. chat: messages of user (the query) "
        "and assistant (the answer).",
    )


class HostedModel(Contract):
    """In a manifest: who gives the vectors of this version, before its adapter maps them."""

    base_url: str = Field(alias="baseURL", description="Root of the API.")
    model: str = Field(description="Model, as the API calls it.")
    dimensions: int | None = Field(None, description="Asked for, where the model's own length is not wanted.")

    @property
    def name(self) -> str:
        """All that decides which vector a text gets, in one line."""
        return f"{self.base_url.rstrip('/')} {self.model} {self.dimensions or ''}".strip()


def key_variable(base_url: str) -> str:
    """The variable with the key of this server: one for each, so that no server is ever sent the key of another."""
    return "ATTUNE_API_KEY_" + hashlib.sha256(base_url.rstrip("/").encode()).hexdigest()[:8].upper()
