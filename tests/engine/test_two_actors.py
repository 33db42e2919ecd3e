"""Two processes at one run, one after the other or in each other's way: nothing lost, nothing repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner

from ciflow.cli import control
from ciflow.cli import resume as resume_command
from ciflow.diagnostics import NoSuch, StoreError
from ciflow.engine import start, wire, worker
from ciflow.engine.keys import new_run
from ciflow.engine.people import People
from ciflow.engine.reached import LOCAL
from ciflow.engine.record import Recorder
from ciflow.engine.request import Request
from ciflow.engine.start import project_of
from ciflow.model import Event, Exec, Operation, Reply, Write
from ciflow.store.locks import Held, Holder, Lease, Observer
from ciflow.store.store import Store
from ciflow.targets.told import Answer, Asked, Ready
from tests.engine.playing import Bench

STOPS = """
        - hosts: localhost
          tasks:
            - {name: one, shell: echo one >> {here}/out/log}
            - {name: first, command: test -e {here}/out/first}
            - {name: two, shell: echo two >> {here}/out/log}
            - {name: second, command: test -e {here}/out/second}
            - {name: three, shell: echo three >> {here}/out/log}
        """


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """What happens at another terminal while this one is asked for a vault's password."""

    def happens(what: Callable[[], object]) -> None:
        asked = start.read_vault

        def answered_late(*args: Any) -> Any:
            monkeypatch.setattr(start, "read_vault", asked)
            what()
            return asked(*args)

        monkeypatch.setattr(start, "read_vault", answered_late)

    return happens


def test_who_is_slower_to_resume_repeats_nothing_that_the_other_has_done(
    bench: Bench, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    first = bench.play(STOPS)
    (bench.out / "first").touch()
    meanwhile(lambda: bench.resume(first.run))
    bench.resume(first.run)
    assert bench.wrote() == ["one", "two"]
    (bench.out / "second").touch()
    meanwhile(lambda: bench.resume(first.run))
    with pytest.raises(NoSuch, match=f"{first.run} is ok: there is nothing to resume"):
        bench.resume(first.run)
    assert bench.wrote() == ["one", "two", "three"]


# --- a controller that is no more, and can't be looked up


def _left_by(bench: Bench, run: str, holder: Holder) -> None:
    """The journal as a process of the run leaves it whose machine was switched off."""
    with Store.open(bench.store) as store:
        [begun] = store.events(run=run, kinds=("run_started",))
        request = Request.from_data(begun.data["request"], store.keys.existing(run))
        store.locks.acquire(project_of(request), holder)
        store.locks.acquire("service:shield", holder)
        store.append([Event(kind="run_resumed", run=run, data={"who": "bob", "holder": holder.to_data()})])


def test_a_run_whose_machine_is_gone_is_resumed_once_it_was_watched_for_a_term(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a container that was removed, a runner that is another one now, a machine before its reboot."""
    first = bench.play(STOPS)
    for name in ("first", "second"):
        (bench.out / name).touch()
    _left_by(bench, first.run, Holder(first.run, "bob", "ciflow apply", "ci-7", "another boot", 4711, "99"))
    monkeypatch.setattr(resume_command, "Observer", partial(Observer, 0.3))
    said = CliRunner().invoke(resume_command.command, ["--state", str(bench.store)])
    assert said.exit_code in (0, None) and said.return_value in (0, None), said.output
    assert "looking whether process 4711 on ci-7 still works on it" in said.output
    assert bench.wrote() == ["one", "two", "three"]


def test_a_run_on_another_machine_that_lives_is_spoken_to_and_not_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.play(STOPS)
    (bench.out / "first").touch()
    _left_by(bench, first.run, Holder(first.run, "bob", "ciflow apply", "ci-7", "another boot", 4711, "99"))

    class Renewed(Observer):
        """Between two looks the holder on the other machine renews."""

        def dead(self, held: Any) -> bool:
            found = Observer.dead(self, held)
            with Store.open(bench.store) as store:
                row = store.locks.holder_of(held.scope)
                assert row is not None and row.holder is not None
                store.locks.renew(Lease(held.scope, row.token, row.holder))
            return found

    monkeypatch.setattr(resume_command, "Observer", partial(Renewed, 60.0))
    said = CliRunner().invoke(resume_command.command, [first.run, "--state", str(bench.store)])
    assert f"resume: said to {first.run}" in said.output
    assert bench.wrote() == ["one"]


def test_a_run_takes_the_lock_of_its_service_from_its_own_earlier_process_at_once(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        far = Holder("R-1", "bob", "ciflow apply", "ci-7", "another boot", 4711, "99")
        store.locks.acquire("service:shield", far)
        mine = Holder.me("R-1", "ada", "ciflow resume R-1")
        observer = Observer(3600.0)
        assert store.locks.acquire("service:shield", mine, observer=observer, heir=True).broke == far
        other = Holder.me("R-2", "ada", "ciflow apply")
        held = store.locks.attempt("service:shield", other, observer, heir=True)
        assert isinstance(held, Held)


# --- the end of a run whose last words can't be written


def test_a_disk_that_is_full_at_the_very_end_repeats_nothing_after_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last task is done, and its result is lost: its host must not forget it, nor the run's key go."""
    monkeypatch.setattr(wire, "LATER", 3600)  # the last results are written at the end only
    append, full = Store.append, [True]

    def without_room(store: Store, events: Sequence[Event], *leases: Any) -> int:
        if full[0] and any(event.kind in ("op_reply", "run_ended") for event in events):
            raise StoreError("no space left for the journal")
        return append(store, events, *leases)

    monkeypatch.setattr(Store, "append", without_room)
    with pytest.raises(StoreError, match="no space left"):
        bench.play("- hosts: localhost\n  gather_facts: false\n  tasks: [{shell: echo once >> {here}/out/log}]\n")
    assert bench.wrote() == ["once"]
    full[0] = False
    with Store.open(bench.store) as store:
        run = store.last_run()
    assert bench.resume(run).exit == 0
    assert bench.wrote() == ["once"]


# --- what a host's journal says


class Far:
    """A host that has lost what was sent to it, and says so in a word of its journal."""

    def __init__(self, journal: str, state: str, inbox: Callable[[Any], None]) -> None:
        self.state, self.inbox, self.ran = state, inbox, list[str]()
        inbox(Ready(self, {"journal": journal, "token": 1, "warning": "", "python": "3"}))

    def submit(self, lane: str, key: str, operation: Operation, guard: str = "", check: bool = False) -> None:  # noqa: ARG002
        self.ran.append(key)
        self.inbox(Answer(self, key, Reply()))  # unchanged: it is as it should be

    def ask(self, keys: list[str], journal: str = "") -> None:  # noqa: ARG002
        for key in keys:
            self.inbox(Asked(self, key, self.state))

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


class Memory:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, events: Sequence[Event]) -> int:
        self.events.extend(events)
        return len(self.events)


def resumed(operation: Operation, journal: str, state: str, *, first: str) -> tuple[Reply, list[str]]:
    """What an operation comes to that an earlier process has sent, to a host whose journal was `first` then, is
    `journal` now and says `state`; and what was sent."""
    memory, run = Memory(), new_run(0)
    before = Recorder(run, memory)
    wire.Wire(before, lambda *_: None, cap=10).first_journal(LOCAL, first)  # type: ignore[arg-type, return-value]
    before.sent("k", operation)
    before.commit()
    recorder = Recorder(run, memory)
    recorder.remember(memory.events)
    opened: list[Far] = []

    async def go() -> Reply:
        def opener(_: Any, inbox: Callable[[Any], None]) -> Any:
            opened.append(Far(journal, state, inbox))
            return opened[0]

        links = wire.Wire(recorder, opener, cap=10)
        return await asyncio.wait_for(links.call(LOCAL, "lane", "k", operation).answer, 60)

    return asyncio.run(go()), opened[0].ran


def test_without_a_journal_at_first_absent_is_not_never_started() -> None:
    """The host's disk was full when the command began, and has room again: perhaps by that very command."""
    reply, ran = resumed(Exec(shell="free some space"), "e:now", "absent", first="")
    assert (reply.status, ran) == ("unknown", [])
    reply, ran = resumed(Exec(shell="free some space"), "e:now", "absent", first="e:now")
    assert (reply.status, ran) == ("done", ["k"])


def test_a_file_that_may_have_been_written_before_counts_as_changed() -> None:
    """Its handler would be lost otherwise: the service would run on with the old file."""
    for state, first in (("unknown", "e:now"), ("unknown", "e:before"), ("absent", "")):
        reply, ran = resumed(Write(path="/f", content=b"x"), "e:now", state, first=first)
        assert (reply.changed, ran) == (True, ["k"])
    reply, ran = resumed(Write(path="/f", content=b"x"), "e:now", "absent", first="e:now")
    assert (reply.changed, ran) == (False, ["k"])


# --- what people say to one that dies before it hears


def said(verb: str, service: str = "shield") -> Event:
    return Event(kind="command", run="R-1", data={"verb": verb, "by": "ada", "service": service})


def state(word: str, service: str = "shield") -> Event:
    return Event(kind="canary_state", run="R-1", play="roll", data={"state": word, "service": service})


@pytest.mark.parametrize(
    ("events", "heard"),
    [
        ([state("holding"), said("abort")], "abort"),
        ([said("abort"), said("promote")], "abort"),
        ([state("holding"), said("promote"), said("pause")], ""),
        ([said("abort"), state("failed")], ""),
        ([said("abort"), state("failed"), state("deploying"), said("abort")], "abort"),
        ([said("abort", "sword")], ""),
        ([said("abort"), state("failed", "sword")], "abort"),
    ],
)
def test_an_abort_that_nobody_lived_to_obey_is_obeyed_after_a_resume(
    tmp_path: Path, events: list[Event], heard: str
) -> None:
    with Store.open(tmp_path / "store") as store:
        store.append([Event(kind="run_started", run="R-1"), *events, Event(kind="run_resumed", run="R-1")])
        assert People(store, "R-1", resumed=True).to("shield").take().get("command", "") == heard


def test_what_is_said_while_a_resumed_process_starts_is_heard(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.append([Event(kind="run_started", run="R-1"), said("pause"), Event(kind="run_resumed", run="R-1")])
        store.append([said("promote")])
        commands = People(store, "R-1", resumed=True).to("shield")
        assert [commands.take().get("command") for _ in range(2)] == ["promote", None]


def test_who_approves_what_nobody_waits_for_hears_how_it_goes_on(bench: Bench) -> None:
    with Store.open(bench.store) as store:
        store.append(
            [
                Event(kind="run_started", run="R-1", data={"request": {}, "playbook": "play.yml"}),
                Event(kind="approval_wanted", run="R-1", play="roll", data={"prompt": "Roll out?"}),
                Event(kind="run_ended", run="R-1", data={"exit": 143}),
            ]
        )
    told = CliRunner().invoke(control.approve, ["--state", str(bench.store)])
    assert "approved: Roll out?" in told.output
    assert "R-1 is interrupted: `ciflow resume R-1` goes on by it" in told.output


def test_who_speaks_to_a_rollout_whose_machine_is_gone_hears_that_nobody_did(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Holder("R-1", "bob", "ciflow apply", "ci-7", "another boot", 4711, "99")
    begun = {"request": {}, "holder": far.to_data()}
    rollout = {"service": "shield", "version": "2", "slot": "b", "token": 1}
    with Store.open(bench.store) as store:
        store.locks.acquire("service:shield", far)
        store.append([Event(kind="run_started", run="R-1", data=begun)])
        store.append([Event(kind="canary_started", run="R-1", play="roll", data=rollout)])
    monkeypatch.setattr("ciflow.store.locks.Observer", partial(Observer, 0.3))
    told = CliRunner().invoke(control.abort, ["shield", "--state", str(bench.store)])
    assert "abort: said to R-1" in told.output
    assert isinstance(told.exception, NoSuch) and "`abort` was not heard" in told.exception.message


# --- a worker of a run


def test_a_worker_writes_down_what_came_before_hosts_forget_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    room = [True]

    class Written(Recorder):
        def commit(self) -> None:
            if not room[0]:
                raise StoreError("no space left for the journal")
            done.append("written")

    class Closed(wire.Wire):
        def close(self, *, ended: bool) -> None:
            done.append("hosts forget" if ended else "hosts keep")

    async def nothing(*_: object) -> None:
        return

    monkeypatch.setattr(worker, "Recorder", Written)
    monkeypatch.setattr(worker, "Wire", Closed)
    walk: Any = object.__new__(worker._Walk)
    walk.order = SimpleNamespace(run="R-1", number=0, again=False)
    walk.seal = SimpleNamespace(digest_key=b"")
    walk.mask = None
    for part in ("board", "shard", "store"):
        setattr(walk, part, MagicMock(claimed=lambda _: None))
    walk.lease = None
    walk._stage = walk._begin = walk._end = MagicMock()
    walk._walk = walk._beat = nothing
    asyncio.run(walk.go())
    assert done == ["written", "hosts forget"]
    done.clear()
    room[0] = False
    with pytest.raises(StoreError):
        asyncio.run(walk.go())
    assert done == ["hosts keep"]


def test_a_run_whose_token_a_host_raised_gives_its_lock_back_at_its_end(bench: Bench) -> None:
    """The journal was lost, so that tokens began anew, and the host remembers greater ones."""
    play = "- {hosts: localhost, tasks: [{name: a, command: echo a}]}"
    for _ in range(3):
        assert bench.play(play).exit == 0
    bench.store = bench.folder / "another state"
    for _ in range(2):
        assert bench.play(play).exit == 0
