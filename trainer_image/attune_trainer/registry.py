"""What an artifact store has, read from its manifests: one JSON line an artifact. For `kubectl attune registry rebuild`."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from attune.contract.layout import join
from attune_retrieval import store
from attune_retrieval.manifest import Manifest


def listed(root: str) -> Iterator[dict[str, Any]]:
    """`{"uri", "digest", "manifest"}` of each published folder below `root`, sorted by name, and last `{"artifacts": count}`.

    A manifest that cannot be read gives `{"uri", "problem"}`; a folder without one is not published (yet) and left out.
    """
    count = 0
    for name in store.list_names(root):
        uri = join(root, name)
        if not store.folder_complete(uri):
            continue
        count += 1
        data = store.read_bytes(join(uri, store.MANIFEST))
        try:
            manifest = Manifest.from_json(data)
        except ValidationError as error:
            yield {"uri": uri, "problem": f"manifest.json is damaged, or not one of Attune's: {_first(error)}"}
            continue
        told = json.loads(manifest.model_copy(update={"files": ()}).to_json())
        yield {"uri": uri, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "manifest": told}
    yield {"artifacts": count}


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}".removeprefix(": ")
