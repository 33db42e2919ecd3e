"""The canary controller: a state machine as a generator, driven by the same engine as any task.

deploying -> verifying -> holding(n) -> promoting -> baking -> good, and from each of them rolling_back ->
rolled_back, or failed before the dial was ever turned. It reads no clock and does no I/O: time is what `Hold`
replies say, so that a resumed run replays to the very step where it was cut off, then looks at the router again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import CiflowError, Locked, TargetError
from ciflow.model import CanaryStep, Hold, Note, Reply, Run
from ciflow.rollout.judge import Interval, Panel, Verdict
from ciflow.rollout.routers.dial import (
    WHOLE,
    Asked,
    Dial,
    Fenced,
    Manifest,
    NotKept,
    Router,
    RouterError,
    Sample,
    Slot,
    interval,
)
from ciflow.rollout.spec import Ended, Spec, keep_manifest
from ciflow.rollout.tally import Tally, interval_data, observed, split_is_off

STABLE_SAMPLES = 3  # intervals of stable alone before the first turn: its own rate, and how its errors cluster


class TurnBack(Exception):
    """Something decided against the candidate; the dial goes back to the live slot."""


class Controller:
    """One rollout over one router or several that move together."""

    def __init__(self, spec: Spec, routers: Sequence[Router]) -> None:
        self.spec = spec
        self.routers = tuple(routers)
        self.dials: list[Dial] = []
        self.samples: list[Sample | None] = [None] * len(self.routers)
        self.panel = Panel.begin(spec.gates)
        self.tally = Tally()
        self.state = "deploying"
        self.step = 0
        self.elapsed = 0.0  # seconds held since the first turn
        self.off_splits = 0
        self.now = spec.now
        self.token = spec.token
        self._live = ""

    # --- the whole way -----------------------------------------------------------------------------------

    def run(self) -> Asked[Ended]:
        """From the deployment to a release that is observed good, or back."""
        yield from self._look()
        first = not self.live
        yield from self._note_start(first)
        if not self.spec.check:
            yield from self._claim()
        for state, label, nodes in self._preparations():
            yield from self._enter(state, "")
            reply = yield Run(label, nodes, self._variables())
            if not reply.ok:
                return (yield from self._failed(f"{label} failed: {reply.error}"))
        if self.spec.check:
            return Ended("planned", f"the dial would go {self._way()} on slot {self.candidate}")
        try:
            if not first:
                yield from self._climb()
            yield from self._promote()
            yield from self._bake(first)
        except TurnBack as decision:
            return (yield from self._turn_back(str(decision), promoted=self.state == "baking"))
        except Fenced as fence:
            yield from self._enter("fenced", fence.message)
            return Ended("fenced", fence.message)
        except (RouterError, TargetError) as error:
            return (yield from self._router_lost(error))
        yield from self._observed_good()
        return Ended("promoted", f"{self.spec.service} {self.spec.version} has all traffic and was observed good")

    # --- facts -------------------------------------------------------------------------------------------

    @property
    def live(self) -> str:
        """The slot that people trusted when the rollout began."""
        return self._live

    @property
    def candidate(self) -> str:
        return "b" if self._live == "a" else "a"

    @property
    def promoted(self) -> bool:
        return all(dial.live == self.candidate for dial in self.dials)

    def _preparations(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        return [("deploying", "deploy", self.spec.deploy), ("verifying", "verify", self.spec.verify)]

    def _variables(self) -> dict[str, Any]:
        slot = self.spec.slots[self.candidate]
        mine = {**self.spec.slot_vars[self.candidate], "name": slot.name, "address": slot.address, "port": slot.port}
        release = {"service": self.spec.service, "version": self.spec.version, "id": self.spec.release}
        return {"slot": mine, "release": {**release, "slot": self.candidate, "live": self._live}}

    def _way(self) -> str:
        return " -> ".join(f"{step.weight / 100:g} %" for step in (*self.spec.climb, CanaryStep(WHOLE, 0)))

    # --- before the first turn ---------------------------------------------------------------------------

    def _look(self) -> Asked[None]:
        """Read every router, take a token greater than all, and refuse to destroy what a rollback goes back to."""
        for router in self.routers:
            yield from router.prepare(Dial(manifest=Manifest(self.spec.service)))
            self.dials.append((yield from router.read()))
        self._live = self.dials[0].live
        if any(dial.live != self._live for dial in self.dials):
            raise RouterError(
                f"the routers of {self.spec.service} don't agree on the live slot",
                help=f"`ciflow rollback {self.spec.service}` puts all of them on one slot",
            )
        self.token = max(self.token, 1 + max(dial.token for dial in self.dials))
        if not self.spec.replace_warm:
            self._refuse_warm()

    def _refuse_warm(self) -> None:
        manifest = self.dials[0].manifest
        old, live = manifest.slot(self.candidate), manifest.slot(self._live)
        help = "wait, or let `--replace-warm` give up what a rollback would go back to"
        if self._live and old.version and old.usable and old.warm_until > self.spec.now:
            left = old.warm_until - self.spec.now
            raise Locked(
                f"slot {old.name} still keeps {self.spec.service} {old.version} warm for {left:.0f} s", help=help
            )
        if self._live and old.version and old.usable and not live.observed_good:
            raise Locked(f"{self.spec.service} {live.version} is live but not yet observed good", help=help)

    def _claim(self) -> Asked[None]:
        """Take the routers before the slot is touched: from here on an older writer is refused, and a rollback
        knows that the candidate's slot holds nothing to go back to. Beside the router lies the manifest."""
        yield from self._commit_live(self._live, 0, "claimed", quiet=True)
        for router, dial in zip(self.routers, self.dials, strict=True):
            yield from keep_manifest(router, dial.manifest)

    def _note_start(self, first: bool) -> Asked[None]:
        data = {
            "service": self.spec.service,
            "version": self.spec.version,
            "slot": self.candidate,
            "live": self._live,
            "from": self.dials[0].manifest.slot(self._live).version,
            "token": self.token,
            "first": first,
            "router": self.spec.router,
            "settings": dict(self.spec.settings),
            "slots": {name: {"address": s.address, "port": s.port} for name, s in self.spec.slots.items()},
            "edges": list(self.spec.edges),
            "by": self.spec.by,
            "hosts": [router.host for router in self.routers],
            "steps": [step.weight for step in self.spec.climb],
        }
        yield Note("canary_started", data)

    # --- the climb ---------------------------------------------------------------------------------------

    def _climb(self) -> Asked[None]:
        self.panel = Panel.begin(self.spec.gates, before=(yield from self._stable_alone()))
        for number, step in enumerate(self.spec.climb):
            self.step = number
            yield from self._enter("holding", "", step)
            yield from self._turn(step.weight, f"step {self.step + 1}")
            yield from self._hold(step)

    def _stable_alone(self) -> Asked[tuple[Interval, ...]]:
        yield from self._sample()
        seen = []
        for _ in range(STABLE_SAMPLES):
            reply = yield Hold(self.spec.interval, why="measuring the stable version")
            self._tick(reply)
            deltas = yield from self._sample()
            if deltas is not None:
                seen.append(observed(deltas, self.candidate, self._live, -1, 0, reply.duration))
        return tuple(seen)

    def _hold(self, step: CanaryStep) -> Asked[None]:
        """Stay at a step until its gates say good; raises TurnBack when they say bad."""
        held = 0.0
        while True:
            reply = yield Hold(self.spec.interval, why=f"holding at {step.weight / 100:g} %")
            self._tick(reply)
            command = yield from self._obey(reply, step)
            yield from self._renew()
            deltas = yield from self._sample()
            held += reply.duration
            if command == "promote":
                return
            if deltas is not None and not reply.data.get("resumed"):
                yield from self._observe(deltas, step, held, reply.duration)
            verdict = self._verdict(step, held)
            yield from self._note_gates(verdict, step)
            if verdict.outcome == "good":
                return
            if verdict.outcome == "bad":
                yield from self._on_failure(verdict, step)
            elif verdict.outcome == "inconclusive" and self.elapsed >= self.spec.deadline:
                yield from self._on_inconclusive(verdict, step)

    def _verdict(self, step: CanaryStep, held: float) -> Verdict:
        ended = held >= step.hold + self.spec.warm_up
        expired = self.elapsed >= self.spec.deadline
        return self.panel.verdict(ended, min_requests=step.min_requests, expired=expired)

    def _observe(
        self, deltas: Sequence[Mapping[str, Any]], step: CanaryStep, held: float, seconds: float
    ) -> Asked[None]:
        yield Note("interval", interval_data(deltas, self.candidate, self._live, self.step, step.weight))
        if held <= self.spec.warm_up:
            return
        self.off_splits = self.off_splits + 1 if split_is_off(deltas, self.candidate, step.weight) else 0
        if self.off_splits >= 2:
            raise TurnBack(f"the router says {step.weight / 100:g} %, but its own counters show another split")
        self.panel = self.panel.observe(observed(deltas, self.candidate, self._live, self.step, step.weight, seconds))

    def _on_failure(self, verdict: Verdict, step: CanaryStep) -> Asked[None]:
        if self.spec.on_failure == "rollback":
            raise TurnBack(verdict.why)
        yield from self._pause(verdict.why, step)

    def _on_inconclusive(self, verdict: Verdict, step: CanaryStep) -> Asked[None]:
        if self.spec.on_inconclusive == "rollback":
            raise TurnBack(f"inconclusive at the deadline: {verdict.why}")
        if self.spec.on_inconclusive == "pause":
            yield from self._pause(verdict.why, step)
        self.elapsed = 0.0

    # --- people ------------------------------------------------------------------------------------------

    def _obey(self, reply: Reply, step: CanaryStep) -> Asked[str]:
        """What somebody said in another terminal, and what a resumed run finds at the router."""
        if reply.data.get("resumed"):
            yield from self._again(step)
        command = str(reply.data.get("command", ""))
        by = reply.data.get("by", "somebody")
        if command == "abort":
            raise TurnBack(f"aborted by {by}")
        if command == "pause":
            yield from self._wait_for_resume(by, step)
        return command

    def _wait_for_resume(self, by: str, step: CanaryStep) -> Asked[None]:
        """Paused by a person while this controller lives: it goes on renewing, and judges nothing."""
        yield from self._enter("paused", f"paused by {by}", step)
        while True:
            reply = yield Hold(self.spec.interval, why=f"paused by {by}; `ciflow resume` goes on")
            self._tick(reply)
            if reply.data.get("resumed"):
                yield from self._again(step)
            if reply.data.get("command") == "abort":
                raise TurnBack(f"aborted by {reply.data.get('by', 'somebody')}")
            yield from self._renew()
            if reply.data.get("command") in ("resume", "promote"):
                yield from self._sample()
                return (yield from self._enter("holding", "resumed", step))

    def _pause(self, why: str, step: CanaryStep) -> Asked[None]:
        """Leave the dial where it is, under the watch of the routers' hosts, and let the controller end."""
        pause_for = max(self.spec.deadline - self.elapsed, self.spec.deadline / 2)
        yield from self._enter("paused", why, step)
        for router, sample, dial in zip(self.routers, self.samples, self.dials, strict=True):
            bad = sample.slots[self.candidate].bad if sample is not None else 0
            yield from router.turn(dial, self.token, lease=pause_for)
            yield from router.guard(self.token, pause_for, (router.errors(self.candidate, bad + 50),))
        reply = yield Hold(pause_for, why="paused")
        self._tick(reply)
        yield from self._again(step)
        yield from self._enter("holding", "resumed", step)

    def _again(self, step: CanaryStep) -> Asked[None]:
        """After a pause or a kill: is the dial still ours, and where it was left?"""
        for number, router in enumerate(self.routers):
            self.dials[number] = dial = yield from router.read()
            if dial.token != self.token:
                raise Fenced(self.spec.service, router.host, self.token, dial)
        yield from self._turn(step.weight, "resumed")
        yield from self._sample()

    # --- the dial ----------------------------------------------------------------------------------------

    def _share(self, weight: int) -> int:
        """The absolute share of slot b for a candidate's weight."""
        return weight if self.candidate == "b" else WHOLE - weight

    def _turn(self, weight: int, reason: str) -> Asked[None]:
        """One turn on every router: the guard is armed before traffic may leave the live slot."""
        yield Note("dial_wanted", {"weight": weight, "slot": self.candidate, "reason": reason, "token": self.token})
        for number in range(len(self.routers)):
            now = self.dials[number]
            manifest = self._manifest(now.manifest.slots, now.live)
            to = replace(now, share=self._share(weight), token=self.token, manifest=manifest)
            yield from self._turn_one(number, to, self.spec.dead_man)
        yield from self._note_dial(weight, reason)

    def _turn_one(self, number: int, to: Dial, lease: float = 0.0) -> Asked[None]:
        """One router. What moved but was not kept on its disk is said, and is no reason to stop."""
        try:
            self.dials[number] = yield from self.routers[number].turn(to, self.dials[number].token, lease)
        except NotKept as kept:
            self.dials[number] = kept.dial
            yield Note("warning", {"message": kept.message, "help": kept.help})

    def _renew(self) -> Asked[None]:
        for number, router in enumerate(self.routers):
            guard = yield from router.guard(self.token, self.spec.dead_man, renew=True)
            if guard.fired:
                self.dials[number] = yield from router.read()
                raise TurnBack(f"the dead-man on {router.host} has given the traffic back")

    def _sample(self) -> Asked[list[Mapping[str, Any]] | None]:
        """What happened since the last sample, one mapping a router; None when it can't be told (a restart)."""
        deltas: list[Mapping[str, Any] | None] = []
        for number, router in enumerate(self.routers):
            before = self.samples[number]
            after = yield from router.counts(before)
            deltas.append(interval(before, after) if before is not None else None)
            self.samples[number] = after
        known = [delta for delta in deltas if delta is not None]
        self.tally = self.tally.add(known, self.candidate)
        return known if len(known) == len(deltas) else None

    # --- the end of the way ------------------------------------------------------------------------------

    def _promote(self) -> Asked[None]:
        """Share, live slot and the dead-man's end in one fenced write on each router."""
        yield from self._enter("promoting", "")
        yield from self._commit_live(self.candidate, WHOLE, "promoted")

    def _commit_live(self, slot: str, weight: int, reason: str, *, quiet: bool = False) -> Asked[None]:
        yield Note("dial_wanted", {"weight": weight, "slot": self.candidate, "reason": reason, "token": self.token})
        share = WHOLE if slot == "b" else 0
        for number, router in enumerate(self.routers):
            now = self.dials[number]
            manifest = self._manifest(now.manifest.slots, slot)
            to = replace(now, share=share, live=slot, token=self.token, manifest=manifest, expires=0.0)
            yield from self._turn_one(number, to)
            yield from router.guard(self.token, 0)
        if not quiet:
            yield from self._note_dial(weight, reason)

    def _bake(self, first: bool) -> Asked[None]:
        """After the promotion there is no stable traffic left: one-sample gates against stable's recorded rate."""
        yield from self._enter("baking", "")
        self.panel = self.panel.baking()
        yield from self._sample()
        baked = 0.0
        while baked < self.spec.bake:
            reply = yield Hold(min(self.spec.interval, self.spec.bake), why="baking")
            self._tick(reply)
            baked += reply.duration
            if reply.data.get("command") == "abort":
                raise TurnBack(f"aborted by {reply.data.get('by', 'somebody')}")
            if reply.data.get("resumed"):
                yield from self._still_ours()
            deltas = yield from self._sample()
            if deltas is None or first:
                continue
            yield Note("interval", interval_data(deltas, self.candidate, self._live, len(self.spec.climb), WHOLE))
            self.panel = self.panel.observe(
                observed(deltas, self.candidate, self._live, len(self.spec.climb), WHOLE, reply.duration)
            )
            verdict = self.panel.verdict(baked >= self.spec.bake)
            if verdict.outcome == "bad":
                yield from self._note_gates(verdict, CanaryStep(WHOLE, self.spec.bake))
                raise TurnBack(verdict.why)

    def _still_ours(self) -> Asked[None]:
        for number, router in enumerate(self.routers):
            self.dials[number] = dial = yield from router.read()
            if dial.token != self.token:
                raise Fenced(self.spec.service, router.host, self.token, dial)

    def _observed_good(self) -> Asked[None]:
        for number, now in enumerate(self.dials):
            manifest = _marked_good(now.manifest, self.candidate)
            yield from self._turn_one(number, replace(now, manifest=manifest))
        yield Note("users", self.tally.to_data())
        yield from self._enter("good", "observed good")

    def _turn_back(self, reason: str, *, promoted: bool) -> Asked[Ended]:
        """All traffic to the slot that was live before: never waits for anything but the routers."""
        yield from self._enter("rolling_back", reason)
        if promoted and not self._live:
            yield Note("users", self.tally.to_data())
            return (yield from self._failed(f"{reason}; there is no former version to go back to"))
        yield from self._commit_live(self._live, 0, reason)
        reply = yield Hold(min(self.spec.interval, 0.5), why="looking whether the traffic is back")
        self._tick(reply)
        yield from self._sample()
        yield Note("users", self.tally.to_data())
        yield from self._enter("rolled_back", reason)
        return Ended("rolled_back", reason)

    def _router_lost(self, error: CiflowError) -> Asked[Ended]:
        """A router failed in mid-rollout: try to turn back; where that fails too, its own dead-man does."""
        try:
            return (yield from self._turn_back(error.message, promoted=self.state == "baking"))
        except (RouterError, TargetError) as again:
            guard = f"the dead-man there gives the traffic back to slot {self._live} within {self.spec.dead_man:.0f} s"
            return (yield from self._failed(f"{again.message}; {guard}"))

    def _failed(self, reason: str) -> Asked[Ended]:
        yield from self._enter("failed", reason)
        return Ended("failed", reason)

    # --- what is written down ----------------------------------------------------------------------------

    def _tick(self, reply: Reply) -> None:
        self.elapsed += reply.duration
        self.now = reply.started or self.now

    def _enter(self, state: str, reason: str, step: CanaryStep | None = None) -> Asked[None]:
        self.state = state
        weight = step.weight if step is not None else None
        yield Note(
            "canary_state", {**self._names(), "state": state, "step": self.step, "weight": weight, "reason": reason}
        )

    def _note_dial(self, weight: int, reason: str) -> Asked[None]:
        data = {"share": self.dials[0].share, "slot": self.candidate, "weight": weight, "verified": True}
        yield Note("dial", {**self._names(), **data, "token": self.token, "reason": reason})

    def _note_gates(self, verdict: Verdict, step: CanaryStep) -> Asked[None]:
        for gate in verdict.gates:
            facts = gate.to_dict()
            yield Note(
                "gate",
                {
                    **self._names(),
                    "name": gate.gate,
                    "verdict": gate.outcome,
                    "evidence": facts["e"],
                    "threshold": facts["threshold"],
                    "sentence": gate.why,
                    "counts": facts["counts"],
                    "step": self.step,
                    "weight": step.weight,
                },
            )

    def _names(self) -> dict[str, str]:
        return {"service": self.spec.service, "version": self.spec.version}

    def _manifest(self, known: tuple[Slot, ...], live: str) -> Manifest:
        """What a rollback needs. The candidate's slot is no place to go back to before it is promoted."""
        slots = []
        for name, slot in sorted(self.spec.slots.items()):
            had = next((s for s in known if s.name == name), slot)
            at = replace(had, address=slot.address, port=slot.port)
            if name == self.candidate:
                promoted = live == self.candidate
                slots.append(replace(slot, version=self.spec.version, usable=promoted))
            elif live == self.candidate and had.version:
                slots.append(replace(at, warm_until=self.now + self.spec.bake + self.spec.keep_warm))
            else:
                slots.append(replace(at, warm_until=0.0))
        hosts = tuple(router.host for router in self.routers)
        why = f"release of {self.spec.version}"
        spec = self.spec
        return Manifest(
            spec.service, spec.router, spec.settings, hosts, tuple(slots), spec.release, spec.who, why, self.now
        )


def _marked_good(manifest: Manifest, slot: str) -> Manifest:
    slots = tuple(replace(s, observed_good=True) if s.name == slot else s for s in manifest.slots)
    return replace(manifest, slots=slots)
