"""A farm of simulated hosts, some of them out of reach, with few descriptors to spare."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import farm
from ciflow.diagnostics import ExitCode

ROOT = Path(__file__).resolve().parents[2]
HOSTS, DEAD, DESCRIPTORS = 400, 5, 512


@pytest.mark.fault(30)
def test_of_many_hosts_five_in_a_hundred_are_out_of_reach_and_a_screen_says_so(tmp_path: Path) -> None:
    """A simulated host takes two descriptors: all of them connected at once would be an error."""
    (tmp_path / "farm.ini").write_text(farm.inventory(HOSTS))
    (tmp_path / "farm.yml").write_text(farm.playbook(2))
    env = {**os.environ, "CIFLOW_STATE": str(tmp_path / "state"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
           "FARM_DEAD": str(DEAD)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.farm", "apply", "farm.yml", "-i", "farm.ini"], cwd=tmp_path, env=env,
        capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
    )  # fmt: skip
    assert done.returncode == ExitCode.UNREACHABLE, done.stderr[-2000:]
    assert "Too many open files" not in done.stderr
    assert "20 of 400 hosts failed" in done.stderr, done.stderr[-2000:]
    lines = done.stderr.splitlines()
    summary = lines[next(at for at, line in enumerate(lines) if line.startswith("Failed:")) :]
    assert len(summary) <= 24 and max(map(len, summary)) <= 160, done.stderr[-3000:]
