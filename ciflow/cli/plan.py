"""`ciflow plan PLAYBOOK`."""

from __future__ import annotations

import json

import click

from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.diagnostics import ExitCode
from ciflow.plan import Stage
from ciflow.plan.compile import tasks_of, text_of
from ciflow.plan.graph import dial


@click.command("plan")
@click.argument("playbook")
@playbook_options
@json_option
def command(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, tags: tuple[str, ...],
    skip_tags: tuple[str, ...], start_at_task: str, as_json: bool,
) -> int:  # fmt: skip
    """Show what a playbook would run and where: plays, needs, hosts, tasks, and the way of the dial."""
    from ciflow.engine.start import Request, prepare
    from ciflow.lang.files import Files

    chosen = selection_of(limit, tags, skip_tags, start_at_task)
    _, plan = prepare(
        Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path()), Files.live()
    )
    for stage in plan.stages:
        click.echo(json.dumps(_data(stage)) if as_json else _text(stage))
    return ExitCode.OK


def _data(stage: Stage) -> dict[str, object]:
    tasks = [{"name": text_of(task.name), "module": task.module} for task in tasks_of(stage.play.tasks)]
    hosts = [host.name for host in stage.hosts]
    return {"play": stage.play.name, "id": stage.id, "needs": list(stage.needs), "hosts": hosts, "tasks": tasks}


def _text(stage: Stage) -> str:
    hosts = ", ".join(host.name for host in stage.hosts[:5]) or "no hosts"
    more = f" and {len(stage.hosts) - 5} more" if len(stage.hosts) > 5 else ""
    after = f"  after {', '.join(stage.needs)}" if stage.needs else ""
    lines = [f"{stage.play.name} [{stage.id}]  on {hosts}{more}{after}"]
    lines += [f"  {text_of(task.name) or task.module}  ({task.module})" for task in tasks_of(stage.play.tasks)]
    if stage.play.canary is not None:
        lines.append(f"  dial: {dial(stage.play.canary)}")
    return "\n".join(lines)
