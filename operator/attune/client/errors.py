"""What can go wrong with a request, as a small tree. Every error says what the server said.

ClientError
├── Unreachable          no answer: the request may or may not have happened
└── ApiError             an answer that is not 2xx; `problem` is what the server said, where it said it in a known form
    ├── Unauthorized     401: no token, or one that is not accepted
    ├── Forbidden        403: the right that is missing is named
    ├── NotFound         404
    ├── Conflict         409: it cannot be done now; `reason` says why
    ├── Gone             410: it is gone for good
    ├── BadRequest       400, 413, 415, 422: something in the request is wrong; `problem.errors` names the fields
    ├── Unavailable      429, 503: later; `retry_after` in seconds
    └── Refused          every other one
"""

import httpx
from pydantic import ValidationError

from attune.messages.problem import Problem


class ClientError(Exception):
    """Base."""


class Unreachable(ClientError):
    """No answer came."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
        """False where it is sure that the server never saw the request."""


class ApiError(ClientError):
    """The server said no."""

    def __init__(
        self, status: int, detail: str, problem: Problem | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{detail} (HTTP {status})")
        self.status = status
        self.detail = detail
        self.problem = problem
        self.retry_after = retry_after

    @property
    def reason(self) -> str | None:
        """The word for programs."""
        return self.problem.reason if self.problem is not None else None


class Unauthorized(ApiError):
    """401."""


class Forbidden(ApiError):
    """403."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409."""


class Gone(ApiError):
    """410."""


class BadRequest(ApiError):
    """400, 413, 415 or 422."""


class Unavailable(ApiError):
    """429 or 503."""


class Refused(ApiError):
    """Another status."""


_KINDS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: BadRequest,
    415: BadRequest,
    422: BadRequest,
    429: Unavailable,
    503: Unavailable,
}


def of_answer(answer: httpx.Response) -> ApiError:
    """The error for an answer that was read and is not 2xx."""
    problem = _problem(answer)
    detail = problem.detail if problem is not None else _said(answer)
    kind = _KINDS.get(answer.status_code, Refused)
    return kind(answer.status_code, detail, problem, _seconds(answer.headers.get("retry-after")))


def of_transport(error: httpx.TransportError, what: str) -> Unreachable:
    """The error for no answer."""
    never = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return Unreachable(f"{what}: {error or type(error).__name__}", sent=not never)


def _problem(answer: httpx.Response) -> Problem | None:
    try:
        return Problem.from_json(answer.content)
    except ValidationError:
        return None


def _said(answer: httpx.Response) -> str:
    """Of serving, whose errors have OpenAI's form; else the beginning of whatever came."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300] or answer.reason_phrase


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value is not None else None
    except ValueError:
        return None
