"""A version that an API answers for: the API gives the vectors, its adapter maps them here. Used by `asking`.

What the API does not answer is a failure of this version: its client is told so (502, 503), and the inline guard counts it.
"""

import asyncio
from collections.abc import Sequence

import httpx

from attune_retrieval import endpoint
from attune_retrieval.encoding import Role
from attune_retrieval.endpoint import Busy
from attune_retrieval.errors import RetrievalError, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.hosted import HostedEncoder
from attune_serving.refusals import Refused

FAILED = "upstream_failed"
INLINE_TEXTS = 8
"""So many vectors are mapped on the event loop: a thread would cost more."""


async def vectors(client: httpx.AsyncClient, encoder: HostedEncoder, texts: Sequence[str], role: Role) -> Floats:
    """Unit vectors, shape (len(texts), dimensions). Refused: 502 where the API says no, 503 where it does not answer now."""
    try:
        raw = (await endpoint.embed_now(client, encoder.model, encoder.prepared(texts, role))).vectors
    except Busy as busy:
        raise Refused(503, FAILED, str(busy), retry_after=busy.retry_after or 2) from busy
    except StoreUnavailable as away:
        raise Refused(503, FAILED, str(away), retry_after=30) from away
    except RetrievalError as error:
        raise Refused(502, FAILED, str(error), retry_after=1) from error
    if len(texts) <= INLINE_TEXTS:
        return encoder.mapped(raw, role)
    return await asyncio.to_thread(encoder.mapped, raw, role)
