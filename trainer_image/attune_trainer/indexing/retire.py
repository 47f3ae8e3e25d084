"""The retire stage: delete collections and artifacts that no version needs any more. Called by `stages`.

What is to go was decided by the operator. Absent things are fine, so the stage may be repeated.
"""

from attune.contract import StageSpec
from attune_retrieval import store as files
from attune_retrieval.index import open_store
from attune_trainer.errors import BadConfig


def retire(spec: StageSpec) -> str:
    """Delete; returns a sentence that says what was there. BadConfig for a spec without `retire`."""
    work = spec.retire
    if work is None:
        raise BadConfig("stage retire needs `retire`, what is to be deleted; the spec lacks it.")
    gone: list[str] = []
    if work.index is not None and work.collections:
        store = open_store(work.index)
        try:
            gone += [f"collection {name}" for name in work.collections if store.drop(name)]
        finally:
            store.close()
    for uri in work.artifacts:
        if files.exists(uri):
            gone.append(uri)
        files.delete(uri)
    return f"deleted: {', '.join(gone)}." if gone else "there was nothing left to delete."
