"""The rollout's state machine in a world in memory: one story each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ciflow.diagnostics import Locked
from ciflow.engine.together import Together
from ciflow.model import CanaryStep, Exec
from ciflow.rollout.gates import gates_from
from ciflow.rollout.routers.dial import WHOLE, RouterError
from ciflow.rollout.spec import Ended
from tests.rollout.world import FakeRouter, Release, World, spec_of, take_back, world_of


def to_the_end(release: Release, holds: int = 200) -> Ended:
    for _ in range(holds):
        if not release.go(10_000):
            break
        release.hold()
    assert isinstance(release.ended, Ended), release.ended
    return release.ended


def until(release: Release, state: str, holds: int = 200) -> None:
    """Up to the first hold in that state."""
    for _ in range(holds):
        assert release.go(10_000), release.ended
        if release.controller.state == state:
            return
        release.hold()
    raise AssertionError(f"never came to {state}: {release.states}")


def shares(world: World) -> set[int]:
    return {machine.dial.share for machine in world.machines.values()}


def dials(release: Release) -> list[Any]:
    return [(note.data["weight"], note.data["verified"]) for note in release.told if note.kind == "dial"]


def test_a_good_release_climbs_its_steps_and_is_observed_good() -> None:
    release = Release(world_of("web1", "web2"), spec_of())
    assert to_the_end(release).result == "promoted"
    assert release.states == ["deploying", "verifying", "holding", "holding", "promoting", "baking", "good"]
    assert [weight for weight, _ in dials(release)] == [500, 5000, WHOLE]
    for machine in release.world.machines.values():
        assert (machine.dial.share, machine.dial.live, machine.armed) == (WHOLE, "b", 0.0)
        b = machine.dial.manifest.slot("b")
        assert (b.version, b.observed_good, b.usable) == ("2.0", True, True)
        assert machine.dial.manifest.slot("a").warm_until > release.world.now, "the former version stays warm"
        assert '"observed_good":true' in machine.kept


def test_a_faulty_release_is_turned_back_and_the_counters_say_so() -> None:
    world = world_of("web1", "web2")
    world.rates["b"] = 0.3
    release = Release(world, spec_of())
    assert to_the_end(release).result == "rolled_back"
    assert shares(world) == {0}
    assert dials(release)[-1] == (0, True)
    assert take_back(world, contested=False).decision.kind == "nothing"


def test_no_request_after_the_way_back_is_not_called_verified() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    release.world.traffic = 0.0
    release.word = {"command": "abort", "by": "ann"}
    assert to_the_end(release) == Ended("rolled_back", "aborted by ann")
    assert dials(release)[-1] == (0, None)


def test_stable_alone_is_measured_for_up_to_ten_intervals_of_fifteen_seconds() -> None:
    for interval, holds in ((0.5, 10), (1.0, 10), (3.0, 5), (5.0, 3), (60.0, 3)):
        release = Release(world_of("web1"), spec_of(interval=interval, deadline=9999.0))
        seen = 0
        while release.go(10_000) and release.controller.state == "verifying":
            release.hold()
            seen += 1
        assert seen == holds, interval


def test_without_traffic_nothing_is_good_and_the_deadline_decides() -> None:
    for choice, result in (("rollback", "rolled_back"), ("promote", "promoted")):
        world = world_of("web1")
        world.traffic = 0.0
        release = Release(world, spec_of(on_inconclusive=choice))
        assert to_the_end(release).result == result
    world = world_of("web1")
    world.traffic = 0.0
    release = Release(world, spec_of(on_inconclusive="pause"))
    while release.go(10_000):
        release.hold()
    assert release.left and shares(world) == {500}


def test_a_pause_that_nobody_watches_gives_back_when_the_candidate_errs() -> None:
    world = world_of("web1", "web2")
    world.traffic = 0.0
    release = Release(world, spec_of())
    while release.go(10_000):
        release.hold()
    world.traffic, world.rates["b"] = 400.0, 0.5
    world.pass_time(9.0)
    assert shares(world) == {0}, "50 errors are passed after 5 s at 20 requests a second, half of them bad"
    release.kill()
    assert "gave the traffic back" in to_the_end(release).reason


def test_a_pause_that_nobody_watches_goes_on_when_resumed() -> None:
    world = world_of("web1", "web2")
    world.traffic = 0.0
    release = Release(world, spec_of())
    while release.go(10_000):
        release.hold()
    world.traffic = 400.0
    world.pass_time(8.0)
    release.kill()
    assert to_the_end(release).result == "promoted"


def test_on_failure_pause_waits_for_a_person_who_may_overrule_the_gates() -> None:
    world = world_of("web1")
    world.rates["b"] = 0.3
    release = Release(world, spec_of(on_failure="pause"))
    while release.go(10_000):
        release.hold()
    assert release.left and release.controller.state == "paused"
    world.rates["b"] = 0.0
    release.kill()
    assert to_the_end(release).result == "promoted"


def test_pause_resume_promote_and_promote_full() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    release.word = {"command": "pause", "by": "ann"}
    release.hold()
    until(release, "paused")
    for _ in range(60):  # longer than the deadline: a pause by a person does not use it up
        release.hold()
        release.go(10_000)
    assert release.controller.state == "paused" and shares(release.world) == {500}
    release.word = {"command": "promote", "by": "ann"}
    release.hold()
    release.go(10_000)
    assert (release.controller.state, shares(release.world)) == ("holding", {5000})
    release.word = {"command": "promote", "by": "ann", "full": True}
    release.hold()
    release.go(10_000)
    assert (release.controller.state, shares(release.world)) == ("baking", {WHOLE})
    release.word = {"command": "promote", "by": "ann"}
    assert to_the_end(release).result == "promoted"


def test_a_rollback_from_another_shell_wins_in_every_state() -> None:
    for state in ("verifying", "holding", "baking"):
        release = Release(world_of("web1", "web2"), spec_of())
        until(release, state)
        done = take_back(release.world, contested=True)
        assert done.decision.kind == {"verifying": "fence", "holding": "abort", "baking": "back"}[state]
        assert shares(release.world) == {0}
        assert to_the_end(release).result == "fenced"
        assert shares(release.world) == {0} and {m.dial.live for m in release.world.machines.values()} == {"a"}
        assert take_back(release.world, contested=False).decision.kind == "nothing"


def test_a_rollback_without_the_store_knows_from_the_manifest_that_a_release_is_under_way() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "verifying")
    assert take_back(release.world, contested=None).decision.kind == "fence"
    assert take_back(release.world, contested=None).decision.kind == "nothing"
    assert to_the_end(release).result == "fenced"


def test_a_rollback_goes_back_to_what_was_live_even_if_it_never_was_observed_good() -> None:
    world = world_of("web1")
    for machine in world.machines.values():
        known = tuple(replace(slot, observed_good=False) for slot in machine.dial.manifest.slots)
        machine.dial = replace(machine.dial, manifest=replace(machine.dial.manifest, slots=known))
    release = Release(world, spec_of())
    until(release, "baking")
    done = take_back(world, contested=True)
    assert (done.decision.kind, done.decision.target.version) == ("back", "1.0")


def test_a_router_that_starts_anew_in_a_hold_gets_its_share_again() -> None:
    release = Release(world_of("web1", "web2"), spec_of())
    until(release, "holding")
    release.world.restart("web2")
    release.hold()
    release.go(10_000)
    assert shares(release.world) == {500}
    assert any("was back on the safe share" in note.data["message"] for note in release.told if note.kind == "warning")
    assert to_the_end(release).result == "promoted"


def test_a_router_that_keeps_starting_anew_ends_the_release() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    for _ in range(6):
        release.world.restart("web1")
        if not release.go(10_000):
            break
        release.hold()
    assert "keeps losing the dial" in to_the_end(release).reason


def test_a_router_that_is_gone_holds_up_no_other() -> None:
    release = Release(world_of("web1", "web2"), spec_of())
    until(release, "holding")
    release.world.machines["web1"].down = 10_000
    ended = to_the_end(release)
    assert ended.result == "lost" and "dead-man" in ended.reason
    assert release.world.machines["web2"].dial.at_rest
    release.world.pass_time(6.0)
    assert shares(release.world) == {0}


def test_the_first_release_has_nothing_to_go_back_to() -> None:
    release = Release(world_of("web1", live=""), spec_of())
    assert to_the_end(release).result == "promoted"
    assert {m.dial.live for m in release.world.machines.values()} == {"a"}
    release = Release(world_of("web1", live=""), spec_of())
    until(release, "baking")
    release.word = {"command": "abort", "by": "ann"}
    assert "no former version" in to_the_end(release).reason


def test_a_failed_deployment_turns_nothing_and_leaves_its_slot_unusable() -> None:
    for label, state in (("deploy", "deploying"), ("verify", "verifying")):
        release = Release(world_of("web1", other="0.9"), spec_of(), fail_run=label)
        assert to_the_end(release) == Ended("failed", f"{label} failed: exit code 1")
        assert release.states[-2] == state and shares(release.world) == {0}
        assert not release.world.machines["web1"].dial.manifest.slot("b").usable
        assert take_back(release.world, contested=False).decision.kind == "nothing"


@pytest.mark.parametrize(
    ("warm", "good", "said"), [(60.0, True, "keeps shield 0.9 warm"), (0.0, False, "observed good")]
)
def test_a_release_does_not_destroy_what_a_rollback_goes_back_to(warm: float, good: bool, said: str) -> None:
    world = world_of("web1", other="0.9")
    for machine in world.machines.values():
        a, b = machine.dial.manifest.slots
        known = (replace(a, observed_good=good), replace(b, warm_until=world.now + warm if warm else 0.0))
        machine.dial = replace(machine.dial, manifest=replace(machine.dial.manifest, slots=known))
    release = Release(world, spec_of())
    release.go(10_000)
    assert isinstance(release.ended, Locked) and said in release.ended.message
    assert to_the_end(Release(world, spec_of(replace_warm=True))).result == "promoted"


def test_another_rollout_under_way_is_not_crossed() -> None:
    first = Release(world_of("web1"), spec_of())
    until(first, "holding")
    second = Release(first.world, spec_of(version="3.0", release="R-2/roll"))
    second.go(10_000)
    assert isinstance(second.ended, Locked) and "2.0 by tester is under way (5 %" in second.ended.message
    assert to_the_end(first).result == "promoted"


def test_routers_that_disagree_are_not_touched() -> None:
    world = world_of("web1", "web2")
    world.machines["web2"].dial = replace(world.machines["web2"].dial, live="b", share=WHOLE)
    release = Release(world, spec_of())
    release.go(10_000)
    assert isinstance(release.ended, Locked) and "not all back on slot a" in release.ended.message
    assert all(not machine.writes for machine in world.machines.values())


def test_check_mode_asks_and_changes_nothing() -> None:
    release = Release(world_of("web1"), spec_of(check=True))
    ended = to_the_end(release)
    assert ended == Ended("planned", "the dial would go 5 % -> 50 % -> 100 % on slot b")
    assert not release.world.machines["web1"].writes


def test_a_full_disk_at_the_router_holds_up_no_way_back() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    release.world.machines["web1"].disk_full = True
    release.word = {"command": "abort", "by": "ann"}
    assert to_the_end(release).result == "rolled_back"
    assert any("disk is full" in note.data["message"] for note in release.told if note.kind == "warning")


def test_rollback_after_promotion_while_the_former_version_is_warm_and_not_after() -> None:
    release = Release(world_of("web1"), spec_of())
    to_the_end(release)
    cold = take_back(release.world.copy(), contested=False, now=release.world.now + 10_000)
    assert (cold.decision.kind, cold.done) == ("cold", ())
    back = take_back(release.world, contested=False)
    assert (back.decision.kind, back.verified, shares(release.world)) == ("back", True, {0})
    assert take_back(release.world, contested=False).decision.kind == "nothing"


def test_stable_that_falls_sick_turns_the_release_back() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    release.world.rates.update(a=0.5, b=0.5)
    ended = to_the_end(release)
    assert ended.result == "rolled_back" and "stable itself" in ended.reason


def told_of_stable(release: Release) -> list[bool]:
    return [bool(note.data["sick"]) for note in release.told if note.kind == "stable"]


def test_people_hear_when_stable_itself_begins_and_ceases_to_fail() -> None:
    release = Release(world_of("web1"), spec_of(sick_for=600.0, deadline=600.0))
    until(release, "holding")
    for rate, told in ((0.5, [True]), (0.0, [True, False])):
        release.world.rates.update(a=rate, b=rate)
        for _ in range(30):
            release.hold()
            assert release.go(10_000), release.ended
            if told_of_stable(release) == told:
                break
        assert told_of_stable(release) == told


def test_people_hear_of_a_failing_stable_while_they_have_paused_the_release_and_nothing_is_judged() -> None:
    release = Release(world_of("web1"), spec_of())
    until(release, "holding")
    release.word = {"command": "pause", "by": "ann"}
    release.hold()
    until(release, "paused")
    release.world.rates.update(a=0.5, b=0.5)
    for _ in range(20):
        release.hold()
        release.go(10_000)
    assert release.controller.state == "paused" and told_of_stable(release) == [True]
    release.world.rates.update(a=0.0, b=0.0)
    release.word = {"command": "resume", "by": "ann"}
    assert to_the_end(release).result == "promoted", "what a pause has shown is no evidence"
    assert told_of_stable(release) == [True, False]


def test_early_ends_a_hold_on_evidence_for_the_candidate() -> None:
    slow = (spec_of().steps[1],)
    held = {}
    for early in (False, True):
        world = world_of("web1")
        world.rates.update(a=0.2, b=0.0)
        release = Release(world, spec_of(early=early, steps=(replace(slow[0], hold=15.0),), deadline=99.0))
        until(release, "holding")
        began = world.now
        until(release, "baking")
        held[early] = world.now - began
    assert held[True] < held[False] / 2


# --- the old slot, afterwards -------------------------------------------------------------------------------


def test_the_old_slot_is_retired_by_its_host_after_keep_warm_unless_somebody_claims_the_dial() -> None:
    world = world_of("web1")
    release = Release(world, spec_of(retire=(object(),), keep_warm=600.0), retires_at=("web1",))
    assert to_the_end(release).result == "promoted"
    assert release.compiled_for["slot"]["name"] == "a" and release.compiled_for["release"]["version"] == "1.0"
    alone = world.machines["web1"].alone["retire-shield"]
    check, stop = alone.operations
    assert (alone.after, stop) == (600.0, Exec(argv=("stop",)))
    assert check == FakeRouter("web1").unclaimed(world.machines["web1"].dial.token)
    slot = world.machines["web1"].dial.manifest.slot("a")
    assert slot.warm_until - world.now <= 600.0, "a rollback goes there no longer than its processes are promised"


def test_a_release_calls_off_what_would_retire_the_slot_it_goes_into() -> None:
    world = world_of("web1")
    to_the_end(Release(world, spec_of(retire=(object(),)), retires_at=("web1",)))
    world.rates["a"] = 0.3
    again = Release(world, spec_of(retire=(object(),), version="3.0", replace_warm=True), retires_at=("web1",))
    assert to_the_end(again).result == "rolled_back"
    assert world.machines["web1"].alone == {}


def test_the_first_release_and_one_that_is_turned_back_retire_nothing() -> None:
    world = world_of("web1", live="")
    assert to_the_end(Release(world, spec_of(retire=(object(),)), retires_at=("web1",))).result == "promoted"
    assert world.machines["web1"].alone == {}


def test_a_host_without_a_router_can_not_retire_and_that_is_said_before_anything_is_touched() -> None:
    release = Release(world_of("web1"), spec_of(retire=(object(),)), retires_at=("db1 as root",))
    release.go(10_000)
    assert isinstance(release.ended, RouterError) and "db1" in release.ended.message
    assert release.world.machines["web1"].writes == []


@pytest.mark.parametrize(("bad", "result", "share"), [(0.0, "promoted", WHOLE), (0.6, "rolled_back", 0)])
def test_what_can_not_be_tidied_up_is_said_and_turns_nothing(
    monkeypatch: pytest.MonkeyPatch, bad: float, result: str, share: int
) -> None:
    """Neither a good release nor a way back waits for what comes after it."""

    def lacking(router: FakeRouter, expect: int, after: float) -> Iterator[Any]:  # noqa: ARG001
        yield from ()
        raise RouterError("cannot create roles", help="a right is missing")

    monkeypatch.setattr(FakeRouter, "let_go", lacking)
    world = world_of("web1")
    world.rates["b"] = bad
    release = Release(world, spec_of())
    assert to_the_end(release).result == result
    assert shares(world) == {share}
    assert any(note.kind == "warning" and "create roles" in note.data["message"] for note in release.told)


def test_what_can_not_be_undone_is_not_turned_back_after_promotion_but_before_it_is() -> None:
    for during, result in (("holding", "rolled_back"), ("baking", "failed")):
        world = world_of("web1")
        release = Release(world, spec_of(irreversible=("Migrate",), bake=30.0))
        until(release, during)
        release.word = {"command": "abort", "by": "ann"}
        ended = to_the_end(release)
        assert ended.result == result
    assert "`Migrate` can't be undone" in ended.reason and "--break-glass" in ended.reason
    assert shares(world) == {WHOLE}
    assert take_back(world, contested=False).decision.kind == "crosses"
    assert take_back(world, contested=False, break_glass=True).done == ("web1",)
    assert shares(world) == {0}


def test_old_connections_are_cut_after_drain_and_not_when_a_release_comes_before() -> None:
    world = world_of("web1")
    release = Release(world, spec_of(drain=9.0))
    until(release, "holding")
    release.word = {"command": "abort", "by": "ann"}
    to_the_end(release)
    assert world.machines["web1"].cut is not None and world.machines["web1"].cut[0] == "b"
    until(Release(world, spec_of(version="3.0")), "holding")
    assert world.machines["web1"].cut is None


def test_a_version_that_was_overwritten_is_named_when_somebody_wants_it_back() -> None:
    world = world_of("web1")
    to_the_end(Release(world, spec_of()))
    world.rates["a"] = 0.3
    assert to_the_end(Release(world, spec_of(version="3.0", replace_warm=True))).result == "rolled_back"
    found = take_back(world, contested=False)
    assert found.decision.kind == "nothing" and "1.0 was in slot a" in found.decision.why
    assert "--redeploy" in found.decision.then
    assert shares(world) == {WHOLE}


HALF = (CanaryStep(5000, 3.0),)


@pytest.mark.parametrize("sends", [0.0, 0.7])
def test_a_split_that_does_not_come_is_an_error_and_not_a_success(sends: float) -> None:
    world = world_of("web1")
    world.sends = sends
    ended = to_the_end(Release(world, spec_of(steps=HALF)))
    assert ended.result == "rolled_back" and "its own counters show another split" in ended.reason


def test_testers_beside_a_share_are_no_other_split() -> None:
    """A third of all requests are testers', who meet the candidate at any share: it has two thirds at 50 %."""
    world = world_of("web1")
    known = spec_of(steps=HALF, settings={"header": {"name": "X-Canary"}})
    world.testers = 200.0
    assert to_the_end(Release(world, known)).result == "promoted"
    world = world_of("web1")
    world.sends = 0.0
    ended = to_the_end(Release(world, known))
    assert ended.result == "rolled_back", "less than its share is one"


def test_sticky_users_who_ask_more_than_others_are_no_other_split() -> None:
    world = world_of("web1")
    world.sends = 0.7
    assert to_the_end(Release(world, spec_of(steps=HALF, by="cookie"))).result == "promoted"


def test_sticky_users_who_are_drawn_as_the_dial_does_not_say_are_another_split() -> None:
    world = world_of("web1")
    world.draws = 0.9
    ended = to_the_end(Release(world, spec_of(steps=HALF, by="cookie")))
    assert ended.result == "rolled_back" and "its own counters show another split" in ended.reason


def test_with_sticky_users_the_gate_judges_by_users() -> None:
    """A busy user of stable's, whom nothing fails, hides nothing, and each is counted once."""
    world, gates = world_of("web1"), gates_from([{"errors": {}}], by_user=True)
    world.rates["b"] = 0.3
    ended = to_the_end(Release(world, spec_of(steps=HALF, by="cookie", gates=gates)))
    assert ended.result == "rolled_back" and "of the candidate's visits bad" in ended.reason, ended.reason
    assert "approximate" not in ended.reason


# --- steps without a share ----------------------------------------------------------------------------------

TESTERS, COPIES = CanaryStep(0, 3.0), CanaryStep(0, 3.0, mirror=2000)


def test_blue_green_goes_to_the_whole_at_once_and_comes_back_from_a_bad_bake() -> None:
    for rate, result in ((0.0, "promoted"), (0.3, "rolled_back")):
        world = world_of("web1")
        world.rates["b"] = rate
        release = Release(world, spec_of(steps=(CanaryStep(WHOLE, 0.0),)))
        assert to_the_end(release).result == result
        assert dials(release)[0][0] == WHOLE
        assert shares(world) == ({WHOLE} if result == "promoted" else {0})


def test_testers_alone_are_judged_at_no_share_before_anybody_else_meets_the_candidate() -> None:
    for rate, result, seen in ((0.0, "promoted", [0, 500, WHOLE]), (0.3, "rolled_back", [0, 0])):
        world = world_of("web1")
        world.testers, world.rates["b"] = 30.0, rate
        release = Release(world, spec_of(steps=(TESTERS, CanaryStep(500, 3.0)), deadline=60.0))
        assert to_the_end(release).result == result
        assert [weight for weight, _ in dials(release)] == seen


def test_copies_of_requests_are_judged_and_end_with_their_step() -> None:
    for rate, result in ((0.0, "promoted"), (0.3, "rolled_back")):
        world = world_of("web1")
        world.rates["b"] = rate
        release = Release(world, spec_of(steps=(COPIES, CanaryStep(500, 3.0)), deadline=60.0))
        until(release, "holding")
        assert (world.machines["web1"].dial.share, world.machines["web1"].dial.mirror) == (0, 2000)
        assert to_the_end(release).result == result
        assert world.machines["web1"].dial.mirror == 0


def test_copies_end_when_nobody_watches_and_go_on_when_resumed() -> None:
    world = world_of("web1", "web2")
    release = Release(world, spec_of(steps=(COPIES,), deadline=60.0))
    until(release, "holding")
    world.pass_time(6.0)
    assert {machine.dial.mirror for machine in world.machines.values()} == {0}
    release.kill()
    assert to_the_end(release).result == "promoted"


def test_a_rollback_ends_copies() -> None:
    world = world_of("web1")
    release = Release(world, spec_of(steps=(COPIES,), deadline=60.0))
    until(release, "holding")
    assert take_back(world, contested=True).decision.kind == "abort"
    assert world.machines["web1"].dial.mirror == 0


# --- several services in one release ------------------------------------------------------------------------


class Fleet:
    """Rollouts of one release, each with routers of its own, told of one another as the engine does it."""

    def __init__(self, *worlds: World, **changes: Any) -> None:
        self.together = Together(str(number) for number in range(len(worlds)))
        self.releases = [Release(world, spec_of(together=True, **changes)) for world in worlds]
        for number, release in enumerate(self.releases):
            self.together.join(str(number), release.controller)
            release.news = lambda step, at=str(number): self.together.news(at, step.meet)
        self.seen: list[tuple[int, ...]] = []

    def go(self, holds: int = 120) -> list[str]:
        """All in turn, one hold each, to their ends: the results."""
        for _ in range(holds):
            for release in self.releases:
                if release.go(10_000):
                    release.hold()
                self.seen.append(tuple(max(shares(one.world)) for one in self.releases))
        return [release.ended.result for release in self.releases if isinstance(release.ended, Ended)]


def test_all_dials_of_a_release_move_together() -> None:
    slow, quick = world_of("web1"), world_of("eu1")
    slow.traffic = 40.0  # ten times as long until its gates have seen enough
    fleet = Fleet(slow, quick, deadline=200.0)
    assert fleet.go() == ["promoted", "promoted"]
    assert [weight for weight, _ in dials(fleet.releases[1])] == [500, 5000, WHOLE]
    apart = {pair for pair in fleet.seen if pair[0] != pair[1]}
    assert apart <= {(500, 0), (5000, 500), (WHOLE, 5000), (0, 500), (500, 5000), (5000, WHOLE)}, "a step apart at most"


def test_one_bad_gate_turns_all_back() -> None:
    bad, good = world_of("web1"), world_of("eu1")
    bad.rates["b"] = 0.3
    fleet = Fleet(bad, good)
    assert fleet.go() == ["rolled_back", "rolled_back"]
    assert shares(bad) == shares(good) == {0}
    assert "of the same release did not go well" in fleet.releases[1].ended.reason  # type: ignore[union-attr]


def test_one_that_is_bad_in_the_bake_takes_back_those_that_are_promoted() -> None:
    bad, good = world_of("web1"), world_of("eu1")
    fleet = Fleet(bad, good, bake=30.0, deadline=60.0)
    while fleet.releases[0].controller.state != "baking":
        fleet.go(1)
    bad.rates["b"] = 0.3
    assert fleet.go() == ["rolled_back", "rolled_back"]
    assert shares(bad) == shares(good) == {0}


def test_one_that_can_not_be_deployed_keeps_all_others_at_rest() -> None:
    fleet = Fleet(world_of("web1"), world_of("eu1"))
    fleet.releases[0].fail_run = "deploy"
    assert fleet.go() == ["failed", "rolled_back"]
    assert max(fleet.seen) == (0, 0)


def test_when_one_leaves_for_a_pause_all_leave_and_all_go_on_when_resumed() -> None:
    silent, good = world_of("web1"), world_of("eu1")
    silent.traffic = 0.0
    fleet = Fleet(silent, good)
    for _ in range(60):
        for number, release in enumerate(fleet.releases):
            if release.go(10_000):
                release.hold()
            if release.left:
                fleet.together.leave(str(number), "too little evidence")
    assert [release.left for release in fleet.releases] == [True, True]
    silent.traffic = 400.0
    fleet.together = Together("01")
    for number, release in enumerate(fleet.releases):
        release.kill()
        fleet.together.join(str(number), release.controller)
    assert fleet.go() == ["promoted", "promoted"]
