"""spec.openai of a TrainingJob: which API trains or embeds, and how. Part of the template, so that schedules have it, too."""

from typing import ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel
from attune.api.common import SecretReference
from attune.api.rules import Rule
from attune.api.values import ApiModelName, HttpUrl
from attune.contract import OPENAI_URL


class OpenAISettings(ApiModel):
    """Provider openai. Bounds and defaults are those of attune.contract.OpenAITraining."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.method == 'adapter' || self.side == 'both'",
            "fineTune changes the model for both sides; remove side, or use method adapter",
            path=".side",
        ),
    )

    base_url: HttpUrl = Field(
        OPENAI_URL,
        alias="baseURL",
        description="Root of the API, or of a server that speaks it, e.g. http://host:8000/v1.",
    )
    model: ApiModelName | None = Field(
        None,
        description="Model, as the API calls it; unset: the operator's OPENAI_FINETUNE_MODEL (text-embedding-3-small).",
    )
    secret_ref: SecretReference | None = Field(
        None, description="Secret with the key OPENAI_API_KEY; unset: no key is sent."
    )
    method: Literal["adapter", "fineTune"] = Field(
        "adapter",
        description="adapter: embeds the training texts once and trains a linear map over those vectors, here, in seconds. "
        "fineTune: uploads the pairs and has the API train the model; the public API offers that for no embedding model.",
    )
    dimensions: int | None = Field(
        None, ge=1, le=16384, description="Length that the API is asked to cut its vectors to; unset: the model's own."
    )
    side: Literal["both", "query"] = Field(
        "both",
        description="What the adapter maps. both: queries and documents. query: queries only, so that document vectors, and "
        "with them the index, stay as the API gives them.",
    )
    file_format: Literal["pairs", "chat"] = Field(
        "pairs",
        description="Lines of the file that fineTune uploads. pairs: query, pos, neg. chat: messages of user (the query) "
        "and assistant (the answer).",
    )
