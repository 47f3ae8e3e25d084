"""ModelVersions that were lost and made again from the store's manifests: verified, measured, never written over."""

from __future__ import annotations

from typing import Any

from attune.cli.registry import version_of
from attune.contract import ExitCode, Stage, StageResult, StageSpec
from fake_cluster import Outcome
from promotions import V1, V2, V3, ask, assert_invariants, pointer, status_of, world_with
from worlds import World, scripted


class Adopting:
    """The scripted trainer; keeps the import stages it was asked for. `broken`: the artifact there is another one."""

    def __init__(self) -> None:
        self.imports: list[StageSpec] = []
        self.broken = False

    def __call__(self, spec: StageSpec, attempt: int) -> Outcome:
        if spec.stage is not Stage.IMPORT:
            return scripted(spec, attempt)
        self.imports.append(spec)
        if not self.broken:
            return scripted(spec, attempt)
        said = {"reason": "ArtifactCorrupt", "message": "manifest.json has another digest"}
        failed = StageResult(stage=spec.stage, spec_digest=spec.digest(), succeeded=False, **said)
        return Outcome(int(ExitCode.BAD_DATA), failed)


def lose(world: World, *names: str) -> list[dict[str, Any]]:
    """Delete versions; what the store says of their artifacts."""
    entries = []
    for name in names:
        version = world.cluster.find("ModelVersion", name)
        artifact, spec = version["status"]["artifact"], version["spec"]
        manifest = {"version": name, "type": spec["type"], "baseModel": spec["baseModel"], "config": spec.get("config")}
        entries.append({"uri": artifact["uri"], "digest": artifact["digest"], "manifest": manifest})
        world.cluster.remove("ModelVersion", name)
    return entries


def rebuild(world: World, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        world.cluster.put(version_of(entry, world.cluster.find("Retriever"), 99))


async def test_lost_versions_are_staged_again_with_their_own_artifact_and_the_active_one_goes_on() -> None:
    trainer = Adopting()
    world = await world_with(3, trainer)
    ask(world, V2, "r1")
    await world.settle()
    before = {name: status_of(world, name) for name in (V1, V2, V3)}
    trainer.imports.clear()
    rebuild(world, lose(world, V1, V2, V3))
    await world.settle()
    assert sorted((s.model.name, s.model.digest) for s in trainer.imports if s.model) == [
        (name, before[name]["artifact"]["digest"]) for name in (V1, V2, V3)
    ]
    assert pointer(world)["active"] == V2
    assert {name: status_of(world, name)["stage"] for name in (V1, V2, V3)} == {
        V1: "staged",
        V2: "active",
        V3: "staged",
    }
    for name, known in before.items():
        now = status_of(world, name)
        assert now["artifact"]["digest"] == known["artifact"]["digest"]
        assert now["index"]["collection"] == known["index"]["collection"]
        assert now["evaluationMetrics"]["ndcgAt10"] == 0.9
    ask(world, V1, "back")
    await world.settle()
    assert pointer(world)["active"] == V1
    assert_invariants(world.cluster)


async def test_an_artifact_that_is_another_one_fails_and_is_never_promoted() -> None:
    trainer = Adopting()
    world = await world_with(2, trainer)
    entries = lose(world, V2)
    trainer.broken = True
    rebuild(world, entries)
    await world.settle()
    status = status_of(world, V2)
    assert status["stage"] == "failed"
    assert status["notes"] == "ArtifactCorrupt: manifest.json has another digest"
    ask(world, V2, "r1")
    await world.settle()
    assert pointer(world)["active"] == V1
    assert status_of(world, V2)["promotion"]["result"] == "Refused"


async def test_an_ordinary_import_names_no_digest_and_is_exported() -> None:
    trainer = Adopting()
    await world_with(1, trainer)
    assert [spec.model.digest for spec in trainer.imports if spec.model] == [None]
