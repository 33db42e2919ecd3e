"""The manual that can't lie: each section of tests/spec/*.md is files and exactly what comes of them.

A fenced block whose info string names a file is that file. `text diagnostics` is what a person sees on stderr,
`text faults` the same in a line for each, all of them,
`text plan` what would run, `text values` what the variables of the first play are on its first host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.files import Files
from ciflow.lang.inventory import implicit
from ciflow.lang.load import Loaded, load
from ciflow.lang.passwords import nobody, read_vault
from ciflow.lang.shipped import shipped
from ciflow.lang.snippets import render_diagnostics
from ciflow.lang.variables import Learnt, layers_for
from ciflow.model import Block, Node, Play, Template

HERE = Path(__file__).parent
_BLOCK = re.compile(r"^```(\S+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPECTED = ("diagnostics", "faults", "plan", "values")


@dataclass(frozen=True)
class Example:
    """One section of a page: its files, and what is expected of them by kind."""

    page: str
    title: str
    files: dict[str, str]
    expected: dict[str, str]


def examples() -> Iterator[Example]:
    for page in sorted(HERE.glob("*.md")):
        for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]:
            title = section.split("\n", 1)[0]
            blocks = {name: body for _, name, body in _BLOCK.findall(section)}
            files = {name: body for name, body in blocks.items() if name not in _EXPECTED}
            yield Example(page.stem, title, files, {name: blocks[name] for name in _EXPECTED if name in blocks})


@pytest.mark.parametrize("example", list(examples()), ids=lambda one: f"{one.page}: {one.title}")
def test_the_manual(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in example.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    monkeypatch.chdir(tmp_path)
    assert example.expected, "a section shows what comes of its files"
    for kind, text in example.expected.items():
        assert came_of(kind, example) == text


def came_of(kind: str, example: Example) -> str:
    named = {name.partition("/")[0] for name in example.files}
    hosts = ("hosts",) if "hosts" in named else ("hosts.yml",) if "hosts.yml" in example.files else ()
    ids = ("dev@vault.pass",) if "vault.pass" in example.files else ()
    files = Files.live(read_vault(ids, nobody))
    try:
        loaded = load("playbook.yml", hosts, files=files)
    except Invalid as fault:
        if kind == "faults":
            return "".join(f"{one.span.line}:{one.span.column} {one.severity}[{one.code}]: {one.message}\n"
                           for one in fault.diagnostics if one.span)  # fmt: skip
        return render_diagnostics(fault.diagnostics, fault.sources).replace(str(shipped("roles")), "SHIPPED") + "\n"
    if kind == "diagnostics":
        return render_diagnostics(loaded.findings, files.sources()) + "\n" if loaded.findings else ""
    return plan_of(loaded) if kind == "plan" else values_of(loaded)


# --- a plan in words -----------------------------------------------------------------------------------


def plan_of(loaded: Loaded) -> str:
    return "".join(line + "\n" for play in loaded.playbook.plays for line in _play(play, loaded))


def _play(play: Play, loaded: Loaded) -> Iterator[str]:
    pattern = ",".join(play.hosts) if isinstance(play.hosts, list) else _said(play.hosts)
    hosts = ", ".join(host.name for host in loaded.inventory.select(pattern)) or "nobody"
    needs = "" if play.needs is None else f" needs {', '.join(play.needs) or 'nothing'}"
    yield f"{play.name} [{play.id}] on {hosts}{needs}"
    yield from _nodes(play.tasks, "  ")
    for handler in play.handlers:
        yield f"  handler {handler.name}"


def _nodes(nodes: tuple[Node, ...], indent: str) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Block):
            for word, part in (("block", node.body), ("rescue", node.rescue), ("always", node.always)):
                if part:
                    yield f"{indent}{word}"
                    yield from _nodes(part, indent + "  ")
            continue
        when = f" when {' and '.join(_said(one) for one in node.when)}" if node.when else ""
        tags = f" tags {','.join(sorted(node.tags))}" if node.tags else ""
        args = " ".join(f"{key}={_said(value)}" for key, value in node.args.items())
        role = f"{node.role}: " if node.role else ""
        yield f"{indent}{role}{_said(node.name)}: {node.module} {args}{when}{tags}".rstrip()


def _said(value: Any) -> str:
    if isinstance(value, Template):
        return value.source
    if isinstance(value, list):
        return "[" + ", ".join(map(_said, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def values_of(loaded: Loaded) -> str:
    play = loaded.playbook.plays[0]
    host = next(iter(loaded.inventory.select(_said(play.hosts))), implicit("localhost"))
    scope = layers_for(loaded.playbook, play, host, inventory=loaded.inventory, learnt=Learnt(facts={}))
    return "".join(f"{name} = {json.dumps(scope.find(name))}\n" for name in play.vars)
