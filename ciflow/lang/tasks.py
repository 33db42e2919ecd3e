"""Tasks and blocks: from places to the model, static imports inlined, everything inherited written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Findings, Invalid, Span
from ciflow.lang.args import Spans
from ciflow.lang.early import early
from ciflow.lang.inherit import Inherited, conditions, defaults_of, extend, names
from ciflow.lang.kinds import duration, fit
from ciflow.lang.modulenames import short
from ciflow.lang.place import Place
from ciflow.lang.schema import check_module, check_part, module_schema
from ciflow.lang.scope import Level
from ciflow.lang.sources import Sources, join
from ciflow.lang.verb import Found, VerbReader
from ciflow.model import Block, Loop, Node, Task, Template

if TYPE_CHECKING:
    from ciflow.lang.roles import Roles

_IMPORTS = frozenset({"import_tasks", "import_role"})
DYNAMIC = frozenset({"include_tasks", "include_role", "include_vars", "meta"})


class TaskReader:
    """Reads lists of tasks. `roles` reads the roles that tasks import."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.findings = sources.findings
        self.roles: Roles
        self._verbs = VerbReader(sources)

    def nodes(self, place: Place | None, above: Inherited, path: tuple[str, ...], section: str) -> tuple[Node, ...]:
        """The nodes of a list of tasks; `section` (tasks, block, rescue, ..) names their place in `path`."""
        if place is None or place.value is None:
            return ()
        if not isinstance(place.value, list):
            self.findings.error("CF0101", f"`{section}` must be a list of tasks", place.span)
            return ()
        found: list[Node] = []
        for index, item in enumerate(place.items):
            found.extend(self.node(item, above, (*path, f"{section}.{index}")))
        return tuple(found)

    def handlers(self, place: Place | None, above: Inherited, path: tuple[str, ...]) -> tuple[Task, ...]:
        """The handlers of a list. A block is none: nobody could say which of its parts a change asks for."""
        nodes = self.nodes(place, above, path, "handlers")
        for node in nodes:
            if isinstance(node, Block):
                self.findings.error("CF0101", "a block can't be a handler", node.span,
                                    label="put its tasks in a file, and `include_tasks` that")  # fmt: skip
            elif node.module == "meta" and node.args.get("action") == "flush_handlers":
                self.findings.error("CF0101", "`flush_handlers` can't be a handler", node.span,
                                    label="it is what runs them")  # fmt: skip
        return tuple(node for node in nodes if isinstance(node, Task))

    def node(self, place: Place, above: Inherited, path: tuple[str, ...]) -> tuple[Node, ...]:
        if place.value is None:
            return ()
        if not isinstance(place.value, dict):
            self.findings.error("CF0101", "a task is a mapping: its keywords and its module", place.span)
            return ()
        if "block" in place.fields:
            return self._block(place, above, path)
        return self._task(place, above, path)

    def _block(self, place: Place, above: Inherited, path: tuple[str, ...]) -> tuple[Node, ...]:
        check_part("block", place, self.findings)
        inside = extend(above, place, self.sources)
        body = replace(inside, rescued=True) if "rescue" in place.fields else inside
        parts = {
            name: self.nodes(place.fields.get(name), body if name == "block" else inside, path, name)
            for name in ("block", "rescue", "always")
        }
        return (
            Block(parts["block"], place.span, path, parts["rescue"], parts["always"], "rescue" in place.fields,
                  place.value.get("name") or ""),
        )  # fmt: skip

    # --- one task ----------------------------------------------------------------------------------------

    def _task(self, place: Place, above: Inherited, path: tuple[str, ...]) -> tuple[Node, ...]:
        before = len(self.findings.items)
        found = self._verbs.read(place, above)
        if found is None:
            check_part("task", place, self.findings, ignore=self._verbs.foreign(place))
            return self._lost(place)
        check_part("task", place, self.findings, ignore=self._verbs.shape(place).without(found.written))
        if found.module in _IMPORTS:
            self.findings.items.extend(found.faults.items)
        if found.module == "import_tasks":
            return self._import_tasks(place, found.args, above, path)
        if found.module == "import_role":
            return self._import_role(place, found.args, above, path)
        spans = Spans(place, found.place, found.written)
        args = {} if found.faults.errors else self._checked(spans, found, above)
        if found.module == "set_fact" and found.place is not None:
            for key, below in found.place.fields.items():
                if key != "cacheable":
                    self.sources.hints(below)
        self._looked_up(place, found.faults)
        faults = self._expected(place, found.faults, above)
        if self.findings.failed_since(before):
            return self._lost(place)
        task = self._built(place, found.module, args, spans, above, path)
        return (replace(task, faults=faults) if faults else task,)

    def _looked_up(self, place: Place, faults: Findings) -> None:
        """`with_NAME` of a lookup that isn't there."""
        for key in self._verbs.shape(place).loops:
            from ciflow.lang.lookups import lookup_named  # most playbooks loop without

            try:
                lookup_named(key.removeprefix("with_"))
            except ValueError as error:
                faults.error("CF0211", f"`{key}`: {error}", place.key_span(key))

    def _expected(self, place: Place, faults: Findings, above: Inherited) -> tuple[Diagnostic, ...]:
        """Faults of arguments that make the task fail, and no more: somebody wrote what is to happen when it does.

        Of all other tasks they are errors of the playbook. What is not built is refused in any case.
        """
        ignored = place.value.get("ignore_errors", above.nearest.get("ignore_errors"))
        expected = ignored is True or above.rescued or place.value.get("failed_when") is not None
        if not expected or any(fault.code == "CF0123" for fault in faults.errors):
            self.findings.items.extend(faults.items)
            return ()
        self.findings.items.extend(replace(one, severity="warning") if one.is_error else one for one in faults.items)
        return faults.errors

    def _lost(self, place: Place) -> tuple[Node, ...]:
        self.sources.lost.append(place)
        return ()

    def _checked(self, spans: Spans, found: Found, above: Inherited) -> dict[str, Any]:
        """The arguments with the module's defaults, checked as far as they hold no template."""
        if "" in found.args:
            return found.args
        args = _under(defaults_of(found.module, above.module_defaults), found.args, found.module)
        made = {key: args.pop(key) for key in list(args) if isinstance(key, Template)}
        checked = check_module(found.module, args, spans.of_argument, found.faults)
        return checked | made if made else checked

    def _built(
        self, place: Place, module: str, args: Mapping[str, Any], spans: Spans, above: Inherited, path: tuple[str, ...]
    ) -> Task:
        own = extend(above, place, self.sources, level=Level.TASK_VARS)
        fields, value = place.fields, place.value
        nearest = dict(own.nearest)
        if "local_action" in fields:
            nearest["delegate_to"] = "localhost"
        return Task(
            name=value.get("name") or module,
            module=module,
            args=args,
            span=place.span,
            path=path,
            when=own.when,
            loop=self._loop(place, own),
            register=str(value.get("register") or ""),
            changed_when=_maybe(fields.get("changed_when")),
            failed_when=_maybe(fields.get("failed_when")),
            until=_maybe(fields.get("until")),
            retries=_number(value.get("retries"), None, int),
            delay=_seconds(value.get("delay"), 5.0),
            notify=own.notify,
            listen=tuple(str(name) for name in names(fields.get("listen"))),
            vars=own.vars,
            environment=own.environment,
            tags=own.tags,
            become=own.become,
            timeout=_seconds(nearest.pop("timeout", None), 0.0),
            async_limit=_seconds(value.get("async"), 0.0),
            poll=_number(value.get("poll"), 15, int),
            irreversible=value.get("irreversible") is True,
            **{key: _flag(key, below) for key, below in nearest.items()},
            role=own.role,
            role_path=own.role_path,
            role_run=own.role_run,
            base=own.base,
            defaults=own.defaults,
            params=own.params,
            rescued=above.rescued,
            inherit=above if module in DYNAMIC else None,
            spans=spans,
        )

    def _loop(self, place: Place, own: Inherited) -> Loop | None:
        kinds = [*(["loop"] if "loop" in place.fields else []), *self._verbs.shape(place).loops]
        if not kinds:
            return None
        if len(kinds) > 1:
            self.findings.error("CF0111", f"`{kinds[0]}` and `{kinds[1]}` exclude each other", place.key_span(kinds[1]))
        control = place.value.get("loop_control") or {}
        if not isinstance(control, dict):
            control = {}
        for name in ("loop_var", "index_var"):
            if isinstance(given := control.get(name), Template):
                control = {**control, name: early(given, own, self.sources)}
                if isinstance(control[name], Template):
                    self.findings.error("CF0101", f"`{name}` must be known before the run", given.span)
        return Loop(
            items=place.value[kinds[0]],
            kind=short(kinds[0].removeprefix("with_")),
            var=str(control.get("loop_var") or "item"),
            index_var=str(control.get("index_var") or ""),
            label=control.get("label"),
            pause=_seconds(control.get("pause"), 0.0),
            extended=control.get("extended", False),
            extended_allitems=control.get("extended_allitems", True),
            break_when=conditions(place.fields["loop_control"].fields.get("break_when")) if control else (),
        )

    # --- static imports ----------------------------------------------------------------------------------

    def _import_tasks(
        self, place: Place, args: Mapping[str, Any], above: Inherited, path: tuple[str, ...]
    ) -> tuple[Node, ...]:
        own = extend(above, place, self.sources, level=Level.TASK_VARS)
        name = early(args.get("file") or args.get("_raw_params"), own, self.sources)
        span = self._file_span(place)
        if isinstance(name, Template):
            self.findings.error("CF0402", "the file of `import_tasks` must be known before the run", name.span,
                                label="use `include_tasks`")  # fmt: skip
            return ()
        if not name:
            self.findings.error("CF0103", "`import_tasks` needs `file`", place.span)
            return ()
        if "loop" in place.fields or self._verbs.shape(place).loops:
            self.findings.error("CF0111", "`import_tasks` can't loop", place.span, label="use `include_tasks`")
        return self.file(str(name), own, path, span)

    def _file_span(self, place: Place) -> Span:
        key = next((key for key in place.fields if short(str(key)).startswith(("import_", "include_"))), None)
        return place.fields[key].span if key is not None else place.span

    def file(self, name: str, above: Inherited, path: tuple[str, ...], span: Span | None) -> tuple[Node, ...]:
        """The tasks of a file, looked for beside the including one, in the role's tasks, beside the playbook."""
        found = self.sources.first(self.candidates(name, above, span))
        if found is None:
            self.findings.error("CF0402", f"the file {name} is not found", span,
                                help="looked for " + ", ".join(self.candidates(name, above, span)))  # fmt: skip
            return ()
        with self.sources.inside(found, "imported here", span) as fresh:
            if not fresh:
                return ()
            document = self.sources.document(found)
            return self.nodes(document, above, path, "tasks") if document is not None else ()

    def candidates(self, name: str, above: Inherited, span: Span | None) -> list[str]:
        beside = [join(span.file.rpartition("/")[0] or ".", name)] if span else []
        role = [join(above.role_path, f"tasks/{name}")] if above.role_path else []
        return list(dict.fromkeys([*role, *beside, join(self.sources.folder or ".", name)]))

    def _import_role(
        self, place: Place, args: Mapping[str, Any], above: Inherited, path: tuple[str, ...]
    ) -> tuple[Node, ...]:
        own = extend(above, place, self.sources, level=Level.TASK_VARS)
        args = {key: early(value, own, self.sources) for key, value in args.items()}
        name = args.get("name") or args.get("role")
        where = Spans(place, place.fields.get("import_role"), "import_role").of_argument
        check_module("import_role", args, where, self.findings)
        if isinstance(name, Template):
            self.findings.error("CF0401", "the name of an imported role must be known before the run", name.span,
                                label="use `include_role`")  # fmt: skip
        if not isinstance(name, str):
            return ()
        for key in ("public", "rolespec_validate"):
            if isinstance(given := args.get(key), Template):
                self.findings.error("CF0401", f"`{key}` of an imported role must be known before the run", given.span)
        try:
            return self.roles.tasks(name, own, path, where("name", False), args)
        except Invalid as fault:
            self.findings.items.extend(fault.diagnostics)
            return ()


def _under(defaults: Mapping[str, Any], given: Mapping[str, Any], module: str) -> dict[str, Any]:
    """What a task gives, and beneath it the defaults of what it doesn't, under whatever name each is written."""
    if not defaults:
        return dict(given)
    schema = module_schema(module)
    own = schema.canonical(given)
    return {**{key: value for key, value in defaults.items() if schema.aliases.get(key, key) not in own}, **given}


def _maybe(place: Place | None) -> tuple[Any, ...] | None:
    return None if place is None or place.value is None else conditions(place)


def _seconds(value: Any, default: float) -> Any:
    if value is None or isinstance(value, Template):
        return default if value is None else value
    return duration(value)


def _number(value: Any, default: Any, kind: Any) -> Any:
    if value is None or isinstance(value, Template):
        return default if value is None else value
    return kind(value)


_BOOLEAN = frozenset({"delegate_facts", "run_once", "ignore_errors", "ignore_unreachable", "any_errors_fatal", "no_log",
                      "check_mode", "diff"})  # fmt: skip


def _flag(key: str, value: Any) -> Any:
    return fit("boolean", value, literal=True) if key in _BOOLEAN else value
