"""`ciflow report [RUN]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ciflow.cli.options import state_option
from ciflow.cli.recorded import Recorded, recorded
from ciflow.diagnostics import CiflowError, ExitCode
from ciflow.report.record import Record
from ciflow.store.place import Place, default_state

FORMATS = {".html": "html", ".xml": "junit", ".json": "json", ".md": "md"}  # by what a file's name ends with


@click.command("report")
@click.argument("run", default="")
@click.option("--format", "form", type=click.Choice(tuple(FORMATS.values())),
              help="Else what the file's name says (.html, .xml, .json, .md); md on the screen.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file.")
@state_option
def command(run: str, form: str | None, output: Path | None, state: Place | None) -> int:
    """Write a report of RUN: a page, JUnit XML, JSON, or Markdown; without RUN of the newest."""
    wanted = form or (FORMATS.get(output.suffix, "") if output else "md")
    if not wanted:
        raise click.UsageError(f"the name {output} doesn't say which format is wanted: say --format, too")
    content = _written(recorded(state or default_state(), run), wanted)
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return ExitCode.OK
    from ciflow.report.junit import write_whole

    try:
        write_whole(output, content)
    except OSError as error:
        raise CiflowError(f"the report can't be written to {output}: {error.strerror}") from error
    return ExitCode.OK


def _written(found: Recorded, form: str) -> bytes:
    record: Record = found.record
    if form == "html":
        from ciflow.report.html import html

        return html(record)
    if form == "junit":
        from ciflow.report.junit import junit

        return junit(record)
    if form == "md":
        from ciflow.report.markdown import markdown

        return markdown(record).encode()
    return json.dumps(found.data(), indent=2).encode() + b"\n"
