"""One kind of bad event of one gate (its errors, or "slower than b"), followed through a release."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.rollout.counting import NOTHING, Counts, log_odds
from ciflow.rollout.evidence import ENOUGH, Dispersion, Evidence, Power, log_sum
from ciflow.rollout.gates import Gate

SICK = 3.0
"""How many times its rate before the release stable's own must be shown to exceed to be called sick."""


@dataclass(frozen=True, slots=True)
class Track:
    """`worse` carries over the whole release; `better`, `low` and `power` are of the current step.

    `worse` and `better` are the e-processes for and against rolling back, `low` shows the candidate's rate below
    the gate's floor, `sick` watches stable itself. `alone` are stable's counts before
    the release, in the candidate's place, `total` the release's, `step` this step's;
    `read`: whether the last interval could be counted at all."""

    edge: float | None
    worse: Evidence
    better: Evidence
    low: Evidence | None
    power: Power
    sick: Evidence | None
    dispersion: Dispersion | None
    total: Counts = NOTHING
    step: Counts = NOTHING
    read: bool = False
    alone: Counts = NOTHING

    @classmethod
    def begin(cls, gate: Gate, edge: float | None, before: Sequence[tuple[Counts, ...]]) -> Track:
        """At the start of a release; `before` are intervals of stable alone, each a tuple of strata."""
        alone = reduce(add, (c.stable_alone() for strata in before for c in strata), NOTHING)
        dispersion = None if gate.by_user else reduce(Dispersion.add, before, Dispersion())
        if gate.kind == "slo":
            return cls._against(gate, edge, math.exp(log_odds(1 - gate.objective)), None, dispersion)
        paired = cls._against(gate, edge, gate.tolerate, gate.detect, dispersion)
        return replace(paired, sick=_sick_watch(alone), alone=alone)

    @classmethod
    def _against(
        cls, gate: Gate, edge: float | None, odds: float, detect: float | None, dispersion: Dispersion | None
    ) -> Track:
        """A track whose null is the odds ratio `odds` to stable, or without `detect` the candidate's own odds."""
        paired = detect is not None
        worse, better = Evidence.above(odds, paired=paired), Evidence.below(odds, paired=paired)
        power = Power.begin(math.log(detect or odds / gate.tolerate * gate.detect), worse)
        return cls(edge, worse, better, _floor(gate), power, None, dispersion)

    def against_record(self, gate: Gate) -> Track:
        """The track for the bake: the candidate alone against stable's recorded rate, before the release and during it
        (plus one bad event, so that a record without any is no promise of perfection), or where stable had no traffic
        against the gate's floor; as it was if it never was a comparison."""
        if not self.worse.paired:
            return Track._against(gate, self.edge, math.exp(self.worse.null), None, self.dispersion)
        bad, requests = self.alone.e_c + self.total.e_s, self.alone.n_c + self.total.n_s
        rate = (bad + 1) / (requests + 2) if requests else gate.floor or 0.5
        return Track._against(gate, self.edge, gate.tolerate * math.exp(log_odds(rate)), None, self.dispersion)

    def add(self, gate: Gate, strata: tuple[Counts, ...]) -> Track:
        """After one more interval; no strata: nothing could be read."""
        dispersion = self.dispersion.add(strata) if self.dispersion and strata else self.dispersion
        phi = dispersion.phi if dispersion else 1.0
        limit = phi * math.log(max(1, len(gate.edges)) / gate.alpha)
        worse, summed = self.worse.add(*strata), reduce(add, strata, NOTHING)
        stable = [c.stable_alone() for c in strata]
        return replace(
            self,
            worse=worse,
            better=self.better.add(*strata),
            low=self.low.add(*strata) if self.low else None,
            power=self.power.add(worse, strata, limit),
            dispersion=dispersion,
            read=bool(strata),
            sick=self.sick.add(*stable, cap=limit + math.log(10)) if self.sick else None,
            total=self.total + summed,
            step=self.step + summed,
        )

    def next_step(self) -> Track:
        """At the start of the next step: what is asked of a step alone begins anew."""
        low = self.low and Evidence.below(math.exp(self.low.null), paired=False)
        better = Evidence.below(math.exp(self.better.null), paired=self.better.paired)
        return replace(self, better=better, low=low, power=Power.begin(self.power.odds, self.worse), step=NOTHING)

    @property
    def phi(self) -> float:
        """Overdispersion of stable's events, at least 1; 1 for events that are independent by design."""
        return self.dispersion.phi if self.dispersion else 1.0

    @property
    def log_e(self) -> float:
        """Log evidence for rolling back, tempered by phi."""
        return self.worse.log_e / self.phi

    def shown(self, limit: float) -> bool:
        """Whether there is positive evidence, of log size `limit`, that the candidate is as good as asked."""
        low = self.low is not None and self.low.log_e / self.phi >= limit
        return self.step.n_c > 0 and (low or self.better.log_e / self.phi >= limit)

    def settled(self, limit: float) -> bool:
        """Whether a hold may end: data still comes in, and a fault would have shown, or the contrary is shown."""
        return self.read and (self.shown(limit) or (self.step.n_c > 0 and self.power.enough))

    def stable_is_sick(self, gate: Gate) -> bool:
        return self.sick is not None and self.sick.log_e / self.phi >= math.log(1 / gate.alpha)

    def accusation(self, gate: Gate) -> str:
        if self.worse.paired:
            return f"{self._rates(gate)}: more than {gate.tolerate:g} times stable's odds is shown"
        return f"{self._rates(gate)}: more than the {self._allowed():.3g} % allowed is shown"

    def acquittal(self, gate: Gate, limit: float) -> str:
        """Why a hold may end on this track."""
        if self.low is not None and self.low.log_e / self.phi >= limit:
            return f"{self._rates(gate)}: shown to be below the floor of {100 * gate.floor:g} %"
        if self.shown(limit):
            return f"{self._rates(gate)}: shown to be within what is tolerated"
        return f"{self._rates(gate)}: a fault of {gate.detect:g} times the odds would have shown in this step"

    def doubt(self, gate: Gate) -> str:
        """Why a hold can't end on this track yet."""
        if not self.read:
            return f"no counts{self._of()} came in the last interval"
        if not self.step.n_c:
            return f"the candidate served no {_noun(gate)}{self._of()} in this step"
        if self.total.e_c + self.total.e_s == self.total.n_c + self.total.n_s:
            return f"every {_noun(gate)} is {self._event()}, so nothing can be told"
        return (
            f"{self._rates(gate)}: a fault of {gate.detect:g} times the odds would have shown with a chance of "
            f"{self.power.chance:.2f}, {ENOUGH:g} needed"
        )

    def _event(self) -> str:
        return "bad" if self.edge is None else f"slower than {self.edge:g} s"

    def _of(self) -> str:
        return "" if self.edge is None else f" ({self._event()})"

    def _rates(self, gate: Gate) -> str:
        """The release's counts in words."""
        t, what = self.total, f"{_noun(gate)}s {self._event()}"
        ours = f"{_percent(t.candidate_rate)} of the candidate's {what} ({t.e_c:,} of {t.n_c:,})"
        if not self.worse.paired:
            return ours
        return f"{ours}, {_percent(t.stable_rate)} of stable's ({t.e_s:,} of {t.n_s:,})"

    def _allowed(self) -> float:
        odds = math.exp(self.worse.null)
        return 100 * odds / (1 + odds)

    def to_dict(self) -> dict[str, Any]:
        return {
            "edge": self.edge,
            "worse": self.worse.to_dict(),
            "better": self.better.to_dict(),
            "low": self.low and self.low.to_dict(),
            "power": self.power.to_dict(),
            "sick": self.sick and self.sick.to_dict(),
            "dispersion": self.dispersion and self.dispersion.to_dict(),
            "total": self.total.to_dict(),
            "step": self.step.to_dict(),
            "read": self.read,
            "alone": self.alone.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Track:
        return cls(
            data["edge"],
            Evidence.from_dict(data["worse"]),
            Evidence.from_dict(data["better"]),
            data["low"] and Evidence.from_dict(data["low"]),
            Power.from_dict(data["power"]),
            data["sick"] and Evidence.from_dict(data["sick"]),
            data["dispersion"] and Dispersion.from_dict(data["dispersion"]),
            Counts.from_dict(data["total"]),
            Counts.from_dict(data["step"]),
            data["read"],
            Counts.from_dict(data["alone"]),
        )


def pooled(tracks: Sequence[Track]) -> float:
    """Log of the mean of the tracks' evidence: a mean of e-processes is one (latency edges)."""
    return log_sum([track.log_e for track in tracks]) - math.log(len(tracks))


def _floor(gate: Gate) -> Evidence | None:
    return Evidence.below(math.exp(log_odds(gate.floor)), paired=False) if gate.floor else None


def _sick_watch(alone: Counts) -> Evidence | None:
    """Against "stable's rate is at most 3 times that before"; None where no rate can be called that."""
    rate = SICK * (alone.e_c + 1) / (alone.n_c + 1)
    return Evidence.above(math.exp(log_odds(rate)), paired=False) if alone.n_c and rate < 1 else None


def _noun(gate: Gate) -> str:
    """What is counted: of a user, one visit in an interval, as long as the event has not met them."""
    return "visit" if gate.by_user else "request"


def _percent(rate: float | None) -> str:
    return "none" if rate is None else f"{100 * rate:.3g} %"
