"""`attune-api`, `python -m attune.rest`: the process of the REST API. Settings come from the environment (see `settings`)."""

import argparse
import sys
from typing import TYPE_CHECKING

from attune import __version__

if TYPE_CHECKING:
    from attune.rest.settings import ApiSettings

_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Parse the few options, check the settings, run until SIGTERM. Imports come late, so that --help is instant."""
    parser = argparse.ArgumentParser(
        prog="attune-api",
        description="Custom resources of Attune over HTTP. Configured by ATTUNE_API_* in the environment; ends with 0 after "
        "SIGTERM, 2 for a bad setting or without a cluster, 1 when a restart is the way out.",
    )
    parser.add_argument("--version", action="version", version=f"attune {__version__}")
    parser.add_argument("--settings", action="store_true", help="print every variable with its value, and end")
    options = parser.parse_args(arguments)

    from attune.errors import StartError
    from attune.rest.settings import load_settings

    try:
        settings = load_settings()
        if options.settings:
            sys.stdout.writelines(f"{name}={value}\n" for name, value in settings.by_variable().items())
            return 0
        return _run(settings)
    except StartError as e:
        sys.stderr.write(f"attune-api: {e}\n")
        return _USAGE


def _run(settings: "ApiSettings") -> int:
    import uvloop

    from attune import logs
    from attune.rest.process import serve

    logs.set_up(settings.log_format, settings.log_level)
    return uvloop.run(serve(settings))


if __name__ == "__main__":
    sys.exit(main())
