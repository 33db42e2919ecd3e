"""The judge of a release: from counts per interval to good, hold, bad or inconclusive, with the sentence of why.

Pure: `panel = panel.observe(interval)`, then `panel.verdict(step_ended)`. `to_dict` gives the journal all that a
restarted controller needs to go on with `Panel.from_dict`. docs/judge.md explains the statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.rollout.counting import NOTHING, Counts
from ciflow.rollout.gates import Gate, gates_from
from ciflow.rollout.thresholds import Outcome, Sample, Samples, Threshold
from ciflow.rollout.tracks import Track, pooled

__all__ = ["Counts", "Gate", "Interval", "Judgement", "Panel", "Sample", "Verdict", "gates_from", "judge"]


@dataclass(frozen=True, slots=True)
class Interval:
    """What was counted in one interval, each tuple one stratum per router, in the same order every time.

    `weight` is the candidate's share in [0, 1]; `slow[b]` counts requests slower than b seconds as bad;
    `users[b]` counts users who had met nothing of the kind before (0: a bad answer), and those who then did;
    `events[name]` are counters other than the router's errors; `samples[gate]` what its query answered.
    An empty tuple or a missing key means that nothing could be read. `seconds` is the interval's length."""

    step: int
    weight: float
    errors: tuple[Counts, ...] = ()
    slow: Mapping[float, tuple[Counts, ...]] = field(default_factory=dict)
    users: Mapping[float, tuple[Counts, ...]] = field(default_factory=dict)
    events: Mapping[str, tuple[Counts, ...]] = field(default_factory=dict)
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    seconds: float = 5.0

    def strata(self, gate: Gate, edge: float | None) -> tuple[Counts, ...]:
        """The counts that a gate (and edge of it) is about."""
        if gate.by_user:
            return self.users.get(edge or 0.0, ())
        if edge is not None:
            return self.slow.get(edge, ())
        return self.events.get(gate.of, ()) if gate.of else self.errors

    @property
    def candidate_requests(self) -> int:
        """Requests that the candidate served, as the most complete of the counters says."""
        return max((sum(c.n_c for c in strata) for strata in (self.errors, *self.slow.values())), default=0)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One gate's part of a verdict: outcome, why, the release's counts so far, E and the 1/alpha it is held to.

    `shown`: there is positive evidence for the candidate, not just the absence of evidence against it."""

    gate: str
    outcome: Outcome
    why: str
    counts: Counts = NOTHING
    e: float = 1.0
    threshold: float = math.inf
    shown: bool = False
    approximate: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For the journal and for screens; the threshold of a gate without alpha is None."""
        limit = self.threshold if math.isfinite(self.threshold) else None
        return {
            "gate": self.gate,
            "outcome": self.outcome,
            "why": self.why,
            "counts": self.counts.to_dict(),
            "candidate_rate": self.counts.candidate_rate,
            "stable_rate": self.counts.stable_rate,
            "e": self.e,
            "threshold": limit,
            "shown": self.shown,
            "approximate": self.approximate,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """good: go on; hold: stay; bad: turn back; inconclusive: the deadline passed, or a query has no answer."""

    outcome: Outcome
    why: str
    gates: tuple[Judgement, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "why": self.why, "gates": [gate.to_dict() for gate in self.gates]}


State = tuple[Track, ...] | Samples


def judge(gate: Gate, state: State) -> Judgement:
    """One gate's judgement from its state: bad, good (a hold may end on it) or hold; a query also inconclusive."""
    if isinstance(state, Samples):
        outcome, why = state.outcome(gate.threshold or Threshold())
        return Judgement(gate.name, outcome, f"{gate.name}: {why}", shown=outcome == "good")
    log_e, worst = pooled(state), max(state, key=lambda track: track.log_e)
    limit = math.log(1 / gate.alpha)
    shown = all(track.shown(limit) for track in state)
    if log_e >= limit:
        outcome, why = "bad", worst.accusation(gate)
    else:
        silent = next((track for track in state if not track.settled(limit)), None)
        outcome, why = ("hold", silent.doubt(gate)) if silent else ("good", worst.acquittal(gate, limit))
    e = math.exp(min(log_e, 700.0))
    numbers = f" (E = {e:.3g}, 1/alpha = {1 / gate.alpha:.4g}{', approximate' if worst.phi > 1 else ''})"
    return Judgement(
        gate.name, outcome, f"{gate.name}: {why}{numbers}", worst.total, e, 1 / gate.alpha, shown, worst.phi > 1
    )


@dataclass(frozen=True, slots=True)
class Panel:
    """All gates of a release and what they know. Frozen: `observe` gives the next one.

    `elapsed` (seconds) and `requests` (the candidate's) are of the current step, `sick_seconds` how long stable
    has been shown sick without a break."""

    gates: tuple[Gate, ...]
    states: tuple[State, ...]
    early: bool = False
    sick_for: float = 60.0
    step: int | None = None
    elapsed: float = 0.0
    requests: int = 0
    sick_seconds: float = 0.0

    @classmethod
    def begin(
        cls, gates: Sequence[Gate], *, before: Sequence[Interval] = (), early: bool = False, sick_for: float = 60.0
    ) -> Panel:
        """Before the first turn of the dial. `before`: intervals of stable alone, from which come the rate that
        "stable is sick" is measured against and the first estimate of dependence; without them the rule rests."""
        return cls(tuple(gates), tuple(_state(gate, before) for gate in gates), early, sick_for)

    def observe(self, interval: Interval) -> Panel:
        """After one more interval. An interval of a new step closes the former step's part of the evidence."""
        panel = self if interval.step == self.step else self._next_step(interval.step)
        at = panel.elapsed + interval.seconds
        states = tuple(_observed(gate, state, interval, at) for gate, state in panel._pairs())
        sick = _sick(panel.gates, states) is not None
        return replace(
            panel,
            states=states,
            elapsed=at,
            requests=panel.requests + interval.candidate_requests,
            sick_seconds=panel.sick_seconds + interval.seconds if sick else 0.0,
        )

    def verdict(self, step_ended: bool, *, min_requests: int = 0, expired: bool = False) -> Verdict:
        """What to do now. `step_ended`: the hold's time is over. `expired`: so is the release's deadline."""
        every = tuple(judge(gate, state) for gate, state in self._pairs())
        binding = [j for j, gate in zip(every, self.gates, strict=True) if not _dry(gate)]
        accused = next((j for j in binding if j.outcome == "bad"), None)
        if accused:
            return Verdict("bad", accused.why, every)
        if self.sick_seconds:
            return self._sick_verdict(every, expired)
        unanswered = next((j for j in binding if j.outcome == "inconclusive"), None)
        if unanswered:
            return Verdict("inconclusive", unanswered.why, every)
        waiting = self._waiting_for(binding, step_ended, min_requests, expired)
        if waiting is None:
            return Verdict("good", _together(binding) or "no gate judges this release", every)
        return Verdict("inconclusive" if expired else "hold", waiting, every)

    @property
    def stable_is_sick(self) -> str:
        """The sentence that stable itself is shown to be sick, or nothing."""
        return _sick(self.gates, self.states) or ""

    def due(self, step: int, seconds: float = 0.0) -> tuple[str, ...]:
        """Names of the query gates whose sample would count in an interval of so many seconds that now ends."""
        panel = self if step == self.step else self._next_step(step)
        return tuple(
            gate.name
            for gate, state in panel._pairs()
            if isinstance(state, Samples) and state.due(gate.threshold or Threshold(), panel.elapsed + seconds)
        )

    def baking(self) -> Panel:
        """The panel for the time after promotion, when no stable traffic is left: comparisons become one-sample
        gates against the rate that stable had during the release. Evidence starts anew."""
        states = tuple(
            tuple(track.against_record(gate) for track in state) if isinstance(state, tuple) else Samples()
            for gate, state in self._pairs()
        )
        return Panel(self.gates, states, early=False, sick_for=self.sick_for)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the gates themselves come from the playbook again."""
        states = [
            [track.to_dict() for track in state] if isinstance(state, tuple) else state.to_dict()
            for state in self.states
        ]
        return {
            "states": states,
            "early": self.early,
            "sick_for": self.sick_for,
            "step": self.step,
            "elapsed": self.elapsed,
            "requests": self.requests,
            "sick_seconds": self.sick_seconds,
        }

    @classmethod
    def from_dict(cls, gates: Sequence[Gate], data: Mapping[str, Any]) -> Panel:
        """The panel that `to_dict` wrote, for the same gates; ValueError if their number differs."""
        if len(gates) != len(data["states"]):
            raise ValueError(f"the journal holds {len(data['states'])} gates, the playbook {len(gates)}")
        states = tuple(
            tuple(map(Track.from_dict, state)) if isinstance(state, list) else Samples.from_dict(state)
            for state in data["states"]
        )
        return cls(
            tuple(gates),
            states,
            data["early"],
            data["sick_for"],
            data["step"],
            data["elapsed"],
            data["requests"],
            data["sick_seconds"],
        )

    def _pairs(self) -> Iterator[tuple[Gate, State]]:
        return zip(self.gates, self.states, strict=True)

    def _next_step(self, step: int) -> Panel:
        states = tuple(
            tuple(track.next_step() for track in state) if isinstance(state, tuple) else Samples()
            for state in self.states
        )
        return replace(self, states=states, step=step, elapsed=0.0, requests=0)

    def _waiting_for(
        self, binding: Sequence[Judgement], step_ended: bool, min_requests: int, expired: bool
    ) -> str | None:
        """What the hold still waits for; None when it may end as good."""
        if self.requests < min_requests:
            return f"{self.requests:,} of the {min_requests:,} requests that the candidate must have served"
        unsettled = next((j for j in binding if j.outcome != "good"), None)
        if unsettled:
            return unsettled.why
        agreed = self.early and bool(binding) and all(j.shown for j in binding)
        if not step_ended and not agreed:
            if expired:
                return "the deadline came before this hold had ended; nothing speaks against the candidate"
            return _together(binding) or "the hold isn't over"
        return None

    def _sick_verdict(self, judgements: tuple[Judgement, ...], expired: bool) -> Verdict:
        why = f"{self.stable_is_sick}, for {self.sick_seconds:.0f} s now; the candidate may have caused it"
        if self.sick_seconds >= self.sick_for:
            return Verdict("bad", why, judgements)
        return Verdict("inconclusive" if expired else "hold", why, judgements)


def _state(gate: Gate, before: Sequence[Interval]) -> State:
    if gate.kind == "query":
        return Samples()
    return tuple(
        Track.begin(gate, edge, [interval.strata(gate, edge) for interval in before]) for edge in gate.edges or (None,)
    )


def _observed(gate: Gate, state: State, interval: Interval, at: float) -> State:
    if isinstance(state, Samples):
        return state.add(gate.threshold or Threshold(), interval.samples.get(gate.name, ()), at)
    return tuple(track.add(gate, interval.strata(gate, track.edge)) for track in state)


def _dry(gate: Gate) -> bool:
    return gate.threshold is not None and gate.threshold.dry_run


def _together(judgements: Sequence[Judgement]) -> str:
    return " · ".join(j.why for j in judgements)


def _sick(gates: Sequence[Gate], states: Sequence[State]) -> str | None:
    """The sentence that stable itself is shown to be sick, or None."""
    for gate, state in zip(gates, states, strict=True):
        for track in state if isinstance(state, tuple) else ():
            if track.stable_is_sick(gate):
                return f"{gate.name}: stable itself is shown to be more than 3 times worse than before the release"
    return None
