"""`attune report`: where the report and the model card of a version lie. Called by `app`.

They lie in the artifact store, which the command line cannot read in general; a file:// store on this machine it can.
"""

from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from attune.cli.session import Problem, Session
from attune.views.retrievers import View

FILE = "file://"


async def report_view(session: Session, name: str) -> View:
    """Report and card of a ModelVersion, or of the one that a TrainingJob made. Problem where there is none yet."""
    version = await session.find("ModelVersion", name)
    if version is None and (job := await session.find("TrainingJob", name)) is not None:
        made = (job.get("status") or {}).get("modelVersion")
        if made is None:
            raise Problem(f"TrainingJob {name} has made no version (phase {_phase(job)})")
        version = await session.get("ModelVersion", made)
    if version is None:
        version = await session.get("ModelVersion", name)  # names those that are there
    return view_of(version)


def view_of(version: dict[str, Any]) -> View:
    """URIs, and paths on this machine where they are files here."""
    name, status = version["metadata"]["name"], version.get("status") or {}
    report = status.get("report")
    if report is None:
        raise Problem(
            f"{name} has no report: its evaluation is not done, or there was nothing to measure it on (stage "
            f"{status.get('stage') or 'unknown'})"
        )
    return {
        "version": name,
        "report": report["page"],
        "card": report["card"],
        "artifact": (status.get("artifact") or {}).get("uri"),
        "reportPath": local(report["page"]),
        "cardPath": local(report["card"]),
    }


def local(uri: str) -> str | None:
    """The path, where the file is on this machine."""
    path = Path(uri.removeprefix(FILE)) if uri.startswith(FILE) else None
    return str(path) if path is not None and path.is_file() else None


def drawn(view: View) -> RenderableType:
    """For people."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for label, key in (("report", "report"), ("model card", "card"), ("artifact", "artifact")):
        lines.add_row(label, Text(view.get(f"{key}Path") or view[key] or "-"))
    return lines


def _phase(job: dict[str, Any]) -> str:
    return str((job.get("status") or {}).get("phase") or "Pending")
