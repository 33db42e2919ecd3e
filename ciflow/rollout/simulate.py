"""Replays a canary's steps and gates against assumed rates and traffic, with the judge that production uses.

It answers, before production: how often would a good release be turned back, how soon would a fault be found, and
how many users would have met it. Seeded, so the same question has the same answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ciflow.dataclass import dataclass, field
from ciflow.rollout.counting import Counts, log_odds
from ciflow.rollout.gates import Gate
from ciflow.rollout.judge import Interval, Panel

if TYPE_CHECKING:
    import numpy as np

BEFORE = 12
"""Intervals of stable alone that a simulated release has seen before it turns the dial."""

Ending = Literal["promoted", "rolled_back", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Step:
    """`weight` in (0, 1]; `hold` in seconds; `min_requests` of the candidate."""

    weight: float
    hold: float = 120.0
    min_requests: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is assumed: requests a second over all routers, stable's share of bad ones, stable's share of requests
    slower than each edge (seconds), and the candidate's odds of either as a multiple of stable's, from `fault_after`
    seconds after the first turn of the dial on. `interval`, `warm_up` and `deadline` are seconds."""

    requests_per_second: float
    error_rate: float = 0.01
    slow: Mapping[float, float] = field(default_factory=dict)
    odds_ratio: float = 1.0
    slow_odds_ratio: float = 1.0
    fault_after: float = 0.0
    routers: int = 1
    interval: float = 5.0
    warm_up: float = 30.0
    deadline: float = 7200.0


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated release: how and when it ended (seconds since the first turn of the dial), at which step, and
    `hurt`, the bad answers of the candidate beyond those that stable would have given."""

    ending: Ending
    seconds: float
    step: int
    hurt: float


@dataclass(frozen=True, slots=True)
class Report:
    """Shares of the runs by ending, and over them: seconds from the fault to the rollback (median and 90th
    percentile, None if none was rolled back), seconds to promotion (median), and bad answers too many (mean, 95th
    percentile; each is at most one user)."""

    runs: int
    rolled_back: float
    promoted: float
    inconclusive: float
    detect_median: float | None
    detect_p90: float | None
    promote_median: float | None
    hurt_mean: float
    hurt_p95: float


def simulate(
    steps: Sequence[Step],
    gates: Sequence[Gate],
    traffic: Traffic,
    *,
    runs: int = 200,
    seed: int = 1,
    early: bool = False,
) -> Report:
    """`runs` releases under the same assumptions, each request another user's. Query gates are left out: their samples
    can't be assumed."""
    import numpy as np

    judged = tuple(replace(gate, of="", by_user=False) for gate in gates if gate.kind != "query")
    generator = np.random.default_rng(seed)
    return _report([_release(steps, judged, traffic, generator, early) for _ in range(runs)], traffic.fault_after)


def forecast(
    steps: Sequence[Step],
    gates: Sequence[Gate],
    traffic: Traffic,
    *,
    faults: Sequence[float] = (2, 3, 5, 10),
    runs: int = 200,
    seed: int = 1,
    early: bool = False,
) -> dict[float, Report]:
    """A report for a good release (key 1.0: `rolled_back` is the chance of a false rollback) and for faults that
    multiply the odds of errors and of slowness by each of `faults`."""
    return {
        float(odds): simulate(
            steps, gates, replace(traffic, odds_ratio=odds, slow_odds_ratio=odds), runs=runs, seed=seed, early=early
        )
        for odds in (1.0, *faults)
    }


def worsened(rate: float, odds_ratio: float) -> float:
    """The rate whose odds are `odds_ratio` times those of `rate`; 0 and 1 stay."""
    if not 0 < rate < 1 or odds_ratio == 1:
        return rate
    return 1 / (1 + math.exp(-log_odds(rate)) / odds_ratio)


def _release(
    steps: Sequence[Step], gates: Sequence[Gate], traffic: Traffic, generator: np.random.Generator, early: bool
) -> Run:
    alone = [_interval(-1, 0.0, traffic, 0.0, generator) for _ in range(BEFORE)]
    panel, now, hurt = Panel.begin(gates, before=alone, early=early), 0.0, 0.0
    for number, step in enumerate(steps):
        turned = now
        while True:
            interval = _interval(number, step.weight, traffic, now, generator)
            hurt += _too_many(interval, traffic, now)
            now += traffic.interval
            if now - turned <= traffic.warm_up:
                continue
            panel = panel.observe(interval)
            verdict = panel.verdict(
                now - turned >= step.hold, min_requests=step.min_requests, expired=now >= traffic.deadline
            )
            if verdict.outcome == "bad":
                return Run("rolled_back", now, number, hurt)
            if verdict.outcome == "inconclusive":
                return Run("inconclusive", now, number, hurt)
            if verdict.outcome == "good":
                break
    return Run("promoted", now, len(steps), hurt)


def _interval(step: int, weight: float, traffic: Traffic, now: float, generator: np.random.Generator) -> Interval:
    faulty = now >= traffic.fault_after
    served = list(_served(weight, traffic, generator))

    def strata(rate: float, odds_ratio: float) -> tuple[Counts, ...]:
        ours = worsened(rate, odds_ratio if faulty else 1.0)
        return tuple(
            Counts(n_c, int(generator.binomial(n_c, ours)), n_s, int(generator.binomial(n_s, rate)))
            for n_c, n_s in served
        )

    slow = {edge: strata(rate, traffic.slow_odds_ratio) for edge, rate in traffic.slow.items()}
    return Interval(step, weight, strata(traffic.error_rate, traffic.odds_ratio), slow, seconds=traffic.interval)


def _served(weight: float, traffic: Traffic, generator: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Requests of candidate and stable on each router. The evidence is conditional on them, so the split is taken
    even, with the fraction of a request left to chance."""
    whole = traffic.requests_per_second * traffic.interval / traffic.routers
    for _ in range(traffic.routers):
        candidate = int(whole * weight + generator.random())
        yield candidate, max(0, round(whole) - candidate)


def _too_many(interval: Interval, traffic: Traffic, now: float) -> float:
    """Bad answers that the fault adds in the interval, in expectation, of whichever kind has most of them (one
    request can be both an error and slow)."""
    if now < traffic.fault_after:
        return 0.0
    kinds = [
        (interval.errors, traffic.error_rate, traffic.odds_ratio),
        *((interval.slow[b], rate, traffic.slow_odds_ratio) for b, rate in traffic.slow.items()),
    ]
    return max(sum(c.n_c for c in strata) * (worsened(rate, odds) - rate) for strata, rate, odds in kinds)


def _report(runs: Sequence[Run], fault_after: float) -> Report:
    import numpy as np

    back = [run.seconds - fault_after for run in runs if run.ending == "rolled_back"]
    promoted = [run.seconds for run in runs if run.ending == "promoted"]
    hurt = [run.hurt for run in runs]
    return Report(
        len(runs),
        len(back) / len(runs),
        len(promoted) / len(runs),
        sum(run.ending == "inconclusive" for run in runs) / len(runs),
        float(np.median(back)) if back else None,
        float(np.quantile(back, 0.9)) if back else None,
        float(np.median(promoted)) if promoted else None,
        float(np.mean(hurt)),
        float(np.quantile(hurt, 0.95)),
    )
