"""The other replicas of this Retriever: who they are, and what they say. Plain HTTP between Pods; whoever is silent is asked again.

    POST /v1/peer/claims   {"run", "replica", "claims": [[metric, unit, arm, split, since], …]}
                           → {"known", "had": [[metric, unit, arm, split], …]}
GET  /v1/peer/units    ?run=…  → {"ledger", "exposed", "valued"}, as `Ledger.dump`; {"ledger": null}: nothing known
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx
import orjson
import structlog

from attune_serving.counting.ledger import Cell, Claim, Key

log = structlog.get_logger(__name__)
PEER_SECONDS = 1.0
"""How often it is asked who the other replicas are, while a test runs."""
CALL_SECONDS, DUMP_SECONDS = 2.0, 30.0
Find = Callable[[], Awaitable[dict[str, str]]]
"""Name → host:port of every replica that there is; raises what its transport raises."""


@dataclass
class Peers:
    """All replicas but this one. `find` None: there are no others."""

    replica: str
    find: Find | None = None
    _known: dict[str, str] | None = None
    _asked: float = float("-inf")
    _client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS))

    async def known(self) -> dict[str, str] | None:
        """Name → host:port; None as long as nobody could say. While it cannot be asked, the last answer holds."""
        if self.find is None:
            return {}
        if monotonic() - self._asked >= PEER_SECONDS:
            self._asked = monotonic()
            try:
                found = await self.find()
                self._known = {name: address for name, address in found.items() if name != self.replica}
            except Exception as error:  # an API server that is away, or answers nonsense
                log.debug("the other replicas are not known", problem=repr(error))
        return self._known

    async def claim(self, address: str, run: str, claims: Sequence[Claim]) -> dict[Key, Cell] | None:
        """What that replica keeps; None: it is silent, or does not know of the test yet."""
        rows = [[c.metric, c.unit, c.cell.arm, c.cell.split, c.since] for c in claims]
        answer = await self._call("POST", address, "claims", {"run": run, "replica": self.replica, "claims": rows})
        if answer is None or not answer.get("known"):
            return None
        return {(metric, unit): Cell(arm, split) for metric, unit, arm, split in answer["had"]}

    async def units(self, address: str, run: str) -> dict[str, Any] | None:
        """All that it knows, as `Ledger.dump`; {"ledger": None} if that is nothing; None: it is silent."""
        return await self._call("GET", address, "units", {"run": run})

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, method: str, address: str, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        url = f"http://{address}/v1/peer/{what}"
        try:
            if method == "GET":
                answer = await self._client.get(url, params=body, timeout=DUMP_SECONDS)
            else:
                answer = await self._client.post(url, content=orjson.dumps(body))
            found = orjson.loads(answer.content) if answer.status_code == 200 else None
        except (httpx.HTTPError, OSError, orjson.JSONDecodeError) as error:
            log.debug("a replica is silent", address=address, problem=repr(error))
            return None
        return found if isinstance(found, dict) else None


def claims_of(rows: Sequence[Sequence[Any]]) -> list[Claim]:
    """A peer's claims; ValueError or TypeError for anything else."""
    return [
        Claim(str(metric), int(unit), Cell("B" if arm == "B" else "A", str(split)), float(since))
        for metric, unit, arm, split, since in rows
    ]


def rows_of(had: dict[Key, Cell]) -> list[list[Any]]:
    return [[metric, unit, cell.arm, cell.split] for (metric, unit), cell in had.items()]
