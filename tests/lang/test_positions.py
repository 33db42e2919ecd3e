"""A fault is shown in the file where it stands, in its line and column, however deep in includes and templates."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.files import Files
from ciflow.lang.include import load_task_file
from ciflow.lang.load import load

PLAY = "- name: P\n  hosts: web\n"
HOSTS = "[web]\nw1\n"


def found(folder: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[Diagnostic]:
    for name, text in {"hosts": HOSTS, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(folder)
    try:
        return list(load("site.yml", ("hosts",)).findings)
    except Invalid as fault:
        return list(fault.diagnostics)


# What is wrong: the files, the code, and the place (file:line:column) where a person has to look.
FAULTS: dict[str, tuple[dict[str, str], str, str]] = {
    "a template in a task": (
        {"site.yml": PLAY + "  tasks:\n    - debug:\n        msg: \"so {{ nope }}\"\n"}, "CF0210", "site.yml:5:21"),
    "a template in a folded text": (
        {"site.yml": PLAY + "  tasks:\n    - debug:\n        msg: >\n          one\n          two {{ nope }}\n"},
        "CF0210", "site.yml:7:18"),
    "a template in a literal text": (
        {"site.yml": PLAY + "  tasks:\n    - shell: |\n        echo\n        echo {{ a | defalt }}\n"},
        "CF0211", "site.yml:6:21"),
    "a template behind an escape": (
        {"site.yml": PLAY + "  tasks:\n    - debug: {msg: \"\\t\\t{{ nope }}\"}\n"}, "CF0210", "site.yml:4:28"),
    "a condition": (
        {"site.yml": PLAY + "  tasks:\n    - debug: {msg: a}\n      when: b == nope\n"}, "CF0210", "site.yml:5:13"),
    "free form": (
        {"site.yml": PLAY + "  tasks:\n    - command: echo {{ nope }} chdir=/tmp\n"}, "CF0210", "site.yml:4:24"),
    "a value in free form": (
        {"site.yml": PLAY + "  tasks:\n    - command: echo chdir=/{{ nope }}\n"}, "CF0210", "site.yml:4:31"),
    "a variable of the play": (
        {"site.yml": PLAY + "  vars: {a: \"x {{ nope }}\"}\n  tasks:\n    - debug: {msg: \"{{ a }}\"}\n"},
        "CF0210", "site.yml:3:19"),
    "a file of variables": (
        {"site.yml": PLAY + "  vars_files: [v.yml]\n  tasks:\n    - debug: {msg: \"{{ a }}\"}\n",
         "v.yml": "b: 1\na: \"{{ b | nope }}\"\n"}, "CF0211", "v.yml:2:12"),
    "a group's variables": (
        {"site.yml": PLAY + "  tasks: []\n", "group_vars/web.yml": "a: 1\nb: \"{{ a | nope }}\"\n"},
        "CF0211", "group_vars/web.yml:2:12"),
    "a group's variables that aren't YAML": (
        {"site.yml": PLAY + "  tasks: []\n", "group_vars/web/main.yml": "a: 1\nb: {{ c }}\n"},
        "CF0016", "group_vars/web/main.yml:2:4"),
    "a host's variables": (
        {"site.yml": PLAY + "  tasks: []\n", "host_vars/w1.yml": "a: [1,\n  \"{{ b( }}\"]\n"},
        "CF0201", "host_vars/w1.yml:2:10"),
    "an imported file": (
        {"site.yml": PLAY + "  tasks:\n    - import_tasks: t.yml\n", "t.yml": "- debug: {msg: a}\n- dbug: {msg: a}\n"},
        "CF0106", "t.yml:2:3"),
    "a file that is imported by an imported one": (
        {"site.yml": PLAY + "  tasks:\n    - import_tasks: t.yml\n", "t.yml": "- import_tasks: u/v.yml\n",
         "u/v.yml": "- copy: {dest: /a, content: b,\n    mod: '1'}\n"}, "CF0109", "u/v.yml:2:5"),
    "an imported playbook": (
        {"site.yml": "- import_playbook: other.yml\n", "other.yml": PLAY + "  taks: []\n"}, "CF0102", "other.yml:3:3"),
    "a role's tasks": (
        {"site.yml": PLAY + "  roles: [r]\n", "roles/r/tasks/main.yml": "- debug:\n    msg: \"{{ nope }}\"\n"},
        "CF0210", "roles/r/tasks/main.yml:2:14"),
    "a role's defaults": (
        {"site.yml": PLAY + "  roles: [r]\n", "roles/r/tasks/main.yml": "[]\n",
         "roles/r/defaults/main.yml": "a: 1\nb: \"{{ a | nope }}\"\n"}, "CF0211", "roles/r/defaults/main.yml:2:12"),
    "a role's handlers": (
        {"site.yml": PLAY + "  roles: [r]\n", "roles/r/handlers/main.yml": "- name: h\n  shel: x\n"},
        "CF0106", "roles/r/handlers/main.yml:2:3"),
    "a role's dependency": (
        {"site.yml": PLAY + "  roles: [r]\n", "roles/r/meta/main.yml": "dependencies:\n  - role: other\n"},
        "CF0401", "roles/r/meta/main.yml:2:5"),
    "a name in a template's file": (
        {"site.yml": PLAY + "  tasks:\n    - template: {src: s.j2, dest: /s}\n",
         "templates/s.j2": "one\n  two {{ nope }}\n"}, "CF0210", "templates/s.j2:2:10"),
    "the syntax of a template's file": (
        {"site.yml": PLAY + "  tasks:\n    - template: {src: s.j2, dest: /s}\n",
         "templates/s.j2": "one\n{% if a %}\ntwo {% endfor %}\n"}, "CF0201", "templates/s.j2:3:8"),
    "a template's file in a role": (
        {"site.yml": PLAY + "  roles: [r]\n", "roles/r/tasks/main.yml": "- template: {src: s.j2, dest: /s}\n",
         "roles/r/templates/s.j2": "\n\n{{ x | nope }}\n"}, "CF0211", "roles/r/templates/s.j2:3:8"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_where_it_stands(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, code, place = FAULTS[case]
    places = [(one.code, str(one.span)) for one in found(tmp_path, files, monkeypatch)]
    assert (code, place) in places


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"site.yml": PLAY + "  vars:\n    a: yes\n"}, "site.yml:4:8"),
        ({"site.yml": PLAY + "  tasks:\n    - {name: n, ping: , vars: {a: [1, On]}}\n"}, "site.yml:4:39"),
        ({"site.yml": PLAY + "  tasks:\n    - set_fact: {a: no}\n"}, "site.yml:4:21"),
        ({"site.yml": PLAY + "  roles:\n    - {role: r, a: off}\n", "roles/r/tasks/main.yml": "[]\n"}, "site.yml:4:20"),
        ({"site.yml": PLAY, "group_vars/web.yml": "b: {c: YES}\n"}, "group_vars/web.yml:1:8"),
        ({"site.yml": PLAY, "host_vars/w1.yml": "a: No\n"}, "host_vars/w1.yml:1:4"),
        ({"site.yml": PLAY + "  roles: [r]\n", "roles/r/defaults/main.yml": "a: n\nb: no\n"},
         "roles/r/defaults/main.yml:2:4"),
        ({"site.yml": PLAY + "  vars_files: [v.yml]\n", "v.yml": "a: on\n"}, "v.yml:1:4"),
        ({"site.yml": PLAY + "  vars: {a: 'yes', b: true, c: y}\n"}, ""),
    ],
)  # fmt: skip
def test_a_yes_that_lands_in_a_variable_gets_a_hint(
    files: dict[str, str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = [str(one.span) for one in found(tmp_path, files, monkeypatch) if one.code == "CF0020"]
    assert hints == ([place] if place else [])


@pytest.mark.parametrize(
    "text",
    ["  gather_facts: no\n", "  become: yes\n  tasks: []\n", "  tasks:\n    - {ping: , ignore_errors: yes}\n",
     "  tasks:\n    - file: {path: /a, state: touch, follow: no}\n"],
)  # fmt: skip
def test_a_yes_for_a_keyword_or_argument_that_is_boolean_gets_none(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.code for one in found(tmp_path, {"site.yml": PLAY + text}, monkeypatch)] == []


def test_a_fault_in_a_file_that_is_included_while_running_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"site.yml": PLAY + "  tasks:\n    - include_tasks: '{{ file }}'\n      vars: {file: t.yml}\n"}
    assert [one for one in found(tmp_path, files, monkeypatch) if one.is_error] == []
    (tmp_path / "t.yml").write_text("- debug: {msg: a}\n- copy: {dst: /a}\n")
    task = load("site.yml", ("hosts",)).playbook.plays[0].tasks[0]
    with pytest.raises(Invalid) as fault:
        load_task_file(Files.live(), task, {"file": "t.yml"})  # type: ignore[arg-type]
    assert ("CF0109", "t.yml:2:10") in [(one.code, str(one.span)) for one in fault.value.diagnostics]


def test_an_included_place_is_told_with_the_chain_that_led_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"site.yml": PLAY + "  roles: [r]\n", "roles/r/tasks/main.yml": "- import_tasks: more.yml\n",
             "roles/r/tasks/more.yml": "- nope: 1\n"}  # fmt: skip
    (fault,) = found(tmp_path, files, monkeypatch)
    chain = [(why, str(span)) for why, span in fault.related]
    assert chain == [
        ("imported here", "roles/r/tasks/main.yml:1:17"),
        ("the role is used here", "site.yml:3:11"),
    ]
