"""stac-fastapi-pgstac on a PostgreSQL of its own, as the APEx Product Catalogue's peers run it."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.postgres import Postgres
from tests.servers import BIN, free_port, listening, stopped

__all__ = ["Pgstac"]


@dataclass
class Pgstac:
    """The database in ``folder``, and the API in front of it; both on loopback, on ports of their own."""

    folder: Path
    port: int = field(default_factory=free_port)
    api: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Pgstac:
        self.database = Postgres(self.folder, "catalogue", "not-a-secret", "catalogue").create()
        subprocess.run(
            [BIN / "pypgstac", "migrate"], env=self.database.environment, check=True, timeout=120, capture_output=True
        )
        environment = {**self.database.environment, "ENABLE_TRANSACTIONS_EXTENSIONS": "TRUE"}
        command = [sys.executable, "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app"]
        command += ["--port", str(self.port), "--log-level", "warning"]
        log = self.folder / "api.log"
        self.api = listening(command, self.port, log, variables=environment, folder=self.folder)
        deadline = time.monotonic() + 200
        while not self._answers():
            assert self.api.poll() is None, (self.folder / "api.log").read_text()
            assert time.monotonic() < deadline, "the STAC API did not start"
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        stopped(self.api)
        self.database.stop()

    def collections(self) -> list[str]:
        return [str(entry["id"]) for entry in self.get("/collections")["collections"]]

    def clear(self) -> None:
        for name in self.collections():
            assert requests.delete(f"{self.url}/collections/{name}", timeout=120).ok

    def get(self, path: str, **parameters: Any) -> Any:
        answer = requests.get(f"{self.url}{path}", params=parameters, timeout=120)
        assert answer.ok, answer.text
        return answer.json()

    def items(self, collection: str) -> list[dict[str, Any]]:
        return list(self.get(f"/collections/{collection}/items", limit=1000)["features"])

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/_mgmt/ping", timeout=120).ok
        except requests.RequestException:
            return False
