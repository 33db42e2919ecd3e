"""`ciflow show [RUN]`."""

from __future__ import annotations

import json
import sys
import time

import click

from ciflow.cli.history import run_line
from ciflow.cli.options import json_option, state_option
from ciflow.cli.recorded import recorded
from ciflow.cli.screen import columns
from ciflow.diagnostics import ExitCode
from ciflow.report.console import wants_colour
from ciflow.report.stream import Out
from ciflow.report.text import line, safe
from ciflow.store.place import Place


@click.command("show")
@click.argument("run", default="")
@json_option
@state_option
def command(run: str, as_json: bool, state: Place | None) -> int:
    """Show what RUN came to, on one screen, as it stood at its end; without RUN the newest."""
    found = recorded(state, run)
    if as_json:
        click.echo(json.dumps(found.data()))
        return ExitCode.OK
    head = [line(safe(text)) for text in (run_line(found.run, time.time()), *found.since)]
    Out(sys.stdout, wants_colour(sys.stdout)).lines([*head, *found.record.summary.lines(columns(sys.stdout))])
    return ExitCode.OK
