"""The artifact store on S3: against moto's HTTP server, and against servers that fail."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from attune_retrieval import store
from attune_trainer.errors import BadConfig, BadData, StoreUnavailable


def point_at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    point_at(monkeypatch, moto)
    name = f"b{abs(hash(request.node.nodeid))}"
    store.resolve(f"s3://{name}").fs.mkdir(name)
    yield f"s3://{name}"
    s3fs.S3FileSystem.clear_instance_cache()


class Failing(ThreadingHTTPServer):
    """Answers `status` for the first `times` requests whose path contains `only`, and 200 to all others."""

    daemon_threads = True

    def __init__(self, status: int, code: str, times: int, only: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.code, self.times, self.only = status, code, times, only
        self.seen: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        self.server.seen.append(f"{self.command} {self.path.partition('?')[0]}")
        failing = self.server.only in self.path and len(self.server.seen) <= self.server.times
        text = f"<Error><Code>{self.server.code}</Code><Message>boom</Message></Error>" if failing else ""
        text = text or ("fine" if self.command in {"GET", "HEAD"} else "")
        self.send_response(self.server.status if failing else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Failing]]:
    servers: list[Failing] = []

    def start(status: int, code: str = "InternalError", times: int = 10_000, only: str = "") -> Failing:
        server = Failing(status, code, times, only)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        point_at(monkeypatch, server.url)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def folder(at: Path, **files: str) -> Path:
    at.mkdir(parents=True)
    for name, text in {"manifest.json": "{}", **files}.items():
        (at / name).write_text(text)
    return at


def test_files_are_written_read_listed_and_deleted(bucket):
    store.write_bytes(f"{bucket}/a/b.txt", b"hello")
    assert store.read_text(f"{bucket}/a/b.txt") == "hello"
    assert store.list_names(f"{bucket}/a") == ["b.txt"]
    assert store.exists(f"{bucket}/a")
    with store.open_lines(f"{bucket}/a/b.txt") as lines:
        assert list(lines) == [b"hello"]
    store.delete(f"{bucket}/a")
    assert not store.exists(f"{bucket}/a/b.txt")


def test_a_missing_object_is_bad_data_and_a_missing_bucket_a_bad_address(bucket):
    with pytest.raises(BadData, match=f"{bucket}/none: not found"):
        store.read_bytes(f"{bucket}/none")
    with pytest.raises(BadConfig, match="s3://no-such-bucket/x: there is no such bucket"):
        store.write_bytes("s3://no-such-bucket/x", b"")


def test_a_folder_is_published_and_fetched_whole(bucket, tmp_path):
    store.publish_folder(folder(tmp_path / "one", data="1"), f"{bucket}/v1")
    got = store.fetch_folder(f"{bucket}/v1", tmp_path / "got")
    assert (got / "data").read_text() == "1"
    assert store.folder_complete(f"{bucket}/v1")


def test_publishing_again_leaves_no_file_of_the_old_folder(bucket, tmp_path):
    store.publish_folder(folder(tmp_path / "one", old="1"), f"{bucket}/v1")
    store.publish_folder(folder(tmp_path / "two", new="2"), f"{bucket}/v1")
    assert store.list_files(f"{bucket}/v1") == ["manifest.json", "new"]


def test_an_upload_that_breaks_off_leaves_a_folder_that_readers_take_for_absent(failing, tmp_path):
    server = failing(500, only="/zz")
    with pytest.raises(StoreUnavailable, match="could not publish"):
        store.publish_folder(folder(tmp_path / "one", a="1", zz="2"), "s3://bucket/v1")
    assert server.seen[0] == "DELETE /bucket/v1/manifest.json"
    assert "PUT /bucket/v1/a" in server.seen
    assert "PUT /bucket/v1/manifest.json" not in server.seen


def test_a_server_that_recovers_is_asked_again(failing):
    server = failing(500, times=2)
    assert store.read_bytes("s3://bucket/x") == b"fine"
    assert server.seen[-1] == "GET /bucket/x"


def test_a_server_that_does_not_recover_is_store_unavailable_with_cause_and_remedy(failing):
    server = failing(500)
    with pytest.raises(StoreUnavailable, match=f"s3://bucket/x: could not write.*boom.*{server.url}.*AWS_ENDPOINT_URL"):
        store.write_bytes("s3://bucket/x", b"1")
    assert len(server.seen) == 3, "every attempt is one request: the client must not retry on top"


def test_an_endpoint_that_nobody_listens_on_is_store_unavailable(monkeypatch):
    point_at(monkeypatch, "http://127.0.0.1:9")
    for action in (store.read_bytes, store.exists, store.list_names, store.list_files, store.delete):
        with pytest.raises(StoreUnavailable, match=r"s3://bucket/x.*127\.0\.0\.1:9"):
            action("s3://bucket/x")


def test_a_connection_that_breaks_is_tried_anew_by_the_store_alone(monkeypatch):
    accepted = []

    class Hangup(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            accepted.append(self.request.recv(1))

    with socketserver.TCPServer(("127.0.0.1", 0), Hangup) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        point_at(monkeypatch, f"http://127.0.0.1:{server.server_address[1]}")
        with pytest.raises(StoreUnavailable, match="could not write"):
            store.write_bytes("s3://bucket/x", b"1")
        server.shutdown()
    assert len(accepted) <= 6, "three attempts, each at most twice by the HTTP client itself"


def test_a_refused_login_is_not_tried_again_and_names_the_credentials(failing):
    server = failing(403, code="AccessDenied")
    with pytest.raises(StoreUnavailable, match=r"not allowed to write.*AWS_ACCESS_KEY_ID"):
        store.write_bytes("s3://bucket/x", b"1")
    assert len(server.seen) == 1


def test_missing_credentials_are_named(monkeypatch, tmp_path):
    point_at(monkeypatch, "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match=r"NoCredentialsError.*AWS_ACCESS_KEY_ID"):
        store.read_bytes("s3://bucket/x")


def test_https_addresses_are_read(failing):
    server = failing(500, times=1)
    assert store.read_bytes(f"{server.url}/corpus.jsonl") == b"fine"
