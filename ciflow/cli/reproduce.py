"""`ciflow reproduce`: build twice and say why what comes out is not the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ciflow.cli.options import json_option, state_option
from ciflow.store.place import Place

VARIATIONS = ("path", "home", "user", "timezone", "locale", "umask", "jobs", "files")
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)
_PLACE = click.Path(path_type=Path, resolve_path=True)


@click.command("reproduce")
@click.argument("folder", type=_FOLDER, default=".")
@click.option("--command", "build", default="cargo build --release --locked", show_default=True, help="What builds it.")
@click.option("--output", "outputs", multiple=True, default=("target/release/*",), show_default=True,
              help="Files that it makes, as a pattern; again for more.")  # fmt: skip
@click.option("--vary", multiple=True, type=click.Choice(VARIATIONS), help="Only this is otherwise; again for more.")
@click.option("--exclude", multiple=True, default=("target",), show_default=True, help="Folders that are not copied.")
@click.option("--no-fix", is_flag=True, help="Don't try the fix that is proposed.")
@click.option("-o", "--report", type=_PLACE, metavar="FILE", help="Write the report, as JSON: for `ciflow attest`.")
@json_option
@state_option
def command(
    folder: Path, build: str, outputs: tuple[str, ...], vary: tuple[str, ...], exclude: tuple[str, ...], no_fix: bool,
    report: Path | None, as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Build the source in FOLDER twice, in other places and under other conditions, and compare what comes out.

    Where it differs (exit 4): the least that makes it differ, the cause, the crate, and a fix, which is tried.
    """
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    asked: dict[str, Any] = {
        "chdir": str(folder),
        "command": build,
        "outputs": list(outputs),
        "vary": list(vary or VARIATIONS),
        "exclude": list(exclude),
        "try_fix": not no_fix,
        **({"dest": str(report)} if report else {}),
    }
    with Store.open(state or default_state()) as store:
        code, last = work("reproduce", {"reproduce_asked": asked}, store, subject=str(folder))
    told = last.outcome
    if as_json:
        click.echo(json.dumps(told))
    elif "files" in told:
        _tell(told)
    else:
        click.echo(f"error: {told.get('msg')}", err=True)
    return code


def _tell(told: Mapping[str, Any]) -> None:
    for one in told["files"]:
        same = "same     " if one["sha256"] == one["other"] else "different"
        click.echo(f"{same}  {one['sha256'][:16] or '-':16}  {one['name']}")
    if told["reproducible"]:
        return
    click.echo(f"it takes no more than: {', '.join(told['smallest_variation']) or 'nothing, it differs by itself'}")
    if told["first_crate"]:
        click.echo(f"first crate that differs: {told['first_crate']}")
    for cause in told["causes"]:
        _tell_cause(cause)
    if told.get("fixed") is not None:
        click.echo(f"tried: these lines {'mend it' if told['fixed'] else 'alone do not mend it'}")


def _tell_cause(cause: Mapping[str, Any]) -> None:
    owner = f" ({cause['owner']})" if cause["owner"] else ""
    click.echo(f"{cause['kind']}: {cause['why']}{owner}")
    for where in cause["where"][:4]:
        click.echo(f"  in {where}")
    for one, other in cause["texts"][:3]:
        click.echo(f"  {one!r} is {other!r}")
    click.echo(f"  fix: {cause['fix']}")
    for line in filter(None, cause["before"].split("; ")):
        click.echo(f"    {line}")
