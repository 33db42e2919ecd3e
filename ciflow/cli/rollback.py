"""`ciflow rollback SERVICE`: no question asked, for a rollback is safe."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import asdict

import click

from ciflow.cli.options import json_option, state_option
from ciflow.cli.passwords import live_files, vault_ids, vault_options
from ciflow.diagnostics import ExitCode, StoreError
from ciflow.engine.reached import LOCAL
from ciflow.engine.rollback import Asking, Done, rollback
from ciflow.lang.files import Files
from ciflow.model import Event
from ciflow.report.humane import duration, share
from ciflow.rollout.rollback import HELD, RolledBack
from ciflow.rollout.routers import Slot
from ciflow.store.folds import Release, history
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store
from ciflow.targets import Connection


@click.command("rollback")
@click.argument("service", default="", metavar="SERVICE")
@click.option("--reason", default="", help="Why; recorded.")
@click.option("--rehearse", is_flag=True, help="Do all but the turn, and say whether it would work now.")
@click.option(
    "--redeploy",
    is_flag=True,
    help="Leave the live version even for one that another release was put over: it is deployed again.",
)
@click.option(
    "--break-glass",
    is_flag=True,
    help="Go back across what can't be undone, or to a version that is cold or was not observed good; needs --reason.",
)
@click.option(
    "--host",
    default="",
    metavar="PATTERN",
    help="Hosts of the router, when this machine's journal doesn't know it; else all of the inventory.",
)
@click.option("-i", "--inventory", multiple=True, help="The inventory that says how to reach them.")
@vault_options
@json_option
@state_option
def command(
    service: str, reason: str, rehearse: bool, redeploy: bool, break_glass: bool, host: str,
    inventory: tuple[str, ...], as_json: bool, state: Place | None,
) -> int:  # fmt: skip
    """Bring the former version of SERVICE back, now. A second call finds nothing to do.

    When its processes are gone, or with --redeploy when its slot was given to another release, it is deployed again
    with the artifacts that it was released with, which takes as long as a deployment.
    """
    from ciflow.engine.who import who

    if not service:
        from ciflow.cli.control import which

        raise click.UsageError(which("rollback", _known(state), none="none was released from here"))
    files = live_files() if host or inventory else Files.live()
    if break_glass and not reason:
        raise click.UsageError("--break-glass needs --reason, which is written down first")
    hosts = _hosts(host or "all", inventory, files) if host or inventory else (LOCAL,)
    asking = Asking(service, who(), reason, rehearse, break_glass, redeploy, hosts, inventory, files)
    done = rollback(asking, lambda: Store.open(state or default_state()))
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    decision = done.result.decision
    if decision.kind in ("cold", "lost") and (release := _release_of(service, decision.target.version, state)):
        if as_json and rehearse:
            click.echo(_data(done))
        return _deployed_again(release, decision.why, state, rehearse=rehearse, as_json=as_json)
    if as_json:
        click.echo(_data(done))
    else:
        click.echo("\n".join(lines_of(service, done, rehearse=rehearse)))
        if done.run and done.result.done and not reason and not rehearse:
            click.echo(f"Why, when there is time: `ciflow annotate {done.run} WORDS`")
    sys.stdout.flush()  # whoever waits for the rollback has read by now what it came to
    if done.run and done.result.done and not rehearse:
        _tell(service, done.run, state)
    _send(done.run, state)
    return done.result.code


def _tell(service: str, run: str, state: Place | None) -> None:
    """Those whom the playbook notifies. The rollback is done, and said: nothing of it waits for this."""
    from ciflow.engine.notices import tell_of_rollback

    tell_of_rollback(lambda: Store.open(state or default_state()), service, run, (Spoken(),))


class Spoken:
    """A Sink that says what went wrong."""

    def event(self, event: Event) -> None:
        if event.kind == "warning":
            click.echo(f"warning: {event.data['message']}", err=True)

    def past(self, event: Event) -> None:
        """Not this command's."""

    def tick(self, now: float) -> None:
        """Time alone is no event."""

    def close(self) -> None:
        """Nothing is held."""


def _send(run: str, state: Place | None) -> None:
    """By OpenTelemetry, where that is wanted."""
    from ciflow.cli.telemetry import send_ended

    if run and (lost := send_ended(state or default_state(), run)):
        click.echo(f"warning: {lost}", err=True)


def _known(state: Place | None) -> set[str]:
    """The services that were released from here."""
    with contextlib.suppress(StoreError), Store.open(state or default_state(), read_only=True) as store:
        return {release.service for release in history(store)}
    return set()


def _data(done: Done) -> str:
    return json.dumps({"run": done.run, "took": done.took, **asdict(done.result)})


def _hosts(pattern: str, inventory: tuple[str, ...], files: Files) -> tuple[Connection, ...]:
    from ciflow.engine.connect import connections_by_pattern  # a rollback that knows its hosts doesn't wait for this

    return connections_by_pattern(pattern, inventory, files)


def _release_of(service: str, version: str, state: Place | None) -> Release | None:
    """The newest release of the version that was observed good, as this machine's journal has it."""
    with contextlib.suppress(StoreError), Store.open(state or default_state(), read_only=True) as store:
        return next((r for r in history(store, service) if r.version == version and r.observed_good), None)
    return None


def _deployed_again(release: Release, why: str, state: Place | None, *, rehearse: bool, as_json: bool) -> int:
    from ciflow.cli.screen import hushing, told  # a rollback that only turns the dial doesn't wait for these
    from ciflow.cli.telemetry import traced_as
    from ciflow.cli.terminal import terminal
    from ciflow.engine.start import deploy_again
    from ciflow.engine.who import who

    how = f"with the artifacts of {release.run}: that takes as long as a deployment does"
    verb = "it would be deployed again" if rehearse else "deploying it again"
    click.echo(f"{release.service}: {why}; {verb} {how}", err=as_json)
    if rehearse:
        return ExitCode.OK
    with Store.open(state or default_state()) as store, told(as_json=as_json, quiet=False, verbose=0) as sinks:
        person = terminal(no_input=False, hushed=hushing(sinks))
        trace, tracestate = traced_as()
        return deploy_again(
            release, store, sinks, who=who(), person=person, vault_ids=vault_ids(), trace=trace, tracestate=tracestate
        )


def lines_of(service: str, done: Done, *, rehearse: bool) -> list[str]:
    """What was done, or not, for people."""
    result, decision = done.result, done.result.decision
    if decision.kind == "nothing":
        return [f"{service}: nothing to do; {decision.why}", *filter(None, [decision.then])]
    if decision.kind in HELD:
        return [f"{service}: {decision.why}; nothing was turned", decision.then]
    if decision.kind == "fence":
        return [f"{service}: {decision.why}", *(_rehearsed(result) if rehearse else _stopped(done))]
    source = f"{decision.source.version} ({decision.source.name}, {share(decision.share)})"
    lines = [f"{service} {source} -> {decision.target.version} ({_standing(decision.target)})"]
    if rehearse:
        return [*lines, *_rehearsed(result)]
    verified = {True: "verified by its own counters", False: "its counters still show the other slot", None: ""}
    for host in result.done:
        lines.append(f"  {host:<14} traffic on {decision.target.name}   {verified[result.verified]}".rstrip())
    for host, left in result.failed:
        lines.append(f"  {host:<14} not turned: {left}")
    return [*lines, *_ended("Rolled back", done)]


def _stopped(done: Done) -> list[str]:
    """A rollout that has no traffic: its routers take no turn of it any more."""
    lines = [f"  {host:<14} takes no turn of it any more" for host in done.result.done]
    lines += [f"  {host:<14} not reached: {left}" for host, left in done.result.failed]
    return [*lines, *_ended("Stopped the rollout", done)]


def _ended(what: str, done: Done) -> list[str]:
    failed = done.result.failed
    if failed:
        what += f" on {len(done.result.done)} of {len(done.result.done) + len(failed)} routers"
    lines = [f"{what} in {duration(done.took)}.{_recorded(done)}"]
    if failed:
        left = ", ".join(host for host, _ in failed)
        finish = "The same command turns it as soon as it answers; on that host itself it needs no network"
        lines.append(f"Left: {left}. {finish}.")
    return lines


def _rehearsed(result: RolledBack) -> list[str]:
    """Whether a rollback would work now, and if not, on which routers and why."""
    lines = [f"  {host:<14} would not be turned: {why}" for host, why in result.failed]
    where = result.decision.target
    lines += [f"  {host:<14} slot {where.name} does not answer at {where.authority}" for host in result.silent]
    well = "every router answers"
    if result.decision.kind == "fence":
        well += ", and the rollout would be stopped"
    else:
        well += ", and so does the version to go back to"
    return [*lines, f"Rehearsed: {'it would not work everywhere' if lines else well}; nothing was turned."]


def _standing(slot: Slot) -> str:
    now = time.time()
    warm = f", warm for {duration(slot.warm_until - now)} more" if slot.warm_until > now else ""
    return f"{slot.name}{warm}{', observed good' if slot.observed_good else ''}"


def _recorded(done: Done) -> str:
    return f" Recorded as {done.run}: `ciflow logs {done.run}`" if done.run else " Not recorded."
