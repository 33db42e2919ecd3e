"""One wins, a dead holder gives way, a stopped one is fenced off, and everybody hears who holds what."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from ciflow.diagnostics import Locked, StoreError
from ciflow.model import Event
from ciflow.store.locks import Held, Holder, Lease, Observer
from ciflow.store.place import Place
from ciflow.store.store import Store

ROUNDS = 200


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


def me(run: str = "R-1") -> Holder:
    return Holder.me(run, "ada", "ciflow apply release.yml")


def elsewhere(run: str = "R-2") -> Holder:
    return Holder(run, "bob", "ciflow apply release.yml", "ci-7", "another machine", 4711, "99")


def racer(place: Place, barrier: Barrier, results: multiprocessing.Queue[list[int]]) -> None:
    won = []
    with Store.open(place) as store:
        for turn in range(ROUNDS):
            barrier.wait()
            try:
                won.append(store.locks.acquire(f"scope-{turn}", me(f"R-{os.getpid()}")).token)
            except Locked:
                won.append(0)
    results.put(won)
    barrier.wait()  # nobody ends before all have tried: an ended holder would give way


def test_of_two_processes_exactly_one_wins_two_hundred_times(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    racers = [context.Process(target=racer, args=(store.place, barrier, results)) for _ in range(2)]
    for each in racers:
        each.start()
    first, second = results.get(timeout=180), results.get(timeout=180)
    for each in racers:
        each.join(90)
    assert len(first) == len(second) == ROUNDS
    assert all((a == 0) != (b == 0) for a, b in zip(first, second, strict=True))
    assert sorted(a + b for a, b in zip(first, second, strict=True)) == list(range(1, ROUNDS + 1))
    print(f"of {ROUNDS} races one process won {sum(map(bool, first))}")


def test_the_loser_hears_who_since_when_and_how_to_break_it(store: Store) -> None:
    minutes = [time.strftime("since %H:%M")]
    store.locks.acquire("release.yml at web", me())
    minutes.append(time.strftime("since %H:%M"))
    with pytest.raises(Locked) as refusal:
        store.locks.acquire("release.yml at web", me("R-2"))
    assert int(refusal.value.exit_code) == 6
    said = refusal.value.message
    assert "release.yml at web is held by ada (`ciflow apply release.yml`, run R-1" in said
    assert f"process {os.getpid()}" in said
    assert any(minute in said for minute in minutes)
    assert "--break-glass" in refusal.value.help


HOLD = """
import os, signal, sys, time
from ciflow.diagnostics import Locked
from ciflow.model import Event
from ciflow.store.locks import Holder
from ciflow.store.place import place_of
from ciflow.store.store import Store
s = Store.open(place_of(sys.argv[1]))
lease = s.locks.acquire("shield", Holder.me("R-9", "bob", "ciflow apply"))
print("held", flush=True)
if sys.argv[2:] == ["stop"]:
    os.kill(os.getpid(), signal.SIGSTOP)
if sys.argv[2:] == ["release"]:
    time.sleep(0.5)
    s.locks.release(lease)
    time.sleep(0.5)  # alive all the while: the lock was given back, not taken from the dead
    sys.exit()
while True:
    time.sleep(0.05)
    try:
        s.locks.renew(lease)
        s.append([Event(kind="output", run="R-9", data={})], lease)
    except Locked as e:
        print("Locked:", e, flush=True)
        try:
            s.append([Event(kind="dial", run="R-9", data={"weight": 10000})], lease)
        except Locked as e:
            print("Locked again", flush=True)
        break
"""


def start(store: Store, *words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLD, str(store.place), *words]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def other(store: Store) -> Iterator[subprocess.Popen[str]]:
    with start(store) as process:
        yield process
        process.kill()


def test_after_kill_9_on_this_machine_the_lock_is_taken_at_once(store: Store, other: subprocess.Popen[str]) -> None:
    with pytest.raises(Locked):
        store.locks.acquire("shield", me())
    other.kill()
    other.wait()
    lease = store.locks.acquire("shield", me())
    assert lease.token == 2
    assert lease.broke and lease.broke.run == "R-9"


@pytest.mark.fault(16)
def test_a_holder_stopped_past_its_term_can_write_nothing_when_it_goes_on(store: Store) -> None:
    with start(store, "stop") as other:
        os.waitpid(other.pid, os.WUNTRACED)
        began = time.monotonic()
        lease = store.locks.acquire("shield", me(), term=0.8)
        assert time.monotonic() - began >= 0.8
        written = store.append([Event(kind="rollback", run="R-1", data={})], lease)
        os.kill(other.pid, signal.SIGCONT)
        said, _ = other.communicate(timeout=90)
    assert "Locked: this run no longer holds shield: it is taken over by ada" in said
    assert "Locked again" in said
    assert store.last == written


def test_on_another_machine_a_counter_that_stands_still_for_a_term_is_death(store: Store) -> None:
    store.locks.acquire("shield", elsewhere())
    began = time.monotonic()
    lease = store.locks.acquire("shield", me(), term=0.5)
    assert time.monotonic() - began >= 0.5
    assert lease.token == 2


def test_on_another_machine_a_counter_that_moves_is_life(store: Store) -> None:
    lease = store.locks.acquire("shield", elsewhere())
    observer = Observer(term=0.5)
    assert isinstance(store.locks.attempt("shield", me(), observer), Held)
    store.locks.renew(lease)
    assert isinstance(store.locks.attempt("shield", me(), observer), Held)
    assert observer.moved


@pytest.mark.fault(14)
def test_a_clock_that_jumps_an_hour_takes_no_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.locks.acquire("shield", elsewhere())
    observer = Observer(term=15.0)
    assert isinstance(store.locks.attempt("shield", me(), observer), Held)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert isinstance(store.locks.attempt("shield", me(), observer), Held)


def test_a_pid_used_again_by_another_process_is_not_the_holder() -> None:
    holder = me()
    again = Holder(holder.run, holder.who, holder.doing, holder.host, holder.machine, holder.pid, "1")
    assert again.gone() and not again.lives()
    assert not holder.gone() and holder.lives()
    assert not elsewhere().gone() and not elsewhere().lives()


def test_tokens_only_grow_over_scopes_releases_floors_and_reopening(store: Store) -> None:
    locks = store.locks
    first = locks.acquire("shield", me())
    locks.release(first)
    assert locks.holder_of("shield") is None
    assert locks.acquire("other", me()).token == 2
    second = locks.acquire("shield", me(), token_floor=40)  # a router knows 40
    assert second.token == 41
    assert locks.acquire("third", me(), token_floor=7).token == 42
    with Store.open(store.place) as again:
        assert again.locks.acquire("fourth", me()).token == 43
        assert again.locks.greatest_token() == 43


def test_a_lock_whose_holder_raised_its_token_is_given_back_by_the_older_lease(store: Store) -> None:
    first = store.locks.acquire("shield", me())
    raised = store.locks.acquire("shield", me(), token_floor=40, steal=True)  # a host knows 40
    store.locks.release(first)
    assert store.locks.holder_of("shield") is None
    assert store.locks.acquire("shield", me()).token == raised.token + 1


def test_a_rollback_takes_a_live_lock_and_says_from_whom(store: Store) -> None:
    first = store.locks.acquire("shield", me("R-1"))
    second = store.locks.acquire("shield", me("R-2"), steal=True)
    assert second.broke and second.broke.run == "R-1"
    with pytest.raises(Locked, match=r"taken over by ada .*run R-2"):
        store.locks.renew(first)
    store.locks.release(first)
    held = store.locks.holder_of("shield")
    assert held and held.token == second.token


def test_whoever_waits_gets_the_lock_when_it_is_given_back(store: Store) -> None:
    with start(store, "release") as other:
        assert isinstance(store.locks.acquire("shield", me(), wait=20), Lease)
        assert other.wait(10) == 0


def test_a_flipped_token_is_never_read(store: Store) -> None:
    store.locks.acquire("shield", me(), token_floor=1000)
    store._database.connection.execute("UPDATE locks SET token = 3")
    with pytest.raises(StoreError, match="the lock of shield doesn't verify"):
        store.locks.acquire("shield", me())


def test_whoever_has_to_watch_a_holder_first_is_told_so_once(store: Store) -> None:
    told: list[str] = []
    store.locks.acquire("release.yml at web", elsewhere())
    store.locks.acquire("release.yml at web", me(), term=0.3, tell=told.append)
    assert len(told) == 1 and "process 4711 on ci-7" in told[0] and "whether it still lives" in told[0], told
    store.locks.acquire("another", me(), tell=told.append)
    assert len(told) == 1
