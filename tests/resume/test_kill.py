"""kill -9 of `ciflow apply` anywhere, then `ciflow resume`: no finished task runs again, none is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.parts.process import wait_for
from tests.parts.sshd import Sshd

SEED = 20261125


class Runs:
    """`ciflow` as a user has it, with a journal of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "CIFLOW_STATE": str(folder / "state"), "NO_COLOR": "1"}

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ciflow", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, stdout=pipe, stderr=pipe)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ciflow", *args]
        return subprocess.run(command, cwd=self.folder, env=self.env, text=True, capture_output=True, timeout=240)


def _killed_after(runs: Runs, seconds: float, *args: str) -> bool:
    """Start, and kill -9 after so many seconds; whether it was still at work then."""
    process = runs.start(*args)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _until_done(runs: Runs, rng: random.Random, longest: float, *args: str) -> int:
    """Apply and resume with kills at random moments, until one process gets to the end; how many were killed.

    `longest` (seconds) is meant for a machine that has nothing else to do; a busy one gets more.
    """
    began = time.monotonic()
    runs.run("validate", *args)
    busy = max(1.0, (time.monotonic() - began) / 0.3)
    kills = 0
    arguments: tuple[str, ...] = ("apply", *args)
    while kills < 6 and _killed_after(runs, rng.uniform(0.3, longest) * busy, *arguments):
        kills += 1
        arguments = _next(runs, args)
    done = runs.run(*_next(runs, args))
    assert done.returncode == 0 or "no run to resume" in done.stderr, done.stderr
    return kills


def _next(runs: Runs, args: tuple[str, ...]) -> tuple[str, ...]:
    """What a person would type: resume, or apply when the run was killed before anything was recorded."""
    return ("resume",) if runs.run("history").stdout.strip() else ("apply", *args)


def _play(hosts: str, log: str, tasks: int) -> str:
    lines = [f"- hosts: {hosts}", "  gather_facts: false", "  tasks:"]
    for number in range(tasks):
        pause = "sleep 0.1; " if number % 3 == 0 else ""
        lines += [f"    - name: Step {number}", f"      shell: {pause}echo {number} >> {log}"]
    return "\n".join(lines) + "\n"


@pytest.mark.fault(1, 2, 3)
@pytest.mark.parametrize("round", range(3))
def test_a_local_run_killed_at_random_moments_does_each_task_once(tmp_path: Path, round: int) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(_play("localhost", str(tmp_path / "log"), 12))

    kills = _until_done(runs, random.Random(SEED + round), 0.9, "play.yml")

    print(f"killed {kills} times")
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(12)]


@pytest.mark.fault(1, 2, 3)
def test_a_run_over_ssh_killed_at_random_moments_does_each_task_once(tmp_path: Path, ssh_hosts: list[Sshd]) -> None:
    runs = Runs(tmp_path)
    hosts = "\n".join(host.inventory_line(f"h{number}") for number, host in enumerate(ssh_hosts[:3]))
    (tmp_path / "hosts.ini").write_text(f"[web]\n{hosts}\n")
    (tmp_path / "play.yml").write_text(_play("web", f"{tmp_path}/log.{{{{ inventory_hostname }}}}", 8))

    kills = _until_done(runs, random.Random(SEED), 1.3, "play.yml", "-i", "hosts.ini")

    print(f"killed {kills} times")
    for number in range(3):
        assert (tmp_path / f"log.h{number}").read_text().split() == [str(step) for step in range(8)]


def test_jobs_and_made_hosts_are_known_after_a_kill_wherever_it_comes(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(
        f"""- hosts: localhost
  tasks:
    - {{name: job, shell: "echo begun >> {tmp_path}/jobs; sleep 1; echo told", async: 60, poll: 0, register: job}}
    - add_host: {{name: "made{{{{ 1000 | random }}}}", groups: fresh, ansible_connection: local}}
    - shell: sleep 0.3; echo one >> {tmp_path}/log
    - async_status: {{jid: "{{{{ job.ansible_job_id }}}}"}}
      register: end
      until: end is finished
      retries: 200
      delay: 0.1
    - shell: echo {{{{ end.stdout }}}} >> {tmp_path}/log
- hosts: fresh
  tasks:
    - shell: echo {{{{ inventory_hostname }}}} >> {tmp_path}/hosts; sleep 0.3
    - shell: echo {{{{ inventory_hostname }}}} >> {tmp_path}/hosts
"""
    )

    arguments = ("apply", "play.yml")
    for reached in ("jobs", "log", "hosts"):
        process = runs.start(*arguments)
        wait_for((tmp_path / reached).exists)
        process.kill()
        process.communicate()
        arguments = ("resume",)
    done = runs.run("resume")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "jobs").read_text().split() == ["begun"]
    assert (tmp_path / "log").read_text().split() == ["one", "told"]
    first, second = (tmp_path / "hosts").read_text().split()
    assert first == second


def test_what_was_random_stays_as_it_was_after_a_kill(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(
        f"""- hosts: localhost
  tasks:
    - set_fact: {{drawn: "{{{{ 1000000000 | random }}}}"}}
    - shell: echo {{{{ drawn }}}} >> {tmp_path}/first
    - shell: {_until(tmp_path / "go")}
    - shell: echo {{{{ drawn }}}} >> {tmp_path}/second
"""
    )
    process = runs.start("apply", "play.yml")
    wait_for((tmp_path / "first").exists)
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    (tmp_path / "play.yml").write_text("not even YAML: [")  # the run has a snapshot of its sources

    assert runs.run("resume").returncode == 0
    assert (tmp_path / "first").read_text() == (tmp_path / "second").read_text() != "\n"


@pytest.mark.fault(7)
def test_sigterm_ends_before_a_ci_system_kills_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(
        f"- hosts: localhost\n  tasks:\n"
        f"    - shell: echo begun >> {tmp_path}/log; {_until(tmp_path / 'go')}; echo ended >> {tmp_path}/log\n"
        f"    - shell: echo after >> {tmp_path}/log\n"
    )
    process = runs.start("apply", "play.yml")
    wait_for((tmp_path / "log").exists)
    process.terminate()
    process.communicate(timeout=90)
    (tmp_path / "go").touch()

    assert process.returncode == 143
    assert "interrupted" in runs.run("status").stdout
    assert runs.run("resume").returncode == 0
    assert (tmp_path / "log").read_text().split() == ["begun", "ended", "after"]


def test_ctrl_c_ends_the_task_in_hand_and_nothing_sent_ahead_runs(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(
        f"- hosts: localhost\n  tasks:\n    - shell: echo begun >> {tmp_path}/log; sleep 300\n"
        f"    - shell: echo after >> {tmp_path}/log\n"
    )
    process = runs.start("apply", "play.yml")
    wait_for((tmp_path / "log").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)

    assert process.returncode == 130
    assert (tmp_path / "log").read_text().split() == ["begun"]
    look = ["pgrep", "-f", f"echo begun >> {tmp_path}/log"]
    wait_for(lambda: subprocess.run(look, stdout=subprocess.DEVNULL, check=False).returncode != 0, "its end")
    assert (tmp_path / "log").read_text().split() == ["begun"]


@pytest.mark.parametrize("item", ["", "\n          loop: [a, b]"])
def test_what_ctrl_c_has_ended_is_begun_again_by_a_resume_and_counts_as_no_failure(tmp_path: Path, item: str) -> None:
    runs = Runs(tmp_path)
    (tmp_path / "play.yml").write_text(
        f"""
- hosts: localhost
  tasks:
    - block:
        - shell: echo begun >> {tmp_path}/log; {_until(tmp_path / "go")}{item}
      rescue:
        - shell: echo rescue >> {tmp_path}/log
    - shell: echo after >> {tmp_path}/log
"""
    )
    log = tmp_path / "log"
    for begun, words in (("begun\n", ["apply", "play.yml"]), ("begun\nbegun\n", ["resume"])):
        process = runs.start(*words)
        wait_for(lambda begun=begun: log.exists() and log.read_text() == begun)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)
        assert process.returncode == 130
    (tmp_path / "go").touch()

    resumed = runs.run("resume")
    assert resumed.returncode == 0, resumed.stderr
    more = ["begun"] if item else []
    assert log.read_text().split() == ["begun", "begun", "begun", *more, "after"]


@pytest.mark.fault(15)
def test_two_applies_of_one_playbook_exclude_each_other(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    held = f"touch {tmp_path}/on; until test -e {tmp_path}/off; do sleep 0.1; done"
    (tmp_path / "play.yml").write_text(f"- hosts: localhost\n  tasks:\n    - shell: {held}\n")
    first = runs.start("apply", "play.yml")
    wait_for((tmp_path / "on").exists)

    second = runs.run("apply", "play.yml")
    (tmp_path / "off").touch()

    assert second.returncode == 6
    assert "is held by" in second.stderr and "since" in second.stderr
    assert first.wait(90) == 0
    first.communicate()


def _until(path: Path) -> str:
    """Words of a shell that wait for a file."""
    return f"until test -e {path}; do sleep 0.05; done"
