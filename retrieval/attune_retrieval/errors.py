"""Errors of what training and serving share. The trainer ends with their exit code, serving says them in a condition.

RetrievalError
├── BadData            final   the data is wrong, and will be wrong the next time
├── BadConfig          final   a setting or a model that cannot work
└── StoreUnavailable   retried storage or network did not answer
"""

from attune.contract import ExitCode


class RetrievalError(Exception):
    """Base. The message names the thing, the value and the way out; `reason` is one CamelCase word."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__


class BadData(RetrievalError):
    exit_code = ExitCode.BAD_DATA


class BadConfig(RetrievalError):
    exit_code = ExitCode.BAD_CONFIG


class StoreUnavailable(RetrievalError):
    exit_code = ExitCode.STORE_UNAVAILABLE
