"""What the gates ask of metric providers beside the routers' own counts, interval by interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ciflow.model import Watch
from ciflow.rollout.counting import Counts
from ciflow.rollout.gates import Gate
from ciflow.rollout.judge import Interval, Panel
from ciflow.rollout.metrics import sample, watch
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.thresholds import Sample, Threshold

LONGEST = 10.0  # seconds that one question may take
LEFT = 2.0  # the same, of one that is left to whoever watches a pause
EVERY = 5.0  # seconds between two looks at a counter in a pause
Sources = Mapping[str, Any]


class Asking:
    """The questions of one release. `dead_man` (seconds) bounds how long they take together: whoever waits for a
    metric must be back before the dead-man fires."""

    def __init__(self, gates: Sequence[Gate], dead_man: float) -> None:
        self._queries = {gate.name: gate for gate in gates if gate.kind == "query"}
        self._counters = {gate.name: gate for gate in gates if gate.kind == "slo" and gate.source}
        questions = len(self._queries) + 2 * len(self._counters)
        self._timeout = max(0.5, min(LONGEST, dead_man / 3 / max(1, questions)))
        self._last: dict[str, tuple[float, float]] = {}  # (bad, total) of each counter when it was last read

    def asked(self, interval: Interval, panel: Panel, slot: str, now: float) -> Asked[Interval]:
        """The interval that now ends, with the answers that belong to it; `slot` is the candidate's."""
        samples = {}
        for name in panel.due(interval.step, interval.seconds):
            samples[name] = ((yield from sample(self._queries[name].source[slot], now, self._timeout)),)
        events = {}
        for name, gate in self._counters.items():
            counted = yield from self._counted(gate, gate.source[slot], now)
            events[name] = (counted,) if counted else ()
        return replace(interval, samples=samples, events=events)

    def watches(self, slot: str, now: float, more: int) -> Asked[dict[str, Watch | None]]:
        """What the gates ask, by the gate's name, for a pause that no controller watches: an slo holds while its
        counter has at most `more` bad events beyond those of now, a query while it stays within its limits, with the
        misses in a row that its `failure_limit` allows. None where it can't be asked then (`metrics.watch`)."""
        found: dict[str, Watch | None] = {}
        for name, gate in self._queries.items():
            if gate.threshold is not None and not gate.threshold.dry_run:
                found[name] = None if gate.private else watch(gate.source[slot], LEFT, gate.threshold)
        for name, gate in self._counters.items():
            source = gate.source[slot]["bad"]
            now_bad = yield from sample(source, now, self._timeout)
            known = not now_bad.why and len(now_bad.values) <= 1
            limit = Threshold(max=(_one(now_bad) or 0.0) + more, interval=EVERY)  # no series: nothing bad yet
            found[name] = watch(source, LEFT, limit) if known and not gate.private else None
        return found

    def _counted(self, gate: Gate, sources: Sources, now: float) -> Asked[Counts | None]:
        """What the two counters grew by since they were last read; None where one can't be read or began anew."""
        bad = _one((yield from sample(sources["bad"], now, self._timeout)))
        total = _one((yield from sample(sources["total"], now, self._timeout)))
        before = self._last.pop(gate.name, None)
        if bad is None or total is None:
            return None
        self._last[gate.name] = (bad, total)
        if before is None or bad < before[0] or total < before[1]:
            return None
        served = round(total - before[1])
        return Counts(served, min(served, round(bad - before[0])))


def _one(found: Sample) -> float | None:
    """The number, where there is exactly one; a counter that has not counted yet is no series at all, not 0."""
    return found.values[0] if len(found.values) == 1 and found.values[0] == found.values[0] else None
