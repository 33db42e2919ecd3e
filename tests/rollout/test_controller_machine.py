"""Whatever happens, in whatever order: the rollout's state machine against a model of what users must never meet.

Hypothesis chooses the events; the model is a handful of sentences that hold after each of them (`check`), and some
that hold at an end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ciflow.diagnostics import CiflowError
from ciflow.model import CanaryStep, Hold
from ciflow.rollout.spec import Ended
from tests.rollout.world import Machine, Release, World, spec_of, take_back, world_of

SEEN: Counter[tuple[str, str]] = Counter()
STATES = {
    "deploying", "verifying", "holding", "paused", "promoting", "baking", "good", "rolling_back", "rolled_back",
    "failed", "fenced",
}  # fmt: skip
COUNTS = {"good": 0.0, "bad": 0.3}


under_way = precondition(lambda self: self.release.ended is None)


class Rollout(RuleBasedStateMachine):
    """Two routers, one of which holds the expiry itself."""

    release: Release

    @initialize(
        live=st.sampled_from("ab"),
        on_failure=st.sampled_from(["rollback", "rollback", "pause"]),
        on_inconclusive=st.sampled_from(["pause", "rollback", "promote"]),
        deadline=st.sampled_from([6.0, 20.0]),
        bake=st.sampled_from([0.0, 3.0]),
        early=st.booleans(),
        steps=st.sampled_from([((0, 2000), (5000, 0)), ((500, 0), (5000, 0)), ((500, 0), (5000, 0))]),
        irreversible=st.sampled_from([(), (), ("Migrate",)]),
        fails=st.sampled_from([""] * 14 + ["deploy", "verify"]),
        faulty=st.booleans(),
        ahead=st.sampled_from(range(0, 210, 3)),
    )
    def begin(self, live: str, fails: str, faulty: bool, ahead: int, **times: Any) -> None:
        self.live, self.other = live, "b" if live == "a" else "a"
        self.world = world_of("web1", "web2", live=live)
        steps = tuple(CanaryStep(weight, 3.0, mirror=mirror) for weight, mirror in times.pop("steps"))
        self.release = Release(self.world, spec_of(drain=2.0, steps=steps, **times), fail_run=fails)
        self.glass = bool(times["irreversible"])  # a rollback may have to break it
        self.greatest = dict.fromkeys(self.world.machines, 0)
        self.foreign = False  # somebody else has written
        self.told_to_go_on = times["on_inconclusive"] == "promote" or times["on_failure"] == "pause"
        self.world.rates[self.other] = COUNTS["bad" if faulty else "good"]
        self.always_bad = faulty  # the candidate never had a good interval
        self.noted = 0
        self.had_traffic = False
        while len(self.release.record) < ahead and self.release.ended is None and not self.release.left:
            self._one_step()

    # --- what may happen ---------------------------------------------------------------------------------

    @under_way
    @rule(steps=st.integers(1, 60))
    def work(self, steps: int) -> None:
        """Some steps, then (where it holds) nothing: an event may come between any two of them."""
        self._event("work")
        for _ in range(steps):
            if not self.release.go(1):
                break
            self.check()

    @under_way
    @rule(intervals=st.integers(1, 6))
    def wait(self, intervals: int) -> None:
        self._event("wait")
        self._intervals(intervals)

    @under_way
    @rule(intervals=st.integers(8, 20))
    def wait_long(self, intervals: int) -> None:
        self._event("wait")
        self._intervals(intervals)

    @under_way
    @rule(kind=st.sampled_from(["good", "good", "bad", "none", "sick"]))
    def traffic(self, kind: str) -> None:
        self._event(f"traffic {kind}")
        self.world.traffic = 0.0 if kind == "none" else 400.0
        self.world.rates[self.other] = COUNTS.get(kind, 0.3 if kind == "sick" else 0.0)
        self.world.rates[self.live] = 0.3 if kind == "sick" else 0.0
        self.always_bad = self.always_bad and kind == "bad"

    @under_way
    @rule(verb=st.sampled_from(["pause", "resume", "resume", "promote", "promote full", "abort"]))
    def say(self, verb: str) -> None:
        self._event(verb)
        word, _, full = verb.partition(" ")
        self.release.word = {"command": word, "by": "ann", "full": bool(full)}
        self.told_to_go_on = self.told_to_go_on or word == "promote"

    @under_way
    @rule(host=st.sampled_from(["web1", "web2"]), operations=st.sampled_from([1, 2, 5, 400]))
    def router_fails(self, host: str, operations: int) -> None:
        self._event("router fails")
        self.world.machines[host].down = operations

    @under_way
    @rule(host=st.sampled_from(["web1", "web2"]))
    def router_restarts(self, host: str) -> None:
        self._event("router restarts")
        self.world.restart(host)

    @under_way
    @rule(times=st.integers(1, 3))
    def host_unreachable(self, times: int) -> None:
        self._event("host unreachable")
        self.release.unreachable = times

    @under_way
    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self._event("disk full")
        self.world.machines["web1"].disk_full = full

    @under_way
    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0]))
    def killed(self, seconds: float) -> None:
        """kill -9, nobody comes for a while, then `ciflow resume`."""
        self._event("kill")
        if self.release.ended is None:
            self.world.pass_time(seconds)
            self.release.kill()
            self.check()

    @under_way
    @rule()
    def asleep(self) -> None:
        """The controller is stopped past the dead-man, then continued."""
        self._event("dead-man")
        self.world.pass_time(self.release.spec.dead_man + 1)

    @rule()
    def rolled_back_by_another(self) -> None:
        if self.release.controller.state == "deploying":
            return  # before it has claimed the routers, there is nothing of this release to take back
        self._event("rollback")
        self._mend(self.world)
        self.foreign = True
        take_back(self.world, contested=self.release.ended is None, break_glass=self.glass)
        self.world.pass_time(5.0)
        assert {m.dial.live for m in self.world.machines.values()} == {self.live}
        self._at_rest(self.world)
        self.check()

    @rule(late=st.sampled_from(["web1", "web2"]))
    def rolled_back_at_one(self, late: str) -> None:
        """The other router is not reached, and nobody repeats the command yet."""
        if self.release.controller.state == "deploying":
            return
        self._event("rollback of one")
        self._mend(self.world)
        self.foreign = True
        self.world.unreachable = frozenset({late})
        take_back(self.world, contested=self.release.ended is None, break_glass=self.glass)
        self.world.unreachable = frozenset()
        self.check()

    # --- the model ---------------------------------------------------------------------------------------

    def check(self) -> None:
        """What holds at every moment."""
        self._tokens()
        self._nothing_good_without_data()
        if self.release.ended is not None or self.release.left:
            return
        step = self.release.step
        if isinstance(step, Hold):
            alone = step.seconds if step.why == "paused" else self.release.spec.dead_man
            self._dead_man_is_enough(self.world.copy(), alone)
            self._a_rollback_works(self.world.copy())

    def _tokens(self) -> None:
        for name, machine in self.world.machines.items():
            assert machine.dial.token >= self.greatest[name], "a smaller token was written"
            self.greatest[name] = machine.dial.token
            after = [who for who, _ in machine.writes]
            if "rollback" in after:
                assert "controller" not in after[after.index("rollback") :], "a fenced controller has written"

    def _nothing_good_without_data(self) -> None:
        for note in self.release.told[self.noted :]:
            if note.kind == "dial_wanted" and note.data["reason"].startswith(("step", "promoted")):
                first = note.data["reason"] in ("step 1",) or not self.release.spec.climb
                assert first or self.had_traffic or self.told_to_go_on, "good on no data"
                self.had_traffic = False
            if note.kind == "interval" and note.data["candidate"]["requests"]:
                self.had_traffic = True
            if note.kind == "canary_state" and note.data["state"] == "good" and self.release.spec.bake:
                assert self.had_traffic or self.told_to_go_on, "observed good on no data"
        self.noted = len(self.release.told)

    def _dead_man_is_enough(self, later: World, seconds: float) -> None:
        """Nobody comes: the routers' hosts give the traffic back by themselves."""
        later.pass_time(seconds + 1)
        self._at_rest(later)

    def _a_rollback_works(self, copy: World) -> None:
        if self.release.controller.state == "deploying":
            return
        self._mend(copy)
        take_back(copy, contested=True, break_glass=self.glass)
        self._at_rest(copy)
        assert {m.dial.live for m in copy.machines.values()} == {self.live}
        assert take_back(copy, contested=False).decision.kind == "nothing"

    def _one_step(self) -> None:
        if isinstance(self.release.step, Hold):
            self.release.hold()
        else:
            self.release.go(1)
        self.check()

    def _at_end(self) -> None:
        ended = self.release.ended
        if ended is None or isinstance(ended, CiflowError):
            assert ended is None or not any(m.writes for m in self.world.machines.values()) or not self._moved()
            return
        SEEN[ended.result, "end"] += 1
        later = self.world.copy()
        if ended.result == "lost":
            later.pass_time(self.release.spec.dead_man + 1)
        self._at_rest(later)
        lives = {m.dial.live for m in later.machines.values()}
        if ended.result == "fenced" and not self.glass:
            assert lives == {self.live}, "a router that a rollback did not reach is left with the candidate"
        if ended.result == "promoted":
            assert self.foreign or lives == {self.other}
            assert self.told_to_go_on or not self.always_bad, "a faulty version was promoted"
        elif ended.result == "failed" and self.glass and lives == {self.other}:
            assert "can't be undone" in ended.reason, "left where it is for no reason"
            SEEN["failed", "not turned back"] += 1
        elif ended.result in ("rolled_back", "failed"):
            assert lives == {self.live}

    def _moved(self) -> bool:
        return any(not machine.dial.at_rest for machine in self.world.machines.values())

    def _at_rest(self, world: World) -> None:
        for machine in world.machines.values():
            assert machine.dial.at_rest, f"traffic was left at {machine.dial.share} with {machine.dial.live} live"

    @staticmethod
    def _mend(world: World) -> None:
        for machine in world.machines.values():
            machine.down = 0

    def _intervals(self, most: int) -> None:
        for _ in range(most):
            while self.release.go(1) and not isinstance(self.release.step, Hold):
                self.check()
            self.check()
            if self.release.ended is not None or self.release.left:
                return
            self.release.hold()
            if self.release.left:
                pause = self.release.step.seconds
                self._dead_man_is_enough(self.world.copy(), pause)
                return

    def _event(self, event: str) -> None:
        SEEN[self.release.controller.state, event] += 1

    def teardown(self) -> None:
        """Time heals: nothing fails any more, somebody resumes what was left, and it comes to an end."""
        if not hasattr(self, "release"):
            return
        self._mend(self.world)
        self.release.unreachable = 0
        self.world.traffic = 400.0
        for _ in range(120):
            if self.release.ended is not None:
                break
            if self.release.left:
                SEEN["paused", "resume"] += 1
                self.told_to_go_on = True
                self.world.rates = dict.fromkeys("ab", 0.0)  # who resumes has seen to it
                self.release.kill()
                self.noted = len(self.release.told)
            self.release.word = self.release.word or {"command": "resume", "by": "ann"}
            self._intervals(1)
        for note in self.release.told:
            if note.kind == "canary_state":
                SEEN[note.data["state"], "reached"] += 1
        assert self.release.ended is not None, "it never ends"
        self._at_end()


def test_users_are_safe_whatever_happens_to_a_rollout() -> None:
    SEEN.clear()
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    quiet = settings(
        max_examples=80,
        phases=[Phase.generate],
        stateful_step_count=18,
        deadline=None,
        suppress_health_check=checks,
        derandomize=True,
    )
    run_state_machine_as_test(Rollout, settings=quiet)
    reached = {state for state, _ in SEEN}
    print(f"{sum(SEEN.values())} events over {len(SEEN)} pairs of state and event:")
    for state in sorted(reached):
        events = {event: count for (at, event), count in sorted(SEEN.items()) if at == state}
        print(f"  {state:<13} {' '.join(f'{event}:{count}' for event, count in events.items())}")
    assert reached >= STATES, STATES - reached


def test_the_model_notices_a_controller_that_leaves_traffic_behind() -> None:
    """The net itself: a dial left at 5 % with nobody watching is caught."""
    world = world_of("web1", "web2")
    machine: Machine = world.machines["web1"]
    machine.dial = replace(machine.dial, share=500)
    net = Rollout()
    try:
        net._dead_man_is_enough(world, 5.0)
    except AssertionError as error:
        assert "left at 500" in str(error)
    else:
        raise AssertionError("not noticed")


def test_killed_between_any_two_steps_a_good_release_ends_as_well() -> None:
    """Enumerated, not sampled: every step of a whole release, with the dead-man fired and without."""
    whole = Release(world_of("web1", "web2"), spec_of(bake=1.0))
    while whole.go(10_000):
        whole.hold()
    steps = len(whole.record)
    for at in range(0, steps, 3):
        release = Release(world_of("web1", "web2"), spec_of(bake=1.0))
        while len(release.record) < at and release.ended is None:
            if isinstance(release.step, Hold):
                release.hold()
            else:
                release.go(1)
        release.world.pass_time(7.0 if at % 2 else 0.0)
        release.kill()
        while release.go(10_000):
            release.hold()
        assert isinstance(release.ended, Ended)
        assert release.ended.result == "promoted", f"killed at step {at} of {steps}: {release.ended}"
    print(f"killed at {len(range(0, steps, 3))} of {steps} steps")
