"""Errors of the operator. `cluster.transport` maps the API server's answers to them, at the edge.

    AttuneError
    ├── StartError             the process cannot start: a bad setting, no cluster, a port that is taken
    └── ClusterError           a request to the API server did not do what was asked
        ├── AlreadyExists      create: an object with that name is there
        ├── Conflict           the object changed since it was read; observe again
        ├── NotFound           the object, its namespace or its kind is absent
        ├── Forbidden          not allowed: RBAC, admission, a quota or a namespace that is being deleted
        ├── Invalid            the API server refused the content; the same request fails again
        ├── Unavailable        no answer, or "later": the request may or may not have happened
        └── NotLeader          the write was not sent, because the lease is not surely ours

Conflict, Unavailable and NotLeader are part of a normal life: the work queue tries again, without a stack trace.
"""


class AttuneError(Exception):
    """Base. The message names the thing, the value and the way out."""


class StartError(AttuneError):
    """The process cannot start until somebody changes something; the message is one line. Exit code 2."""


class ClusterError(AttuneError):
    """A request to the API server failed."""

    transient = False
    """True when the same request may succeed later without anybody changing anything."""

    said: str | None = None
    """The API server's own words, without the request; None where there was no answer."""
    causes: tuple[tuple[str, str], ...] = ()
    """(field, message) of every complaint, where the API server named them."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def reason(self) -> str:
        """One CamelCase word for conditions and for the label of a metric."""
        return type(self).__name__


class AlreadyExists(ClusterError):
    """An object of that kind and name is there."""


class Conflict(ClusterError):
    """The object is not at the resourceVersion, or not the uid, that was given."""

    transient = True


class NotFound(ClusterError):
    """The object, its namespace or its kind is absent."""


class Forbidden(ClusterError):
    """The API server knows us and says no."""


class Invalid(ClusterError):
    """The API server refused the content; the message is the server's."""


class Unavailable(ClusterError):
    """No usable answer. After a write the outcome is unknown until one looks."""

    transient = True

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        """Seconds that the server asked to wait; None when it did not say."""


class NotLeader(ClusterError):
    """This process may no longer write; another replica may already do so."""

    transient = True
