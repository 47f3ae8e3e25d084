"""What a receiver said, without what it was told. Used by `courier`: its words go into logs, conditions and events."""

from collections.abc import Iterator
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from attune.cluster.receivers import Receiver

SHOWN = 100
LEAST = 4
"""Characters of a part of an address that may be a secret."""


def without_secrets(receiver: Receiver, words: str) -> str:
    """One short line. Servers like to repeat the path that they did not find."""
    secrets = {s for s in _secrets(receiver) if len(s) >= LEAST}
    for secret in sorted(secrets, key=len, reverse=True):
        words = words.replace(secret, "***")
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"


def _secrets(receiver: Receiver) -> Iterator[str]:
    for part in _parts(receiver):
        yield part
        yield quote(part)
        yield quote(part, safe="")
        yield unquote(part)


def _parts(receiver: Receiver) -> Iterator[str]:
    parts = urlsplit(receiver.url)
    yield from (receiver.url, parts.path, f"{parts.path}?{parts.query}", parts.query, parts.fragment)
    yield from parts.path.split("/")
    yield from (value for _, value in parse_qsl(parts.query))
    yield from filter(None, (parts.username, parts.password, receiver.token, receiver.signing_key))
    if receiver.signing_key is not None:
        yield receiver.signing_key.removeprefix("whsec_")
