"""`attune-operator`, `python -m attune`: the operator process. Settings come from the environment (see `settings`)."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from attune import __version__

if TYPE_CHECKING:
    from attune.settings import Settings

_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Parse the few options, check the settings, run until SIGTERM. Imports come late, so that --help is instant."""
    parser = argparse.ArgumentParser(
        prog="attune-operator",
        description="Reconciles Retrievers, TrainingJobs and ModelVersions. Configured by the environment; "
        "ends with 0 after SIGTERM, 2 for a bad setting, 1 when a restart is the way out.",
    )
    parser.add_argument("--version", action="version", version=f"attune {__version__}")
    parser.add_argument("--settings", action="store_true", help="print every variable with its value, and end")
    options = parser.parse_args(arguments)

    from attune.errors import StartError
    from attune.settings import load_settings, unknown_variables

    try:
        settings = load_settings()
        if options.settings:
            sys.stdout.writelines(f"{name}={value}\n" for name, value in settings.by_variable().items())
            return 0
        return _run(settings, unknown_variables(os.environ))
    except StartError as e:
        sys.stderr.write(f"attune-operator: {e}\n")
        return _USAGE


def _run(settings: "Settings", unknown: list[str]) -> int:
    import asyncio

    import structlog

    from attune import logs
    from attune.runtime import Operator

    logs.set_up(settings.log_format, settings.log_level)
    if unknown:
        structlog.get_logger(__name__).warning("unknown variables are ignored", variables=unknown)

    async def live() -> int:
        return await Operator(settings).run()

    return asyncio.run(live())


if __name__ == "__main__":
    sys.exit(main())
