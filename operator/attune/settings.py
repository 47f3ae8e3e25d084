"""The operator's settings, from the environment, checked once at the start. Read by `__main__`, carried in `Context`.

`FINETUNE_*` and `OPENAI_FINETUNE_MODEL` are defaults for objects that leave the field out; `ATTUNE_*` is about the
process. `load_settings` turns a bad value into one line that names the variable, the value and what is allowed.
"""

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field, field_validator, model_validator

from attune import __version__
from attune.environment import (
    ANY_CASE,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    ExistingFile,
    LogFormat,
    LogLevel,
    Namespaces,
    OwnSettings,
    SettingsError,
    Several,
    load,
    own_namespace,
    variables,
)

__all__ = ["Settings", "SettingsError", "load_settings", "unknown_variables"]

HOST = r"^([*][.])?[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$|^[0-9a-fA-F:]{2,39}$"


def _identity() -> str:
    """Unique for this process: two replicas on one host must not take each other for themselves."""
    return f"{socket.gethostname()}_{uuid4().hex[:8]}"


class Settings(OwnSettings):
    """Each field is one variable of the environment; its alias is the name."""

    finetune_enabled: bool = Field(False, alias="FINETUNE_ENABLED")
    """False: TrainingJobs are accepted and wait, times of TrainingSchedules are passed over, reason FineTuningDisabled."""
    finetune_schedule: Annotated[Literal["weekly", "monthly", "manual"], ANY_CASE] = Field(
        "manual", alias="FINETUNE_SCHEDULE"
    )
    """weekly, monthly: a TrainingSchedule is made for each Retriever that has none of its own."""
    finetune_provider: Annotated[Literal["openai", "local"], ANY_CASE] = Field("local", alias="FINETUNE_PROVIDER")
    finetune_min_examples: int = Field(1000, ge=1, alias="FINETUNE_MIN_EXAMPLES")
    finetune_auto_promote: bool = Field(False, alias="FINETUNE_AUTO_PROMOTE")
    openai_finetune_model: str = Field("text-embedding-3-small", min_length=1, alias="OPENAI_FINETUNE_MODEL")

    trainer_image: str = Field(f"attune-trainer:{__version__}", min_length=1, alias="ATTUNE_TRAINER_IMAGE")
    """Image of the stage Jobs, unless a TrainingJob names its own."""
    serving_image: str = Field(f"attune-serving:{__version__}", min_length=1, alias="ATTUNE_SERVING_IMAGE")
    """Image of the Pods that answer queries."""
    namespaces: Namespaces = Field((), alias="ATTUNE_NAMESPACES")
    """Which namespaces to serve, separated by commas; empty: all."""
    kubeconfig: ExistingFile | None = Field(None, alias="ATTUNE_KUBECONFIG")
    """Unset: KUBECONFIG, then the pod's service account, then ~/.kube/config."""
    kube_context: str | None = Field(None, alias="ATTUNE_CONTEXT")

    prometheus_url: str | None = Field(None, pattern="^https?://", alias="ATTUNE_PROMETHEUS_URL")
    """Where ABTests are read, for Retrievers that name no Prometheus of their own."""

    webhook_token_file: Path | None = Field(None, alias="ATTUNE_WEBHOOK_TOKEN_FILE")
    """Bearer tokens of Alertmanager, one a line, read at each notification; unset: alerts are not taken."""

    notification_hosts: Several = Field((), alias="ATTUNE_NOTIFICATION_HOSTS")
    """Hosts that notifications may go to, separated by commas: hooks.slack.com,*.example.com; empty: all but this machine and its links."""

    leader_election: bool = Field(True, alias="ATTUNE_LEADER_ELECTION")
    lease_namespace: str = Field(default_factory=own_namespace, pattern=DNS_LABEL, alias="ATTUNE_LEASE_NAMESPACE")
    lease_name: str = Field("attune-operator", pattern=DNS_SUBDOMAIN, alias="ATTUNE_LEASE_NAME")
    lease_seconds: int = Field(15, ge=2, le=600, alias="ATTUNE_LEASE_SECONDS")
    """How long others wait after the last renewal they saw; a leader stops writing after two thirds of it."""
    identity: str = Field(default_factory=_identity, min_length=1, alias="ATTUNE_IDENTITY")

    http_host: str = Field("0.0.0.0", alias="ATTUNE_HTTP_HOST")  # noqa: S104  probes and Prometheus come from outside of the pod
    http_port: int = Field(8080, ge=0, le=65535, alias="ATTUNE_HTTP_PORT")
    """/metrics, /healthz, /readyz; 0: any free port, named in the log."""
    log_format: LogFormat = Field("auto", alias="ATTUNE_LOG_FORMAT")
    """auto: console on a terminal, else json."""
    log_level: LogLevel = Field("info", alias="ATTUNE_LOG_LEVEL")

    workers: int = Field(8, ge=1, le=256, alias="ATTUNE_WORKERS")
    """How many objects are reconciled at the same time."""
    progress_seconds: float = Field(10, ge=0.2, le=3600, alias="ATTUNE_PROGRESS_SECONDS")
    """How often the progress of a running stage is read."""
    retry_seconds: float = Field(10, ge=0, le=3600, alias="ATTUNE_RETRY_SECONDS")
    """Pause before the second attempt of a stage; it doubles with each failure, up to six minutes."""
    resync_seconds: float = Field(3600, ge=1, le=86400, alias="ATTUNE_RESYNC_SECONDS")
    """How often an object that waits for nothing is looked at again, in case an event was lost."""
    request_seconds: float = Field(30, gt=0, le=300, alias="ATTUNE_REQUEST_SECONDS")
    """Timeout of one request to the API server."""
    drain_seconds: float = Field(10, ge=0, le=600, alias="ATTUNE_DRAIN_SECONDS")
    """How long reconciles in progress may finish after SIGTERM."""
    stale_seconds: float = Field(600, ge=5, alias="ATTUNE_STALE_SECONDS")
    """A watch stream without a sign of life for this long makes /healthz fail. Streams reconnect at a quarter of it."""

    @field_validator("notification_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not re.match(HOST, host):
                raise ValueError(f"{host!r} is no host; allowed are names like hooks.slack.com,*.example.com,10.0.0.7")
        return value

    @model_validator(mode="after")
    def _unambiguous(self) -> "Settings":
        if len(set(self.namespaces)) != len(self.namespaces):
            raise ValueError("ATTUNE_NAMESPACES names a namespace twice; name each once")
        return self

    @property
    def watch_seconds(self) -> int:
        """After this long the server ends a watch and kopf starts the next: a healthy stream does so."""
        return max(1, int(self.stale_seconds / 4))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; raises SettingsError with one line."""
    return load(Settings, environ)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are not: most likely a typing error. (ATTUNE_* may come from Service links.)"""
    return sorted(name for name in environ if name.startswith("FINETUNE_") and name not in variables(Settings))
