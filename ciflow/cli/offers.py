"""What can be done about what is there, each as the words of a command: what `ciflow interactive` offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ciflow.cli.values import playbooks_in
from ciflow.dataclass import dataclass
from ciflow.engine.approve import may_answer
from ciflow.engine.control import unanswered
from ciflow.model import Event
from ciflow.report.board import BAD
from ciflow.store.folds import Release, RunSummary, history, summaries, taken_back
from ciflow.store.place import Place
from ciflow.store.store import Store

RECENT = 5  # runs that are over and shown
OPEN = ("running", "paused", "interrupted")


@dataclass(frozen=True, slots=True)
class Offer:
    """`words` behind `ciflow`, empty for the one that makes a command of choices. `asks`: it changes something, and is
    asked about; a rollback changes something and is not, for whoever wants one has no time, and it is safe."""

    said: str
    words: Sequence[str] = ()
    asks: bool = False


@dataclass(frozen=True, slots=True)
class There:
    """All that is there: runs, the newest first; releases; approvals that runs wait for; the task that failed last with
    its run; playbooks."""

    runs: Sequence[RunSummary] = ()
    releases: Sequence[Release] = ()
    approvals: Sequence[Event] = ()
    failed: tuple[str, str] = ("", "")
    playbooks: Sequence[str] = ()

    @property
    def open(self) -> tuple[RunSummary, ...]:
        return tuple(run for run in self.runs if run.state in OPEN)

    @property
    def recent(self) -> tuple[RunSummary, ...]:
        return tuple(run for run in self.runs if run.state not in OPEN)[:RECENT]


def look(place: Place) -> There:
    playbooks = tuple(path for folder in ("", "playbooks/") for path in playbooks_in(folder) if path.isprintable())
    if not place.exists():
        return There(playbooks=playbooks)
    with Store.open(place, read_only=True) as store:
        runs = summaries(store)
        lives = {run.run for run in runs if run.state in OPEN}
        return There(
            tuple(runs),
            tuple(history(store)),
            tuple(event for event in unanswered(store) if event.run in lives),
            _failed(store, runs),
            playbooks,
        )


def _failed(store: Store, runs: Sequence[RunSummary]) -> tuple[str, str]:
    """The run that failed last, if it is among the newest, and its first task that did."""
    run = next((run.run for run in runs[:RECENT] if run.state in ("failed", "rolled_back")), "")
    ended = store.events(run, ("task_ended",)) if run else iter(())
    return run, next((str(event.data.get("name", "")) for event in ended if event.data["status"] in BAD), "")


def offers(there: There, who: str) -> list[Offer]:
    """The most urgent first."""
    return [
        *_of_services(there), *_of_approvals(there, who), *_of_runs(there), *_looks(there),
        *([Offer("apply a playbook: choose plays, tags and hosts")] if there.playbooks else []),
    ]  # fmt: skip


def _of_services(there: There) -> Iterator[Offer]:
    running = {run.run for run in there.runs if run.state == "running"}
    for service in dict.fromkeys(release.service for release in there.releases):
        of = [release for release in there.releases if release.service == service]
        moving = next((one for one in of if one.moves and one.run in running), None)
        if moving is not None or any(one.share for one in of):
            at = positional(service)
            newest = moving or next(one for one in of if one.share)
            yield Offer(f"roll {service} {newest.version} back", ("rollback", *at))
            yield Offer(f"see whether {service} could be rolled back now", ("rollback", "--rehearse", *at))
        if moving is not None:
            name = f"{service} {moving.version}"
            yield Offer(f"follow the rollout of {name}", ("status", "--watch", *at))
            if moving.state == "paused":
                yield Offer(f"go on with the rollout of {name}", ("resume", *positional(moving.run)), asks=True)
            else:
                yield Offer(f"pause the rollout of {name}", ("pause", *at), asks=True)
            yield Offer(f"end the hold of {name}, and take its next step", ("promote", *at), asks=True)
            yield Offer(f"abort the rollout of {name}: all traffic back", ("abort", *at), asks=True)


def _of_approvals(there: There, who: str) -> Iterator[Offer]:
    for event in there.approvals:
        if may_answer(who, event.data.get("approvers", ())):
            asked = f"{event.data['prompt']} ({event.run})"
            yield Offer(f"say yes: {asked}", ("approve", *positional(event.run)), asks=True)
            yield Offer(f"say no: {asked}", ("deny", *positional(event.run)), asks=True)


def _of_runs(there: There) -> Iterator[Offer]:
    for run in (*there.open, *there.recent):
        if run.resumable and not taken_back(run.run, there.releases):
            what = f"go on with {run.run}, {run.state}: {run.playbook}"
            yield Offer(what, ("resume", *positional(run.run)), asks=True)


def _looks(there: There) -> Iterator[Offer]:
    run, task = there.failed
    if task:
        yield Offer(f"what `{task}` said when it failed", ("logs", *positional(run, task)))
    if there.runs:
        newest = there.runs[0].run
        yield Offer(f"what {newest} came to", ("show", *positional(newest)))
        yield Offer("all runs", ("history",))


def positional(*words: str) -> tuple[str, ...]:
    """Arguments, also where one looks like an option."""
    return ("--", *words) if any(word.startswith("-") for word in words) else words
