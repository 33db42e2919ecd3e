"""Which artifacts runs and slots of this machine need: a fold over events."""

from __future__ import annotations

from collections.abc import Iterator

from ciflow.store.folds import FULL, RunSummary, history, summaries, to_keep
from ciflow.store.store import Store


def holds(store: Store) -> dict[str, str]:
    """Why nobody may remove it, by digest: a run that is open left or took it, or a slot that has traffic, or may have
    it again at once, runs the release of such a run."""
    reasons = dict(_open_runs(store)) | dict(_slots(store))
    return {
        str(event.data["sha256"]): reasons[event.run]
        for event in store.events(kinds=("artifact",))
        if event.run in reasons
    }


def _open_runs(store: Store) -> Iterator[tuple[str, str]]:
    """Runs that go on or may be resumed. One that failed is given up once a later one of its playbook went well."""
    well: set[str] = set()
    for run in summaries(store):  # the newest first
        if run.state == "ok" and not run.check:
            well.add(run.playbook)
        elif _is_open(run) and not (run.state == "failed" and run.playbook in well):
            yield run.run, f"run {run.run} is {run.state}"


def _is_open(run: RunSummary) -> bool:
    return not run.check and run.state in ("running", "interrupted", "paused", "failed")


def _slots(store: Store) -> Iterator[tuple[str, str]]:
    """Runs whose release is the newest in its slot, or has a share of the traffic, or can be deployed again by a
    rollback: the way forth and the ways back."""
    seen: set[tuple[str, str]] = set()
    releases = history(store)
    again = to_keep(releases)
    for release in releases:
        slot = (release.service, release.slot)
        where = f"{release.version} in slot {release.slot} of {release.service}"
        if release.share:
            yield release.run, f"{where} has {release.share / FULL:.0%} of the traffic"
        elif slot not in seen or release.run in again:
            yield release.run, f"{where} is a way back"
        seen.add(slot)
