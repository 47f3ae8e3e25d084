"""`attune-operator`, `python -m attune`: the operator process. Settings come from the environment (see `settings`)."""

import os
import sys
from typing import TYPE_CHECKING

from attune.command import command

if TYPE_CHECKING:
    from attune.settings import Settings

_DESCRIPTION = (
    "Reconciles Retrievers, TrainingJobs, ModelVersions, ABTests and TrainingSchedules. Configured by the environment; "
    "ends with 0 after SIGTERM, 2 for a bad setting, 1 when a restart is the way out."
)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM. Imports come late, so that --help is instant."""
    return command("attune-operator", _DESCRIPTION, _read, _live, arguments)


def _read() -> "Settings":
    from attune.settings import load_settings

    return load_settings()


def _live(settings: "Settings") -> int:
    import asyncio

    import structlog

    from attune import logs
    from attune.runtime import Operator
    from attune.settings import unknown_variables

    logs.set_up(settings.log_format, settings.log_level)
    if unknown := unknown_variables(os.environ):
        structlog.get_logger(__name__).warning("unknown variables are ignored", variables=unknown)

    async def live() -> int:
        return await Operator(settings).run()

    return asyncio.run(live())


if __name__ == "__main__":
    sys.exit(main())
