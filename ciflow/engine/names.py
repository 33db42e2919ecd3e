"""Which names a task asks for and which it tells: what may be sent ahead, and whether facts must be read first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.lang.scope import Scope
from ciflow.lang.template import free_names
from ciflow.model import Node, Play, Task, Template
from ciflow.plan.compile import tasks_of

# Names of Ansible's that are not read from the host.
NOT_FACTS = frozenset(
    {"ansible_check_mode", "ansible_diff_mode", "ansible_verbosity", "ansible_play_hosts", "ansible_play_hosts_all"}
    | {"ansible_play_batch", "ansible_play_name", "ansible_failed_task", "ansible_failed_result", "ansible_loop"}
    | {"ansible_loop_var", "ansible_index_var", "ansible_host", "ansible_port", "ansible_user", "ansible_connection"}
    | {"ansible_managed", "ansible_version", "ansible_ssh_private_key_file", "ansible_ssh_common_args"}
    | {"ansible_python_interpreter", "ansible_password", "ansible_become", "ansible_become_user"}
    | {"ansible_become_password", "ansible_become_method"}
)


def names_in(value: Any) -> frozenset[str]:
    """Every variable that templates in `value` read."""
    if isinstance(value, Template):
        return free_names(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return frozenset().union(*map(names_in, value)) if value else frozenset()
    return frozenset()


def asked_by(task: Task) -> frozenset[str]:
    """Names that the task itself reads, anywhere in its keywords."""
    loop = [task.loop.items] if task.loop else []
    conditions = [*(task.changed_when or ()), *(task.failed_when or ()), *(task.until or ())]
    values: list[Any] = [task.name, task.args, *task.when, *loop, *task.vars, *task.environment, *conditions]
    values += [*task.params, task.become.enabled, task.become.user, task.retries, task.delay, task.run_once]
    return names_in(values)


def told_by(task: Task) -> frozenset[str]:
    """Names that the task's result may give or change."""
    register = {task.register} if task.register else set()
    facts = set(task.args) if task.module in ("set_fact", "setup", "include_vars") else set()
    return frozenset(register | facts)


def reaches(names: frozenset[str], targets: frozenset[str], scope: Scope) -> bool:
    """Whether one of `names` depends on one of `targets`, through any number of variables."""
    seen: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        if name in targets or name in ("vars", "hostvars"):
            return True
        seen.add(name)
        _, value, _, _ = next(scope.why(name), (None, None, None, ""))
        left |= names_in(value) - seen
    return False


def asks_for_facts(play: Play, nodes: tuple[Node, ...]) -> bool:
    """Whether a template in the play names a fact of the host."""
    names = names_in(dict(play.vars))
    for task in (*tasks_of(nodes), *play.handlers):
        names |= asked_by(task)
    return any(name == "ansible_facts" or (name.startswith("ansible_") and name not in NOT_FACTS) for name in names)
