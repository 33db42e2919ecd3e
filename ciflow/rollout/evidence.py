"""Evidence that grows interval by interval and may be looked at after each: e-processes.

An e-process has expectation at most 1 under its null hypothesis at every stopping time, so by Ville's
inequality it ever reaches 1/alpha with probability at most alpha, however often somebody looks.

With d0 the log odds (ratio) of the null, d_j = d0 +- log GRID[j] the alternatives and w_j = 1/6, the process
begun at interval s is a mixture of likelihood ratios, and starts are mixed with weights 1/(s(s+1)):

    E^(s)_K = sum_j w_j prod_{k=s..K} P_dj(x_k) / P_d0(x_k)
    E_K     = sum_{s<=K} E^(s)_K / (s(s+1))  +  1/(K+1)        (starts yet to come count 1)

so that a fault that begins late doesn't pay for the good history before it.
Sources: anytime-valid logrank (arXiv 2011.06931), stratified counts (arXiv 2302.11401), sequential counts at
Netflix (arXiv 2205.14762), mixtures of multinomials (arXiv 2011.03567).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.rollout.counting import (
    Counts,
    paired_log_normalisers,
    paired_pmf,
    single_log_normalisers,
    single_pmf,
    trim,
)

GRID = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times the null's odds the alternatives lie away from it."""

ENOUGH = 0.9
"""The chance of having seen a fault of size `detect` above which a quiet hold counts as good."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An e-process against "the log odds (ratio) is at most `null`" (`sign` +1) or "at least `null`" (-1).

    `log_mass[j]` is the log of what the next interval's ratio of alternative j will multiply: the started
    processes, and with `late` also the start that is due next. Folding costs the same for every interval."""

    null: float
    sign: int
    paired: bool
    late: bool
    intervals: int
    log_mass: tuple[float, ...]

    @classmethod
    def above(cls, odds: float, *, paired: bool = True) -> Evidence:
        """That the candidate is worse than `odds` (odds ratio to stable; odds of its own if not `paired`),
        open to a fault that begins late."""
        return cls(math.log(odds), 1, paired, True, 0, tuple(math.log(0.5 / len(GRID)) for _ in GRID))

    @classmethod
    def below(cls, odds: float, *, paired: bool = True) -> Evidence:
        """That the candidate is better than `odds`, since the first interval added."""
        return cls(math.log(odds), -1, paired, False, 0, tuple(-math.log(len(GRID)) for _ in GRID))

    @property
    def hypotheses(self) -> tuple[float, ...]:
        """Log odds (ratios): the null first, then the alternatives."""
        return (self.null, *(self.null + self.sign * math.log(step) for step in GRID))

    @property
    def log_e(self) -> float:
        """Natural log of E after the intervals added so far; 0 before any."""
        if not self.late:
            return log_sum(self.log_mass)
        # log_mass holds the next start's 1/(s(s+1)) already, so what is left to come is 1/(K+2).
        return log_sum((*self.log_mass, -math.log(self.intervals + 2)))

    @property
    def e(self) -> float:
        """E itself, capped where a float would overflow."""
        return math.exp(min(self.log_e, 700.0))

    def add(self, *strata: Counts, cap: float = math.inf) -> Evidence:
        """The evidence after one more interval, whose strata (one per router) are independent given their margins.

        `cap` bounds each log mass from above. Cutting a nonnegative supermartingale down leaves it one, so this
        is valid, and it lets the evidence recede soon after a state that has passed."""
        mass = [min(m + r, cap) for m, r in zip(self.log_mass, self.log_ratios(strata), strict=True)]
        begun = self.intervals + 1
        if self.late:
            due = -math.log((begun + 1) * (begun + 2) * len(GRID))
            mass = [log_sum((m, due)) for m in mass]
        return replace(self, intervals=begun, log_mass=tuple(mass))

    def log_ratios(self, strata: Iterable[Counts]) -> tuple[float, ...]:
        """log of prod P_dj(x) / P_d0(x) over the strata, for each alternative j."""
        null, *others = self.hypotheses
        bad, z = 0, [0.0] * (1 + len(others))
        for counts in strata:
            bad += counts.e_c
            z = [a + b for a, b in zip(z, log_normalisers(counts, self.hypotheses, self.paired), strict=True)]
        return tuple((d - null) * bad - (z_d - z[0]) for d, z_d in zip(others, z[1:], strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {
            "null": self.null,
            "sign": self.sign,
            "paired": self.paired,
            "late": self.late,
            "intervals": self.intervals,
            "log_mass": list(self.log_mass),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Evidence:
        return cls(data["null"], data["sign"], data["paired"], data["late"], data["intervals"], tuple(data["log_mass"]))


@dataclass(frozen=True, slots=True)
class Power:
    """The chance that this step would have rolled back a candidate whose log odds (ratio) is `odds`.

    Given the margins, each process depends on the step's data only through X, the candidate's bad events of the
    step; X is a sum of independent strata, so its distribution under `odds` is an exact convolution. Starts
    within the step are left out, so the chance is a lower bound and no hold is called good too soon. Once it is
    ENOUGH the distribution is dropped, so the state stays as small as the numbers needed for a decision."""

    odds: float
    log_mass: tuple[float, ...]
    cost: tuple[float, ...]
    first: int
    pmf: tuple[float, ...]
    chance: float

    @classmethod
    def begin(cls, odds: float, evidence: Evidence) -> Power:
        """At the start of a step, with the evidence that the release has gathered until then."""
        return cls(odds, evidence.log_mass, (0.0,) * len(GRID), 0, (1.0,), 0.0)

    @property
    def enough(self) -> bool:
        return self.chance >= ENOUGH

    def add(self, evidence: Evidence, strata: Sequence[Counts], log_threshold: float) -> Power:
        """After one more interval; `evidence` gives the hypotheses, `log_threshold` what E had to reach."""
        informative = [c for c in strata if _informative(c, evidence.paired)]
        if self.enough or not informative:
            return self
        import numpy as np

        null, *others = evidence.hypotheses
        first, pmf, cost = self.first, np.asarray(self.pmf), np.asarray(self.cost)
        for counts in informative:
            low, more = _pmf(counts, self.odds, evidence.paired)
            first, pmf = trim(first + low, np.convolve(pmf, more))
            z_null, *z = log_normalisers(counts, evidence.hypotheses, evidence.paired)
            cost = cost + np.asarray(z) - z_null
        x = first + np.arange(len(pmf))
        log_e = np.logaddexp.reduce(np.asarray(self.log_mass) - cost + np.outer(x, np.asarray(others) - null), axis=1)
        chance = max(self.chance, float(pmf[log_e >= log_threshold].sum()))
        kept = (1.0,) if chance >= ENOUGH else tuple(pmf.tolist())
        return replace(self, cost=tuple(cost.tolist()), first=first, pmf=kept, chance=chance)

    def to_dict(self) -> dict[str, Any]:
        return {
            "odds": self.odds,
            "log_mass": list(self.log_mass),
            "cost": list(self.cost),
            "first": self.first,
            "pmf": list(self.pmf),
            "chance": self.chance,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Power:
        return cls(
            data["odds"],
            tuple(data["log_mass"]),
            tuple(data["cost"]),
            data["first"],
            tuple(data["pmf"]),
            data["chance"],
        )


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How much more stable's bad events vary than independent ones would: phi, for E^(1/phi).

    From each pair of successive intervals of a router, given their sum, comes a chi-square of expectation 1 (the
    standardised hypergeometric); phi is their mean. Differences, not deviations from one mean, so that a base
    rate that drifts isn't taken for dependence (von Neumann 1941, Ann. Math. Stat. 12:367)."""

    last: tuple[Counts, ...] = ()
    total: float = 0.0
    pairs: int = 0

    @property
    def phi(self) -> float:
        """At least 1; 1 before there are two intervals with a bad event."""
        return max(1.0, self.total / self.pairs) if self.pairs else 1.0

    def add(self, strata: Sequence[Counts]) -> Dispersion:
        total, pairs = self.total, self.pairs
        for before, now in zip(self.last, strata, strict=False):
            served, bad = before.n_s + now.n_s, before.e_s + now.e_s
            if before.n_s and now.n_s and 0 < bad < served:
                off = (before.e_s * now.n_s - now.e_s * before.n_s) ** 2
                total += off * (served - 1) / (before.n_s * now.n_s * bad * (served - bad))
                pairs += 1
        return Dispersion(tuple(strata), total, pairs)

    def to_dict(self) -> dict[str, Any]:
        return {"last": [c.to_dict() for c in self.last], "total": self.total, "pairs": self.pairs}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Dispersion:
        return cls(tuple(Counts.from_dict(c) for c in data["last"]), data["total"], data["pairs"])


def log_normalisers(counts: Counts, odds: tuple[float, ...], paired: bool) -> tuple[float, ...]:
    """log Z(d) of a stratum for each d of `odds`, in the paired or the single family."""
    if paired:
        return paired_log_normalisers(counts.n_c, counts.n_s, counts.e_c + counts.e_s, odds)
    return single_log_normalisers(counts.n_c, odds)


def log_sum(terms: Sequence[float]) -> float:
    """log of the sum of e^term, for a few terms."""
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms))


def _pmf(counts: Counts, odds: float, paired: bool) -> tuple[int, Any]:
    if paired:
        return paired_pmf(counts.n_c, counts.n_s, counts.e_c + counts.e_s, odds)
    return single_pmf(counts.n_c, odds)


def _informative(counts: Counts, paired: bool) -> bool:
    """Whether more than one number of the candidate's bad events was possible."""
    if not paired:
        return counts.n_c > 0
    return counts.n_c > 0 and counts.n_s > 0 and 0 < counts.e_c + counts.e_s < counts.n_c + counts.n_s
