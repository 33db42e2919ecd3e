"""The wall clock jumps while a run is under way: what has a limit has it by a clock that doesn't."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.parts.clock import Clock, clock
from tests.parts.process import wait_for
from tests.security.tool import Tool


@pytest.fixture
def jumping(tmp_path: Path) -> Clock:
    return clock(tmp_path / "clock")


PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - {name: Limited, shell: "echo begun >> LOG; until test -e GO; do sleep 0.05; done", timeout: 120}
    - {name: Waits, wait_for: {path: GO, timeout: 120}}
    - {name: Job, shell: "sleep 1; echo job >> LOG", async: 120, poll: 1}
    - {name: After, shell: "date +%s > SEEN; echo after >> LOG"}
"""


@pytest.mark.fault(14)
@pytest.mark.parametrize("seconds", [3600, pytest.param(-3600, marks=pytest.mark.slow)])
def test_a_clock_that_jumps_an_hour_ends_no_task_and_takes_no_lock(
    jumping: Clock, tmp_path: Path, seconds: int
) -> None:
    tool = Tool(tmp_path)
    log, go, seen = (tmp_path / name for name in ("log", "go", "seen"))
    tool.write("play.yml", PLAY.replace("LOG", str(log)).replace("GO", str(go)).replace("SEEN", str(seen)))
    tool.extra = jumping.env
    run = tool.start("apply", "play.yml")
    wait_for(log.exists)
    jumping.jump(seconds)
    other = tool.run("apply", "play.yml")  # its clock says that the holder has kept silent for an hour
    go.touch()
    out, err = run.communicate(timeout=120)

    assert other.code == 6 and "is held by" in other.text, other.text
    assert run.returncode == 0, (out + err).decode()
    assert log.read_text().split() == ["begun", "job", "after"]
    assert abs(int(seen.read_text()) - time.time() - seconds) < 600, "the clock did not jump"
