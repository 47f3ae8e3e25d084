"""The settings of the API process, from the environment: ATTUNE_API_*. Read by `__main__`."""

from collections.abc import Mapping

from pydantic import Field, model_validator

from attune.environment import (
    DNS_LABEL,
    ExistingFile,
    LogFormat,
    LogLevel,
    Namespaces,
    OwnSettings,
    Several,
    load,
    own_namespace,
)


class ApiSettings(OwnSettings):
    """Each field is one variable of the environment; its alias is the name."""

    namespace: str = Field(default_factory=own_namespace, pattern=DNS_LABEL, alias="ATTUNE_API_NAMESPACE")
    """The namespace of requests that name none; default: that of the pod."""
    namespaces: Namespaces = Field((), alias="ATTUNE_API_NAMESPACES")
    """Which namespaces to serve, separated by commas; empty: all."""
    kubeconfig: ExistingFile | None = Field(None, alias="ATTUNE_API_KUBECONFIG")
    """Unset: KUBECONFIG, then the pod's service account, then ~/.kube/config."""
    kube_context: str | None = Field(None, alias="ATTUNE_API_CONTEXT")
    audiences: Several = Field((), alias="ATTUNE_API_AUDIENCES")
    """Audiences that a token may be for, separated by commas; empty: the API server's own."""

    host: str = Field("0.0.0.0", alias="ATTUNE_API_HOST")  # noqa: S104  callers come from outside of the pod
    port: int = Field(8090, ge=0, le=65535, alias="ATTUNE_API_PORT")
    """0: any free port, named in the log."""
    tls_cert_file: ExistingFile | None = Field(None, alias="ATTUNE_API_TLS_CERT_FILE")
    """Certificate chain in PEM; with the key, HTTPS is spoken. Read at the start."""
    tls_key_file: ExistingFile | None = Field(None, alias="ATTUNE_API_TLS_KEY_FILE")
    log_format: LogFormat = Field("auto", alias="ATTUNE_API_LOG_FORMAT")
    log_level: LogLevel = Field("info", alias="ATTUNE_API_LOG_LEVEL")

    review_seconds: float = Field(10, ge=0, le=300, alias="ATTUNE_API_REVIEW_SECONDS")
    """How long it is remembered whose a token is and what that user may do; 0: each request asks."""
    refusal_seconds: float = Field(2, ge=0, le=300, alias="ATTUNE_API_REFUSAL_SECONDS")
    """The same for a token that was not accepted and a right that was not given."""
    request_seconds: float = Field(10, gt=0, le=300, alias="ATTUNE_API_REQUEST_SECONDS")
    """Timeout of one request to the API server."""
    stale_seconds: float = Field(15, ge=0, le=3600, alias="ATTUNE_API_STALE_SECONDS")
    """Lists are answered for so long after the watch of the API server was lost."""
    heartbeat_seconds: float = Field(15, gt=0, le=300, alias="ATTUNE_API_HEARTBEAT_SECONDS")
    """A stream of events that has nothing to say says so; the caller's rights are looked at again then."""
    max_body_bytes: int = Field(262_144, ge=1024, le=16_777_216, alias="ATTUNE_API_MAX_BODY_BYTES")
    max_streams: int = Field(1000, ge=1, le=100_000, alias="ATTUNE_API_MAX_STREAMS")
    """Streams of events at a time."""
    drain_seconds: float = Field(5, ge=0, le=600, alias="ATTUNE_API_DRAIN_SECONDS")
    """After SIGTERM /readyz fails for so long before the process stops to listen."""

    @model_validator(mode="after")
    def _whole(self) -> "ApiSettings":
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("give both ATTUNE_API_TLS_CERT_FILE and ATTUNE_API_TLS_KEY_FILE, or neither")
        if self.namespaces and self.namespace not in self.namespaces:
            raise ValueError(
                f'ATTUNE_API_NAMESPACE="{self.namespace}" is not among ATTUNE_API_NAMESPACES; add it, or name another one'
            )
        return self

    def serves(self, namespace: str) -> bool:
        """Whether requests about this namespace are answered."""
        return not self.namespaces or namespace in self.namespaces


def load_settings(environ: Mapping[str, str] | None = None) -> ApiSettings:
    """Settings from the environment; raises SettingsError with one line."""
    return load(ApiSettings, environ)
