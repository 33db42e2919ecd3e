"""Two at one dial: whoever comes between any two steps of another meets a state that is half written.

Enumerated, not sampled: at each write of a release somebody else comes, on all routers or on one of two, while nobody
is there any more, or the one who was there goes on. Users end on the version that the last word was for, the manifest
says so, and a following rollback or release does what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ciflow.diagnostics import Locked
from ciflow.model import At, Hold, Note, Reply
from ciflow.rollout.rollback import Order, roll_back
from ciflow.rollout.routers.dial import WHOLE, Dial, Fenced
from ciflow.rollout.spec import Ended
from tests.rollout.world import SERVICE, FakeRouter, Release, World, drive, spec_of, take_back, taking_turns, world_of

LONG = 1_000.0  # seconds after which no dead-man is armed and nothing is warm


def one_step(release: Release) -> bool:
    """False when the rollout has ended."""
    if isinstance(release.step, Hold):
        release.hold()
        return True
    return release.go(1)


def stands(world: World) -> list[tuple[Dial, Dial | None]]:
    return [(machine.dial, machine.disk) for machine in world.machines.values()]


def writes(**changes: Any) -> Iterator[Release]:
    """A release that goes well, before it begins and after each step that wrote something at a router."""
    release = Release(world_of("web1", "web2"), spec_of(bake=1.0, **changes))
    yield release
    before = stands(release.world)
    while one_step(release):
        if stands(release.world) != before:
            before = stands(release.world)
            yield release
    assert isinstance(release.ended, Ended) and release.ended.result == "promoted", release.ended


def came_to(number: int, **changes: Any) -> Release:
    """Such a release of its own, after that write."""
    found = writes(**changes)
    for _ in range(number):
        next(found)
    return next(found)


WRITES = sum(1 for _ in writes())


def rests_on(world: World, slot: str) -> None:
    """All routers are on it by all that stands there, and stay when they start anew."""
    for name in world.machines:
        for _ in range(2):
            dial = drive(world, FakeRouter(name).read(), "")
            live, other = dial.manifest.slot(slot), dial.manifest.slot("b" if slot == "a" else "a")
            assert (dial.share, dial.live) == (WHOLE if slot == "b" else 0, slot), f"{name}: {dial}"
            assert live.usable and live.version, f"{name}: {dial.manifest}"
            assert not other.usable or other.version != "2.0", f"{name}: {dial.manifest}"
            world.restart(name)


def next_release_begins(world: World) -> None:
    release = Release(world, spec_of(version="3.0", release="R-9/roll"))
    while release.ended is None and release.controller.state == "deploying":
        release.go(1)
    assert release.ended is None, release.ended
    assert {machine.dial.live for machine in world.machines.values()} == {"a"}


@pytest.mark.parametrize(
    "before",
    [
        lambda _: None,
        lambda world: world.pass_time(6.0),
        lambda world: world.restart("web1"),
        lambda world: [world.restart(name) for name in world.machines],
    ],
    ids=["at once", "the dead-man has fired", "one router has started anew", "all have"],
)
@pytest.mark.parametrize("contested", [True, None, False])
def test_a_rollback_after_any_write_of_a_release_goes_back(
    contested: bool | None, before: Callable[[World], None]
) -> None:
    for number, release in enumerate(writes()):
        world = release.world.copy()
        before(world)
        take_back(world, contested=contested)
        rests_on(world, "a")
        assert take_back(world, contested=False).decision.kind == "nothing", f"after write {number}"
        next_release_begins(world)


@pytest.mark.parametrize("late", ["web1", "web2"])
@pytest.mark.parametrize("seconds", [0.0, LONG])
def test_a_router_that_a_rollback_did_not_reach_is_turned_by_the_same_command_however_late(
    late: str, seconds: float
) -> None:
    """What the others are on is where to go back to, whether or not it is still called warm."""
    for number, release in enumerate(writes(irreversible=("Migrate",))):
        world = release.world.copy()
        world.unreachable = frozenset({late})
        take_back(world, contested=True, break_glass=True)
        world.unreachable = frozenset()
        world.pass_time(seconds)
        take_back(world, contested=False)
        rests_on(world, "a")
        assert take_back(world, contested=False).decision.kind == "nothing", f"after write {number}"
        next_release_begins(world)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("late", ["web1", "web2"])
def test_a_release_that_goes_on_after_a_rollback_of_one_router_leaves_the_other_with_nobody_else(
    late: str, killed: bool
) -> None:
    """It was fenced off at one of them: the other, which the rollback did not reach, is not left with the candidate."""
    for number in range(1, WRITES):
        release = came_to(number)
        release.world.unreachable = frozenset({late})
        take_back(release.world, contested=True)
        release.world.unreachable = frozenset()
        if killed:
            release.world.pass_time(6.0)
            release.kill()
        while one_step(release):
            pass
        ended = release.ended
        assert isinstance(ended, Fenced) or (isinstance(ended, Ended) and ended.result == "fenced"), (
            f"{number}: {ended}"
        )
        for name in release.world.machines:
            dial = drive(release.world, FakeRouter(name).read(), "")
            assert (dial.share, dial.live) == (0, "a"), f"{name} after write {number}: {dial}"


class Stopped:
    """A rollback that was stopped after so many steps (SIGSTOP, a laptop that was closed), and may go on."""

    def __init__(self, world: World, steps: int, **more: Any) -> None:
        self.world = world
        order = Order(SERVICE, "somebody", "because", world.now, **{"contested": True, **more})
        self._steps = taking_turns(roll_back([FakeRouter(name) for name in world.machines], order))
        self.step: Any = next(self._steps)
        self.ended = False
        self.went = self._on(steps)

    def _on(self, most: int) -> int:
        for number in range(most):
            step = self.step
            if isinstance(step, Hold):
                self.world.pass_time(step.seconds)
            reply = self.world.answer(step, "rollback") if isinstance(step, At) else Reply(started=self.world.now)
            try:
                self.step = self._steps.send(reply)
            except StopIteration:
                self.ended = True
                return number + 1
        return most

    def goes_on(self) -> None:
        if not self.ended:
            self._on(10_000)
        assert self.ended


POINTS = range(0, WRITES, 4)


@pytest.mark.parametrize("between", [0.0, 6.0])
def test_a_second_rollback_finishes_one_that_was_killed_after_any_step(between: float) -> None:
    for number in POINTS:
        found, steps = came_to(number), 0
        while True:
            world = found.world.copy()
            half = Stopped(world, steps)
            world.pass_time(between)
            take_back(world, contested=False)
            rests_on(world, "a")
            assert take_back(world, contested=False).decision.kind == "nothing", f"write {number}, step {steps}"
            if half.ended:
                break
            steps += 1


def released(world: World, until: str) -> None:
    """Another release over what a rollback has left."""
    release = Release(world, spec_of(version="3.0", release="R-9/roll", bake=1.0, now=world.now))
    while release.controller.state != until:
        assert one_step(release) or release.controller.state == until, release.ended


@pytest.mark.parametrize("until", ["verifying", "holding", "good"])
def test_a_rollback_that_slept_does_not_take_back_a_later_release(until: str) -> None:
    """Nobody asked for that: it says whose the routers are now, and turns nothing."""
    for number in (WRITES // 2, WRITES - 1):
        found, steps = came_to(number), 2  # it has read both
        while True:
            world = found.world.copy()
            asleep = Stopped(world, steps)
            take_back(world, contested=True)
            released(world, until)
            before = [(m.dial.share, m.dial.live) for m in world.machines.values()]
            asleep.goes_on()
            assert [(m.dial.share, m.dial.live) for m in world.machines.values()] == before, f"{number}, step {steps}"
            if asleep.went < steps:
                break
            steps += 1


def test_of_two_releases_that_begin_at_once_with_the_same_token_one_goes_on() -> None:
    """From two machines, neither of which knows the other's journal."""
    for steps in range(40):
        world = world_of("web1", "web2")
        first, second = (Release(world, spec_of(release=f"{run}/roll", version=run)) for run in ("R-1", "R-2"))
        for _ in range(steps):
            first.go(1)
        for release in (second, first):
            while one_step(release):
                pass
        ended = [release.ended for release in (first, second)]
        well = [one for one in ended if isinstance(one, Ended) and one.result == "promoted"]
        refused = [one for one in ended if isinstance(one, Locked)]
        fenced = [one for one in ended if isinstance(one, Ended) and one.result == "fenced"]
        assert (len(well), len(refused) + len(fenced)) == (1, 1), f"{steps}: {ended}"


def test_a_release_that_replaces_what_is_under_way_begins_from_the_version_that_had_all_traffic() -> None:
    for number, release in enumerate(writes()):
        world = release.world.copy()
        promoted = all(machine.dial.live == "b" for machine in world.machines.values())
        other = Release(world, spec_of(version="3.0", release="R-9/roll", replace_warm=True))
        while other.ended is None and other.controller.state == "deploying":
            other.go(1)
        assert other.ended is None, other.ended
        for machine in world.machines.values():
            assert machine.dial.at_rest and machine.dial.live == ("b" if promoted else "a"), f"after write {number}"


def test_a_first_release_that_did_not_reach_all_routers_is_followed_by_the_next() -> None:
    first = Release(world_of("web1", "web2", live=""), spec_of())
    while first.world.machines["web1"].dial.live != "a":
        one_step(first)
    assert first.world.machines["web2"].dial.live == ""
    release = Release(first.world, spec_of(version="3.0", release="R-9/roll"))
    while one_step(release):
        pass
    assert isinstance(release.ended, Ended) and release.ended.result == "promoted"
    for machine in first.world.machines.values():
        assert [slot.version for slot in machine.dial.manifest.slots] == ["2.0", "3.0"]


def test_a_router_that_joins_a_service_takes_what_the_others_have() -> None:
    world, new = world_of("web1", live="b"), world_of("web1", "web2", live="")
    world.machines["web2"] = new.machines["web2"]
    assert take_back(world.copy(), contested=False).decision.kind == "nothing"
    stopped = world.copy()
    take_back(stopped, contested=True)
    release = Release(world, spec_of())
    while release.controller.state == "deploying":
        release.go(1)
    for each in (stopped, world):
        assert {(m.dial.share, m.dial.live) for m in each.machines.values()} == {(WHOLE, "b")}
        assert {m.dial.manifest.slot("b").version for m in each.machines.values()} == {"1.0"}


# --- shares that somebody else sets ------------------------------------------------------------------------------


def baking() -> Release:
    release = Release(world_of("web1", "web2"), spec_of(bake=60.0, deadline=600.0))
    while release.controller.state != "baking" or not isinstance(release.step, Hold):
        one_step(release)
    return release


def reset(world: World) -> None:
    machine = world.machines["web2"]
    machine.dial = replace(machine.dial, share=0)


def test_a_share_that_somebody_else_sets_in_the_bake_is_turned_again() -> None:
    """As `kubectl apply` of the file that the weights were made by does."""
    release = baking()
    reset(release.world)
    release.hold()
    release.go(10_000)
    assert {machine.dial.share for machine in release.world.machines.values()} == {WHOLE}
    said = [note.data["message"] for note in release.told if isinstance(note, Note) and note.kind == "warning"]
    assert "the router on web2 had another share (somebody else has set it); turned again" in said


def test_who_keeps_setting_it_ends_the_release() -> None:
    release = baking()
    for _ in range(6):
        reset(release.world)
        release.hold()
        if not release.go(10_000):
            break
    assert isinstance(release.ended, Ended) and "web2 keeps losing the dial" in release.ended.reason


def test_a_rollback_puts_a_share_that_somebody_else_has_set_back_to_the_version_that_was_observed_good() -> None:
    release = Release(world_of("web1", "web2"), spec_of(bake=1.0))
    while one_step(release):
        pass
    world = release.world
    world.pass_time(LONG)
    reset(world)
    done = take_back(world, contested=False)
    assert (done.decision.kind, done.decision.target.version) == ("abort", "2.0")
    assert {machine.dial.share for machine in world.machines.values()} == {WHOLE}


def test_a_router_that_is_lost_after_the_promotion_is_not_said_to_be_given_back() -> None:
    release = baking()
    release.world.machines["web2"].down = 10_000
    while one_step(release):
        pass
    assert isinstance(release.ended, Ended) and release.ended.result == "lost"
    assert "dead-man" not in release.ended.reason and "nothing but a rollback" in release.ended.reason
