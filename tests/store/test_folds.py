"""Runs and releases as people ask for them, made of events alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Event
from ciflow.store.folds import Release, history, summaries, summary, taken_back
from ciflow.store.locks import Holder
from ciflow.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


class Teller:
    """Appends events one a second."""

    def __init__(self, store: Store) -> None:
        self.store, self.at = store, 1000.0

    def __call__(self, run: str, kind: str, play: str = "", **data: Any) -> None:
        self.at += 1
        self.store.append([Event(kind=kind, run=run, at=self.at, play=play, data=data)])


@pytest.fixture
def tell(store: Store) -> Teller:
    return Teller(store)


def begin(tell: Teller, run: str, holder: Holder | None = None) -> None:
    data = (holder or Holder.me(run, "ada", "ciflow apply")).to_data()
    tell(run, "run_started", playbook="release.yml", who="ada", check=False, holder=data, request={})


@pytest.mark.parametrize(
    ("code", "state", "resumable"),
    [(0, "ok", False), (2, "ok", False), (1, "failed", True), (4, "failed", True), (5, "failed", True),
     (7, "rolled_back", False), (8, "paused", True), (130, "interrupted", True), (143, "interrupted", True)],
)  # fmt: skip
def test_a_run_s_state_is_read_from_how_it_ended(
    store: Store, tell: Teller, code: int, state: str, resumable: bool
) -> None:
    begin(tell, "R-1")
    tell("R-1", "run_ended", exit=code, result="It ended.")
    found = summary(store, "R-1")
    assert found and (found.state, found.exit, found.resumable) == (state, code, resumable)
    assert (found.started, found.ended, found.playbook, found.who) == (1001.0, 1002.0, "release.yml", "ada")


def test_a_run_without_an_end_runs_as_long_as_its_process_does(store: Store, tell: Teller) -> None:
    code = (
        "import sys; from ciflow.store.locks import Holder\n"
        "h = Holder.me('R-2', 'bob', 'x'); print(h.pid, h.start, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout
    pid, start = other.stdout.readline().split()
    mine = Holder.me("R-2", "bob", "x")
    begin(tell, "R-1")
    begin(tell, "R-2", Holder("R-2", "bob", "x", mine.host, mine.machine, int(pid), start))
    assert [(s.run, s.state) for s in summaries(store)] == [("R-2", "running"), ("R-1", "running")]
    other.kill()
    other.communicate()
    assert [(s.run, s.state, s.resumable) for s in summaries(store)] == [
        ("R-2", "interrupted", True), ("R-1", "running", False),
    ]  # fmt: skip


def test_a_run_that_ends_while_somebody_looks_was_not_interrupted(
    store: Store, tell: Teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(_: Holder) -> bool:
        tell("R-1", "run_ended", exit=6, result="failed")
        return False

    begin(tell, "R-1")
    monkeypatch.setattr(Holder, "lives", ends)
    found = summary(store, "R-1")
    assert found and (found.state, found.exit) == ("failed", 6)


def test_a_rollback_that_did_not_reach_all_routers_is_no_run_to_resume(store: Store, tell: Teller) -> None:
    """It walks no plan: the same command again is how it goes on."""
    tell("R-1", "run_started", playbook="rollback shield", who="ada")
    tell("R-1", "run_ended", exit=5, result="the former version is warm")
    found = summary(store, "R-1")
    assert found and (found.state, found.resumable) == ("failed", False)


def test_a_run_on_another_machine_is_running_while_it_holds_its_lock(store: Store, tell: Teller) -> None:
    far = Holder("R-1", "bob", "x", "ci-7", "another machine", 1, "1")
    begin(tell, "R-1", far)
    lease = store.locks.acquire("project", far)
    found = summary(store, "R-1")
    assert found and found.state == "running"
    store.locks.release(lease)
    found = summary(store, "R-1")
    assert found and found.state == "interrupted"


def test_a_resumed_run_is_running_again(store: Store, tell: Teller) -> None:
    begin(tell, "R-1")
    tell("R-1", "run_ended", exit=8, result="Paused.")
    tell("R-1", "run_resumed", holder=Holder.me("R-1", "ada", "ciflow resume").to_data())
    found = summary(store, "R-1")
    assert found and (found.state, found.exit, found.ended) == ("running", None, 0.0)
    assert summary(store, "R-77") is None


def release(tell: Teller, run: str, version: str, slot: str, weights: tuple[int, ...], end: str = "good") -> None:
    begin(tell, run)
    live = "a" if slot == "b" else "b"
    tell(run, "canary_started", "roll", service="shield", version=version, slot=slot, live=live, token=3, steps=weights)
    for weight in weights:
        share = weight if slot == "b" else 10_000 - weight
        tell(run, "dial", "roll", share=share, slot=slot, weight=weight, verified=True, token=3)
        tell(run, "canary_state", "roll", state="holding", weight=weight)
    tell(run, "canary_state", "roll", state=end)


def brief(rows: list[Release]) -> list[tuple[str, str, int, str, bool]]:
    return [(r.version, r.slot, r.share, r.state, bool(r.observed_good)) for r in rows]


def test_the_history_of_a_service_follows_the_dial(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    assert brief(history(store, "shield")) == [("1.3.2", "a", 10_000, "good", True)]
    release(tell, "R-2", "1.4.0", "b", (100, 500), "holding")
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 500, "holding", False), ("1.3.2", "a", 9_500, "live", True),
    ]  # fmt: skip
    tell("R-2", "dial", "roll", share=10_000, slot="b", weight=10_000, token=3)
    tell("R-2", "canary_state", "roll", state="baking")
    at = tell.at
    rows = history(store, "shield")
    assert brief(rows) == [("1.4.0", "b", 10_000, "baking", False), ("1.3.2", "a", 0, "warm", True)]
    assert [r.since for r in rows] == [at - 1, at - 1]
    assert [r.who for r in rows] == ["ada", "ada"]


def test_a_rollback_gives_all_back_to_the_version_before(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (100, 10_000))
    tell("R-3", "rollback", service="shield", **{"from": "1.4.0", "to": "1.3.2"}, who="bob", reason="slow", took=0.4)
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 0, "rolled_back", True), ("1.3.2", "a", 10_000, "live", True),
    ]  # fmt: skip
    assert history(store, "nothing") == []


def found(tell: Teller, version: str, slot: str, token: int, seen: float = 0.0) -> None:
    tell("R-9", "run_started", playbook="rollback shield --rehearse", who="bob")
    tell("R-9", "found", service="shield", version=version, slot=slot, token=token, seen=seen or tell.at)


def test_what_was_rolled_back_from_elsewhere_is_known_once_somebody_looked_at_the_routers(
    store: Store, tell: Teller
) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (100, 10_000))
    found(tell, "1.4.0", "b", 3)
    assert brief(history(store, "shield"))[0] == ("1.4.0", "b", 10_000, "good", True), "as it was"
    found(tell, "1.3.2", "a", 4)
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 0, "rolled_back", True), ("1.3.2", "a", 10_000, "live", True),
    ]  # fmt: skip


def test_what_the_dead_man_gave_back_can_be_gone_on_with(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (500,), "holding")
    found(tell, "1.3.2", "a", 3)
    rows = history(store, "shield")
    assert brief(rows) == [("1.4.0", "b", 0, "given_back", False), ("1.3.2", "a", 10_000, "live", True)]
    assert rows[0].moves and not taken_back("R-2", rows)


def test_a_version_that_was_released_from_elsewhere_is_known_once_somebody_looked(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    found(tell, "1.4.0", "b", 9)
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 10_000, "live", False), ("1.3.2", "a", 0, "warm", True),
    ]  # fmt: skip


@pytest.mark.parametrize(("token", "early"), [(2, 0.0), (3, 0.5)])
def test_a_dial_that_was_turned_after_somebody_looked_stays_turned(
    store: Store, tell: Teller, token: int, early: float
) -> None:
    """Whoever looked writes it down later: by another clock, with a token of before, or by ours, a moment before."""
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (500,), "holding")
    before, turned = brief(history(store, "shield")), tell.at - 2
    found(tell, "1.3.2", "a", token, turned - early)
    assert brief(history(store, "shield")) == before


def test_what_a_rollback_knew_is_known_though_the_journal_was_lost(store: Store, tell: Teller) -> None:
    told = {"from": "1.4.0", "to": "1.3.2", "slot": "a", "who": "bob", "reason": "slow", "took": 0.4, "left": ["web2"]}
    tell("R-1", "run_started", playbook="rollback shield", who="bob")
    tell("R-1", "rollback", service="shield", **told)
    [row] = history(store, "shield")
    assert brief([row]) == [("1.3.2", "a", 10_000, "live", False)]
    assert (row.who, row.run, row.left) == ("bob", "R-1", ("web2",))
    tell("R-2", "rollback", service="shield", **{**told, "left": []})
    assert history(store, "shield")[0].left == ()


def test_a_rollback_to_an_earlier_release_of_the_same_version_goes_to_its_slot(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.4.0", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (100, 10_000))
    told = {"from": "1.4.0", "to": "1.4.0", "slot": "a", "who": "bob", "reason": "slow", "took": 0.4}
    tell("R-3", "rollback", service="shield", **told)
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 0, "rolled_back", True), ("1.4.0", "a", 10_000, "live", True),
    ]  # fmt: skip


def test_a_service_in_two_clusters_has_a_history_in_each(store: Store, tell: Teller) -> None:
    """Both are cells of one play; what one dial gives away the other's old version does not get."""
    for run, version, slot in (("R-1", "1.0", "a"), ("R-2", "2.0", "b")):
        begin(tell, run)
        for cell in ("roll[east]", "roll[west]"):
            told = {"service": "shop", "version": version, "slot": slot}
            tell(run, "canary_started", cell, **told, live="b" if slot == "a" else "a", token=3, steps=[10_000])
        for cell in ("roll[east]", "roll[west]"):
            share = 10_000 if slot == "b" else 0
            tell(run, "dial", cell, share=share, slot=slot, weight=10_000, verified=True, token=3)
            tell(run, "canary_state", cell, state="good")
    two, one = ("2.0", "b", 10_000, "good", True), ("1.0", "a", 0, "warm", True)
    assert brief(history(store, "shop")) == [two, two, one, one]
    tell("R-3", "rollback", service="shop", **{"from": "2.0", "to": "1.0"}, who="bob", reason="slow", took=0.4)
    two, one = ("2.0", "b", 0, "rolled_back", True), ("1.0", "a", 10_000, "live", True)
    assert brief(history(store, "shop")) == [two, two, one, one]


def rolled(tell: Teller, run: str, play: str, version: str, slot: str, host: str, weights: tuple[int, ...]) -> None:
    """One rollout of `shop` on a host; where its last weight is 0 it was turned back."""
    told = {"service": "shop", "version": version, "slot": slot, "live": "b" if slot == "a" else "a", "token": 3}
    tell(run, "canary_started", play, **told, steps=weights, hosts=[host])
    for weight in weights:
        share = weight if slot == "b" else 10_000 - weight
        tell(run, "dial", play, share=share, slot=slot, weight=weight, verified=True, token=3)
    tell(run, "canary_state", play, state="good" if weights[-1] else "rolled_back")


def test_two_rollouts_of_one_run_follow_each_other_whatever_runs_before_it_left(store: Store, tell: Teller) -> None:
    """Each run makes production as it was, by one play, and then rolls the next version out by another."""
    for run in ("R-1", "R-3"):
        begin(tell, run)
        rolled(tell, run, "first_release", "1.0", "a", "edge", (10_000,))
        rolled(tell, run, "roll_out", "1.1", "b", "edge", (100, 10_000))
        begin(tell, next_run := f"R-{int(run[2:]) + 1}")
        rolled(tell, next_run, "roll_out", "1.2", "a", "edge", (100, 0))
        newest = brief(history(store, "shop"))[:3]
        assert newest == [("1.2", "a", 0, "rolled_back", False), ("1.1", "b", 10_000, "live", True),
                          ("1.0", "a", 0, "warm", True)]  # fmt: skip
        assert sum(row.share for row in history(store, "shop")) == 10_000


def test_clusters_that_take_turns_have_a_dial_each(store: Store, tell: Teller) -> None:
    """East is live in another slot than west; both are released by the same run, one after the other."""
    begin(tell, "R-1")
    rolled(tell, "R-1", "east", "1.0", "a", "east", (10_000,))
    rolled(tell, "R-1", "west", "1.0", "b", "west", (10_000,))
    begin(tell, "R-2")
    rolled(tell, "R-2", "west", "2.0", "a", "west", (10_000,))
    rolled(tell, "R-2", "east", "2.0", "b", "east", (500,))
    east, west = ("2.0", "b", 500, "good", True), ("2.0", "a", 10_000, "good", True)
    assert brief(history(store, "shop")) == [
        east,
        west,
        ("1.0", "b", 0, "warm", True),
        ("1.0", "a", 9_500, "live", True),
    ]


def test_a_canary_that_turned_back_leaves_stable_with_all(store: Store, tell: Teller) -> None:
    release(tell, "R-1", "1.3.2", "a", (10_000,))
    release(tell, "R-2", "1.4.0", "b", (100,), "rolling_back")
    tell("R-2", "dial", "roll", share=0, slot="b", weight=0, token=3)
    tell("R-2", "canary_state", "roll", state="rolled_back")
    assert brief(history(store, "shield")) == [
        ("1.4.0", "b", 0, "rolled_back", False), ("1.3.2", "a", 10_000, "live", True),
    ]  # fmt: skip
