"""`ciflow history [SERVICE]`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch
from ciflow.report.humane import ago, share
from ciflow.store.folds import Release, RunSummary, history, summaries
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store


@click.command("history")
@click.argument("service", default="")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=20, help="At most so many.")
@json_option
@state_option
def command(service: str, lines: int, as_json: bool, state: Place | None) -> int:
    """List runs, the newest first; with SERVICE its releases."""
    now = time.time()
    found = _lines(state or default_state(), service, as_json, now)
    if service and not found:
        raise NoSuch(f"nothing was released as {service} from here", help="`ciflow history` lists all runs")
    for line in found[:lines]:
        click.echo(line)
    return ExitCode.OK


def _lines(path: Place, service: str, as_json: bool, now: float) -> list[str]:
    if not path.exists():
        return []
    with Store.open(path, read_only=True) as store:
        if service:
            return [json.dumps(asdict(found)) if as_json else _release(found, now) for found in history(store, service)]
        return [json.dumps(asdict(found)) if as_json else run_line(found, now) for found in summaries(store)]


def run_line(run: RunSummary, now: float) -> str:
    """How a run stands, whose it is, and since when."""
    check = " (check)" if run.check else ""
    state = run.state.replace("_", " ")
    return f"{run.run:<16} {state:<12} {ago(now - run.started):<15} {run.playbook}{check}  by {run.who}"


def _release(release: Release, now: float) -> str:
    good = "observed good" if release.observed_good else "-"
    since = ago(now - release.since) if release.since else ""
    state = release.state.replace("_", " ")
    where = f"slot {release.slot}  {share(release.share):>6}"
    return f"{release.version:<20} {where}  {state:<12} {since:<15} {good:<13}  {release.run}"
