"""Bills of materials on the screen: reasons, differences, reports; as lines and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ciflow.diagnostics import NoSuch
from ciflow.supply.chains import explain
from ciflow.supply.differ import Change, What
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component, Dependency
from ciflow.supply.quality import PROFILES, Report

MOST_LACKING = 5


def reasons(bom: Bom, name: str) -> Iterator[str]:
    """Why a component is in: the shortest chain through each that needs it."""
    try:
        found = explain(bom, name)
    except SupplyError as error:
        raise NoSuch(str(error)) from error
    for one in found:
        features = dict(one.component.properties).get("cargo:features")
        told = f", features {features}" if features else ""
        yield f"{_called(one.component)} ({one.component.scope.value}{told})"
        for chain in one.chains:
            words = [_called(chain.parts[0])]
            for part, kind in zip(chain.parts[1:], chain.kinds, strict=True):
                words.append(("builds with " if kind is Dependency.BUILD else "needs ") + _called(part))
            yield "  " + ", which ".join((f"{words[0]} {words[1]}", *words[2:]))
        if one.more:
            yield f"  and {one.more} more need it"
        if not one.chains:
            yield "  it is what the document is about" if one.component is bom.subject else "  nothing leads to it"


def _called(component: Component) -> str:
    return f"{component.name} {component.version}" if component.version else component.name


def change_line(change: Change) -> str:
    old = change.old.version if change.old else None
    new = change.new.version if change.new else None
    if change.what is What.ADDED:
        return f"added       {change.name} {new or ''}".rstrip()
    if change.what is What.REMOVED:
        return f"removed     {change.name} {old or ''}".rstrip()
    if change.old and change.new and change.old.name != change.new.name:
        return f"subject     {_called(change.old)} -> {_called(change.new)}"
    if change.fields:
        told = "; ".join(f"{field}: {was or 'nothing'} -> {now or 'nothing'}" for field, was, now in change.fields)
        return f"changed     {change.name} {new or ''}: {told}"
    if old == new:
        purls = (change.old.purl if change.old else None), (change.new.purl if change.new else None)
        return f"changed     {change.name} {new or ''}: {purls[0]} -> {purls[1]}"
    return f"{change.what.value:<11} {change.name} {old or '(none)'} -> {new or '(none)'}"


def change_data(change: Change) -> dict[str, Any]:
    return {
        "what": change.what.value,
        "name": change.name,
        "old": change.old.version if change.old else None,
        "new": change.new.version if change.new else None,
        "old_purl": change.old.purl if change.old else None,
        "new_purl": change.new.purl if change.new else None,
        "fields": [{"field": field, "old": first, "new": second} for field, first, second in change.fields],
    }


def report_lines(report: Report) -> Iterator[str]:
    """A line for each rule, and below it whom it lacks for."""
    verdict = "met in full" if report.passed else f"{report.score:.1f} of 10"
    yield f"{PROFILES[report.profile]}: {verdict}"
    for one in report.verdicts:
        count = f" {one.met}/{one.total}" if one.rule.of_components else ""
        yield f"  {'yes ' if not one.lacking else 'no  '} {one.rule.says}{count}"
        if one.rule.of_components:
            yield from (f"         {ref}" for ref in one.lacking[:MOST_LACKING])
            if len(one.lacking) > MOST_LACKING:
                yield f"         and {len(one.lacking) - MOST_LACKING} more"


def report_data(report: Report) -> dict[str, Any]:
    return {
        "profile": report.profile,
        "title": PROFILES[report.profile],
        "passed": report.passed,
        "score": round(report.score, 2),
        "rules": [
            {
                "id": one.rule.id,
                "says": one.rule.says,
                "met": one.met,
                "total": one.total,
                "lacking": list(one.lacking),
            }
            for one in report.verdicts
        ],
    }
