"""Roles: found, read, and put into a play with what they depend on; Ansible's folders and order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import NoneType
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Span
from ciflow.lang.inherit import Inherited, extend
from ciflow.lang.near import did_you_mean
from ciflow.lang.place import Place, placed
from ciflow.lang.role_arguments import checking
from ciflow.lang.schema import check_part
from ciflow.lang.scope import Level, Vars
from ciflow.lang.shipped import shipped
from ciflow.lang.sources import RoleCall, Sources, join
from ciflow.lang.tasks import TaskReader
from ciflow.model import EMPTY, Block, Node, RoleRun, Task, Template

KEYWORDS = frozenset({"role", "name", "vars", "when", "tags", "become", "become_user", "become_method", "become_flags",
                      "become_exe", "environment", "delegate_to", "delegate_facts", "ignore_errors", "no_log",
                      "run_once", "any_errors_fatal", "check_mode", "diff", "throttle", "timeout", "connection",
                      "port", "remote_user", "module_defaults", "notify", "collections", "ignore_unreachable",
                      "debugger"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """A role as its folder says. `specs` are its argument_specs by entry point."""

    name: str
    path: str
    defaults: Vars
    vars: Vars
    dependencies: Place | None
    allow_duplicates: bool
    specs: Mapping[str, Any]
    meta: Place | None = None
    handlers_from: str = "main"


@dataclass(slots=True)
class Roles:
    """Reads the roles of one play; gathers their handlers, defaults and vars."""

    sources: Sources
    reader: TaskReader
    handlers: list[Task] = field(default_factory=list)
    used: dict[str, Role] = field(default_factory=dict)
    names: dict[str, bool] = field(default_factory=dict)  # whether only another role depends on it
    _known: dict[str, Role] = field(default_factory=dict)
    _private: set[str] = field(default_factory=set)  # roles that the play's other tasks see nothing of
    _ran: dict[str, list[Inherited]] = field(default_factory=dict)

    @property
    def defaults(self) -> tuple[Vars, ...]:
        return tuple(role.defaults for role in self._public if role.defaults)

    @property
    def vars(self) -> tuple[Vars, ...]:
        return tuple(role.vars for role in self._public if role.vars)

    @property
    def _public(self) -> list[Role]:
        return [role for name, role in self.used.items() if name not in self._private]

    def listed(
        self, place: Place | None, above: Inherited, path: tuple[str, ...], word: str = "roles"
    ) -> tuple[Node, ...]:
        """The tasks of `roles:` or of `dependencies:`, in order."""
        if place is None or isinstance(place.value, dict | NoneType):
            return ()
        if not isinstance(place.value, list):
            self.sources.findings.error("CF0101", f"`{word}` must be a list of roles", place.span)
            return ()
        found: list[Node] = []
        for index, item in enumerate(place.items):
            found.extend(self._entry(item, above, (*path, f"{word}.{index}")))
        return tuple(found)

    def _entry(self, place: Place, above: Inherited, path: tuple[str, ...]) -> tuple[Node, ...]:
        name, own = self._named(place, above)
        if name is None:
            return ()
        key = _key(name, above, own)
        role = self.find(name, place.span)
        if role is None or (self._has_run(key, own) and not role.allow_duplicates):
            return ()
        self._ran.setdefault(key, []).append(own)
        self._private.discard(name)
        return self._tasks(role, own, path, place.span, "main", RoleRun(key, (), not role.allow_duplicates))

    def _has_run(self, key: str, own: Inherited) -> bool:
        """Whether it surely runs earlier wherever it would run here: no condition more there, and the same tags."""
        return any(one.when == own.when[: len(one.when)] and one.tags == own.tags for one in self._ran.get(key, ()))

    def _named(self, place: Place, above: Inherited) -> tuple[str | None, Inherited]:
        """A role's name and what its tasks inherit: keywords, and parameters (all other keys)."""
        if isinstance(place.value, str):
            return place.value, above
        name = place.value.get("role", place.value.get("name")) if isinstance(place.value, dict) else None
        if not isinstance(name, str):
            self.sources.findings.error("CF0401", "a role is a name, or a mapping with `role: name`", place.span)
            return None, above
        own = extend(above, place, self.sources, level=Level.BLOCK_VARS)
        params = {key: below for key, below in place.fields.items() if key not in KEYWORDS}
        if params:
            spans = {key: below.span for key, below in params.items()}
            for below in params.values():
                self.sources.hints(below)
            given = Vars({key: below.value for key, below in params.items()}, spans, f"role {name}", Level.ROLE_PARAMS)
            own = replace(own, params=(*own.params, given))
        return name, own

    def tasks(
        self, name: str, own: Inherited, path: tuple[str, ...], span: Span | None, given: Mapping[str, Any] = EMPTY
    ) -> tuple[Node, ...]:
        """The tasks of a role that a task imports or includes; dependencies first.

        `given` are that task's arguments: `tasks_from`, `vars_from`, `defaults_from`, `handlers_from`, `public`,
        `rolespec_validate`.
        """
        role = self.find(name, span)
        if role is None:
            return ()
        role = replace(
            role,
            vars=self._other(role, "vars", Level.ROLE_VARS, given, span) or role.vars,
            defaults=self._other(role, "defaults", Level.ROLE_DEFAULTS, given, span) or role.defaults,
            handlers_from=str(given.get("handlers_from") or "main"),
        )
        entry = str(given.get("tasks_from") or "main")
        key = _key(name, own, own) if entry == "main" else f"{_key(name, own, own)} {entry}"
        again = given.get("allow_duplicates") is not False
        if given.get("public") is not False:
            self._private.discard(name)
        elif name not in self.used:
            self._private.add(name)
        if given.get("rolespec_validate") is False:
            role = replace(role, specs=EMPTY)
        return self._tasks(role, own, path, span, entry, RoleRun(key, (), not again))

    def _other(self, role: Role, part: str, level: Level, given: Mapping[str, Any], span: Span | None) -> Vars | None:
        """The variables of another file than main, where a task names one."""
        entry = given.get(f"{part}_from")
        if not entry:
            return None
        found = self._variables(role.path, part, level, role.name, str(entry))
        if found is None:
            self.sources.findings.error("CF0402", f"the role {role.name} has no {part}/{entry}.yml", span)
        return found

    def _tasks(
        self, role: Role, own: Inherited, path: tuple[str, ...], span: Span | None, entry: str, use: RoleRun
    ) -> tuple[Node, ...]:
        opened = f"role {role.name}" if entry == "main" else f"role {role.name} ({entry})"
        with self.sources.inside(opened, "the role is used here", span) as fresh:
            if not fresh:
                return ()
            dependent = bool(path) and path[-1].startswith("dependencies.")
            self.names.setdefault(role.name, dependent)
            path = (*path, role.name)
            above = own.role_run.parents if own.role_run is not None else ()
            parents = ((own.role, own.role_path), *above) if own.role and not dependent else above
            chain = own.role_run.chain if own.role_run is not None else ()
            chain = (own.role_path, *chain) if own.role_path else chain
            run = replace(use, place=path, parents=parents, chain=chain)
            inside = replace(self._inside(role, own), role_run=run)
            depended = replace(own, role=role.name, role_path=role.path, role_run=inside.role_run)
            before = self.listed(role.dependencies, depended, path, "dependencies")
            self._add_handlers(role, inside, path)
            before += self._checked(role, entry, inside, span, path)
            file = self._main(role.path, "tasks", entry)
            if file is None and entry != "main":
                self.sources.findings.error("CF0402", f"the role {role.name} has no tasks/{entry}.yml", span)
            if file is None:
                return before
            document = self.sources.document(file)
            return before + (self.reader.nodes(document, inside, path, "tasks") if document is not None else ())

    def _checked(
        self, role: Role, entry: str, inside: Inherited, span: Span | None, path: tuple[str, ...]
    ) -> tuple[Node, ...]:
        """The task that checks what the role is given; what shows before the run is found then."""
        if not role.specs:
            return ()
        given = (*inside.params[::-1], *inside.vars[::-1], *inside.defaults[::-1])
        name = entry.removesuffix(".yml").removesuffix(".yaml")
        call = RoleCall(role.name, role.path, name, role.specs, given, span)
        self.sources.role_calls.append(call)
        task = checking(call)
        if task is None or span is None:
            return ()
        return self.reader.node(placed(task, span), inside, (*path, "arguments"))

    def _inside(self, role: Role, own: Inherited) -> Inherited:
        depended = [self.used[name] for name in self._depended(role) if name in self.used]
        return replace(
            own,
            role=role.name,
            role_path=role.path,
            base=role.path,
            defaults=(*own.defaults, *(one.defaults for one in depended), role.defaults),
            vars=(*(one.vars for one in depended), role.vars, *own.vars),
        )

    def _depended(self, role: Role) -> list[str]:
        if role.dependencies is None or not isinstance(role.dependencies.value, list):
            return []
        entries = role.dependencies.value
        return [str(one.get("role", one.get("name")) if isinstance(one, dict) else one) for one in entries]

    def _add_handlers(self, role: Role, inside: Inherited, path: tuple[str, ...]) -> None:
        if role.name in self.used:
            return
        self.used[role.name] = role
        file = self._main(role.path, "handlers", role.handlers_from)
        document = self.sources.document(file) if file else None
        plain = replace(inside, when=(), notify=(), role_run=None)
        for task in self.reader.handlers(document, plain, (*path, "handlers")):
            also = () if isinstance(task.name, Template) else (f"{role.name} : {task.name}",)
            self.handlers.append(replace(task, listen=(*task.listen, *also)))

    # --- finding -----------------------------------------------------------------------------------------

    def find(self, name: str, span: Span | None) -> Role | None:
        """The role's folder, looked for beside the playbook, in the configured path, among the shipped."""
        if name in self._known:
            return self._known[name]
        folders = self.folders()
        path = next((join(base, name) for base in folders if self._is_role(join(base, name))), None)
        if path is None:
            self.sources.findings.error(
                "CF0401", f"the role {name} is not found", span, label=did_you_mean(name, self._names(folders)),
                help="looked in " + ", ".join(folders),
            )  # fmt: skip
            return None
        self._known[name] = self._read(name, path)
        return self._known[name]

    def folders(self) -> list[str]:
        folder = self.sources.folder
        return [join(folder, "roles"), *self.sources.roles_path, str(shipped("roles")), folder or "."]

    def _is_role(self, path: str) -> bool:
        files = self.sources.files
        return any(
            files.is_dir(f"{path}/{part}") for part in ("tasks", "defaults", "vars", "handlers", "meta", "templates")
        )

    def _names(self, folders: list[str]) -> list[str]:
        return [name for folder in folders for name in self.sources.files.list(folder)]

    def _read(self, name: str, path: str) -> Role:
        self.sources.roles.append(path)
        meta_file = self._main(path, "meta", "main")
        meta = self.sources.document(meta_file) if meta_file else None
        if meta is not None and isinstance(meta.value, dict):
            check_part("role_meta", meta, self.sources.findings)
        whole: Any = meta.value if meta is not None and isinstance(meta.value, dict) else EMPTY
        specs_file = self._main(path, "meta", "argument_specs")
        specs = self.sources.document(specs_file) if specs_file else None
        found = (specs.value if specs is not None else whole) or EMPTY
        return Role(
            name,
            path,
            self._variables(path, "defaults", Level.ROLE_DEFAULTS, name) or Vars({}),
            self._variables(path, "vars", Level.ROLE_VARS, name) or Vars({}),
            meta.fields.get("dependencies") if meta is not None else None,
            bool(whole.get("allow_duplicates", False)),
            found.get("argument_specs") or EMPTY,
            meta,
        )

    def _variables(self, path: str, part: str, level: Level, name: str, entry: str = "main") -> Vars | None:
        """Those of a file, or of all files in a folder of that name, a later one winning; None where neither is."""
        file = self._main(path, part, entry)
        folder = f"{path}/{part}/{entry}"
        if file is None and not self.sources.files.is_dir(folder):
            return None
        label = f"role {name}, {part}"
        found = Vars({}, label=label, level=level)
        for one in [file] if file is not None else self.sources.tree(folder):
            values = self.sources.variables(self.sources.document(one), label, level)
            found.update(values)
            found.spans.update(values.spans)
        return found

    def _main(self, path: str, part: str, entry: str) -> str | None:
        """`tasks/main.yml` and its like; a name with an ending is taken as it is."""
        return self.sources.first([f"{path}/{part}/{entry}{end}" for end in (".yml", ".yaml", ".json", "")])


def _key(name: str, above: Inherited, own: Inherited) -> str:
    """Equal for uses of a role that do the same: its name, and the parameters, variables, conditions and tags that
    this use adds to those around it."""
    added = (own.params[len(above.params) :], own.vars[len(above.vars) :], own.when[len(above.when) :])
    return repr((name, *added, sorted(own.tags - above.tags)))


def flat(nodes: tuple[Node, ...]) -> list[Task]:
    """The tasks of nodes, those of blocks among them."""
    found: list[Task] = []
    for node in nodes:
        if isinstance(node, Block):
            found.extend(flat(node.body + node.rescue + node.always))
        else:
            found.append(node)
    return found


def awaited(nodes: tuple[Node, ...], rescued: bool = False) -> Iterator[Task]:
    """Tasks that may fail without an error of the playbook: their errors are ignored, or a block rescues them."""
    for node in nodes:
        if isinstance(node, Block):
            yield from awaited(node.body, rescued or node.has_rescue)
            yield from awaited(node.rescue + node.always, rescued)
        elif rescued or node.ignore_errors is True:
            yield node


def walk(nodes: tuple[Node, ...], perhaps: bool) -> Iterator[tuple[Task, bool]]:
    """Tasks, and whether each runs only under some condition (tasks of a rescue do)."""
    for node in nodes:
        if isinstance(node, Block):
            yield from walk(node.body, perhaps)
            yield from walk(node.rescue, True)
            yield from walk(node.always, perhaps)
        else:
            yield node, perhaps or "never" in node.tags
