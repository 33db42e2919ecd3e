"""`ciflow logs RUN [TASK]`."""

from __future__ import annotations

import json
import time

import click

from ciflow.cli.options import journal_of, json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch
from ciflow.model import Event
from ciflow.report.humane import moment
from ciflow.report.said import INNER, log_data, output_of, said_of
from ciflow.report.text import safe
from ciflow.store.folds import find_run
from ciflow.store.place import Place
from ciflow.store.store import Store


@click.command("logs")
@click.argument("run", default="")
@click.argument("task", default="")
@click.option("--host", default="", help="Only this host.")
@json_option
@state_option
def command(run: str, task: str, host: str, as_json: bool, state: Place | None) -> int:
    """Show what RUN did, in order; with TASK (its name, or part of it) also what it printed on each host."""
    with Store.open(journal_of(state), read_only=True) as store:
        found = find_run(store, run)
        events = [e for e in store.events(run=found.run) if e.kind not in INNER and (not host or e.host in ("", host))]
    if task:
        events = [e for e in events if e.kind == "task_ended" and task.lower() in str(e.data.get("name", "")).lower()]
        if not events:
            raise NoSuch(f"{found.run} has no task named like `{task}`", help=f"`ciflow logs {found.run}` lists them")
    for event in events:
        if as_json:
            click.echo(json.dumps(log_data(event)))
        else:
            click.echo(_line(event, full=bool(task)))
    return ExitCode.OK


def _line(event: Event, *, full: bool) -> str:
    where = safe("  ".join(part for part in (event.play, event.host) if part))
    head = f"{moment(event.at, time.time())}  {event.kind:<16} {where}"
    said = said_of(event)
    text = f"{head}  {safe(said)}" if said else head
    if not full:
        return text
    return "\n".join([text, *map(safe, output_of(event))])
