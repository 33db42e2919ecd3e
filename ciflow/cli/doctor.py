"""`ciflow doctor`: what must be so for a playbook to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ciflow.cli.cache import KINDS
from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of, state_option
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import ExitCode, Invalid
from ciflow.lang.files import Files
from ciflow.model import Task
from ciflow.store.place import Place

SETTINGS = ("linker", "debug", "split-debuginfo", "incremental", "codegen-units")


@click.command("doctor")
@click.option("--rbac", "playbook", metavar="PLAYBOOK", default="", help="The Roles that it needs in its cluster.")
@click.option("--measure", metavar="FOLDER", default="", help="Which settings of the compiler pay for a workspace.")
@click.option("--release", is_flag=True, help="Measure builds as for delivery.")
@click.option("--try", "tried", type=click.Choice(SETTINGS), multiple=True, help="Only this; again for more.")
@click.option("--cache", type=click.Choice(("none", *KINDS)), default="none", help="Measure builds out of it as well.")
@click.option("--offline", is_flag=True, help="Never ask the network.")
@state_option
@click.option("-n", "--namespace", default="", help="Where its context has it act, unless its tasks say.")
@click.option("--name", default="ciflow", show_default=True, help="What the Roles are called.")
@playbook_options
@vault_options
@json_option
def command(
    playbook: str, measure: str, release: bool, tried: tuple[str, ...], cache: str, offline: bool, state: Place | None,
    namespace: str, name: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str,
    plays: tuple[str, ...], tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, as_json: bool,
) -> int:  # fmt: skip
    """Print the Roles that a playbook needs in its cluster, or which settings of the compiler pay here."""
    if bool(playbook) == bool(measure):
        raise click.UsageError("say --rbac PLAYBOOK or --measure FOLDER")
    if measure:
        asked = {"folder": str(Path(measure).absolute()), "release": release, "cache": cache, "offline": offline}
        return _measured(asked | ({"settings": list(tried)} if tried else {}), state, as_json=as_json)
    from ciflow.engine.request import Request, prepare
    from ciflow.engine.rights import rights_of
    from ciflow.lang.yamltext import dump
    from ciflow.plan.rbac import roles

    files = live_files()
    chosen = selection_of(limit, plays, tags, skip_tags, start_at_task)
    request = Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path())
    loaded, plan = prepare(request, files)
    found = rights_of(loaded, plan, lambda path, task: _text(path, task, Path(playbook).parent, files))
    made = roles(found.needs, name, namespace)
    for why in found.unknown:
        click.echo(f"warning: {why}: what it needs is missing below", err=True)
    if as_json:
        click.echo(json.dumps({"roles": made, "unknown": list(found.unknown)}))
    else:
        click.echo("---\n".join(dump(one, flow=False, sort=False) for one in made), nl=False)
    return ExitCode.OK


def _measured(asked: Mapping[str, Any], state: Place | None, *, as_json: bool) -> int:
    """A table of what was tried, and lines for .cargo/config.toml."""
    from ciflow.cli.working import work
    from ciflow.store.place import default_state
    from ciflow.store.store import Store

    variables = {f"measure_{name}": value for name, value in asked.items()}
    with Store.open(state or default_state()) as store:
        code, last = work("compile-settings", variables, store, subject=str(asked["folder"]))
    told = last.outcome
    if as_json:
        click.echo(json.dumps({name: told.get(name) for name in ("msg", "measured", "proposed")}))
    elif code:
        click.echo(f"error: {told.get('msg')}", err=True)
    else:
        click.echo(f"{'':<26} {'from nothing':>18} {'after an edit':>18}")
        for line in (*told["table"], "", told["msg"], *told["proposed"].splitlines()):
            click.echo(line)
    return code


def _text(path: str, task: Task, folder: Path, files: Files) -> str | None:
    """The text of a file or template that a task names, from where the task would take it."""
    for base in (task.base, str(folder)):
        for part in ("templates", "files", ""):
            try:
                return files.read(str(Path(base) / part / path)).decode("utf-8", "replace")
            except Invalid:
                continue
    return None
