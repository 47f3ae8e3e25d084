"""From a kubeconfig or the pod's service account to a signed-in aiohttp session. Used by `transport` and `handlers`.

The official client's `kubernetes.aio.config` finds server, certificates and tokens (also from exec plugins). Its API
classes are not used: Attune handles objects as JSON, and they would only convert it to generated models and back.
Tokens are short-lived: they are read again every minute, and at once after a 401.
"""

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import aiohttp
import structlog
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.configuration import Configuration

from attune import __version__
from attune.errors import StartError

log = structlog.get_logger(__name__)

_REFRESH_SECONDS = 60.0
_HOME_KUBECONFIG = Path("~/.kube/config").expanduser()
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_UNAUTHORIZED = 401


class NoClusterError(StartError):
    """There is no kubeconfig and no service account, or it cannot be read."""


@dataclass
class Connection:
    """Where the API server is and who we are. Sessions made from it may live on different event loops."""

    server: str
    namespace: str = "default"
    tls: ssl.SSLContext | None = None
    tls_server_name: str | None = None
    proxy: str | None = None
    authorization: Callable[[bool], Awaitable[str | None]] | None = None
    """The value of the Authorization header; True asks for a fresh one."""

    def session(
        self,
        observe: Callable[[aiohttp.ClientRequest], None] | None = None,
        trace: aiohttp.TraceConfig | None = None,
    ) -> aiohttp.ClientSession:
        """A pool of connections that signs every request in. `observe` sees each request before it is sent."""

        async def sign_in(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if observe is not None:
                observe(request)
            request.server_hostname = self.tls_server_name
            await self._sign(request, fresh=False)
            response = await handler(request)
            if response.status != _UNAUTHORIZED or self.authorization is None:
                return response
            response.release()
            await self._sign(request, fresh=True)
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls or True, limit=0, keepalive_timeout=60),
            headers={"User-Agent": f"attune-operator/{__version__}", "Accept": "application/json"},
            middlewares=(sign_in,),
            proxy=self.proxy,
            trace_configs=[trace] if trace is not None else None,
            read_bufsize=2**21,
        )

    async def _sign(self, request: aiohttp.ClientRequest, *, fresh: bool) -> None:
        if self.authorization is not None and (value := await self.authorization(fresh)) is not None:
            request.headers["Authorization"] = value


@dataclass
class _Tokens:
    """Keeps the bearer token fresh; `reload` runs the official loader again."""

    configuration: Configuration
    reload: Callable[[], Awaitable[None]]
    _read_at: float = field(default_factory=monotonic)

    async def __call__(self, fresh: bool) -> str | None:
        if fresh or monotonic() - self._read_at > _REFRESH_SECONDS:
            self._read_at = monotonic()
            try:
                await self.reload()
            except (kube_config.ConfigException, OSError) as e:
                log.warning("the token cannot be read again; the last one is used", error=str(e))
        token: str | None = self.configuration.api_key.get("BearerToken")
        return token


async def connect(kubeconfig: Path | None = None, context: str | None = None) -> Connection:
    """Find the cluster: the given kubeconfig, then $KUBECONFIG, then the pod's service account, then ~/.kube/config."""
    path = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG")
    configuration = Configuration()
    try:
        if path is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            return _in_cluster(configuration)
        return await _from_kubeconfig(configuration, path or str(_HOME_KUBECONFIG), context)
    except (
        kube_config.ConfigException,
        OSError,
        ssl.SSLError,
        KeyError,
        TypeError,
    ) as e:  # the last two: an empty file
        where = path or "the pod's service account and ~/.kube/config"
        raise NoClusterError(
            f"no cluster to talk to: {where}: {e}; "
            "set ATTUNE_KUBECONFIG (and ATTUNE_CONTEXT) or run in a pod with a service account"
        ) from e


def _in_cluster(configuration: Configuration) -> Connection:
    def load() -> None:
        kube_config.load_incluster_config(configuration, try_refresh_token=False)  # type: ignore[no-untyped-call]

    async def reload() -> None:
        load()

    load()
    namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "default"
    return _connection(configuration, _Tokens(configuration, reload), namespace)


async def _from_kubeconfig(configuration: Configuration, path: str, context: str | None) -> Connection:
    loader = await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
        path, context, client_configuration=configuration, persist_config=False
    )

    async def reload() -> None:
        await loader.load_and_set(configuration)

    chosen = loader.current_context["context"]
    return _connection(configuration, _Tokens(configuration, reload), str(chosen.get("namespace") or "default"))


def _connection(configuration: Configuration, tokens: _Tokens, namespace: str) -> Connection:
    return Connection(
        server=str(configuration.host).rstrip("/"),
        namespace=namespace,
        tls=_tls(configuration),
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        authorization=tokens if configuration.api_key.get("BearerToken") else None,
    )


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    """As the official client does it: own authority, client certificate, no check where the user said so."""
    if not str(configuration.host).startswith("https"):
        return None
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if configuration.cert_file:
        tls.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
    if not configuration.verify_ssl:
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    # Authorities of clusters often miss the key-usage extension that Python 3.13 began to ask for.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls
