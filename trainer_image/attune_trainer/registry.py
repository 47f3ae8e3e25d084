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
    """`{"uri", "digest", "manifest"}` of each published folder below `root`, sorted; unfinished ones have no manifest yet."""
    for name in store.list_names(root):
        uri = join(root, name)
        if not store.folder_complete(uri):
            continue
        data = store.read_bytes(join(uri, store.MANIFEST))
        try:
            manifest = Manifest.from_json(data)
        except ValidationError:
            continue  # another program's folder, or a damaged one: nothing can be made of it
        told = json.loads(manifest.model_copy(update={"files": ()}).to_json())
        yield {"uri": uri, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "manifest": told}
