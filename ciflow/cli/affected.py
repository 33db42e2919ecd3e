"""`ciflow affected`: which crates a change touches, one a line, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch
from ciflow.store.place import Place


@click.command("affected")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--base", default="", metavar="REF", help="What to compare with; the main branch unless said.")
@click.option("--why", default="", metavar="CRATE", help="Only why this one is touched, or that it isn't.")
@click.option("--ignore", multiple=True, metavar="PATTERN", help="Files that no crate reads; again for more.")
@click.option("--offline", is_flag=True, help="Never ask the network.")
@json_option
@state_option
def command(
    folder: Path, base: str, why: str, ignore: tuple[str, ...], offline: bool, as_json: bool, state: Place | None
) -> int:
    """Name the crates of a Rust workspace that a change touches: committed since the base, or not yet."""
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    asked = {
        "affected_folder": str(folder.absolute()),
        "affected_base": base,
        "affected_ignore": list(ignore),
        "affected_offline": offline,
    }
    with Store.open(state or default_state()) as store:
        code, last = work("affected", asked, store, subject=str(folder.absolute()))
    told = last.outcome
    if code:
        click.echo(json.dumps(told) if as_json else f"error: {told.get('msg')}", err=not as_json)
        return code
    if why:
        return _told_why(told, why, as_json=as_json)
    if as_json:
        click.echo(json.dumps({name: value for name, value in told.items() if name not in ("changed", "failed")}))
        return ExitCode.OK
    for name in told["packages"]:
        click.echo(name)
    click.echo(told["msg"], err=True)
    return ExitCode.OK


def _told_why(told: Mapping[str, Any], crate: str, *, as_json: bool) -> int:
    """The chain of one crate. NoSuch where it isn't touched, for a script's sake."""
    chain = told["why"].get(crate)
    if chain is None:
        raise NoSuch(f"{crate} is not touched: {told['msg']}")
    if as_json:
        click.echo(json.dumps({"crate": crate, "why": chain}))
        return ExitCode.OK
    for number, step in enumerate(chain):
        click.echo(f"{'  ' * number}{step}")
    return ExitCode.OK
