"""Playbooks and roles as they are written for Ansible, which run unchanged. Values are those of ansible-core 2.19."""

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.files import Files
from ciflow.lang.playbook import load_playbook
from ciflow.lang.roles import flat
from tests.engine.playing import LOCAL_THREE, Bench


def test_a_keyword_that_comes_out_as_omit_is_that_of_what_surrounds_it(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - check_mode: true
              ignore_errors: true
              block:
                - {name: predicted, command: echo hi, check_mode: "{{ said | default(omit) }}"}
                - {name: done, command: echo hi, check_mode: "{{ said | default(false) }}"}
                - {name: spared, fail: {msg: x}, ignore_errors: "{{ said | default(omit) }}"}
        """
    )
    assert played.ends() == [("predicted", "skipped"), ("done", "changed"), ("spared", "ignored")]


def test_a_connection_s_keyword_that_comes_out_as_omit_is_that_of_what_surrounds_it(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          remote_user: anna
          tasks:
            - {name: it, debug: {msg: "{{ ansible_user }}"}, remote_user: "{{ said | default(omit) }}"}
        """
    )
    assert played.msg("it") == "anna"


def test_a_task_of_a_second_include_waits_for_what_it_reads(bench: Bench) -> None:
    """Tasks of two files have the same place in their includes, and ask for different things."""
    bench.file("one.yml", "- {name: first, command: echo a, register: a}\n- {name: plain, debug: {msg: x}}\n")
    bench.file("two.yml", "- {name: b, command: echo b, register: b}\n- {name: reads, debug: {msg: '{{ b.rc }}'}}\n")
    played = bench.play("[{hosts: localhost, tasks: [{include_tasks: one.yml}, {include_tasks: two.yml}]}]")
    assert played.msg("reads") == "0"


def test_an_include_of_run_once_is_the_first_host_s(bench: Bench) -> None:
    """But for tasks in it that run once themselves: what those find out, all hosts know."""
    bench.hosts(LOCAL_THREE)
    bench.file("one.yml", "- {name: sets, set_fact: {mine: true}}\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {include_tasks: one.yml, run_once: true}
            - {name: alone, debug: {msg: "{{ mine | default('none') }}"}}
            - {include_tasks: {file: one.yml, apply: {run_once: true}}, run_once: true}
            - {name: everybody, debug: {msg: "{{ mine | default('none') }}"}}
        """
    )
    hosts = ("web1", "web2", "web3")
    assert [played.msg("alone", host) for host in hosts] == [True, "none", "none"]
    assert [played.msg("everybody", host) for host in hosts] == [True, True, True]


def test_handlers_that_notify_each_other_for_ever_end_and_fail_nobody(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: change, command: echo, notify: ping}
          handlers:
            - {name: ping, command: echo, notify: pong}
            - {name: pong, command: echo, notify: ping}
        """
    )
    assert played.exit == 0
    assert "for ever: handlers.0" in str(played.of("warning")[-1].data["message"])


@pytest.mark.parametrize(
    ("words", "failed", "tells"),
    [("", True, {"exception"}),
     ("failed_when: false", False, {"failed_when_suppressed_exception", "failed_when_result"}),
     ("failed_when: nothere", True, {"exception", "failed_when_result", "stdout"}),
     ("changed_when: nothere", True, {"exception", "changed_when_result", "stdout"})],
)  # fmt: skip
def test_the_result_of_a_failed_task_says_how_it_was_judged(
    bench: Bench, words: str, failed: bool, tells: set[str]
) -> None:
    played = bench.play(
        f"""
        - hosts: localhost
          tasks:
            - name: it
              command: sh -c 'exit 1'
              ignore_errors: true
              {words}
        """
    )
    outcome = played.outcome("it")
    assert outcome["failed"] is failed
    all_of_them = {"exception", "failed_when_suppressed_exception", "failed_when_result", "changed_when_result"}
    assert {key for key in outcome if key in all_of_them} == tells - {"stdout"}
    assert "stdout" in outcome


@pytest.mark.parametrize("seconds", ["-1", "100000001"])
def test_a_timeout_that_can_not_be_fails_the_task(bench: Bench, seconds: str) -> None:
    played = bench.play(
        f"[{{hosts: localhost, tasks: [{{name: it, command: echo, timeout: {seconds}, ignore_errors: true}}]}}]"
    )
    assert f"Timeout {seconds} is invalid" in played.msg("it")


def test_a_secret_task_that_fails_says_why_it_says_nothing(bench: Bench) -> None:
    played = bench.play("[{hosts: localhost, tasks: [{name: it, fail: {msg: psst}, no_log: true}]}]")
    assert [event.data["msg"] for event in played.of("task_ended")] == ["what went wrong is hidden by `no_log`"]


def test_the_variables_of_a_role_may_lie_in_a_folder_of_files(bench: Bench) -> None:
    bench.file("roles/r/defaults/main/00.yml", "a: 1\nb: 1\n")
    bench.file("roles/r/defaults/main/10.yml", "b: 2\n")
    bench.file("roles/r/defaults/main/deep/20.yml", "c: 3\n")
    bench.file("roles/r/vars/other/x.yml", "d: 4\n")
    bench.file("roles/r/tasks/main.yml", "- {name: it, debug: {msg: '{{ [a, b, c, d | default(0)] }}'}}\n")
    assert bench.play("[{hosts: localhost, roles: [r]}]").msg("it") == [1, 2, 3, 0]
    played = bench.play("[{hosts: localhost, tasks: [{include_role: {name: r, vars_from: other}}]}]")
    assert played.msg("it") == [1, 2, 3, 4]


def test_a_role_imported_by_an_included_one_sees_its_defaults_and_vars(bench: Bench) -> None:
    bench.file("roles/outer/defaults/main.yml", "of_default: 1\nboth: outer\n")
    bench.file("roles/outer/vars/main.yml", "of_vars: 2\n")
    bench.file("roles/outer/tasks/main.yml", "- import_role: {name: inner}\n")
    bench.file("roles/inner/defaults/main.yml", "both: inner\n")
    bench.file("roles/inner/tasks/main.yml", "- {name: it, debug: {msg: '{{ [of_default, of_vars, both] }}'}}\n")
    played = bench.play("[{hosts: localhost, tasks: [{include_role: {name: outer}}]}]")
    assert played.msg("it") == [1, 2, "inner"]


def test_the_file_of_import_playbook_may_be_named_by_e_and_by_its_own_vars(bench: Bench) -> None:
    bench.file("one.yml", "[{hosts: localhost, tasks: [{name: one, debug: {msg: '{{ which }}'}}]}]")
    text = """
        - {import_playbook: "{{ which }}.yml", vars: {which: one}}
        - {import_playbook: "{{ book }}", vars: {which: 2}}
        """
    played = bench.play(text, extra=["book=one.yml"])
    assert [event.data["outcome"]["msg"] for event in played.of("task_ended")] == ["one", "2"]


def test_user_is_the_older_word_for_a_play_s_remote_user(bench: Bench) -> None:
    text = "[{hosts: localhost, user: anna, tasks: [{name: it, debug: {msg: '{{ ansible_user }}'}}]}]"
    assert bench.play(text).msg("it") == "anna"


def test_a_setting_of_the_play_may_be_that_of_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACE", "free")
    text = '[{hosts: localhost, strategy: \'{{ lookup("env", "PACE") }}\', tasks: [{name: it, debug: {msg: x}}]}]'
    assert bench.play(text).exit == 0
    monkeypatch.setenv("PACE", "wild")
    with pytest.raises(Invalid, match="wild"):
        bench.play(text)


def test_a_template_that_can_not_be_is_a_task_s_own_failure_where_its_errors_are_ignored(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: filter, debug: {msg: "{{ 1 | nosuchfilter }}"}, ignore_errors: true}
            - {name: syntax, debug: {msg: "{{ 1 2 }}"}, ignore_errors: true}
            - block:
                - {name: lookup, debug: {msg: "{{ lookup('nosuch') }}"}}
              rescue:
                - {name: after, debug: {msg: x}}
        """
    )
    assert [end for end in played.ends() if end[0] != "after"][:3] == [
        ("filter", "ignored"), ("syntax", "ignored"), ("lookup", "failed"),
    ]  # fmt: skip
    assert played.status("after") == "ok"
    with pytest.raises(Invalid, match="nosuchfilter"):
        bench.play("[{hosts: localhost, tasks: [{debug: {msg: '{{ 1 | nosuchfilter }}'}}]}]")


def test_the_names_of_a_module_and_of_a_loop_s_variable_may_be_those_of_a_variable_in_a_file(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {verb: debug, what: thing}
          tasks:
            - {name: text, action: "{{ verb }} msg='{{ said }} it'", vars: {said: text}}
            - {name: mapping, action: {module: "{{ verb }}", msg: mapping}}
            - {name: own, action: "{{ mine }}  msg=own", vars: {mine: ansible.builtin.debug}}
            - {name: loop, debug: {msg: "{{ thing }}"}, loop: [1], loop_control: {loop_var: "{{ what }}"}}
        """
    )
    assert [played.msg(name) for name in ("text", "mapping", "own")] == ["text it", "mapping", "own"]
    assert played.outcome("loop")["results"][0]["thing"] == 1
    with pytest.raises(Invalid, match="the name of a module must be known before the run"):
        bench.play("[{hosts: localhost, tasks: [{action: '{{ ansible_pkg_mgr }} name=x'}]}]")


def test_module_defaults_of_a_group_are_beneath_those_of_the_module(bench: Bench) -> None:
    text = """
        - hosts: localhost
          module_defaults:
            k8s_info: {kind: Pod}
            group/k8s: {kind: Node, namespace: web}
          tasks:
            - {name: it, k8s_info: {}, check_mode: true}
        """
    bench.file("play.yml", text)
    playbook = load_playbook(str(bench.folder / "play.yml"), Files.live())
    (task,) = flat(playbook.plays[0].tasks)
    assert {name: task.args[name] for name in ("kind", "namespace")} == {"kind": "Pod", "namespace": "web"}


def test_a_variable_made_of_an_undefined_one_is_undefined_itself(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars:
            made: "{{ of.nothing }}"
            again: "{{ made }}"
            part: {wrong: "{{ nothere }}", right: 1}
          tasks:
            - {name: asked, debug: {msg: "{{ [made is defined, again | default('d'), again is undefined] }}"}}
            - {name: passed, debug: {msg: x}, when: made is defined}
            - {name: used, debug: {msg: "{{ again }}"}, ignore_errors: true}
            - {name: hidden, debug: {msg: "{{ part.right | default('no') }}"}, ignore_errors: true}
        """
    )
    assert played.msg("asked") == [False, "d", True]
    assert played.status("passed") == "skipped"
    assert played.msg("used") == "`of` is not defined"
    assert played.msg("hidden") == "`nothere` is not defined", "a default hides nothing of a mapping that has the value"


def test_a_difference_stands_in_the_result_where_one_is_asked_for(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: it, copy: {content: new, dest: "{here}/out/f"}, diff: true, register: r}
            - {name: said, debug: {msg: "{{ r.diff }}"}}
        """
    )
    assert played.msg("said") == {"before": "", "after": "new"}
    assert "diff" not in played.outcome("it"), "the journal has it once"


def test_a_template_may_keep_the_mode_of_its_source(bench: Bench) -> None:
    bench.file("t.j2", "x").chmod(0o750)
    bench.play("[{hosts: localhost, tasks: [{template: {src: t.j2, dest: '{here}/out/t', mode: preserve}}]}]")
    assert (bench.out / "t").stat().st_mode & 0o777 == 0o750


def test_a_task_for_another_system_stops_nobody_whose_condition_keeps_it_from_running(bench: Bench) -> None:
    """Roles for several systems choose among modules of which ciflow has some."""
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: known, dnf: {name: httpd}, when: "'Debian' == 'RedHat'", register: it, notify: h}
            - when: 1 == 2
              block: [{name: inside, community.general.zypper: "name={{ item }}", loop: [a, b]}]
            - {name: asked, debug: {msg: "{{ it is skipped }}"}}
            - {name: reached, win_copy: {src: a}, when: 1 == 1, ignore_errors: true}
          handlers:
            - {name: h, debug: {msg: x}}
        """
    )
    assert played.ends() == [("known", "skipped"), ("inside", "skipped"), ("asked", "ok"), ("reached", "ignored")]
    assert played.msg("reached") == "ciflow has no module `win_copy`"
    for task in ("{dnf: {}}", "{ansible.builtin.copi: {src: x}, when: 1 == 2}", "{yumm: {name: x}, when: 1 == 2}"):
        with pytest.raises(Invalid, match="unknown module"):
            bench.play(f"[{{hosts: localhost, tasks: [{task}]}}]")


def test_a_module_of_the_project_s_own_is_refused_with_its_file(bench: Bench) -> None:
    bench.file("library/greet.py", "")
    with pytest.raises(Invalid) as refused:
        bench.play("[{hosts: localhost, tasks: [{greet: {name: x}}]}]")
    assert "library/greet.py is not loaded" in str(refused.value.diagnostics[0].label)


def test_an_assertion_whose_arguments_a_variable_gives_is_asked(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars:
            good: {that: "{{ 1 == 1 }}"}
            bad: {that: ["{{ 1 == 1 }}", "{{ 1 == 2 }}"]}
            text: {that: 1 == 1}
            empty: {}
          tasks:
            - {name: good, assert: "{{ good }}"}
            - {name: bad, assert: "{{ bad }}", ignore_errors: true}
            - {name: text, assert: "{{ text }}", ignore_errors: true}
            - {name: empty, assert: "{{ empty }}", ignore_errors: true}
        """
    )
    assert played.ends() == [("good", "ok"), ("bad", "ignored"), ("text", "ignored"), ("empty", "ignored")]


def test_an_encoding_that_there_is_none_of_fails_the_template(bench: Bench) -> None:
    bench.file("t.j2", "é")
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: usual, template: {src: t.j2, dest: "{here}/out/t", output_encoding: ""}}
            - {name: unknown, template: {src: t.j2, dest: "{here}/out/t", output_encoding: nosuch}, ignore_errors: true}
            - {name: small, template: {src: t.j2, dest: "{here}/out/t", output_encoding: ascii}, ignore_errors: true}
        """
    )
    assert played.ends() == [("usual", "changed"), ("unknown", "ignored"), ("small", "ignored")]
    assert (bench.out / "t").read_text() == "é"
