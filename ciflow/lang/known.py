"""Every name that a playbook, its inventory and ciflow itself may define."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Findings, Span
from ciflow.lang.ahead import Ahead, within
from ciflow.lang.inventory import Inventory
from ciflow.lang.roles import flat
from ciflow.lang.schema import module_schema
from ciflow.lang.sources import Sources, join, places_of_vars
from ciflow.model import Play, Playbook, Task, Template

MAGIC = frozenset({
    "inventory_hostname", "inventory_hostname_short", "groups", "group_names", "hostvars", "play_hosts", "role_name",
    "role_path", "role_names", "playbook_dir", "inventory_dir", "inventory_file", "omit", "item", "vars", "environment",
    "git", "run", "matrix", "plays", "services", "test_history",
    "template_path", "template_fullpath", "template_host", "template_uid", "template_run_date", "template_destpath",
    "template_mtime",
})  # fmt: skip
_FACT_PREFIXES = ("ansible_", "getent_", "facter_", "ohai_")


@dataclass(slots=True)
class Known:
    """Names, and of each its values as far as they stand in a file. `open`: any other name may exist as well."""

    values: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)
    open: bool = False

    def __contains__(self, name: str) -> bool:
        return self.open or name in self.values or name in MAGIC or name.startswith(_FACT_PREFIXES)

    def add(self, values: Mapping[Any, Any], owner: str) -> None:
        for name, value in values.items():
            if isinstance(name, Template):
                self.open = True
            else:
                self.values.setdefault(name, []).append((value, owner))

    def learn(self, *names: str) -> None:
        """Names whose values are only known when the run gets there."""
        for name in names:
            self.values.setdefault(name, []).append((None, ""))


def known_names(
    playbook: Playbook, inventory: Inventory, extra: Mapping[str, Any], sources: Sources, ahead: Ahead
) -> Known:
    """What may be defined anywhere in the playbook; order is not looked at. `ahead`: what its includes bring."""
    known = Known()
    known.add(playbook.vars, "playbook")
    known.add(dict.fromkeys(extra), "extra")
    for layers in inventory.layers.values():
        known.learn(*(name for layer in layers for name in layer.values))
        known.open |= any(getattr(layer.values, "locked", ()) for layer in layers)  # nobody knows what is in it
    for play in playbook.plays:
        _of_play(play, known, sources, ahead)
    _of_groups_to_come(playbook, inventory, known, sources)
    for place in sources.lost:
        known.learn(str(place.value.get("register")))
        known.open |= any(_short(key) in _TELLING for key in place.value)
    return known


def _of_groups_to_come(playbook: Playbook, inventory: Inventory, known: Known, sources: Sources) -> None:
    """Tasks may make groups and hosts: whatever lies in group_vars and host_vars may then be defined."""
    if not any(task.module in ("add_host", "group_by") for play in playbook.plays for task in flat(play.tasks)):
        return
    unheard = Findings()  # a file that can't be read is said when its group comes
    documents = Sources(sources.files, "", findings=unheard)
    folders = {inventory.directory or ".", sources.folder or "."}
    for folder in (join(folder, part) for folder in folders for part in ("group_vars", "host_vars")):
        for path in documents.tree(folder):
            known.learn(*documents.variables(documents.document(path), path))


_TELLING = frozenset(
    {"set_fact", "include_vars", "include_role", "include_tasks", "import_role", "import_tasks", "add_host"}
)


def _short(key: Any) -> str:
    return str(key).rpartition(".")[2]


def _of_play(play: Play, known: Known, sources: Sources, ahead: Ahead) -> None:
    known.add(play.vars, "play")
    for values in (*play.role_defaults, *play.role_vars):
        known.add(values, "role")
    known.learn(*(prompt.name for prompt in play.prompts))
    for file in play.vars_files:
        _vars_file(file, known, sources, play.spans.get("vars_files", play.span))
    if play.canary is not None:
        for values in play.canary.slots.values():
            known.add(values, "slot") if isinstance(values, Mapping) else None
    nodes = play.tasks + play.handlers + ((play.canary.verify + play.canary.retire) if play.canary else ())
    for task in within(nodes, ahead):
        known.learn(*_told(task, known, ahead))


def _vars_file(file: Any, known: Known, sources: Sources, span: Span) -> None:
    if not isinstance(file, str):
        known.open = True
        return
    path = sources.first(places_of_vars(sources.folder, file))
    document = sources.document(path) if path else None
    if path is None:
        sources.findings.error("CF0402", f"the file {file} of `vars_files` is not found", span)
    elif document is None:
        known.open = True  # its own fault is told, and nobody knows what is in it
    else:
        known.add(sources.variables(document, path), path)


def _told(task: Task, known: Known, ahead: Ahead) -> Iterator[str]:
    """Names that a task defines for itself or for what comes after it."""
    if task.register:
        yield task.register
    if task.loop is not None:
        yield task.loop.var
        if task.loop.index_var:
            yield task.loop.index_var
    for values in (*task.vars, *task.params, *task.defaults):
        yield from (name for name in values if isinstance(name, str))
    if task.module in ("set_fact", "add_host"):
        known.open |= any(not isinstance(name, str) or name == "" for name in task.args)
        yield from (name for name in task.args if isinstance(name, str))
    elif (
        task.module == "include_vars"
        or (task.module in ("include_role", "include_tasks") and id(task) not in ahead)
        or "" in task.args
        or (task.module != "setup" and "ansible_facts" in module_schema(task.module).returns)
    ):
        known.open = True
