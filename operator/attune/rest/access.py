"""Who calls, and what the caller may do: reviews of the API server, remembered for seconds. Used by `desk`.

Nothing is decided here: TokenReview says who it is, SubjectAccessReview whether the same verb on the same object would be allowed to
kubectl. Where the API server gives no answer there is none, never "yes".
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from cachetools import TLRUCache

from attune.cluster import reviews
from attune.cluster.reviews import Right, User
from attune.cluster.transport import Transport
from attune.rest.problems import Refused, unavailable
from attune.rest.settings import ApiSettings

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Clock = Callable[[], float]

MOST_USERS, MOST_RIGHTS = 4096, 65_536
MOST_AT_ONCE, MOST_WAITING = 32, 1024
LONGEST_TOKEN = 16_384
_CHALLENGE = 'Bearer realm="attune"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose token was accepted."""

    user: User
    digest: str
    """Of the token: the token itself is kept nowhere."""


class Remembered(Generic[K, V]):
    """Answers that hold for a while from the moment they were asked for. Bounded; asked once, however many wait for one."""

    def __init__(self, holds: Callable[[V], float], most: int, clock: Clock) -> None:
        self._clock = clock
        self._known: TLRUCache[K, tuple[V, float]] = TLRUCache(
            most, ttu=lambda _key, value, _now: value[1] + holds(value[0]), timer=clock
        )
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """What is known, or what `ask` says; its errors are told to all who wait, and not remembered."""
        found = self._known.get(key)
        if found is not None:
            return found[0]
        task = self._asked.get(key)
        if task is None:
            if len(self._asked) >= MOST_WAITING:
                raise unavailable("TooManyReviews", f"{MOST_WAITING} reviews of rights wait for the API server already")
            task = asyncio.ensure_future(self._ask(key, ask))
            task.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # nobody may be left to hear of it
            self._asked[key] = task
        return await asyncio.shield(task)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        began = self._clock()
        try:
            answer = await ask()
        finally:
            self._asked.pop(key, None)
        self._known[key] = (answer, began)
        return answer


class Reviewer:
    """Asks the API server, with the API's own account, about others."""

    def __init__(self, transport: Transport, settings: ApiSettings, clock: Clock = monotonic) -> None:
        yes, no = settings.review_seconds, min(settings.refusal_seconds, settings.review_seconds)
        self._transport = transport
        self._audiences = settings.audiences
        self._users: Remembered[str, User | None] = Remembered(lambda u: no if u is None else yes, MOST_USERS, clock)
        self._rights: Remembered[tuple[str, Right], bool] = Remembered(lambda ok: yes if ok else no, MOST_RIGHTS, clock)
        self._turn = asyncio.Semaphore(MOST_AT_ONCE)

    async def caller(self, authorization: str | None) -> Caller:
        """Of a request; 401 without a token that the API server accepts."""
        kind, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if not authorization:
            raise _unauthorized("NoToken", "no token was given; send Authorization: Bearer TOKEN", _CHALLENGE)
        if kind.lower() != "bearer" or not token or len(token) > LONGEST_TOKEN or not token.isascii():
            raise _unauthorized(
                "BadToken",
                "that is no bearer token; send Authorization: Bearer TOKEN",
                f'{_CHALLENGE}, error="invalid_request"',
            )
        digest = hashlib.sha256(token.encode()).hexdigest()

        async def ask() -> User | None:
            async with self._turn:
                return await reviews.user_of(self._transport, token, self._audiences)

        user = await self._users.get(digest, ask)
        if user is None:
            raise _unauthorized(
                "BadToken",
                "the API server does not accept this token (unknown, expired, or for another audience); get a new one, e.g. by "
                "`kubectl create token`",
                f'{_CHALLENGE}, error="invalid_token"',
            )
        return Caller(user, digest)

    async def allowed(self, caller: Caller, right: Right) -> bool:
        """Whether the API server would let the caller do it."""

        async def ask() -> bool:
            async with self._turn:
                return await reviews.allowed(self._transport, caller.user, right)

        return await self._rights.get((caller.digest, right), ask)


def _unauthorized(reason: str, detail: str, challenge: str) -> Refused:
    return Refused(401, reason, detail, headers={"www-authenticate": challenge})
