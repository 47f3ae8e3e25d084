"""The other replicas of this Retriever: who they are, and what they say. Plain HTTP between Pods; whoever is silent is asked again.

POST /v1/peer/claims   {"run", "replica", "claims": [[metric, unit, arm, split, since], …]}
                       → {"known", "had": [[metric, unit, arm, split, owner, since], …]}
GET  /v1/peer/units    ?run=…  → {"ledger", "exposed", "valued"}, as `Ledger.dump`; {"ledger": null}: nothing known
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson
import structlog

from attune_serving.counting.ledger import Cell, Claim, Kept, Key

log = structlog.get_logger(__name__)
CALL_SECONDS, DUMP_SECONDS = 2.0, 30.0


class Peers:
    """All replicas but this one, as the ConfigMap names them (`told`), or as they were given at the start.

    `told_later`: who they are is not known before the first word of the ConfigMap; else there are none but those given.
    """

    def __init__(self, replica: str, given: Mapping[str, str] | None = None, *, told_later: bool = False) -> None:
        self.replica = replica
        self._given = given
        self.alone = given is None and not told_later
        """Whether no other replica can ever turn up."""
        self._known: dict[str, str] | None = None if told_later and given is None else self._others(given or {})
        self._client = httpx.AsyncClient(trust_env=False, timeout=CALL_SECONDS)

    def known(self) -> dict[str, str] | None:
        """Name → host:port; None as long as nobody could say."""
        return self._known

    def told(self, text: str | None) -> None:
        """What the ConfigMap says. Without its word, and where it cannot be read, the last one holds."""
        if self._given is not None or text is None:
            return
        try:
            found = orjson.loads(text)
            if found:  # an empty list would be about other Pods than these
                self._known = self._others({str(name): str(address) for name, address in found.items()})
        except (orjson.JSONDecodeError, AttributeError) as error:
            log.warning("the other replicas cannot be read", problem=str(error))

    def _others(self, everyone: Mapping[str, str]) -> dict[str, str]:
        return {name: address for name, address in everyone.items() if name != self.replica}

    async def claim(self, address: str, run: str, claims: Sequence[Claim]) -> dict[Key, Kept] | None:
        """What is somebody else's; None: it is silent. One that does not know of the test yet learns all from us before it counts."""
        rows = [[c.metric, c.unit, c.cell.arm, c.cell.split, c.since] for c in claims]
        answer = await self._call("POST", address, "claims", {"run": run, "replica": self.replica, "claims": rows})
        if answer is None:
            return None
        try:
            return {(row[0], row[1]): Kept(Cell(row[2], row[3]), row[4], row[5]) for row in answer["had"]}
        except (KeyError, IndexError, TypeError):
            return None

    async def units(self, address: str, run: str) -> dict[str, Any] | None:
        """All that it knows, as `Ledger.dump`; {"ledger": None} if that is nothing; None: it is silent."""
        return await self._call("GET", address, "units", {"run": run})

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(self, method: str, address: str, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        url = f"http://{address}/v1/peer/{what}"
        try:
            if method == "GET":
                answer = await self._client.get(
                    url, params=body, timeout=httpx.Timeout(DUMP_SECONDS, connect=CALL_SECONDS)
                )
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


def rows_of(had: dict[Key, Kept]) -> list[list[Any]]:
    return [[*key, kept.cell.arm, kept.cell.split, kept.owner, kept.since] for key, kept in had.items()]
