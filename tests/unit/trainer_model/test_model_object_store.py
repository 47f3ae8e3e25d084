"""The stages on an object store: base model, snapshot, checkpoints and artifact all in S3 (a local server that speaks it)."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from attune.contract import ArtifactRef, Progress, Stage, StageSpec
from attune_retrieval import store
from attune_trainer.running import run
from attune_trainer.signals import Termination
from attune_trainer.stage_work import checkpoints_uri

MakeSpec = Callable[..., StageSpec]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import fsspec

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    fs = store.resolve("s3://models").fs
    fs.clear_instance_cache()
    store.resolve("s3://models").fs.mkdir("models")
    yield "s3://models"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def upload(folder: Path, uri: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.write_bytes(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def test_a_model_is_trained_and_evaluated_from_and_to_an_object_store(
    make_spec: MakeSpec, bucket: str, tiny_model: Path, tmp_path: Path
) -> None:
    local = make_spec(Stage.TRAIN)
    assert local.dataset is not None
    upload(tiny_model, f"{bucket}/base")
    store.write_bytes(f"{bucket}/base/pytorch_model.bin", b"a pickle that must not be fetched")
    store.publish_folder(Path(local.dataset.uri), f"{bucket}/snapshot")
    dataset = ArtifactRef(name="dataset", uri=f"{bucket}/snapshot", digest=local.dataset.digest)
    shutil.rmtree(local.dataset.uri)
    target = ArtifactRef(name="emb-v2", uri=f"{bucket}/store/versions/emb-v2")
    in_store = {"base_model": f"{bucket}/base", "spec_storage": f"{bucket}/store", "spec_dataset": dataset}
    spec = make_spec(Stage.TRAIN, epochs=2, spec_model=target, **in_store)
    saved: list[int] = []

    def note(_: Progress) -> None:
        saved.append(len(store.list_names(checkpoints_uri(spec))))

    trained = run(spec, Termination(), note, interval=0).result
    assert trained.model is not None, trained.message
    assert 1 in saved
    assert store.list_names(checkpoints_uri(spec)) == []
    model = ArtifactRef(name="emb-v2", uri=trained.model.uri, digest=trained.model.digest)
    evaluated = run(make_spec(Stage.EVALUATE, spec_model=model, **in_store), Termination(), lambda _: None).result
    assert evaluated.evaluation is not None, evaluated.message
    assert evaluated.evaluation.metrics.queries == 12
    assert not list((tmp_path / "scratch").iterdir())
