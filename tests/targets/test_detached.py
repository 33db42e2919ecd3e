"""Work that lives apart from controller and agent: async tasks, the dead-man, a supervised process."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Detached, Exec, Operation, Talk, Watch
from ciflow.targets import Connection
from ciflow.targets.told import Ended
from tests.parts.process import wait_for
from tests.parts.tinyfs import fill
from tests.targets.parley import Parley


def ask(host: Parley, key: str) -> dict[str, Any]:
    return dict(host(Detached(key=key, verb="ask")).data)


def state(host: Parley, key: str) -> str:
    return str(ask(host, key)["state"])


@pytest.fixture
def key(host: Parley, request: pytest.FixtureRequest) -> Any:
    """A key of this test, cancelled at its end."""
    name = f"{request.node.name}-{host.token}"
    yield name
    host(Detached(key=name, verb="cancel", grace=1.0))


def test_work_goes_on_without_anybody_and_is_asked_for_later(host: Parley, key: str, tmp_path: Path) -> None:
    assert state(host, key) == "absent"
    start = Detached(
        key=key, operations=(Exec(shell=f"until [ -e {tmp_path}/gate ]; do sleep 0.02; done; echo out; exit 0"),)
    )
    assert host(start).changed
    assert state(host, key) == "running"
    (tmp_path / "gate").touch()
    wait_for(lambda: state(host, key) == "done", "the end")
    reply = host(Detached(key=key, verb="ask"))
    assert (reply.stdout, reply.rc, reply.data["rc"]) == (b"out\n", 0, 0)


def test_work_that_fails_says_so_and_stops_there(host: Parley, key: str, tmp_path: Path) -> None:
    steps = (Exec(shell="echo bad >&2; exit 9"), Exec(argv=("touch", str(tmp_path / "no"))))
    host(Detached(key=key, operations=steps))
    wait_for(lambda: state(host, key) == "failed", "the failure")
    reply = host(Detached(key=key, verb="ask"))
    assert (reply.rc, reply.stderr) == (9, b"bad\n")
    assert not (tmp_path / "no").exists()


def test_a_live_one_is_left_alone_when_started_again_and_another_replaces_it(
    host: Parley, key: str, tmp_path: Path
) -> None:
    def start(word: str) -> Detached:
        return Detached(key=key, operations=(Exec(shell=f"echo {word} >> {tmp_path}/log; sleep 60"),), grace=1.0)

    host(start("one"))
    first = wait_for(lambda: ask(host, key).get("pid"), "the process")
    assert not host(start("one")).changed
    assert ask(host, key)["pid"] == first
    wait_for(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text() == "one\n", "the first's word")
    assert host(start("two")).changed
    wait_for(lambda: (tmp_path / "log").read_text() == "one\ntwo\n", "the second")
    assert not Path(f"/proc/{first}").exists()


def test_cancel_ends_the_whole_group_and_leaves_nothing(host: Parley, key: str, tmp_path: Path) -> None:
    host(
        Detached(key=key, operations=(Exec(shell=f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/child; wait; wait"),))
    )
    child = int(wait_for(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text(), "the child"))
    assert host(Detached(key=key, verb="cancel", grace=0.3)).changed
    assert state(host, key) == "absent"
    wait_for(lambda: not Path(f"/proc/{child}").exists(), "the child's end")
    assert not host(Detached(key=key, verb="cancel")).changed


# --- the dead-man


def dead_man(key: str, path: Path, after: float, *watch: Watch) -> Detached:
    return Detached(key=key, operations=(Exec(argv=("touch", str(path))),), after=after, watch=watch, every=0.1)


def test_a_dead_man_fires_when_nobody_renews(host: Parley, key: str, tmp_path: Path) -> None:
    began = time.monotonic()
    host(dead_man(key, tmp_path / "back", 1.0))
    assert state(host, key) == "armed"
    wait_for((tmp_path / "back").exists, "the dead-man")
    assert time.monotonic() - began >= 1.0
    wait_for(lambda: state(host, key) == "done", "its end")
    assert ask(host, key)["fired"] == "dead-man"
    late = host(Detached(key=key, verb="renew"))
    assert not late.ok


def test_a_dead_man_that_is_renewed_holds_still(host: Parley, key: str, tmp_path: Path) -> None:
    for after in (2.0, 20.0):  # a machine that is too busy to renew every two seconds is given longer
        host(dead_man(key, tmp_path / "back", after))
        end = time.monotonic() + 1.5 * after
        while (renewed := host(Detached(key=key, verb="renew")).ok) and time.monotonic() < end:
            time.sleep(0.2)
        if renewed:
            break
        (tmp_path / "back").unlink(missing_ok=True)
    assert renewed
    assert not (tmp_path / "back").exists()
    assert state(host, key) == "armed"
    host(Detached(key=key, verb="cancel"))
    assert state(host, key) == "absent"


def test_a_dead_man_fires_though_the_agent_was_killed(host: Parley, key: str, tmp_path: Path) -> None:
    host(dead_man(key, tmp_path / "back", 2.0))
    os.kill(host.hello["pid"], signal.SIGKILL)
    host.next(Ended)
    wait_for((tmp_path / "back").exists, "the dead-man")
    host.ended = None
    revived = Parley(host.connection, run=host.run, token=host.token).ready()
    host.__dict__.update(revived.__dict__)


CONTROLLER = """
    import queue, sys, time
    from pathlib import Path
    from ciflow.model import Detached, Exec
    from ciflow.targets import Connection
    from ciflow.targets.session import Session
    inbox = queue.Queue()
    session = Session.open(Connection(), project="shop", run="canary", token=1, inbox=inbox.put)
    mark = Path(sys.argv[1])
    work = (Exec(argv=("touch", str(mark / "back"))),)
    session.submit("web1", "k", Detached(key="guard", operations=work, after=4.0))
    session.flush()
    inbox.get(); inbox.get()
    (mark / "armed").touch()
    for number in range(1000):
        session.submit("web1", f"r{number}", Detached(key="guard", verb="renew"))
        session.flush()
        time.sleep(0.2)
"""


def test_a_dead_man_fires_after_the_controller_is_killed(own_home: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    controller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CONTROLLER), str(tmp_path)], env=env)
    wait_for((tmp_path / "armed").exists, "the controller")
    time.sleep(5.0)
    assert not (tmp_path / "back").exists()
    controller.kill()
    controller.wait()
    wait_for((tmp_path / "back").exists, "the dead-man")
    assert own_home.exists()


def test_a_watch_that_breaks_fires_at_once(host: Parley, key: str, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    errors.write_text("errors=3\n")
    read = Exec(argv=("cat", str(errors)))
    host(dead_man(key, tmp_path / "back", 60.0, Watch(read=read, pattern="errors=([0-9]+)", limit=5)))
    time.sleep(0.5)
    assert state(host, key) == "armed"
    errors.write_text("errors=6\n")
    wait_for((tmp_path / "back").exists, "the turn back")
    assert ask(host, key)["fired"] == "watch"


def test_a_watch_breaks_below_its_least_number_when_it_stays_there_for_longer_than_allowed(
    host: Parley, key: str, tmp_path: Path
) -> None:
    """Two looks may miss in a row: the script counts them, and says a good number in between."""
    told = tmp_path / "told"
    script = f"echo x >> {told}; n=$(wc -l < {told}); if [ $n = 3 ]; then echo up=1; else echo up=0; fi"
    watch = Watch(read=Exec(shell=script), pattern="up=([0-9]+)", least=1, misses=2)
    host(dead_man(key, tmp_path / "back", 600.0, watch))
    wait_for((tmp_path / "back").exists, "the turn back")
    assert told.read_text() == "x\n" * 6, "2 misses, a good one, and the third of those after it"
    assert ask(host, key)["fired"] == "watch"


def test_a_watch_that_says_nothing_is_no_reason_to_fire(host: Parley, key: str, tmp_path: Path) -> None:
    read = Talk(address=str(tmp_path / "no.sock"), payload=b"show stat\n")
    host(dead_man(key, tmp_path / "back", 60.0, Watch(read=read, pattern="([0-9]+)", limit=0)))
    time.sleep(0.5)
    assert state(host, key) == "armed"


def test_what_a_dead_man_does_is_tried_again_until_it_works(host: Parley, key: str, tmp_path: Path) -> None:
    work: tuple[Operation, ...] = (Exec(shell=f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3"),)
    host(Detached(key=key, operations=work, after=0.2))
    wait_for(lambda: state(host, key) == "done", "the third try")
    assert (tmp_path / "tries").read_text() == "x\n" * 3


# --- a supervised process


def test_a_supervised_process_outlives_everybody_and_is_started_again(host: Parley, key: str, tmp_path: Path) -> None:
    server = Exec(shell=f"echo $$ >> {tmp_path}/pids; echo serving; exec sleep 600")
    log = tmp_path / "server.log"
    host(Detached(key=key, operations=(server,), restart=True, log=str(log)))
    first = wait_for(lambda: ask(host, key).get("pid"), "the process")
    wait_for(lambda: log.exists() and log.read_text() == "serving\n", "its first word")
    os.kill(host.hello["pid"], signal.SIGKILL)
    host.next(Ended)
    assert Path(f"/proc/{first}").exists()
    os.kill(first, signal.SIGKILL)
    host.ended = None
    revived = Parley(host.connection, run=host.run, token=host.token).ready()
    host.__dict__.update(revived.__dict__)
    second = wait_for(lambda: (pid := ask(host, key)["pid"]) not in (0, first) and pid, "its successor")
    found = ask(host, key)
    assert (found["state"], found["restarts"], found["log"]) == ("running", 1, str(log))
    wait_for(lambda: log.read_text() == "serving\n" * 2, "its successor's first word")
    assert [int(word) for word in (tmp_path / "pids").read_text().split()] == [first, second]
    host(Detached(key=key, verb="cancel", grace=2.0))
    assert not Path(f"/proc/{second}").exists()


def test_the_process_of_a_killed_supervisor_is_not_forgotten(host: Parley, key: str, tmp_path: Path) -> None:
    start = Detached(key=key, operations=(Exec(shell="exec sleep 600"),), restart=True)
    host(start)
    orphan = wait_for(lambda: ask(host, key).get("pid"), "the process")
    os.kill(ask(host, key)["supervisor"], signal.SIGKILL)
    wait_for(lambda: state(host, key) == "failed", "the news")
    assert host(start).changed
    wait_for(lambda: not Path(f"/proc/{orphan}").exists(), "the orphan's end")
    assert wait_for(lambda: ask(host, key).get("pid"), "the new one") != orphan
    assert tmp_path.exists()


def test_work_that_ended_more_than_a_week_ago_is_forgotten_and_what_still_runs_is_not(
    own_home: Path, talk: Callable[..., Parley]
) -> None:
    host = talk(Connection())
    host(Detached(key="ended", operations=(Exec(argv=("true",)),)))
    host(Detached(key="running", operations=(Exec(argv=("sleep", "60")),)))
    wait_for(lambda: state(host, "ended") == "done", "the end")
    base = own_home / ".local/state/ciflow"
    for folder in base.glob("*/detached/*"):
        os.utime(folder, (0, 0))
    (base / "swept").unlink(missing_ok=True)
    again = talk(Connection())
    wait_for(lambda: state(again, "ended") == "absent", "the sweep")
    assert state(again, "running") == "running"
    again(Detached(key="running", verb="cancel", grace=0.1))


def test_who_asks_whether_it_lives_does_not_hinder_one_that_starts(host: Parley, key: str) -> None:
    """Each look takes the supervisor's lock for an instant; a start at that instant failed once."""
    base = Path(host.hello["home"]) / ".local/state/ciflow" / host.hello["epoch"]
    if not base.exists():
        pytest.skip("the host's files are not this machine's")
    folder = base / "detached" / blake2b(key.encode(), digest_size=16).hexdigest()
    folder.mkdir(parents=True, mode=0o700)
    stop = threading.Event()

    def look() -> None:
        with (folder / "lock").open("ab") as lock:
            while not stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    time.sleep(0.02)
                    fcntl.flock(lock, fcntl.LOCK_UN)
                time.sleep(0.01)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        assert host(Detached(key=key, operations=(Exec(argv=("true",)),))).ok
    finally:
        stop.set()
        looking.join()


def test_a_dead_man_acts_although_there_is_no_room_to_write_that_down(
    talk: Callable[..., Parley], tiny_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of a router's host is full: users are given back all the same."""
    monkeypatch.setenv("HOME", str(tiny_disk))
    host = talk(Connection())
    key = f"full-{host.token}"
    act = Exec(shell=f"until [ -e {tmp_path}/gate ]; do sleep 0.02; done; touch {tmp_path}/back")
    assert host(Detached(key=key, operations=(act,), after=2.0)).ok
    filler = fill(tiny_disk)
    (tmp_path / "gate").touch()
    wait_for((tmp_path / "back").exists, "what the dead-man does")
    filler.unlink()
    host(Detached(key=key, verb="cancel", grace=1.0))


def test_who_starts_a_process_while_another_ends_it_has_one_that_can_be_reached(
    connection: Connection, talk: Callable[..., Parley], tmp_path: Path
) -> None:
    """The one waits until the other has ended it and taken its folder away; else a process would be left to nobody."""
    first = talk(connection)
    second = talk(connection, run=first.run, token=first.token)
    key = f"both-{first.token}"

    def program(word: str) -> Detached:
        said = f"trap 'echo asked-{word} >> {tmp_path}/log' TERM; echo {word} >> {tmp_path}/log"
        program = Exec(shell=f"{said}; while :; do sleep 0.1; done")
        return Detached(key=key, operations=(program,), restart=True, grace=1.5)

    def log() -> list[str]:
        return (tmp_path / "log").read_text().split() if (tmp_path / "log").exists() else []

    assert first(program("one")).ok
    wait_for(lambda: "one" in log(), "the first process")
    first.session.submit("web1", "end", Detached(key=key, verb="cancel", grace=1.5))
    first.session.flush()
    wait_for(lambda: "asked-one" in log(), "its end to begin")
    assert second(program("two"), key="two").ok
    assert first.answer("end").ok
    wait_for(lambda: "two" in log(), "the second process")
    assert second(Detached(key=key, verb="ask"), key="look").data["state"] == "running"
    assert second(Detached(key=key, verb="cancel", grace=0.1), key="over").changed
