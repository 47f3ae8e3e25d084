"""Errors of the trainer, as a tree. `running` turns them into results and exit codes; nothing else ends a stage.

StageError             (attune_retrieval.errors.RetrievalError)
├── BadData            final   the data is wrong, and will be wrong the next time
│   └── InsufficientData
├── BadConfig          final   a setting or a model that cannot work
├── Diverged           final   training gave NaN or collapsed vectors
├── StoreUnavailable   retried storage or network did not answer
├── PeerLost           retried another process of the same training ended
├── Stalled            retried training made no progress
└── Interrupted        retried SIGTERM: a checkpoint was written
"""

from attune.contract import ExitCode
from attune_retrieval.errors import BadConfig, BadData, StoreUnavailable
from attune_retrieval.errors import RetrievalError as StageError

__all__ = [
    "BadConfig",
    "BadData",
    "Diverged",
    "InsufficientData",
    "Interrupted",
    "PeerLost",
    "StageError",
    "Stalled",
    "StoreUnavailable",
]


class InsufficientData(BadData):
    """Fewer pairs than minExamples."""


class Diverged(StageError):
    exit_code = ExitCode.TRAINING_DIVERGED


class PeerLost(StageError):
    """What the lost one says is the cause; this says only that it is gone."""


class Stalled(StageError):
    """Nothing happened for too long."""


class Interrupted(StageError):
    exit_code = ExitCode.INTERRUPTED
