"""`--list-hosts`, `--list-tasks`, `--list-tags`, `--syntax-check`: what a playbook holds, laid out as Ansible does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Block, Node, Play, Task
from ciflow.plan import Plan, Stage
from ciflow.plan.compile import text_of


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be listed. Falsy when nothing is: then the playbook is to be run."""

    hosts: bool = False
    tasks: bool = False
    tags: bool = False
    syntax: bool = False

    def __bool__(self) -> bool:
        return self.hosts or self.tasks or self.tags or self.syntax

    def lines(self, plan: Plan) -> Iterator[str]:
        """The text. A play for each cell of a matrix; of blocks the tasks that run when nothing fails."""
        yield f"\nplaybook: {plan.path}"
        if not (self.hosts or self.tasks or self.tags):
            return
        for number, stage in enumerate(plan.stages, 1):
            pattern = _pattern(stage.play)
            name = stage.play.name + (f" [{stage.id}]" if stage.cell else "")
            yield f"\n  play #{number} ({','.join(pattern)}): {name}\tTAGS: [{','.join(sorted(stage.play.tags))}]"
            yield from self._hosts(stage, pattern)
            yield from self._tasks(stage)

    def data(self, plan: Plan) -> Iterator[dict[str, Any]]:
        """The same as data, a play each."""
        for stage in plan.stages:
            found: dict[str, Any] = {"play": stage.play.name, "id": stage.id, "tags": sorted(stage.play.tags)}
            if self.hosts:
                found |= {"pattern": _pattern(stage.play), "hosts": [host.name for host in stage.hosts]}
            if self.tasks:
                found["tasks"] = [{"name": _name(task), "tags": sorted(task.tags)} for task in _listed(stage.play)]
            if self.tags:
                found["task_tags"] = _all_tags(stage.play)
            yield found

    def _hosts(self, stage: Stage, pattern: list[str]) -> Iterator[str]:
        if self.hosts:
            yield f"    pattern: {pattern}"
            yield f"    hosts ({len(stage.hosts)}):"
            yield from (f"      {host.name}" for host in stage.hosts)

    def _tasks(self, stage: Stage) -> Iterator[str]:
        if self.tasks:
            yield "    tasks:"
            for task in _listed(stage.play):
                yield f"      {_name(task)}\tTAGS: [{', '.join(sorted(task.tags))}]"
        if self.tags:
            yield f"      TASK TAGS: [{', '.join(_all_tags(stage.play))}]"


def _pattern(play: Play) -> list[str]:
    hosts = play.hosts if isinstance(play.hosts, list | tuple) else text_of(play.hosts).split(",")
    return [text_of(one).strip() for one in hosts]


def _listed(play: Play) -> Iterator[Task]:
    return (task for task in _bodies(play.tasks) if "implicit" not in task.tags)


def _bodies(nodes: tuple[Node, ...]) -> Iterator[Task]:
    for node in nodes:
        if isinstance(node, Block):
            yield from _bodies(node.body)
        else:
            yield node


def _name(task: Task) -> str:
    name = text_of(task.name)
    unnamed = name in ("", task.module)
    return f"{task.role} : {name}" if task.role and not unnamed else name or task.module


def _all_tags(play: Play) -> list[str]:
    return sorted(play.tags.union(*(task.tags for task in _listed(play))))
