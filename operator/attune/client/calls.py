"""The operations of the REST API, each as a function from arguments to a `Call`. `synchronous` and `asynchronous` make methods of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel

from attune.client.core import Call, Events, Pages, Params, Reader
from attune.messages.ab_tests import Cancelling, TestDetail, TestPage, TestRow
from attune.messages.asked import ABTestRequest, MoveRequest, TrainRequest
from attune.messages.events import RunState, VersionState
from attune.messages.retrievers import RetrieverPage, RetrieverView, WhoAmI
from attune.messages.runs import Run, RunDetail, RunPage, Schedule, SchedulePage
from attune.messages.versions import Moved, Timeline, Version, VersionDetail, VersionPage

T = TypeVar("T")
ROOT = "/api/rag"
Kind = Literal["embedding", "reranker"]
Words = str | Sequence[str] | None


def versions(
    *,
    retriever: str | None = None,
    type: Kind | None = None,  # noqa: A002  its name there
    stage: Words = None,
    limit: int = 100,
) -> Pages[Version]:
    """Versions, the newest first; `stage` one or several."""
    return _pages("/models", VersionPage, {"retriever": retriever, "type": type, "stage": _several(stage)}, limit)


def version(name: str) -> Call[VersionDetail]:
    """A version with everything that is stored of it."""
    return _get(f"/models/{name}", VersionDetail)


def timeline(name: str) -> Call[Timeline]:
    """The past of a version."""
    return _get(f"/models/{name}/timeline", Timeline)


def version_events(name: str) -> Events[VersionState]:
    """States of a version until it is settled: measured, and no promotion is asked for."""
    return Events(f"{ROOT}/models/{name}/events", VersionState)


def promote(name: str, *, force: bool = False, request_id: str | None = None, key: str | None = None) -> Call[Moved]:
    """Ask for a version to become active. Raises Conflict, whose `reason` says why it cannot."""
    return _post(f"/models/{name}/promote", Moved, _move(force, request_id), key)


def rollback(name: str, *, force: bool = False, request_id: str | None = None, key: str | None = None) -> Call[Moved]:
    """Go back to this version. Raises Gone where its files are deleted."""
    return _post(f"/models/{name}/rollback", Moved, _move(force, request_id), key)


def train(request: TrainRequest | None = None, *, key: str | None = None, **fields: Any) -> Call[Run]:
    """Create a TrainingJob: `train(retriever="news", type="embedding", hyperparameters={"epochs": 2})`, or from a TrainRequest."""
    return _post("/models/train", Run, _body(TrainRequest, request, fields), key)


def runs(*, retriever: str | None = None, phase: Words = None, limit: int = 100) -> Pages[Run]:
    """TrainingJobs, the newest first; `phase` one or several."""
    return _pages("/models/train", RunPage, {"retriever": retriever, "phase": _several(phase)}, limit)


def run(name: str) -> Call[RunDetail]:
    """A TrainingJob with everything that is stored of it."""
    return _get(f"/models/train/{name}", RunDetail)


def cancel_run(name: str) -> Call[Run]:
    """Delete a TrainingJob that is not over. Raises Conflict where it is."""
    return Call("DELETE", f"{ROOT}/models/train/{name}", Reader(Run))


def run_events(name: str) -> Events[RunState]:
    """States of a TrainingJob until it has succeeded or failed."""
    return Events(f"{ROOT}/models/train/{name}/events", RunState)


def start_ab_test(request: ABTestRequest | None = None, *, key: str | None = None, **fields: Any) -> Call[TestRow]:
    """Create an ABTest: `start_ab_test(retriever="news", modelB="emb-v2", metrics=[…])`, or from an ABTestRequest."""
    return _post("/models/ab-test", TestRow, _body(ABTestRequest, request, fields), key)


def ab_tests(*, retriever: str | None = None, phase: Words = None, limit: int = 100) -> Pages[TestRow]:
    """ABTests, the newest first; `phase` one or several."""
    return _pages("/models/ab-test", TestPage, {"retriever": retriever, "phase": _several(phase)}, limit)


def ab_test(name: str) -> Call[TestDetail]:
    """The result of a test."""
    return _get(f"/models/ab-test/{name}", TestDetail)


def cancel_ab_test(name: str) -> Call[Cancelling]:
    """End a test. Raises Conflict where it has ended."""
    return Call("DELETE", f"{ROOT}/models/ab-test/{name}", Reader(Cancelling))


def retrievers(*, limit: int = 100) -> Pages[RetrieverView]:
    """Retrievers, the newest first."""
    return _pages("/retrievers", RetrieverPage, {}, limit)


def retriever(name: str) -> Call[RetrieverView]:
    """What serves, since when, how good; what is on its way; what is wrong."""
    return _get(f"/retrievers/{name}", RetrieverView)


def schedules(*, retriever: str | None = None, limit: int = 100) -> Pages[Schedule]:
    """TrainingSchedules, the newest first."""
    return _pages("/schedules", SchedulePage, {"retriever": retriever}, limit)


def whoami() -> Call[WhoAmI]:
    """Who the caller is, and what the caller may do in the namespace."""
    return _get("/whoami", WhoAmI)


# ---- how they are made


def _get(path: str, model: type[T]) -> Call[T]:
    return Call("GET", ROOT + path, Reader(model))


def _post(path: str, model: type[T], body: dict[str, Any], key: str | None) -> Call[T]:
    """With an Idempotency-Key, so that a retry does nothing twice; give one of your own to survive a restart."""
    return Call("POST", ROOT + path, Reader(model), body=body, headers={"idempotency-key": key or uuid4().hex})


def _pages(path: str, model: type[BaseModel], params: Params, limit: int) -> Pages[Any]:
    def page(cursor: str | None) -> Call[tuple[tuple[Any, ...], str | None]]:
        return Call("GET", ROOT + path, Items(model), params={**params, "limit": limit, "cursor": cursor})

    return Pages(page)


@dataclass(frozen=True, slots=True)
class Items:
    """Reads a page: its items, and where the next one begins."""

    model: type[BaseModel]

    def __call__(self, answer: httpx.Response) -> tuple[tuple[Any, ...], str | None]:
        page: Any = self.model.model_validate_json(answer.content)
        return page.items, page.next_cursor


def _move(force: bool, request_id: str | None) -> dict[str, Any]:
    return MoveRequest(force=force, request_id=request_id).model_dump(by_alias=True, exclude_none=True)


def _several(words: Words) -> list[str] | None:
    return None if words is None else [words] if isinstance(words, str) else list(words)


def _body(form: type[BaseModel], request: BaseModel | None, fields: dict[str, Any]) -> dict[str, Any]:
    """What was given and nothing else: the defaults are the server's."""
    if request is not None:
        if fields:
            raise TypeError(f"give a {form.__name__}, or its fields: {', '.join(fields)}")
        return request.model_dump(mode="json", by_alias=True, exclude_unset=True)
    names = {name: str(info.alias or name) for name, info in form.model_fields.items()}
    unknown = sorted(set(fields) - set(names) - set(names.values()))
    if unknown:
        raise TypeError(f"{form.__name__} has no field {', '.join(unknown)}; there are: {', '.join(names.values())}")
    return {names.get(name, name): _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    """Models inside as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
