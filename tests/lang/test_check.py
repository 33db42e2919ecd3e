"""Checks over the whole playbook: what is found, and above all what is rightly left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang import foreign
from ciflow.lang.load import load
from ciflow.lang.schema import verbs


def found(folder: Path, text: str, extra: dict[str, object] | None = None, **files: str) -> tuple[Diagnostic, ...]:
    for name, body in {"playbook": text, **files}.items():
        path = folder / (name.replace("__", "/") + ("" if "." in name else ".yml"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
    try:
        return load(str(folder / "playbook.yml"), extra_vars=extra).findings
    except Invalid as fault:
        return fault.diagnostics


def play(tasks: str, **more: str) -> str:
    head = "".join(f"  {key}: {value}\n" for key, value in more.items())
    return f"- hosts: localhost\n{head}  tasks:\n" + "".join(f"    {line}\n" for line in tasks.splitlines())


QUIET = {
    "registered earlier": '- {command: id, register: r}\n- debug: {msg: "{{ r.stdout }}"}',
    "set as a fact": '- set_fact: {x: 1}\n- debug: {msg: "{{ x }}"}',
    "a loop's own names": '- debug: {msg: "{{ n }} {{ i }} {{ ansible_loop }}"}\n  loop: [1]\n'
    "  loop_control: {loop_var: n, index_var: i}",
    "facts": '- debug: {msg: "{{ ansible_distribution }} {{ ansible_facts.os }}"}',
    "magic": '- debug: {msg: "{{ inventory_hostname }} {{ groups.all }} {{ hostvars }} {{ run.id }} {{ git.sha }}"}',
    "a default": "- debug: {msg: \"{{ x | default('y') }}\"}",
    "a guard": '- debug: {msg: "{{ x }}"}\n  when: x is defined',
    "a guard among others": '- debug: {msg: "{{ x.y }}"}\n  when: [x is defined, x.y > 1]',
    "an assertion": '- assert: {that: x is defined}\n- debug: {msg: "{{ x }}"}',
    "the template's own": "- debug: {msg: '{% set x = 1 %}{{ x }}'}",
    "included variables": '- include_vars: v.yml\n- debug: {msg: "{{ x }}"}',
    "a name made of a variable": '- set_fact: {"{{ inventory_hostname }}": 1}\n- debug: {msg: "{{ x }}"}',
    "text that is data": "- debug: {msg: !unsafe '{{ x }}'}",
    "an unused variable": "- {debug: {msg: hi}, vars: {y: '{{ x }}'}}",
}


@pytest.mark.parametrize("case", QUIET)
def test_a_name_that_may_be_defined_is_left_alone(case: str, tmp_path: Path) -> None:
    assert [d.message for d in found(tmp_path, play(QUIET[case])) if d.code == "CF0210"] == []


@pytest.mark.parametrize(
    "task",
    ['debug: {msg: "{{ x }}"}', "{debug: {msg: a}, when: x > 1}", 'set_fact: {y: "{{ x }}"}',
     '{debug: {msg: a}, environment: {A: "{{ x }}"}}', "assert: {that: [x == 1]}", 'debug: {msg: "{{ x or y }}"}'],
)  # fmt: skip
def test_a_name_that_nothing_defines_is_an_error(task: str, tmp_path: Path) -> None:
    faults = [d for d in found(tmp_path, play(f"- {task}")) if d.is_error]
    assert [d.message for d in faults] == ["`x` is not defined"]


def test_extra_variables_are_known(tmp_path: Path) -> None:
    assert found(tmp_path, play('- debug: {msg: "{{ x }}"}'), {"x": 1}) == ()


def test_a_fault_behind_a_variable_is_told_where_the_variable_is_written(tmp_path: Path) -> None:
    text = play('- debug: {msg: "{{ url }}"}', vars='{url: "http://{{ hots }}"}')
    (fault,) = [d for d in found(tmp_path, text) if d.is_error]
    assert fault.span is not None
    assert (fault.message, fault.span.line, fault.span.column) == ("`hots` is not defined", 2, 26)


def test_a_template_file_is_checked_and_names_who_uses_it(tmp_path: Path) -> None:
    text = play("- name: Write the site\n  template: {src: s.j2, dest: /s}", name="Roll out")
    (fault,) = found(tmp_path, text, **{"templates/s.j2": "a\nfrom {{ verison }}\n"})
    assert fault.span is not None
    assert str(fault.span).endswith("templates/s.j2:2:9")
    assert [why for why, _ in fault.related] == ["used by: Roll out > Write the site"]


def test_handlers_are_found_by_name_by_listen_and_by_role(tmp_path: Path) -> None:
    text = play("- {command: id, notify: [One, both]}", handlers="[{name: One, debug: {msg: x}}, "
                "{name: Two, listen: both, debug: {msg: x}}]")  # fmt: skip
    assert found(tmp_path, text) == ()


def test_a_notification_nobody_hears_is_an_error_and_an_unheard_handler_a_warning(tmp_path: Path) -> None:
    text = play("- {command: id, notify: Restrat}", handlers="[{name: Restart, debug: {msg: x}}]")
    assert [(d.code, d.severity, d.label) for d in found(tmp_path, text)] == [
        ("CF0502", "warning", ""),
        ("CF0501", "error", "did you mean `Restart`?"),
    ]


def test_two_conditional_tasks_that_share_a_register_get_a_hint(tmp_path: Path) -> None:
    text = play("- {command: id, register: r, when: true}\n- {command: id, register: r, when: false}")
    assert [(d.code, d.severity) for d in found(tmp_path, text)] == [("CF0503", "hint")]


def test_a_source_that_an_earlier_task_may_make_is_not_missed(tmp_path: Path) -> None:
    made = play("- command: make\n- copy: {src: target/app, dest: /app}")
    assert found(tmp_path, made) == ()
    assert [d.code for d in found(tmp_path, play("- copy: {src: target/app, dest: /app}"))] == ["CF0403"]


@pytest.mark.parametrize("name", sorted(foreign.INSTEAD))
def test_what_does_the_job_of_another_module_is_there(name: str) -> None:
    told = set(re.findall(r"`([a-z0-9_]+)", foreign.INSTEAD[name])) - {"meta"}
    words = {"stdin", "chdir", "register", "from_json", "insertafter", "delegate_to"}
    assert name not in verbs(), "it is a module of ciflow's by now"
    assert told <= verbs() | words, "modules, arguments and keywords"
    assert told & verbs(), "a module does the job"


@pytest.mark.parametrize(
    ("text", "codes"),
    [("{% include 'nope.j2' %}", ["CF0403"]), ("{% from 'nope.j2' import a %}", ["CF0403"]),
     ("{% extends 'nope.j2' %}", ["CF0403"]), ("{% include '../site.j2' %}", ["CF0403"]),
     ("{% include '/etc/hostname' %}", ["CF0403"]), ("{% include 'nope.j2' ignore missing %}", []),
     ("{% include ['nope.j2', 'site.j2'] %}", []), ("{% include 'no' ~ 'pe.j2' %}", []),
     ("{% include 'site.j2' ignore missing %}", []), ("{# include 'nope.j2' #}", [])],
)  # fmt: skip
def test_a_file_that_a_template_names_must_be_there(tmp_path: Path, text: str, codes: list[str]) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "site.j2").write_text(text)
    assert [d.code for d in found(tmp_path, play("- template: {src: site.j2, dest: /tmp/site}"))] == codes


SPEC = """\
argument_specs:
  main:
    options:
      listen_port: {type: int, required: true}
      mode: {type: str, choices: [fast, safe]}
"""


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("", ["the role r needs `listen_port`"]),
        ("listen_port: 80", []),
        ('listen_port: "80"', []),
        ("listen_port: many", ['`listen_port` of the role r: "many" is not a whole number']),
        ("listen_port: 1, mode: slow", ["`mode` of the role r is one of fast, safe"]),
    ],
)
def test_what_a_role_says_it_takes_is_checked_before_anything_runs(
    given: str, wanted: list[str], tmp_path: Path
) -> None:
    text = f"- hosts: localhost\n  roles: [{{role: r, {given}}}]\n"
    faults = found(tmp_path, text, roles__r__meta__main=SPEC, roles__r__tasks__main="- debug: {msg: hi}\n")
    assert [d.message for d in faults] == wanted


def test_a_pattern_that_names_nobody_is_a_warning(tmp_path: Path) -> None:
    assert [d.code for d in found(tmp_path, "- {hosts: wbe, tasks: [{debug: {msg: x}}]}\n")] == ["CF0602"]


def test_faults_come_in_the_order_of_files_and_lines(tmp_path: Path) -> None:
    text = play('- debug: {msg: "{{ b }}"}\n- nope: {}\n- debug: {msg: "{{ a }}"}')
    assert [d.span.line for d in found(tmp_path, text) if d.span] == [3, 4, 5]


@pytest.mark.parametrize(
    "task",
    ['import_role: {name: ""}', 'include_role: {name: ""}', 'import_role: {role: ""}', 'include_tasks: {file: ""}'],
)
def test_an_empty_name_is_refused_where_something_must_be_named(task: str, tmp_path: Path) -> None:
    assert "CF0104" in [d.code for d in found(tmp_path, play(f"- {task}")) if d.is_error]
