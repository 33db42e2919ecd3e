"""`ciflow doctor`: what must be so for a playbook to run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import ExitCode, Invalid
from ciflow.lang.files import Files
from ciflow.model import Task


@click.command("doctor")
@click.option("--rbac", "playbook", metavar="PLAYBOOK", required=True, help="The Roles that it needs in its cluster.")
@click.option("-n", "--namespace", default="", help="Where its context has it act, unless its tasks say.")
@click.option("--name", default="ciflow", show_default=True, help="What the Roles are called.")
@playbook_options
@vault_options
@json_option
def command(
    playbook: str, namespace: str, name: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str,
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, as_json: bool,
) -> int:  # fmt: skip
    """Print the least that a playbook may do in a Kubernetes cluster, as Roles to apply there."""
    from ciflow.engine.request import Request, prepare
    from ciflow.lang.yamltext import dump
    from ciflow.plan.rbac import needs_of, roles

    files = live_files()
    chosen = selection_of(limit, tags, skip_tags, start_at_task)
    request = Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path())
    _, plan = prepare(request, files)
    found = needs_of(plan, lambda path, task: _text(path, task, Path(playbook).parent, files))
    made = roles(found.needs, name, namespace)
    for why in found.unknown:
        click.echo(f"warning: {why}: what it needs is missing below", err=True)
    if as_json:
        click.echo(json.dumps({"roles": made, "unknown": list(found.unknown)}))
    else:
        click.echo("---\n".join(dump(one, flow=False, sort=False) for one in made), nl=False)
    return ExitCode.OK


def _text(path: str, task: Task, folder: Path, files: Files) -> str | None:
    """The text of a file or template that a task names, from where the task would take it."""
    for base in (task.base, str(folder)):
        for part in ("templates", "files", ""):
            try:
                return files.read(str(Path(base) / part / path)).decode("utf-8", "replace")
            except Invalid:
                continue
    return None
