"""The command line that the operator and the API have in common: --version, --settings, one line for a bad start. Used by both `__main__`.

Nothing heavy is imported here, so that --help is instant.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from attune import __version__
from attune.errors import StartError

_USAGE = 2


class Readable(Protocol):
    """Settings that can be printed."""

    def by_variable(self) -> dict[str, str]:
        """Variable → value as one would write it."""
        ...


S = TypeVar("S", bound=Readable)


def command(
    program: str, description: str, read: Callable[[], S], live: Callable[[S], int], arguments: list[str] | None
) -> int:
    """Parse the few options, `read` the settings, `live` until the end. The exit status: 2 where it could not begin."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"attune {__version__}")
    parser.add_argument("--settings", action="store_true", help="print every variable with its value, and end")
    options = parser.parse_args(arguments)
    try:
        settings = read()
        if options.settings:
            sys.stdout.writelines(f"{name}={value}\n" for name, value in settings.by_variable().items())
            return 0
        return live(settings)
    except StartError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return _USAGE
