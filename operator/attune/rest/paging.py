"""Pages of lists: where one ends is written into the cursor, so cursors never expire and mean the same on every replica. Used by `routes`.

The order is fixed: the newest first, those of one second by name. Both never change for an object, so nothing is seen twice or
missed while objects change; what is created meanwhile stands before the first page.
"""

import base64
import binascii
import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from attune.api.kinds import Kind
from attune.rest.answers import raw_answer, tag
from attune.rest.desk import Desk
from attune.rest.mirror import Entry
from attune.rest.problems import Refused

DEFAULT_LIMIT, MOST = 100, 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="Objects on a page.")]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="nextCursor of the page before; unset: the first page.")
]
Filter = dict[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a list."""

    filters: Filter
    limit: int
    cursor: str | None

    @property
    def digest(self) -> str:
        """Of the filters: a cursor is of one list."""
        text = json.dumps({k: sorted(v) for k, v in sorted(self.filters.items())})
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def wanted(limit: int, cursor: str | None, **filters: object) -> Wanted:
    """Filters that are None or empty are none."""
    given = {
        name: frozenset(map(str, value)) if isinstance(value, list | tuple) else frozenset({str(value)})
        for name, value in filters.items()
        if value
    }
    return Wanted(given, limit, cursor)


async def page(request: Request, desk: Desk, kind: Kind, part: Wanted) -> Response:
    """A page of rows as they are kept: nothing is parsed or made anew for it."""
    room = await desk.listed(kind)
    body, etag = room.remembered((part.digest, part.limit, part.cursor), lambda: _made(room.entries(), part))
    return raw_answer(request, body, etag=etag)


def _made(entries: list[Entry], part: Wanted) -> tuple[bytes, str]:
    found, after = chosen(entries, part)
    rest = f',"nextCursor":"{after}"' if after else ""
    body = b'{"items":[' + b",".join(entry.row for entry in found) + b"]" + rest.encode() + b"}"
    return body, tag(body)


def chosen(entries: list[Entry], part: Wanted) -> tuple[list[Entry], str | None]:
    """The entries of a page, and the cursor of the next one."""
    start = 0
    if part.cursor is not None:
        created, name = _read(part)
        start = bisect_right(entries, _order(created, name), key=lambda e: _order(e.created, e.name))
    found: list[Entry] = []
    for entry in entries[start:]:
        if all(entry.fields.get(name) in values for name, values in part.filters.items()):
            if len(found) == part.limit:
                return found, _written(part, found[-1])
            found.append(entry)
    return found, None


def _order(created: str, name: str) -> tuple[tuple[int, ...], str]:
    """Ascending where times descend."""
    return tuple(-ord(c) for c in created), name


def _written(part: Wanted, last: Entry) -> str:
    text = json.dumps([part.digest, last.created, last.name], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(part: Wanted) -> tuple[str, str]:
    given = part.cursor or ""
    try:
        text = base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True)
        digest, created, name = map(str, json.loads(text))
    except (binascii.Error, ValueError, TypeError) as error:
        raise Refused(422, "BadCursor", "cursor: it is none of ours; begin anew without one", field="cursor") from error
    if digest != part.digest:
        raise Refused(
            422,
            "CursorOfAnotherList",
            "cursor: it belongs to a list with other filters; begin anew without one",
            field="cursor",
        )
    return created, name
