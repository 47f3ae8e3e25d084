"""Errors of a stage. Each knows its reason (for conditions) and its exit code (final or worth a retry).

StageError
├── BadData            final   the data is wrong, and will be wrong the next time
│   └── InsufficientData
├── BadConfig          final   a setting or a model that cannot work
├── Diverged           final   training gave NaN or collapsed vectors
├── StoreUnavailable   retried storage or network did not answer
└── Interrupted        retried SIGTERM: a checkpoint was written
"""

from attune.contract import ExitCode


class StageError(Exception):
    """Base. The message names the thing, the value and the way out."""

    exit_code: ExitCode = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__


class BadData(StageError):
    exit_code = ExitCode.BAD_DATA


class InsufficientData(BadData):
    """Fewer pairs than minExamples."""


class BadConfig(StageError):
    exit_code = ExitCode.BAD_CONFIG


class Diverged(StageError):
    exit_code = ExitCode.TRAINING_DIVERGED


class StoreUnavailable(StageError):
    exit_code = ExitCode.STORE_UNAVAILABLE


class Interrupted(StageError):
    exit_code = ExitCode.INTERRUPTED
