"""`ciflow licenses check|list|notices`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ciflow.cli.options import json_option, state_option
from ciflow.report.text import safe
from ciflow.store.place import Place
from ciflow.supply.licence_policy import FILE

F = TypeVar("F", bound=Callable[..., Any])


@click.group("licenses")
def group() -> None:
    """The licences of the crates that a Rust workspace uses, as their manifests and sources have them."""


def _options(function: F) -> F:
    for option in (
        click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default="."),
        click.option("--target", default="", help="The platform it is built for, as a triple; this one unless said."),
        json_option,
        state_option,
    ):
        function = option(function)
    return function


@group.command("check")
@click.option("--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), help=f"{FILE} unless said.")
@_options
def check(folder: Path, policy: Path | None, target: str, as_json: bool, state: Place | None) -> int:
    """Hold every crate's licence against the policy. Exit code 4 when one is not taken."""
    asked = {"licenses_policy": str(policy.absolute()) if policy else ""}
    code, told = _told(folder, target, state, asked)
    if as_json:
        click.echo(json.dumps(told))
        return code
    for one in told.get("refused", ()):
        click.echo(safe(f"{one['crate']} {one['version']}  {one['state']}: {one['why']}"))
        click.echo(f"  {' -> '.join(one['chain'])}{'' if one['delivered'] else '  (only in the build)'}")
    for remark in told.get("said", ()):
        click.echo(safe(f"note: {remark}"))
    if code and told.get("refused"):
        click.echo(
            f"error: {len(told['refused'])} of {len(told['crates'])} crates have a licence that is not taken", err=True
        )
        return code
    return _said(code, told)


@group.command("list")
@_options
def list_(folder: Path, target: str, as_json: bool, state: Place | None) -> int:
    """How many crates have which licence, the commonest first; with --json each crate, and what brings it in."""
    code, told = _told(folder, target, state, {"licenses_check": False})
    if as_json:
        click.echo(json.dumps(told))
        return code
    for licence, count in told.get("licenses", {}).items():
        click.echo(safe(f"{count:5}  {licence}"))
    return _said(code, told)


@group.command("notices")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="THIRD-PARTY-NOTICES.txt",
              help="The file; THIRD-PARTY-NOTICES.txt unless said.")  # fmt: skip
@_options
def notices(folder: Path, output: Path, target: str, as_json: bool, state: Place | None) -> int:
    """Write the texts of the licences of all that is delivered, each once, below the crates that bring it."""
    asked = {"licenses_check": False, "licenses_notices": str(output.absolute())}
    code, told = _told(folder, target, state, asked)
    if as_json:
        click.echo(json.dumps({key: value for key, value in told.items() if key != "crates"}))
        return code
    for crate in told.get("without_text", ()):
        click.echo(f"note: {crate} brings no text of its licence")
    return _said(code, told)


def _told(folder: Path, target: str, state: Place | None, asked: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    given = {"licenses_folder": str(folder.absolute()), "licenses_target": target, **asked}
    with Store.open(state or default_state()) as store:
        code, last = work("licenses", given, store, subject=str(folder.absolute()))
    return code, last.outcome


def _said(code: int, told: Mapping[str, Any]) -> int:
    click.echo(safe(f"error: {told.get('msg')}" if code else str(told.get("msg"))), err=bool(code))
    return code
