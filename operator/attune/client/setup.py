"""What both kinds of client are set up with: the token, the parameters that every request has, how often and how long to try."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

SILENCE_SECONDS = 120.0
Token = str | Callable[[], str] | None


class Bearer(httpx.Auth):
    """The newest token, with every request: a function may read the file that a kubelet renews."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._token() if callable(self._token) else self._token
        if token:
            request.headers["authorization"] = f"Bearer {token.strip()}"
        yield request


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a server."""

    token: Token = field(default=None, repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    attempts: int = 5
    patience: float = 60.0
    """Seconds after which nothing is tried again."""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def streaming(self) -> httpx.Timeout:
        """Of streams: heartbeats come every 15 seconds, unless somebody set them otherwise."""
        return httpx.Timeout(self.timeout, read=max(self.timeout, SILENCE_SECONDS))

    @property
    def auth(self) -> httpx.Auth:
        """Signs requests in."""
        return Bearer(self.token)
