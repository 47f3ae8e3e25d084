"""Who a token is of, and what that user may do: TokenReview and SubjectAccessReview. Used by `rest`."""

from dataclasses import dataclass, field

from attune.api.kinds import GROUP
from attune.cluster.transport import Transport

_TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True, slots=True)
class User:
    """As the API server's authentication knows somebody."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on our resources, on one object where it names one."""

    verb: str
    resource: str
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{GROUP}" + (f" {self.name!r}" if self.name else "")
        return f"{self.verb} {what} in namespace {self.namespace!r}"


async def user_of(transport: Transport, token: str, audiences: tuple[str, ...] = ()) -> User | None:
    """Whose token it is; None for one that the API server does not accept."""
    spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    status = (await transport.request("POST", _TOKENS, body=body)).json().get("status") or {}
    if status.get("authenticated") is not True:
        return None
    if audiences and not set(audiences) & set(status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    extra = sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items())
    return User(
        str(user.get("username") or ""), str(user.get("uid") or ""), tuple(user.get("groups") or ()), tuple(extra)
    )


async def allowed(transport: Transport, user: User, right: Right) -> bool:
    """Whether the API server would let this user do it."""
    attributes = {
        "group": GROUP,
        "resource": right.resource,
        "verb": right.verb,
        "namespace": right.namespace,
        **({"name": right.name} if right.name else {}),
    }
    spec = {
        "user": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra},
        "resourceAttributes": attributes,
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    status = (await transport.request("POST", _ACCESS, body=body)).json().get("status") or {}
    return status.get("allowed") is True and status.get("denied") is not True
