"""One question to the language model, over the OpenAI API or a server that speaks it. Called by asking.py from several threads."""

import os
from dataclasses import dataclass, field
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from attune.contract import SyntheticSource
from attune_trainer.data.synthetic.prompt import SCHEMA, longest_answer
from attune_trainer.errors import BadConfig

RETRIES = 5
"""Of the SDK: with growing pauses, longer where the server says Retry-After."""
TIMEOUT = openai.Timeout(120, connect=10)
_FORMATS: tuple[dict[str, Any], ...] = (
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {"response_format": {"type": "json_object"}},
    {},
)
_LIMITS = ("max_tokens", "max_completion_tokens")


class Refused(Exception):
    """The server does not answer about this one article, after all retries; about others it may.

    `passing`: the fault is the server's, and the same request may do later.
    """

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered, and the tokens that are charged; estimated where the server does not tell them."""

    text: str
    input_tokens: int
    output_tokens: int


@dataclass
class Chat:
    """A language model. Servers differ in what they understand: what one refuses is not asked of it again."""

    source: SyntheticSource
    retries: int = RETRIES
    _form: int = 0
    _limit: int = 0
    _client: openai.OpenAI = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._client = openai.OpenAI(
            base_url=self.source.base_url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=self.retries,
            timeout=TIMEOUT,
        )

    def ask(self, prompt: str) -> Reply:
        """Raises Refused, and BadConfig where there is no such model, or no right to use it."""
        try:
            return _reply(self._create(prompt), prompt, self.source)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise BadConfig(
                f"{self._who}: {_said(error)}; check OPENAI_API_KEY in the Secret of data.synthetic.llm.secretRef",
                reason="LanguageModelRefused",
            ) from error
        except openai.NotFoundError as error:
            raise BadConfig(
                f"{self._who}: {_said(error)}; check data.synthetic.llm.model and baseURL (it usually ends in /v1)",
                reason="LanguageModelNotFound",
            ) from error
        except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as error:
            raise Refused(f"{_said(error)}, {self.retries + 1} attempts", passing=True) from error
        except openai.APIStatusError as error:
            raise Refused(_said(error), passing=False) from error

    @property
    def _who(self) -> str:
        return f"data.synthetic.llm {self.source.model} at {self.source.base_url}"

    def _create(self, prompt: str) -> ChatCompletion:
        """From the strictest form of answer to the freest, and with the name of the token limit that the server takes."""
        form, limit = self._form, self._limit
        while True:
            options: dict[str, Any] = {
                _LIMITS[limit]: longest_answer(self.source.questions_per_article),
                **_FORMATS[form],
            }
            try:
                found: ChatCompletion = self._client.chat.completions.create(
                    model=self.source.model, messages=[{"role": "user", "content": prompt}], **options
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if limit == 0 and _LIMITS[1] in str(error):
                    limit = 1
                elif form + 1 < len(_FORMATS):
                    form += 1
                else:
                    raise
            else:
                self._form, self._limit = form, limit
                return found


def _reply(completion: ChatCompletion, prompt: str, source: SyntheticSource) -> Reply:
    if not isinstance(completion, ChatCompletion):  # the SDK passes on what is no JSON at all
        raise BadConfig(
            f"data.synthetic.llm.baseURL {source.base_url}: answers, but not as a chat completions API does; "
            "it usually ends in /v1",
            reason="LanguageModelNotFound",
        )
    text = (completion.choices[0].message.content or "") if completion.choices else ""
    usage = completion.usage
    return Reply(
        text,
        usage.prompt_tokens if usage else tokens_in(prompt),
        usage.completion_tokens if usage else tokens_in(text),
    )


def tokens_in(text: str) -> int:
    """An estimate on the safe side: three bytes a token."""
    return len(text.encode()) // 3 + 1


def _said(error: openai.APIError) -> str:
    """The server's own words, short, without a key that they may repeat."""
    if isinstance(error, openai.APIStatusError):
        return f"it answers {error.status_code}: {_shortened(str(error.message))}"
    cause = error.__cause__ or error
    return f"it does not answer ({type(cause).__name__}: {_shortened(str(cause))})"


def _shortened(text: str) -> str:
    key = os.environ.get("OPENAI_API_KEY")
    text = " ".join(text.split())
    return (text.replace(key, "…") if key else text)[:300]
