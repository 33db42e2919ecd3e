"""A host that was taken over answers as it likes: its tasks fail, those of the others go on as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.security.hostile import BEGUN, HELLO, install
from tests.security.test_terminal import unsafe
from tests.security.tool import Tool

Lies = tuple[list[Any], Mapping[str, Any] | None]

OPENINGS: dict[str, Lies] = {
    "a_token_beyond_all": ([HELLO, {**BEGUN, "t": "superseded", "token": 10**30}], None),
    "a_negative_token": ([HELLO, {**BEGUN, "t": "superseded", "token": -5}], None),
    "a_token_in_words": ([HELLO, {**BEGUN, "t": "superseded", "token": "x\x1b[2J"}], None),
    "a_list": ([[1]], None),
    "a_number": (["5"], None),
    "no_kind": ([{}], None),
    "a_deep_one": (["[" * 100_000 + "]" * 100_000], None),
    "a_long_number": (['{"t": "hello", "pid": ' + "9" * 6000 + "}"], None),
    "no_fields": ([HELLO, {"t": "begun"}], None),
    "other_types": ([{**HELLO, "home": 5, "user": ["x"], "uid": "x"}, {**BEGUN, "journal": [1], "token": "z"}], {}),
    "escapes": ([{**HELLO, "user": "\x1b]0;x\x07"}, {**BEGUN, "warning": "\x1b[2J::error::x"}], {}),
    "an_unknown_want": ([HELLO, BEGUN, {"t": "want", "id": 999, "key": "k", "offset": 0}], {}),
    "an_unknown_answer": ([HELLO, BEGUN, {"t": "answer", "id": 999, "key": "k", "reply": {}, "streamed": [0, 0]}], {}),
    "an_unknown_question": ([HELLO, BEGUN, {"t": "asked", "id": 999, "key": "k", "state": "running"}], {}),
    "an_unknown_kind": ([HELLO, BEGUN, {"t": "strange"}], {}),
}
NO_TYPES: dict[str, Any] = {
    "status": "other", "ok": "yes", "changed": "x", "rc": "abc", "signal": "KILL", "stdout": 5, "stderr": None,
    "spilled": "x", "truncated": "x", "error": {"a": 1}, "errno": 7, "data": [1], "started": "then", "duration": [],
    "cpu": "fast", "peak_kb": {}, "unknown": 1,
}  # fmt: skip
REPLIES: dict[str, Lies] = {
    **{f"reply_{name}": ([HELLO, BEGUN], {name: value}) for name, value in NO_TYPES.items()},
    "reply_no_number": ([HELLO, BEGUN], {"started": float("nan"), "duration": float("inf")}),
    "reply_no_memory": ([HELLO, BEGUN], {"rc": 0, "peak_kb": 10**400}),
    "reply_no_time": ([HELLO, BEGUN], {"started": 10**40, "rc": 10**40, "peak_kb": 10**40}),
    "reply_no_end": ([HELLO, BEGUN], {"status": "refused", "ok": False, "error": "\x1b[2J", "errno": "E" * 100_000}),
    "reply_strange_data": (
        [HELLO, BEGUN],
        {"data": {"path": {"a": [1]}, "kind": 5, "exists": "x", "hash": [], "size": "big", "uid": {}, "mode": []}},
    ),
}
TASKS: list[dict[str, Any]] = [
    {"command": "echo hi", "register": "r"},
    {"copy": {"content": "hi", "dest": "{{ out }}"}},
    {"stat": {"path": "/tmp"}},
    {"slurp": {"src": "/etc/hostname"}},
    {"find": {"paths": "{{ playbook_dir }}", "patterns": "*.yml"}},
    {"lineinfile": {"path": "{{ out }}", "line": "x", "create": True}},
    {"setup": {"gather_subset": ["!all", "min"]}},
    {"debug": {"var": "r"}},
]


@pytest.mark.parametrize("lies", [OPENINGS, REPLIES], ids=["openings", "replies"])
def test_a_host_that_lies_fails_alone(tool: Tool, lies: dict[str, Lies]) -> None:
    """Each lie is a host of its own, all in one run beside an honest one."""
    hosts: dict[str, Any] = {"honest": {"ansible_connection": "local"}}
    for name, (first, reply) in lies.items():
        agent = install(tool.folder / name, first, reply)
        hosts[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(agent)}
    own = {"out": f"{tool.folder}/{{{{ inventory_hostname }}}}.out"}
    tool.write("hosts.yml", json.dumps({"all": {"hosts": hosts, "vars": own}}))
    tasks = [{**task, "ignore_errors": True} for task in TASKS]
    last = {"name": "To the end", "command": "touch {{ playbook_dir }}/done-{{ inventory_hostname }}"}
    tool.write("site.yml", json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [*tasks, last]}]))
    said = tool.run("apply", "site.yml", "-i", "hosts.yml", "-vv", timeout=300)
    assert (tool.folder / "done-honest").exists(), said.text[-3000:]
    assert said.code in (0, 4, 5) and "fault of ciflow itself, not" not in said.text, said.text[-3000:]
    assert not unsafe(said.text)
    ended = [json.loads(line) for line in tool.run("logs", "--json").out.splitlines()]
    honest = [e["data"]["status"] for e in ended if e["kind"] == "task_ended" and e["host"] == "honest"]
    assert len(honest) == len(tasks) + 1 and set(honest) <= {"ok", "changed"}, honest
