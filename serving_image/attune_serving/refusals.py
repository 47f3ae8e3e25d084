"""Errors that clients see: a status, a word for programs, a sentence with the way out. OpenAI's form, on every endpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attune_serving.assign import Assignment


class Refused(Exception):
    """A request that is not answered. `param` is the field it is about, `by` the version that was to answer."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.by: Assignment | None = None

    def body(self) -> dict[str, Any]:
        """`{"error": {"message", "type", "param", "code"}}`."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class Broken(Exception):
    """Something unforeseen, while the version `by` answered; the cause says what."""

    def __init__(self, by: Assignment) -> None:
        super().__init__(by.version)
        self.by = by


@contextmanager
def blamed(by: Assignment) -> Iterator[None]:
    """What goes wrong inside is counted for this version: errors by version are what a rollback is decided on."""
    try:
        yield
    except Refused as refused:
        refused.by = refused.by or by
        raise
    except Broken:
        raise
    except Exception as error:
        raise Broken(by) from error


def invalid(param: str, message: str) -> Refused:
    """A field with a value that is not allowed."""
    return Refused(400, "invalid_value", f"{param}: {message}", param=param)


def too_large(param: str, message: str) -> Refused:
    """A request above a limit of this server."""
    return Refused(413, "too_large", f"{param}: {message}", param=param)


def not_ready() -> Refused:
    """Nothing is served yet."""
    return Refused(503, "not_ready", "no version is loaded yet; /readyz says when one is", retry_after=2)
