"""Imports are read before the run and are part of the play; includes are read when the run gets there."""

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench


def test_when_on_an_import_is_asked_before_each_of_its_tasks_and_on_an_include_once(bench: Bench) -> None:
    bench.file("more.yml", "- {name: sets, set_fact: {done: true}}\n- {name: after, debug: {msg: x}}\n")
    text = """
        - hosts: localhost
          tasks:
            - {how}: more.yml
              when: done is not defined
        """
    assert bench.play(text.replace("{how}", "import_tasks")).ends() == [("sets", "ok"), ("after", "skipped")]
    included = bench.play(text.replace("{how}", "include_tasks"))
    assert included.ends() == [("include_tasks", "ok"), ("sets", "ok"), ("after", "ok")]


def test_tags_on_an_import_reach_its_tasks_and_on_an_include_only_itself(bench: Bench) -> None:
    bench.file("more.yml", "- {name: plain, debug: {msg: x}}\n- {name: tagged, debug: {msg: x}, tags: t}\n")
    text = """
        - hosts: localhost
          tasks:
            - name: more
              {how}: {what}
              tags: t
        """
    imported = text.replace("{how}", "import_tasks").replace("{what}", "more.yml")
    assert bench.play(imported, tags=["t"]).names() == ["plain", "tagged"]
    included = text.replace("{how}", "include_tasks")
    assert bench.play(included.replace("{what}", "more.yml"), tags=["t"]).names() == ["more", "tagged"]
    applied = included.replace("{what}", "{file: more.yml, apply: {tags: t}}")
    assert bench.play(applied, tags=["t"]).names() == ["more", "plain", "tagged"]


def test_tags_choose_tasks_always_and_never_included(bench: Bench) -> None:
    bench.file("more.yml", "- {name: inc-never, debug: {msg: x}, tags: [never, n]}\n- {name: inc, debug: {msg: x}}\n")
    text = """
        - hosts: localhost
          tasks:
            - {name: a, debug: {msg: x}, tags: [a]}
            - {name: b, debug: {msg: x}, tags: [a, b]}
            - {name: plain, debug: {msg: x}}
            - {name: always, debug: {msg: x}, tags: always}
            - {name: never, debug: {msg: x}, tags: [never, n]}
            - {name: more, include_tasks: more.yml, tags: [a, n, always]}
        """
    assert bench.play(text).names() == ["a", "b", "plain", "always", "more", "inc"]
    assert bench.play(text, tags=["b"]).names() == ["b", "always", "more"]
    assert bench.play(text, tags=["n"]).names() == ["always", "never", "more", "inc-never"]
    assert bench.play(text, skip=["b"]).names() == ["a", "plain", "always", "more", "inc"]
    assert bench.play(text, tags=["untagged"]).names() == ["plain", "always", "more", "inc"]


def test_an_include_in_a_loop_runs_its_file_for_each_item(bench: Bench) -> None:
    bench.file("one.yml", "- {name: 'in {{ part }}', debug: {msg: '{{ part }} {{ n }} {{ extra }}'}}\n")
    bench.file("two.yml", "- {name: two, debug: {msg: '{{ part }}'}}\n")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - include_tasks: "{{ part }}.yml"
              loop: [one, two, three, one]
              loop_control: {loop_var: part, index_var: n}
              vars: {extra: "<{{ part }}>"}
              when: part != 'three'
        """
    )
    assert played.names() == ["include_tasks", "in one", "two", "in one"]
    assert [e.data["msg"] for e in played.of("task_ended")][1:] == ["one 0 <one>", "two", "one 3 <one>"]


def test_hosts_that_include_different_files_meet_again_after_them(bench: Bench) -> None:
    bench.hosts()
    bench.file("web1.yml", "".join(f"- shell: echo web1-{n} >> {{here}}/out/log\n" for n in range(3)))
    bench.file("web2.yml", "- shell: echo web2 >> {here}/out/log\n")
    bench.play(
        """
        - hosts: web1,web2
          tasks:
            - include_tasks: "{{ inventory_hostname }}.yml"
            - shell: echo after >> {here}/out/log
        """
    )
    assert bench.wrote()[-2:] == ["after", "after"]


def test_a_file_to_include_that_is_missing_fails_the_host_which_can_be_rescued(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {which: none}
          tasks:
            - block: [include_tasks: "{{ which }}.yml"]
              rescue: [{name: mended, debug: {msg: "{{ ansible_failed_result.msg }}"}}]
            - {name: bad, include_tasks: "{{ which }}.yml"}
            - {name: never, debug: {msg: x}}
        """
    )
    assert "none.yml is not found" in played.msg("mended")
    assert played.names()[-1] == "bad"
    assert played.exit == 4


def test_a_failure_inside_an_include_is_rescued_by_the_block_around_it(bench: Bench) -> None:
    bench.file("more.yml", "- {name: bad, command: 'false'}\n- {name: never, debug: {msg: x}}\n")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [include_tasks: more.yml]
              rescue: [{name: mended, debug: {msg: x}}]
        """
    )
    assert played.ends() == [("include_tasks", "ok"), ("bad", "failed"), ("bad", "rescued"), ("mended", "ok")]
    bad = [event.task for event in played.of("task_ended") if event.data["name"] == "bad"]
    assert bad[0] == bad[1]


def test_include_vars_are_seen_from_then_on_and_beat_vars_files(bench: Bench) -> None:
    bench.file("vars/more.yml", "a: included\nb: '{{ a }}!'\n")
    bench.file("first.yml", "a: file\n")
    played = bench.play(
        """
        - hosts: localhost
          vars: {a: play}
          vars_files: [first.yml]
          tasks:
            - {name: before, debug: {msg: "{{ a }}"}}
            - include_vars: more.yml
            - {name: after, debug: {msg: "{{ a }} {{ b }}"}}
            - include_vars: {file: more.yml, name: under}
            - {name: named, debug: {msg: "{{ under.a }}"}}
        """
    )
    assert (played.msg("before"), played.msg("after")) == ("file", "included included!")
    assert played.msg("named") == "included"


ROLE = {
    "roles/web/tasks/main.yml": "- {name: web, debug: {msg: '{{ door }} {{ title }} {{ role_name }}'},"
    " changed_when: true, notify: restart web}\n",
    "roles/web/defaults/main.yml": "door: 80\ntitle: default\n",
    "roles/web/handlers/main.yml": "- {name: restart web, debug: {msg: '{{ title }}'}}\n",
    "roles/web/meta/main.yml": "dependencies: [{role: base, title: from web}]\n",
    "roles/base/tasks/main.yml": "- {name: base, debug: {msg: '{{ door | default(0) }} {{ title }} {{ level }}'}}\n",
    "roles/base/defaults/main.yml": "title: base default\nlevel: 1\n",
    "roles/base/vars/main.yml": "level: 2\n",
}


def roles(bench: Bench) -> None:
    for name, text in ROLE.items():
        bench.file(name, text)


def test_a_role_runs_what_it_depends_on_first_and_its_defaults_lose_to_everything(bench: Bench) -> None:
    roles(bench)
    played = bench.play(
        """
        - hosts: localhost
          vars: {title: play}
          roles: [web]
          tasks: [{name: task, debug: {msg: x}}]
        """
    )
    assert played.names() == ["base", "web", "task", "restart web"]
    assert played.msg("web") == "80 play web"
    assert played.msg("base") == "80 from web 2"


def test_role_parameters_beat_play_vars_and_a_role_runs_once_for_the_same_parameters(bench: Bench) -> None:
    roles(bench)
    played = bench.play(
        """
        - hosts: localhost
          vars: {title: play}
          roles: [{role: web, door: 1}, {role: web, door: 1}, {role: web, door: 2}]
        """
    )
    assert [e.data["msg"] for e in played.of("task_ended") if e.data["name"] == "web"] == ["1 play web", "2 play web"]


@pytest.mark.parametrize("how", ["include_role", "import_role"])
def test_handlers_of_a_role_brought_in_by_a_task_run_at_the_end(bench: Bench, how: str) -> None:
    roles(bench)
    played = bench.play(
        "- hosts: localhost\n  vars: {title: play}\n  tasks:\n"
        f"    - {how}: {{name: web}}\n      vars: {{door: 9}}\n    - {{name: task, debug: {{msg: x}}}}\n"
    )
    assert [name for name in played.names() if name != "include_role"] == ["base", "web", "task", "restart web"]
    assert played.msg("web") == "9 play web"
    assert played.exit == 0


def test_tags_and_conditions_of_a_role_reach_its_tasks(bench: Bench) -> None:
    roles(bench)
    text = """
        - hosts: localhost
          vars: {title: play, wanted: {wanted}}
          roles: [{role: web, when: wanted, tags: w}]
          tasks: [{name: task, debug: {msg: x}}]
        """
    assert bench.play(text.replace("{wanted}", "true"), tags=["w"]).names() == ["base", "web", "restart web"]
    assert bench.play(text.replace("{wanted}", "false")).ends() == [
        ("base", "skipped"),
        ("web", "skipped"),
        ("task", "ok"),
    ]


def test_a_role_that_is_missing_is_refused_before_anything_runs(bench: Bench) -> None:
    with pytest.raises(Invalid) as refused:
        bench.play("- hosts: localhost\n  roles: [nothere]\n")
    assert refused.value.diagnostics[0].span is not None
    assert refused.value.diagnostics[0].span.line == 2


def test_a_task_may_write_the_file_that_is_included_after_it(bench: Bench) -> None:
    path = bench.file("more.yml", "- {name: old, debug: {msg: old}}\n")
    text = f"""
        - hosts: localhost
          tasks:
            - name: write
              copy: {{content: "- {{name: new, debug: {{msg: new}}}}\\n", dest: {path}}}
            - include_tasks: more.yml
        """
    assert bench.play(text).names() == ["write", "include_tasks", "new"]


WEB = {
    "roles/web/tasks/main.yml": "- {name: served, debug: {msg: '{{ port }} {{ color }}'}}\n",
    "roles/web/defaults/main.yml": "port: 80\n",
    "roles/web/vars/main.yml": "color: red\n",
    "roles/web/meta/argument_specs.yml": "argument_specs: {main: {options: "
    "{port: {type: int}, tone: {choices: [a, b]}, needed: {required: true}}}}\n",
}


def test_what_an_included_role_is_given_is_checked_with_the_values_that_it_meets(bench: Bench) -> None:
    """Ansible's words and keys, as ansible-core 2.19 gives them."""
    for name, text in WEB.items():
        bench.file(name, text)
    played = bench.play("""
        - hosts: localhost
          vars: {word: zzz, number: "{{ word }}"}
          tasks:
            - block:
                - {name: wrong, include_role: {name: web}, vars: {tone: "{{ word }}", port: "{{ number }}"}}
              rescue:
                - {name: why, debug: {msg: "{{ ansible_failed_result.argument_errors }}"}}
            - {name: unchecked, include_role: {name: web, rolespec_validate: false}, vars: {tone: "{{ word }}"}}
            - {name: right, include_role: {name: web}, vars: {tone: "{{ 'a' }}", needed: 1}}
        """)
    missing, port, tone = played.msg("why")
    assert missing == "missing required arguments: needed"
    assert port.startswith("argument 'port' is of type str and we were unable to convert to int: ")
    assert tone == "value of tone must be one of: a, b, got: zzz"
    checked = "Validating arguments against arg spec 'main'"
    assert played.ends()[:3] == [("wrong", "ok"), (checked, "failed"), (checked, "rescued")]
    assert played.names()[3:] == ["why", "unchecked", "served", "right", checked, "served"]


def test_a_task_that_validates_a_specification_looks_at_the_variables_of_its_names(bench: Bench) -> None:
    """As in ansible-core 2.19, whose words these are; what it is given wins over a variable."""
    played = bench.play("""
        - hosts: localhost
          vars: {mode: slow, port: eighty, unmade: "{{ nobody }}", options: {port: {type: int}, gone: {required: true}}}
          tasks:
            - {name: makes, command: echo two, register: made}
            - {name: after, set_fact: {late: [1, "{{ made.stdout }}"]}}
            - name: literal
              validate_argument_spec:
                argument_spec: {mode: {choices: [a, b]}, late: {type: list, elements: int}, other: {}}
              ignore_errors: true
              register: literal
            - name: templated
              validate_argument_spec: {argument_spec: "{{ options }}", provided_arguments: "{{ {'gone': 1} }}"}
              ignore_errors: true
              register: templated
            - name: given
              validate_argument_spec: {argument_spec: "{{ options }}", provided_arguments: {port: 80, gone: 1}}
            - name: item
              validate_argument_spec: {argument_spec: {item: {type: int}}}
              loop: [1, b]
              ignore_errors: true
              register: items
            - {name: unmade, validate_argument_spec: {argument_spec: {unmade: {}}}, ignore_errors: true}
            - name: why
              debug: {msg: "{{ [literal, templated, items.results[1]] | map(attribute='argument_errors') }}"}
        """)
    literal, templated, item = played.msg("why")
    late = "Elements value for option 'late' is of type str and we were unable to convert to int: "
    assert sorted(one.partition("int: ")[0] for one in literal) == [
        late.removesuffix("int: "), "value of mode must be one of: a, b, got: slow"
    ]  # fmt: skip
    assert [one.partition("int: ")[0] for one in (*templated, *item)] == [
        "argument 'port' is of type str and we were unable to convert to ",
        "argument 'item' is of type str and we were unable to convert to ",
    ]
    ends = dict(played.ends())
    assert [ends[name] for name in ("literal", "templated", "given", "item", "unmade")] == [
        "ignored", "ignored", "ok", "ignored", "ignored"
    ]  # fmt: skip


def test_what_an_imported_role_is_given_is_checked_with_the_values_that_it_meets(bench: Bench) -> None:
    """By a task before its own, as in ansible-core 2.19: under its conditions, rescued and ignored as they are."""
    for name, text in WEB.items():
        bench.file(name, text)
    bench.hosts("one ansible_connection=local needed=1 number=many\ntwo ansible_connection=local needed=1 number=80\n")
    text = """
        - hosts: all
          vars: {port: "{{ number }}"}
          tasks:
            - block:
                - import_role: {name: web}
              rescue:
                - {name: why, debug: {msg: "{{ ansible_failed_result.argument_errors }}"}}
            - {import_role: {name: web}, when: false}
            - {import_role: {name: web}, ignore_errors: true}
            - {import_role: {name: web, rolespec_validate: false}}
          roles: [{role: web, vars: {port: 1}}]
        """
    played = bench.play(text)
    assert played.exit == 0
    (error,) = played.msg("why", "one")
    assert error.startswith("argument 'port' is of type str and we were unable to convert to int: ")
    checked = "Validating arguments against arg spec 'main'"
    assert [status for name, status in played.ends("one") if name == checked] == [
        "ok", "failed", "rescued", "skipped", "ignored"
    ]  # fmt: skip
    assert [status for name, status in played.ends("two") if name == checked] == ["ok", "ok", "skipped", "ok"]
    assert any("is used at " in str(event.data["msg"]) for event in played.of("task_ended"))


def test_an_argument_may_be_called_like_a_function_or_a_word_of_templates(bench: Bench) -> None:
    """What nobody gives is not taken for the function."""
    options = """{range: {}, not: {}, query: {type: int, required: true}, my-name: {}, "it's": {}}"""
    bench.file("roles/r/meta/argument_specs.yml", f"argument_specs: {{main: {{options: {options}}}}}\n")
    bench.file("roles/r/tasks/main.yml", "- {name: served, debug: {msg: '{{ query }}'}}\n")
    played = bench.play("- {hosts: localhost, vars: {query: 7}, roles: [r]}\n")
    assert (played.exit, played.msg("served")) == (0, "7")


def test_a_role_shows_its_variables_to_the_other_tasks_when_it_is_public(bench: Bench) -> None:
    """An included one from there on if it says so, an imported one everywhere unless it says no."""
    for name, text in WEB.items():
        bench.file(name, text)
    text = """
        - hosts: localhost
          vars: {needed: 1}
          tasks:
            - {name: before, debug: {msg: "{{ color | default('hidden') }}"}}
            - {role}
            - {name: after, debug: {msg: "{{ color | default('hidden') }} {{ port | default(0) }}"}}
        """
    seen = {}
    for how in ("include_role", "import_role"):
        for public in ("", ", public: true", ", public: false"):
            played = bench.play(text.replace("{role}", f"{how}: {{name: web{public}}}"))
            seen[how + public] = (played.msg("before"), played.msg("after"))
    assert seen == {
        "include_role": ("hidden", "hidden 0"),
        "include_role, public: true": ("hidden", "red 80"),
        "include_role, public: false": ("hidden", "hidden 0"),
        "import_role": ("red", "red 80"),
        "import_role, public: true": ("red", "red 80"),
        "import_role, public: false": ("hidden", "hidden 0"),
    }


def test_an_include_that_leads_back_to_itself_for_ever_is_ended_with_its_place(bench: Bench) -> None:
    bench.file("more.yml", "- {name: again, include_tasks: more.yml}\n")
    played = bench.play("- hosts: localhost\n  tasks:\n    - include_tasks: more.yml\n")
    assert played.names().count("again") == 100
    assert played.status("again") == "failed"
    assert "nested more than 100 deep" in played.outcome("again")["msg"]
    assert played.exit == 4
