"""stac-fastapi-pgstac on a PostgreSQL of its own, as the APEx Product Catalogue's peers run it."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.conftest import missing
from tests.servers import BIN, free_port

__all__ = ["Pgstac"]

_USER, _PASSWORD, _DATABASE = "catalogue", "not-a-secret", "catalogue"


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs whose version has PostGIS."""
    for control in sorted(Path("/usr/share/postgresql").glob("*/extension/postgis.control"), reverse=True):
        programs = Path("/usr/lib/postgresql", control.parts[4], "bin")
        if (programs / "initdb").is_file():
            return programs
    missing("PostgreSQL with PostGIS (Debian's postgresql-postgis)")
    raise AssertionError


@dataclass
class Pgstac:
    """The database in ``folder``, and the API in front of it; both on loopback, on ports of their own."""

    folder: Path
    port: int = field(default_factory=free_port)
    database_port: int = field(default_factory=free_port)
    api: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        database = {"PGHOST": "127.0.0.1", "PGPORT": str(self.database_port), "PGDATABASE": _DATABASE}
        return {**os.environ, **database, "PGUSER": _USER, "PGPASSWORD": _PASSWORD}

    def start(self) -> Pgstac:
        programs = _programs()
        # PostgreSQL does not run as root; whoever else runs the tests is its owner.
        self._owner = "postgres" if os.geteuid() == 0 else getpass.getuser()
        self._control = [str(programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", "-t", "60"]
        self.folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.folder, self._owner)
        password = self.folder / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)
        self._database(str(programs / "initdb"), "-D", str(self.folder / "data"), "-U", _USER, "-A", "scram-sha-256",
                       "--pwfile", str(password), "-E", "UTF8", "--no-sync")  # fmt: skip
        options = f"-p {self.database_port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c timezone=UTC"
        self._database(*self._control, "-l", str(self.folder / "postgres.log"), "-o", options, "start")
        self._database(str(programs / "createdb"), _DATABASE, PGDATABASE="postgres")
        subprocess.run(
            [BIN / "pypgstac", "migrate"], env=self.environment, check=True, timeout=120, capture_output=True
        )
        environment = {**self.environment, "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE"}
        command = [sys.executable, "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app"]
        command += ["--port", str(self.port), "--log-level", "warning"]
        with (self.folder / "api.log").open("wb") as log:
            self.api = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.api.poll() is None, (self.folder / "api.log").read_text()
            assert time.monotonic() < deadline, "the STAC API did not start"
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        if self.api is not None:
            self.api.terminate()
            self.api.wait(30)
        if (self.folder / "data" / "postmaster.pid").exists():
            self._database(*self._control, "-m", "immediate", "stop")

    def collections(self) -> list[str]:
        return [str(entry["id"]) for entry in self.get("/collections")["collections"]]

    def clear(self) -> None:
        for name in self.collections():
            assert requests.delete(f"{self.url}/collections/{name}", timeout=30).ok

    def get(self, path: str, **parameters: Any) -> Any:
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def items(self, collection: str) -> list[dict[str, Any]]:
        return list(self.get(f"/collections/{collection}/items", limit=1000)["features"])

    def _database(self, *command: str, **more: str) -> None:
        as_owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            as_owner = {"user": self._owner, "group": pwd.getpwnam(self._owner).pw_gid, "extra_groups": []}
        with (self.folder.parent / "database.log").open("ab") as log:
            # into a file: the server keeps what it inherits open, and a pipe would never end
            done = subprocess.run(command, env=self.environment | more, stdout=log, stderr=log, cwd=self.folder,
                                  timeout=120, check=False, **as_owner)  # fmt: skip
        assert done.returncode == 0, (self.folder.parent / "database.log").read_text()[-2000:]

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/_mgmt/ping", timeout=2).ok
        except requests.ConnectionError:
            return False
