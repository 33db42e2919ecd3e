"""The canary controller: a state machine as a generator, driven by the same engine as any task.

deploying -> verifying -> holding(n) -> promoting -> baking -> good, and from each of them rolling_back ->
rolled_back, or failed before the dial was ever turned. It reads no clock and does no I/O: time is what `Hold`
replies say, so that a resumed run replays to the very step where it was cut off, then looks at the routers again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ciflow.diagnostics import CiflowError, TargetError
from ciflow.model import CanaryStep, Hold, Note, Reply, Run
from ciflow.rollout.asking import Asking
from ciflow.rollout.dials import Dials
from ciflow.rollout.judge import Interval, Panel, Verdict
from ciflow.rollout.routers.dial import WHOLE, Asked, Fenced, Router, RouterError
from ciflow.rollout.spec import Ended, Spec, TurnBack
from ciflow.rollout.tally import Deltas, Tally, gate_data, interval_data, observed, split_is_off

ALONE = (3, 15.0, 10)  # stable alone before the first turn: at least 3 intervals, up to 15 s of them, at most 10
STRAYS = 2  # intervals in a row whose split is off before the router is not believed any more
LOOKS = 3  # at the counters, until the candidate gets nothing any more
LOOK = 0.3  # seconds between two of them
RETRIES = 3  # to turn back at a router that does not answer
RETRY = 1.0  # seconds between two of them


class Controller:
    """One rollout over one router or several that move together."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.dials = Dials(spec, routers)
        self.panel = Panel.begin(spec.gates)
        self.asking = Asking(spec.gates, spec.dead_man)
        self.tally = Tally()
        self.state = "deploying"
        self.step = 0
        self.elapsed = 0.0  # seconds held since the first turn, or since somebody resumed a pause
        self.now = spec.now
        self._unjudged = self.panel  # as it was before the evidence of the climb, or of the bake
        self._strays = 0
        self._full = False  # somebody said `promote --full`

    # --- the whole way -----------------------------------------------------------------------------------

    def run(self) -> Asked[Ended]:
        """From the deployment to a release that is observed good, or back. What fails before the routers are
        claimed is raised; after that every way ends in an `Ended`."""
        yield from self._begin()
        for state, label, nodes in self._preparations():
            yield from self._enter(state)
            reply = yield Run(label, nodes, self._variables())
            if not reply.ok:
                return (yield from self._end("failed", f"{label} failed: {reply.error}"))
        if self.spec.check:
            return Ended("planned", f"the dial would go {self._way()} on slot {self.dials.candidate}")
        try:
            yield from self._climb()
            yield from self._promote()
            yield from self._bake()
            yield from self._observed_good()
        except TurnBack as decision:
            return (yield from self.turn_back(str(decision)))
        except Fenced as fence:
            return (yield from self._end("fenced", fence.message))
        except (RouterError, TargetError) as error:
            return (yield from self.turn_back(error.message))
        return Ended("promoted", f"{self.spec.service} {self.spec.version} has all traffic and was observed good")

    # --- before the first turn ---------------------------------------------------------------------------

    def _begin(self) -> Asked[None]:
        yield from self.dials.look()
        self.dials.refuse_to_destroy()
        yield from self._note_start()
        if not self.spec.check:
            yield Note("dial_wanted", self._dial_data(0, "claimed"))
            yield from self.dials.claim(self.now)

    def _preparations(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        return [("deploying", "deploy", self.spec.deploy), ("verifying", "verify", self.spec.verify)]

    def _variables(self) -> dict[str, Any]:
        candidate = self.dials.candidate
        slot = self.spec.slots[candidate]
        mine = {**self.spec.slot_vars[candidate], "name": slot.name, "address": slot.address, "port": slot.port}
        release = {"service": self.spec.service, "version": self.spec.version, "id": self.spec.release}
        return {"slot": mine, "release": {**release, "slot": candidate, "live": self.dials.live}}

    def _way(self) -> str:
        return " -> ".join(f"{step.weight / 100:g} %" for step in (*self.spec.climb, CanaryStep(WHOLE, 0)))

    # --- the climb ---------------------------------------------------------------------------------------

    def _climb(self) -> Asked[None]:
        """Step by step; a first release has nothing to climb from."""
        if not self.dials.live:
            return
        alone = yield from self._stable_alone()
        spec = self.spec
        self._judge(Panel.begin(spec.gates, before=alone, early=spec.early, sick_for=spec.sick_for))
        for number, step in enumerate(self.spec.climb):
            if self._full:
                return
            self.step = number
            yield from self._enter("holding", weight=step.weight)
            yield from self._turn(step.weight, f"step {self.step + 1}")
            yield from self._hold(step)

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
        """Stay at a step until its gates say good; raises TurnBack when they say bad."""
        held = 0.0
        while True:
            reply, said = yield from self._wait(f"holding at {step.weight / 100:g} %", step.weight)
            yield from self.dials.renew(step.weight, self.now)
            deltas = yield from self._count()
            held += reply.duration
            if said == "promote":
                return
            if deltas is not None and not reply.data.get("resumed"):
                yield from self._observe(deltas, step, held, reply.duration)
            verdict = self._verdict(step, held)
            yield from self._note_gates(verdict, step.weight)
            if verdict.outcome == "good" or (yield from self._decided(verdict, step.weight)):
                return

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
        self._strays = self._strays + 1 if split_is_off(deltas, candidate, step.weight) else 0
        if self._strays >= STRAYS:
            raise TurnBack(f"the router says {step.weight / 100:g} %, but its own counters show another split")
        yield from self._take_in(self._interval(deltas, self.step, step.weight, seconds))

    def _take_in(self, counted: Interval) -> Asked[None]:
        """What the routers counted, and what the gates' own queries answer, go into the evidence."""
        asked = yield from self.asking.asked(counted, self.panel, self.dials.candidate, self.now)
        self.panel = self.panel.observe(asked)

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

    # --- people ------------------------------------------------------------------------------------------

    def _wait(self, why: str, weight: int) -> Asked[tuple[Reply, str]]:
        """Let one interval pass: what came of it, and what somebody said. A resumed run first looks at the routers."""
        reply = yield Hold(self.spec.interval, why=why)
        self.elapsed += reply.duration
        self._tick(reply)
        if reply.data.get("resumed"):
            yield from self._again(weight)
        said = self._said(reply)
        if said == "pause":
            said = yield from self._wait_for_resume(str(reply.data.get("by", "somebody")), weight)
        return reply, said

    def _said(self, reply: Reply) -> str:
        said = str(reply.data.get("command", ""))
        if said == "abort":
            raise TurnBack(f"aborted by {reply.data.get('by', 'somebody')}")
        self._full = self._full or (said == "promote" and bool(reply.data.get("full")))
        return said

    def _wait_for_resume(self, by: str, weight: int) -> Asked[str]:
        """Paused by a person while this controller lives: it goes on renewing, and judges nothing."""
        before = self.state
        yield from self._enter("paused", f"paused by {by}", weight)
        while True:
            reply = yield Hold(self.spec.interval, why=f"paused by {by}; `ciflow resume` goes on")
            self._tick(reply)
            if reply.data.get("resumed"):
                yield from self._again(weight)
            said = self._said(reply)
            yield from (self.dials.renew(weight, self.now) if weight else self.dials.still_ours())
            if said in ("resume", "promote"):
                yield from self._count()
                yield from self._enter(before, "resumed", weight)
                return said

    def _leave(self, why: str, weight: int) -> Asked[None]:
        """Leave the dial where it is, under the watch of the routers' hosts, and let the controller end."""
        left = self.spec.deadline - self.elapsed
        before, pause_for = self.state, left if left > self.spec.dead_man else self.spec.deadline
        yield from self._count()
        yield from self._enter("paused", why, weight)
        if weight < WHOLE:
            yield from self.dials.leave(pause_for)
        reply = yield Hold(pause_for, why="paused", prompt=self._until(pause_for, weight))
        self._tick(reply)
        self._said(reply)
        yield from (self.dials.come_back(weight, self.now) if weight < WHOLE else self.dials.still_ours())
        yield from self._count()
        self.elapsed = 0.0
        yield from self._enter(before, "resumed", weight)

    def _until(self, pause_for: float, weight: int) -> str:
        if weight == WHOLE:
            return "the candidate keeps all traffic"
        return f"it stays at {weight / 100:g} % for up to {pause_for:.0f} s, watched by the routers' hosts"

    def _again(self, weight: int) -> Asked[None]:
        yield from self.dials.again(weight if weight < WHOLE else 0, self.now)
        if weight:
            yield from self._note_dial(weight, "resumed")
        yield from self._count()

    # --- the end of the way ------------------------------------------------------------------------------

    def _turn(self, weight: int, reason: str) -> Asked[None]:
        yield Note("dial_wanted", self._dial_data(weight, reason))
        yield from self.dials.turn(weight, self.now)
        yield from self._note_dial(weight, reason)

    def _promote(self) -> Asked[None]:
        yield from self._enter("promoting")
        yield Note("dial_wanted", self._dial_data(WHOLE, "promoted"))
        yield from self.dials.promote(self.now)
        yield from self._note_dial(WHOLE, "promoted")

    def _bake(self) -> Asked[None]:
        """After the promotion there is no stable traffic left: one-sample gates against stable's recorded rate.
        A first release has no record to be held to."""
        yield from self._enter("baking")
        self._judge(self.panel.baking())
        self.step, self.elapsed = len(self.spec.climb), 0.0
        yield from self._count()
        baked = 0.0
        while baked < self.spec.bake or self._waits_for_evidence(baked):
            reply, said = yield from self._wait("baking", WHOLE)
            yield from self.dials.still_ours()
            baked += reply.duration
            deltas = yield from self._count()
            if said == "promote":
                return
            if deltas is None or reply.data.get("resumed") or not self.dials.live:
                continue
            yield Note("interval", interval_data(deltas, self.dials.candidate, self.dials.live, self.step, WHOLE))
            yield from self._take_in(self._interval(deltas, self.step, WHOLE, reply.duration))
            verdict = self.panel.verdict(baked >= self.spec.bake, expired=self._expired)
            yield from self._note_gates(verdict, WHOLE)
            if (yield from self._decided(verdict, WHOLE)):
                return

    def _waits_for_evidence(self, baked: float) -> bool:
        """Past its time the bake goes on while the gates have too little to say good by, up to the deadline."""
        return bool(self.spec.bake and self.dials.live) and self.panel.verdict(baked > 0).outcome != "good"

    def _observed_good(self) -> Asked[None]:
        yield from self.dials.observed_good()
        yield Note("users", self.tally.to_data())
        yield from self._enter("good", "observed good")

    def turn_back(self, reason: str) -> Asked[Ended]:
        """All traffic to the slot that was live before: never waits for anything but the routers."""
        if not self.dials.live:
            return (yield from self._end("failed", f"{reason}; there is no former version to go back to"))
        yield from self._enter("rolling_back", reason)
        yield Note("dial_wanted", self._dial_data(0, reason))
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
        yield from self._note_dial(0, reason, (yield from self._seen_back()))
        return (yield from self._end("rolled_back", reason))

    def _left_to_guard(self, error: CiflowError) -> str:
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

    # --- what is counted and written down ----------------------------------------------------------------

    def _tick(self, reply: Reply) -> None:
        self.now = reply.started or self.now

    def _count(self) -> Asked[list[Deltas] | None]:
        deltas = yield from self.dials.sample()
        self.tally = self.tally.add(deltas or (), self.dials.candidate)
        return deltas

    def _interval(self, deltas: Sequence[Deltas], step: int, weight: int, seconds: float) -> Interval:
        return observed(deltas, self.dials.candidate, self.dials.live, step, weight, seconds)

    def _names(self) -> dict[str, str]:
        return {"service": self.spec.service, "version": self.spec.version}

    def _enter(self, state: str, reason: str = "", weight: int | None = None) -> Asked[None]:
        self.state = state
        data = {"state": state, "step": self.step, "weight": weight, "reason": reason}
        yield Note("canary_state", {**self._names(), **data})

    def _dial_data(self, weight: int, reason: str) -> dict[str, Any]:
        return {"weight": weight, "slot": self.dials.candidate, "reason": reason, "token": self.dials.token}

    def _note_dial(self, weight: int, reason: str, verified: bool | None = None) -> Asked[None]:
        data = {**self._dial_data(weight, reason), "share": self.dials.share, "verified": verified}
        yield Note("dial", {**self._names(), **data})

    def _note_gates(self, verdict: Verdict, weight: int) -> Asked[None]:
        for gate in verdict.gates:
            yield Note("gate", {**self._names(), **gate_data(gate, self.step, weight)})

    def _note_start(self) -> Asked[None]:
        spec, dials = self.spec, self.dials
        data = {
            "slot": dials.candidate,
            "live": dials.live,
            "from": dials.before.version,
            "token": dials.token,
            "first": not dials.live,
            "router": spec.router,
            "settings": dict(spec.settings),
            "slots": {name: {"address": s.address, "port": s.port} for name, s in spec.slots.items()},
            "edges": list(spec.edges),
            "by": spec.by,
            "hosts": [router.host for router in dials.routers],
            "steps": [step.weight for step in spec.climb],
        }
        yield Note("canary_started", {**self._names(), **data})
