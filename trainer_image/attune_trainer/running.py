"""Runs one stage from its spec to its exit code. Called by the CLI; the only place that turns exceptions into results.

A stage is idempotent: where its result lies in the store already, made from an equal spec, it is given again.
"""

import errno
import logging
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from attune.contract import ExitCode, Progress, Stage, StageResult, StageSpec
from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer import stages
from attune_trainer.errors import BadConfig, Interrupted, PeerLost, StageError, Stalled, StoreUnavailable
from attune_trainer.indexing.shards import shard_of
from attune_trainer.reporting import Emit, Reporter, print_progress
from attune_trainer.signals import Termination
from attune_trainer.stage_work import Work, layout_of
from attune_trainer.train.world import ALONE, World, joined, told_world

log = logging.getLogger(__name__)
TERMINATION_LOG = "/dev/termination-log"
LAST_WORDS_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a stage ended."""

    result: StageResult
    exit_code: ExitCode


def run_from_file(stage: Stage, path: Path) -> ExitCode:
    """Stage mode: read the spec, do the work, leave the result in the store and in the termination message."""
    started = _now()
    text = b""
    with Termination().installed() as termination:
        try:
            text = _read(path)
            spec = _parse(stage, text, path)
        except StageError as error:
            digest = "sha256:" + sha256(text).hexdigest()
            ended = Ended(_failure(stage, digest, error.reason, str(error), started), error.exit_code)
        else:
            ended = run(spec, termination)
    if told_world().first or not ended.result.succeeded:
        _leave_message(ended.result)
    log.log(
        logging.INFO if ended.result.succeeded else logging.ERROR, "%s: %s", ended.result.reason, ended.result.message
    )
    return ended.exit_code


def run(spec: StageSpec, termination: Termination, emit: Emit = print_progress, interval: float = 3.0) -> Ended:
    """Do one stage, whatever happens; the result is written to the store if the store can be reached."""
    started, place, digest = _now(), result_uri(spec), spec.digest()
    world = told_world() if spec.stage is Stage.TRAIN else ALONE
    try:
        if earlier := _earlier(place, spec):
            log.info("%s was done before; its result is given again", spec.stage.value)
            return Ended(earlier, ExitCode.OK)
        reporter = Reporter(spec.stage, emit if world.first else _to_nobody, interval)
        with (
            tempfile.TemporaryDirectory(prefix="attune-", ignore_cleanup_errors=True) as scratch,
            joined() if spec.stage is Stage.TRAIN else nullcontext(ALONE) as together,
        ):
            work = Work(spec, Path(scratch), reporter, termination, together, partial(_give_up, spec, started, world))
            outcome = stages.do(work)
        reporter.close()
        result = StageResult(
            stage=spec.stage,
            spec_digest=digest,
            succeeded=True,
            reason="Completed",
            started_at=started,
            finished_at=_now(),
            **outcome,
        )
        if world.first:
            store.write_text(place, result.to_json(indent=2) + "\n")
            with suppress(StageError):
                stages.tidy(spec)
        return Ended(result, ExitCode.OK)
    except Exception as error:
        # A library may have turned our Interrupted into an error of its own.
        known = (
            termination.interrupted()
            if termination.requested and not isinstance(error, Interrupted)
            else explained(error)
        )
        if not isinstance(error, StageError):
            traceback.print_exc(file=sys.stderr)
        failed = Ended(_failure(spec.stage, digest, known.reason, str(known), started), known.exit_code)
        if world.first:
            with suppress(StageError, OSError):
                store.write_text(place, failed.result.to_json(indent=2) + "\n")
        return failed


def _to_nobody(progress: Progress) -> None:
    """Of processes that train together the first one reports."""


def _give_up(spec: StageSpec, started: datetime, world: World, stalled: Stalled) -> None:
    """End the process, whatever it hangs in, after its last words: here first, then in the store, which may be what hangs."""
    result = _failure(spec.stage, spec.digest(), stalled.reason, str(stalled), started)
    _leave_message(result)
    log.error("%s: %s", stalled.reason, stalled)

    def to_store() -> None:
        with suppress(StageError, OSError):
            store.write_text(result_uri(spec), result.to_json(indent=2) + "\n")

    if world.first:
        writing = threading.Thread(target=to_store, daemon=True)
        writing.start()
        writing.join(LAST_WORDS_SECONDS)
    os._exit(int(stalled.exit_code))


def explained(error: BaseException) -> StageError:
    """Any exception as a StageError: what it is called, what to do, and whether a retry is worth it."""
    if isinstance(error, StageError):
        return error
    if _says(error, _disk_is_full):
        return StoreUnavailable(
            f"no room left in {tempfile.gettempdir()} ({error}); give the pod more ephemeral storage, or set TMPDIR.",
            reason="DiskFull",
        )
    if _says(error, lambda cause: isinstance(cause, MemoryError) or "OutOfMemory" in type(cause).__name__):
        return StageError(
            f"out of memory ({error}); give the pod more, or lower batchSize or maxSequenceLength.",
            reason="OutOfMemory",
        )
    return StageError(f"{type(error).__name__}: {error}", reason="Unexpected")


def _disk_is_full(cause: BaseException) -> bool:
    """Rust and C++ libraries report it in words alone."""
    full = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    return (isinstance(cause, OSError) and cause.errno in full) or any(
        os.strerror(number) in str(cause) for number in full
    )


def _says(error: BaseException | None, asked: Callable[[BaseException], bool]) -> bool:
    while error is not None:
        if asked(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def result_uri(spec: StageSpec) -> str:
    """Where the result of a stage lies."""
    sharded = spec.index is not None and spec.index.shards > 1
    name = f"result-{shard_of(spec)}.json" if sharded else "result.json"
    return join(layout_of(spec).run(spec.owner.name, spec.owner.uid), spec.stage.value, name)


def _earlier(place: str, spec: StageSpec) -> StageResult | None:
    """A result of the same work whose output is still there. What follows a changing archive is always looked at again."""
    if spec.stage in {Stage.INDEX, Stage.RETIRE}:
        return None
    if not store.exists(place):
        return None
    try:
        result = StageResult.from_json(store.read_bytes(place))
    except ValidationError:
        log.warning("%s cannot be read; the stage is done again", place)
        return None
    made = result.dataset or result.model
    whole = made is None or store.folder_complete(made.uri)
    return result if result.succeeded and result.spec_digest == spec.digest() and whole else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadConfig(f"the spec {path} cannot be read: {error.strerror}.", reason="BadSpec") from error


def _parse(stage: Stage, text: bytes, path: Path) -> StageSpec:
    try:
        spec = StageSpec.from_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'the file'}: {problem['msg']}"
            for problem in error.errors()[:5]
        )
        raise BadConfig(f"the spec {path} is wrong: {problems}.", reason="BadSpec") from error
    if spec.stage is not stage:
        raise BadConfig(
            f"the spec {path} is for stage {spec.stage.value!r}, not for {stage.value!r}.", reason="BadSpec"
        )
    return spec


def _failure(stage: Stage, digest: str, reason: str, message: str, started: datetime) -> StageResult:
    return StageResult(
        stage=stage,
        spec_digest=digest,
        succeeded=False,
        reason=reason,
        message=message,
        started_at=started,
        finished_at=_now(),
    )


def _leave_message(result: StageResult) -> None:
    """The termination message of the pod: the kubelet made the file; by hand there is none unless one is asked for."""
    asked = os.environ.get("ATTUNE_TERMINATION_LOG")
    path = Path(asked or TERMINATION_LOG)
    if asked or path.is_file():
        with suppress(OSError):
            if result.reason == PeerLost.__name__ and path.stat().st_size:
                return  # another process of this Pod has said what happened
            path.write_text(result.termination_message(), encoding="utf-8")


def _now() -> datetime:
    return datetime.now(UTC)
