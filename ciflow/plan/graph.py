"""The graph of a plan, drawn: a tree in text, DOT (graphviz.org), Mermaid (mermaid.js.org), or data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.model import Canary
from ciflow.plan.compile import Plan, Stage, text_of

_MOST_NAMED = 3  # hosts; more are counted


def tree(plan: Plan) -> str:
    """Each play with what it waits for, its cells, and the way of its dial."""
    groups = list(_plays(plan).values())
    lines = [plan.name]
    for number, stages in enumerate(groups):
        last = number == len(groups) - 1
        below = list(_below(stages, plan))
        lines.append(f"{'└─' if last else '├─'} {stages[0].play.name} [{stages[0].play.id}]  {_hosts(stages)}")
        for at, text in enumerate(below):
            lines.append(f"{'   ' if last else '│  '}{'└─' if at == len(below) - 1 else '├─'} {text}")
    return "\n".join(lines) + "\n"


def dot(plan: Plan) -> str:
    """For `dot -Tsvg`. A rollout is a hexagon; a play that runs in any case has a dashed border."""
    lines = ["digraph {", "  rankdir=LR;", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for stage in plan.stages:
        shape = ", shape=hexagon" if stage.play.canary else ""
        style = ', style="rounded,dashed"' if stage.play.always else ""
        lines.append(f"  {_quoted(stage.id)} [label={_quoted(_label(stage))}{shape}{style}];")
    lines += [f"  {_quoted(before)} -> {_quoted(after)};" for before, after in _edges(plan)]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(plan: Plan) -> str:
    """A flowchart, as Markdown pages of GitHub and GitLab show it."""
    names = {stage.id: f"n{number}" for number, stage in enumerate(plan.stages)}
    lines = ["flowchart LR"]
    for stage in plan.stages:
        open_, close = ("{{", "}}") if stage.play.canary else ("([", "])") if stage.play.always else ("[", "]")
        lines.append(f'  {names[stage.id]}{open_}"{_entities(_label(stage))}"{close}')
    lines += [f"  {names[before]} --> {names[after]}" for before, after in _edges(plan)]
    return "\n".join(lines) + "\n"


def data(plan: Plan) -> dict[str, Any]:
    """The same for programs: every stage (one cell of one play) and what it waits for."""
    return {"name": plan.name, "playbook": plan.path, "stages": [stage_data(stage) for stage in plan.stages]}


def dial(canary: Canary) -> str:
    """The way of the dial: `1 % -> 5 % -> 100 %`."""
    shares = [f"mirror {s.mirror / 100:g} %" if s.mirror else f"{s.weight / 100:g} %" for s in canary.steps]
    return " -> ".join([*shares, *(["100 %"] if shares[-1:] != ["100 %"] else [])])


def _plays(plan: Plan) -> dict[str, list[Stage]]:
    found: dict[str, list[Stage]] = {}
    for stage in plan.stages:
        found.setdefault(stage.play.id, []).append(stage)
    return found


def _below(stages: list[Stage], plan: Plan) -> Iterator[str]:
    play = stages[0].play
    if stages[0].needs:
        names = dict.fromkeys(plan.stage(id).play.name for id in stages[0].needs)
        yield f"after {', '.join(names)}" + ("" if stages[0].implicit else "  (needs)")
    if play.when:
        yield "when " + " and ".join(text_of(one) for one in play.when)
    if play.always:
        yield "always: also when a play before it failed"
    if play.approval is not None:
        yield f"approval: {text_of(play.approval.prompt)}"
    if stages[0].cell:
        most = play.matrix.get("max_parallel")
        yield f"matrix of {len(stages)}" + (f", at most {most} at once" if most else "") + ": " \
            + "; ".join(_cell(stage.cell) for stage in stages)  # fmt: skip
    if play.canary is not None:
        yield from _canary(play.canary)


def _canary(canary: Canary) -> Iterator[str]:
    yield f"canary of {text_of(canary.service)} {text_of(canary.version)} by {canary.router[0]}: {dial(canary)}"
    gates = [str(name) for gate in canary.gates for name in gate if name in ("errors", "latency", "slo", "query")]
    if gates:
        yield f"gates: {', '.join(gates)}; a bad one: {canary.on_failure}"


def _hosts(stages: list[Stage]) -> str:
    names = list(dict.fromkeys(host.name for stage in stages for host in stage.hosts))
    if len(names) > _MOST_NAMED:
        return f"{len(names)} hosts"
    return ", ".join(names) or "no hosts"


def _cell(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{axis}={value}" for axis, value in cell.items())


def _label(stage: Stage) -> str:
    lines = [stage.play.name, _cell(stage.cell), dial(stage.play.canary) if stage.play.canary else ""]
    return "\n".join(line for line in lines if line)


def _edges(plan: Plan) -> Iterator[tuple[str, str]]:
    for stage in plan.stages:
        for before in stage.needs:
            yield before, stage.id


def _quoted(text: str) -> str:
    """A string of DOT: only the quote and the backslash mean something in it; a line break is `\\n`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _entities(text: str) -> str:
    """Mermaid's own entities (`#35;`) for what its labels would read as markup."""
    safe = "".join(f"#{ord(one)};" if one in '#"<>&`*_{}' else one for one in text)
    return safe.replace("\n", "<br>")


def stage_data(stage: Stage) -> dict[str, Any]:
    """One stage for programs."""
    play = stage.play
    found: dict[str, Any] = {
        "id": stage.id, "play": play.name, "cell": dict(stage.cell), "needs": list(stage.needs),
        "implicit": stage.implicit, "always": play.always, "hosts": [host.name for host in stage.hosts],
        "open": stage.open,
    }  # fmt: skip
    if play.canary is not None:
        weights = [step.weight / 100 for step in play.canary.steps]
        found["canary"] = {"service": text_of(play.canary.service), "router": play.canary.router[0], "percent": weights}
    return found
