"""What is read while a run is under way: `include_tasks`, `include_role`, `include_vars`.

Included tasks inherit what surrounds the include (its play, role and blocks), not the include's own keywords, save
its variables and what `apply` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang.files import Files
from ciflow.lang.inherit import Inherited, extend
from ciflow.lang.place import Place
from ciflow.lang.roles import Role, Roles
from ciflow.lang.scope import Level, Scope, Vars
from ciflow.lang.sources import Sources, join
from ciflow.lang.tasks import TaskReader
from ciflow.model import EMPTY, Node, Task, Template

_ENDS = ("yml", "yaml", "json")


def load_task_file(
    files: Files, task: Task, args: Mapping[str, Any], extra: Mapping[str, Any] = EMPTY
) -> tuple[Node, ...]:
    """The tasks of `include_tasks`. `args` are rendered; `extra` (the loop's item) is seen inside as parameters."""
    reader, own = _reader(files, task, extra)
    nodes = reader.file(str(args.get("file", "")), own, (), task.spans.get("file") or task.span)
    return _sound(reader.sources, nodes)


def load_role(files: Files, task: Task, args: Mapping[str, Any], extra: Mapping[str, Any] = EMPTY) -> tuple[Node, ...]:
    """The tasks of `include_role`, its defaults and vars in them."""
    reader, own = _reader(files, task, extra)
    span = task.spans.get("name") or task.span
    nodes = reader.roles.tasks(str(args.get("name", "")), own, (), span, args)
    return _sound(reader.sources, nodes)


def role_of(files: Files, task: Task, args: Mapping[str, Any]) -> tuple[Role | None, tuple[Task, ...]]:
    """The role of `include_role` and its handlers, which the play has from then on."""
    reader, own = _reader(files, task, EMPTY)
    reader.roles.tasks(str(args.get("name", "")), own, (), task.span, args)
    return reader.roles.used.get(str(args.get("name", ""))), tuple(reader.roles.handlers)


def load_variables(files: Files, task: Task, args: Mapping[str, Any]) -> Vars:
    """The variables of `include_vars`, by name and place; under one name where `name` is given."""
    sources = Sources(files, _inherited(task).folder)
    paths = _variable_files(sources, task, args)
    merged = Vars({}, {}, "include_vars", Level.INCLUDE_VARS)
    for path in paths:
        found = sources.variables(sources.document(path), f"include_vars {path}", Level.INCLUDE_VARS)
        merged.update(found)
        merged.spans.update(found.spans)
    _sound(sources, ())
    if args.get("name"):
        return Vars({str(args["name"]): dict(merged)}, {}, "include_vars", Level.INCLUDE_VARS)
    return merged


def load_vars_files(names: tuple[Any, ...], scope: Scope, files: Files, folder: str) -> tuple[Vars, ...]:
    """The files of a play's `vars_files`, in order; of a list in the list, the first that exists. Raises Invalid."""
    from ciflow.lang.template import render

    sources = Sources(files, folder)
    found = []
    for name in names:
        choices = [str(render(one, scope)) for one in (name if isinstance(name, list) else [name])]
        paths = [join(base, choice) for choice in choices for base in (folder or ".", join(folder, "vars"))]
        path = sources.first(paths)
        if path is None:
            span = name.span if isinstance(name, Template) else None
            sources.findings.error(
                "CF0402", f"the file {choices[0]} is not found", span, help="looked for " + ", ".join(paths)
            )
        else:
            found.append(sources.variables(sources.document(path), path, Level.VARS_FILES))
    _sound(sources, ())
    return tuple(found)


def _reader(files: Files, task: Task, extra: Mapping[str, Any]) -> tuple[TaskReader, Inherited]:
    above = _inherited(task)
    given = [values for values in task.vars[len(above.vars) :] if getattr(values, "level", None) is not Level.KEYWORDS]
    found = (*given, extra) if extra else given
    params = (Vars(one, getattr(one, "spans", None), "include", Level.INCLUDE_PARAMS) for one in found)
    own = replace(above, params=(*above.params, *params))
    sources = Sources(files, own.folder, dynamic=True)
    reader = TaskReader(sources)
    reader.roles = Roles(sources, reader)
    applied = task.args.get("apply")
    if isinstance(applied, Mapping):
        own = extend(own, _placed(applied, task.span), sources)
    return reader, own


def _inherited(task: Task) -> Inherited:
    return task.inherit if isinstance(task.inherit, Inherited) else Inherited(base=task.base)


def _placed(value: Any, span: Span) -> Place:
    """A value without a tree of places as one, all of it at `span`."""
    place = Place(span.file, (span.line - 1, span.column - 1, span.line - 1, span.column), value)
    if isinstance(value, Mapping):
        place.fields = {key: _placed(below, span) for key, below in value.items()}
    elif isinstance(value, list):
        place.items = [_placed(below, span) for below in value]
    return place


def _sound(sources: Sources, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    if sources.findings.errors:
        raise Invalid(sources.findings.items, sources.files.sources())
    return nodes


def _variable_files(sources: Sources, task: Task, args: Mapping[str, Any]) -> list[str]:
    own = _inherited(task)
    bases = [*([join(own.role_path, "vars"), own.role_path] if own.role_path else []),
             task.span.file.rpartition("/")[0] or ".", join(own.folder, "vars"), own.folder or "."]  # fmt: skip
    if args.get("file"):
        path = sources.first([join(base, str(args["file"])) for base in bases])
        if path is None:
            raise _missing(f"the file {args['file']} is not found", task, bases)
        return [path]
    folder = next(
        (join(base, str(args["dir"])) for base in bases if sources.files.is_dir(join(base, str(args["dir"])))), None
    )
    if folder is None:
        raise _missing(f"the folder {args['dir']} is not found", task, bases)
    return _in_folder(sources, folder, args, int(args.get("depth") or 0))


def _in_folder(sources: Sources, folder: str, args: Mapping[str, Any], depth: int) -> list[str]:
    found: list[str] = []
    wanted = re.compile(str(args.get("files_matching") or ""))
    for name in sources.files.list(folder):
        path = f"{folder}/{name}"
        if sources.files.is_dir(path):
            found += _in_folder(sources, path, args, depth - 1) if depth != 1 else []
        elif name.rpartition(".")[2] in (args.get("extensions") or _ENDS) and wanted.search(name):
            found += [] if name in (args.get("ignore_files") or ()) else [path]
    return found


def _missing(message: str, task: Task, bases: list[str]) -> Invalid:
    span = task.spans.get("file") or task.span
    return Invalid([Diagnostic("error", "CF0402", message, span, help="looked in " + ", ".join(dict.fromkeys(bases)))])
