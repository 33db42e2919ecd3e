"""Which names a task asks for and which it tells: what may be sent ahead, and whether facts must be read first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.lang.names import templates_in
from ciflow.lang.scope import OMIT, Scope
from ciflow.lang.template import names_of, render
from ciflow.model import Node, Play, Task
from ciflow.plan.compile import tasks_of

# Names of Ansible's that are not read from the host.
NOT_FACTS = frozenset(
    {"ansible_check_mode", "ansible_diff_mode", "ansible_verbosity", "ansible_play_hosts", "ansible_play_hosts_all"}
    | {"ansible_play_batch", "ansible_play_name", "ansible_failed_task", "ansible_failed_result", "ansible_loop"}
    | {"ansible_loop_var", "ansible_index_var", "ansible_host", "ansible_port", "ansible_user", "ansible_connection"}
    | {"ansible_managed", "ansible_version", "ansible_ssh_private_key_file", "ansible_ssh_common_args"}
    | {"ansible_python_interpreter", "ansible_password", "ansible_become", "ansible_become_user"}
    | {"ansible_become_password", "ansible_become_method", "ansible_become_flags", "ansible_become_exe"}
    | {"ansible_search_path", "ansible_role_name", "ansible_parent_role_names", "ansible_parent_role_paths"}
    | {"ansible_play_role_names", "ansible_role_names", "ansible_dependent_role_names", "ansible_delegated_vars"}
    | {"ansible_run_tags", "ansible_skip_tags", "ansible_limit", "ansible_inventory_sources", "ansible_forks"}
    | {"ansible_playbook_python", "ansible_config_file", "ansible_ssh_host"}
)


TELLING = frozenset({"set_fact", "setup", "include_vars"})  # modules whose arguments name what they tell
# How a connection is made may depend on variables too.
_OF_CONNECTION = frozenset(
    {"ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_become", "ansible_become_user"}
)
_ALL_FACTS = re.compile(r"\bansible_facts\b")
_ONE_FACT = re.compile(r"\bansible_facts(?:\.(\w+)\b(?!\()|\[['\"](\w+)['\"]\])")
# What a template reads of the world when it is rendered, not of its host when the task gets there.
_CLOCK = re.compile(
    r"\bnow\s*\(|\|\s*(?:ansible\.builtin\.)?strftime\b|"
    r"\b(?:lookup|query|q)\s*\(\s*['\"](?:ansible\.builtin\.)?(?:pipe|url)\b"
)
_FILES = re.compile(r"\b(?:lookup|query|q)\s*\(|\bis\s+(?:not\s+)?(?:file|directory|exists|link|mount)\b|\bfileglob\b")


def delegate(task: Task, scope: Scope) -> str:
    """The host that a task is delegated to; none where there is no such keyword, or it comes to `omit`."""
    name = OMIT if task.delegate_to is None else render(task.delegate_to, scope)
    return "" if name is OMIT or name is None else str(name)


def retried(task: Task) -> bool:
    """Whether it may be tried more than once: it has `until`, or `retries` alone, which means until it goes well."""
    return task.until is not None or task.retries is not None


def names_in(value: Any) -> frozenset[str]:
    """Every variable that templates in `value` read."""
    return frozenset().union(*(names_of(one).free for one in templates_in(value)))


def asked_by(task: Task) -> frozenset[str]:
    """Names that the task itself reads, anywhere in its keywords."""
    return names_in(_values_of(task)) | _specified(task)


def _specified(task: Task) -> frozenset[str]:
    """The variables that `validate_argument_spec` looks at by their names: any, where a template says which."""
    if task.module != "validate_argument_spec":
        return frozenset()
    spec = task.args.get("argument_spec")
    return frozenset(map(str, spec)) if isinstance(spec, Mapping) else frozenset({"vars"})


def _values_of(task: Task) -> list[Any]:
    """What of a task may hold templates."""
    loop = [task.loop.items] if task.loop else []
    conditions = [*(task.changed_when or ()), *(task.failed_when or ()), *(task.until or ())]
    values: list[Any] = [task.name, task.args, *task.when, *loop, *task.vars, *task.environment, *conditions]
    values += [*task.params, task.retries, task.delay, task.run_once]
    values += [task.become.enabled, task.become.user, task.become.method, task.become.flags, task.become.exe]
    values += [task.no_log, task.check_mode, task.diff, task.timeout, task.throttle, task.delegate_to]
    return [*values, task.async_limit, task.poll]


def told_by(task: Task) -> frozenset[str]:
    """Names that the task's result may give or change."""
    register = {task.register} if task.register else set()
    facts = set(task.args) if task.module in TELLING else set()
    return frozenset(register | facts)


def reaches(names: frozenset[str], targets: frozenset[str], scope: Scope) -> bool:
    """Whether one of `names` depends on one of `targets`, through any number of variables."""
    return any(name in targets or name in ("vars", "hostvars") for name, _ in _behind(names | _OF_CONNECTION, scope))


def looks_around(task: Task, names: frozenset[str], scope: Scope, *, at_home: bool) -> bool:
    """Whether rendering the task reads a clock, a web page or the output of a program; `at_home`, on the controller
    itself, also whether it reads a file there, which the task before may be about to write."""
    values = [task.args, task.when, task.vars, task.environment, task.loop.items if task.loop else None]
    sources = list(_sources(values))
    for _, value in _behind(names, scope):
        sources += _sources(value)
    if any(_CLOCK.search(source) for source in sources):
        return True
    reads = task.loop is not None and task.loop.kind in ("file", "fileglob", "lines", "first_found", "ini", "csvfile")
    return at_home and (reads or any(_FILES.search(source) for source in sources))


def _behind(names: frozenset[str], scope: Scope) -> Iterator[tuple[str, Any]]:
    """Variables that `names` depend on, themselves among them, with their unrendered values."""
    seen: set[str] = set()
    left = set(names)
    while left:
        name = left.pop()
        seen.add(name)
        value = scope.written(name)
        yield name, value
        left |= names_in(value) - seen


def _sources(value: Any) -> Iterator[str]:
    """The text of every template in a value."""
    return (template.source for template in templates_in(value))


def facts_asked(play: Play, nodes: tuple[Node, ...]) -> frozenset[str]:
    """Facts of the host that templates in the play name; `ansible_facts` where one reads it whole."""
    tasks = (*tasks_of(nodes), *play.handlers)
    values = [dict(play.vars), *map(_values_of, tasks)]
    names = {name for name in names_in(values) if name.startswith("ansible_") and name not in NOT_FACTS}
    if "ansible_facts" in names:
        text = "\n".join(_sources(values))
        found = [first or second for first, second in _ONE_FACT.findall(text)]
        if len(found) == len(_ALL_FACTS.findall(text)):
            names = (names - {"ansible_facts"}) | {f"ansible_{name}" for name in found}
    return frozenset(names)
