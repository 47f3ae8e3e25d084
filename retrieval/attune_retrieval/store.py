"""The artifact store: every byte a stage reads or writes goes through here. Called by all stages.

One address form for all places: plain paths, file://, pvc://claim/path (a mounted claim), s3://, gs://, and https://
to read. Credentials and endpoints come from the standard environment of each protocol (AWS_*, GOOGLE_*).

What is written appears whole or not at all. Locally that is a temporary name, fsync and rename. An object store has no
rename: a single file is one PUT, and a folder counts as there once its `manifest.json`, uploaded last, is there.

Errors: BadData(DataNotFound) where nothing lies at an address, BadConfig for an address that cannot be one, and
StoreUnavailable for the rest, after a few retries where a retry can help.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fsspec  # type: ignore[import-untyped]
import stamina

from attune_retrieval.errors import BadConfig, BadData, RetrievalError, StoreUnavailable
from attune_retrieval.store_errors import ATTEMPTS, explained, of_the_store, worth_a_retry

T = TypeVar("T")

MANIFEST = "manifest.json"
PVC_ROOT_VARIABLE = "ATTUNE_PVC_ROOT"
SECONDS_IN_ALL, LONGEST_WAIT = 60.0, 8.0
ABANDONED_AFTER_SECONDS = 24 * 3600
PIECE = 1 << 20

_REMOTE = {"s3", "gs", "https", "http"}


@dataclass(frozen=True, slots=True)
class Place:
    """An address, resolved: the filesystem that serves it and the path there."""

    uri: str
    scheme: str
    path: str

    @property
    def local(self) -> bool:
        return self.scheme == "file"

    @property
    def fs(self) -> Any:
        """The fsspec filesystem; instances are cached by fsspec."""
        filesystem = fsspec.filesystem(self.scheme, **_options(self.scheme))
        if self.scheme == "s3":
            filesystem.retries = 1
        return filesystem

    def child(self, name: str) -> "Place":
        return Place(f"{self.uri.rstrip('/')}/{name}", self.scheme, f"{self.path.rstrip('/')}/{name}")


def resolve(uri: str) -> Place:
    """Raises BadConfig for an address of an unknown kind, or one that leaves its claim."""
    scheme, _, rest = uri.partition("://")
    if not rest:
        if "://" in uri or not uri.strip():
            raise BadConfig(f"{uri!r} is no address: nothing stands behind the scheme", reason="BadAddress")
        return Place(uri, "file", str(Path(uri).absolute()))
    if scheme == "file":
        return Place(uri, "file", "/" + rest.removeprefix("localhost").strip("/"))
    if scheme == "pvc":
        if ".." in PurePosixPath(rest).parts:
            raise BadConfig(f"{uri}: '..' would leave the claim; write the path without it", reason="BadAddress")
        return Place(uri, "file", str(_pvc_root() / rest.strip("/")))
    if scheme in _REMOTE:
        return Place(uri, scheme, uri if scheme.startswith("http") else rest.rstrip("/"))
    raise BadConfig(
        f"{uri}: no store for {scheme}://; use file://, pvc://claim/path, s3://, gs:// or https:// (read only)",
        reason="BadAddress",
    )


def _options(scheme: str) -> dict[str, Any]:
    """Retrying is done here, once; the clients' own retries on top would turn a minute into a quarter of an hour."""
    if scheme == "s3":
        client = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}
        return {"use_listings_cache": False, "config_kwargs": client}
    return {"use_listings_cache": False} if scheme in {"gs", "http", "https"} else {}


# ---- reading


def exists(uri: str) -> bool:
    """True for a file and for a folder with something in it."""
    place = resolve(uri)
    try:
        _guarded(place, "look up", lambda: place.fs.info(place.path))
    except BadData:
        return False
    return True


_MARKS = ("size", "mtime", "ino", "ETag", "LastModified", "Last-Modified", "generation", "Content-MD5")


def fingerprint(uri: str) -> str:
    """Size, time and tag of a file, as far as the store tells: other words mean another content. Empty where it tells nothing."""
    place = resolve(uri)
    try:
        info = _guarded(place, "look up", lambda: place.fs.info(place.path))
    except BadData:
        if place.scheme.startswith("http"):  # a server that answers no HEAD may well answer GET
            return ""
        raise
    return ", ".join(f"{mark} {info[mark]}" for mark in _MARKS if info.get(mark) is not None)


def read_bytes(uri: str) -> bytes:
    place = resolve(uri)
    return _guarded(place, "read", lambda: bytes(place.fs.cat_file(place.path)))


def read_text(uri: str) -> str:
    """UTF-8 text; BadData with the byte offset where it is not."""
    try:
        return read_bytes(uri).decode()
    except UnicodeDecodeError as error:
        raise BadData(f"{uri}: not UTF-8 at byte {error.start}", reason="NotUtf8") from error


def list_names(uri: str) -> list[str]:
    """Names of the direct children, sorted; empty where the folder is not there."""
    place = resolve(uri)
    try:
        found = _guarded(place, "list", lambda: place.fs.ls(place.path, detail=False))
    except BadData:
        return []
    paths = {str(item).rstrip("/") for item in found} - {place.path.rstrip("/")}
    return sorted(PurePosixPath(path).name for path in paths)


def list_files(uri: str) -> list[str]:
    """Paths of all files below a folder, relative to it, sorted; empty where the folder is not there."""
    place = resolve(uri)
    prefix = place.path.rstrip("/") + "/"
    found = _guarded(place, "list", lambda: place.fs.find(place.path))
    return sorted(str(path).removeprefix(prefix) for path in found if str(path).startswith(prefix))


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A file as a local path: itself where it is local, else a temporary download, retried as one."""
    place = resolve(uri)
    if place.local:
        yield _guarded(place, "read", lambda: _readable_file(place.path))
        return
    with _scratch(place) as folder:
        target = folder / "download"
        _guarded(place, "read", lambda: place.fs.get_file(place.path, str(target)))
        yield target


@contextmanager
def open_lines(uri: str) -> Iterator[Iterator[bytes]]:
    """Lines of a file as bytes, one at a time."""
    with local_copy(uri) as path, path.open("rb") as lines:
        yield lines


def folder_complete(uri: str) -> bool:
    """True where a published folder is there; one without its manifest is still being uploaded, or was given up."""
    return exists(f"{uri.rstrip('/')}/{MANIFEST}")


def fetch_folder(uri: str, local_dir: Path, breathe: Callable[[], None] = lambda: None) -> Path:
    """Copy a published folder to `local_dir`, made or replaced by rename. BadData(DataNotFound) without a manifest.

    `breathe` is called after every MiB that comes from a volume: whole gigabytes at once would hold up everybody else in the process.
    """
    place = resolve(uri)
    if not folder_complete(uri):
        raise BadData(f"{uri}: no published folder there ({MANIFEST} is missing)", reason="DataNotFound")

    def fetch(staging: Path) -> None:
        for name in list_files(uri):
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = place.child(name).path
            if place.local:
                _copy(Path(source), target, breathe)
            else:
                place.fs.get_file(source, str(target))

    _guarded(place, "fetch", lambda: _appear(local_dir.absolute(), fetch))
    return local_dir


# ---- writing


def write_bytes(uri: str, data: bytes) -> None:
    """Write one file, whole or not at all; replaces what is there."""
    place = writable(uri)
    if not place.local:
        _guarded(place, "write", lambda: place.fs.pipe_file(place.path, data))
        return
    _guarded(place, "write", lambda: _write_local(Path(place.path), data))


def write_text(uri: str, text: str) -> None:
    write_bytes(uri, text.encode())


def publish_folder(local_dir: Path, uri: str) -> None:
    """Make `local_dir` appear at `uri`, whole or not at all; replaces what is there. It must hold a manifest.json."""
    if not (local_dir / MANIFEST).is_file():
        raise ValueError(f"{local_dir} has no {MANIFEST}: readers would take the published folder for absent")
    place = writable(uri)
    if place.local:
        _guarded(
            place,
            "publish",
            lambda: _appear(Path(place.path), lambda t: shutil.copytree(local_dir, t, dirs_exist_ok=True)),
        )
        return
    _guarded(place, "publish", lambda: _upload(local_dir, place))


def delete(uri: str) -> None:
    """Remove a file or a folder with all in it; nothing there is fine. A published folder first becomes absent."""
    place = writable(uri)

    def remove() -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            place.fs.rm_file(place.child(MANIFEST).path)
        with suppress(FileNotFoundError):
            place.fs.rm(place.path, recursive=True)

    _guarded(place, "delete", remove)


def writable(uri: str) -> Place:
    place = resolve(uri)
    if place.scheme in {"http", "https"}:
        raise BadConfig(
            f"{uri}: http(s) can only be read; write to file://, pvc://, s3:// or gs://", reason="BadAddress"
        )
    if uri.startswith("pvc://"):
        claim = _pvc_root() / uri.removeprefix("pvc://").partition("/")[0]
        if not claim.is_dir():  # creating it would write into the container, and be lost with it
            raise StoreUnavailable(
                f"{uri}: the claim is not mounted at {claim}; check the volume, or {PVC_ROOT_VARIABLE}"
            )
    return place


def _pvc_root() -> Path:
    return Path(os.environ.get(PVC_ROOT_VARIABLE, "/mnt/pvc"))


def _upload(local_dir: Path, place: Place) -> None:
    names = sorted(path.relative_to(local_dir).as_posix() for path in local_dir.rglob("*") if path.is_file())
    with suppress(FileNotFoundError):
        place.fs.rm_file(place.child(MANIFEST).path)  # from here on the old folder is absent
    for name in sorted(names, key=lambda name: name == MANIFEST):
        place.fs.put_file(str(local_dir / name), place.child(name).path)
    kept = {place.child(name).path for name in names}
    for stale in set(place.fs.find(place.path)) - kept:
        place.fs.rm_file(stale)


def _write_local(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _appear(target: Path, fill: Callable[[Path], object]) -> None:
    """Fill a temporary sibling, rename it to `target`; an older `target` is moved aside for the moment of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    staging, old = _sibling(target), _sibling(target)
    try:
        staging.mkdir()
        fill(staging)
        for path in [*staging.rglob("*"), staging]:
            _fsync(path)
        if target.exists():
            target.replace(old)
        try:
            staging.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
        _fsync(target.parent)
    finally:
        for leftover in (staging, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _sibling(path: Path) -> Path:
    """A hidden name in the same folder, so that the rename stays on one filesystem."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"


def _sweep(target: Path) -> None:
    """Remove what a killed process left beside `target` a day or more ago; younger ones may still be written."""
    now = datetime.now(UTC).timestamp()
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        with suppress(OSError):
            if now - leftover.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)


def _copy(source: Path, target: Path, breathe: Callable[[], None]) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(PIECE):
            written.write(piece)
            breathe()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _readable_file(path: str) -> Path:
    """Open once, so that a missing file, a folder or a lack of rights is found here, not in the middle of parsing."""
    with Path(path).open("rb"):
        return Path(path)


@contextmanager
def _scratch(place: Place) -> Iterator[Path]:
    folder = Path(_guarded(place, "make room for", lambda: tempfile.mkdtemp(prefix="attune-")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ---- errors


def _guarded(place: Place, action: str, run: Callable[[], T]) -> T:
    """Run with retries; whatever the store's clients raise comes out as a RetrievalError that names the address."""
    try:
        for attempt in stamina.retry_context(
            on=worth_a_retry, attempts=ATTEMPTS, timeout=SECONDS_IN_ALL, wait_initial=0.2, wait_max=LONGEST_WAIT
        ):
            with attempt:
                return run()
    except Exception as error:
        if isinstance(error, RetrievalError) or not of_the_store(error):
            raise
        raise explained(error, action, place.uri, place.scheme, place.path) from error
    raise AssertionError("stamina returns or raises")
