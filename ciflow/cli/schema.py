"""`ciflow schema [NAME]`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ciflow.diagnostics import CiflowError, ExitCode, NoSuch


@click.command("schema")
@click.argument("name", default="")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")
def command(name: str, out: Path | None) -> int:
    """JSON Schema (2020-12) of a playbook, of one of its parts, or of a module's arguments, for editors."""
    from ciflow.lang.export import PARTS, exported
    from ciflow.lang.modulenames import short
    from ciflow.lang.schema import verbs

    name = short(name)
    if name and name not in PARTS and name not in verbs():
        raise NoSuch(f"there is no schema of {name}", help=f"parts are {', '.join(PARTS)}; `ciflow doc` lists modules")
    text = json.dumps(exported(name), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return ExitCode.OK
    try:
        out.write_text(text)
    except OSError as error:
        raise CiflowError(f"the schema can't be written to {out}: {error.strerror}") from error
    return ExitCode.OK
