"""Includes are read when a host gets there; what shows of them before is said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import Diagnostic
from ciflow.lang.include import load_role
from ciflow.lang.load import load
from ciflow.lang.roles import flat
from tests.lang.test_check import found, play

WRONG = "- debug: {msg: hi}\n  whn: x\n- coppy: {src: a}\n"


def said(findings: tuple[Diagnostic, ...]) -> list[tuple[str, str, str]]:
    return [(one.severity, one.code, Path(one.span.file).name) for one in findings if one.span]


def test_a_fault_in_an_included_file_is_found_before_anything_runs_and_tells_who_includes_it(tmp_path: Path) -> None:
    findings = found(tmp_path, play("- include_tasks: more.yml"), more=WRONG)
    assert said(findings) == [("error", "CF0102", "more.yml"), ("error", "CF0106", "more.yml")]
    assert all(span is not None and span.file.endswith("playbook.yml") for one in findings for _, span in one.related)


def test_so_is_one_in_a_role_and_in_a_template(tmp_path: Path) -> None:
    role = play("- include_role: {name: web}")
    assert ("error", "CF0102", "main.yml") in said(found(tmp_path, role, roles__web__tasks__main=WRONG))
    template = "- debug: {msg: \"{{ 'a' | uper }}\"}\n"
    (fault,) = found(tmp_path, play("- include_tasks: more.yml"), more=template)
    assert fault.is_error and "uper" in fault.message


def test_where_the_include_may_never_run_it_is_a_warning_and_other_systems_modules_are_none(tmp_path: Path) -> None:
    for line in ("  when: ansible_os_family == 'RedHat'", "  loop: []", "  tags: never"):
        findings = found(tmp_path, play(f"- include_tasks: more.yml\n{line}"), more=WRONG)
        assert said(findings) == [("warning", "CF0102", "more.yml")]


@pytest.mark.parametrize(
    "tasks",
    [
        "- include_tasks: nowhere.yml",
        "- include_role: {name: nowhere}",
        "- include_tasks: more.yml\n  ignore_errors: true",
        "- block:\n    - include_tasks: more.yml\n  rescue:\n    - debug: {msg: it failed}",
        '- include_tasks: "{{ inventory_hostname }}.yml"',
    ],
    ids=["no file", "no role", "errors ignored", "rescued", "a name not known yet"],
)
def test_what_may_well_be_meant_is_left_to_the_run(tmp_path: Path, tasks: str) -> None:
    assert [one for one in found(tmp_path, play(tasks), more=WRONG) if one.is_error] == []


def test_an_undefined_name_is_found_beside_includes_whose_names_are_known(tmp_path: Path) -> None:
    tasks = '- include_tasks: more.yml\n- debug: {msg: "{{ made }} {{ again }} {{ nowhere }}"}'
    more = "- set_fact: {made: 1}\n- include_tasks: more.yml\n  when: false\n- command: id\n  register: again\n"
    (fault,) = [one for one in found(tmp_path, play(tasks), more=more) if one.is_error]
    assert "nowhere" in fault.message


def test_an_included_role_is_looked_for_where_all_roles_are(tmp_path: Path) -> None:
    tasks = tmp_path / "elsewhere" / "web" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text("- {name: served, debug: {msg: x}}\n")
    (tmp_path / "playbook.yml").write_text(play("- include_role: {name: web}"))
    loaded = load(str(tmp_path / "playbook.yml"), roles_path=(str(tmp_path / "elsewhere"),))
    (include,) = [task for task in flat(loaded.playbook.plays[0].tasks) if task.module == "include_role"]
    assert [task.name for task in flat(load_role(loaded.files, include, include.args))] == ["served"]
