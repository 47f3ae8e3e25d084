"""One request to one receiver: what is sent, and what an answer means. Used by `outbox`.

2xx is a delivery. 408, 425, 429, 5xx and silence may pass. Anything else is final: the same request would be answered the same.
Redirects are not followed, since they lead where nobody allowed to go.
"""

import base64
import binascii
import hashlib
import hmac
import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from attune import __version__
from attune.cluster.protocol import Cluster
from attune.cluster.receivers import Receiver, receiver_of
from attune.cluster.secrets import SecretProblem
from attune.cluster.transport import Fence, fence_trace
from attune.decide.notifications.payloads import body_of
from attune.notify.addresses import AddressRefused, GuardedResolver, Hosts
from attune.notify.redaction import without_secrets
from attune.observation import Notification

SECONDS, CONNECT_SECONDS = 10.0, 3.0
READ = 2048
"""Bytes of an answer that are looked at."""
LONGEST_PAUSE = 3600.0
"""Seconds that a receiver may ask to wait."""
MAY_PASS = frozenset({408, 425, 429})
WHSEC = "whsec_"


class TryAgain(Exception):
    """It was not delivered, and may be later."""

    def __init__(self, words: str, retry_after: float = 0.0) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Refused(Exception):
    """It was not delivered, and never will be as it is."""


class Courier:
    """Two pools of connections: straight ones, and those through the proxy that HTTPS_PROXY names. `close` it at the end."""

    def __init__(self, cluster: Cluster, hosts: Hosts, fence: Fence, now: Callable[[], datetime]) -> None:
        self._cluster, self._hosts, self._fence, self._now = cluster, hosts, fence, now
        self._timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=CONNECT_SECONDS)
        self._straight: aiohttp.ClientSession | None = None
        self._proxied: aiohttp.ClientSession | None = None

    async def carry(self, told: Notification) -> None:
        """Returns when it is delivered; raises TryAgain or Refused, without anything secret, or NotLeader."""
        namespace = told.about.metadata.namespace
        try:
            receiver = await receiver_of(self._cluster, namespace, told.target)
            self._hosts.check(receiver.host)
            headers, body = self._headers(told, receiver), body_of(told)
            await self._post(told, receiver, headers | self._signature(told, receiver, body), body)
        except SecretProblem as problem:
            raise TryAgain(str(problem)) from None
        except AddressRefused as problem:
            raise Refused(str(problem)) from None

    async def close(self) -> None:
        for session in (self._straight, self._proxied):
            if session is not None:
                await session.close()
        self._straight = self._proxied = None

    async def _post(self, told: Notification, receiver: Receiver, headers: dict[str, str], body: bytes) -> None:
        self._fence()
        try:
            async with self._session(receiver).post(
                receiver.url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=self._fence
            ) as answer:
                await _judge(receiver, answer, self._now())
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise error.os_error from None
            raise TryAgain(_why(receiver, error)) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise Refused(f"the address of target {told.target.name} is none that can be asked") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TryAgain(_why(receiver, error)) from None
        except ValueError:
            raise Refused(f"the token of target {told.target.name} is none that can be sent") from None

    def _session(self, receiver: Receiver) -> aiohttp.ClientSession:
        scheme = urlsplit(receiver.url).scheme
        if scheme in getproxies() and not proxy_bypass(receiver.host):
            self._proxied = self._proxied or self._pool(aiohttp.TCPConnector(), through_proxy=True)
            return self._proxied
        if self._straight is None:
            self._straight = self._pool(
                aiohttp.TCPConnector(resolver=GuardedResolver(self._hosts), use_dns_cache=False)
            )
        return self._straight

    def _pool(self, connector: aiohttp.TCPConnector, *, through_proxy: bool = False) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            trust_env=through_proxy,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trace_configs=[fence_trace()],
        )

    def _headers(self, told: Notification, receiver: Receiver) -> dict[str, str]:
        sent = {
            "Content-Type": "application/json",
            "User-Agent": f"attune/{__version__}",
            "Accept-Encoding": "identity",
            "webhook-id": told.id,
            "webhook-timestamp": str(int(self._now().timestamp())),
        }
        return sent | ({"Authorization": f"Bearer {receiver.token}"} if receiver.token else {})

    def _signature(self, told: Notification, receiver: Receiver, body: bytes) -> dict[str, str]:
        """Of id, time and body, as https://www.standardwebhooks.com has it: receivers need no code of their own to check it."""
        if receiver.signing_key is None:
            return {}
        signed = f"{told.id}.{int(self._now().timestamp())}.".encode() + body
        digest = hmac.new(_key(told, receiver.signing_key), signed, hashlib.sha256).digest()
        return {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _key(told: Notification, text: str) -> bytes:
    """`whsec_` and base64, or any text."""
    if not text.startswith(WHSEC):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(WHSEC), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"the signingKey of target {told.target.name} has no base64 after {WHSEC}") from None


async def _judge(receiver: Receiver, answer: aiohttp.ClientResponse, now: datetime) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise Refused(f"{receiver.host} answered {status}, and redirects are not followed; give the address itself")
    words = without_secrets(receiver, (await _first_of(answer)).decode(errors="replace"))
    told = f"{receiver.host} answered {status}" + (f": {words}" if words else "")
    if status in MAY_PASS or status >= 500:
        raise TryAgain(told, _seconds(answer.headers.get("Retry-After"), now))
    raise Refused(told)


async def _first_of(answer: aiohttp.ClientResponse) -> bytes:
    """The beginning of an answer that is no success; what keeps the rest away does not matter."""
    body = b""
    try:
        async for part in answer.content.iter_any():
            body += part
            if len(body) >= READ:
                break
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    answer.close()
    return body[:READ]


def _seconds(text: str | None, now: datetime) -> float:
    """Retry-After, in both of its forms; 0 where it says nothing that can be read."""
    if not text:
        return 0.0
    try:
        asked = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        asked = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return 0.0 if math.isnan(asked) else min(max(asked, 0.0), LONGEST_PAUSE)


def _why(receiver: Receiver, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"{receiver.host} gave no answer within {SECONDS:g} s"
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    return f"{receiver.host}: {type(error).__name__}: {without_secrets(receiver, str(cause))}"
