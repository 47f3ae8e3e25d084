"""Names of the objects the operator makes: pure functions, so that a restarted operator finds what it made before."""

import hashlib
import re
from contextlib import suppress
from datetime import UTC, date, datetime

from attune.contract import ModelType

LABEL_LENGTH = 63
"""Longest DNS label: the limit of Job names (they become a label of their Pods)."""
_PREFIX = {ModelType.EMBEDDING: "emb", ModelType.RERANKER: "rer"}
_HASH = 8


def version_name(model_type: ModelType, number: int, day: date) -> str:
    """`emb-v2-20260315`."""
    if number < 1:
        raise ValueError(f"version number {number}: versions count from 1")
    return f"{_PREFIX[ModelType(model_type)]}-v{number}-{day:%Y%m%d}"


def stage_job_name(owner: str, uid: str, attempt: int, stage: str, *, pods: int = 1) -> str:
    """`<owner>-<stage>-<attempt>-<hash of owner and uid>`, a DNS label.

    The hash keeps apart an owner that was deleted and made again under the same name, owners of two kinds that share a
    name, and long names that are cut. Everything that tells two stages of one owner apart is spelled out.
    With several `pods` there is room for `-<index>`: a Pod's host name is a label, too.
    """
    tail = f"-{stage}-{attempt}-{_digest(owner, uid)}"
    room = LABEL_LENGTH if pods == 1 else LABEL_LENGTH - len(f"-{pods - 1}")
    return _label(owner, room - len(tail)) + tail


def scheduled_run(at: datetime) -> int:
    """The number of what runs for a scheduled time, as 202603150200: the minute, in UTC."""
    return int(f"{at.astimezone(UTC):%Y%m%d%H%M}")


def scheduled_time(run: int) -> datetime | None:
    """The other way; None for a number that is no minute."""
    with suppress(ValueError):
        return datetime.strptime(f"{run:012d}", "%Y%m%d%H%M").replace(tzinfo=UTC)
    return None


def scheduled_job_name(schedule: str, uid: str, at: datetime) -> str:
    """`<schedule>-202603150200-<hash of schedule and uid>`: a schedule that is made again makes other TrainingJobs."""
    tail = f"-{scheduled_run(at)}-{_digest(schedule, uid)}"
    return _label(schedule, LABEL_LENGTH - len(tail)) + tail


def label_value(name: str) -> str:
    """The name where it fits into a label, else its beginning and a hash."""
    if len(name) <= LABEL_LENGTH:
        return name
    tail = f"-{_digest(name)}"
    return _label(name, LABEL_LENGTH - len(tail)) + tail


def collection_name(retriever: str, uid: str, space: str) -> str:
    """`news_1a2b3c4d_0f1e2d3c4b5a`: a function of the Retriever and the embedding space, so versions of one space share it.

    Letters, digits and underscores, at most 63: a valid name of a table in every store.
    """
    short = re.sub(r"[^a-z0-9]", "_", retriever.lower())[:40].strip("_") or "x"
    return f"{short}_{re.sub('[^a-z0-9]', '', uid.lower())[:8]}_{_digest(space)}{_digest(space, 'tail')[:4]}"


def child_name(owner: str, suffix: str, length: int = LABEL_LENGTH) -> str:
    """`<owner>-<suffix>`; an owner that is too long is cut and gets a hash, so two long names stay two."""
    plain = f"{owner}-{suffix}"
    if len(plain) <= length and _label(owner, length) == owner:
        return plain
    tail = f"-{_digest(owner)}-{suffix}"
    return _label(owner, length - len(tail)) + tail


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:_HASH]


def _label(text: str, length: int) -> str:
    """The beginning of a DNS subdomain as a DNS label: dots become hyphens, no hyphen at either end."""
    return re.sub(r"[^a-z0-9-]", "-", text.lower())[: max(0, length)].strip("-") or "x"
