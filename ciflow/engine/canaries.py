"""What of a rollout can be refused before anything runs: gates, slots, settings of routers, as far as they are known.

What isn't known by then, for a task makes it, the rollout finds when it begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Invalid, Refused
from ciflow.lang.canary import judged
from ciflow.lang.load import Loaded
from ciflow.lang.names import templates_in
from ciflow.lang.reasons import scope_of
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope
from ciflow.lang.template import render
from ciflow.model import Canary
from ciflow.plan import Plan, Stage


@dataclass(frozen=True, slots=True)
class _Known:
    """What a canary says of its routers, rendered for one cell of its play's matrix."""

    service: str
    settings: Mapping[str, Any]
    slots: Mapping[str, Mapping[str, Any]]
    by: str


def refuse_canaries(loaded: Loaded, plan: Plan) -> None:
    """Raises Invalid with all of them."""
    found: list[Diagnostic] = []
    for play in loaded.playbook.plays:
        if play.canary is None:
            continue
        found += _faulty_gates(play.canary)
        cells = [stage for stage in plan.stages if stage.play.id == play.id and stage.hosts]
        for stage in cells:
            found += _faulty_cell(play.canary, stage)
        for known in [_of_cell(play.canary, loaded, stage) for stage in cells] or [_literal(play.canary)]:
            found += _faulty_router(play.canary, known) if known is not None else ()
    if found:
        raise Invalid([*dict.fromkeys(found)], loaded.files.sources())


def _literal(canary: Canary) -> _Known | None:
    """Where no template stands."""
    _, settings = canary.router
    if any(templates_in([settings, canary.slots, canary.by])):
        return None
    service = canary.service if isinstance(canary.service, str) else "service"
    return _Known(service, settings, canary.slots, canary.by)


def _of_cell(canary: Canary, loaded: Loaded, stage: Stage) -> _Known | None:
    """By the variables of the cell's first host, as the rollout renders it; None where they don't say all yet."""
    if literal := _literal(canary):
        return literal
    scope = scope_of(stage.hosts[0], loaded.inventory, loaded.extra, loaded.playbook, stage.play)
    scope = scope.child({"matrix": stage.cell})
    try:
        service, settings, slots = (render(one, scope) for one in (canary.service, canary.router[1], canary.slots))
    except (Invalid, Need, NeedFacts):
        return None
    return _Known(str(service), dict(settings), {name: dict(slot) for name, slot in slots.items()}, canary.by)


def _faulty_cell(canary: Canary, stage: Stage) -> Iterator[Diagnostic]:
    """Templates that fail by the cell of the matrix alone, which nothing changes any more. One that reads another name
    may be made right until the rollout begins."""
    scope = Scope((Layer(Level.PLAY_VARS, {"matrix": stage.cell}),), render)
    for template in templates_in([canary.service, canary.version, canary.router[1], canary.slots]):
        try:
            render(template, scope)
        except (Need, NeedFacts):
            continue
        except Invalid as error:
            if stage.cell and not any("is not defined" in one.message for one in error.diagnostics):
                cell = ", ".join(f"{axis}: {value}" for axis, value in stage.cell.items())
                yield from (replace(one, help=one.help or f"in the cell {{{cell}}}") for one in error.diagnostics)


def _faulty_router(canary: Canary, known: _Known) -> Iterator[Diagnostic]:
    from ciflow.rollout.routers import build, uncounted

    try:
        kind = canary.router[0]
        routers = build(kind, known.settings, known.service, known.slots, ("host",), edges=(0.1,), by=known.by)
    except Refused as error:
        key = "slots" if error.message.startswith("slots") else "router"
        yield Diagnostic("error", "CF0130", error.message, canary.spans.get(key), help=error.help)
        return
    blind = [name for gate in canary.gates for name, options in gate.items()
             if name != "query" and "bad" not in options]  # fmt: skip
    if message := uncounted(blind, routers):
        yield Diagnostic("error", "CF0311", message, canary.spans.get("router"))


def _faulty_gates(canary: Canary) -> Iterator[Diagnostic]:
    if any(templates_in(gates := judged(canary.gates))):
        return
    from ciflow.rollout.gates import gates_from

    try:
        gates_from(gates, canary.alpha)
    except ValueError as error:
        yield Diagnostic("error", "CF0311", str(error), canary.spans.get("gates"))
