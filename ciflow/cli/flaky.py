"""`ciflow flaky list|show|quarantine|release|report`: what the history of tests says, and the quarantine."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ciflow.cli.options import json_option, state_option
from ciflow.diagnostics import ExitCode, NoSuch, Refused
from ciflow.store.place import Place, default_state

if TYPE_CHECKING:
    from ciflow.cargo.flaky import Judgement
    from ciflow.cargo.history import Trial
    from ciflow.cargo.quarantine import Quarantined

SHOWN_RUNS = 20
CLEAN = 50  # passes in a row after which a test may leave the quarantine


@click.group("flaky")
def group() -> None:
    """Tests that pass and fail on the same code: which they are, and which don't gate for now."""


@group.command("list")
@click.option("--all", "everything", is_flag=True, help="Steady and new tests as well.")
@json_option
@state_option
def list_(everything: bool, as_json: bool, state: Place | None) -> int:
    """Judge the tests by their history: broken, flaky, suspect; the surest first."""
    from ciflow.cargo.flaky import State

    past = _past(state)
    held = {one.test: one for one in _held()}
    quiet = () if everything else (State.STEADY, State.NEW)
    for one in sorted(_judged(past).values(), key=lambda one: (-one.probability, one.test)):
        if one.state not in quiet or one.test in held:
            click.echo(json.dumps(_data(one, held)) if as_json else _line(one, held))
    if not past:
        click.echo("no run has recorded tests yet: `ciflow test`, or a task `nextest`", err=True)
    return ExitCode.OK


@group.command("show")
@click.argument("test")
@json_option
@state_option
def show(test: str, as_json: bool, state: Place | None) -> int:
    """Why TEST is judged as it is, and what became of it in its last runs."""
    past = _past(state)
    judged = _judged(past)
    one, held = _one(judged, test), {one.test: one for one in _held()}
    if as_json:
        click.echo(json.dumps(_data(one, held)))
        return ExitCode.OK
    click.echo(_line(one, held))
    click.echo(f"  {one.sentence}")
    for trial in [trial for trial in past if one.test in trial.results][-SHOWN_RUNS:]:
        result = trial.results[one.test]
        day = time.strftime("%Y-%m-%d %H:%M", time.gmtime(trial.at))
        click.echo(f"  {day}  {trial.commit[:10]:<10}  {result.attempts:<4} {result.seconds:7.2f} s  {trial.run}")
    return ExitCode.OK


@group.command("quarantine")
@click.argument("test")
@click.option("--reason", required=True, help="Why, for whoever reviews it; best with the number of an issue.")
@click.option("--owner", default="", help="Who mends it; you unless said.")
@click.option("--days", type=click.IntRange(1, 90), default=14, help="For how long.")
@state_option
def quarantine(test: str, reason: str, owner: str, days: int, state: Place | None) -> int:
    """Let TEST run without gating for some days. Changes .config/quarantine.toml: commit that, and have it reviewed."""
    from ciflow.cargo.flaky import State
    from ciflow.cargo.quarantine import FILE, with_test
    from ciflow.engine.who import who

    known = _judged(_past(state)).get(test)
    if known is not None and known.state is State.BROKEN:
        raise Refused(f"{test} is broken, not flaky: {known.sentence}", help="mend it, or take it out of the suite")
    if known is None:
        click.echo(f"warning: no run of {test} is recorded here", err=True)
    entries = with_test(_held(), test, owner or who(), reason, time.time(), days)
    _keep(entries)
    ends = next(one.expires for one in entries if one.test == test)
    click.echo(f"{test} doesn't gate until {ends} ({FILE})")
    return ExitCode.OK


@group.command("release")
@click.argument("tests", nargs=-1)
@click.option("--clean", is_flag=True, help=f"All that have passed {CLEAN} times in a row, or whose time is over.")
@state_option
def release(tests: tuple[str, ...], clean: bool, state: Place | None) -> int:
    """Let TESTS gate again."""
    held = _held()
    unknown = [test for test in tests if test not in {one.test for one in held}]
    if unknown:
        raise NoSuch(f"not in quarantine: {', '.join(unknown)}", help="`ciflow flaky report` lists those that are")
    if not tests and not clean:
        raise click.UsageError("name tests, or say --clean")
    judged, now = _judged(_past(state)), time.time()
    going = set(tests)
    if clean:
        going |= {one.test for one in held if not one.active(now) or _clean_passes(judged, one.test) >= CLEAN}
    _keep([one for one in held if one.test not in going])
    for test in sorted(going):
        click.echo(f"{test} gates again")
    return ExitCode.OK


@group.command("report")
@json_option
@state_option
def report(as_json: bool, state: Place | None) -> int:
    """How many tests are flaky, what they cost in red runs, and how the quarantine stands."""
    from ciflow.cargo.flaky import State, outage, red_by_flakiness

    past = _past(state)
    judged = _judged(past)
    red, by_flakiness = red_by_flakiness(past, judged)
    data = {
        "runs": len(past),
        "outages": sum(map(outage, past)),
        "red": red,
        "red_by_flakiness": by_flakiness,
        "tests": {kind.value: sum(one.state is kind for one in judged.values()) for kind in State},
        "quarantined": [_entry(one, judged) for one in _held()],
    }
    click.echo(json.dumps(data) if as_json else "\n".join(_report(data)))
    return ExitCode.OK


def _report(data: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {kind}" for kind, count in data["tests"].items() if count)
    lines = [f"{data['runs']} runs, {data['outages']} of them outages; tests: {counts or 'none'}"]
    if data["red"]:
        share = data["red_by_flakiness"] / data["red"]
        lines.append(f"{data['red']} red runs, {data['red_by_flakiness']} by flaky tests alone ({share:.0%})")
    for one in data["quarantined"]:
        end = f"until {one['expires']}" if one["active"] else f"over since {one['expires']}: it gates"
        why = f"{one['owner']}: {one['reason']}"
        lines.append(f"quarantined {end}  {one['test']}  {one['clean_passes']} clean passes  {why}")
    return lines


# --- shared ----------------------------------------------------------------------------------------------


def _past(state: Place | None) -> list[Trial]:
    from ciflow.cargo.history import trials
    from ciflow.store.store import Store

    path = state or default_state()
    if not path.exists():
        return []
    with Store.open(path, read_only=True) as store:
        return trials(store.events(kinds=("tests",)))


def _judged(past: Sequence[Trial]) -> dict[str, Judgement]:
    from ciflow.cargo.flaky import judge

    return judge(past, time.time())


def _one(judged: Mapping[str, Judgement], test: str) -> Judgement:
    if test in judged:
        return judged[test]
    from difflib import get_close_matches

    ending = [name for name in judged if name.endswith(test)]
    if len(ending) == 1:
        return judged[ending[0]]
    near = ending or get_close_matches(test, judged, n=1)
    raise NoSuch(f"no run of {test} is recorded", help=f"did you mean `{near[0]}`?" if near else "")


def _file() -> Path:
    """In the workspace that one stands in: where its lock file lies."""
    from ciflow.cargo.quarantine import FILE

    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "Cargo.lock").exists()), here) / FILE


def _held() -> tuple[Quarantined, ...]:
    from ciflow.cargo.errors import ToolOutputError
    from ciflow.cargo.quarantine import read

    path = _file()
    if not path.exists():
        return ()
    try:
        return read(path.read_text())
    except ToolOutputError as e:
        raise Refused(str(e), help=f"mend {path}, or take it from the repository") from e


def _keep(entries: Sequence[Quarantined]) -> None:
    from ciflow.cargo.quarantine import write

    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write(entries))


def _clean_passes(judged: Mapping[str, Judgement], test: str) -> int:
    return judged[test].clean_passes if test in judged else 0


def _line(one: Judgement, held: Mapping[str, Quarantined]) -> str:
    rate = f"{one.rate:6.1%}" if one.failures else "      "
    aside = f"  quarantined until {held[one.test].expires}" if one.test in held else ""
    return f"{one.state.value:<8} {rate}  {one.failures} of {one.attempts}  {one.test}{aside}"


def _data(one: Judgement, held: Mapping[str, Quarantined]) -> dict[str, Any]:
    return {**asdict(one), "state": one.state.value, "sentence": one.sentence, "quarantined": one.test in held}


def _entry(one: Quarantined, judged: Mapping[str, Judgement]) -> dict[str, Any]:
    days = {"since": str(one.since), "expires": str(one.expires), "active": one.active(time.time())}
    return {**asdict(one), **days, "clean_passes": _clean_passes(judged, one.test)}
