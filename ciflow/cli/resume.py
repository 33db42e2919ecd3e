"""`ciflow resume [RUN]`."""

from __future__ import annotations

import click

from ciflow.cli.options import json_option, state_option
from ciflow.cli.passwords import vault_ids, vault_options
from ciflow.cli.screen import hushing, told
from ciflow.cli.terminal import terminal
from ciflow.diagnostics import NoSuch
from ciflow.store.folds import RunSummary, summaries
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store


@click.command("resume")
@click.argument("run", default="")
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
    """Take up RUN where it was cut off; without RUN the newest that can be resumed.

    A rollout that somebody paused, and whose run lives, goes on where it runs.
    """
    from ciflow.cli.control import say
    from ciflow.engine.start import resume
    from ciflow.engine.who import who

    with Store.open(state or default_state()) as store:
        found = find_run(store, run, resumable=not run)
        if found.state == "running":
            return say(store, found.run, "resume")
        with told(as_json=as_json, quiet=quiet, verbose=verbose) as sinks:
            person = terminal(no_input=no_input, hushed=hushing(sinks))
            others = "" if workers == "none" else workers
            return resume(
                found.run, store, sinks, who=who(), person=person, vault_ids=vault_ids(), others=others
            )


def find_run(store: Store, run: str, *, resumable: bool = False) -> RunSummary:
    """A run by its id or the beginning of it; without one the newest (that is running or can be resumed)."""
    every = summaries(store)
    if run:
        matching = [one for one in every if one.run == run] or [one for one in every if one.run.startswith(f"{run}-")]
        if len(matching) == 1:
            return matching[0]
        raise NoSuch(f"no run is called {run}", help="`ciflow history` lists them")
    wanted = [one for one in every if not resumable or one.resumable or one.state == "running"]
    if not wanted:
        raise NoSuch("there is no run to resume" if resumable else "nothing was run yet")
    return wanted[0]
