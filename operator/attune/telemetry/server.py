"""/metrics, /healthz, /readyz and the webhook over HTTP. `runtime` starts it before anything else, so probes get words at once."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from attune.errors import StartError
from attune.telemetry.metrics import Metrics
from attune.telemetry.webhook import PATH, Webhook

Problems = Callable[[], list[str]]
"""What is wrong now, in words; empty when all is well."""


class TelemetryServer:
    """`live` answers "restart me?", `ready` answers "is the update of this replica done?"."""

    def __init__(self, metrics: Metrics, live: Problems, ready: Problems, webhook: Webhook | None = None) -> None:
        self._metrics = metrics
        application = web.Application()
        if webhook is not None:
            application.router.add_post(PATH, webhook.post)
        application.router.add_get("/metrics", self._render)
        application.router.add_get("/healthz", _check(live))
        application.router.add_get("/readyz", _check(ready))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def start(self, host: str, port: int) -> int:
        """Listen; answers the port, which differs from `port` when that is 0."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as e:
            await self._runner.cleanup()
            raise StartError(
                f"cannot listen on {host}:{port} (ATTUNE_HTTP_HOST, ATTUNE_HTTP_PORT): {e.strerror}"
            ) from e
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": self._metrics.content_type})


def _check(problems: Problems) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        found = problems()
        return web.Response(text="\n".join(found or ["ok"]) + "\n", status=503 if found else 200)

    return answer
