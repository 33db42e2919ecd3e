"""What includes will bring, as far as their names are known before the run: looked at now, read again when a host gets
there.

A file that is not there is no fault yet: a task may write it, or no host may ever get there. Neither is what stands in
one that is there where the include is rescued or its errors are ignored: somebody waits for it to fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.files import Files
from ciflow.lang.include import inherited, load_role, load_task_file
from ciflow.lang.names import templates_in, values_of
from ciflow.lang.roles import awaited, flat, walk
from ciflow.lang.sources import Sources
from ciflow.lang.template_check import check_template
from ciflow.model import Node, Playbook, Task

_MISSING = ("CF0401", "CF0402")
_FOREIGN = ("CF0106", "CF0123")  # modules and keywords that another system's file may well use

DEEPEST = 100  # includes in includes that are looked at
Ahead = Mapping[int, tuple[Node, ...]]


def look_ahead(playbook: Playbook, sources: Sources) -> Ahead:
    """The tasks of each include that names its file or role without a template, by the include's id().

    Faults in them go to `sources.findings`: as errors where the include runs in any case, else as warnings. A resumed
    run has looked before.
    """
    found = _Ahead(sources)
    if not sources.files.is_frozen:
        for play in playbook.plays:
            found.look_at(play.tasks, bool(play.when))
            canary = flat(play.canary.verify + play.canary.retire) if play.canary is not None else []
            found.look_at((*play.handlers, *canary), perhaps=True)
    return found.nodes


class _Ahead:
    """`nodes` are the tasks of each include by its id(). Files are read apart from those of the run, which is to see
    what they hold when it gets there."""

    def __init__(self, sources: Sources) -> None:
        self.nodes: dict[int, tuple[Node, ...]] = {}
        self._sources = sources
        self._files = Files.live(sources.files.vault)
        self._seen: dict[tuple[object, ...], bool] = {}  # includes met, and whether what they name can be read

    def look_at(self, nodes: tuple[Node, ...], perhaps: bool, depth: int = 0) -> None:
        """At all includes in nodes, those first that run in any case; `perhaps`: none of them may ever run."""
        tasks = [(task, rarely or bool(task.when) or task.loop is not None) for task, rarely in walk(nodes, perhaps)]
        for task, sometimes in sorted(tasks, key=itemgetter(1)):
            if task.module in ("include_tasks", "include_role") and not templates_in(task.args) and not _awaited(task):
                self._look(task, sometimes, depth)

    def _look(self, task: Task, perhaps: bool, depth: int) -> None:
        """What was met before brings nothing new, be it for the second time or by including itself."""
        key = (task.module, repr(task.args), task.span.file, task.role_path)
        if key in self._seen or depth > DEEPEST:
            if self._seen.get(key):
                self.nodes[id(task)] = ()
            return
        nodes = self._read(task, perhaps)
        self._seen[key] = nodes is not None
        if nodes is None:
            return
        self.nodes[id(task)] = nodes
        thought_of = {id(one) for one in awaited(nodes)}
        for below in flat(nodes):
            inside = templates_in(values_of(below))
            faults = [fault for one in inside for fault in check_template(one)]
            self._found(faults, task, perhaps or id(below) in thought_of)
        self.look_at(nodes, perhaps, depth + 1)

    def _read(self, task: Task, perhaps: bool) -> tuple[Node, ...] | None:
        try:
            if task.module == "include_tasks":
                return load_task_file(self._files, task, task.args)
            return load_role(self._files, task, task.args)
        except Invalid as fault:
            self._found(list(fault.diagnostics), task, perhaps)
            return None

    def _found(self, faults: list[Diagnostic], task: Task, perhaps: bool) -> None:
        for one in faults:
            if one.code in _MISSING or (perhaps and one.code in _FOREIGN):
                continue
            severity = "warning" if perhaps and one.is_error else one.severity
            if severity == "error" and one.span is not None and self._files.exists(one.span.file):
                self._sources.files.read(one.span.file)  # for the snippet: nothing will run
            related = one.related or (("included here", task.span),)
            self._sources.findings.items.append(replace(one, severity=severity, related=related))


def _awaited(task: Task) -> bool:
    """Whether somebody wrote what is to happen when it fails."""
    return task.ignore_errors is not False or inherited(task).rescued


def within(nodes: tuple[Node, ...], ahead: Ahead) -> Iterator[Task]:
    """The tasks of nodes, and those that their includes bring."""
    for task in flat(nodes):
        yield task
        if id(task) in ahead:
            yield from within(ahead[id(task)], ahead)
