"""`attune-api`, `python -m attune.rest`: the process of the REST API. Settings come from the environment (see `settings`)."""

import sys
from typing import TYPE_CHECKING

from attune.command import command

if TYPE_CHECKING:
    from attune.rest.settings import ApiSettings

_DESCRIPTION = (
    "Custom resources of Attune over HTTP, and the dashboard. Configured by ATTUNE_API_* in the environment; ends with 0 after "
    "SIGTERM, 2 for a bad setting or without a cluster, 1 when a restart is the way out."
)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM. Imports come late, so that --help is instant."""
    return command("attune-api", _DESCRIPTION, _read, _live, arguments)


def _read() -> "ApiSettings":
    from attune.rest.settings import load_settings

    return load_settings()


def _live(settings: "ApiSettings") -> int:
    import uvloop

    from attune import logs
    from attune.rest.process import serve

    logs.set_up(settings.log_format, settings.log_level)
    return uvloop.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
