"""What is shown, as data: the folds of the commands, by the same names. `docs/serve.md` has its schema.

Nothing is reckoned here. `status`, `history`, `show` and `logs` give what those commands print with `--json`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import NoSuch
from ciflow.engine.control import unanswered
from ciflow.engine.recorded import Recorded, recorded
from ciflow.model import Event
from ciflow.report.follow import KINDS, Followed, FollowedRollout
from ciflow.report.record import rollout_data
from ciflow.report.said import INNER, log_data
from ciflow.store.artifacts import open_shelf
from ciflow.store.artifacts.records import Entry
from ciflow.store.folds import Doing, Release, RunSummary, doing, find_run, history, standing, summaries
from ciflow.store.store import Store

LINES = 1000  # events of a log in one answer, at the most
RUNS = 50  # of the history, unless more are asked for


@dataclass(frozen=True, slots=True)
class Service:
    """`releases` are those with traffic or a rollout under way, else the newest; the newest first. `rollout` is the one
    under way, or the last, and `run` what it belongs to; `listens`: its process takes words."""

    name: str
    releases: tuple[Release, ...]
    rollout: FollowedRollout | None = None
    run: str = ""
    listens: bool = False


@dataclass(frozen=True, slots=True)
class Overview:
    """One screen: what waits for somebody, what has the traffic, what runs."""

    services: tuple[Service, ...]
    waiting: tuple[Event, ...]
    runs: tuple[RunSummary, ...]
    doing: Mapping[str, Sequence[Doing]] = field(default_factory=dict)  # of those that run


def overview(store: Store) -> Overview:
    every, released = summaries(store), history(store)
    names = sorted({one.service for one in released})
    found = tuple(_service(store, name, [one for one in released if one.service == name], every) for name in names)
    at = doing(store, [run.run for run in every if run.state == "running"])
    return Overview(found, tuple(_waiting(store, every)), tuple(every[:RUNS]), at)


def _service(store: Store, name: str, releases: list[Release], every: list[RunSummary]) -> Service:
    shown = tuple(one for one in releases if one.share or one.moves) or tuple(releases[:1])
    begun = max((one for one in releases if one.play), key=lambda one: one.token, default=None)
    if begun is None:
        return Service(name, shown)
    followed = Followed()
    for event in store.events(begun.run, KINDS):
        followed.event(event)
    runs = any(run.run == begun.run and run.state == "running" for run in every)
    return Service(name, shown, followed.rollouts.get(begun.play), begun.run, runs and begun.moves)


def _waiting(store: Store, every: list[RunSummary]) -> Iterator[Event]:
    """Questions that are not too late to answer."""
    goes_on = {run.run for run in every if run.state == "running" or run.resumable}
    now = time.time()
    return (e for e in unanswered(store) if e.run in goes_on and not 0 < float(e.data.get("until") or 0) < now)


def status(store: Store) -> dict[str, Any]:
    return standing(store).data()


def services(store: Store) -> list[dict[str, Any]]:
    return [
        {"service": one.name, "releases": [asdict(release) for release in one.releases], "run": one.run,
         "listens": one.listens, "rollout": rollout_data(one.rollout.dial) if one.rollout else None}
        for one in overview(store).services
    ]  # fmt: skip


def summaries_of(store: Store, most: int) -> list[RunSummary]:
    return summaries(store)[:most]


def runs(store: Store, most: int) -> list[dict[str, Any]]:
    return [asdict(run) for run in summaries_of(store, most)]


def history_of(store: Store, service: str) -> list[Release]:
    """Raises NoSuch for a service that this journal doesn't know."""
    found = history(store, service)
    if not service or not found:
        raise NoSuch(f"nothing was released as {service} from here")
    return found


def releases(store: Store, service: str) -> list[dict[str, Any]]:
    return [asdict(one) for one in history_of(store, service)]


def show(store: Store, run: str) -> Recorded:
    """Raises NoSuch."""
    return recorded(store, exact(store, run).run)


def exact(store: Store, run: str) -> RunSummary:
    """By its whole id only: what is acted on is what was shown. Raises NoSuch."""
    found = find_run(store, run) if run else None
    if found is None or found.run != run:
        raise NoSuch(f"no run is called {run}")
    return found


def log(store: Store, run: str, task: str, host: str, after: int) -> dict[str, Any]:
    """Events of a run, at most LINES of them; `next` is what to ask for the rest with, None where that was all. With
    `task`, what it came to, by the name of the task or its path."""
    exact(store, run)
    found: list[Event] = []
    kinds = ("task_ended",) if task else ()
    for event in store.events(run, kinds, after):
        if event.kind in INNER or (host and event.host not in ("", host)):
            continue
        if task and task != event.task and task.lower() not in str(event.data.get("name", "")).lower():
            continue
        if len(found) == LINES:
            return {"events": [log_data(one) for one in found], "next": found[-1].seq}
        found.append(event)
    return {"events": [log_data(one) for one in found], "next": None}


def ended(store: Store, run: str, play: str, task: str) -> list[Event]:
    """What one task of a play came to on each host, the last word of each, with its output."""
    exact(store, run)
    last: dict[str, Event] = {}
    for event in store.events(run, ("task_ended",)):
        if (event.play, event.task) == (play, task):
            last[event.host] = event
    if not last:
        raise NoSuch(f"{run} has no such task")
    return list(last.values())


def approvals(store: Store) -> list[dict[str, Any]]:
    return [question(event) for event in _waiting(store, summaries(store))]


def question(event: Event) -> dict[str, Any]:
    return {"run": event.run, "play": event.play, "at": event.at, **event.data}


def artifacts(store: Store) -> list[Entry]:
    """What lies on this machine, and nothing else: a page that others look at fetches nothing from elsewhere."""
    return open_shelf(store.path).entries()
