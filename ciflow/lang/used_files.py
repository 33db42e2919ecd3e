"""Files on the controller that tasks use: they must be there, and templates among them must parse."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from ciflow.diagnostics import Invalid, Span
from ciflow.lang.files import Files
from ciflow.lang.near import did_you_mean
from ciflow.lang.roles import flat
from ciflow.lang.sources import Sources, join, task_folders
from ciflow.lang.template import line_marks
from ciflow.lang.template_check import check_template, included
from ciflow.model import Play, Playbook, Task, Template

_FOLDERS = {"template": "templates", "copy": "files", "script": "files"}
_INSIDE = "a template takes only files below the folders where templates lie"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}")
_OWN_SYNTAX = ("block_start_string", "variable_start_string", "comment_start_string")


def check_files(playbook: Playbook, sources: Sources) -> dict[int, Template]:
    """Missing sources and faulty `.j2` files; gives the templates that tasks render, by the task's id().

    A file that an earlier task may make on the controller is not missed. A snapshot holds only what was read, so
    there nothing is missed either.
    """
    found: dict[int, Template] = {}
    made = sources.files.is_frozen
    for task, on_controller in _tasks(playbook):
        name = _source(task)
        if name is not None:
            candidates = _candidates(name, task, sources.folder)
            path = sources.first(candidates)
            if path is None:
                if not made and not any(sources.files.is_dir(one) for one in candidates):
                    _missing(name, task, candidates, sources)
            elif task.module == "template" and not any(key in task.args for key in _OWN_SYNTAX):
                found[id(task)] = _template(path, sources)
                bases = (*task_folders(task, sources.folder), path.rpartition("/")[0] or ".")
                _check_included(found[id(task)], bases, sources, {path}, made=made)
        made = made or on_controller or task.module == "fetch"
    return found


def used_paths(playbook: Playbook, roles: tuple[str, ...], files: Files) -> tuple[str, ...]:
    """Files that the run would read, send or include only later: those of its roles, sources of its tasks that no
    task makes, and what its includes may name (a template in a name stands for anything)."""
    folder = playbook.path.rpartition("/")[0] or "."
    found = {path for role in roles for path in files.below(role)}
    made = False
    for task, on_controller in _tasks(playbook):
        name = _source(task)
        if name is not None and not made:
            there = [path for path in _candidates(name, task, folder) if files.exists(path)]
            found.update(there[:1])
        found.update(_included(task, folder, files))
        made = made or on_controller or task.module == "fetch"
    return tuple(sorted(found))


def _included(task: Task, folder: str, files: Files) -> Iterator[str]:
    value = task.args.get("file") or task.args.get("dir")
    if task.module not in ("include_tasks", "include_vars") or not isinstance(value, str | Template):
        return
    name = _TEMPLATE.sub("*", value.source) if isinstance(value, Template) else value
    beside = task.span.file.rpartition("/")[0] or "."
    for base in dict.fromkeys((beside, folder, join(folder, "vars"))):
        path = join(base, name)
        if files.exists(path):
            yield path
        elif "dir" in task.args or "*" in name:
            inside = files.below(path if "dir" in task.args else path.partition("*")[0].rpartition("/")[0] or ".")
            yield from (one for one in inside if "dir" in task.args or fnmatchcase(one, path))


def _tasks(playbook: Playbook) -> Iterator[tuple[Task, bool]]:
    """Every task in order, and whether it may write on the controller."""
    for play in playbook.plays:
        canary = play.canary
        local = _is_local(play)
        for task in flat(play.tasks + play.handlers + ((canary.verify + canary.retire) if canary else ())):
            yield task, local or task.delegate_to is not None


def _is_local(play: Play) -> bool:
    named = str(play.hosts) in ("localhost", "127.0.0.1")
    return named or any(values.get("ansible_connection") == "local" for values in play.role_defaults)


def _source(task: Task) -> str | None:
    """The source as written; None where there is none, or it is only known later."""
    if task.module not in _FOLDERS or task.args.get("remote_src") not in (None, False):
        return None
    source = task.args.get("cmd") if task.module == "script" else task.args.get("src")
    if not isinstance(source, str) or not source:
        return None
    return _program(source) if task.module == "script" else source


def _program(command: str) -> str | None:
    """The file that `script` runs, as a shell would split its words; what can't be split fails when it runs."""
    try:
        return next(iter(shlex.split(command)), None)
    except ValueError:
        return None


def _candidates(name: str, task: Task, folder_of_playbook: str) -> list[str]:
    if name.startswith(("/", "~")):
        return [name]
    return _below(task_folders(task, folder_of_playbook), _FOLDERS[task.module], name)


def _below(bases: Iterable[str], folder: str, name: str) -> list[str]:
    return list(dict.fromkeys(join(base, below + name) for base in bases for below in (f"{folder}/", "")))


def _missing(name: str, task: Task, paths: list[str], sources: Sources) -> None:
    there = [one for folder in dict.fromkeys(path.rpartition("/")[0] for path in paths)
             for one in sources.files.list(folder)]  # fmt: skip
    span = task.spans.get("cmd" if task.module == "script" else "src") or task.span
    sources.findings.error(
        "CF0403", f"the file {name} is not found", span, label=did_you_mean(name, there),
        help="looked for " + ", ".join(paths),
    )  # fmt: skip


def _check_included(one: Template, bases: tuple[str, ...], sources: Sources, seen: set[str], *, made: bool) -> None:
    """The files that a template includes, imports or extends, each once; they must be there unless `made`."""
    for other in included(one):
        away = other.name.startswith("/") or ".." in other.name.split("/")  # where no template may look
        candidates = [] if away else _below(bases, "templates", other.name)
        path = sources.first(candidates)
        if path is None and not (made or other.optional):
            sources.findings.error("CF0403", f"the file {other.name} is not found", other.span,
                                   help="looked for " + ", ".join(candidates) if candidates else _INSIDE)  # fmt: skip
        elif path is not None and path not in seen:
            seen.add(path)
            _check_included(_template(path, sources), bases, sources, seen, made=made)


def _template(path: str, sources: Sources) -> Template:
    """The file as one Template, checked for syntax once."""
    try:
        text = sources.files.read(path).decode("utf-8", "replace")
    except Invalid as error:
        sources.findings.items.extend(error.diagnostics)
        text = ""
    if text.startswith("#jinja2:"):
        return Template("", Span(path, 1, 1))
    one = Template(text, Span(path, 1, 1), marks=line_marks(text))
    sources.findings.items.extend(check_template(one))
    return one
