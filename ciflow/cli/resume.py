"""`ciflow resume [RUN]`."""

from __future__ import annotations

import click

from ciflow.cli.options import json_option, state_option
from ciflow.cli.passwords import vault_ids, vault_options
from ciflow.cli.screen import hushing, told
from ciflow.cli.terminal import terminal
from ciflow.diagnostics import NoSuch
from ciflow.store.folds import RunSummary, find_run, summaries
from ciflow.store.locks import Observer
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store


@click.command("resume")
@click.argument("run", default="", metavar="[RUN|SERVICE]")
@click.option("-v", "--verbose", count=True, help="Every task; -vv their output too.")
@click.option("-q", "--quiet", is_flag=True, help="Failures and the end only.")
@click.option("--workers", metavar="WHERE", help="Others than before: local:N, tls://HOST:PORT, or none.")
@click.option("--no-input", is_flag=True, help="Never ask: what only a person could answer is refused.")
@vault_options
@json_option
@state_option
def command(
    run: str, verbose: int, quiet: bool, workers: str | None, no_input: bool, as_json: bool, state: Place | None
) -> int:
    """Take up RUN where it was cut off; without RUN the newest that is paused or can be resumed.

    RUN may also be a service, whose newest rollout is meant. A rollout that somebody paused, and whose run lives, goes
    on where it runs.
    """
    from ciflow.cli.control import say
    from ciflow.engine.start import resume
    from ciflow.engine.who import who

    with Store.open(state or default_state()) as store:
        observer = Observer()
        found = to_resume(store, run, observer)
        if found.state == "running" and works_on(store, found, observer):
            return say(store, found.run, "resume")
        with told(as_json=as_json, quiet=quiet, verbose=verbose) as sinks:
            person = terminal(no_input=no_input, hushed=hushing(sinks))
            others = "" if workers == "none" else workers
            return resume(
                found.run, store, sinks, who=who(), person=person, vault_ids=vault_ids(), others=others,
                observer=observer,
            )  # fmt: skip


def works_on(store: Store, found: RunSummary, observer: Observer) -> bool:
    """Whether a process works on a run that has no end. Where only time can tell, a person is told what is waited
    for."""
    holder = found.holder
    if holder is not None and not holder.lives() and observer.fresh:
        where = f"process {holder.pid} on {holder.host or 'this machine'}"
        text = f"{found.run}: looking whether {where} still works on it; that takes up to {observer.term:.0f} s"
        click.echo(text, err=True)
    return store.locks.works_on(found.run, observer)


def to_resume(store: Store, name: str, observer: Observer) -> RunSummary:
    """A run by its name (`find_run`); without one the newest that waits for it, or that was left by a process that is
    no more."""
    if name:
        return find_run(store, name)
    for one in summaries(store):
        if one.resumable or (one.state == "running" and _paused(store, one.run)):
            return one
        if one.state == "running" and one.planned and not one.check and not works_on(store, one, observer):
            return one
    raise NoSuch("there is no run to resume", help="`ciflow status` shows what runs")


def _paused(store: Store, run: str) -> bool:
    """Whether its rollout is paused, or was just told to."""
    said = [str(e.data.get("verb") or e.data["state"]) for e in store.events(run, ("command", "canary_state"))]
    return said[-1:] in (["pause"], ["paused"])
