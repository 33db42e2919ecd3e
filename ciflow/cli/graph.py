"""`ciflow graph PLAYBOOK`."""

from __future__ import annotations

import json

import click

from ciflow.cli.options import inventory_of, json_option, playbook_options, roles_path, selection_of
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import ExitCode


@click.command("graph")
@click.argument("playbook")
@playbook_options
@vault_options
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--mermaid", "form", flag_value="mermaid", help="For Markdown pages.")
@json_option
def command(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, plays: tuple[str, ...],
    tags: tuple[str, ...], skip_tags: tuple[str, ...], start_at_task: str, form: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Draw the plays of a playbook: what waits for what, matrices, rollouts."""
    from ciflow.engine.request import Request, prepare
    from ciflow.plan import graph

    chosen = selection_of(limit, plays, tags, skip_tags, start_at_task)
    request = Request(playbook, inventory_of(inventory), extra_vars, chosen, roles_path=roles_path())
    _, plan = prepare(request, live_files())
    if as_json:
        click.echo(json.dumps(graph.data(plan)))
    elif form:
        click.echo(graph.dot(plan) if form == "dot" else graph.mermaid(plan), nl=False)
    else:
        from ciflow.report.text import safe

        for line in graph.tree(plan).splitlines():
            click.echo(safe(line))
    return ExitCode.OK
