"""`ciflow status [SERVICE]`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch
from ciflow.report.humane import ago, duration, share
from ciflow.report.text import safe
from ciflow.store.folds import FULL, Doing, Release, RunSummary, Standing, standing, taken_back
from ciflow.store.place import Place, default_state
from ciflow.store.store import Store

MOST = 10  # runs shown


@click.command("status")
@click.argument("service", default="")
@click.option("--watch", "watched", is_flag=True, help="Follow the newest rollout (of SERVICE) to its end.")
@json_option
@state_option
def command(service: str, watched: bool, as_json: bool, state: Place | None) -> int:
    """Show what runs, what can be resumed, and which version has which share of the traffic.

    It is what this journal knows: `ciflow rollback SERVICE --rehearse` asks the routers, and changes nothing.
    """
    if watched:
        from ciflow.cli.follow import follow

        return follow(state or default_state(), service, as_json=as_json)
    found = found_in(state or default_state(), service)
    if as_json:
        click.echo(json.dumps(found.data()))
        return ExitCode.OK
    for text in lines_of(found, time.time()):
        click.echo(text)
    return ExitCode.OK


def lines_of(found: Standing, now: float) -> Iterator[str]:
    return _Said(found.runs, found.releases, found.doing).lines(now)


class _Said(Standing):
    """In words."""

    def lines(self, now: float) -> Iterator[str]:
        if not self.runs and not self.releases:
            yield "nothing runs, and nothing was released from here"
        for run in self.runs[:MOST]:
            yield f"{run.run}  {run.state}, begun {ago(now - run.started)}  {run.playbook}{self._then(run)}"
            yield from (safe(_at_work(run, one, now)) for one in self.doing.get(run.run, ()))
        for service in dict.fromkeys(one.service for one in self.releases):
            yield from self._of_service([one for one in self.releases if one.service == service], now)

    def _then(self, run: RunSummary) -> str:
        if not run.resumable:
            return ""
        if taken_back(run.run, self.releases):
            return "  its release was rolled back: nothing of it is left to resume"
        return f"  `ciflow resume {run.run}`"

    def _of_service(self, releases: list[Release], now: float) -> Iterator[str]:
        shown = [one for one in releases if one.share or self._run_of(one)]
        for one in shown:
            yield self._line(one, self._unsure(shown))
        if not any(one.share for one in shown):
            newest = releases[0]
            state = f"{newest.state.replace('_', ' ')} {ago(now - newest.since)}"
            yield f"{newest.service}  no version has traffic, as far as this journal knows; {newest.version} {state}"
        yield from filter(None, (self._doubt(one) for one in shown))

    def _run_of(self, release: Release) -> RunSummary | None:
        """The run of a rollout that is not over."""
        return next((run for run in self.runs if run.run == release.run), None) if release.moves else None

    def _unsure(self, shown: list[Release]) -> str:
        """Of a rollout that nobody attends to only how it was left is known."""
        left = [self._left(one) for one in shown]
        return " when the rollout's process ended" if any(left) else ""

    def _left(self, release: Release) -> bool:
        """The process of the rollout has ended while its dial was somewhere between, or about to be."""
        run = self._run_of(release)
        settled = release.share == FULL or release.state in ("deploying", "verifying", "given_back")
        return run is not None and run.state != "running" and not settled

    def _line(self, release: Release, unsure: str) -> str:
        none = "no traffic" if release.state == "given_back" else "no traffic yet"
        traffic = (f"{share(release.share)} of the traffic" if release.share else none) + unsure
        good = ", observed good" if release.observed_good else ""
        then = f"; `ciflow resume {release.run}` goes on" if release.state == "paused" else ""
        if release.left:
            then = f"; but not on {', '.join(release.left)}: `ciflow rollback {release.service}` turns what is left"
        words = f"slot {release.slot}, {traffic}, {release.state.replace('_', ' ')}{good}{then}"
        return f"{release.service} {release.version}  {words}"

    def _doubt(self, release: Release) -> str:
        if not self._left(release):
            return ""
        if release.state == "paused":
            may = "what watches the pause may have given it back by now"
        else:
            after = f" after {duration(release.dead_man)}" if release.dead_man else ""
            may = f"the dead-man gives back what it has{after}"
        may += ", unless the promotion came through" if release.state == "promoting" else ""
        ask = f"`ciflow rollback {release.service} --rehearse` asks the routers, `ciflow rollback {release.service}`"
        return f"  {may}: {ask} ends it"


def _at_work(run: RunSummary, at: Doing, now: float) -> str:
    since = duration(now - at.since)
    if at.question:
        return f"  {at.play}  waits for somebody's word, {since}: {at.question}  `ciflow approve {run.run}`"
    return f"  {at.play}{f' > {at.task}' if at.task else ''}  {since}"


def found_in(place: Place, service: str) -> Standing:
    """Raises NoSuch for a service that this journal doesn't know."""
    found = Standing()
    if place.exists():
        with Store.open(place, read_only=True) as store:
            found = standing(store, service)
    if service and not found.releases:
        ask = f"`ciflow rollback {service} --rehearse -i INVENTORY` asks its routers, wherever it was released"
        raise NoSuch(f"nothing was released as {service} from here", help=ask)
    return found
