"""What is read while a run is under way: `include_tasks`, `include_role`, `include_vars`.

Included tasks inherit what surrounds the include (its play, role and blocks), not the include's own keywords, save
its variables and what `apply` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.files import Files
from ciflow.lang.inherit import Inherited, extend
from ciflow.lang.place import placed
from ciflow.lang.roles import Role, Roles
from ciflow.lang.scope import Level, Scope, Vars
from ciflow.lang.sources import Sources, join, places_of_vars
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


def load_variables(files: Files, task: Task, args: Mapping[str, Any]) -> tuple[Vars, tuple[str, ...]]:
    """The variables of `include_vars`, by name and place, under one name where `name` is given; the files read."""
    sources = Sources(files, inherited(task).folder)
    paths = _variable_files(sources, task, args)
    merged = Vars({}, {}, "include_vars", Level.INCLUDE_VARS)
    for path in paths:
        found = sources.variables(sources.document(path), f"include_vars {path}", Level.INCLUDE_VARS)
        merged.update(found)
        merged.spans.update(found.spans)
    _sound(sources, ())
    if args.get("name"):
        merged = Vars({str(args["name"]): dict(merged)}, {}, "include_vars", Level.INCLUDE_VARS)
    return merged, tuple(paths)


def load_vars_files(names: tuple[Any, ...], scope: Scope, files: Files, folder: str) -> tuple[Vars, ...]:
    """The files of a play's `vars_files`, in order; of a list in the list, the first that exists. The name of one may
    hold variables of those before it. Raises Invalid."""
    from ciflow.lang.template import render

    sources = Sources(files, folder)
    found = []
    for name in names:
        choices = [str(render(one, scope)) for one in (name if isinstance(name, list) else [name])]
        paths = [path for choice in choices for path in places_of_vars(folder, choice)]
        path = sources.first(paths)
        if path is None:
            span = name.span if isinstance(name, Template) else None
            sources.findings.error(
                "CF0402", f"the file {choices[0]} is not found", span, help="looked for " + ", ".join(paths)
            )
        else:
            found.append(sources.variables(sources.document(path), path, Level.VARS_FILES))
            scope = scope.amid(found[-1], Level.VARS_FILES)
    _sound(sources, ())
    return tuple(found)


def _reader(files: Files, task: Task, extra: Mapping[str, Any]) -> tuple[TaskReader, Inherited]:
    above = inherited(task)
    given = [values for values in task.vars[len(above.vars) :] if getattr(values, "level", None) is not Level.KEYWORDS]
    found = (*given, extra) if extra else given
    params = (Vars(one, getattr(one, "spans", None), "include", Level.INCLUDE_PARAMS) for one in found)
    own = replace(above, params=(*above.params, *params))
    sources = Sources(files, own.folder, own.roles_path)
    reader = TaskReader(sources)
    reader.roles = Roles(sources, reader)
    applied = task.args.get("apply")
    if isinstance(applied, Mapping):
        own = extend(own, placed(applied, task.span), sources)
    return reader, own


def inherited(task: Task) -> Inherited:
    """What surrounds an include, and so its tasks."""
    return task.inherit if isinstance(task.inherit, Inherited) else Inherited(base=task.base)


def _sound(sources: Sources, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    if sources.findings.errors:
        raise Invalid(sources.findings.items, sources.files.sources())
    return nodes


def _variable_files(sources: Sources, task: Task, args: Mapping[str, Any]) -> list[str]:
    own = inherited(task)
    bases = [*([join(own.role_path, "vars"), own.role_path] if own.role_path else []),
             _folder_of(task), join(own.folder, "vars"), own.folder or "."]  # fmt: skip
    if args.get("file"):
        folders = [*([own.role_path] if own.role_path else []), _folder_of(task), own.folder]
        paths = [path for folder in folders for path in places_of_vars(folder, str(args["file"]))]
        path = sources.first(paths)
        if path is None:
            raise _missing(f"the file {args['file']} is not found", task, [path.rpartition("/")[0] for path in paths])
        return [path]
    folder = next(
        (join(base, str(args["dir"])) for base in bases if sources.files.is_dir(join(base, str(args["dir"])))), None
    )
    if folder is None:
        raise _missing(f"the folder {args['dir']} is not found", task, bases)
    return [path for below in _folders(sources, folder, args) for path in _in_folder(sources, below, args, task)]


def _folder_of(task: Task) -> str:
    return task.span.file.rpartition("/")[0] or "."


def _folders(sources: Sources, root: str, args: Mapping[str, Any]) -> list[str]:
    """The folder and those below it, in order of their paths; `depth` 1 is the folder alone, 0 all."""
    deepest, found = int(args.get("depth") or 0), [root]
    for folder in found:
        if not deepest or folder[len(root) :].count("/") + 1 < deepest:
            below = (f"{folder}/{name}" for name in sources.files.list(folder))
            found += [path for path in below if sources.files.is_dir(path)]
    return sorted(found)


def _in_folder(sources: Sources, folder: str, args: Mapping[str, Any], task: Task) -> list[str]:
    """The files to read, by name. Another ending than those of such files is an error, unless it is to be ignored."""
    wanted = re.compile(str(args.get("files_matching") or ""))
    ignored = [re.compile(f"(?:{one})$") for one in args.get("ignore_files") or ()]
    ends = [str(one).lstrip(".") for one in args.get("extensions") or _ENDS]
    found = []
    for name in sources.files.list(folder):
        path = f"{folder}/{name}"
        if sources.files.is_dir(path) or not wanted.search(name) or any(one.search(name) for one in ignored):
            continue
        if name.rpartition(".")[2] in ends and "." in name:
            found.append(path)
        elif not args.get("ignore_unknown_extensions"):
            text = f"{path} does not have a valid extension: {', '.join(ends)}"
            span = task.spans.get("dir") or task.span
            help = "`ignore_unknown_extensions: true` leaves such files out"
            raise Invalid([Diagnostic("error", "CF0402", text, span, help=help)])
    return found


def _missing(message: str, task: Task, bases: list[str]) -> Invalid:
    span = task.spans.get("file") or task.span
    return Invalid([Diagnostic("error", "CF0402", message, span, help="looked in " + ", ".join(dict.fromkeys(bases)))])
