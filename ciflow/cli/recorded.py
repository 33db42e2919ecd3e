"""A run of the journal, as its reports have it."""

from __future__ import annotations

from ciflow.cli.options import journal_of
from ciflow.cli.resume import find_run
from ciflow.dataclass import dataclass
from ciflow.report.record import KINDS, Record
from ciflow.store.folds import RunSummary, history
from ciflow.store.place import Place
from ciflow.store.store import Store


@dataclass(frozen=True, slots=True)
class Recorded:
    """`run` says how it stands today, `record` what it did."""

    run: RunSummary
    record: Record


def recorded(state: Place | None, run: str) -> Recorded:
    """By its id, or the beginning of it; without one the newest. Raises NoSuch."""
    with Store.open(journal_of(state), read_only=True) as store:
        found, record = find_run(store, run), Record()
        for event in store.events(run=found.run, kinds=KINDS):
            record.event(event)
        record.summary.following = _following(store, found, record.summary.following)
    return Recorded(found, record)


def _following(store: Store, run: RunSummary, then: str) -> str:
    """What to type now. At the run's end that was `then`, which later ones may have made wrong."""
    if run.state == "interrupted":
        return f"ciflow resume {run.run}"
    if then.startswith("ciflow rollback") and not any(one.run == run.run and one.share for one in history(store)):
        return ""
    return then
