"""`ciflow cost [RUN]`."""

from __future__ import annotations

import calendar
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ciflow.cli.options import journal_of, json_option, state_option
from ciflow.diagnostics import ExitCode
from ciflow.store.place import Place

if TYPE_CHECKING:
    from ciflow.lang.rates import Rates
    from ciflow.report.cost import Group, Pricing
    from ciflow.report.used import Uses
    from ciflow.store.store import Store

_AGO = re.compile(r"(\d{1,5})([dw])")
_DAYS = {"d": 1, "w": 7}


def _moment(_ctx: click.Context, _option: click.Parameter, said: str | None) -> float | None:
    """A day (UTC), or so many days or weeks ago, as Unix seconds."""
    if said is None:
        return None
    if found := _AGO.fullmatch(said):
        return time.time() - int(found[1]) * _DAYS[found[2]] * 86_400
    try:
        return calendar.timegm(time.strptime(said, "%Y-%m-%d"))
    except ValueError as error:
        raise click.BadParameter(f"`{said}` is no day such as 2026-11-01, and no time such as 30d or 4w") from error


@click.command("cost")
@click.argument("run", default="")
@click.option("--by", type=click.Choice(("play", "run", "month", "playbook")), help="All runs, by this.")
@click.option("--since", callback=_moment, metavar="DAY|30d", help="All runs that began since.")
@click.option("--on", default="", metavar="NAME", help="Charge by this rate, whatever the machine was.")
@click.option("--rates", type=click.Path(path_type=Path, dir_okay=False), envvar="CIFLOW_RATES",
              help="What time and storage cost; else ~/.config/ciflow/rates.yml.")  # fmt: skip
@json_option
@state_option
def command(
    run: str, by: str | None, since: float | None, on: str, rates: Path | None, as_json: bool, state: Place | None
) -> int:
    """Show what RUN cost, by play, dearest first; without RUN the newest, or, by or since something, all of them."""
    if run and (by not in (None, "play") or since is not None):
        raise click.UsageError("RUN is one run: leave it out to look at several")
    from ciflow.report.cost import Pricing, grouped, items_of
    from ciflow.store.store import Store

    pricing = Pricing(known_rates(rates), on)
    if on:
        pricing.rates.check(on)
    with Store.open(journal_of(state), read_only=True) as store:
        uses = uses_of(store)
        several = by is not None or since is not None
        chosen = _since(uses, since or 0.0) if several and not run else [_named(store, run)]
    items = items_of(uses, chosen, pricing, since or 0.0, time.time())
    groups = grouped(items, by or "play")
    _tell(groups, pricing, (by or "play") if several and not run else "", uses, chosen, as_json=as_json)
    return ExitCode.OK


def known_rates(path: Path | None) -> Rates:
    """Those of `path`, else of ~/.config/ciflow/rates.yml (XDG base directories), before those that ciflow has."""
    from ciflow.lang.rates import rates_of

    base = os.environ.get("XDG_CONFIG_HOME", "")
    usual = (Path(base) if base.startswith("/") else Path.home() / ".config") / "ciflow" / "rates.yml"
    return rates_of(path or (usual if usual.exists() else None))


def uses_of(store: Store) -> Uses:
    """What the runs of a journal used."""
    from ciflow.report.used import KINDS, folded

    def last(run: str) -> float:
        return max(event.at for event in store.events(run=run))

    return folded(store.events(kinds=KINDS), last)


def _named(store: Store, run: str) -> str:
    from ciflow.store.folds import find_run

    return find_run(store, run).run


def _since(uses: Uses, since: float) -> list[str]:
    return [run.run for run in uses.runs.values() if run.began >= since]


def _tell(
    groups: Sequence[Group], pricing: Pricing, by: str, uses: Uses, chosen: Sequence[str], *, as_json: bool
) -> None:
    """One run as one value, or many by what they are looked at `by`: one value a line."""
    from ciflow.cli.screen import columns
    from ciflow.report.bill import bill, head_of, table
    from ciflow.report.console import wants_colour
    from ciflow.report.cost import data_of, data_of_run
    from ciflow.report.stream import Out

    if as_json:
        many = (data_of(group, by, pricing.rates.currency) for group in groups)
        for one in many if by else [data_of_run(groups, pricing)]:
            click.echo(json.dumps(one))
        return
    width = columns(sys.stdout)
    if by:
        shown = table(groups, by, pricing, width)
    else:
        shown = [*head_of(uses.runs[chosen[0]], pricing, time.time()), *bill(groups, pricing, width)]
    Out(sys.stdout, wants_colour(sys.stdout)).lines(shown)
