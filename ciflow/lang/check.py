"""Checks over a whole playbook before anything runs. Where it can't be sure, it is silent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.lang.ahead import look_ahead
from ciflow.lang.artifacts import check_artifacts
from ciflow.lang.inventory import Inventory
from ciflow.lang.known import Known, known_names
from ciflow.lang.names import templates_in, values_of
from ciflow.lang.near import did_you_mean
from ciflow.lang.role_arguments import check_role_arguments
from ciflow.lang.roles import awaited, flat
from ciflow.lang.schema import module_schema, verbs
from ciflow.lang.sources import Sources
from ciflow.lang.template_check import check_template
from ciflow.lang.undefined import Undefined
from ciflow.lang.used_files import check_files
from ciflow.model import Host, Play, Playbook, Task, Template

NO_PYTHON = "none"  # as interpreter of a host: it has no Python


def check(playbook: Playbook, inventory: Inventory, extra: Mapping[str, Any], sources: Sources) -> None:
    """Faults that show only over the whole; they go to `sources.findings`."""
    ahead = look_ahead(playbook, sources)
    known = known_names(playbook, inventory, extra, sources, ahead)
    templated = _templates(playbook, inventory, known, sources)
    for play in playbook.plays:
        _hosts(play, playbook, inventory, sources)
        _handlers(play, sources)
        _registers(play, sources)
        _python(play, inventory, sources)
    used = check_files(playbook, sources)
    Undefined(playbook, known, sources).check(used, templated)
    check_role_arguments(known, sources)
    check_artifacts(playbook, sources)


def pattern_of(play: Play) -> str:
    """The hosts of a play as written; "" where only the run knows them, or the schema refuses their kind."""
    if any(templates_in(play.hosts)) or not isinstance(play.hosts, str | list):
        return ""
    return ",".join(map(str, play.hosts)) if isinstance(play.hosts, list) else str(play.hosts or "")


def chosen(play: Play, inventory: Inventory) -> tuple[Host, ...]:
    """The hosts of a play as far as they are known before the run: none for a pattern that has been refused."""
    pattern = pattern_of(play)
    return () if inventory.fault(pattern) else inventory.select(pattern)


def tasks_of(play: Play) -> list[Task]:
    """Every task of a play: its own, its handlers, and those of its canary."""
    canary = play.canary
    return flat(play.tasks) + list(play.handlers) + (flat(canary.verify + canary.retire) if canary else [])


def _templates(playbook: Playbook, inventory: Inventory, known: Known, sources: Sources) -> frozenset[int]:
    """Syntax of every template, each once; a warning where a task is wanted to fail. Gives the id() of each task that
    has any: most of a large playbook have none, and need no other look."""
    found: dict[int, Template] = {id(one): one for one in templates_in(list(_values(playbook, inventory, known)))}
    templated: set[int] = set()
    mild: dict[int, Template] = {}
    for play in playbook.plays:
        thought_of = {id(task) for task in awaited(play.tasks)}
        for task in tasks_of(play):
            if inside := templates_in(values_of(task)):
                templated.add(id(task))
                kind = mild if id(task) in thought_of else found
                kind |= {id(one): one for one in inside}
    for one in found.values():
        sources.findings.items.extend(check_template(one))
    for one in (mild[key] for key in mild.keys() - found.keys()):
        sources.findings.items.extend(replace(fault, severity="warning") for fault in check_template(one))
    return frozenset(templated)


def _values(playbook: Playbook, inventory: Inventory, known: Known) -> Iterator[Any]:
    yield [value for found in known.values.values() for value, _ in found]
    for host in inventory.hosts:
        yield host.vars
    for play in playbook.plays:
        yield from (play.vars, play.name, play.hosts, play.when, play.outputs, play.vars_files, play.matrix)
        yield [(one.text, one.default) for one in play.prompts]
        yield from (play.role_defaults, play.role_vars, play.serial)
        yield [(one.name, one.path, one.key, one.digest) for one in play.artifacts]
        if play.approval is not None:
            yield play.approval.prompt
        if play.canary is not None:
            yield from (play.canary.service, play.canary.version, play.canary.router[1], play.canary.slots)
            yield from play.canary.gates


# --- hosts, handlers, registers ------------------------------------------------------------------------


def _hosts(play: Play, playbook: Playbook, inventory: Inventory, sources: Sources) -> None:
    """A pattern that names nobody. Groups may still be made by tasks, so then it is silent."""
    makers = {"add_host", "group_by", "include_tasks", "include_role"}
    if any(task.module in makers for one in playbook.plays for task in tasks_of(one)):
        return
    pattern = pattern_of(play)
    if fault := inventory.fault(pattern):
        sources.findings.error("CF0602", fault, play.spans.get("hosts", play.span))
        return
    nowhere = "the play runs nowhere" if inventory.hosts else "the inventory has no host: `-i` names one"
    for name in inventory.unknown(pattern):
        known = [*inventory.groups, *(host.name for host in inventory.hosts)]
        sources.findings.warning("CF0602", f"`{name}` is no host and no group of the inventory",
                                 play.spans.get("hosts", play.span),
                                 label=did_you_mean(name, known, otherwise=nowhere))  # fmt: skip


def _handlers(play: Play, sources: Sources) -> None:
    """Notified names without a handler, handlers that nobody notifies."""
    tasks = tasks_of(play)
    dynamic = bool(sources.lost) or any(task.module in ("include_role", "include_tasks") for task in tasks)
    names: dict[str, Task] = {}
    for handler in play.handlers:
        names |= {name: handler for name in (*handler.listen, handler.name) if isinstance(name, str)}
    notified: set[str] = set()
    unsure = dynamic or any(isinstance(handler.name, Template) for handler in play.handlers)
    for task in tasks:
        for name in task.notify:
            if isinstance(name, Template):
                unsure = True
            elif name in names:
                notified.add(name)
            elif not unsure:
                span = task.spans.get("notify") or task.span
                sources.findings.error("CF0501", f"no handler is named `{name}`", span,
                                       label=did_you_mean(name, names))  # fmt: skip
    if unsure:
        return
    used = {id(names[name]) for name in notified}
    for handler in play.handlers:
        if id(handler) not in used and not handler.role:
            sources.findings.warning("CF0502", f"nobody notifies the handler `{handler.name}`", handler.span)


def _registers(play: Play, sources: Sources) -> None:
    """Two tasks that set one register: a skipped one sets it as well, so the second hides the first."""
    first: dict[str, Task] = {}
    for task in flat(play.tasks):
        if not task.register:
            continue
        earlier = first.setdefault(task.register, task)
        if earlier is not task and task.when and earlier.when:
            sources.findings.hint(
                "CF0503", f"`{task.register}` is set by another task too", task.spans.get("register") or task.span,
                label=f"line {earlier.span.line}; a skipped task sets its register as well",
            )  # fmt: skip


def _python(play: Play, inventory: Inventory, sources: Sources) -> None:
    """Tasks that need Python on a host whose inventory says that it has none; a condition may yet spare it."""
    hosts = chosen(play, inventory)
    bare = [host.name for host in hosts if host.vars.get("ansible_python_interpreter") == NO_PYTHON]
    for task in tasks_of(play) if bare else ():
        needs = "async" if task.async_limit else task.module if _needs_python(task) else ""
        if task.delegate_to is not None or not needs:
            continue
        what = f"`{needs}` needs Python, and {bare[0]} has none"
        tell = sources.findings.warning if task.when else sources.findings.error
        tell("CF0521", what, task.span, label="`delegate_to` another host, or name its Python in the inventory")


def _needs_python(task: Task) -> bool:
    return task.module in verbs() and module_schema(task.module).needs_python
