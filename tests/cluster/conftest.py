"""A real SLURM of four nodes on this machine, for the whole session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, missing
from tests.servers import environment
from tests.workflow.conftest import Run, package_config, work_folder

HOME = Path("/var/tmp/eo-upscaling-slurm")


@dataclass(frozen=True)
class Slurm:
    """The cluster, as its users and its operator see it."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return environment(SLURM_CONF=str(self.home / "slurm.conf"))

    def ask(self, *command: str) -> list[str]:
        said = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return said.stdout.splitlines()

    def last_job(self) -> int:
        """The number that jobs of a test are above of."""
        return max((int(line) for line in self.ask("sacct", "-n", "-X", "-P", "-o", "JobIDRaw")), default=0)

    def jobs(self, above: int, *fields: str) -> list[dict[str, str]]:
        """What the accounting says of the jobs after ``above``."""
        names = ("JobIDRaw", "State", *fields)
        lines = self.ask("sacct", "-n", "-X", "-P", "-o", ",".join(names))
        rows = (dict(zip(names, line.split("|"), strict=True)) for line in lines)
        return [row for row in rows if int(row["JobIDRaw"]) > above]

    def try_(self, *command: str) -> bool:
        """Whether the command succeeds; that of a job which is about to run, or a controller that starts, may not."""
        said = subprocess.run(command, env=self.environment, capture_output=True, timeout=60, check=False)
        return said.returncode == 0

    def state(self, job: str) -> str:
        return "".join(self.ask("sacct", "-n", "-X", "-P", "-j", job, "-o", "State")).split(" ")[0]

    def node(self, job: str) -> str:
        return self.ask("squeue", "-h", "-j", job, "-o", "%N")[0]

    def set_down(self, node: str) -> None:
        """Take a node out, as its failure would. It comes back when the controller is started again."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def restart_controller(self) -> None:
        pidfile = self.home / "slurmctld.pid"
        pid = int(pidfile.read_text())
        os.kill(pid, 15)
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        subprocess.run(["slurmctld"], env=self.environment, check=True, timeout=60)
        wait_for(lambda: self.try_("squeue"))


def wait_for(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Return what ``true`` gives once it is truthy."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.3)
    return value


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """Start the cluster, or use the one that is up; stop what was started here."""
    if os.geteuid() != 0:
        missing("root, which a SLURM for tests needs")
    script = ROOT / "tools" / "slurm_up.sh"
    # Two CPUs a node, however many there are: what tests wait for at the same time is then on more than one node.
    environment = {**os.environ, "SLURM_UP_CPUS": "2"}
    command = ["bash", str(script), str(HOME)]
    up = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    if up.returncode:
        missing(f"a SLURM for tests ({up.stderr.strip() or up.stdout.strip()})")
    yield Slurm(HOME)
    if "already up" not in up.stdout:
        subprocess.run(["bash", str(script.with_name("slurm_down.sh")), str(HOME)], check=True, timeout=120)


@dataclass
class ClusterRun(Run):
    """A run of which every tile, or every step, is a SLURM job."""

    profile: str = "slurm"
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.started.append(super().start(*arguments))
        return self.started[-1]

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait while Snakemake works; say what it said if it has come to an end."""

        def waited() -> Any:
            value = true()
            assert value or self.started[-1].poll() is None, (self.folder / "snakemake.out").read_text()
            return value

        return wait_for(waited)

    def command(self, *arguments: str) -> list[str]:
        profile = ROOT / "workflow" / "profiles" / self.profile
        quick = ["--slurm-init-seconds-before-status-checks", "2"] if self.profile == "slurm" else []
        return ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--profile", str(profile), *quick,
                "--configfile", "config.yaml", *arguments]  # fmt: skip

    def receipt(self, tile: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self.results / "receipts" / f"{tile}.json").read_text()))
        except FileNotFoundError:
            return {"state": "new"}

    def failed(self, tile: str) -> bool:
        """Whether it has failed at least once, and could say so."""
        receipt = self.receipt(tile)
        return bool(receipt.get("error") or receipt.get("history"))

    def items(self) -> set[str]:
        return {path.parent.name for path in self.results.glob("tiles/*/item.json")}


@pytest.fixture
def cluster_run(slurm: Slurm, scene: Path, tmp_path: Path) -> Iterator[Callable[..., ClusterRun]]:
    """Make a run of the demo package over the whole real scene."""

    def make(profile: str, *, grid: str = "utm-10km", folder: str = "work", **backend: Any) -> ClusterRun:
        site = {
            "account": "eo",
            "partition": "main",
            "runtime_min": 5,
            "extra": ["--nice=3"],
            **backend.pop("site", {}),
        }
        config = package_config(scene, grid, **{"slots": 8, "memory_mb": 1000, "site": site, **backend})
        made.append(ClusterRun(work_folder(tmp_path, folder), slurm.environment, config, profile))
        return made[-1]

    made: list[ClusterRun] = []
    yield make
    for process in (process for run in made for process in run.started if process.poll() is None):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
