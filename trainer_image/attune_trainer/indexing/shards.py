"""Which part of the corpus this Pod has. Apart from `build`, so that naming a result imports no vector store."""

import os

from attune.contract import StageSpec

SHARD_VARIABLE = "JOB_COMPLETION_INDEX"


def shard_of(spec: StageSpec) -> int:
    """The completion index in an Indexed Job; 0 where the corpus is not cut."""
    return int(os.environ.get(SHARD_VARIABLE, "0")) if spec.index and spec.index.shards > 1 else 0
