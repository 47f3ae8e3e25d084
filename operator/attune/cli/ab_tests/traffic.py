"""The traffic of a Retriever, as every one of its serving Pods tells it (GET /v1/traffic). Called by `commands`; foreseen by `growth`."""

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Any

import aiohttp
from pydantic import ValidationError

from attune.api import labels
from attune.cli.ab_tests import growth
from attune.cli.session import Session
from attune.contract import TrafficReport
from attune.errors import ClusterError
from attune.observation.replicas import PORT, SeenReplica, serving_pods
from attune.views.retrievers import View

PATH = "/v1/traffic"
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the traffic: what replicas saw, or what the caller says, or why nothing is known."""

    retriever: str | None = None
    seen: growth.Seen | None = None
    silent: int = 0
    per_day: float | None = None
    problem: str | None = None

    def view(self) -> View:
        seen = self.seen
        if seen is None:
            return {"retriever": self.retriever, "distinctPerDay": self.per_day, "problem": self.problem}
        grown = growth.fitted(seen)
        return {
            "retriever": self.retriever,
            "replicas": seen.replicas,
            "silent": self.silent,
            "seconds": seen.seconds,
            "requests": seen.requests,
            "requestsPerDay": seen.requests_per_day,
            "distinct": growth.count(seen.hours)[1],
            "exponent": grown.exponent if grown else None,
            "problem": self.problem or _too_little(seen, grown),
        }

    def days(self, distinct: float) -> View | None:
        """How long so many distinct queries take: likely, fewest, most; likely is None where nothing can be said of growth."""
        if self.per_day is not None:
            exact = distinct / self.per_day
            return {"likely": exact, "fewest": exact, "most": exact}
        if self.seen is None or not self.seen.requests or not self.seen.seconds:
            return None
        grown = growth.fitted(self.seen)
        if grown is None:
            rate = growth.DAY * growth.count(self.seen.hours)[1] / self.seen.seconds
            return {"likely": None, "fewest": distinct / rate, "most": None}
        days = growth.days_until(distinct, grown, self.seen.requests_per_day)
        return {"likely": days.likely, "fewest": days.fewest, "most": days.most}


def _too_little(seen: growth.Seen, grown: growth.Growth | None) -> str | None:
    if not seen.requests:
        return "no query was seen; ask again when there is traffic, or give --per-day"
    if grown is None:
        return "too little was seen to say how distinct queries grow; ask again in an hour, or give --per-day"
    return None


async def traffic_of(session: Session, name: str | None) -> Found:
    """What all replicas of a Retriever saw. Raises Problem where there is no such Retriever; silence is told in the answer."""
    retriever = str((await session.retriever(name))["metadata"]["name"])
    pods = await session.pods({labels.RETRIEVER: retriever, labels.COMPONENT: labels.SERVING})
    ready = [replica for replica in serving_pods(pods) if replica.ready]
    if not ready:
        return Found(retriever, problem=f"no serving Pod of Retriever {retriever} is ready; give --per-day")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS, sock_connect=3)) as client:
        answers = await asyncio.gather(*(_asked(session, client, replica) for replica in ready))
    reports = [answer for answer in answers if isinstance(answer, TrafficReport)]
    problems = [answer for answer in answers if isinstance(answer, str)]
    if not reports:
        return Found(retriever, problem=f"{problems[0]}; give --per-day")
    return Found(retriever, growth.merged(reports), silent=len(problems), problem=problems[0] if problems else None)


async def _asked(session: Session, client: aiohttp.ClientSession, replica: SeenReplica) -> TrafficReport | str:
    """The report of one Pod, or why there is none. The API server's proxy refuses loopback addresses, which are asked directly."""
    try:
        if _is_loopback(replica.address):
            found = await _directly(client, f"http://{replica.address}{PATH}")
        else:
            path = f"/api/v1/namespaces/{session.namespace}/pods/{replica.name}:{PORT}/proxy{PATH}"
            found = (await session.transport.request("GET", path)).json()
        return TrafficReport.model_validate(found)
    except ValidationError as error:
        return f"Pod {replica.name} answers something else on {PATH}: {error.errors()[0]['msg']}"
    except (aiohttp.ClientError, TimeoutError, ValueError, ClusterError) as error:
        return f"Pod {replica.name} does not say its traffic: {str(error) or type(error).__name__}"


async def _directly(client: aiohttp.ClientSession, url: str) -> Any:
    async with client.get(url) as answer:
        if answer.status != 200:
            raise ValueError(f"{url}: HTTP {answer.status}")
        return await answer.json(content_type=None)


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    return bool(host) and ipaddress.ip_address(host).is_loopback
