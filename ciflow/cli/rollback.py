"""`ciflow rollback SERVICE`: no question asked, for a rollback is safe."""

from __future__ import annotations

import contextlib
import json
import sys

import click

from ciflow.cli.options import json_option, state_option
from ciflow.cli.passwords import live_files, vault_ids, vault_options
from ciflow.diagnostics import ExitCode, StoreError
from ciflow.engine.reached import LOCAL
from ciflow.engine.rollback import Asking, Done, rollback
from ciflow.engine.rolled import data_of, lines_of
from ciflow.lang.files import Files
from ciflow.model import Event
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
            click.echo(json.dumps(data_of(done)))
        return _deployed_again(release, decision.why, state, rehearse=rehearse, as_json=as_json)
    if as_json:
        click.echo(json.dumps(data_of(done)))
    else:
        click.echo("\n".join(lines_of(service, done, rehearse=rehearse)))
        if done.run and done.result.done and not reason and not rehearse:
            click.echo(f"Why, when there is time: `ciflow annotate {done.run} WORDS`")
    sys.stdout.flush()
    pass_on(asking, done, state or default_state())
    return done.result.code


def pass_on(asking: Asking, done: Done, place: Place) -> None:
    """To those whom the playbook notifies, and by OpenTelemetry, where that is wanted. Whoever waits for the rollback
    has been told by now what it came to: nothing of it waits for this."""
    from ciflow.cli.telemetry import send_ended
    from ciflow.engine.notices import tell_of_rollback

    if done.run and done.result.done and not asking.rehearse:
        tell_of_rollback(lambda: Store.open(place), asking.service, done.run, (Spoken(),))
    if done.run and (lost := send_ended(place, done.run)):
        click.echo(f"warning: {lost}", err=True)


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


def _known(state: Place | None) -> set[str]:
    """The services that were released from here."""
    with contextlib.suppress(StoreError), Store.open(state or default_state(), read_only=True) as store:
        return {release.service for release in history(store)}
    return set()


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
