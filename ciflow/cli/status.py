"""`ciflow status [SERVICE]`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode
from ciflow.report.humane import ago, share
from ciflow.store.folds import Release, RunSummary, history, summaries
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store

MOST = 10  # runs shown


@click.command("status")
@click.argument("service", default="")
@click.option("--watch", "watched", is_flag=True, help="Follow the newest rollout (of SERVICE) to its end.")
@json_option
@state_option
def command(service: str, watched: bool, as_json: bool, state: Place | None) -> int:
    """Show what runs, what can be resumed, and which version has which share of the traffic."""
    if watched:
        from ciflow.cli.watch import watch

        return watch(state or default_state(), service, as_json=as_json)
    runs, known = _found(state or default_state())
    releases = [release for release in known if release.share]
    taken_back = {one.run for one in known if one.state == "rolled_back"} - {one.run for one in releases}
    if as_json:
        click.echo(json.dumps({"runs": [asdict(r) for r in runs], "releases": [asdict(r) for r in releases]}))
        return ExitCode.OK
    now = time.time()
    for run in runs:
        then = f"  `ciflow resume {run.run}`" if run.resumable else ""
        if run.resumable and run.run in taken_back:
            then = "  its release was rolled back: nothing of it is left to resume"
        click.echo(f"{run.run}  {run.state} since {ago(now - run.started)}  {run.playbook}{then}")
    for release in (one for one in releases if service in ("", one.service)):
        good = ", observed good" if release.observed_good else ""
        where = f"slot {release.slot}, {share(release.share)} of the traffic"
        then = f"; `ciflow resume {release.run}` goes on" if release.state == "paused" else ""
        click.echo(f"{release.service} {release.version}  {where}, {release.state.replace('_', ' ')}{good}{then}")
    if service and not any(one.service == service for one in releases):
        click.echo(f"nothing was released as {service} from here", err=True)
    elif not runs and not releases:
        click.echo("nothing runs, and nothing was released yet")
    return ExitCode.OK


def _found(path: Place) -> tuple[list[RunSummary], list[Release]]:
    """Runs that are not over, and the releases of all services."""
    if not path.exists():
        return [], []
    with Store.open(path, read_only=True) as store:
        runs = [run for run in summaries(store) if run.state in ("running", "paused", "interrupted")]
        return runs[:MOST], history(store)
