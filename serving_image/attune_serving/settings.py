"""The settings of a serving process, from the environment, checked once at the start. Read by `__main__`."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(Exception):
    """A variable has a value that is not allowed. The message is one line."""


class Settings(BaseSettings):
    """Each field is one variable of the environment; its alias is the name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True)

    namespace: str | None = Field(None, alias="ATTUNE_NAMESPACE")
    config_map: str | None = Field(None, alias="ATTUNE_CONFIG_MAP")
    """Name of the ConfigMap to watch; unset: only the file is read."""
    config_file: Path | None = Field(None, alias="ATTUNE_CONFIG_FILE")
    """Where the ConfigMap is mounted: the fallback while the API server is away."""
    api_server: str | None = Field(None, alias="ATTUNE_API_SERVER")
    """Address of the API server; unset: KUBERNETES_SERVICE_HOST, as in every Pod."""
    cache: Path = Field(Path("/var/cache/attune"), alias="ATTUNE_CACHE")
    """Artifacts and the last configuration: with them it starts while the store and the API server are away."""
    replica: str = Field(default_factory=socket.gethostname, min_length=1, alias="ATTUNE_REPLICA")
    http_host: str = Field("0.0.0.0", alias="ATTUNE_HTTP_HOST")  # noqa: S104  it is a server
    http_port: int = Field(8000, ge=0, le=65535, alias="ATTUNE_HTTP_PORT")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", alias="ATTUNE_LOG_LEVEL")

    max_texts: int = Field(2048, ge=1, le=100_000, alias="ATTUNE_MAX_TEXTS")
    """Texts of one request."""
    max_characters: int = Field(65_536, ge=16, le=10_000_000, alias="ATTUNE_MAX_CHARACTERS")
    """Characters of one text; what a model does not read is cut before, by tokens."""
    max_request_tokens: int = Field(300_000, ge=16, le=100_000_000, alias="ATTUNE_MAX_REQUEST_TOKENS")
    """Tokens of all texts of one request, after each was cut at the model's window; OpenAI's limit is the same."""
    max_body_bytes: int = Field(16 << 20, ge=1024, alias="ATTUNE_MAX_BODY_BYTES")
    max_top_k: int = Field(1000, ge=1, le=10_000, alias="ATTUNE_MAX_TOP_K")
    max_batch_tokens: int = Field(2048, ge=16, le=1_000_000, alias="ATTUNE_MAX_BATCH_TOKENS")
    """Tokens that are computed together, padding included."""
    max_batch_texts: int = Field(64, ge=1, le=4096, alias="ATTUNE_MAX_BATCH_TEXTS")
    max_queue_tokens: int = Field(131_072, ge=16, alias="ATTUNE_MAX_QUEUE_TOKENS")
    """Tokens that may wait for one model; more are answered by 429."""
    precision: Literal["auto", "fp32"] = Field("auto", alias="ATTUNE_PRECISION")
    """auto: models are computed in bf16 on CPUs that have instructions for it, where their golden answers stay right."""
    rerank_depth: int = Field(50, ge=1, le=1000, alias="ATTUNE_RERANK_DEPTH")
    """Candidates of a search that the reranker sees."""
    index_threads: int = Field(8, ge=1, le=256, alias="ATTUNE_INDEX_THREADS")
    """Searches in the vector store at the same time, of each version."""
    max_queue_searches: int = Field(256, ge=0, le=100_000, alias="ATTUNE_MAX_QUEUE_SEARCHES")
    """Searches of each version that may wait for a thread; more are answered by 429."""
    search_seconds: float = Field(10.0, gt=0, le=300, alias="ATTUNE_SEARCH_SECONDS")
    """A vector store that needs longer is answered for by 503."""
    guard_seconds: float = Field(2.0, gt=0, le=60, alias="ATTUNE_GUARD_SECONDS")
    """A new version that needs longer has the previous one asked, too; for each 512 tokens, where a request has more."""
    probe_seconds: float = Field(10.0, gt=0, le=3600, alias="ATTUNE_PROBE_SECONDS")
    """Pause between two probes of a new version by labelled queries."""
    peers: Annotated[dict[str, str], NoDecode] = Field({}, alias="ATTUNE_PEERS")
    """All replicas, where the ConfigMap does not name them: name=host:port, separated by commas; this one may be among them."""
    max_test_units: int = Field(1_000_000, ge=100, le=1_000_000_000, alias="ATTUNE_MAX_TEST_UNITS")
    """Distinct queries, and values of each metric, that are remembered of one test (about 110 bytes each); no more are counted."""
    drain_seconds: float = Field(3.0, ge=0, le=300, alias="ATTUNE_DRAIN_SECONDS")
    """After SIGTERM: not ready, but still answering, so that nobody is sent here any more."""
    retry_seconds: float = Field(1.0, gt=0, le=300, alias="ATTUNE_RETRY_SECONDS")
    """First pause before a version that could not be loaded is tried again; it doubles, up to a minute."""

    @field_validator("peers", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if any(not name or ":" not in address for name, _, address in pairs):
            raise ValueError("give name=host:port of each replica, separated by commas")
        return {name: address for name, _, address in pairs}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; raises SettingsError with one line that names variable, value and what is allowed."""
    source = os.environ if environ is None else environ
    names = {str(info.alias) for info in Settings.model_fields.values()}
    given = {name: source[name] for name in names if source.get(name, "").strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = [f'{e["loc"][0]}="{e["input"]}": {e["msg"]}' for e in error.errors()]
        raise SettingsError("; ".join(problems)) from error
