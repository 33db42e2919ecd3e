"""`ciflow apply PLAYBOOK`, or a plan that `ciflow plan --out` kept."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ciflow.cli.listing import Listing
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
from ciflow.cli.screen import Reports, hushing, told
from ciflow.cli.terminal import terminal
from ciflow.diagnostics import ExitCode
from ciflow.engine.connect import NOTHING_SAID
from ciflow.plan import Plan
from ciflow.store.place import Place, default_state


@click.command("apply")
@click.argument("playbook")
@playbook_options
@vault_options
@click.option("-C", "--check", is_flag=True, help="Predict, change nothing.")
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@click.option(
    "-f",
    "--forks",
    type=click.IntRange(min=0),
    default=0,
    help="At most so many hosts at once; 0: what this machine bears.",
)
@click.option(
    "--workers", default="", metavar="WHERE", help="Share hosts between workers: local:N, or tls://HOST:PORT."
)
@click.option("--force-handlers", is_flag=True, help="Run notified handlers though a task failed.")
@click.option("--flush-cache", is_flag=True, expose_value=False, help="Changes nothing: each run reads facts anew.")
@click.option("--no-skip", is_flag=True, help="Run plays though a run before passed them with the same inputs.")
@click.option("--no-notify", is_flag=True, help="Tell nobody whom the playbook notifies.")
@click.option("--step", is_flag=True, help="Ask about each task whether to run it.")
@click.option("--list-hosts", is_flag=True, help="Only list the hosts of each play.")
@click.option("--list-tasks", is_flag=True, help="Only list the tasks of each play.")
@click.option("--list-tags", is_flag=True, help="Only list the tags of each play.")
@click.option("--syntax-check", is_flag=True, help="Only check the playbook, as `ciflow validate` does.")
@reach_options
@click.option("--no-input", is_flag=True, help="Never ask: what only a person could answer is refused.")
@click.option("-v", "--verbose", count=True, help="Every task; -vv their output too.")
@click.option("-q", "--quiet", is_flag=True, help="Failures and the end only.")
@click.option("--replace-warm", is_flag=True, help="Give up the warm version that a rollback would go back to.")
@click.option("--break-glass", default="", metavar="REASON", help="Take locks that somebody holds; recorded.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit report.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Write a report, as its name says: .html, .xml (JUnit), .json, .md.",
)
@json_option
@state_option
def command(
    playbook: str, inventory: tuple[str, ...], extra_vars: tuple[str, ...], limit: str, plays: tuple[str, ...],
    tags: tuple[str, ...],
    skip_tags: tuple[str, ...], start_at_task: str, check: bool, diff: bool, forks: int,
    workers: str, force_handlers: bool, no_skip: bool, no_notify: bool, step: bool,
    list_hosts: bool, list_tasks: bool, list_tags: bool,
    syntax_check: bool, no_input: bool, verbose: int, quiet: bool, replace_warm: bool, break_glass: str,
    junit: Path | None, reports: tuple[Path, ...], as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Run a playbook, from its first play to the end of its rollout; or exactly what a plan file says."""
    from ciflow.engine.request import Request, password_of, planned
    from ciflow.engine.saved import is_plan, read, ready, same_extra
    from ciflow.engine.start import apply
    from ciflow.lang.passwords import read_vault
    from ciflow.store.store import Store

    listing = Listing(hosts=list_hosts, tasks=list_tasks, tags=list_tags, syntax=syntax_check)
    options = options_of(
        check=check, diff=diff, forks=forks, verbose=verbose, replace_warm=replace_warm, break_glass=break_glass,
        force_handlers=force_handlers, step=step, no_skip=no_skip, no_notify=no_notify, workers=workers,
        traced=not listing,
    )  # fmt: skip
    reach = NOTHING_SAID if listing else reach_of(click.get_current_context(), no_input=no_input)
    chosen = selection_of(limit, plays, tags or (("all,never",) if list_tags else ()), skip_tags, start_at_task)
    request = Request(
        playbook, inventory_of(inventory), extra_vars, chosen, options, roles_path(), reach=reach, vault_ids=vault_ids()
    )
    if step and workers:
        raise click.UsageError("`--step` asks at a terminal, which workers don't have")
    kept = is_plan(playbook)
    if kept and (inventory or limit or plays or tags or skip_tags or start_at_task):
        raise click.UsageError("a plan says itself which hosts and tasks are meant; plan again with these options")
    if listing and not kept:
        return _listed(listing, planned(request, terminal(no_input=no_input)).plan, as_json=as_json)
    screen = told(as_json=as_json, quiet=quiet, verbose=verbose, reports=_reports(junit, reports))
    with Store.open(state or default_state()) as store, screen as sinks:
        person = terminal(no_input=no_input, hushed=hushing(sinks))
        if step and person is None:
            raise click.UsageError("`--step` asks about each task, and there is no terminal to ask at")
        if not kept:
            return apply(request, store, sinks, person=person)
        saved = read(playbook, store)
        vault = read_vault(vault_ids() or saved.request.vault_ids, password_of(person))
        same_extra(saved, extra_vars, vault)
        prepared = ready(saved, vault)
        if listing:
            return _listed(listing, prepared.plan, as_json=as_json)
        return apply(saved.asked(options, reach), store, sinks, prepared, person)


def _reports(junit: Path | None, others: tuple[Path, ...]) -> Reports:
    first = ((junit, "junit"),) if junit else ()
    if not others:
        return first
    from ciflow.report.files import format_of

    return (*first, *((path, format_of(path)) for path in others))


def _listed(listing: Listing, plan: Plan, *, as_json: bool) -> int:
    for line in map(json.dumps, listing.data(plan)) if as_json else listing.lines(plan):
        click.echo(line)
    return ExitCode.OK
