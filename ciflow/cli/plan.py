"""`ciflow plan PLAYBOOK`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.estimate import history_of
from ciflow.cli.options import (
    inventory_of,
    json_option,
    options_of,
    playbook_options,
    roles_path,
    selection_of,
    state_option,
)
from ciflow.cli.passwords import vault_ids, vault_options
from ciflow.cli.reaching import reach_of, reach_options
from ciflow.cli.terminal import terminal
from ciflow.diagnostics import ExitCode
from ciflow.engine.request import Ready, Request
from ciflow.model import Event, Task
from ciflow.plan import Stage
from ciflow.plan.compile import tasks_of, text_of
from ciflow.plan.graph import dial, stage_data
from ciflow.report.humane import duration
from ciflow.store.place import Place, default_state

if TYPE_CHECKING:
    from ciflow.report.used import Usual


@click.command("plan")
@click.argument("playbook")
@playbook_options
@vault_options
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep the plan for `ciflow apply FILE`.")
@click.option("--detailed-exitcode", is_flag=True, help="Ask the hosts, in check mode: 2 when something would change.")
@reach_options
@click.option("--no-input", is_flag=True, help="Never ask: what only a person could answer is refused.")
@json_option
@state_option
def command(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, plays: tuple[str, ...],
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, out: Path | None,
    detailed_exitcode: bool, as_json: bool, no_input: bool, state: Place | None,
) -> int:  # fmt: skip
    """Show what a playbook would run and where: plays, needs, hosts, tasks, and the way of the dial."""
    from ciflow.engine.request import asked, planned

    chosen = selection_of(limit, plays, tags, skip_tags, start_at_task)
    options = options_of(check=detailed_exitcode)
    reach = reach_of(click.get_current_context(), no_input=no_input)
    request = Request(
        playbook, inventory_of(inventory), extra_vars, chosen, options, roles_path(), reach=reach, vault_ids=vault_ids()
    )
    if out is not None or detailed_exitcode:
        request, ready = asked(request, terminal(no_input=no_input))
    else:
        ready = planned(request, terminal(no_input=no_input))
    history = history_of(ready.plan, state or default_state(), request.playbook)
    for stage in ready.plan.stages:
        usual = history.usual.get(stage.id)
        click.echo(json.dumps(_data(stage, usual)) if as_json else _text(stage, usual))
    if history.estimate is not None:
        click.echo(json.dumps(history.data()) if as_json else history.text())
    if out is not None:
        _keep(out, request, ready, state)
    return _predicted(request, ready, state, as_json=as_json) if detailed_exitcode else ExitCode.OK


def _keep(out: Path, request: Request, ready: Ready, state: Place | None) -> None:
    from ciflow.engine.saved import save
    from ciflow.store.store import Store

    with Store.open(state or default_state()) as store:
        save(out, request, ready, store)
    click.echo(f"kept in {out}; `ciflow apply {out}` runs exactly this", err=True)


def _predicted(request: Request, ready: Ready, state: Place | None, *, as_json: bool) -> int:
    """Check mode's answer: 0 when nothing would change, 2 when something would; else how the check ended."""
    from ciflow.cli.screen import told
    from ciflow.engine.start import apply
    from ciflow.store.store import Store

    changes = Changes()
    with (
        Store.open(state or default_state()) as store,
        told(as_json=False, quiet=as_json, verbose=0, traced=False) as sinks,
    ):
        code = apply(request, store, [*sinks, changes], ready)
    if as_json:
        click.echo(json.dumps({"changes": changes.found}))
    return ExitCode.CHANGES_PENDING if code == ExitCode.OK and changes.found else code


class Changes:
    """A sink that keeps which tasks would change something."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, Any]] = []

    def event(self, event: Event) -> None:
        if event.kind == "task_ended" and event.data.get("status") == "changed":
            self.found.append({"play": event.play, "host": event.host, "task": event.data.get("name", "")})

    def past(self, event: Event) -> None:
        self.event(event)

    def tick(self, now: float) -> None: ...

    def close(self) -> None: ...


def _data(stage: Stage, usual: Usual | None) -> dict[str, object]:
    tasks = [
        {"name": text_of(task.name), "module": task.module, **({"irreversible": True} if task.irreversible else {})}
        for task in tasks_of(stage.play.tasks)
    ]
    usually = {"usual": {"seconds": usual.seconds, "runs": usual.runs}} if usual is not None else {}
    return {**stage_data(stage), "tasks": tasks, **usually}


def _line(task: Task) -> str:
    lasts = "  can't be undone" if task.irreversible else ""
    return f"  {text_of(task.name) or task.module}  ({task.module}){lasts}"


def _text(stage: Stage, usual: Usual | None) -> str:
    hosts = ", ".join(host.name for host in stage.hosts[:5]) or "no hosts"
    more = f" and {len(stage.hosts) - 5} more" if len(stage.hosts) > 5 else ""
    more += ", and those that it has when it begins" if stage.open else ""
    after = f"  after {', '.join(stage.needs)}" if stage.needs else ""
    took = f"  usually {duration(usual.seconds)}" if usual is not None else ""
    lines = [f"{stage.play.name} [{stage.id}]  on {hosts}{more}{after}{took}"]
    lines += [_line(task) for task in tasks_of(stage.play.tasks)]
    if stage.play.canary is not None:
        lines.append(f"  dial: {dial(stage.play.canary)}")
    return "\n".join(lines)
