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
@click.option("--send", is_flag=True, help="Send its trace by OpenTelemetry, where OTEL_* variables say, instead.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@state_option
def command(run: str, form: str | None, output: Path | None, send: bool, state: Place | None) -> int:
    """Write a report of RUN: a page, JUnit XML, JSON, or Markdown; without RUN of the newest."""
    if send:
        from ciflow.cli.telemetry import send_past

        if form or output:
            raise click.UsageError("`--send` writes nothing: leave out `--format` and `--output`")
        send_past(state, run)
        return ExitCode.OK
    wanted = form or (format_of(output) if output else "md")
    put(written(recorded(state, run).record, wanted), output)
    return ExitCode.OK
