"""Words to a run from elsewhere: another terminal, the page, a webhook. They are put into its journal, where its
process finds them within a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from ciflow.dataclass import dataclass
from ciflow.diagnostics import NoSuch, Refused
from ciflow.engine.approve import may_answer
from ciflow.model import Event
from ciflow.store.folds import find_run, history, summary
from ciflow.store.locks import Observer
from ciflow.store.store import Store


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who says it, for the record, and the `way` that it came: the page, the API, a webhook; "" for a command."""

    who: str
    way: str = ""

    def data(self) -> dict[str, object]:
        return {"by": self.who, **({"way": self.way} if self.way else {})}


@dataclass(frozen=True, slots=True)
class Answered:
    """The question that was answered, those that still wait, and whether its run has to be resumed to hear it."""

    asked: Event
    waiting: tuple[Event, ...] = ()
    resumable: str = ""  # the state of the run, where no process listens


def tell(store: Store, run: str, verb: str, speaker: Speaker, service: str = "", *, full: bool = False) -> None:
    """Put a command into the run's journal. Without a `service` it is said to all rollouts of the run."""
    data: dict[str, object] = {"verb": verb, **speaker.data(), "full": full}
    if service:
        data["service"] = service
    store.append([Event(kind="command", run=run, at=time.time(), data=data)])


def check_heard(store: Store, run: str, verb: str, service: str, works: Callable[[], bool] | None = None) -> None:
    """NoSuch where the machine of a run turns out to be gone, for nobody has heard there what was said. `works` looks
    whether a process works on it, which may take a lock's term where that is another machine's."""
    if works() if works is not None else store.locks.works_on(run, Observer()):
        return
    found = summary(store, run, ours=True)
    if found is None or found.exit is None:  # else it has ended meanwhile, perhaps for what was said
        raise NoSuch(
            f"nobody works on {run} any more: `{verb}` was not heard",
            help=f"`ciflow resume {run}` goes on with it, `ciflow rollback {service}` turns it back at once",
        )


def rollout_of(store: Store, service: str) -> str:
    """The run whose rollout of `service` is under way. Raises NoSuch where none is, with what there is."""
    for release in history(store, service):
        found = summary(store, release.run)
        if found is None or not release.moves:
            continue
        if found.state == "running":
            return release.run
        if found.resumable:
            raise NoSuch(
                f"the rollout of {service} {release.version} is {found.state}: no process listens",
                help=f"`ciflow resume {release.run}` goes on with it, `ciflow rollback {service}` turns it back",
            )
    known = any(history(store, service))
    what = f"no rollout of {service} is under way" if known else f"nothing was released as {service} from here"
    raise NoSuch(what, help="`ciflow status` shows what runs")


def answer(store: Store, run: str, speaker: Speaker, reason: str, *, yes: bool, play: str = "") -> Answered:
    """Say yes or no to the play of `run` that waits for somebody's word; without `run` to the newest that waits.

    Raises NoSuch where nothing waits, and Refused where `speaker` is none of its approvers.
    """
    wanted, *others = waiting(store, run, play)
    approvers = wanted.data.get("approvers", ())
    if not may_answer(speaker.who, approvers):
        raise Refused(f"{speaker.who} is no approver of {wanted.play}", help=f"{', '.join(approvers)} may answer")
    data = {**speaker.data(), "yes": yes, "reason": reason}
    store.append([Event(kind="approval_given", run=wanted.run, play=wanted.play, at=time.time(), data=data)])
    found = summary(store, wanted.run)
    state = found.state if found is not None and found.resumable else ""
    return Answered(wanted, tuple(others), state)


def waiting(store: Store, run: str = "", play: str = "") -> list[Event]:
    """What nobody has answered who may, the newest first. Raises NoSuch where there is nothing."""
    found = [
        event for event in unanswered(store)
        if (not run or event.run == run or event.run.startswith(f"{run}-")) and (not play or event.play == play)
    ]  # fmt: skip
    if not found:
        raise NoSuch("nothing waits for an approval", help="`ciflow status` shows what runs")
    return found


def unanswered(store: Store) -> list[Event]:
    """All `approval_wanted` without an answer of somebody who may give it, the newest first."""
    asked = list(store.events(kinds=("approval_wanted",)))
    approvers = {(e.run, e.play): e.data.get("approvers", ()) for e in asked}
    given = {
        (e.run, e.play)
        for e in store.events(kinds=("approval_given",))
        if may_answer(str(e.data.get("by", "")), approvers.get((e.run, e.play), ()))
    }
    return [e for e in reversed(asked) if (e.run, e.play) not in given]


def annotate(store: Store, run: str, speaker: Speaker, text: str) -> str:
    """Write beside a run why it was done, or what came of it; gives the run. Raises NoSuch."""
    found = find_run(store, run)
    data = {**speaker.data(), "reason": text}
    store.append([Event(kind="annotation", run=found.run, at=time.time(), data=data)])
    return found.run
