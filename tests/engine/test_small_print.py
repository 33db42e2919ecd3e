"""What Ansible's manual says in passing, and playbooks rely on: omitted keywords, failures that are expected, special
variables, names made by templates. Values are those of ansible-core 2.19."""

import sys
from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench


def test_an_omitted_keyword_is_as_good_as_not_written(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          environment: "{{ omit }}"
          serial: "{{ omit }}"
          tasks:
            - name: it
              command: echo hi
              check_mode: "{{ omit }}"
              delegate_to: "{{ omit }}"
              become: "{{ omit }}"
              become_user: "{{ omit }}"
              timeout: "{{ omit }}"
              throttle: "{{ omit }}"
              ignore_errors: "{{ omit }}"
              no_log: "{{ omit }}"
              diff: "{{ omit }}"
              environment: "{{ omit }}"
              until: true
              retries: "{{ omit }}"
              delay: "{{ omit }}"
        """
    )
    assert played.ends() == [("it", "changed")]
    assert played.outcome("it")["stdout"] == "hi"


@pytest.mark.parametrize(
    "arguments", ["{path: /tmp/x, state: wrong}", "{pat: /tmp/x}", "bogus words", "[1]", "{path: /tmp/x, mode: 644}"]
)
def test_faulty_arguments_whose_failure_is_expected_fail_their_task_alone(bench: Bench, arguments: str) -> None:
    played = bench.play(
        f"""
        - hosts: localhost
          tasks:
            - {{name: ignored, file: {arguments}, ignore_errors: true, register: it}}
            - {{name: asked, debug: {{msg: "{{{{ it is failed }}}}"}}}}
            - block:
                - {{name: rescued, file: {arguments}}}
              rescue:
                - {{name: after, debug: {{msg: "{{{{ ansible_failed_task.name }}}}"}}}}
            - {{name: judged, file: {arguments}, when: false, failed_when: false}}
        """
    )
    assert played.ends() == [
        ("ignored", "ignored"), ("asked", "ok"), ("rescued", "failed"), ("rescued", "rescued"), ("after", "ok"),
        ("judged", "skipped"),
    ]  # fmt: skip
    assert played.msg("asked") is True
    assert played.msg("after") == "rescued"


@pytest.mark.parametrize("task", ["{file: {pat: /tmp/x}}", "{file: {pat: /tmp/x}, ignore_errors: false}"])
def test_faulty_arguments_that_nobody_expects_stop_the_playbook_before_it_runs(bench: Bench, task: str) -> None:
    with pytest.raises(Invalid) as caught:
        bench.play(f"- hosts: localhost\n  tasks:\n    - {task}\n")
    assert "unknown argument `pat` of `file`" in caught.value.message


def test_names_in_key_value_form_may_be_made_by_templates(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - set_fact: "{{ item }}=moo x{{ item + '=b' | replace('=', '_') }}='a b'"
              loop: [one, two]
            - {name: it, debug: "msg='{{ one }} {{ xtwo_b }}'"}
        """
    )
    assert played.msg("it") == "moo a b"


def test_vars_and_hostvars_can_be_shown_whole(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local port=81\n")
    played = bench.play(
        """
        - hosts: web1
          vars: {greeting: "hi {{ port }}"}
          tasks:
            - {name: all, debug: {var: vars}}
            - {name: hosts, debug: {var: hostvars}}
        """
    )
    shown = played.outcome("all")["vars"]
    assert shown["greeting"] == "hi 81"
    assert "vars" not in shown
    assert played.outcome("hosts")["hostvars"]["web1"]["port"] == 81


def test_an_assertion_ends_at_its_first_broken_condition_and_says_which(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: it, assert: {that: [1 == 1, thing is defined, thing > 3]}, ignore_errors: true}
            - {name: listed, assert: {that: "{{ all }}"}, vars: {all: [true, "{{ 1 == 2 }}"]}, ignore_errors: true}
        """
    )
    outcome = played.outcome("it")
    assert (outcome["msg"], outcome["assertion"], outcome["evaluated_to"]) == (
        "Assertion failed", "thing is defined", False,
    )  # fmt: skip
    said = [event.data["msg"] for event in played.of("task_ended")]
    assert said == ["Assertion failed: thing is defined", "Assertion failed: {{ all }}"]


def test_special_variables_say_how_the_run_was_asked_for(bench: Bench) -> None:
    text = """
        - hosts: localhost
          tasks:
            - name: it
              tags: always
              debug:
                msg: "{{ ansible_run_tags }} {{ ansible_skip_tags }} {{ ansible_limit is defined }} {{ ansible_forks }}
                  {{ ansible_version.full is version('2.9', '>=') }} {{ ansible_playbook_python }}"
    """
    assert bench.play(text).msg("it") == f"['all'] [] False 1 True {sys.executable}"
    chosen = bench.play(text, tags=["b", "a"], skip=["c"], options={"forks": 7}).msg("it")
    assert chosen == f"['a', 'b'] ['c'] False 7 True {sys.executable}"


def test_roles_know_who_is_in_the_play_and_who_named_them(bench: Bench) -> None:
    show = "debug: {msg: '{{ role_names }} {{ ansible_dependent_role_names }} {{ ansible_parent_role_names | d([]) }}'}"
    for name in ("base", "web", "inner"):
        bench.file(f"roles/{name}/tasks/main.yml", f"- {{name: {name}, {show}}}\n")
    bench.file("roles/web/meta/main.yml", "dependencies: [base]\n")
    bench.file(
        "roles/web/tasks/main.yml",
        f"- {{name: web, {show}}}\n- include_role: {{name: inner}}\n- import_role: {{name: inner}}\n",
    )
    bench.file(
        "roles/inner/tasks/main.yml",
        f"- {{name: inner, {show}}}\n- {{name: path, debug: {{msg: '{{{{ role_path }}}}'}}}}\n",
    )
    played = bench.play("- {hosts: localhost, roles: [web]}\n")
    assert played.msg("web") == "['web', 'inner'] ['base'] []"
    assert played.msg("inner") == "['web', 'inner'] ['base'] ['web']"
    assert played.msg("path") == str(bench.folder / "roles/inner")


def test_a_host_whose_way_depends_on_its_own_facts_is_refused_and_not_waited_for(bench: Bench) -> None:
    bench.hosts('web1 ansible_connection=local ansible_python_interpreter="{{ ansible_python.executable }}"\n')
    played = bench.play("- {hosts: web1, tasks: [{name: it, ping: {}}]}\n")
    assert played.exit == 4
    said = " ".join(str(event.data["msg"]) for event in played.of("task_ended"))
    assert "how to reach this host depends on its fact `ansible_python`" in said


def test_a_host_is_called_by_its_name_unless_its_address_is_given(bench: Bench) -> None:
    bench.hosts(
        """
        a ansible_connection=local
        b ansible_connection=local ansible_host=10.0.0.2
        [all:vars]
        greeting='{{ ansible_host }}'
        """
    )
    played = bench.play(
        "- {hosts: all, tasks: [{name: it, debug: {msg: '{{ greeting }} {{ ansible_config_file }}'}}]}\n"
    )
    assert (played.msg("it", "a"), played.msg("it", "b")) == ("a ", "10.0.0.2 ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("failed_when: false", "ok 3 False"),
        ("ignore_errors: true", "ignored 3 True"),
        ("failed_when: it.attempts > 2", "failed 3 True"),
    ],
)
def test_failed_when_has_the_last_word_over_until(bench: Bench, words: str, said: str) -> None:
    played = bench.play(
        f"""
        - hosts: localhost
          tasks:
            - name: t
              command: "true"
              changed_when: false
              register: it
              until: false
              retries: 2
              delay: 0
              {words}
        """
    )
    outcome = played.outcome("t")
    assert f"{played.status('t')} {outcome['attempts']} {outcome['failed']}" == said


@pytest.mark.parametrize("name", ["1", "'True'", "'none'", "'not'", "'a b'", "'ä'", "''"])
def test_a_fact_under_an_impossible_name_is_refused(bench: Bench, name: str) -> None:
    played = bench.play(f'- {{hosts: localhost, tasks: [{{name: it, set_fact: {{"{{{{ {name} }}}}": x}}}}]}}\n')
    assert played.exit == 4
    assert played.msg("it").startswith("Invalid variable name '")


def test_a_script_may_have_a_space_in_its_path_and_faulty_quotes_fail_its_task(bench: Bench) -> None:
    bench.file("files/a folder/it.sh", "#!/bin/sh\necho got $1\n")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: it, script: "'a folder/it.sh' 'one two'"}
            - {name: bad, script: it's}
        """
    )
    assert played.outcome("it")["stdout"] == "got one two\n"  # as in Ansible: not stripped, unlike a command's
    assert (played.status("bad"), played.msg("bad")) == ("failed", "cmd: No closing quotation")


@pytest.mark.parametrize("word", ["changed_when", "failed_when"])
def test_a_condition_that_cannot_be_decided_fails_the_task_and_keeps_what_it_did(bench: Bench, word: str) -> None:
    played = bench.play(
        f"""
        - hosts: localhost
          tasks:
            - {{name: it, command: echo hi, {word}: nobody_knows.this > 3, ignore_errors: true}}
        """
    )
    outcome = played.outcome("it")
    assert (played.status("it"), outcome["stdout"], outcome["rc"], outcome["changed"]) == ("ignored", "hi", 0, True)
    assert "nobody_knows" in outcome["msg"]


def test_what_is_imported_may_be_named_by_variables_that_stand_in_files(bench: Bench) -> None:
    bench.file("roles/web/defaults/main.yml", "part: more\n")
    bench.file("roles/web/tasks/main.yml", "- import_tasks: '{{ role_path }}/parts/{{ part }}.yml'\n")
    bench.file("roles/web/parts/more.yml", "- {name: more, debug: {msg: '{{ part }}'}}\n")
    played = bench.play(
        """
        - hosts: localhost
          vars: {which: web}
          tasks:
            - import_role: {name: "{{ which }}"}
            - import_role: {name: "{{ given }}"}
              vars: {part: more}
        """,
        extra=["given=web"],
    )
    assert played.ends() == [("more", "ok"), ("more", "ok")]


@pytest.mark.parametrize("name", ["{{ inventory_hostname }}.yml", "{{ later }}.yml", "{{ ansible_system }}.yml"])
def test_what_only_a_host_knows_names_no_import(bench: Bench, name: str) -> None:
    with pytest.raises(Invalid) as caught:
        bench.play(f"""
        - hosts: localhost
          tasks:
            - set_fact: {{later: x}}
            - import_tasks: "{name}"
        """)
    assert "must be known before the run" in caught.value.message


def test_a_role_finds_the_first_of_its_files_beside_its_tasks(bench: Bench) -> None:
    bench.file(
        "roles/web/tasks/main.yml", "- include_tasks: \"{{ lookup('first_found', ['no.yml', 'default.yml']) }}\"\n"
    )
    bench.file("roles/web/tasks/default.yml", "- {name: found, debug: {msg: x}}\n")
    assert ("found", "ok") in bench.play("- {hosts: localhost, roles: [web]}\n").ends()


def test_vars_files_may_be_looked_for(bench: Bench) -> None:
    bench.file("vars/default.yml", "port: 81\n")
    played = bench.play(
        """
        - hosts: localhost
          vars: {places: [vars/no.yml, vars/default.yml]}
          vars_files: ["{{ lookup('first_found', places) }}"]
          tasks: [{name: it, debug: {msg: "{{ port }}"}}]
        """
    )
    assert str(played.msg("it")) == "81"


def test_nothing_under_unsafe_is_a_template(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars:
            listed: !unsafe ["{{ a }}", {b: "{{ c }}"}]
            named: !unsafe {d: "{% e"}
            own: "{{ 1 + 1 }}"
          tasks:
            - {name: it, debug: {msg: "{{ listed[0] ~ listed[1].b ~ named.d ~ own }}"}}
        """
    )
    assert played.msg("it") == "{{ a }}{{ c }}{% e2"


def test_a_role_may_use_another_entry_of_itself(bench: Bench) -> None:
    bench.file("roles/web/tasks/main.yml", "- import_role: {name: web, tasks_from: more}\n")
    bench.file("roles/web/tasks/more.yml", "- {name: more, debug: {msg: x}}\n")
    assert bench.play("- {hosts: localhost, roles: [web]}\n").ends() == [("more", "ok")]


def test_what_a_role_includes_runs_in_each_use_that_may_run_and_in_no_other(bench: Bench) -> None:
    bench.file("roles/web/tasks/main.yml", "- {name: main, debug: {msg: x}}\n- include_tasks: more.yml\n")
    bench.file("roles/web/tasks/more.yml", "- {name: more, debug: {msg: x}}\n- include_tasks: deep.yml\n")
    bench.file("roles/web/tasks/deep.yml", "- {name: deep, debug: {msg: x}}\n")
    text = """
        - hosts: localhost
          roles: [web, web, {role: web, vars: {a: 1}}]
          tasks:
            - include_role: {name: web}
    """
    said = [name for name in bench.play(text).names() if name in ("main", "more", "deep")]
    assert said == ["main", "more", "deep"] * 3


def test_a_skip_says_which_condition_kept_the_task_back(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {n: 1}
          tasks:
            - {name: never, command: "true", when: [n == 1, n == 2, n == 3], register: one}
            - {name: out, command: "true", when: false, register: two}
            - {name: each, command: "true", when: item == 3, loop: [1, 2], register: all}
            - {name: it, debug: {msg: "{{ [one, two, all.results[1]] | map(attribute='false_condition') }}"}}
            - {name: why, debug: {msg: "{{ one.skip_reason }}, {{ all.msg }}"}}
        """
    )
    assert played.msg("it") == ["n == 2", False, "item == 3"]
    assert played.msg("why") == "Conditional result was False, All items skipped"


def test_whether_a_failure_is_ignored_is_asked_for_each_item(bench: Bench) -> None:
    def text(last: str) -> str:
        return f"""
        - hosts: localhost
          tasks:
            - name: tried
              command: test {{{{ item.n }}}} = 1
              loop: [{{n: 1, may: false}}, {{n: 2, may: true}}, {{n: {last}, may: false}}]
              ignore_errors: "{{{{ item.may }}}}"
              register: it
            - {{name: after, debug: {{msg: "{{{{ it is failed }}}} {{{{ it.results | map(attribute='failed') }}}}"}}}}
        """

    played = bench.play(text("1"))
    assert (played.exit, played.status("tried"), played.msg("after")) == (0, "ignored", "True [False, True, False]")
    played = bench.play(text("3"))
    assert (played.exit, played.names()) == (4, ["tried"])


def test_all_items_are_tried_where_each_may_be_out_of_reach(bench: Bench) -> None:
    bench.hosts("gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {name: tried, ping: , loop: [1, 2], ignore_unreachable: "{{ item > 0 }}", register: it}
            - {name: after, debug: {msg: "{{ it.results | length }} {{ it is unreachable }}"}}
        """
    )
    assert (played.status("tried"), played.msg("after")) == ("ignored", "2 True")


def test_a_task_out_of_time_says_so_to_the_test_timedout(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {command: sleep 60, timeout: 1, ignore_errors: true, register: it}
            - {name: said, debug: {msg: "{{ it is timedout }} {{ it.timedout.period }} {{ it.msg }}"}}
        """
    )
    assert played.msg("said") == "True 1.0 Timed out after 1 second(s)."


def test_each_host_chooses_its_own_vars_files(bench: Bench) -> None:
    bench.hosts("a ansible_connection=local kind=x\nb ansible_connection=local kind=y\n")
    bench.file("common.yml", "folder: parts\n")
    bench.file("parts/x.yml", "said: of x\n")
    bench.file("parts/default.yml", "said: of nobody\n")
    played = bench.play(
        """
        - hosts: all
          vars_files: [common.yml, ["{{ folder }}/{{ kind }}.yml", parts/default.yml]]
          tasks: [{name: it, debug: {msg: "{{ said }}"}}]
        """
    )
    assert (played.msg("it", "a"), played.msg("it", "b")) == ("of x", "of nobody")


def test_roles_are_named_though_they_have_no_tasks_and_a_dependency_has_no_parent(bench: Bench) -> None:
    bench.file("roles/base/defaults/main.yml", "parents: '{{ ansible_parent_role_names is defined }}'\n")
    bench.file("roles/said/tasks/main.yml", "- {name: below, debug: {msg: '{{ parents }}'}}\n")
    bench.file("roles/web/meta/main.yml", "dependencies: [base, said]\n")
    bench.file(
        "roles/web/tasks/main.yml",
        """
        - {name: names, debug: {msg: "{{ ansible_dependent_role_names }} {{ ansible_play_role_names }}"}}
        - import_role: {name: other}
        """,
    )
    bench.file("roles/other/tasks/main.yml", "- {name: parents, debug: {msg: '{{ ansible_parent_role_names }}'}}\n")
    played = bench.play("- {hosts: localhost, roles: [web]}\n")
    assert played.msg("names").startswith("['base', 'said'] ['web'")
    assert (played.msg("below"), played.msg("parents")) == (False, ["web"])


def test_a_host_goes_on_behind_a_block_whose_always_clears_its_failure(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [{name: bad, command: "false"}]
              rescue: [{name: worse, command: "false"}]
              always: [{meta: clear_host_errors}]
            - {name: after, debug: {msg: x}}
        """
    )
    assert played.ends()[-1] == ("after", "ok")
    assert played.exit == 0


def test_a_fact_may_be_null(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - set_fact: {nothing: "{{ none }}", plain: null}
            - {name: it, debug: {msg: "{{ nothing is none and plain is none }}"}}
        """
    )
    assert played.msg("it") is True


def test_facts_are_gathered_by_a_task_and_the_host_has_its_own(bench: Bench) -> None:
    bench.file("facts/app.fact", "[General]\nColour = red\n")
    bench.file("facts/list.fact", '{"n": [1, 2]}')
    bench.file("facts/run.fact", '#!/bin/sh\necho \'{"who": "me"}\'\n').chmod(0o755)
    bench.file("facts/bad.fact", "#!/bin/sh\nexit 3\n").chmod(0o755)
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {gather_facts: {fact_path: "{here}/facts", filter: ansible_local}, register: it}
            - {name: task, debug: {msg: "{{ it.ansible_facts.ansible_local }}"}}
        - hosts: localhost
          gather_facts: true
          fact_path: "{here}/facts"
          tasks: [{name: play, debug: {msg: "{{ ansible_local }}"}}]
        """
    )
    bad = "Failure executing fact script (bad.fact), rc: 3"
    own = {"app": {"General": {"colour": "red"}}, "bad": bad, "list": {"n": [1, 2]}, "run": {"who": "me"}}
    assert played.msg("task") == played.msg("play") == own


def test_backslashes_in_key_value_text_mean_what_they_mean_in_ansible(bench: Bench) -> None:
    played = bench.play(
        r"""
        - hosts: localhost
          tasks:
            - {name: a, debug: 'msg="a\tb\\c \1 \x41\u00e9"'}
            - {name: b, debug: "msg='one\ntwo'"}
            - {name: c, debug: {msg: 'a\tb'}}
            - {name: d, shell: "printf 'a\\tb'"}
        """
    )
    assert played.msg("a") == "a\tb\\c \\1 Aé"
    assert (played.msg("b"), played.msg("c")) == ("one\ntwo", r"a\tb")
    assert played.outcome("d")["stdout"] == "a\tb"


NEWLINES = {  # a template file, and what Ansible 2.19 makes of it beside `w`, which holds "world" and a newline
    "Hello {% include 'w' %}!\n": "Hello world!\n",
    "x{% include 'w' %}": "xworld",
    "x{% include 'w' %}\n": "xworld\n",
    "{% if true %}a{% endif %}\n": "a\n",
    "{% for n in [1, 2] %}\n{{ n }}\n{% endfor %}\n": "1\n2\n",
    "a\n\n{% set b = 1 %}\n": "a\n\n",
    "{% if true %}a{% endif %}\n\n": "a\n\n",
    "a": "a",
    "": "",
}


@pytest.mark.parametrize("text", NEWLINES, ids=repr)
def test_a_template_file_ends_as_it_does_in_ansible(bench: Bench, text: str) -> None:
    (bench.folder / "templates").mkdir()
    (bench.folder / "templates/w").write_text("world\n")
    (bench.folder / "templates/f").write_text(text)
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: looked up, debug: {msg: "{{ lookup('template', 'f') }}"}}
            - {template: {src: f, dest: "{here}/out/f"}}
        """
    )
    assert ((bench.out / "f").read_text(), played.msg("looked up")) == (NEWLINES[text], NEWLINES[text])


def test_what_a_pattern_matched_is_told_by_wait_for(bench: Bench) -> None:
    bench.file("log", "begun\ndone 12 by me\n")
    played = bench.play(
        r"""
        - hosts: localhost
          tasks:
            - {wait_for: {path: "{here}/log", search_regex: 'done (\d+) by (?P<who>\w+)(x)?'}, register: it}
            - {name: said, debug: {msg: "{{ [it.match_groups, it.match_groupdict] }}"}}
        """
    )
    assert played.msg("said") == [["12", "me", None], {"who": "me"}]


@pytest.mark.parametrize(
    ("use", "seen"),
    [
        ("include_role: {name: web}", "no no"),
        ("include_role: {name: web, public: true}", "8080 yes"),
        ("include_role: name=web public=yes", "8080 yes"),
        ("import_role: {name: web}", "8080 yes"),
        ("import_role: {name: web, public: false}", "no no"),
    ],
)
def test_variables_of_a_role_are_seen_behind_it_where_it_is_public(bench: Bench, use: str, seen: str) -> None:
    bench.file("roles/web/defaults/main.yml", "port: 8080\n")
    bench.file("roles/web/vars/main.yml", "own: 'yes'\n")
    bench.file("roles/web/tasks/main.yml", "- {name: inside, debug: {msg: '{{ port }} {{ own }}'}}\n")
    played = bench.play(
        f"""
        - hosts: localhost
          tasks:
            - {use}
            - {{name: behind, debug: {{msg: "{{{{ port | default('no') }}}} {{{{ own | default('no') }}}}"}}}}
        """
    )
    assert (played.msg("inside"), played.msg("behind")) == ("8080 yes", seen)


def test_specs_of_a_role_may_be_left_aside(bench: Bench) -> None:
    options = "{port: {type: int, required: true}}"
    bench.file("roles/web/meta/argument_specs.yml", f"argument_specs: {{main: {{options: {options}}}}}\n")
    bench.file("roles/web/tasks/main.yml", "- {name: inside, debug: {msg: x}}\n")
    for verb in ("import_role", "include_role"):
        text = f"- {{hosts: localhost, tasks: [{{{verb}: {{name: web, rolespec_validate: false}}}}]}}\n"
        assert ("inside", "ok") in bench.play(text).ends()


def test_each_module_that_edits_says_under_its_own_name_where_the_old_file_is_kept(bench: Bench) -> None:
    bench.file("f", "a\n")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {lineinfile: {path: "{here}/f", line: b, backup: true}, register: one}
            - {blockinfile: {path: "{here}/f", block: c, backup: true}, register: two}
            - {replace: {path: "{here}/f", regexp: a, replace: d, backup: true}, register: three}
            - {replace: {path: "{here}/f", regexp: nowhere, replace: d, backup: true}, register: four}
            - {name: it, debug: {msg: "{{ [one.backup, two.backup_file, three.backup_file] }}"}}
            - {name: none, debug: {msg: "{{ four.backup_file is defined }}"}}
        """
    )
    assert [Path(path).read_text()[0] for path in played.msg("it")] == ["a", "a", "a"]
    assert played.msg("none") is False
