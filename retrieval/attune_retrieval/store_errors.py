"""What the clients of the stores raise, sorted into retry or not, and put into words. Called by store.py alone."""

import errno
import os
import shutil
from urllib.parse import urlsplit

from attune_retrieval.errors import BadConfig, BadData, RetrievalError, StoreUnavailable

ATTEMPTS = 5

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# The client libraries' own errors, recognised by package so that none of them is imported for a local path.
_CLIENT_LIBRARIES = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "urllib3", "fsspec"}
_NO_LOGIN = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError"}


def of_the_store(error: Exception) -> bool:
    """True for errors of the disk, the network and the clients; anything else is a bug and passes through."""
    return isinstance(error, OSError | shutil.Error) or type(error).__module__.partition(".")[0] in _CLIENT_LIBRARIES


def worth_a_retry(error: Exception) -> bool:
    """False where the second try can only say the same."""
    if isinstance(error, RetrievalError) or not of_the_store(error) or _forbidden(error) or _disk_full(error):
        return False
    return not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)


def explained(error: Exception, action: str, uri: str, scheme: str, path: str) -> RetrievalError:
    """The RetrievalError for `error`: address, cause, and what to check."""
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, FileNotFoundError):
        return _not_found(action, uri, scheme, path)
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return BadData(f"{uri}: cannot {action}: {cause}; the address must name a file", reason="NotAFile")
    if _disk_full(error):
        return StoreUnavailable(
            f"{uri}: the disk is full ({cause}); nothing half-written was left; make room or use a larger volume"
        )
    if _forbidden(error):
        return StoreUnavailable(f"{uri}: not allowed to {action}: {cause}; check {_rights(scheme)}")
    return StoreUnavailable(
        f"{uri}: could not {action}, {ATTEMPTS} attempts: {cause}; check {_connection(scheme, uri)}"
    )


def _not_found(action: str, uri: str, scheme: str, path: str) -> RetrievalError:
    if scheme != "file" and action in {"write", "publish"}:
        return BadConfig(
            f"{uri}: there is no such bucket to {action} to; create it, or correct the address", reason="NoBucket"
        )
    looked = f" (looked for {path})" if path != uri.removeprefix("file://") and scheme == "file" else ""
    remedy = "check the path, and that the volume is mounted" if scheme == "file" else "check the address"
    return BadData(f"{uri}: not found{looked}; {remedy}", reason="DataNotFound")


def _disk_full(error: Exception) -> bool:
    # shutil.copytree gathers errors into one, as text.
    gathered = isinstance(error, shutil.Error) and any(os.strerror(number) in str(error) for number in _DISK_FULL)
    return gathered or (isinstance(error, OSError) and error.errno in _DISK_FULL)


def _forbidden(error: Exception) -> bool:
    status = getattr(error, "status", None) or getattr(error, "code", None)
    read_only = isinstance(error, OSError) and error.errno == errno.EROFS
    return isinstance(error, PermissionError) or read_only or status in {401, 403} or type(error).__name__ in _NO_LOGIN


def _rights(scheme: str) -> str:
    return {
        "file": "owner and mode of the folder, and that the volume is not read-only",
        "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy (storage.secretRef)",
        "gs": "GOOGLE_APPLICATION_CREDENTIALS and the bucket's policy (storage.secretRef)",
    }.get(scheme, "that the address needs no login")


def _connection(scheme: str, uri: str) -> str:
    if scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
        return f"that {endpoint} (AWS_ENDPOINT_URL) answers from this pod, and AWS_REGION"
    if scheme == "gs":
        return "that the Google Cloud Storage endpoint answers from this pod"
    return "the volume" if scheme == "file" else f"that {urlsplit(uri).netloc} answers from this pod"
