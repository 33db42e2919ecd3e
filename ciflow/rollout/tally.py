"""What the routers counted, put into the judge's terms, and the totals for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.rollout import counting
from ciflow.rollout.judge import Interval, Judgement
from ciflow.rollout.routers.counts import Counts

Deltas = Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class Tally:
    """Users since the first turn of the dial. `met_fault`: answers of the candidate that were bad."""

    served: int = 0
    failed: int = 0
    met_fault: int = 0
    candidate: int = 0

    def add(self, deltas: Sequence[Deltas], candidate: str) -> Tally:
        both = [counts for delta in deltas for counts in delta.values()]
        ours = [delta[candidate] for delta in deltas if candidate in delta]
        return Tally(
            self.served + sum(c.requests for c in both),
            self.failed + sum(c.bad for c in both),
            self.met_fault + sum(c.bad for c in ours),
            self.candidate + sum(c.requests for c in ours),
        )

    def to_data(self) -> dict[str, Any]:
        return {
            "served": self.served,
            "failed": self.failed,
            "met_fault": self.met_fault,
            "candidate": self.candidate,
        }


def observed(deltas: Sequence[Deltas], candidate: str, stable: str, step: int, weight: int, seconds: float) -> Interval:
    """One interval for the judge: a stratum for each router, `weight` in hundredths of a percent."""
    pairs = [(delta.get(candidate, Counts()), delta.get(stable, Counts())) for delta in deltas]
    edges = sorted({edge for pair in pairs for counts in pair for edge in counts.slower})
    kinds = sorted({kind for pair in pairs for counts in pair for kind in counts.users})
    return Interval(
        step=step,
        weight=weight / 10_000,
        errors=tuple(counting.Counts(c.requests, c.bad, s.requests, s.bad) for c, s in pairs),
        slow={
            edge: tuple(
                counting.Counts(c.requests, c.slower.get(edge, 0), s.requests, s.slower.get(edge, 0)) for c, s in pairs
            )
            for edge in edges
        },
        users={
            kind: tuple(counting.Counts(*c.users.get(kind, (0, 0)), *s.users.get(kind, (0, 0))) for c, s in pairs)
            for kind in kinds
        },
        seconds=seconds,
    )


def interval_data(deltas: Sequence[Deltas], candidate: str, stable: str, step: int, weight: int) -> dict[str, Any]:
    """The same interval for the journal."""
    return {
        "step": step,
        "weight": weight,
        "candidate": _sums(deltas, candidate),
        "stable": _sums(deltas, stable),
    }


def split_is_off(
    deltas: Sequence[Deltas], candidate: str, weight: int, *, testers: bool = False, visits: int = 0
) -> bool:
    """Whether the split that users met is not the dial's, beyond 6 standard deviations of a binomial share.

    At six, chance alone says so once in 10^9 intervals (normal tail); the half request is for continuity. `testers`
    meet the candidate at any share, so that it may have more than its own, and never less. Sticky users are counted
    instead of requests, since one may ask a thousand times as often as another; each up to `visits` times, which makes
    the variance up to that many times as great.
    """
    if not weight:
        return False  # testers, or copies of requests: no share was asked for
    total = sum(_drawn(counts, visits) for delta in deltas for counts in delta.values())
    ours = sum(_drawn(delta[candidate], visits) for delta in deltas if candidate in delta)
    share = weight / 10_000
    bound = 6 * math.sqrt(max(1, visits) * total * share * (1 - share)) + 5 * max(1, visits) + 0.5
    missing = total * share - ours
    return missing > bound or (-missing > bound and not testers)


def _drawn(counts: Counts, visits: int) -> int:
    """What the dial has sent: users where it draws users, else requests."""
    return counts.seen if visits else counts.requests


def _sums(deltas: Sequence[Deltas], slot: str) -> dict[str, int]:
    counts = [delta[slot] for delta in deltas if slot in delta]
    users = {"users": sum(c.seen for c in counts)} if any(c.users for c in counts) else {}
    return {"requests": sum(c.requests for c in counts), "bad": sum(c.bad for c in counts), **users}


def gate_data(gate: Judgement, step: int, weight: int) -> dict[str, Any]:
    """A gate's judgement for the journal."""
    facts = gate.to_dict()
    return {
        "name": gate.gate,
        "verdict": gate.outcome,
        "evidence": facts["e"],
        "threshold": facts["threshold"],
        "sentence": gate.why,
        "counts": facts["counts"],
        "step": step,
        "weight": weight,
    }
