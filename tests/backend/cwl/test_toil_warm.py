"""Leaders that are forks of one process ask SLURM together: with a squeue that is a fake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FAKE_SQUEUE = """\
#!/bin/sh
echo "$@" >> "$0.calls"
printf '7 COMPLETED 0\\n8 FAILED 256\\n9 CANCELLED 15\\n'
"""
ASK = """\
import json, os
from upscaling.backends.cwl.toil.warm import SharedStates

shared = SharedStates()
if not (pid := os.fork()):
    os._exit(shared.get([7], older_s=60)[7] != ("COMPLETED", 0))
assert os.waitpid(pid, 0)[1] == 0
print(json.dumps([shared.get(jobs, older_s=60) for jobs in ([7, 8, 9], [10])]))
"""


def test_one_question_is_for_all_leaders(tmp_path: Path) -> None:
    fake = tmp_path / "squeue"
    fake.write_text(FAKE_SQUEUE)
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    asked = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    first, unknown = json.loads(asked.stdout)
    assert first == {"7": ["COMPLETED", 0], "8": ["FAILED", 1], "9": ["CANCELLED", 143]}
    assert unknown == first, "a job that SLURM has forgotten is in no answer"
    calls = Path(f"{fake}.calls").read_text().splitlines()
    assert len(calls) == 2, "once for both leaders, and anew for a job that was not in the answer"
    assert all("--me" in call for call in calls)
