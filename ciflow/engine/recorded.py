"""A run of the journal, as its reports have it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import ExitCode
from ciflow.report.humane import ago
from ciflow.report.record import KINDS, Record
from ciflow.store.folds import Release, RunSummary, find_run, history, taken_back
from ciflow.store.store import Store


@dataclass(frozen=True, slots=True)
class Recorded:
    """`run` says how it stands today, `record` what it did; `since` what became of its releases after its end."""

    run: RunSummary
    record: Record
    since: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """As `ciflow show --json` prints it."""
        return {**self.record.data(), "state": self.run.state, "since": [*self.since]}


def recorded(store: Store, run: str) -> Recorded:
    """By its id, or the beginning of it; without one the newest. Raises NoSuch."""
    found, record = find_run(store, run), Record()
    for event in store.events(run=found.run, kinds=KINDS):
        record.event(event)
    released = history(store)
    if found.state == "running":
        record.summary.goes_on()
    record.summary.following = _following(found, released, record.summary.following)
    return Recorded(found, record, tuple(_since(found, released)))


def _following(run: RunSummary, released: Sequence[Release], then: str) -> str:
    """What to type now. At the run's end that was `then`, which later ones may have made wrong."""
    if not run.planned:
        return f"ciflow {run.playbook}" if run.exit == ExitCode.UNREACHABLE else ""
    if run.resumable and taken_back(run.run, released):
        return ""
    if run.state == "interrupted":
        return f"ciflow resume {run.run}"
    if then.startswith("ciflow rollback") and not any(one.run == run.run and one.share for one in released):
        return ""
    return then


def _since(run: RunSummary, released: Sequence[Release]) -> Iterator[str]:
    """What its own end, good or open, did not know yet."""
    mine = [one for one in released if one.run == run.run and not one.share]
    for one in mine if run.planned and run.state != "rolled_back" else ():
        what = {"rolled_back": "was rolled back", "warm": "was followed by another version"}.get(one.state)
        if what:
            yield f"since then {one.service} {one.version} {what}, {ago(time.time() - one.since)}"
