"""`ciflow report [RUN]`."""

from __future__ import annotations

from pathlib import Path

import click

from ciflow.cli.options import state_option
from ciflow.cli.output import put
from ciflow.cli.recorded import recorded
from ciflow.diagnostics import ExitCode
from ciflow.report.files import FORMATS, format_of, written
from ciflow.store.place import Place


@click.command("report")
@click.argument("run", default="")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS.values())),
              help="Else what the file's name says (.html, .xml, .json, .md); md on the screen.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@state_option
def command(run: str, form: str | None, output: Path | None, state: Place | None) -> int:
    """Write a report of RUN: a page, JUnit XML, JSON, or Markdown; without RUN of the newest."""
    wanted = form or (format_of(output) if output else "md")
    put(written(recorded(state, run).record, wanted), output)
    return ExitCode.OK
