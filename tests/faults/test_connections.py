# ruff: noqa: E501
"""Connections that reset, stall or restart in the middle of a task: its result is taken, and it runs once."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.engine.playing import Bench, Played
from tests.parts.accounts import accounts
from tests.parts.process import descendants, kill, wait_for
from tests.parts.sshd import Sshd, host_key
from tests.parts.sshd import sshd as start_sshd
from tests.parts.wire import wire
from tests.security.hostile import BEGUN, HELLO, install
from tests.security.tool import Tool


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


PLAY = """
- hosts: h
  gather_facts: false
  tasks:
    - {name: Before, shell: echo before >> {here}/out/log}
    - {name: Long, shell: "echo begun >> {here}/out/log; until test -e {here}/out/go; do sleep 0.05; done; echo ended >> {here}/out/log; echo said"}
    - {name: After, shell: echo after >> {here}/out/log}
"""


def _through(bench: Bench, host: Sshd, port: int) -> None:
    text = host.inventory_line("h").replace(f'ansible_port="{host.port}"', f'ansible_port="{port}"')
    known = bench.folder / "known_hosts"
    known.write_text(host.known_hosts.read_text().replace(f":{host.port} ", f":{port} "))
    bench.hosts(text.replace(str(host.known_hosts), str(known)) + "\n")


def _when_begun(bench: Bench, act: Callable[[], None], *, may_end: bool = True) -> threading.Thread:
    """Act in the middle of the long task, and let it end after that."""

    def wait() -> None:
        try:
            wait_for(lambda: "begun" in bench.wrote())
            act()
        finally:
            if may_end:
                (bench.out / "go").touch()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def _whole(bench: Bench, played: Played) -> None:
    assert played.exit == 0, (played.errors(), played.ends())
    assert bench.wrote() == ["before", "begun", "ended", "after"]
    assert played.outcome("Long")["stdout"] == "said"


@pytest.fixture
def few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is away is given up sooner than the twelve seconds that it has."""
    monkeypatch.setattr("ciflow.engine.link.RECONNECTS", (0.1, 0.3))


def test_an_agent_that_dies_at_each_connection_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers the greeting each time, so that each connection by itself was a good one."""
    monkeypatch.setattr("ciflow.engine.link.RECONNECTS", (0.01,) * 4)
    dying = install(bench.folder / "dying", [HELLO, BEGUN, {"t": "fault", "error": "its disk is broken"}], None)
    bench.hosts(f"h ansible_connection=local ansible_python_interpreter={dying}\n")
    played = bench.play(PLAY)
    assert played.exit == 5 and bench.wrote() == []
    assert "its disk is broken" in played.outcome("Before")["msg"]


def _end_servers(host: Sshd) -> None:
    """The server and its sessions' processes, and not what they have started: the agent goes on."""
    assert host.running is not None
    family = [host.running.pid, *descendants(host.running.pid)]
    kill([pid for pid in family if _is_sshd(pid)])
    host.running.process.wait()
    host.running = None


def _is_sshd(pid: int) -> bool:
    with contextlib.suppress(OSError):  # one that ended meanwhile
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    return False


@pytest.mark.fault(9)
@pytest.mark.parametrize("kind", ["reset", "cut"])
def test_a_connection_that_breaks_in_the_middle_of_a_command_loses_nothing(
    bench: Bench, start: Start, ssh_hosts: list[Sshd], kind: str
) -> None:
    host = ssh_hosts[0]
    proxy = start(wire((host.address, host.port), address=host.address))
    _through(bench, host, proxy.port)
    thread = _when_begun(bench, lambda: proxy.end_all(kind))  # type: ignore[arg-type]
    played = bench.play(PLAY)
    thread.join()
    assert proxy.connections >= 2
    _whole(bench, played)


@pytest.mark.fault(11)
def test_an_sshd_that_restarts_in_the_middle_of_a_task_is_reconnected_to(bench: Bench, sshd: Sshd) -> None:
    bench.hosts(sshd.inventory_line("h") + "\n")

    def restart() -> None:
        _end_servers(sshd)
        sshd.start()

    thread = _when_begun(bench, restart)
    played = bench.play(PLAY)
    thread.join()
    _whole(bench, played)


@pytest.mark.fault(10)
def test_a_half_open_connection_is_found_within_three_heartbeats_and_the_result_is_taken(
    bench: Bench, start: Start, ssh_hosts: list[Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller's heartbeat is made short; the host's agent goes on with the task in hand."""
    monkeypatch.setattr("ciflow.targets.wire.HEARTBEAT", 0.7)
    host = ssh_hosts[1]
    proxy = start(wire((host.address, host.port), address=host.address))
    _through(bench, host, proxy.port)
    thread = _when_begun(bench, lambda: proxy.end_all("stall"))
    played = bench.play(PLAY)
    thread.join()
    _whole(bench, played)
    warnings = [event for event in played.of("warning") if "connecting again" in str(event.data["message"])]
    assert warnings, played.events


def test_a_host_that_stays_away_ends_with_5_and_says_so(
    bench: Bench,
    sshd: Sshd,
    few_tries: None,  # noqa: ARG001
) -> None:
    bench.hosts(sshd.inventory_line("h") + "\n")
    thread = _when_begun(bench, lambda: _end_servers(sshd))
    played = bench.play(PLAY)
    thread.join()
    assert played.exit == 5, played.ends()
    assert played.status("Long") == "unreachable"
    sshd.start()
    again = bench.resume(played.run)
    assert again.exit == 0
    assert bench.wrote() == ["before", "begun", "ended", "after"]


def test_a_task_that_nobody_knows_the_end_of_is_not_run_again_unasked(
    bench: Bench,
    sshd: Sshd,
    few_tries: None,  # noqa: ARG001
) -> None:
    """The host lost its agent with the connection, and stayed away: whether the task did its work is unknown."""
    bench.hosts(sshd.inventory_line("h") + "\n")
    thread = _when_begun(bench, sshd.stop, may_end=False)  # with all that its sessions have started
    played = bench.play(PLAY)
    thread.join()
    assert played.exit == 5, played.ends()
    sshd.start()
    again = bench.resume(played.run)
    assert bench.wrote() == ["before", "begun"]
    assert again.exit == 4 and again.status("Long") == "unknown"


@pytest.mark.fault(11)
def test_what_a_host_was_at_when_it_rebooted_is_unknown_and_not_run_again(
    bench: Bench, start: Start, tmp_path: Path
) -> None:
    """In a namespace where the kernel's boot id is a file: the server and all that it has started end, another id
    stands there, and the server comes back while the run is connecting again."""
    place = start(accounts(tmp_path / "ns"))
    server = start(start_sshd(tmp_path / "sshd", inside=place.inside()))
    bench.hosts(server.inventory_line("h") + "\n")

    def reboot() -> None:
        server.stop()
        boot = tmp_path / "boot_id"
        boot.write_text("11111111-2222-4333-8444-555555555555\n")
        mounted = place.run("mount", "--bind", str(boot), "/proc/sys/kernel/random/boot_id")
        assert mounted.returncode == 0, mounted.stderr
        server.start()

    thread = _when_begun(bench, reboot, may_end=False)
    played = bench.play(PLAY)
    thread.join()
    assert bench.wrote() == ["before", "begun"]
    assert (played.exit, played.status("Long")) == (4, "unknown"), played.ends()
    assert any("connecting again" in str(event.data["message"]) for event in played.of("warning"))


@pytest.mark.fault(34)
def test_a_host_key_that_changed_ends_with_5_and_the_command_that_accepts_it(tool: Tool, sshd: Sshd) -> None:
    tool.write("hosts", sshd.inventory_line("h") + "\n")
    tool.write("play.yml", f"- hosts: h\n  gather_facts: false\n  tasks:\n    - shell: touch {tool.folder}/ran\n")
    sshd.stop()
    (sshd.folder / "host_key").unlink()
    (sshd.folder / "host_key.pub").unlink()
    host_key(sshd.folder / "host_key")
    sshd.start()
    said = tool.run("apply", "play.yml", "-i", "hosts")
    words = " ".join(said.text.split())
    assert said.code == 5, said.text
    assert "changed" in words and "SHA256:" in words, said.text
    assert not (tool.folder / "ran").exists()
    command = next(line.strip() for line in said.text.splitlines() if line.strip().startswith("ssh-keygen -R"))
    subprocess.run(command, shell=True, check=True, capture_output=True)
    assert tool.run("apply", "play.yml", "-i", "hosts").code == 0


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


@pytest.mark.fault(15)
def test_of_two_applies_with_different_stores_the_newer_wins(tool: Tool) -> None:
    """Two workspaces have two stores: the host itself refuses the older one at its next word."""
    log = tool.folder / "log"
    both = f"until test $(wc -l < {log}) -ge 2; do sleep 0.05; done"
    tool.write("play.yml", f"- hosts: localhost\n  gather_facts: false\n  tasks:\n    - shell: echo begun >> {log}; {both}\n"
               f"    - shell: echo older >> {log}.after\n      when: who == 'older'\n"
               f"    - shell: echo newer >> {log}.after\n      when: who == 'newer'\n")  # fmt: skip
    older = tool.start("apply", "play.yml", "-e", "who=older")
    wait_for(log.exists)
    tool.state = tool.folder / "other-state"
    newer = tool.run("apply", "play.yml", "-e", "who=newer")
    _, said = older.communicate(timeout=60)

    assert newer.code == 0, newer.text
    assert older.returncode == 6, said.decode()
    assert b"Traceback" not in said
    assert Path(f"{log}.after").read_text() == "newer\n"
