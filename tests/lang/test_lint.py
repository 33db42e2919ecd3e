"""Lints of the house: what is named, and what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.load import load


def lints(folder: Path, text: str, inventory: str = "") -> list[Diagnostic]:
    (folder / "playbook.yml").write_text(text)
    (folder / "hosts").write_text(inventory)
    try:
        hosts = (str(folder / "hosts"),) if inventory else ()
        return list(load(str(folder / "playbook.yml"), hosts, lints=True).findings)
    except Invalid as fault:
        return list(fault.diagnostics)


def of_task(folder: Path, task: str) -> list[tuple[str, str]]:
    text = f"- hosts: localhost\n  tasks:\n    - {task}\n"
    return [(one.code, one.severity) for one in lints(folder, text)]


NAMED = "name: Do it, "


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("{debug: {msg: hi}}", "CF0701"),
        ("{name: debug, debug: {msg: hi}}", "CF0701"),
        (f"{{{NAMED}command: make, changed_when: false, vars: {{}}}}", ""),
        (f"{{{NAMED}command: make}}", "CF0703"),
        (f"{{{NAMED}shell: make}}", "CF0703"),
        (f"{{{NAMED}command: {{cmd: make, creates: /made}}}}", ""),
        (f"{{{NAMED}script: x.sh, args: {{removes: /made}}, when: x is defined}}", "CF0403"),
        (f"{{{NAMED}command: tar xf a.tar, changed_when: true}}", "CF0702"),
        (f"{{{NAMED}command: /usr/bin/wget http://a, changed_when: true}}", "CF0702"),
        (f"{{{NAMED}command: {{argv: [mkdir, /a]}}, changed_when: true}}", "CF0702"),
        (f"{{{NAMED}command: git clone http://a, changed_when: true}}", "CF0702"),
        (f"{{{NAMED}command: git rev-parse HEAD, changed_when: false}}", ""),
        (f"{{{NAMED}shell: 'curl http://a | tar x', changed_when: true}}", ""),
        (f"{{{NAMED}shell: 'rm -r /a', changed_when: true}}", "CF0702"),
        (f"{{{NAMED}debug: {{msg: no}}, when: false}}", "CF0511"),
        (f"{{{NAMED}debug: {{msg: no}}, when: item, loop: [true]}}", ""),
    ],
)
def test_a_task_that_will_be_regretted_gets_a_hint(task: str, code: str, tmp_path: Path) -> None:
    assert [found for found, _ in of_task(tmp_path, task)] == ([code] if code else [])


def test_lints_never_stop_a_playbook(tmp_path: Path) -> None:
    assert {severity for _, severity in of_task(tmp_path, "{command: rm -r /a}")} == {"hint"}


def test_a_handler_runs_because_of_a_change_and_may_be_a_plain_command(tmp_path: Path) -> None:
    text = """\
- hosts: localhost
  tasks:
    - {name: Write, copy: {content: a, dest: /a}, notify: Reload}
  handlers:
    - {name: Reload, command: reload}
"""
    assert lints(tmp_path, text) == []


@pytest.mark.parametrize(
    ("line", "column"),
    [("vars: {web_image: 'web:latest'}", 21), ("vars: {web_image: 'registry:5000/web:main'}", 21)],
)
def test_an_image_whose_tag_moves_is_told_where_it_stands(line: str, column: int, tmp_path: Path) -> None:
    (found,) = lints(tmp_path, f"- hosts: localhost\n  {line}\n  tasks: []\n")
    assert found.span is not None
    assert (found.code, found.span.line, found.span.column) == ("CF0704", 2, column)


@pytest.mark.parametrize(
    "image", ["web:1.2", "web@sha256:" + "0" * 64, "registry:5000/web:1", "pictures/web.png", "{{ a }}:latest"]
)
def test_an_image_that_stays_or_is_a_picture_is_left_alone(image: str, tmp_path: Path) -> None:
    assert lints(tmp_path, f"- hosts: localhost\n  vars: {{a: x, web_image: '{image}'}}\n  tasks: []\n") == []


@pytest.mark.parametrize(
    "end",
    ["{name: End, meta: end_play}", "{name: End, fail: {msg: never}}", "{name: End, meta: end_host}"],
)
def test_what_stands_behind_an_end_without_condition_is_told_not_to_run(end: str, tmp_path: Path) -> None:
    text = f"- hosts: localhost\n  tasks:\n    - {end}\n    - {{name: Late, debug: {{msg: late}}}}\n"
    (found,) = lints(tmp_path, text)
    assert found.span is not None
    assert (found.code, found.severity, found.span.line) == ("CF0511", "warning", 4)
    unsure = text.replace("End, ", "End, when: inventory_hostname == 'a', ")
    assert lints(tmp_path, unsure) == []


@pytest.mark.parametrize(
    ("play", "why"),
    [
        ("{name: P, hosts: web, when: false}", "its `when` is false"),
        ("{name: P, hosts: web, matrix: {a: []}}", "its matrix has no cell"),
        ("{name: P, hosts: 'web:!web'}", "`web:!web` has no host"),
        ("{name: P, hosts: empty}", "`empty` has no host"),
        ("{name: P, hosts: web, when: inventory_hostname == 'a'}", ""),
    ],
)
def test_a_play_that_can_run_nowhere_is_told(play: str, why: str, tmp_path: Path) -> None:
    found = lints(tmp_path, f"- {play}\n", "[web]\nw1\n[empty]\n")
    assert [one.message for one in found] == ([f"the play `P` never runs: {why}"] if why else [])
    assert all((one.code, one.severity) == ("CF0510", "warning") for one in found)


def test_a_module_that_needs_what_its_target_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ciflow.lang import lint as lint_of
    from ciflow.lang.schema import module_schema

    only_ssh = {"ping": replace(module_schema("ping"), targets=("ssh",))}
    monkeypatch.setattr(lint_of, "module_schema", lambda name: only_ssh.get(name) or module_schema(name))
    text = "- hosts: all\n  tasks:\n    - {name: Ask, ping: {}}\n    - {name: Say, debug: {msg: x}}\n"
    (found,) = lints(tmp_path, text, "far\nnear ansible_connection=local\n")
    assert found.message == "`ping` can't run on near, which is reached by local"
    assert (found.code, found.label) == ("CF0520", "it runs by ssh")


def test_a_canary_without_a_word_about_gates_is_told_that_the_clock_alone_decides(tmp_path: Path) -> None:
    canary = """\
- hosts: localhost
  canary:
    service: shop
    version: "1"
    router: {envoy: {port: 8080}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [5%]
"""
    tasks = "  tasks: [{name: Say hello, ping: }]\n"
    (found,) = lints(tmp_path, canary + tasks)
    assert (found.code, found.severity, found.span and found.span.line) == ("CF0705", "warning", 3)
    assert lints(tmp_path, canary + "    gates: []\n" + tasks) == []
    assert lints(tmp_path, canary + "    gates: [errors]\n" + tasks) == []
