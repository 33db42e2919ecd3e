"""Neither lost nor repeated: what becomes of operations when a connection, an agent or a controller dies."""

import os
import queue
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ciflow.diagnostics import Locked, Lost, Unreachable
from ciflow.model import Detached, Exec, Reply, Write
from ciflow.targets import Connection, agent
from ciflow.targets.told import Answer, Asked, Ended, Ready
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd
from tests.parts.tinyfs import fill
from tests.parts.wire import Break, Kind, wire
from tests.targets.conftest import EVERYWHERE, reach, ssh_connection
from tests.targets.parley import Parley, new_token

SILENCE = 30  # seconds, of three heartbeats


@pytest.fixture(params=EVERYWHERE)
def connection(request: pytest.FixtureRequest) -> Connection:
    return reach(request.param, request)


Talk = Callable[..., Parley]


def slow(tmp_path: Path, name: str = "work") -> Exec:
    """Says that it began, ends when the test lets it, and leaves a mark for each time it ran."""
    gate, began = tmp_path / f"{name}.gate", tmp_path / f"{name}.began"
    return Exec(
        shell=f"touch {began}; until [ -e {gate} ]; do sleep 0.02; done; echo ran >> {tmp_path}/{name}; echo out"
    )


def test_a_dropped_connection_loses_no_task(connection: Connection, talk: Talk, tmp_path: Path) -> None:
    first = talk(connection)
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    first.close()
    second = talk(connection, run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", "other", journal=first.hello["journal"])] == ["running", "absent"]
    (tmp_path / "work.gate").touch()
    assert second.answer("k").stdout == b"out\n"
    third = talk(connection, run=first.run, token=first.token)
    [asked] = third.ask("k", journal=first.hello["journal"])
    assert (asked.state, asked.reply and asked.reply.stdout) == ("done", b"out\n")
    assert (tmp_path / "work").read_text() == "ran\n"


def test_a_reply_of_any_length_is_kept_for_whoever_asks(connection: Connection, talk: Talk) -> None:
    lengths = (1, 3_900, 4_096, 9_000, 300_000)
    first = talk(connection)
    for length in lengths:
        first(Exec(shell=f"head -c {length} /dev/zero | tr '\\0' x; echo"), key=f"of {length}")
    first(Exec(argv=("echo", "after them")), key="after them")
    first.close()
    second = talk(connection, run=first.run, token=first.token)
    kept = second.ask(*(f"of {length}" for length in lengths), "after them", journal=first.hello["journal"])
    assert [asked.state for asked in kept] == ["done"] * (len(lengths) + 1)
    outputs = [asked.reply.stdout for asked in kept if asked.reply]
    assert outputs == [b"x" * length + b"\n" for length in lengths] + [b"after them\n"]


def test_two_agents_of_one_run_start_an_operation_once(connection: Connection, talk: Talk, tmp_path: Path) -> None:
    """As after a reconnection whose old agent has not noticed it yet: both are told to do the same, side by side."""
    first = talk(connection)
    second = talk(connection, run=first.run, token=first.token)
    for number in range(20):
        for one in (first, second):
            one.session.submit("web1", f"k{number}", Exec(shell=f"echo ran >> {tmp_path}/{number}; echo {number}"))
            one.session.flush()
    for number in range(20):
        assert [one.answer(f"k{number}").stdout for one in (first, second)] == [b"%d\n" % number] * 2
        assert (tmp_path / str(number)).read_text() == "ran\n"


def test_what_was_sent_ahead_is_dropped_when_the_controller_is_gone(
    connection: Connection, talk: Talk, tmp_path: Path
) -> None:
    first = talk(connection)
    first.session.submit("web1", "k0", slow(tmp_path))
    for number in range(1, 7):
        first.session.submit("web1", f"k{number}", Exec(shell=f"touch {tmp_path}/ahead{number}"), "always")
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    first.close()
    second = talk(connection, run=first.run, token=first.token)  # by then the first agent knows that it is alone
    (tmp_path / "work.gate").touch()
    wait_for((tmp_path / "work").exists)
    keys = [f"k{number}" for number in range(7)]
    states = [a.state for a in second.ask(*keys, journal=first.hello["journal"])]
    assert states[0] in ("done", "running")  # its last words may still be on their way to the record
    assert states[1:] == ["absent"] * 6
    time.sleep(0.2)
    assert list(tmp_path.glob("ahead*")) == []


def test_what_waits_does_not_begin_once_it_is_known_that_the_controller_is_gone() -> None:
    """Between that moment and the one when all that waits is dropped, a lane may have come to its next operation."""
    released: queue.Queue[Any] = queue.Queue()
    gone: Any = SimpleNamespace(lost=True, hold=lambda _: None, release=released.put)
    job: Any = SimpleNamespace(key="k")  # that says no more: it can't be performed
    agent.Lane(gone).put(job)
    assert released.get(timeout=60) is job


def test_an_operation_sent_twice_runs_once(host: Parley, tmp_path: Path) -> None:
    operation = Exec(shell=f"echo x | tee -a {tmp_path}/log")
    first, second = host(operation, key="same"), host(operation, key="same")
    assert first == second
    assert (tmp_path / "log").read_text() == "x\n"


def test_one_that_is_sent_again_while_it_runs_waits_for_the_first(
    connection: Connection, talk: Talk, tmp_path: Path
) -> None:
    first, second = talk(connection), None
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    second = talk(connection, run=first.run, token=first.token)
    second.session.submit("web1", "k", slow(tmp_path))
    second.session.flush()
    (tmp_path / "work.gate").touch()
    assert second.answer("k") == first.answer("k")
    assert (tmp_path / "work").read_text() == "ran\n"


def test_another_operation_under_the_same_key_is_refused(host: Parley, tmp_path: Path) -> None:
    host(Exec(argv=("true",)), key="same")
    reply = host(Exec(argv=("touch", str(tmp_path / "no"))), key="same")
    assert (reply.status, reply.ok) == ("refused", False)
    assert not (tmp_path / "no").exists()


def test_an_agent_that_is_killed_leaves_unknown_and_never_ok(
    connection: Connection, talk: Talk, tmp_path: Path
) -> None:
    first = talk(connection)
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    os.killpg(os.getpgid(first.hello["pid"]), signal.SIGKILL)
    ended: Ended = first.next(Ended)
    assert isinstance(ended.error, Lost)
    second = talk(connection, run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", journal=first.hello["journal"])] == ["unknown"]
    again = second(slow(tmp_path), key="k")
    assert (again.status, again.ok) == ("unknown", False)
    (tmp_path / "work.gate").touch()


def test_absent_needs_the_journal_of_the_first_hello(host: Parley) -> None:
    assert [a.state for a in host.ask("never", journal=host.hello["journal"])] == ["absent"]
    assert [a.state for a in host.ask("never", journal="another epoch:another journal")] == ["unknown"]


def test_the_journal_is_ours_alone_and_holds_no_content(own_home: Path, talk: Talk) -> None:
    host = talk(Connection())
    host(Exec(argv=("true", "hush-hush"), stdin=b"hush-hush"))
    host(Write(path=str(own_home / "f"), content=b"hush-hush"))
    state = own_home / ".local/state/ciflow"
    assert state.stat().st_mode & 0o777 == 0o700
    kept = [p for p in state.rglob("*") if p.is_file() and not p.name.startswith("agent-")]
    assert all(p.stat().st_mode & 0o077 == 0 for p in kept)
    assert len(kept) >= 4  # the secret, the run's mark, the project's token, what was started
    assert not [p for p in kept if b"hush-hush" in p.read_bytes()]


@pytest.mark.usefixtures("own_home")
def test_acknowledged_records_go_when_the_run_ends(talk: Talk) -> None:
    host = talk(Connection())
    for key in ("a", "b"):
        host(Exec(argv=("true",)), key=key)
    host.session.acknowledge(["a"])
    host.session.end(host.run)
    assert [a.state for a in host.ask("a", "b")] == ["absent", "done"]


@pytest.mark.parametrize("length", [20, 20_000])
def test_nothing_of_an_acknowledged_reply_is_left_beside_one_that_is_not(
    own_home: Path, talk: Talk, length: int
) -> None:
    host = talk(Connection())
    host(Exec(shell=f"yes hush-hush | head -c {length}"), key="a")
    host(Exec(argv=("true",)), key="b")
    journal = [p for p in (own_home / ".local/state/ciflow").rglob("*") if p.is_file()]
    assert any(b"hush-hush" in p.read_bytes() for p in journal)
    host.session.acknowledge(["a"])
    host.session.end(host.run)
    assert [a.state for a in host.ask("a", "b")] == ["absent", "done"]
    assert not any(b"hush-hush" in p.read_bytes() for p in journal if p.exists())


@pytest.mark.usefixtures("own_home")
def test_what_an_agent_left_that_died_is_forgotten_as_well(talk: Talk) -> None:
    first = talk(Connection())
    for key in ("a", "b"):
        first(Exec(argv=("echo", key)), key=key)
    os.kill(first.hello["pid"], signal.SIGKILL)
    second = talk(Connection(), run=first.run, token=first.token)
    wait_for(lambda: [a.state for a in second.ask("a", "b")] == ["done", "done"])
    second.session.acknowledge(["a"])
    second.session.end(first.run)
    assert [a.state for a in second.ask("a", "b")] == ["absent", "done"]


def test_a_journal_folder_of_somebody_else_is_not_used(own_home: Path, talk: Talk) -> None:
    state = own_home / ".local/state/ciflow"
    state.mkdir(parents=True)
    state.chmod(0o777)
    host = talk(Connection())
    assert host(Exec(argv=("true",)), key="k").ok
    assert list(state.iterdir()) == []


def test_without_a_journal_lost_operations_are_unknown(
    talk: Talk, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk under the journal is full: work goes on, with a warning, and nothing is called absent."""
    monkeypatch.setenv("HOME", str(tiny_disk))
    first = talk(Connection())
    identity = first.hello["journal"]
    filler = fill(tiny_disk)
    reply = first(Exec(argv=("echo", "works")), key="k")
    assert reply.stdout == b"works\n"
    assert "unknown" in reply.data["warning"]
    filler.unlink()
    second = talk(Connection(), run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", journal=identity)] == ["unknown"]


# --- the project's token


def test_a_smaller_token_is_refused_and_says_who_holds_the_project(connection: Connection, talk: Talk) -> None:
    newer = talk(connection)
    older = Parley(connection, run="older", token=newer.token - 1)
    ended: Ended = older.next(Ended)
    assert isinstance(ended.error, Locked)
    assert newer.run in ended.error.message
    assert ended.error.exit_code == 6


@pytest.mark.fault(16)
def test_a_run_that_was_overtaken_changes_nothing_any_more(connection: Connection, talk: Talk, tmp_path: Path) -> None:
    old = talk(connection)
    assert old(Exec(argv=("touch", str(tmp_path / "a")))).ok
    new = talk(connection, run=f"rollback-{new_token()}")
    late = old(Exec(argv=("touch", str(tmp_path / "b"))))
    assert (late.status, late.ok) == ("refused", False)
    assert "rollback" in late.error
    assert not (tmp_path / "b").exists()
    assert new(Exec(argv=("true",))).ok


def test_projects_do_not_hinder_one_another(connection: Connection, talk: Talk) -> None:
    one, other = f"one-{new_token()}", f"two-{new_token()}"
    talk(connection, project=one)
    assert talk(connection, project=other, token=1)(Exec(argv=("true",))).ok


# --- the pipe itself, broken at every place


STEPS = 5


def converge(connection: Connection, run: str, token: int, folder: Path) -> list[Reply]:
    """A controller that reconnects until it has every reply, asking first and sending only what is absent."""
    replies: dict[str, Reply] = {}
    journal = ""
    keys = [f"s{number}" for number in range(STEPS)]
    for _ in range(8):
        parley = Parley(connection, run=run, token=token)
        try:
            parley.ready()
            journal = journal or parley.hello["journal"]
            missing = [key for key in keys if key not in replies]
            said = parley.ask(*missing, journal=journal)
            for asked in said:  # what still runs there ends before anything behind it is sent, as the engine does it
                assert asked.state != "unknown"
                if asked.reply is not None:
                    replies[asked.key] = asked.reply
                elif asked.state == "running":
                    replies[asked.key] = parley.answer(asked.key)
            for asked in said:
                if asked.state == "absent":
                    number = int(asked.key[1:])
                    command = f"echo {number} >> {folder}/log; head -c 20000 /dev/zero"
                    parley.session.submit("web1", asked.key, Exec(shell=command), "always")
            parley.session.flush()
            for key in keys:
                if key not in replies:
                    replies[key] = parley.answer(key)
            parley.close()
            return [replies[key] for key in keys]
        except AssertionError:
            if parley.ended is None:
                raise
            for event in parley.seen:
                if isinstance(event, Answer):
                    replies[event.key] = event.reply
    raise AssertionError("it never came to an end")


def run_through(server: Sshd, breaks: list[Break], folder: Path, round_trip_s: float = 0.0) -> tuple[int, int]:
    """One session through a wire that breaks once; how many bytes passed (to the server, to the client). A wire with a
    delay halves all that it delivers, too."""
    folder.mkdir()
    with wire((server.address, server.port), round_trip_s) as proxy:
        proxy.halve = round_trip_s > 0
        known = folder / "known_hosts"
        key = server.known_hosts.read_text().split(" ", 1)[1]
        known.write_text(f"[127.0.0.1]:{proxy.port} {key}")
        proxy.breaks = breaks
        token = new_token()
        replies = converge(ssh_connection(server, proxy.port, known), f"cut-{token}", token, folder)
        assert [(r.status, r.rc, len(r.stdout)) for r in replies] == [("done", 0, 20000)] * STEPS
        assert (folder / "log").read_text().split() == [str(number) for number in range(STEPS)]
        return proxy.passed["server"], proxy.passed["client"]


def cut_everywhere(server: Sshd, tmp_path: Path, times: int) -> None:
    to_server, to_client = run_through(server, [], tmp_path / "whole")
    print(f"{to_server} bytes to the host and {to_client} back; cut at {2 * times} places")
    for number in range(times):
        share = (number + 0.5) / times
        kind: Kind = "reset" if number % 2 else "cut"
        delay = 0.01 if number % 3 == 2 else 0.0
        run_through(server, [Break(kind, int(to_server * share), "server")], tmp_path / f"s{number}", delay)
        run_through(server, [Break(kind, int(to_client * share), "client")], tmp_path / f"c{number}", delay)


def test_a_connection_cut_anywhere_loses_and_repeats_nothing(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    cut_everywhere(ssh_hosts[0], tmp_path, 6)


@pytest.mark.slow
def test_a_connection_cut_at_a_hundred_places_loses_and_repeats_nothing(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    cut_everywhere(ssh_hosts[0], tmp_path, 50)


def test_an_upload_goes_on_where_it_was_cut(ssh_hosts: list[Sshd], tmp_path: Path, talk: Talk) -> None:
    server, source, dest = ssh_hosts[0], tmp_path / "source", tmp_path / "dest"
    source.write_bytes(os.urandom(8_000_000))
    with wire((server.address, server.port)) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {server.known_hosts.read_text().split(' ', 1)[1]}")
        connection = ssh_connection(server, proxy.port, known)
        proxy.breaks = [Break("cut", 5_000_000, "server")]
        first = talk(connection)
        first.session.submit("web1", "up", Write(path=str(dest), source=str(source)))
        first.session.flush()
        first.next(Ended)
        before = proxy.passed["server"]
        second = talk(connection, run=first.run, token=first.token)
        [asked] = second.ask("up", journal=first.hello["journal"])
        if asked.state == "running":  # the first agent has not noticed yet
            asked = second.next(Asked, key="up")
        assert asked.state == "absent"
        assert second(Write(path=str(dest), source=str(source)), key="up").changed
        sent = proxy.passed["server"] - before
    assert dest.read_bytes() == source.read_bytes()
    assert sent < 5_000_000, f"{sent} bytes were sent again"
    assert list(tmp_path.glob(".dest*")) == []


@pytest.mark.slow
def test_a_half_open_connection_is_found_within_three_heartbeats(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    server = ssh_hosts[0]
    with wire((server.address, server.port)) as proxy:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{proxy.port} {server.known_hosts.read_text().split(' ', 1)[1]}")
        parley = Parley(ssh_connection(server, proxy.port, known)).ready()
        proxy.end_all("stall")
        ended: Ended = parley.next(Ended, patience=10 * SILENCE)
        assert isinstance(ended.error, Lost)
        silence = re.fullmatch(r"web1: nothing was heard for (\d+) s", ended.error.message)
        assert silence and int(silence[1]) >= SILENCE, ended.error.message


def test_an_sshd_that_restarts_is_reconnected_to(sshd: Sshd, tmp_path: Path, talk: Talk) -> None:
    first = talk(ssh_connection(sshd))
    first.session.submit("web1", "k", slow(tmp_path))
    first.session.flush()
    wait_for((tmp_path / "work.began").exists)
    sshd.stop()
    first.next(Ended)
    down: Ended = Parley(ssh_connection(sshd)).next(Ended, Ready)
    assert isinstance(down.error, Unreachable)
    sshd.start()
    second = talk(ssh_connection(sshd), run=first.run, token=first.token)
    [asked] = second.ask("k", journal=first.hello["journal"])
    (tmp_path / "work.gate").touch()
    if asked.state == "running":  # the group of sshd may have been ended with it
        assert second.answer("k").stdout == b"out\n"
    else:
        assert asked.state == "unknown"


def test_detached_work_cannot_be_started_without_a_place_for_its_state(host: Parley) -> None:
    reply = host(Detached(key="x", verb="ask"))
    if host.refuses(reply):
        return
    assert reply.data["state"] == "absent"
