"""`image` of a play: its tasks run in a container that lives as long as the play does, also through a kill."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ciflow.engine.wire import Wire
from ciflow.model import Reply
from ciflow.targets import APIS
from tests.engine.playing import Bench
from tests.parts import images
from tests.parts.crash import dies_after
from tests.parts.docker import Docker
from tests.parts.process import wait_for

USR = '["/usr:/usr:ro"]'


@pytest.fixture
def daemon(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    """The daemon that the docker command would use."""
    monkeypatch.setenv("DOCKER_HOST", docker.host)
    yield docker
    assert left(docker) == [], "a play left its container"


def left(docker: Docker) -> list[str]:
    return docker.cli("ps", "-aq", "--filter", "label=ciflow.run").split()


@pytest.mark.usefixtures("daemon")
def test_tasks_run_in_a_container_of_the_image_that_is_gone_afterwards(bench: Bench) -> None:
    played = bench.play(f"""
        - name: build
          hosts: localhost
          vars: {{which: "{images.PYTHON}"}}
          image: {{name: "{{{{ which }}}}", volumes: {USR}, env: {{WORD: hello}}}}
          tasks:
            - name: write
              copy: {{content: x, dest: /tmp/built}}
            - name: where
              shell: cat /tmp/built; echo $WORD; cat /etc/passwd
            - name: outside
              command: hostname
              delegate_to: localhost
        - name: after
          hosts: localhost
          tasks: [{{name: none, stat: {{path: /tmp/built}}}}]
    """)
    assert played.exit == 0
    assert played.outcome("where")["stdout"] == "xhello\nroot:x:0:0:root:/root:/bin/sh"
    assert played.outcome("outside")["stdout"] != played.outcome("where")["stdout"]
    assert played.outcome("none")["stat"]["exists"] is False
    assert [name for name in played.names() if "image" in name or "Remove" in name] == [
        "Start the play's image", "Remove what it started",
    ]  # fmt: skip


def test_a_failed_play_takes_its_container_away_and_an_image_that_is_not_there_fails_it(
    bench: Bench, daemon: Docker
) -> None:
    played = bench.play(f"""
        - hosts: localhost
          image: {{name: {images.PYTHON}, volumes: {USR}}}
          deadline: 3s
          tasks: [{{name: long, command: sleep 60}}]
    """)
    assert played.exit != 0
    assert left(daemon) == []
    played = bench.play("""
        - hosts: localhost
          image: {name: "ciflow.test/none:1", pull: never}
          tasks: [{name: never, command: "true"}]
    """)
    assert played.exit != 0
    assert "is not here" in played.msg("Start the play's image")
    assert "never" not in played.names()


def test_a_container_that_is_being_made_when_the_plays_time_is_over_is_taken_away_too(
    bench: Bench, daemon: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon is slow: it makes the container after nobody waits for it any more."""
    over, looked, ask, abort = threading.Event(), threading.Event(), APIS["docker"], Wire.abort_stage

    def slow(request: Mapping[str, Any], stop: threading.Event) -> Reply:
        if request["path"].endswith("/containers/create"):
            over.wait(60)
            looked.wait(1)  # who removes it may not be faster than that
        reply = ask(request, stop)
        if over.is_set() and request.get("method", "GET") == "GET":
            looked.set()
        return reply

    def abort_stage(wire: Wire, stage: str) -> None:
        abort(wire, stage)
        over.set()

    monkeypatch.setitem(APIS, "docker", slow)
    monkeypatch.setattr(Wire, "abort_stage", abort_stage)
    played = bench.play(f"""
        - hosts: localhost
          image: {{name: {images.PYTHON}, volumes: {USR}}}
          deadline: 3s
          tasks: [{{name: never, command: "true"}}]
    """)
    assert played.exit != 0
    assert left(daemon) == []


@pytest.mark.usefixtures("daemon")
def test_each_cell_of_a_matrix_has_its_own_and_hosts_that_are_no_containers_are_refused(bench: Bench) -> None:
    played = bench.play(f"""
        - hosts: localhost
          matrix: {{word: [one, two]}}
          image: {{name: {images.PYTHON}, volumes: {USR}, env: {{WORD: "{{{{ matrix.word }}}}"}}}}
          tasks: [{{name: say, shell: echo $WORD}}]
    """)
    said = [event.data["outcome"]["stdout"] for event in played.of("task_ended") if event.data["name"] == "say"]
    assert sorted(said) == ["one", "two"]
    bench.hosts("far ansible_connection=ssh\n")
    played = bench.play(f"- hosts: far\n  image: {images.PYTHON}\n  tasks: []\n")
    assert played.exit != 0
    assert "reached by ssh" in played.errors()


@pytest.mark.slow
def test_a_killed_run_goes_on_in_its_container_and_then_removes_it(bench: Bench, daemon: Docker) -> None:
    """kill -9 under a task: it ends in the container, is not run again, and the container goes with the play."""
    path = bench.file("play.yml", f"""
        - hosts: localhost
          image: {{name: {images.PYTHON}, volumes: {USR}}}
          tasks:
            - name: once
              shell: echo once >> /tmp/log; sleep 4
            - name: count
              command: cat /tmp/log
    """)  # fmt: skip
    environment = {**os.environ, "XDG_STATE_HOME": str(bench.folder / "xdg")}
    command = [sys.executable, "-m", "ciflow"]
    run = subprocess.Popen([*command, "apply", str(path)], cwd=bench.folder, env=environment, stdout=subprocess.DEVNULL)
    look = ("sh", "-c", "cat /tmp/log 2>/dev/null; true")
    wait_for(lambda: left(daemon) and daemon.cli("exec", left(daemon)[0], *look))
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(left(daemon)) == 1
    done = subprocess.run(
        [*command, "resume", "--json"], cwd=bench.folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    counts = [one for one in told if one.get("kind") == "task_ended" and one["data"]["name"] == "count"]
    assert counts[-1]["data"]["outcome"]["stdout"] == "once"


@pytest.mark.slow
@pytest.mark.parametrize("word", ["POST /images/create", "POST /containers/create", "/start", "DELETE /containers"])
def test_killed_between_what_the_daemon_did_and_its_record_nothing_is_made_twice_or_left(
    bench: Bench, daemon: Docker, registry: str, word: str
) -> None:
    """After its pull, its making, its start and its removal."""
    image = f"{registry}/python:1"
    daemon.cli("tag", images.PYTHON, image)
    daemon.cli("push", image)
    daemon.cli("rmi", image)
    path = bench.file("play.yml", f"""
        - hosts: localhost
          image: {{name: "{image}", volumes: ["/usr:/usr:ro", "{bench.out}:/out"]}}
          tasks: [{{name: once, shell: echo once >> /out/log}}]
    """)  # fmt: skip
    environment = {**os.environ, "XDG_STATE_HOME": str(bench.folder / "xdg")}
    assert dies_after("docker", word, "apply", str(path), folder=bench.folder, env=environment) == -9
    command = [sys.executable, "-m", "ciflow", "resume"]
    done = subprocess.run(command, cwd=bench.folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.wrote() == ["once"]
    assert left(daemon) == []
    daemon.cli("rmi", image)
