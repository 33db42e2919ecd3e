"""`pause`, `abort`, `promote`, `approve`, `deny`, `annotate`: words to a run from another terminal."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING

import click

from ciflow.cli.options import journal_of, state_option
from ciflow.diagnostics import ExitCode
from ciflow.store.folds import find_run, history
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store

if TYPE_CHECKING:
    from ciflow.engine.control import Speaker


def say(store: Store, run: str, verb: str, service: str = "", *, full: bool = False) -> int:
    """Put a command into the run's journal, where its process finds it within a fraction of a second.

    Without a `service` it is said to all rollouts of the run.
    """
    from ciflow.engine.control import tell

    tell(store, run, verb, me(), service, full=full)
    watch = f"; `ciflow status --watch {service}` shows what it does" if service else ""
    click.echo(f"{verb}: said to {run}{watch}", err=True)
    return ExitCode.OK


def me() -> Speaker:
    """Whoever types this command."""
    from ciflow.engine.control import Speaker
    from ciflow.engine.who import who

    return Speaker(who())


def _command(verb: str, text: str) -> click.Command:
    @click.command(verb, help=text)
    @click.argument("service", default="", metavar="SERVICE")
    @state_option
    def command(service: str, state: Place | None) -> int:
        with Store.open(state or default_state()) as store:
            return _say_heard(store, service, verb)

    return command


def _say_heard(store: Store, service: str, verb: str, *, full: bool = False) -> int:
    """Said at once; then NoSuch where its machine turns out to be gone, for nobody has heard it there. UsageError where
    no service is said, with those that `verb` may mean."""
    from ciflow.cli.resume import works_on
    from ciflow.engine.control import check_heard, rollout_of
    from ciflow.store.locks import Observer

    if not service:
        moving = {one.service for one in history(store) if one.moves}
        raise click.UsageError(which(verb, moving, none="no rollout is under way"))
    code = say(store, run := rollout_of(store, service), verb, service, full=full)
    check_heard(store, run, verb, service, lambda: works_on(store, find_run(store, run), Observer()))
    return code


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
    from ciflow.engine.control import annotate as write_down

    text = " ".join(reason).strip()
    if not text:
        raise click.UsageError("annotate needs words to write down")
    with Store.open(journal_of(state)) as store:
        found = write_down(store, run, me(), text)
        click.echo(f"written down beside {found}; `ciflow show {found}` has it", err=True)
    return ExitCode.OK


def _answer(run: str, place: Place, reason: str, *, yes: bool) -> int:
    from ciflow.engine.control import answer

    with Store.open(place) as store:
        done = answer(store, run, me(), reason, yes=yes)
        asked = done.asked
        click.echo(f"{'approved' if yes else 'refused'}: {asked.data['prompt']}", err=True)
        if done.resumable:
            click.echo(f"{asked.run} is {done.resumable}: `ciflow resume {asked.run}` goes on by it", err=True)
        for other in done.waiting:
            click.echo(f"still waits: {other.data['prompt']}  `ciflow approve {other.run}`", err=True)
    return ExitCode.OK
