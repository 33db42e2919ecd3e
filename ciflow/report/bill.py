"""What runs cost, on one screen: what is dearest first, and by which rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ciflow.lang.rates import MILLIONTH, Rate
from ciflow.report import humane
from ciflow.report.cost import KEPT, PLAY, ROUNDING, Charge, Estimate, Group, Pricing
from ciflow.report.lines import STYLES, wrapped
from ciflow.report.text import Line, Piece, left, line, right, safe
from ciflow.report.used import PlayUse, RunUse

MOST = 20  # rows
HINT = "say what it costs in a file of rates (`--rates FILE`), or as what it is charged (`--on NAME`)"
_FIGURE = 10
_MONEY = 13


def head_of(run: RunUse, pricing: Pricing, now: float) -> list[Line]:
    """Which run it is, and what it was on."""
    names = ", ".join(dict.fromkeys(pricing.rate(job)[0] or "a machine that was not recorded" for job in run.jobs))
    check = " (check)" if run.check else ""
    return [line(safe(f"{run.run}  {run.playbook}{check}  by {run.who}, {humane.ago(now - run.began)}, on {names}"))]


def bill(groups: Sequence[Group], pricing: Pricing, columns: int) -> list[Line]:
    """Of one run: its plays, and all else that it is charged for."""
    plays = [group for group in groups if group.items[0].what == PLAY]
    others = [_row(_part(group), columns) for group in groups if group.items[0].what != PLAY]
    took = humane.duration(sum(group.took for group in groups) / MILLIONTH)
    head = ("", "", "time", "cpu", "memory", "moved", pricing.rates.currency)
    shown = [_row(head, columns, "bold"), *_some([*map(_part, plays)], plays, columns), *others]
    shown.append(_row(("total", "", took, "", "", "", money(_charge(groups))), columns, "bold"))
    said = [*_saved(groups), *_unmeasured(groups), *_rates(groups, pricing)]
    return shown + [line(part) for text in said for part in wrapped(text, columns)]


def table(groups: Sequence[Group], by: str, pricing: Pricing, columns: int) -> list[Line]:
    """Of many runs, by what they are looked at by."""
    head = (by, "runs", "time", "cpu", "kept", "saved", pricing.rates.currency)
    runs = humane.number(len(_runs(groups)))
    shown = [_row(head, columns, "bold"), *_some([*map(_whole, groups)], groups, columns)]
    shown.append(_row(("total", runs, "", "", "", "", money(_charge(groups))), columns, "bold"))
    return shown + [line(part) for text in _rates(groups, pricing) for part in wrapped(text, columns)]


def money(charge: Charge) -> str:
    """Four places; `+` where something of it has no rate."""
    if charge.unpriced and not charge.amount:
        return "no rate"
    return f"{charge.amount:,.4f}{'+' if charge.unpriced else ''}"


def usually(estimate: Estimate, currency: str) -> str:
    """What a playbook takes and costs by its history."""
    on, unknown = safe(estimate.on or "its machine"), safe(", ".join(estimate.unknown))
    cost = f"no rate for {on}" if estimate.charge.unpriced else f"{currency} {money(estimate.charge)} on {on}"
    missing = f"; without {unknown}, of which none has ended well yet" if unknown else ""
    runs = humane.counted(estimate.runs, "run")
    return f"usually {humane.duration(estimate.seconds)}, {cost}: by the median of each play's last {runs}{missing}"


# --- rows ------------------------------------------------------------------------------------------------


def _part(group: Group) -> tuple[str, ...]:
    item, use = group.items[0], group.use
    memory = humane.size(use.peak_kb * 1024) if use.peak_kb else ""
    took = ("+" if item.what == ROUNDING else "") + humane.duration(_while(group)) if item.took else ""
    moved = use.counts["sent"] + use.counts["received"]
    figures = (took, _cpu(use), memory, humane.size(moved) if moved else "")
    name = f"{group.name}  {humane.size(group.size)}" if item.what == KEPT and group.size else group.name
    return (name, use.result.replace("_", " "), *figures, money(group.charge))


def _while(group: Group) -> float:
    """Seconds that it took, or that something of it was kept."""
    if group.items[0].what != KEPT:
        return sum(item.took for item in group.items) / MILLIONTH
    return max(item.at + item.took / MILLIONTH for item in group.items) - min(item.at for item in group.items)


def _whole(group: Group) -> tuple[str, ...]:
    name = f"{group.name}  {group.key[0]}" if len(group.key) > 1 else group.name
    kept = humane.size(group.size) if group.size else ""
    saved = money(group.saved) if group.saved != Charge() else ""
    runs, took = humane.number(len(group.runs)), humane.duration(group.took / MILLIONTH)
    return (name, runs, took, _cpu(group.use), kept, saved, money(group.charge))


def _cpu(use: PlayUse) -> str:
    return humane.duration(use.cpu) if use.counts["measured"] else ""


def _some(rows: Sequence[tuple[str, ...]], groups: Sequence[Group], columns: int) -> Iterator[Line]:
    yield from (_row(row, columns) for row in rows[:MOST])
    if len(rows) > MOST:
        name = f"and {humane.number(len(rows) - MOST)} more"
        yield _row((name, "", "", "", "", "", money(_charge(groups[MOST:]))), columns)


def _row(cells: Sequence[str], columns: int, style: str = "") -> Line:
    """A name, a word, four figures and the money."""
    name, word, *figures, amount = cells
    first = max(columns - 5 * _FIGURE - _MONEY - 1, 16)
    state = Piece(left(word, _FIGURE), STYLES.get(word, "") or style)
    return line(Piece(left(name, first) + " ", style), state, *(Piece(right(text, _FIGURE), style) for text in figures),
                Piece(right(amount, _MONEY), style))  # fmt: skip


def _charge(groups: Sequence[Group]) -> Charge:
    return sum((group.charge for group in groups), Charge())


def _runs(groups: Sequence[Group]) -> list[RunUse]:
    return list({run.run: run for group in groups for run in group.runs}.values())


# --- what stands under them ------------------------------------------------------------------------------


def _saved(groups: Sequence[Group]) -> Iterator[str]:
    for item in (item for group in groups for item in group.items if item.what == PLAY):
        if item.use is not None and (usual := item.use.usual) is not None:
            worth = f"{money(item.saved)} and " if item.saved.amount else ""
            last = humane.counted(usual.runs, "run")
            yield (f"{item.use.name} was {item.use.result}: that saved about {worth}{humane.duration(usual.seconds)}, "
                   f"the median of its last {last}")  # fmt: skip


def _unmeasured(groups: Sequence[Group]) -> Iterator[str]:
    counts: Counter[str] = sum((group.use.counts for group in groups), Counter())
    if counts["measured"] < counts["commands"]:
        yield f"cpu and memory of {counts['measured']} of {humane.counted(counts['commands'], 'command')} are known"


def _rates(groups: Sequence[Group], pricing: Pricing) -> Iterator[str]:
    """Each rate with its source, and what there is none for."""
    times: Counter[tuple[str, Rate | None]] = Counter()
    for job in (job for run in _runs(groups) for job in run.jobs):
        times[pricing.rate(job)] += job.took
    for (name, rate), took in times.items():
        if rate is not None:
            yield f"{name}: {pricing.rates.currency} {rate}"
        else:
            machine = name or "machines that were not recorded"
            yield f"no rate for {machine}, {humane.duration(took / MILLIONTH)}: {HINT}"
    kept = _charge(groups).kept
    if kept:
        yield f"no rate for storage, {humane.size(kept)}: say what it costs in a file of rates (`--rates FILE`)"
