"""A plain threshold on a query's samples, with the limits that Argo Rollouts names; a pure fold, no statistics.

No sample, NaN, a stale sample, or several series where one is meant is inconclusive, never good.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from ciflow.dataclass import dataclass

Outcome = Literal["good", "hold", "bad", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one query answered: the value of each series, and how old the newest is, in seconds. `why` there is none."""

    values: tuple[float, ...]
    age: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The rule. A step's samples, one `interval` (seconds, at least a rate window) apart, must lie in [min, max].

    More than `failure_limit` outside is bad, more than `inconclusive_limit` without one number is inconclusive;
    good needs `count` samples and, if set, `consecutive` good ones up to the last. `initial_delay` (seconds)
    leaves out the start of a step; a `dry_run` is recorded and decides nothing."""

    min: float = -math.inf
    max: float = math.inf
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive: int = 0
    initial_delay: float = 0.0
    interval: float = 60.0
    count: int = 1
    stale_after: float = 300.0
    dry_run: bool = False

    def classify(self, sample: Sample) -> tuple[Outcome, str]:
        """good, bad or inconclusive for one sample, and why."""
        if not sample.values:
            return "inconclusive", sample.why or "the query answered nothing"
        if len(sample.values) > 1:
            return "inconclusive", f"the query answered {len(sample.values)} series where one is meant"
        value = sample.values[0]
        if math.isnan(value):
            return "inconclusive", "the query answered NaN"
        if sample.age > self.stale_after:
            return "inconclusive", f"the newest sample is {sample.age:.0f} s old"
        if value < self.min:
            return "bad", f"{value:g} is below the minimum {self.min:g}"
        if value > self.max:
            return "bad", f"{value:g} is above the maximum {self.max:g}"
        return "good", f"{value:g} is within its limits"


@dataclass(frozen=True, slots=True)
class Samples:
    """What the samples of the current step came to; times are seconds since the step began."""

    good: int = 0
    bad: int = 0
    inconclusive: int = 0
    run: int = 0
    last_at: float | None = None
    last: str = "no sample yet"

    def due(self, rule: Threshold, at: float) -> bool:
        """Whether a sample taken `at` seconds into the step counts: delay over, one interval after the last."""
        ready = rule.initial_delay if self.last_at is None else self.last_at + rule.interval
        return at >= ready - 1e-9

    def add(self, rule: Threshold, samples: Sequence[Sample], at: float) -> Samples:
        """After the samples that came `at` seconds into the step; at most one counts, and only when it is due."""
        if not samples or not self.due(rule, at):
            return self
        kind, why = rule.classify(samples[-1])
        counted = replace(self, last_at=at, last=why, run=self.run + 1 if kind == "good" else 0)
        if kind == "good":
            return replace(counted, good=self.good + 1)
        if kind == "bad":
            return replace(counted, bad=self.bad + 1)
        return replace(counted, inconclusive=self.inconclusive + 1)

    def outcome(self, rule: Threshold) -> tuple[Outcome, str]:
        """The step's verdict on this query so far, and a sentence of why."""
        if self.bad > rule.failure_limit:
            return "bad", f"{self.bad} samples out of limits, {rule.failure_limit} allowed: {self.last}"
        if self.inconclusive > rule.inconclusive_limit:
            allowed = rule.inconclusive_limit
            return "inconclusive", f"{self.inconclusive} samples without a number, {allowed} allowed: {self.last}"
        if self.good + self.bad + self.inconclusive < max(1, rule.count) or self.good == 0:
            return "hold", f"{self.good} of {max(1, rule.count)} good samples so far: {self.last}"
        if self.run < rule.consecutive:
            return "hold", f"{self.run} good samples in a row of {rule.consecutive} needed: {self.last}"
        return "good", f"{self.good} good samples: {self.last}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "good": self.good,
            "bad": self.bad,
            "inconclusive": self.inconclusive,
            "run": self.run,
            "last_at": self.last_at,
            "last": self.last,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Samples:
        return cls(data["good"], data["bad"], data["inconclusive"], data["run"], data["last_at"], data["last"])
