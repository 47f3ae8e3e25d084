"""docs/openapi.json, from the routes. `python -m attune.rest.document [--check]`; run by `make crds` and `make lint`."""

import argparse
import json
import sys
from pathlib import Path

from attune.rest.app import application


def document() -> str:
    """The whole document, stable."""
    return json.dumps(application().openapi(), indent=2, ensure_ascii=False, sort_keys=False) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the file, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(prog="python -m attune.rest.document", description="Make docs/openapi.json.")
    parser.add_argument("--out", type=Path, default=Path("docs/openapi.json"), help="default: docs/openapi.json")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is stale")
    given = parser.parse_args(argv)
    if given.check:
        stale = not given.out.is_file() or given.out.read_text() != document()
        sys.stderr.write(f"{given.out} is not what the routes say; run `make crds`\n" * stale)
        return int(stale)
    given.out.write_text(document())
    sys.stdout.write(f"{given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
