"""What routers count: cumulative counters of each slot, and what happened between two samples of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ciflow.dataclass import dataclass, field

BAD = 0.0  # the kind of event that a bad answer is, beside latency edges
WINDOW = 5  # seconds in which a router that can't be told when an interval begins counts a user once


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of one slot. `requests` and `bad` are what gates judge; the rest are parts, or gates of their own.

    bad = 5xx that clients saw + unanswered (left by the client before an answer) + overdue (still open, and too old)
    + diverted (answered by the other slot because this one was down). `slower` maps a latency edge in seconds to the
    requests slower than it.

    With `by:` users are counted beside requests, each once in an interval: `seen` are those who came, and `users` maps
    a kind of event (an edge, or BAD) to how many of them had not met it yet in this release, and how many now did.
    """

    requests: int = 0
    bad: int = 0
    slower: Mapping[float, int] = field(default_factory=dict)
    unanswered: int = 0
    overdue: int = 0
    diverted: int = 0
    client_errors: int = 0  # 4xx
    retries: int = 0
    seen: int = 0
    users: Mapping[float, tuple[int, int]] = field(default_factory=dict)

    def plus(self, more: Counts) -> Counts:
        """Both together."""
        slower = {edge: n + more.slower.get(edge, 0) for edge, n in self.slower.items()}
        return Counts(
            self.requests + more.requests, self.bad + more.bad, slower, self.unanswered + more.unanswered,
            self.overdue + more.overdue, self.diverted + more.diverted, self.client_errors + more.client_errors,
            self.retries + more.retries, self.seen + more.seen, _added(self.users, more.users),
        )  # fmt: skip

    def since(self, before: Counts) -> Counts:
        """What happened after `before`. Nothing is negative (an overdue request may be answered after all), and
        neither `bad` nor `slower` exceeds `requests` (histograms lag behind counters)."""
        requests = max(0, self.requests - before.requests)
        slower = {edge: n - before.slower.get(edge, 0) for edge, n in self.slower.items()}
        return Counts(
            requests,
            min(requests, max(0, self.bad - before.bad)),
            {edge: min(requests, max(0, n)) for edge, n in slower.items()},
            max(0, self.unanswered - before.unanswered),
            max(0, self.overdue - before.overdue),
            max(0, self.diverted - before.diverted),
            self.client_errors - before.client_errors,
            self.retries - before.retries,
            max(0, self.seen - before.seen),
            _risen(self.users, before.users),
        )


Users: TypeAlias = Mapping[float, tuple[int, int]]


def _added(some: Users, more: Users) -> Users:
    pairs = ((kind, numbers, more.get(kind, (0, 0))) for kind, numbers in some.items())
    return {kind: (risk + others, met + new) for kind, (risk, met), (others, new) in pairs}


def _risen(now: Users, before: Users) -> Users:
    pairs = ((kind, numbers, before.get(kind, (0, 0))) for kind, numbers in now.items())
    risen = ((kind, max(0, risk - had), max(0, met - old)) for kind, (risk, met), (had, old) in pairs)
    return {kind: (risk, min(risk, met)) for kind, risk, met in risen}


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters since the router's process began. Another `identity` means another process: counters began anew.

    `position`, in the router's own words, is where counts that are read from a log go on.
    """

    router: str
    identity: str
    at: float  # Unix seconds by the router host's clock
    slots: Mapping[str, Counts]
    position: str = ""


def interval(before: Sample, after: Sample) -> Mapping[str, Counts] | None:
    """Per slot what happened between two samples of one router, or None when it restarted in between."""
    if (before.router, before.identity) != (after.router, after.identity):
        return None
    return {name: now.since(before.slots[name]) for name, now in after.slots.items()}


def bad_before(since: Sample | None, slot: str) -> int:
    """The bad answers that a cumulative counter has already."""
    return since.slots[slot].bad if since is not None else 0
