"""Why a variable has its value: every level of precedence that sets it for a host, in a play and while that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.diagnostics import Span
from ciflow.lang.inventory import Inventory
from ciflow.lang.roles import flat
from ciflow.lang.scope import Level, Scope
from ciflow.lang.variables import Reason, layers_for, why
from ciflow.model import Host, Play, Playbook, Task

# As Ansible's documentation calls them ("Understanding variable precedence").
CALLED: dict[Level, str] = {
    Level.KEYWORDS: "keyword",
    Level.ROLE_DEFAULTS: "role defaults",
    Level.INVENTORY_GROUP: "inventory group",
    Level.INVENTORY_GROUP_VARS_ALL: "inventory group_vars/all",
    Level.PLAYBOOK_GROUP_VARS_ALL: "playbook group_vars/all",
    Level.INVENTORY_GROUP_VARS: "inventory group_vars",
    Level.PLAYBOOK_GROUP_VARS: "playbook group_vars",
    Level.INVENTORY_HOST: "inventory host",
    Level.INVENTORY_HOST_VARS: "inventory host_vars",
    Level.PLAYBOOK_HOST_VARS: "playbook host_vars",
    Level.FACTS: "facts",
    Level.PLAY_VARS: "play vars",
    Level.VARS_PROMPT: "play vars_prompt",
    Level.VARS_FILES: "play vars_files",
    Level.ROLE_VARS: "role vars",
    Level.BLOCK_VARS: "block vars",
    Level.TASK_VARS: "task vars",
    Level.INCLUDE_VARS: "include_vars",
    Level.SET_FACTS: "set_fact, register",
    Level.ROLE_PARAMS: "role parameters",
    Level.INCLUDE_PARAMS: "include parameters",
    Level.EXTRA_VARS: "extra vars (-e)",
    Level.LOOP: "loop",
    Level.MAGIC: "magic",
}
_NOWHERE = Playbook("", "", ())
_NO_PLAY = Play("", "", "", Span(""))


def scope_of(host: Host, inventory: Inventory, extra: Mapping[str, Any], playbook: Playbook | None = None,
             play: Play | None = None, vars_files: tuple[Mapping[str, Any], ...] = ()) -> Scope:  # fmt: skip
    """What a play's templates see on a host before anything has run; without a play what the inventory says."""
    return layers_for(
        playbook or _NOWHERE, play or _NO_PLAY, host, inventory=inventory, vars_files=vars_files, extra=extra
    )


def reasons(name: str, scope: Scope, play: Play | None) -> tuple[Reason, ...]:
    """Levels that set `name`, the winner first. Those of single tasks say in whose they hold or from when on."""
    found = [*why(scope, name), *(_of_tasks(name, play) if play is not None else ())]
    found.sort(key=lambda one: -one.level)
    unique: dict[tuple[str, str], Reason] = {}
    for one in found:  # a folder may be both the inventory's and the playbook's: its greater level counts
        unique.setdefault((str(one.span or one.level), one.owner), one)
    return tuple(unique.values())


def _of_tasks(name: str, play: Play) -> Iterator[Reason]:
    for task in flat(play.tasks + play.handlers):
        called = str(getattr(task.name, "source", task.name)) or task.module
        for values, usual in (*((one, Level.TASK_VARS) for one in task.vars),
                              *((one, Level.ROLE_PARAMS) for one in task.params)):  # fmt: skip
            level = getattr(values, "level", None) or usual
            if name in values and level is not Level.KEYWORDS:
                yield Reason(level, values[name], _span(values, name, task), f"in the task {called}")
        after = f"after the task {called}"
        if task.register == name:
            yield Reason(Level.SET_FACTS, "(its result)", task.spans.get("register") or task.span, after)
        if task.module == "set_fact" and name in task.args:
            yield Reason(Level.SET_FACTS, task.args[name], task.spans.get(name) or task.span, after)


def _span(values: Mapping[str, Any], name: str, task: Task) -> Span:
    found: Span | None = getattr(values, "spans", {}).get(name)
    return found or task.span
