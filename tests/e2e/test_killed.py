"""kill -9 of `ciflow apply`, wherever the rollout is: `ciflow resume` goes on, or the dead-man gives back."""

from __future__ import annotations

import signal
import time

import pytest

from tests.e2e.service import Service, finish
from tests.parts.process import wait_for

PLACES = [
    ("deploying", None), ("verifying", None), ("holding", 2500), ("holding", 5000), ("promoting", None),
    ("baking", None),
]  # fmt: skip


@pytest.mark.fault(4)
@pytest.mark.slow
def test_killed_in_every_state_it_is_resumed_and_repeats_nothing(production: Service) -> None:
    """One release, killed again and again: each time it goes on from where it was, at the same share."""
    version, before = production.next(), production.live()
    with production.no_request_fails():
        at_work = production.apply(version, slow="0.5", hold="1s", bake="1.5s")
        for state, weight in PLACES:
            production.until(version, state, weight)
            time.sleep(0.15)
            at_work.send_signal(signal.SIGKILL)
            at_work.wait()
            at_work = production.start("resume")
        code, said = finish(at_work)
    assert code == 0, said
    assert production.live() != before
    assert production.ran(version) == ["deploy", "after", "verify"], "a task ran twice, or not at all"
    weights = [e.data["weight"] for e in production.events("dial") if e.data["version"] == version]
    assert sorted(weights) == weights, "the dial never went back"


@pytest.mark.fault(4)
def test_killed_and_nobody_comes_the_dead_man_gives_the_traffic_back(production: Service) -> None:
    version, before = production.next(), production.live()
    new = "b" if before == "a" else "a"
    with production.no_request_fails():
        release = production.apply(version, hold="120s")
        production.until(version, "holding", 2500)
        wait_for(lambda: new in {slot for _, slot in production.users.seen}, "somebody meets the new one")
        release.send_signal(signal.SIGKILL)
        release.wait()
        killed = time.monotonic()
        wait_for(lambda: production.only_slot() == before, "the traffic is given back")
        took = production.users.last[new] - killed
    print(f"\nthe last answer of a release that nobody watches: {took:.1f} s after the kill (dead_man 6 s)")
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield")
    assert code == 0, said


@pytest.mark.fault(7)
def test_sigterm_in_a_hold_leaves_before_a_ci_system_kills_and_can_be_resumed(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, hold="3s")
        production.until(version, "holding", 2500)
        release.send_signal(signal.SIGTERM)
        code, said = finish(release)
        assert code == 143, said
        code, said = production.ciflow("resume")
    assert code == 0, said
    assert production.live() != before and production.ran(version) == ["deploy", "after", "verify"]
