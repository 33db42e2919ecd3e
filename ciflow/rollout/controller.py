"""The canary controller: a state machine as a generator, driven by the same engine as any task.

deploying -> verifying -> holding(n) -> promoting -> baking -> good, and from each of them rolling_back ->
rolled_back, or failed before the dial was ever turned. Several that are one release go `together`: each waits for the
others before it turns its dial, and one that turns back turns all back. It reads no clock and does no I/O: time is
what `Hold` replies say, so that a resumed run replays to the very step where it was cut off, then looks at the routers
again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ciflow.diagnostics import CiflowError, TargetError
from ciflow.model import CanaryStep, Hold, Note, Reply, Run
from ciflow.rollout.judge import Interval, Panel, Verdict
from ciflow.rollout.retire import Retirement
from ciflow.rollout.routers.counts import WINDOW
from ciflow.rollout.routers.dial import WHOLE, Asked, Fenced, Router, RouterError
from ciflow.rollout.spec import Ended, Spec, TurnBack
from ciflow.rollout.tally import Deltas, interval_data, split_is_off
from ciflow.rollout.waiting import Waiting

ALONE = (3, 15.0, 10)  # stable alone before the first turn: at least 3 intervals, up to 15 s of them, at most 10
STRAYS = 2  # intervals in a row whose split is off before the router is not believed any more
LOOKS = 3  # at the counters, until the candidate gets nothing any more
LOOK = 0.3  # seconds between two of them
PREPARED = 1  # how far a rollout has come, as those that go together compare it: then one more for each step
RETRIES = 3  # to turn back at a router that does not answer
RETRY = 1.0  # seconds between two of them


class Controller(Waiting):
    """One rollout over one router or several that move together."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        super().__init__(spec, routers)
        self.retirement = Retirement(spec, routers)
        self._unjudged = self.panel  # as it was before the evidence of the climb, or of the bake
        self._strays = 0
        self._promoted = False
        self.claimed = False  # until then a failure leaves everything as it was, and may be tried again

    # --- the whole way -----------------------------------------------------------------------------------

    def run(self) -> Asked[Ended]:
        """From the deployment to a release that is observed good, or back. What fails before the routers are
        claimed is raised; after that every way ends in an `Ended`."""
        yield from self._begin()
        for state, label, nodes in self._preparations():
            yield from self._enter(state)
            reply = yield Run(label, nodes, self._variables(self.dials.candidate, self.spec.version))
            if not reply.ok and reply.data.get("aborted"):
                return (yield from self.turn_back(reply.error))
            if not reply.ok:
                return (yield from self._end("failed", f"{label} failed: {reply.error}"))
        if self.spec.check:
            return Ended("planned", f"the dial would go {self.notes.way()} on slot {self.dials.candidate}")
        try:
            yield from self._climb()
            yield from self._promote()
            yield from self._bake()
            yield from self._observed_good()
        except TurnBack as decision:
            return (yield from self._give_up(str(decision)))
        except Fenced as fence:
            return (yield from self._taken_over(fence))
        except (RouterError, TargetError) as error:
            return (yield from self.turn_back(error.message))
        return Ended("promoted", f"{self.spec.service} {self.spec.version} has all traffic and was observed good")

    # --- before the first turn ---------------------------------------------------------------------------

    def _begin(self) -> Asked[None]:
        yield from self.dials.look()
        self.dials.refuse_to_destroy()
        yield from self.notes.start()
        for router in self.dials.routers if self.spec.drain else ():
            yield from router.can_cut(self.spec.drain)
        if self.dials.live:
            yield from self.retirement.compile(self._variables(self.dials.live, self.dials.before.version))
        if not self.spec.check:
            self.claimed = True
            yield from self.notes.wanted(0, "claimed")
            yield from self.dials.claim(self.now)
            yield from self.retirement.call_off()

    def _preparations(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        return [("deploying", "deploy", self.spec.deploy), ("verifying", "verify", self.spec.verify)]

    def _variables(self, name: str, version: str) -> dict[str, Any]:
        """What tasks know of the slot that they are about, and of what is in it."""
        slot = self.spec.slots[name]
        mine = {**self.spec.slot_vars[name], "name": slot.name, "address": slot.address, "port": slot.port}
        release = {"service": self.spec.service, "version": version, "id": self.spec.release}
        return {"slot": mine, "release": {**release, "slot": name, "live": self.dials.live}}

    # --- the climb ---------------------------------------------------------------------------------------

    def _climb(self) -> Asked[None]:
        """Step by step; a first release has nothing to climb from."""
        yield from self._meet(PREPARED, 0)
        weight = 0
        if self.dials.live:
            spec = self.spec
            alone = (yield from self._stable_alone()) if spec.gates else ()
            self._judge(Panel.begin(spec.gates, before=alone, early=spec.early, sick_for=spec.sick_for))
            self.elapsed = 0.0
            weight = yield from self._steps()
        yield from self._meet(PREPARED + len(self.spec.climb), weight)

    def _steps(self) -> Asked[int]:
        """The share that the dial was left at."""
        weight = 0
        for number, step in enumerate(self.spec.climb):
            if self._full:
                break
            self.step, weight = number, step.weight
            yield from self._enter("holding", weight=step.weight)
            self.dials.mirror = step.mirror
            yield from self._turn(step.weight, f"step {self.step + 1}")
            yield from self._hold(step)
        return weight

    def _meet(self, level: int, weight: int) -> Asked[None]:
        """Wait until all rollouts of the release have come as far; this one's dial is kept where it is."""
        while self.spec.together:
            reply, _ = yield from self._wait("waiting for the others of this release", weight, level)
            yield from self._keep(weight)
            if reply.data.get("met"):
                return

    def _stable_alone(self) -> Asked[tuple[Interval, ...]]:
        """Stable's own rate and how its errors cluster, before the candidate can have touched anything."""
        least, seconds, most = ALONE
        seen: tuple[Interval, ...] = ()
        yield from self.dials.sample()
        for _ in range(max(least, min(most, round(seconds / self.spec.interval)))):
            reply, said = yield from self._wait("measuring the stable version", 0)
            yield from self.dials.still_ours()
            deltas = yield from self._count()
            if deltas is not None and not reply.data.get("resumed"):
                seen += (self._interval(deltas, -1, 0, reply.duration),)
            if said == "promote":
                break
        return seen

    def _judge(self, panel: Panel) -> None:
        self.panel = self._unjudged = panel

    def _hold(self, step: CanaryStep) -> Asked[None]:
        """Stay at a step until its gates, and those of all others of the release, say good; raises TurnBack when they
        say bad."""
        held, ready = 0.0, False
        while True:
            level = PREPARED + 1 + self.step if ready else 0
            reply, said = yield from self._wait(f"holding at {step.weight / 100:g} %", step.weight, level)
            yield from self.dials.renew(step.weight, self.now)
            deltas = yield from self._count()
            held += reply.duration
            ready = said == "promote" or (yield from self._good(step, deltas, held, reply)) or ready
            if ready and (not self.spec.together or reply.data.get("met")):
                return

    def _good(self, step: CanaryStep, deltas: list[Deltas] | None, held: float, reply: Reply) -> Asked[bool]:
        """Whether this interval lets the rollout go on."""
        if deltas is not None and not reply.data.get("resumed"):
            yield from self._observe(deltas, step, held, reply.duration)
        verdict = self._verdict(step, held)
        yield from self.notes.gates(verdict, self.step, step.weight)
        return verdict.outcome == "good" or (yield from self._decided(verdict, step.weight))

    def _verdict(self, step: CanaryStep, held: float) -> Verdict:
        ended = held >= step.hold + self.spec.warm_up
        return self.panel.verdict(ended, min_requests=step.min_requests, expired=self._expired)

    @property
    def _expired(self) -> bool:
        return self.elapsed >= self.spec.deadline

    def _observe(self, deltas: Sequence[Deltas], step: CanaryStep, held: float, seconds: float) -> Asked[None]:
        candidate = self.dials.candidate
        yield Note("interval", interval_data(deltas, candidate, self.dials.live, self.step, step.weight))
        if held <= self.spec.warm_up:
            return
        testers = bool(self.spec.settings.get("header"))
        visits = 1 + math.ceil(seconds / WINDOW) if self.spec.by else 0
        blind = self.spec.by and not any(counts.users for delta in deltas for counts in delta.values())
        off = not blind and split_is_off(deltas, candidate, step.weight, testers=testers, visits=visits)
        self._strays = self._strays + 1 if off else 0
        if self._strays >= STRAYS:
            raise TurnBack(f"the router says {step.weight / 100:g} %, but its own counters show another split")
        yield from self._take_in(self._interval(deltas, self.step, step.weight, seconds))

    def _take_in(self, counted: Interval) -> Asked[None]:
        """What the routers counted, and what the gates' own queries answer, go into the evidence."""
        asked = yield from self.asking.asked(counted, self.panel, self.dials.candidate, self.now)
        self.panel = self.panel.observe(asked)
        yield from self._tell_of_stable(self.panel)

    def _decided(self, verdict: Verdict, weight: int) -> Asked[bool]:
        """What follows from a verdict that is not good; True when the playbook says to go on all the same."""
        if verdict.outcome == "bad" and self.spec.on_failure == "pause":
            yield from self._leave(verdict.why, weight)
            self.panel = self._unjudged  # who resumes has overruled the gates
        elif verdict.outcome == "bad":
            raise TurnBack(verdict.why)
        elif verdict.outcome == "inconclusive" and self._expired:
            if self.spec.on_inconclusive == "rollback":
                raise TurnBack(f"inconclusive at the deadline: {verdict.why}")
            if self.spec.on_inconclusive == "promote":
                return True
            yield from self._leave(verdict.why, weight)
        return False

    # --- the end of the way ------------------------------------------------------------------------------

    def _turn(self, weight: int, reason: str) -> Asked[None]:
        yield from self.notes.wanted(weight, reason)
        yield from self.dials.turn(weight, self.now)
        yield from self.notes.turned(weight, reason)

    def _promote(self) -> Asked[None]:
        yield from self._enter("promoting")
        yield from self.notes.wanted(WHOLE, "promoted")
        yield from self.dials.promote(self.now)
        self._promoted = True
        yield from self.notes.turned(WHOLE, "promoted")

    def _bake(self) -> Asked[None]:
        """After the promotion there is no stable traffic left: one-sample gates against stable's recorded rate.
        A first release has no record to be held to."""
        yield from self._enter("baking")
        self._judge(self.panel.baking())
        self.step, self.elapsed = len(self.spec.climb), 0.0
        yield from self._count()
        baked, ready = 0.0, False
        level = PREPARED + 1 + len(self.spec.climb)
        while True:
            ready = ready or (baked >= self.spec.bake and not self._waits_for_evidence(baked))
            if ready and not self.spec.together:
                return
            reply, said = yield from self._wait("baking", WHOLE, level if ready else 0)
            yield from self.dials.stay(self.now)
            baked += reply.duration
            deltas = yield from self._count()
            ready = said == "promote" or (yield from self._baked(deltas, baked, reply)) or ready
            if ready and (not self.spec.together or reply.data.get("met")):
                return

    def _baked(self, deltas: list[Deltas] | None, baked: float, reply: Reply) -> Asked[bool]:
        """Whether the playbook says that this interval is enough, though the gates don't say good."""
        if deltas is None or reply.data.get("resumed") or not self.dials.live:
            return False
        yield Note("interval", interval_data(deltas, self.dials.candidate, self.dials.live, self.step, WHOLE))
        yield from self._take_in(self._interval(deltas, self.step, WHOLE, reply.duration))
        verdict = self.panel.verdict(baked >= self.spec.bake, expired=self._expired)
        yield from self.notes.gates(verdict, self.step, WHOLE)
        return (yield from self._decided(verdict, WHOLE))

    def _waits_for_evidence(self, baked: float) -> bool:
        """Past its time the bake goes on while the gates have too little to say good by, up to the deadline."""
        return bool(self.spec.bake and self.dials.live) and self.panel.verdict(baked > 0).outcome != "good"

    def _observed_good(self) -> Asked[None]:
        yield from self.dials.observed_good(self.now)
        yield Note("users", self.tally.to_data())
        yield from self._enter("good", "observed good")
        yield from self.retirement.arm(self.dials.live, self.dials.token)

    def _give_up(self, reason: str) -> Asked[Ended]:
        """Turn back, unless all users are on a version that did what can't be undone: then a person decides."""
        if self._promoted and self.spec.irreversible and self.dials.live:
            names = ", ".join(f"`{name}`" for name in self.spec.irreversible)
            how = f"`ciflow rollback {self.spec.service} --break-glass --reason ..` goes back all the same"
            return (yield from self._end("failed", f"{reason}; not turned back, for {names} can't be undone: {how}"))
        return (yield from self.turn_back(reason))

    def turn_back(self, reason: str) -> Asked[Ended]:
        """All traffic to the slot that was live before: never waits for anything but the routers."""
        if not self.dials.live:
            return (yield from self._end("failed", f"{reason}; there is no former version to go back to"))
        yield from self._enter("rolling_back", reason)
        yield from self.notes.wanted(0, reason)
        for left in reversed(range(RETRIES)):
            try:
                yield from self.dials.back(self.now)
                break
            except Fenced as fence:
                return (yield from self._end("fenced", fence.message))
            except (RouterError, TargetError) as error:
                if not left:
                    return (yield from self._end("lost", self._left_to_guard(error)))
                self._tick((yield Hold(RETRY, why="trying to turn back again")))
        yield from self.notes.turned(0, reason, (yield from self._seen_back()))
        return (yield from self._end("rolled_back", reason))

    def _taken_over(self, fence: Fenced) -> Asked[Ended]:
        """Somebody else decides from here on; what it has not reached is not left with the candidate. Unless all users
        are there, and what can't be undone was done: then it is for that one to say."""
        if self.dials.live and not (self._promoted and self.spec.irreversible):
            yield from self.dials.hand_over(self.now)
        return (yield from self._end("fenced", fence.message))

    def _left_to_guard(self, error: CiflowError) -> str:
        if self.dials.promotes:
            slot = self.dials.candidate
            return (
                f"{error.message}; since the promotion slot {slot} may be its live one, and then nothing but a "
                "rollback that reaches it takes the traffic from there"
            )
        return (
            f"{error.message}; the dead-man there gives the traffic back to slot {self.dials.live} "
            f"within {self.spec.dead_man:.0f} s, and so does a restart of the router"
        )

    def _seen_back(self) -> Asked[bool | None]:
        """Whether the routers' own counters agree that the candidate gets nothing any more. None: no request came,
        or they can't be read. Requests that were under way may still end, so it looks again."""
        seen: bool | None = None
        try:
            yield from self._count()
            for _ in range(LOOKS):
                self._tick((yield Hold(LOOK, why="looking whether the traffic is back")))
                deltas = yield from self._count()
                if deltas and any(counts.requests for delta in deltas for counts in delta.values()):
                    seen = not any(delta[self.dials.candidate].requests for delta in deltas)
                if seen:
                    return True
        except (RouterError, TargetError) as error:
            yield Note("warning", {"message": f"the counters can't be read after turning back: {error.message}"})
            return None
        return seen

    def _end(self, result: str, reason: str) -> Asked[Ended]:
        if self.tally.served:
            yield Note("users", self.tally.to_data())
        yield from self._enter("failed" if result == "lost" else result, reason)
        return Ended(result, reason)
