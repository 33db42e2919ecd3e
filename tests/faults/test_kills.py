"""kill -9 and Ctrl-C at the moments that matter: before, in and after the effect of a task; here and over SSH."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.parts.process import descendants, wait_for
from tests.parts.sshd import Sshd
from tests.security.tool import Tool

# The second task's condition is the first one's answer, so it cannot have been sent ahead.
PLAY = """
- hosts: h
  gather_facts: false
  tasks:
    - name: First
      shell: "echo begun >> LOG; until test -e GO; do sleep 0.02; done; echo ended >> LOG; echo said"
      register: first
    - {name: Second, shell: "echo second >> LOG", when: "first.stdout == 'said'"}
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(params=["local", "ssh"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, log: Path) -> Tool:
    """With a play on one host that is reached in this way."""
    made = Tool(tmp_path)
    line = "h ansible_connection=local"
    if request.param == "ssh":
        hosts: list[Sshd] = request.getfixturevalue("ssh_hosts")
        line = hosts[0].inventory_line("h")
    made.write("hosts", line + "\n")
    made.write("play.yml", PLAY.replace("LOG", str(log)).replace("GO", str(tmp_path / "go")))
    return made


def words(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def begin(tool: Tool, log: Path) -> subprocess.Popen[bytes]:
    """A run whose first task is under way."""
    run = tool.start("apply", "play.yml", "-i", "hosts")
    wait_for(lambda: "begun" in words(log))
    return run


def kill(run: subprocess.Popen[bytes]) -> None:
    run.kill()
    run.communicate()


@pytest.mark.fault(2)
def test_killed_in_the_middle_of_a_task_its_result_is_taken_and_it_runs_once(tool: Tool, log: Path) -> None:
    kill(begin(tool, log))
    assert words(log) == ["begun"]
    (tool.folder / "go").touch()
    wait_for(lambda: "ended" in words(log))  # the task ends on the host, though nobody listens
    resumed = tool.run("resume")
    assert resumed.code == 0, resumed.text
    assert words(log) == ["begun", "ended", "second"]


@pytest.mark.fault(1, 3)
def test_killed_between_an_effect_and_its_record_nothing_is_repeated_and_nothing_is_lost(tool: Tool, log: Path) -> None:
    """Stopped while the first task has its effect, and killed before it heard of that: the second one never left."""
    run = begin(tool, log)
    os.kill(run.pid, signal.SIGSTOP)
    (tool.folder / "go").touch()
    wait_for(lambda: "ended" in words(log))
    kill(run)
    resumed = tool.run("resume")
    assert resumed.code == 0, resumed.text
    assert words(log) == ["begun", "ended", "second"]


STUBBORN = """
- hosts: h
  gather_facts: false
  tasks:
    - {name: Stubborn, shell: "trap '' TERM INT; echo begun >> LOG; while :; do sleep 0.1; done"}
    - {name: Ahead, shell: "echo ahead >> LOG"}
"""


@pytest.mark.fault(8)
def test_a_second_ctrl_c_leaves_at_once_and_nothing_sent_ahead_runs(tool: Tool, log: Path) -> None:
    """The task ignores being asked to end; a second Ctrl-C does not wait for that."""
    tool.write("play.yml", STUBBORN.replace("LOG", str(log)))
    run = begin(tool, log)
    family = descendants(run.pid)
    run.send_signal(signal.SIGINT)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130, (out + err).decode()
    assert b"Traceback" not in err
    wait_for(lambda: not [pid for pid in family if Path(f"/proc/{pid}").exists()])
    wait_for(lambda: subprocess.run(["pgrep", "-f", f"begun >> {log}"], stdout=subprocess.DEVNULL).returncode == 1)
    assert words(log) == ["begun"]
    again = tool.run("status")
    assert "interrupted" in again.text
