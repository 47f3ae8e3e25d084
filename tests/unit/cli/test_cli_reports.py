"""`attune report`: where report and card lie; the path, where the store is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from attune.cli import render, reports
from attune.cli.session import Problem, Session

VERSION = {
    "metadata": {"name": "emb-v2"},
    "status": {
        "stage": "staged",
        "report": {"page": "s3://store/evaluate/report.html", "card": "s3://store/evaluate/model-card.md"},
        "artifact": {"uri": "s3://store/versions/emb-v2"},
    },
}
KINDS = {"TrainingJob": "trainingjobs", "ModelVersion": "modelversions"}


class Server:
    """ModelVersions and TrainingJobs, by name."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {"modelversions": {"emb-v2": VERSION}, "trainingjobs": {}}
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/v1alpha1"):
            found = [{"name": plural, "kind": kind, "namespaced": True} for kind, plural in KINDS.items()]
            return web.json_response({"resources": found})
        plural, _, name = request.path.partition("/namespaces/team/")[2].partition("/")
        if not name:
            return web.json_response({"items": list(self.known[plural].values())})
        if name not in self.known[plural]:
            return web.json_response({"kind": "Status", "reason": "NotFound", "message": "no"}, status=404)
        return web.json_response(self.known[plural][name])


@pytest.fixture
async def server(listen: Any) -> Server:
    made = Server()
    made.url = await listen(made.handle)
    return made


async def test_a_version_says_where_its_report_and_card_lie(session: Session) -> None:
    view = await reports.report_view(session, "emb-v2")
    assert view["report"] == "s3://store/evaluate/report.html"
    assert view["reportPath"] is None
    console = render.console()
    with console.capture() as shown:
        console.print(reports.drawn(view))
    assert "s3://store/evaluate/model-card.md" in shown.get().replace("\n", "")


async def test_the_training_job_that_made_it_leads_there_too(session: Session, server: Server) -> None:
    server.known["trainingjobs"]["tune"] = {"metadata": {"name": "tune"}, "status": {"modelVersion": "emb-v2"}}
    assert (await reports.report_view(session, "tune"))["version"] == "emb-v2"
    server.known["trainingjobs"]["new"] = {"metadata": {"name": "new"}, "status": {"phase": "Preparing"}}
    with pytest.raises(Problem, match=r"has made no version \(phase Preparing\)"):
        await reports.report_view(session, "new")
    with pytest.raises(Problem, match="there are: emb-v2"):
        await reports.report_view(session, "nobody")


def test_a_store_on_this_machine_gives_the_path(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("x")
    uris = {"page": f"file://{page}", "card": f"file://{tmp_path}/gone.md"}
    view = reports.view_of({"metadata": {"name": "v"}, "status": {"report": uris}})
    assert (view["reportPath"], view["cardPath"]) == (str(page), None)


def test_a_version_that_was_not_measured_says_so() -> None:
    with pytest.raises(Problem, match=r"emb-v1 has no report.*stage training"):
        reports.view_of({"metadata": {"name": "emb-v1"}, "status": {"stage": "training"}})
