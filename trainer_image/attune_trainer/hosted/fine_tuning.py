"""Fine-tuning by an API, through OpenAI's SDK: one file, one job, whatever is killed in between. Called by `hosted.stages`.

The API remembers for us. A job carries the run in its metadata, a file in its name; before either is made, all that there are
are looked through. What was sent without an answer is not sent again before that. So a Pod may be killed between any two calls:
the next one finds the job and goes on waiting for it.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from attune.contract import OpenAITraining, StageSpec, TrainingConfig
from attune_retrieval import endpoint
from attune_trainer.errors import BadConfig, Interrupted, StageError, StoreUnavailable
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination
from attune_trainer.train.pairs import Pair

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import FileObject
    from openai.types.fine_tuning import FineTuningJob

log = logging.getLogger(__name__)
RUN = "attuneRun"
"""Key of the metadata: uid of the TrainingJob, and digest of what is trained on what."""
READS, SECONDS = 6, 30.0
"""Tries of a request that changes nothing, and the time of each. One that makes something is tried once."""
SENT = 5
"""How often something is made again, after it was looked for."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
MOST_HOURS = 72.0
"""A job that is not done then never will be; it is cancelled. activeDeadlineSeconds of the TrainingJob may be sooner."""
OVER = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Run:
    """What tells this run's files and jobs from all others at the API."""

    uid: str
    digest: str

    @staticmethod
    def of(spec: StageSpec) -> "Run":
        """Not by the digest of the whole spec: a newer operator may write more into it while the job runs."""
        training, dataset = spec.config.openai, spec.dataset
        parts = (
            training.to_json() if training is not None else "",
            str(spec.config.epochs),
            str(spec.config.seed),
            dataset.digest or dataset.uri if dataset is not None else "",
        )
        return Run(spec.owner.uid, hashlib.sha256("\n".join(parts).encode()).hexdigest())

    @property
    def mark(self) -> str:
        return f"{self.uid} {self.digest}"

    def file_name(self, part: str) -> str:
        return f"attune-{self.uid}-{self.digest[:16]}-{part}.jsonl"


@dataclass(frozen=True, slots=True)
class Material:
    """What is uploaded: JSONL."""

    train: bytes
    validation: bytes | None


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What came of it; numbers that the API did not report are None."""

    job: str
    model: str
    tokens: int | None
    loss: float | None
    validation_loss: float | None


def lines(pairs: Sequence[Pair], form: Literal["pairs", "chat"]) -> bytes:
    """One JSON object a pair: `{"query", "pos", "neg"}`, or chat messages of the query and its answer."""
    return b"".join(
        json.dumps(_line(pair, form), ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for pair in pairs
    )


def _line(pair: Pair, form: str) -> dict[str, Any]:
    if form == "pairs":
        return {"query": pair.query, "pos": pair.positive, "neg": list(pair.negatives)}
    asked, answered = {"role": "user", "content": pair.query}, {"role": "assistant", "content": pair.positive}
    return {"messages": [asked, answered]}


def client_of(base_url: str, *, retries: int | None = None) -> "OpenAI":
    """OpenAI's client for this server, with its own key and nobody else's."""
    from openai import DefaultHttpxClient, OpenAI

    return OpenAI(
        base_url=base_url,
        api_key=endpoint.key_of(base_url) or "no-key",
        max_retries=READS if retries is None else retries,
        timeout=SECONDS,
        http_client=DefaultHttpxClient(event_hooks={"response": [_is_json]}),
    )


def _is_json(response: Any) -> None:
    """The SDK takes the page of a proxy for an answer; raised here, it is tried again as what did not come."""
    kind = response.headers.get("content-type", "")
    if response.status_code == 200 and "json" not in kind:
        raise ValueError(f"an answer of type {kind or 'unknown'}, not JSON")


@contextmanager
def explained(base_url: str, final: bool = True) -> Iterator[None]:
    """The SDK's errors as ours, in the API's own words. With `final` False what may have been done raises Unsure."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        known = endpoint.refusal(base_url, error.status_code, error.response.text)
        if isinstance(known, StageError):
            raise known from error
        raise _passing(str(known), final) from error
    except (openai.APIError, ValueError) as error:  # no connection, a time-out, an answer that is no JSON
        cause = error.__cause__ or error
        raise _passing(f"{base_url} did not answer well: {type(error).__name__}: {cause}", final) from error


class Unsure(Exception):
    """Sent, and no answer: it may have been done."""


def _passing(message: str, final: bool) -> Exception:
    return StoreUnavailable(message, reason="ApiUnavailable") if final else Unsure(message)


@dataclass
class FineTuning:
    """One run at the API."""

    training: OpenAITraining
    run: Run
    reporter: Reporter
    termination: Termination
    wait: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.reading = client_of(self.training.base_url)
        self.sending = client_of(self.training.base_url, retries=0)

    def tuned(self, config: TrainingConfig, version: str, material: Material) -> FineTuned:
        """Wait for the run's job, which is made if there is none. BadConfig where it failed, was cancelled, or cannot be."""
        return self._followed(self._job(config, version, material))

    # ---- one job

    def _job(self, config: TrainingConfig, version: str, material: Material) -> "FineTuningJob":
        problem = ""
        for number in range(SENT):
            self.termination.check()
            if (known := self.found()) is not None:
                log.info("the job %s of this run is there already (%s)", known.id, known.status)
                return known
            try:
                train = self._file("train", material.train)
                validation = self._file("validation", material.validation) if material.validation else None
                return self._created(config, version, train, validation)
            except Unsure as error:
                problem = str(error)
                log.warning("%s; looking whether it was done all the same", problem)
                self.wait(min(LONGEST_PAUSE, 2.0**number))
        raise StoreUnavailable(f"{problem} ({SENT} attempts)", reason="ApiUnavailable")

    def found(self) -> "FineTuningJob | None":
        """The oldest job of this run, by its metadata or, at servers that keep none, by its file; all pages are looked through."""
        with explained(self.training.base_url):
            files = {file.id for file in self._files("train")}
            mine = [job for job in self.reading.fine_tuning.jobs.list(limit=100) if self._is_mine(job, files)]
        return min(mine, key=lambda job: (job.created_at, job.id), default=None)

    def _is_mine(self, job: "FineTuningJob", files: set[str]) -> bool:
        return (job.metadata or {}).get(RUN) == self.run.mark or job.training_file in files

    def _files(self, part: str) -> "list[FileObject]":
        name = self.run.file_name(part)
        return [file for file in self.reading.files.list(purpose="fine-tune") if file.filename == name]

    def _file(self, part: str, content: bytes) -> str:
        with explained(self.training.base_url):
            known = self._files(part)
        if known:
            return known[0].id
        with self.termination.defer(), explained(self.training.base_url, final=False):
            named = (self.run.file_name(part), content)
            made = self.sending.files.create(file=named, purpose="fine-tune").id
        self.termination.check()
        return made

    def _created(self, config: TrainingConfig, version: str, train: str, validation: str | None) -> "FineTuningJob":
        from openai import omit

        with self.termination.defer(), explained(self.training.base_url, final=False):
            made = self.sending.fine_tuning.jobs.create(
                model=self.training.model,
                training_file=train,
                validation_file=validation or omit,
                hyperparameters={"n_epochs": config.epochs},
                seed=config.seed,
                suffix=version[:64],
                metadata={RUN: self.run.mark},
                extra_headers={"Idempotency-Key": self.run.mark.replace(" ", "-")},
            )
        log.info("job %s created", made.id)
        self.termination.check()
        return made

    # ---- until it is over

    def _followed(self, job: "FineTuningJob") -> FineTuned:
        pause = FIRST_PAUSE
        while job.status not in OVER:
            self._tell(job)
            self._not_for_ever(job)
            self.wait(pause)
            self.termination.check()
            pause = min(LONGEST_PAUSE, pause * 1.5)
            with explained(self.training.base_url):
                job = self.reading.fine_tuning.jobs.retrieve(job.id)
        url = self.training.base_url
        if job.status == "failed":
            words = job.error.message if job.error is not None and job.error.message else "no words"
            raise BadConfig(f"{url}: the fine-tuning job {job.id} failed: {words}", reason="FineTuningFailed")
        if job.status == "cancelled":
            raise BadConfig(
                f"{url}: the fine-tuning job {job.id} was cancelled there; create another TrainingJob",
                reason="FineTuningCancelled",
            )
        if not job.fine_tuned_model:
            raise BadConfig(f"{url}: the job {job.id} succeeded without a model", reason="FineTuningFailed")
        metrics = self._metrics(job)
        return FineTuned(
            job.id,
            job.fine_tuned_model,
            job.trained_tokens,
            _number(metrics, "train_loss", "train_mean_loss"),
            _number(metrics, "full_valid_loss", "valid_loss", "valid_mean_loss"),
        )

    def _tell(self, job: "FineTuningJob") -> None:
        metrics = self._metrics(job)
        step, total = _number(metrics, "step"), _number(metrics, "total_steps")
        percent = 10.0 + (80.0 * min(1.0, step / total) if step is not None and total else 0.0)
        details: dict[str, float | None] = {"step": step, "loss": _number(metrics, "train_loss", "train_mean_loss")}
        if job.estimated_finish:
            left = job.estimated_finish - datetime.now(UTC).timestamp()
            details["estimated_remaining_seconds"] = max(0.0, left)
        self.reporter.update(percent, **{name: value for name, value in details.items() if value is not None})

    def _metrics(self, job: "FineTuningJob") -> dict[str, Any]:
        """The newest that the API reported; nothing where it reports none."""
        try:
            with explained(self.training.base_url):
                events = self.sending.fine_tuning.jobs.list_events(job.id, limit=50).data
        except Interrupted:
            raise
        except StageError:
            return {}
        told = [(event.created_at, dict(event.data)) for event in events if isinstance(event.data, dict)]
        measured = [(at, data) for at, data in told if _number(data, "step") is not None]
        return max(measured, key=lambda entry: (entry[0], _number(entry[1], "step") or 0.0), default=(0, {}))[1]

    def _not_for_ever(self, job: "FineTuningJob") -> None:
        hours = (datetime.now(UTC).timestamp() - job.created_at) / 3600
        if hours < MOST_HOURS:
            return
        with explained(self.training.base_url):
            self.reading.fine_tuning.jobs.cancel(job.id)
        raise BadConfig(
            f"{self.training.base_url}: the fine-tuning job {job.id} was not done after {hours:.0f} hours ({job.status}), and was "
            "cancelled; create another TrainingJob",
            reason="FineTuningTooLong",
        )


def _number(metrics: dict[str, Any], *names: str) -> float | None:
    return next((float(metrics[name]) for name in names if isinstance(metrics.get(name), int | float)), None)
