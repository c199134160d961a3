"""A PostgreSQL server of Debian's, in a folder and on a port of its own."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.null_device import described, put_right
from tests.servers import free_port, listening, stopped

__all__ = ["Postgres"]


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs whose version has PostGIS."""
    for control in sorted(Path("/usr/share/postgresql").glob("*/extension/postgis.control"), reverse=True):
        programs = Path("/usr/lib/postgresql", control.parts[4], "bin")
        if (programs / "initdb").is_file():
            return programs
    missing("PostgreSQL with PostGIS (Debian's postgresql-postgis)")
    raise AssertionError


@dataclass
class Postgres:
    """The server in ``folder``, with one database and its owner."""

    folder: Path
    user: str
    password: str
    database: str
    port: int = field(default_factory=free_port)
    durable: bool = False
    server: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGDATABASE": self.database}
        return {**os.environ, **where, "PGUSER": self.user, "PGPASSWORD": self.password}

    @property
    def url(self) -> str:
        """The address for SQLAlchemy."""
        return f"postgresql+psycopg://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"

    def create(self) -> Postgres:
        """Make the server's folder, start it, and make the database."""
        programs = _programs()
        # PostgreSQL does not run as root; whoever else runs the tests is its owner.
        self._owner = "postgres" if os.geteuid() == 0 else getpass.getuser()
        put_right("before PostgreSQL's start")
        self._programs = programs
        self.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._owner)
        password = self.folder / "password"
        password.write_text(self.password)
        password.chmod(0o644)
        self._run(str(programs / "initdb"), "-D", str(self.folder / "data"), "-U", self.user, "-A", "scram-sha-256",
                  "--pwfile", str(password), "-E", "UTF8", "--no-sync")  # fmt: skip
        self.start()
        self._run(str(programs / "createdb"), self.database, PGDATABASE="postgres")
        return self

    def start(self) -> None:
        """Start the server, also after a kill."""
        stopped(self.server, signal.SIGKILL)
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", str(self.folder), "-c", "timezone=UTC"]
        command += [] if self.durable else ["-c", "fsync=off"]
        log = self.folder.parent / "database.log"
        # SIGINT ends it though clients are connected
        self.server = listening(
            command, self.port, log, variables=self.environment, folder=self.folder, sign="INT", **self._as_owner()
        )
        self._run(str(self._programs / "pg_isready"), "-q", "-t", "60", again=60)

    def stop(self) -> None:
        """Stop the server."""
        stopped(self.server, signal.SIGQUIT)
        self.server = None

    def kill(self) -> None:
        """Kill the server as a crash of the machine would."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def _as_owner(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        return {"user": self._owner, "group": pwd.getpwnam(self._owner).pw_gid, "extra_groups": []}

    def _run(self, *command: str, again: float = 0, **more: str) -> None:
        """Run a program of PostgreSQL's; for ``again`` seconds once more while it fails."""
        deadline = time.monotonic() + again
        with (self.folder.parent / "database.log").open("ab") as stream:
            while True:
                done = subprocess.run(command, env=self.environment | more, stdout=stream, stderr=stream,
                                      cwd=self.folder, timeout=120, check=False, **self._as_owner())  # fmt: skip
                if done.returncode == 0 or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        if done.returncode != 0:
            log = (self.folder.parent / "database.log").read_text()[-2000:]
            pytest.fail(f"{log}\n{described(pwd.getpwnam(self._owner).pw_uid)}")
