"""A real PostgreSQL with pgvector (the package pgserver) on a port of 127.0.0.1, that can be stopped and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pgserver
import psycopg

from debian_packages import free_port

BINARIES = Path(pgserver.__file__).parent / "pginstall" / "bin"
SECONDS = 30


class PostgresServer:
    """Starts at once. As root it runs as `nobody`: PostgreSQL refuses to be root.

    Its folder is not one of pytest's: every pytest that starts takes them from all users but its own.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="attune-postgres-"))
        self.home = folder / "data"
        self.port = free_port()
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(self.home), "-U", "attune", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()

    def start(self) -> None:
        """Until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.home} -c fsync=off"
        log = str(self.home / "server.log")
        self._run("pg_ctl", "-D", str(self.home), "-o", options, "-l", log, "-w", "-t", str(SECONDS), "start")

    def stop(self, mode: str = "immediate") -> None:
        """At once, as a crash would; `start` recovers."""
        self._run("pg_ctl", "-D", str(self.home), "-m", mode, "-w", "stop")

    def close(self) -> None:
        """Stop it, and remove what it has written."""
        self.stop()
        shutil.rmtree(self.home.parent, ignore_errors=True)

    def database(self, name: str) -> str:
        """The address of a new, empty database."""
        with psycopg.connect(f"{self._root}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{self._root}/{name}"

    @property
    def _root(self) -> str:
        return f"postgresql://attune@127.0.0.1:{self.port}"

    def _run(self, program: str, *arguments: str) -> None:
        extra = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}
        command = [str(BINARIES / program), *arguments]
        done = subprocess.run(  # type: ignore[call-overload]
            command,
            check=False,
            cwd=self.home.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **extra,
        )
        assert done.returncode == 0, f"{program}: {done.stderr}"
