"""A playbook and an inventory become a Plan: stages in a graph, each with its hosts and tasks.

The steps of `compile_plan` are the whole algorithm: expand the matrix, join the needs, choose the hosts, choose
the tasks by tag, and refuse what can't be (cycles, unknown names, an unknown start).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Findings, Invalid
from ciflow.lang.names import templates_in
from ciflow.lang.near import did_you_mean
from ciflow.lang.roles import flat
from ciflow.model import Block, Host, Node, Play, Playbook, Task, Value
from ciflow.plan.matrix import cell_id, cells
from ciflow.plan.tags import prune


@dataclass(frozen=True, slots=True)
class Stage:
    """One cell of one play. `needs` are ids of stages; `implicit` when only the order of the plays says so."""

    id: str
    play: Play
    cell: Mapping[str, Any]
    hosts: tuple[Host, ...]
    needs: tuple[str, ...]
    implicit: bool
    open: bool = False  # tasks before it may give it other hosts: they are chosen when it begins


@dataclass(frozen=True, slots=True)
class Selection:
    """What the command line leaves of a playbook. `plays` by name or id, none for all; without `rollouts` a play that
    has a canary runs only where it is among them."""

    tags: frozenset[str] = frozenset()
    skip_tags: frozenset[str] = frozenset()
    limit: str = ""
    start_at: str = ""
    plays: frozenset[str] = frozenset()
    rollouts: bool = True


EVERYTHING = Selection()


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will walk through. Stages are in the order written, which is also a topological order hint.

    `selection` chooses among the tasks that are included while it runs, too.
    """

    name: str
    path: str
    playbook: Playbook
    stages: tuple[Stage, ...]
    selection: Selection

    def stage(self, id: str) -> Stage:
        return next(stage for stage in self.stages if stage.id == id)


HostsOf = Callable[[Play, Mapping[str, Any], str], tuple[Host, ...]]


def compile_plan(playbook: Playbook, hosts_of: HostsOf, selection: Selection = EVERYTHING) -> Plan:
    """Raises Invalid with every fault found. `hosts_of(play, cell, limit)` is the inventory's answer."""
    findings = Findings()
    expanded = {play.id: [(play, cell) for cell in cells(play.matrix)] for play in playbook.plays}
    ids = {id: tuple(cell_id(id, cell) for _, cell in pairs) for id, pairs in expanded.items()}
    stages: list[Stage] = []
    before: tuple[str, ...] = ()
    growing = False
    for play in playbook.plays:
        needs = before if play.needs is None else _explicit(play, playbook, ids, findings)
        for _, cell in expanded[play.id]:
            chosen = _select(_one_of(play, len(expanded[play.id]), findings), selection)
            id = cell_id(play.id, cell)
            hosts = hosts_of(play, cell, selection.limit)
            stages.append(Stage(id, chosen, cell, hosts, needs, play.needs is None, growing))
        growing = growing or any(makes_hosts(task) for task in tasks_of(play.tasks))
        before = ids[play.id]
    _refuse_cycles(stages, findings)
    stages = _asked_for(stages, selection, findings)
    if selection.start_at:
        stages = _start_at(stages, selection.start_at, findings)
    if selection.limit and not any(stage.hosts for stage in stages):
        findings.error("CF0602", f"no host of any play matches the limit `{selection.limit}`", None)
    if findings.errors:
        raise Invalid([*dict.fromkeys(findings.items)])
    return Plan(playbook.name, playbook.path, playbook, tuple(stages), selection)


def nowhere(plan: Plan, findings: Findings) -> None:
    """Cells of a matrix whose hosts are nobody: what they would do is left out, and everything else goes well."""
    for stage in plan.stages if not plan.selection.limit else ():
        if stage.cell and not stage.hosts and not stage.open and templates_in(stage.play.hosts):
            cell = ", ".join(f"{axis}: {value}" for axis, value in stage.cell.items())
            findings.warning("CF0602", f"`{stage.play.name}` has no host in the cell {{{cell}}}",
                             stage.play.spans.get("hosts", stage.play.span), label="the cell runs nowhere")  # fmt: skip


def tasks_of(nodes: tuple[Node, ...]) -> Iterator[Task]:
    """Every task below `nodes`, depth first, rescue and always included."""
    for node in nodes:
        if isinstance(node, Block):
            yield from tasks_of(node.body + node.rescue + node.always)
        else:
            yield node


def every_task(play: Play) -> Iterator[Task]:
    """All of a play, handlers and those of its canary among them."""
    canary = (play.canary.verify, play.canary.retire) if play.canary is not None else ()
    for nodes in (play.tasks, *canary, play.handlers):
        yield from tasks_of(nodes)


def cells_of(plan: Plan, stage: Stage) -> tuple[Stage, ...]:
    """All cells of the stage's play, itself among them: of a canary they are one release."""
    return tuple(other for other in plan.stages if other.play.id == stage.play.id)


def rollout_alone(plan: Plan, id: str) -> Plan:
    """The rollout that the stage `id` is a cell of, and what it needs; it was approved before."""
    cells = cells_of(plan, plan.stage(id))
    wanted, ahead = set[str](), [cell.id for cell in cells]
    while ahead:
        wanted.add(one := ahead.pop())
        ahead += [need for need in plan.stage(one).needs if need not in wanted]
    approved = {cell.id: replace(cell, play=replace(cell.play, approval=None)) for cell in cells}
    return replace(plan, stages=tuple(approved.get(s.id, s) for s in plan.stages if s.id in wanted))


def irreversible(plan: Plan, stage: Stage) -> tuple[str, ...]:
    """The names of the tasks, up to and with this stage, that can't be undone by going back."""
    before = plan.stages[: plan.stages.index(stage) + 1]
    canary = stage.play.canary
    nodes = [*(one.play.tasks for one in before), *((canary.verify,) if canary else ())]
    named = (task for some in nodes for task in tasks_of(some) if task.irreversible)
    return tuple(dict.fromkeys(text_of(task.name) for task in named))


def makes_hosts(task: Task) -> bool:
    """Whether a task may change which hosts later plays have."""
    return task.module in ("add_host", "group_by") or (
        task.module == "meta" and "refresh_inventory" in task.args.values()
    )


def _one_of(play: Play, cells: int, findings: Findings) -> Play:
    """A canary over a matrix is one release: its chance of a false rollback is split over all cells (Bonferroni)."""
    if play.canary is None or cells < 2:
        return play
    if play.matrix.get("max_parallel"):
        text = f"the dials of `{play.name}` move together: `max_parallel` would let some of them wait for ever"
        findings.error("CF0130", text, play.spans.get("matrix", play.canary.span))
    return replace(play, canary=replace(play.canary, alpha=play.canary.alpha / cells))


def _select(play: Play, selection: Selection) -> Play:
    if not selection.tags and not selection.skip_tags:
        return replace(play, tasks=prune(play.tasks, frozenset(), frozenset()))
    return replace(play, tasks=prune(play.tasks, selection.tags, selection.skip_tags))


def _explicit(
    play: Play, playbook: Playbook, ids: Mapping[str, tuple[str, ...]], findings: Findings
) -> tuple[str, ...]:
    by_name = {other.name: other.id for other in playbook.plays} | {other.id: other.id for other in playbook.plays}
    found: list[str] = []
    for name in play.needs or ():
        if name in by_name:
            found.extend(ids[by_name[name]])
        else:
            findings.error("CF0301", f"`needs` names a play that is not there: `{name}`", play.span)
    return tuple(found)


def _refuse_cycles(stages: list[Stage], findings: Findings) -> None:
    """Kahn's algorithm (1962): what can't be put in an order stands on a cycle, or waits for one."""
    left = {stage.id: set(stage.needs) for stage in stages}
    while ready := [id for id, needs in left.items() if not needs & left.keys()]:
        for id in ready:
            del left[id]
    for stage in stages:
        if stage.id in left:
            findings.error("CF0302", f"play `{stage.play.name}` waits for itself through `needs`", stage.play.span)


def _asked_for(stages: list[Stage], selection: Selection, findings: Findings) -> list[Stage]:
    """Plays that were asked for, with those that their `needs` name: their order alone makes none needed. With a
    rollout that nobody asked for by name goes what comes after it."""
    if not selection.plays and selection.rollouts:
        return stages
    named = {stage.id for stage in stages if {stage.play.name, stage.play.id} & selection.plays}
    known = {name for stage in stages for name in (stage.play.name, stage.play.id)}
    for name in sorted(selection.plays - known):
        findings.error("CF0303", f"no play is named `{name}`", None, help=did_you_mean(name, known)())
    of = {stage.id: stage for stage in stages}
    wanted, ahead = set[str](), list(named if selection.plays else of)
    while ahead:
        if (one := ahead.pop()) not in wanted:
            wanted.add(one)
            ahead += [] if of[one].implicit else of[one].needs
    shut = set[str]()
    for stage in stages if not selection.rollouts else ():
        unasked = stage.play.canary is not None and stage.id not in named
        if unasked or (stage.id not in named and not shut.isdisjoint(stage.needs)):
            shut.add(stage.id)
        elif stage.id in named and not stage.implicit and (missing := shut.intersection(stage.needs)):
            play = of[min(missing)].play.name
            findings.error("CF0303", f"`{stage.play.name}` needs `{play}`, which rolls out or comes after what does",
                           stage.play.span, help=f"ask for it by its name, too: --play '{play}'")  # fmt: skip
    kept = wanted - shut
    return [replace(s, needs=tuple(n for n in s.needs if n in kept)) for s in stages if s.id in kept]


def _start_at(stages: list[Stage], name: str, findings: Findings) -> list[Stage]:
    """Drop everything before the first task of that name (or `role : name`, or pattern of one) of `--start-at-task`."""
    for number, stage in enumerate(stages):
        tasks = _from_task(stage.play.tasks, name)
        if tasks is not None:
            first = replace(stage, play=replace(stage.play, tasks=tasks), needs=())
            later = [
                replace(s, needs=tuple(n for n in s.needs if n in {t.id for t in stages[number:]}))
                for s in stages[number + 1 :]
            ]
            return [first, *later]
    known = [text_of(task.name) for stage in stages for task in flat(stage.play.tasks)]
    findings.error("CF0303", f"no task is named `{name}`", None, help=did_you_mean(name, known)())
    return stages


def _from_task(nodes: tuple[Node, ...], name: str) -> tuple[Node, ...] | None:
    for number, node in enumerate(nodes):
        if isinstance(node, Task):
            called = (text_of(node.name), f"{node.role} : {text_of(node.name)}")
            if name in called or any(fnmatchcase(one, name) for one in called):
                return nodes[number:]
        elif (inside := _from_task(node.body, name)) is not None:
            return (replace(node, body=inside), *nodes[number + 1 :])
    return None


def text_of(value: Value) -> str:
    """A name as written, templates unrendered."""
    return str(getattr(value, "source", value))
