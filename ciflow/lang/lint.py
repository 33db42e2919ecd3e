"""Lints of the house: what works and will be regretted, and what can never run. Hints and warnings, never errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from ciflow.diagnostics import Findings, Span
from ciflow.lang.check import chosen, pattern_of
from ciflow.lang.inventory import Inventory
from ciflow.lang.roles import flat
from ciflow.lang.schema import module_schema, verbs
from ciflow.lang.scope import Vars
from ciflow.model import Block, Node, Play, Playbook, Task, Template

# Programs whose work is a module's. `git`: only what changes a checkout; asking it for something is a command's work.
_INSTEAD: Mapping[str, str] = {
    "apt": "apt", "apt-get": "apt", "chgrp": "file", "chmod": "file", "chown": "file", "cp": "copy",
    "crontab": "cron", "curl": "uri", "dnf": "dnf", "groupadd": "group", "groupdel": "group", "groupmod": "group",
    "hostname": "hostname", "ln": "file", "mkdir": "file", "mktemp": "tempfile", "mount": "mount", "patch": "patch",
    "pip": "pip", "pip3": "pip", "rm": "file", "sed": "replace", "service": "service", "sleep": "pause",
    "ssh-keyscan": "known_hosts", "systemctl": "systemd", "tar": "unarchive", "touch": "file", "unzip": "unarchive",
    "useradd": "user", "userdel": "user", "usermod": "user", "wget": "get_url", "yum": "dnf",
}  # fmt: skip
_CHECKOUT = frozenset({"clone", "checkout", "pull", "fetch", "submodule"})
_ASKING = {"systemctl": {"is-active", "is-enabled", "is-failed", "show", "status", "list-units", "cat"},
           "hostname": {"-f", "-s", "-i", "-I", "--fqdn", ""}, "mount": {""}, "crontab": {"-l"}}  # fmt: skip
_SHELL = re.compile(r"[|;&<>`\n]|\$\(")
_CHANGING = ("command", "shell", "raw", "script")
_FLOATING = frozenset({"latest", "main", "master", "edge", "nightly", "stable", "rolling", "dev"})
_IMAGE = re.compile(r"(?P<name>[a-z0-9][\w.\-/]*(?::\d+/[\w.\-/]+)?)(?::(?P<tag>[\w][\w.\-]*))?\Z")
_LAST = {"end_play": "the play", "end_host": "the host's part", "end_batch": "the batch"}


def lint(playbook: Playbook, inventory: Inventory, findings: Findings) -> None:
    """All lints; they go to `findings`. A task of a role that several plays use is told once."""
    seen: set[Span] = set()
    for play in playbook.plays:
        _never(play, inventory, findings)
        _after_the_end(play.tasks, findings)
        _unjudged(play, findings)
        _images(play.vars, play.vars.spans if isinstance(play.vars, Vars) else {}, play.span, findings, said=True)
        canary = (play.canary.verify + play.canary.retire) if play.canary else ()
        tasks = flat(play.tasks + canary)
        for task, handler in (*((one, False) for one in tasks), *((one, True) for one in play.handlers)):
            _can_run(task, play, inventory, findings)
            if task.span not in seen and "implicit" not in task.tags:
                seen.add(task.span)
                _task(task, findings, handler=handler)


# --- what never runs -----------------------------------------------------------------------------------


def _never(play: Play, inventory: Inventory, findings: Findings) -> None:
    """A play that can't run: its condition is false as written, its matrix is empty, or its hosts are none."""
    if any(_is_false(one) for one in play.when):
        findings.warning("CF0510", f"the play `{play.name}` never runs: its `when` is false", _of(play.when, play.span))
    axes = {key: value for key, value in play.matrix.items() if key not in ("include", "exclude", "max_parallel")}
    if any(value == [] for value in axes.values()) and not play.matrix.get("include"):
        findings.warning("CF0510", f"the play `{play.name}` never runs: its matrix has no cell", play.span)
    pattern = pattern_of(play)
    if not pattern or not inventory.hosts or inventory.fault(pattern):
        return
    if not inventory.unknown(pattern) and not inventory.select(pattern):
        findings.warning("CF0510", f"the play `{play.name}` never runs: `{pattern}` has no host", play.span)


def _after_the_end(nodes: tuple[Node, ...], findings: Findings) -> None:
    """Tasks behind one that ends the play in any case."""
    for before, node in pairwise(nodes):
        if isinstance(before, Task) and (why := _ends(before)) and "implicit" not in _tags(node):
            findings.warning("CF0511", f"this never runs: {why}", node.span)
            break
    for node in nodes:
        if isinstance(node, Block):
            for part in (node.body, node.rescue, node.always):
                _after_the_end(part, findings)
        elif any(_is_false(one) for one in node.when):
            findings.hint("CF0511", "this never runs: its `when` is false", _of(node.when, node.span))


def _ends(task: Task) -> str:
    """Why nothing behind a task runs; "" where something may."""
    if task.when or task.loop is not None or task.tags or _is(task.ignore_errors) or task.failed_when is not None:
        return ""
    if task.module == "meta" and task.args.get("action") in _LAST:
        return f"`meta: {task.args['action']}` in line {task.span.line} ends {_LAST[task.args['action']]}"
    return f"`fail` in line {task.span.line} has no condition" if task.module == "fail" else ""


def _tags(node: Node) -> frozenset[str]:
    return node.tags if isinstance(node, Task) else frozenset()


def _is(value: Any) -> bool:
    """Set, or perhaps set."""
    return value is not False and value is not None


def _is_false(condition: Any) -> bool:
    return condition is False or (isinstance(condition, Template) and condition.source.strip() in ("false", "False"))


def _of(conditions: tuple[Any, ...], otherwise: Span) -> Span:
    return next((one.span for one in conditions if isinstance(one, Template)), otherwise)


def _unjudged(play: Play, findings: Findings) -> None:
    """A canary without a word about gates: most likely forgotten, for then only the clock decides."""
    if play.canary is not None and "gates" not in play.canary.spans:
        message = "nothing judges this canary: however many requests fail, it is promoted"
        label = "`gates: [errors]`; or `gates: []` where the clock is to decide"
        findings.warning("CF0705", message, play.canary.span, label=label)


# --- what a target lacks -------------------------------------------------------------------------------


def _can_run(task: Task, play: Play, inventory: Inventory, findings: Findings) -> None:
    """A module that only some kinds of target can run (`targets` of its schema), and a play on another kind."""
    able = module_schema(task.module).targets
    if not able or task.delegate_to is not None:
        return
    lacking = [host for host in chosen(play, inventory) if host.connection not in able]
    if lacking:
        what = f"`{task.module}` can't run on {lacking[0].name}, which is reached by {lacking[0].connection}"
        findings.warning("CF0520", what, task.span, label=f"it runs by {' or '.join(able)}")


# --- tasks ---------------------------------------------------------------------------------------------


def _task(task: Task, findings: Findings, *, handler: bool) -> None:
    if task.name == task.module and task.module != "meta":
        findings.hint("CF0701", "this task has no name", task.span, label="say what it is for: it is what people see")
    if task.module in _CHANGING:
        _instead(task, findings)
        if not handler and task.changed_when is None and not {"creates", "removes"} & task.args.keys():
            findings.hint("CF0703", f"`{task.module}` counts as a change every time", _place(task),
                          label="say `changed_when`, `creates` or `removes`")  # fmt: skip
    _images(task.args, task.spans, task.span, findings, said=False)


def _instead(task: Task, findings: Findings) -> None:
    words = _words(task)
    if not words:
        return
    program, first = words[0].rpartition("/")[2], words[1] if len(words) > 1 else ""
    module = "git" if program == "git" and first in _CHECKOUT else _INSTEAD.get(program, "")
    packs = program == "tar" and ("c" in first.removeprefix("-")[:1] or first == "--create")
    if module in verbs() and not packs and first not in _ASKING.get(program, ()):
        findings.hint("CF0702", f"the module `{module}` does what `{program}` does here", _place(task),
                      label="it knows whether anything changed, and predicts it")  # fmt: skip


def _words(task: Task) -> list[str]:
    """The program and its arguments; none of a script, or of a shell line that is more than one command."""
    argv = task.args.get("argv")
    if isinstance(argv, list):
        return [str(getattr(one, "source", one)) for one in argv]
    text = task.args.get("cmd") or task.args.get("_raw_params") or ""
    text = str(getattr(text, "source", text))
    if task.module == "script" or (task.module != "command" and _SHELL.search(text)):
        return []
    return text.split()


def _place(task: Task) -> Span:
    return task.spans.get("cmd") or task.spans.get(task.module) or task.span


def _images(
    values: Mapping[Any, Any], spans: Mapping[str, Span], otherwise: Span, findings: Findings, *, said: bool
) -> None:
    """Values named `image` whose tag moves. `said`: one without a tag may be a picture, and is passed over."""
    for name, text in _named_images(values):
        found = _IMAGE.match(text)
        if found is not None and (found["tag"] or ("" if said else "latest")) in _FLOATING:
            findings.hint("CF0704", f"the image `{text}` is another one tomorrow", spans.get(name) or otherwise,
                          label="name a version, or better a digest: `name@sha256:..`")  # fmt: skip


def _named_images(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _named_images(below, str(key))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _named_images(below, name)
    elif isinstance(value, str) and (name == "image" or name.endswith("_image")):
        yield name, value
