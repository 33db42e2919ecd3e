"""`ciflow rollback SERVICE`: no question asked, for a rollback is safe."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from ciflow.cli.options import json_option, state_option
from ciflow.cli.passwords import live_files, vault_options
from ciflow.diagnostics import ExitCode
from ciflow.engine.rollback import Asking, Done, rollback
from ciflow.lang.files import Files
from ciflow.report.humane import duration, share
from ciflow.rollout.routers import Slot
from ciflow.store.store import Store, default_state


@click.command("rollback")
@click.argument("service")
@click.option("--reason", default="", help="Why; recorded.")
@click.option("--rehearse", is_flag=True, help="Do all but the turn, and say whether it would work now.")
@click.option("--break-glass", is_flag=True, help="Go back to a version that is cold or was not observed good.")
@click.option("--host", default="", help="The router's host, when the journal of this machine is lost.")
@click.option("-i", "--inventory", multiple=True, help="The inventory that says how to reach --host.")
@vault_options
@json_option
@state_option
def command(
    service: str, reason: str, rehearse: bool, break_glass: bool, host: str, inventory: tuple[str, ...],
    as_json: bool, state: Path | None,
) -> int:  # fmt: skip
    """Bring the former version of SERVICE back, now. A second call finds nothing to do."""
    from ciflow.engine.connect import LOCAL, connection_by_name
    from ciflow.engine.who import who

    files = live_files() if host or inventory else Files.live()
    at = connection_by_name(host, inventory, files) if host else LOCAL
    asking = Asking(service, who(), reason, rehearse, break_glass, at, inventory, files)
    done = rollback(asking, lambda: Store.open(state or default_state()))
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps({"run": done.run, "took": done.took, **asdict(done.result)}))
    else:
        click.echo("\n".join(_lines(service, done, rehearse)))
    if done.result.failed:
        return ExitCode.UNREACHABLE
    return ExitCode.TASK_FAILED if done.result.decision.kind == "cold" else ExitCode.OK


def _lines(service: str, done: Done, rehearse: bool) -> list[str]:
    result, decision = done.result, done.result.decision
    if decision.kind == "nothing":
        return [f"{service}: nothing to do; {decision.why}"]
    if decision.kind == "cold":
        return [f"{service}: {decision.why}; nothing was turned",
                "deploy it again with `ciflow apply`, or `--break-glass` if its processes still run"]  # fmt: skip
    source = f"{decision.source.version} ({decision.source.name}, {share(decision.share)})"
    lines = [f"{service} {source} -> {decision.target.version} ({_standing(decision.target)})"]
    if rehearse:
        return [*lines, "Rehearsed: every router answers, nothing was turned."]
    verified = {True: "verified by its own counters", False: "its counters still show the other slot", None: ""}
    for host in result.done:
        lines.append(f"  {host:<14} traffic on {decision.target.name}   {verified[result.verified]}".rstrip())
    for host, left in result.failed:
        lines.append(f"  {host:<14} not turned: {left}")
    what = "Stopped the rollout" if decision.kind == "fence" else "Rolled back"
    lines.append(f"{what} in {duration(done.took)}.{_recorded(done)}")
    return lines


def _standing(slot: Slot) -> str:
    now = time.time()
    warm = f", warm for {duration(slot.warm_until - now)} more" if slot.warm_until > now else ""
    return f"{slot.name}{warm}{', observed good' if slot.observed_good else ''}"


def _recorded(done: Done) -> str:
    return f" Recorded as {done.run}: `ciflow logs {done.run}`" if done.run else " Not recorded."
