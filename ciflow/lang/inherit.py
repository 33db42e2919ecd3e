"""What tasks inherit from plays, roles and blocks: pushed down while reading, so that a Task stands for itself.

Ansible's rules: `when`, `tags`, `environment`, `vars`, `notify` and `module_defaults` add up; of everything else
the nearest wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Findings
from ciflow.lang.modulenames import GROUPS, short
from ciflow.lang.place import Place
from ciflow.lang.scope import Level, Vars
from ciflow.lang.sources import Sources
from ciflow.model import Become, RoleRun, Template

NEAREST = (
    "delegate_to", "delegate_facts", "run_once", "ignore_errors", "ignore_unreachable", "any_errors_fatal", "no_log",
    "check_mode", "diff", "timeout", "throttle", "debugger",
)  # fmt: skip
_CONNECTION = {"connection": "ansible_connection", "remote_user": "ansible_user", "port": "ansible_port"}
_BECOME = {"become": "enabled", "become_user": "user", "become_method": "method", "become_flags": "flags",
           "become_exe": "exe"}  # fmt: skip


_ADDED = frozenset({"when", "tags", "environment", "notify", "vars", "module_defaults"})
_INHERITED = _ADDED.union(NEAREST, _CONNECTION, _BECOME)
_NOBODY = Become()


@dataclass(frozen=True, slots=True)
class Inherited:
    """Keywords that hold for everything below."""

    when: tuple[Any, ...] = ()
    tags: frozenset[str] = frozenset()
    environment: tuple[Any, ...] = ()
    vars: tuple[Mapping[str, Any], ...] = ()
    notify: tuple[Any, ...] = ()
    become: Become = _NOBODY
    nearest: Mapping[str, Any] = field(default_factory=dict)
    module_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    role: str = ""
    role_path: str = ""
    role_run: RoleRun | None = None
    base: str = ""
    folder: str = ""  # the playbook's
    roles_path: tuple[str, ...] = ()  # where roles are looked for besides
    rescued: bool = False  # by the `rescue` of a block around it
    defaults: tuple[Mapping[str, Any], ...] = ()
    params: tuple[Mapping[str, Any], ...] = ()


def conditions(place: Place | None) -> tuple[Any, ...]:
    """`when` and its like as a tuple of expressions and booleans, all of which must hold."""
    if place is None or place.value is None:
        return ()
    if isinstance(place.value, list):
        return tuple(item.expression() for item in place.items)
    return (place.expression(),)


def names(place: Place | None) -> tuple[Any, ...]:
    """Names in a list, or in one text (`tags: a,b` is two)."""
    if place is None or place.value is None:
        return ()
    return tuple(place.value) if isinstance(place.value, list) else (place.value,)


def tags(place: Place | None, inside: Inherited, sources: Sources) -> frozenset[str]:
    """Tags choose tasks before anything runs, so their templates are rendered now, to a name, names or a list."""
    from ciflow.lang.early import early  # which reads what holds inside

    found: set[str] = set()
    for name in names(place):
        known = early(name, inside, sources)
        if isinstance(known, Template):
            sources.findings.error("CF0101", "tags must be known before the run", known.span)
            continue
        for one in known if isinstance(known, list | tuple) else (known,):
            found.update(part.strip() for part in str(one).split(","))
    return frozenset(found)


def extend(above: Inherited, place: Place, sources: Sources, *, level: Level = Level.BLOCK_VARS) -> Inherited:
    """What holds inside the play, block, role or task at `place`."""
    fields = place.fields
    if _INHERITED.isdisjoint(fields):
        return above
    changes: dict[str, Any] = {}
    if "when" in fields and level != Level.PLAY_VARS:
        changes["when"] = above.when + conditions(fields["when"])
    if "environment" in fields:
        changes["environment"] = above.environment + names(fields["environment"])
    if "notify" in fields:
        changes["notify"] = above.notify + names(fields["notify"])
    if "vars" in fields and level != Level.PLAY_VARS:
        changes["vars"] = (*above.vars, sources.variables(fields["vars"], _label(level, place), level, checked=True))
    if became := {_BECOME[key]: fields[key].value for key in _BECOME if key in fields}:
        own = {key: _over(value, getattr(above.become, key)) for key, value in became.items()}
        changes["become"] = replace(above.become, **own)
    if nearest := {key: fields[key].value for key in NEAREST if key in fields and fields[key].value is not None}:
        changes["nearest"] = {**above.nearest, **{key: _over(nearest[key], above.nearest.get(key)) for key in nearest}}
    if connection := keywords(place):
        changes["vars"] = (*changes.get("vars", above.vars), connection)
    if "module_defaults" in fields:
        changes["module_defaults"] = _defaults(above.module_defaults, fields["module_defaults"], sources.findings)
    inside = replace(above, **changes) if changes else above
    if "tags" in fields:  # their templates may read the variables that stand beside them
        inside = replace(inside, tags=above.tags | tags(fields["tags"], inside, sources))
    return inside


def _over(value: Any, above: Any) -> Any:
    """A keyword's value that knows what it covers, where it may come out as `omit`."""
    return replace(value, inherited=above) if isinstance(value, Template) and "omit" in value.source else value


def keywords(place: Place) -> Vars | None:
    """`connection`, `remote_user` and `port` as the variables that the engine reads them from."""
    found = {_CONNECTION[key]: place.fields[key] for key in _CONNECTION if key in place.fields}
    if not found:
        return None
    spans = {name: below.span for name, below in found.items()}
    return Vars({name: below.value for name, below in found.items()}, spans, "keywords", Level.KEYWORDS)


def _label(level: Level, place: Place) -> str:
    name = place.value.get("name", "") if isinstance(place.value, dict) else ""
    kind = {Level.TASK_VARS: "task", Level.BLOCK_VARS: "block", Level.ROLE_VARS: "role"}.get(level, "")
    return f"{kind} {getattr(name, 'source', name) or ''}".strip()


def defaults_of(module: str, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What `module_defaults` give to a module: those of its groups, and over them its own."""
    found: dict[str, Any] = {}
    for group, members in GROUPS.items() if defaults else ():
        if module in members:
            found |= defaults.get(group, {})
    return {**found, **defaults.get(module, {})}


def _defaults(above: Mapping[str, Any], place: Place, findings: Findings) -> Mapping[str, Mapping[str, Any]]:
    merged: dict[str, Mapping[str, Any]] = dict(above)
    for one in place.items if isinstance(place.value, list) else [place]:
        for module, below in one.fields.items():
            name = str(module) if str(module).startswith("group/") else short(str(module))
            if name.startswith("group/") and name not in GROUPS:
                findings.error("CF0123", f"`module_defaults`: nothing is known of the group of modules `{name}`",
                               one.key_span(module), label="name each module")  # fmt: skip
            if isinstance(below.value, dict):
                merged[name] = {**merged.get(name, {}), **below.value}
    return merged
