"""`pause`, `abort`, `promote`, `approve`, `deny`, `annotate`: words to a run from another terminal."""

from __future__ import annotations

import time
from collections.abc import Set

import click

from ciflow.cli.options import journal_of, state_option
from ciflow.diagnostics import ExitCode, NoSuch, Refused
from ciflow.model import Event
from ciflow.store.folds import history
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store


def say(store: Store, run: str, verb: str, service: str = "", *, full: bool = False) -> int:
    """Put a command into the run's journal, where its process finds it within a fraction of a second.

    Without a `service` it is said to all rollouts of the run.
    """
    tell(store, run, verb, service, full=full)
    watch = f"; `ciflow status --watch {service}` shows what it does" if service else ""
    click.echo(f"{verb}: said to {run}{watch}", err=True)
    return ExitCode.OK


def tell(store: Store, run: str, verb: str, service: str = "", *, full: bool = False) -> None:
    """The same without a word on the screen."""
    from ciflow.engine.who import who

    data: dict[str, object] = {"verb": verb, "by": who(), "full": full}
    if service:
        data["service"] = service
    store.append([Event(kind="command", run=run, at=time.time(), data=data)])


def _command(verb: str, text: str) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("service", default="", metavar="SERVICE")
    @state_option
    def command(service: str, state: Place | None) -> int:
        with Store.open(state or default_state()) as store:
            return _say_heard(store, service, verb)

    return command


def _say_heard(store: Store, service: str, verb: str, *, full: bool = False) -> int:
    """Said at once; then NoSuch where its machine turns out to be gone, for nobody has heard it there."""
    from ciflow.cli.resume import find_run, works_on
    from ciflow.store.folds import summary
    from ciflow.store.locks import Observer

    code = say(store, run := rollout_of(store, service, verb), verb, service, full=full)
    if works_on(store, find_run(store, run), Observer()):
        return code
    found = summary(store, run, ours=True)
    if found is None or found.exit is None:  # else it has ended meanwhile, perhaps for what was said
        raise NoSuch(
            f"nobody works on {run} any more: `{verb}` was not heard",
            help=f"`ciflow resume {run}` goes on with it, `ciflow rollback {service}` turns it back at once",
        )
    return code


def rollout_of(store: Store, service: str, verb: str) -> str:
    """The run whose rollout of `service` is under way. Raises NoSuch where none is, with what there is, and UsageError
    where no service is said, with those that `verb` may mean."""
    from ciflow.store.folds import summary

    if not service:
        moving = {one.service for one in history(store) if one.moves}
        raise click.UsageError(which(verb, moving, none="no rollout is under way"))
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


pause = _command("pause", "Hold the rollout of SERVICE where it is; `ciflow resume` goes on.")
abort = _command("abort", "Turn the rollout of SERVICE back.")


def which(verb: str, services: Set[str], *, none: str) -> str:
    """Who calls a command in a hurry without a name is told those that there are."""
    return f"which service? {' or '.join(f'`ciflow {verb} {name}`' for name in sorted(services)) or none}"


@click.command("promote")
@click.argument("service", default="", metavar="SERVICE")
@click.option("--full", is_flag=True, help="Skip all steps that are left, not just this hold.")
@state_option
def promote(service: str, full: bool, state: Place | None) -> int:
    """End the hold that SERVICE's rollout is in and take the next step."""
    with Store.open(state or default_state()) as store:
        return _say_heard(store, service, "promote", full=full)


@click.command("approve")
@click.argument("run", default="")
@click.option("--no", "refuse", is_flag=True, help="Say no, as `deny` does.")
@click.option("--reason", default="", help="Why; recorded.")
@state_option
def approve(run: str, refuse: bool, reason: str, state: Place | None) -> int:
    """Say yes to the play of RUN that waits for somebody's word; without RUN to the newest that waits."""
    return _answer(run, state or default_state(), reason, yes=not refuse)


@click.command("deny")
@click.argument("run", default="")
@click.option("--reason", default="", help="Why; recorded.")
@state_option
def deny(run: str, reason: str, state: Place | None) -> int:
    """Say no to the play of RUN that waits for somebody's word; without RUN to the newest that waits."""
    return _answer(run, state or default_state(), reason, yes=False)


@click.command("annotate")
@click.argument("run")
@click.argument("reason", nargs=-1, required=True)
@state_option
def annotate(run: str, reason: tuple[str, ...], state: Place | None) -> int:
    """Write beside RUN why it was done, or what came of it. Nothing that stands there is changed."""
    from ciflow.cli.resume import find_run
    from ciflow.engine.who import who

    text = " ".join(reason).strip()
    if not text:
        raise click.UsageError("annotate needs words to write down")
    with Store.open(journal_of(state)) as store:
        found = find_run(store, run)
        store.append([Event(kind="annotation", run=found.run, at=time.time(), data={"by": who(), "reason": text})])
        click.echo(f"written down beside {found.run}; `ciflow show {found.run}` has it", err=True)
    return ExitCode.OK


def _answer(run: str, place: Place, reason: str, *, yes: bool) -> int:
    from ciflow.engine.approve import may_answer
    from ciflow.engine.who import who
    from ciflow.store.folds import summary

    with Store.open(place) as store:
        wanted, *others = _waiting(store, run)
        approvers = wanted.data.get("approvers", ())
        if not may_answer(who(), approvers):
            raise Refused(f"{who()} is no approver of {wanted.play}", help=f"{', '.join(approvers)} may answer")
        data = {"by": who(), "yes": yes, "reason": reason}
        store.append([Event(kind="approval_given", run=wanted.run, play=wanted.play, at=time.time(), data=data)])
        click.echo(f"{'approved' if yes else 'refused'}: {wanted.data['prompt']}", err=True)
        found = summary(store, wanted.run)
        if found is not None and found.resumable:
            click.echo(f"{found.run} is {found.state}: `ciflow resume {found.run}` goes on by it", err=True)
        for other in others:
            click.echo(f"still waits: {other.data['prompt']}  `ciflow approve {other.run}`", err=True)
    return ExitCode.OK


def _waiting(store: Store, run: str) -> list[Event]:
    """What nobody has answered who may, the newest first. Raises NoSuch where there is nothing."""
    from ciflow.engine.approve import may_answer

    asked = list(store.events(kinds=("approval_wanted",)))
    approvers = {(e.run, e.play): e.data.get("approvers", ()) for e in asked}
    given = {
        (e.run, e.play)
        for e in store.events(kinds=("approval_given",))
        if may_answer(str(e.data.get("by", "")), approvers.get((e.run, e.play), ()))
    }
    wanted = [e for e in reversed(asked) if (e.run, e.play) not in given]
    matching = [event for event in wanted if not run or event.run == run or event.run.startswith(f"{run}-")]
    if not matching:
        raise NoSuch("nothing waits for an approval", help="`ciflow status` shows what runs")
    return matching
