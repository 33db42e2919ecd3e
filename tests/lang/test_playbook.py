"""Playbooks to the model: inheritance, imports, includes while running, and what a snapshot keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.files import Files
from ciflow.lang.include import load_role, load_task_file, load_variables
from ciflow.lang.load import load
from ciflow.lang.playbook import load_playbook
from ciflow.lang.roles import flat
from ciflow.model import Approval, Artifact, Become, Play, Retry, Task, Template


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder / "playbook.yml")


def play(folder: Path, text: str, **files: str) -> Play:
    others = {name.replace("__", "/") + ".yml": body for name, body in files.items()}
    return load_playbook(written(folder, {"playbook.yml": text, **others}), Files.live()).plays[0]


def tasks(folder: Path, text: str, **files: str) -> list[Task]:
    return flat(play(folder, text, **files).tasks)


def sources(values: Any) -> list[Any]:
    return [value.source if isinstance(value, Template) else value for value in values]


def test_everything_inherited_is_written_into_the_task(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, """\
- hosts: localhost
  become: true
  environment: {A: "1"}
  tags: [play]
  no_log: true
  tasks:
    - block:
        - block:
            - command: id
              become_user: app
              when: c
              environment: {C: "3"}
              tags: own
              vars: {x: 2}
              no_log: false
          when: [b]
          tags: inner,more
      when: a
      vars: {x: 1}
      environment: {B: "2"}
      ignore_errors: true
      notify: H
      delegate_to: localhost
  handlers: [{name: H, debug: {msg: x}}]
""")  # fmt: skip
    assert sources(task.when) == ["a", "b", "c"]
    assert task.tags == {"play", "own", "inner", "more"}
    assert list(task.environment) == [{"A": "1"}, {"B": "2"}, {"C": "3"}]
    assert [dict(values) for values in task.vars] == [{"x": 1}, {"x": 2}]
    assert task.become == Become(enabled=True, user="app")
    assert (task.ignore_errors, task.no_log, task.delegate_to, task.notify) == (True, False, "localhost", ("H",))


def test_keywords_become_numbers_and_names(tmp_path: Path) -> None:
    found = play(tmp_path, """\
- name: Ship it now
  hosts: localhost
  needs: []
  deadline: 2h
  retry: {attempts: 3, backoff: exponential, delay: 500ms, max_delay: 1m, jitter: 10%}
  approval: {prompt: "ok?", approvers: [ann], timeout: 8h}
  concurrency: {group: prod}
  max_fail_percentage: 25
  serial: ["10%", 5]
  strategy: free
  artifacts: [{name: a, path: target/a}]
  outputs: {digest: "{{ 1 }}"}
  when: true
  tasks:
    - command: id
      retries: 5
      delay: 1m
      timeout: 30
      until: r.rc == 0
      register: r
""")  # fmt: skip
    assert (found.id, found.needs, found.deadline, found.concurrency) == ("ship_it_now", (), 7200.0, "prod")
    assert found.retry == Retry(3, "exponential", 0.5, 60.0, 0.1)
    assert found.approval == Approval("ok?", ("ann",), 28800.0)
    assert (found.max_fail_percentage, found.serial, found.strategy) == (25.0, ("10%", 5), "free")
    assert found.artifacts == (Artifact("a", "target/a"),)
    task = found.tasks[0]
    assert isinstance(task, Task)
    assert (task.retries, task.delay, task.timeout) == (5, 60.0, 30.0)


def test_settings_that_a_plan_is_made_of_may_hold_templates_of_what_is_known_by_then(tmp_path: Path) -> None:
    text = """\
name: Release
vars: {limit: 1h}
plays:
  - hosts: localhost
    vars: {bins: [a, b]}
    strategy: "{{ how | default('linear') }}"
    deadline: "{{ limit }}"
    matrix: {bin: "{{ bins }}"}
    retry: {attempts: "{{ tries }}"}
"""
    found = load_playbook(written(tmp_path, {"playbook.yml": text}), Files.live(), extra={"how": "free", "tries": 4})
    first = found.plays[0]
    assert (first.strategy, first.deadline, first.matrix, first.retry.attempts) == (
        "free",
        3600.0,
        {"bin": ["a", "b"]},
        4,
    )
    with pytest.raises(Invalid, match="`tries` is not defined"):
        load_playbook(str(tmp_path / "playbook.yml"), Files.live())
    later = text.replace("{{ limit }}", "{{ ansible_uptime }}").replace("{{ tries }}", "3")
    with pytest.raises(Invalid, match="is not defined"):
        load_playbook(written(tmp_path, {"playbook.yml": later}), Files.live())


def test_a_mapping_above_the_plays_gives_name_and_variables(tmp_path: Path) -> None:
    text = "name: Release\nvars: {v: 1}\nplays:\n  - {hosts: localhost}\n"
    found = load_playbook(written(tmp_path, {"playbook.yml": text}), Files.live())
    assert (found.name, dict(found.vars), len(found.plays)) == ("Release", {"v": 1}, 1)


def test_paths_of_tasks_do_not_change_when_a_name_does(tmp_path: Path) -> None:
    text = "- hosts: localhost\n  tasks:\n    - block: [{name: NAME, debug: {msg: a}}]\n    - debug: {msg: b}\n"
    paths = [task.path for task in tasks(tmp_path, text.replace("NAME", "one"))]
    assert paths == [("tasks.0", "block.0"), ("tasks.1",)]
    assert paths == [task.path for task in tasks(tmp_path, text.replace("NAME", "two"))]


def test_imports_carry_their_keywords_inward(tmp_path: Path) -> None:
    found = tasks(
        tmp_path,
        "- hosts: localhost\n  tasks: [{import_tasks: more.yml, when: a, vars: {x: 1}, tags: t}]\n",
        more="- debug: {msg: hi}\n  when: b\n",
    )
    assert (sources(found[0].when), found[0].tags, dict(found[0].vars[0])) == (["a", "b"], {"t"}, {"x": 1})


def test_an_imported_playbook_gives_its_plays(tmp_path: Path) -> None:
    path = written(tmp_path, {
        "playbook.yml": "- import_playbook: sub/base.yml\n  tags: base\n- {name: Last, hosts: localhost}\n",
        "sub/base.yml": "- {name: Base, hosts: localhost, tasks: [{import_tasks: t.yml}]}\n",
        "sub/t.yml": "- debug: {msg: x}\n",
    })  # fmt: skip
    plays = load_playbook(path, Files.live()).plays
    assert [one.name for one in plays] == ["Base", "Last"]
    assert flat(plays[0].tasks)[0].tags == {"base"}


def test_a_file_that_imports_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="imports itself"):
        tasks(tmp_path, "- hosts: localhost\n  tasks: [{import_tasks: a.yml}]\n", a="- import_tasks: a.yml\n")


def test_dependencies_run_first_and_once(tmp_path: Path) -> None:
    found = play(
        tmp_path,
        "- hosts: localhost\n  roles: [app, other, {role: app, level: 2}]\n",
        roles__app__tasks__main="- debug: {msg: app}\n",
        roles__app__meta__main="dependencies: [base]\n",
        roles__app__handlers__main="- {name: Restart, debug: {msg: x}}\n",
        roles__other__tasks__main="- debug: {msg: other}\n  notify: 'app : Restart'\n",
        roles__other__meta__main="dependencies: [{role: base}]\n",
        roles__base__tasks__main="- debug: {msg: base}\n",
        roles__base__defaults__main="depth: 1\n",
    )
    ran = flat(found.tasks)
    assert [task.role for task in ran] == ["base", "app", "other", "app"]
    assert [dict(values) for values in ran[-1].params] == [{"level": 2}]
    assert [dict(values) for values in found.role_defaults] == [{"depth": 1}]
    assert "app : Restart" in found.handlers[0].listen


def test_a_role_may_be_imported_with_other_files_than_main(tmp_path: Path) -> None:
    found = play(
        tmp_path,
        "- hosts: localhost\n  tasks:\n    - import_role: {name: r, tasks_from: t, vars_from: v, defaults_from: d}\n"
        "    - import_role: {name: r, tasks_from: t}\n",
        roles__r__tasks__t="- debug: {msg: other}\n",
        roles__r__vars__v="a: 1\n",
        roles__r__defaults__d="b: 2\n",
        roles__r__defaults__main="b: 1\n",
    )
    task, plain = flat(found.tasks)
    assert (dict(task.vars[0]), dict(task.defaults[0]), task.args) == ({"a": 1}, {"b": 2}, {"msg": "other"})
    assert (dict(plain.vars[0]), dict(plain.defaults[0])) == ({}, {"b": 1})
    with pytest.raises(Invalid, match=r"has no vars/nope\.yml"):
        play(tmp_path, "- hosts: localhost\n  tasks: [{import_role: {name: r, tasks_from: t, vars_from: nope}}]\n")


def test_a_dependency_is_kept_where_its_first_run_may_be_skipped(tmp_path: Path) -> None:
    found = play(
        tmp_path,
        "- hosts: localhost\n  roles: [{role: app, when: never}, other]\n",
        roles__app__tasks__main="- debug: {msg: app}\n",
        roles__app__meta__main="dependencies: [base]\n",
        roles__other__tasks__main="- debug: {msg: other}\n",
        roles__other__meta__main="dependencies: [base]\n",
        roles__base__tasks__main="- debug: {msg: base}\n",
    )
    ran = [(task.role, sources(task.when)) for task in flat(found.tasks)]
    assert ran == [("base", ["never"]), ("app", ["never"]), ("base", []), ("other", [])]


def test_conditions_and_shown_variables_are_expressions_not_text(tmp_path: Path) -> None:
    found = tasks(
        tmp_path,
        "- hosts: localhost\n  tasks: [{assert: {that: [a == 1, true]}}, {debug: {var: a.b}}, {debug: var=a.b}]\n",
    )
    first = found[0].args["that"][0]
    assert isinstance(first, Template)
    assert (first.expression, first.source, found[0].args["that"][1]) == (True, "a == 1", True)
    assert all(isinstance(task.args["var"], Template) and task.args["var"].expression for task in found[1:])


def test_module_defaults_fill_in_what_a_task_leaves_out(tmp_path: Path) -> None:
    found = tasks(
        tmp_path,
        "- hosts: localhost\n  module_defaults: {copy: {mode: '0600', owner: app}}\n"
        "  tasks: [{copy: {content: x, dest: /x, mode: '0644'}}]\n",
    )
    assert found[0].args == {"mode": "0644", "owner": "app", "content": "x", "dest": "/x"}


def test_aliases_of_arguments_arrive_under_their_own_name(tmp_path: Path) -> None:
    (task,) = tasks(tmp_path, "- hosts: localhost\n  tasks: [{file: {name: /x, state: touch}}]\n")
    assert task.args == {"path": "/x", "state": "touch"}


def test_loops_and_facts_are_read_with_their_settings(tmp_path: Path) -> None:
    found = play(
        tmp_path,
        """\
- hosts: localhost
  gather_subset: [min]
  gather_timeout: 5
  tasks:
    - debug: {msg: x}
      loop: [1]
      loop_control:
        {loop_var: n, index_var: i, pause: 500ms, extended: true, extended_allitems: false, break_when: n > 1}
""",
    )
    assert found.facts == {"gather_subset": ["min"], "gather_timeout": 5}
    loop = flat(found.tasks)[0].loop
    assert loop is not None
    assert (loop.items, loop.var, loop.index_var, loop.pause, loop.extended, loop.extended_allitems) == (
        [1], "n", "i", 0.5, True, False)  # fmt: skip
    assert sources(loop.break_when) == ["n > 1"]


@pytest.mark.parametrize("keyword", ["concurrency: {group: a, cancel_running: true}"])
def test_a_keyword_that_is_not_built_is_refused_rather_than_forgotten(keyword: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="`cancel_running` is not built yet"):
        play(tmp_path, f"- hosts: localhost\n  {keyword}\n")


def test_spans_tell_where_each_keyword_and_argument_stands(tmp_path: Path) -> None:
    (task,) = tasks(
        tmp_path, "- hosts: localhost\n  tasks:\n    - copy:\n        src: a\n        dest: /b\n      register: r\n"
    )
    places = {name: (span.line, span.column) for name, span in task.spans.items()}
    assert places == {"copy": (3, 7), "src": (4, 14), "dest": (5, 15), "register": (6, 17)}


@pytest.mark.parametrize("keyword", ["connection: local", "remote_user: app", "port: 2222"])
def test_connection_keywords_are_variables_of_the_lowest_level(keyword: str, tmp_path: Path) -> None:
    found = play(tmp_path, f"- hosts: web\n  {keyword}\n")
    name = {"connection": "ansible_connection", "remote_user": "ansible_user", "port": "ansible_port"}
    assert list(found.role_defaults[0]) == [name[keyword.split(":")[0]]]


# --- includes while running ----------------------------------------------------------------------------

INCLUDES = """\
- hosts: localhost
  become: true
  tasks:
    - block:
        - include_tasks: "{{ name }}.yml"
          when: here
          loop: [1, 2]
          vars: {y: 2}
          tags: include
      when: above
      tags: block
    - include_role: {name: r}
    - include_vars: vars.yml
"""


def test_included_tasks_inherit_what_surrounds_the_include(tmp_path: Path) -> None:
    found = tasks(tmp_path, INCLUDES, more="- debug: {msg: hi}\n  when: own\n",
                  roles__r__tasks__main="- debug: {msg: role}\n", roles__r__defaults__main="d: 1\n")  # fmt: skip
    assert isinstance(found[0].args["file"], Template)
    (inside,) = flat(load_task_file(Files.live(), found[0], {"file": "more.yml"}, {"item": 1}))
    assert sources(inside.when) == ["above", "own"]
    assert (inside.tags, inside.become.enabled) == ({"block"}, True)
    assert [dict(values) for values in (*inside.vars, *inside.params)] == [{"y": 2}, {"item": 1}]
    (inside,) = flat(load_role(Files.live(), found[1], {"name": "r"}))
    assert (inside.role, [dict(values) for values in inside.defaults]) == ("r", [{"d": 1}])


def test_included_variables_are_read_with_their_places(tmp_path: Path) -> None:
    found = tasks(tmp_path, INCLUDES, vars="a: 1\nb: '{{ a }}'\n")
    values, _ = load_variables(Files.live(), found[2], {"file": "vars.yml"})
    assert values["a"] == 1
    assert isinstance(values["b"], Template)
    assert values.spans["a"].line == 1
    assert load_variables(Files.live(), found[2], {"file": "vars.yml", "name": "n"})[0]["n"]["a"] == 1


def test_a_missing_include_says_where_it_was_looked_for(tmp_path: Path) -> None:
    found = tasks(tmp_path, INCLUDES)
    with pytest.raises(Invalid) as raised:
        load_task_file(Files.live(), found[0], {"file": "nope.yml"})
    assert "nope.yml" in raised.value.diagnostics[0].help


# --- snapshots -----------------------------------------------------------------------------------------


def test_a_snapshot_gives_the_same_playbook_when_the_disk_has_changed(tmp_path: Path) -> None:
    path = written(tmp_path, {
        "playbook.yml": "- {hosts: web, roles: [r], tasks: [{copy: {src: a, dest: /a}}]}\n",
        "roles/r/tasks/main.yml": "- debug: {msg: one}\n",
        "inv/hosts": "[web]\nw1\n", "inv/group_vars/web.yml": "x: 1\n", "files/a": "content",
    })  # fmt: skip
    files = Files.live()
    first = load(path, (str(tmp_path / "inv"),), files=files)
    (tmp_path / "roles/r/tasks/main.yml").unlink()
    (tmp_path / "inv/group_vars/web.yml").write_text("x: 2\n")
    (tmp_path / "files/a").unlink()
    again = load(path, (str(tmp_path / "inv"),), files=Files.frozen(files.snapshot()))
    assert again.playbook.plays[0].tasks == first.playbook.plays[0].tasks
    assert again.inventory.hosts == first.inventory.hosts


def test_a_folder_without_files_that_were_read_is_still_a_role_in_the_snapshot(tmp_path: Path) -> None:
    path = written(tmp_path, {"playbook.yml": "- {hosts: localhost, roles: [r]}\n", "roles/r/tasks/other.yml": "[]\n"})
    files = Files.live()
    load(path, files=files)
    assert load(path, files=Files.frozen(files.snapshot())).playbook.plays


def test_a_resumed_run_reads_what_it_had_and_finds_what_it_had_not_read_yet(tmp_path: Path) -> None:
    path = written(tmp_path, {"playbook.yml": "- {hosts: localhost}\n", "later.yml": "a: 1\n"})
    files = Files.live()
    load(path, files=files)
    written(tmp_path, {"playbook.yml": "changed"})
    frozen = Files.frozen(files.snapshot())
    with pytest.raises(Invalid, match="not in the snapshot"):
        frozen.read(str(tmp_path / "later.yml"))
    assert frozen.thawed().read(str(tmp_path / "later.yml")) == b"a: 1\n"
    assert frozen.thawed().read(path) == b"- {hosts: localhost}\n"
