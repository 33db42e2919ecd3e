"""What runs cost: the time of their machines at its rate, shared among their plays, and what is kept of them.

Money is Decimal. Each amount is rounded once, to a millionth of the currency (half to even), when it is made; all else
is sums of such amounts, so that parts add up to the whole.
"""

from __future__ import annotations

import calendar
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from graphlib import TopologicalSorter
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.lang.rates import MILLIONTH, SIZES, STORAGE, Rate, Rates
from ciflow.report.used import COUNTS, Job, Kept, PlayUse, RunUse, Uses, Usual

EXACT = Decimal("0.000001")
PLAY, BETWEEN, ROUNDING, KEPT = "play", "between plays", "rounding up", "artifacts"


def exactly(amount: Decimal) -> Decimal:
    return amount.quantize(EXACT, ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount of money, and what no rate is known for: millionths of a second, and bytes that are kept."""

    amount: Decimal = Decimal(0)
    time: int = 0
    kept: int = 0

    def __add__(self, other: Charge) -> Charge:
        return Charge(self.amount + other.amount, self.time + other.time, self.kept + other.kept)

    @property
    def unpriced(self) -> bool:
        return bool(self.time or self.kept)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is paid for, or was saved. `what` is one of the words above, `at` decides on its month: for a
    machine's time that is when its run began. `took` in millionths of a second: of a machine, or while it was kept."""

    what: str
    run: RunUse
    at: float
    charge: Charge
    play: str = ""
    took: int = 0
    use: PlayUse | None = None
    saved: Charge = Charge()
    size: int = 0  # bytes that are still kept


@dataclass(frozen=True, slots=True)
class Pricing:
    """Which rate a run is charged by: that of its machine, or whatever `on` names."""

    rates: Rates
    on: str = ""

    def rate(self, job: Job) -> tuple[str, Rate | None]:
        name = self.on or self.rates.name_of(job.on)
        return name, self.rates.of(name, job.began)

    # --- one run -----------------------------------------------------------------------------------------

    def items(self, run: RunUse) -> list[Item]:
        """Its plays, the time between them, and what whole minutes came to more than that."""
        took: Counter[str] = Counter()
        parts: dict[str, Charge] = {}
        more, rounding = 0, Charge()
        for job in run.jobs:
            _, rate = self.rate(job)
            shares = job.shares()
            charges = {play: _charge(rate, part) for play, part in shares.items()}
            took.update(shares)
            for play, charge in charges.items():
                parts[play] = parts.get(play, Charge()) + charge
            if rate is not None:
                billed = rate.billed(job.took)
                more += billed - job.took
                left = exactly(rate.amount(billed)) - sum((one.amount for one in charges.values()), Decimal(0))
                rounding += Charge(left)
        found = [
            Item(PLAY, run, run.began, parts.get(play, Charge()), play, took[play], use, self._saved(run, use))
            for play, use in run.plays.items() if play
        ]  # fmt: skip
        rest = (Item(BETWEEN, run, run.began, parts.get("", Charge()), took=took[""], use=run.plays.get("")),
                Item(ROUNDING, run, run.began, rounding, took=more))  # fmt: skip
        found += (one for one in rest if one.took or one.charge != Charge() or one.use)
        return found or [rest[0]]

    def _saved(self, run: RunUse, play: PlayUse) -> Charge:
        """What a play that was not run takes usually."""
        if play.usual is None:
            return Charge()
        return _charge(self.rate(run.jobs[-1])[1], round(play.usual.seconds * MILLIONTH))

    # --- what is kept ------------------------------------------------------------------------------------

    def stored(self, run: RunUse, kept: Kept, since: float, now: float) -> Iterator[Item]:
        """What it has come to from `since` on, by month, of whose hours each counts the same (as GitHub reckons)."""
        begin, end = max(kept.since, since), kept.until or now
        while begin < end:
            year, month = time.gmtime(begin)[:2]
            first = calendar.timegm((year, month, 1, 0, 0, 0))
            following = calendar.timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))
            until = min(end, following)
            rate = self.rates.of(STORAGE, begin)
            size = kept.size if not kept.until and until == end else 0
            if rate is None:
                charge = Charge(kept=kept.size) if until == end else Charge()
            else:
                share = Decimal(round((until - begin) * MILLIONTH)) / ((following - first) * MILLIONTH)
                charge = Charge(exactly(rate.price * kept.size / SIZES[rate.per] * share))
            yield Item(KEPT, run, begin, charge, took=round((until - begin) * MILLIONTH), size=size)
            begin = until


def _charge(rate: Rate | None, took: int) -> Charge:
    return Charge(exactly(rate.amount(took))) if rate is not None else Charge(time=took)


def items_of(uses: Uses, runs: Iterable[str], pricing: Pricing, since: float, now: float) -> list[Item]:
    """All that these runs are charged for; what was kept of them only from `since` on."""
    wanted = dict.fromkeys(runs)
    found = [item for run in wanted for item in pricing.items(uses.runs[run])]
    for kept in uses.kept:
        if kept.run in wanted:
            found += pricing.stored(uses.runs[kept.run], kept, since, now)
    return found


# --- groups ----------------------------------------------------------------------------------------------

BY: Mapping[str, Callable[[Item], tuple[str, ...]]] = {
    "play": lambda item: (item.run.playbook, item.play if item.what == PLAY else "", "" if item.play else item.what),
    "run": lambda item: (item.run.run,),
    "month": lambda item: (time.strftime("%Y-%m", time.gmtime(item.at)),),
    "playbook": lambda item: (item.run.playbook,),
}


@dataclass(slots=True)
class Group:
    """Items that are looked at together."""

    key: tuple[str, ...]
    items: list[Item] = field(default_factory=list)

    @property
    def runs(self) -> list[RunUse]:
        return list({item.run.run: item.run for item in self.items}.values())

    @property
    def took(self) -> int:
        return sum(item.took for item in self.items if item.what in (PLAY, BETWEEN))

    @property
    def charge(self) -> Charge:
        return sum((item.charge for item in self.items), Charge())

    @property
    def saved(self) -> Charge:
        return sum((item.saved for item in self.items), Charge())

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)

    @property
    def use(self) -> PlayUse:
        """Of all its plays together; memory is that of the largest command."""
        found = PlayUse(self.name, self.items[-1].use.result if self.items[-1].use else "")
        for item in self.items:
            if item.use is not None:
                found.join(item.use)
        return found

    @property
    def name(self) -> str:
        """Of a group of plays, as they call themselves; else what it is grouped by."""
        first = self.items[0]
        if len(self.key) == 1:
            return self.key[0]
        return first.use.name if first.use is not None and first.what == PLAY else first.what


def grouped(items: Iterable[Item], by: str) -> list[Group]:
    """The dearest first: by money, then by time that has no rate. What is no play stands behind the plays."""
    found: dict[tuple[str, ...], Group] = {}
    for item in items:
        key = BY[by](item)
        found.setdefault(key, Group(key)).items.append(item)
    rank = {what: number for number, what in enumerate((PLAY, BETWEEN, ROUNDING, KEPT))} if by == "play" else {}

    def order(group: Group) -> tuple[Any, ...]:
        charge = group.charge
        return (rank.get(group.items[0].what, 0), -charge.amount, -charge.time, -group.took, group.key)

    return sorted(found.values(), key=order)


def data_of(group: Group, by: str, currency: str) -> dict[str, Any]:
    """One group as JSON knows it: what it is of, then its figures."""
    run, item = group.runs[0], group.items[0]
    if by == "play":
        play = {"playbook": run.playbook, "what": item.what, "play": item.play, "name": group.name}
        return {**play, "runs": len(group.runs), **_figures([group], currency)}
    of_run = {"playbook": run.playbook, "who": run.who, "began": run.began, "exit": run.exit}
    return {by: group.name, **(of_run if by == "run" else {}), "runs": len(group.runs), **_figures([group], currency)}


def data_of_run(groups: Sequence[Group], pricing: Pricing) -> dict[str, Any]:
    """One run with its processes and its parts, which add up to its `amount`."""
    run, currency = groups[0].runs[0], pricing.rates.currency
    parts = [
        {"what": group.items[0].what, "play": group.items[0].play, "name": group.name,
         "result": group.use.result, **_figures([group], currency)}
        for group in groups
    ]  # fmt: skip
    return {"run": run.run, "playbook": run.playbook, "who": run.who, "began": run.began, "exit": run.exit,
            **_figures(groups, currency), "jobs": [_job(job, pricing) for job in run.jobs], "parts": parts}  # fmt: skip


def _job(job: Job, pricing: Pricing) -> dict[str, Any]:
    name, rate = pricing.rate(job)
    found = {"on": name, "machine": dict(job.on), "began": job.began, "seconds": job.took / MILLIONTH}
    if rate is None:
        return {**found, "billed_seconds": None, "rate": None}
    told = {"price": str(rate.price), "per": rate.per, "from": rate.since, "source": rate.source}
    return {**found, "billed_seconds": rate.billed(job.took) / MILLIONTH, "rate": told}


def _figures(groups: Sequence[Group], currency: str) -> dict[str, Any]:
    """Amounts are text, which no reader rounds; times in seconds, sizes in bytes. null: nobody knows."""
    charge = sum((group.charge for group in groups), Charge())
    saved = sum((group.saved for group in groups), Charge())
    use = PlayUse("")
    for group in groups:
        use.join(group.use)
    seconds = sum(
        item.use.usual.seconds for group in groups for item in group.items if item.use and item.use.usual
    )  # fmt: skip
    return {
        "amount": str(exactly(charge.amount)), "currency": currency, "seconds": sum(g.took for g in groups) / MILLIONTH,
        "unpriced_seconds": charge.time / MILLIONTH, "unpriced_bytes": charge.kept,
        "cpu": round(use.cpu, 6) if use.counts["measured"] else None, "peak_kb": use.peak_kb or None,
        **{name: use.counts[name] for name in COUNTS}, "kept": sum(group.size for group in groups),
        "saved": {"amount": str(exactly(saved.amount)), "seconds": seconds},
    }  # fmt: skip


# --- what a playbook will cost ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a playbook takes by what its plays took before, those that wait for each other one after the other.
    `runs`: of how many the shortest memory is; `unknown` plays have not ended well yet. `on` is what its newest run was
    on."""

    seconds: float
    runs: int
    on: str
    charge: Charge
    unknown: tuple[str, ...]


def estimated(needs: Mapping[str, Sequence[str]], usual: Mapping[str, Usual], job: Job, pricing: Pricing,
              now: float) -> Estimate:  # fmt: skip
    """`needs`: of each play which others it waits for. `usual` has at least one of them, `job` the newest process."""
    ends: dict[str, float] = {}
    for play in TopologicalSorter(needs).static_order():
        took = usual[play].seconds if play in usual else 0.0
        ends[play] = took + max((ends[one] for one in needs.get(play, ())), default=0.0)
    seconds = max(ends.values())
    name = pricing.on or pricing.rates.name_of(job.on)
    rate = pricing.rates.of(name, now)
    whole = round(seconds * MILLIONTH)
    charge = _charge(rate, rate.billed(whole) if rate is not None else whole)
    unknown = tuple(play for play in needs if play not in usual)
    return Estimate(seconds, min(usual[play].runs for play in needs if play in usual), name, charge, unknown)
