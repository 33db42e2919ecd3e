"""`when`, `changed_when`, `failed_when`, registers, environment, secrets, facts: what decides and what is kept."""

import shutil

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench
from tests.parts.sshd import Sshd
from tests.targets.test_contract import assert_ends


def test_a_skipped_task_sets_its_register(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: skip, command: "true", when: false, register: it}
            - {name: said, debug: {msg: "{{ it.skipped }} {{ it is skipped }} {{ it is changed }} {{ it is failed }}"}}
            - {name: follow, debug: {msg: x}, when: it is not skipped}
        """
    )
    assert played.ends() == [("skip", "skipped"), ("said", "ok"), ("follow", "skipped")]
    assert played.msg("said") == "True True False False"


def test_when_takes_lists_all_of_which_must_hold_and_adds_up_over_blocks(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {a: 1}
          tasks:
            - {name: both, debug: {msg: x}, when: [a == 1, a < 2]}
            - {name: one of two, debug: {msg: x}, when: [a == 1, a > 2]}
            - block: [{name: inside, debug: {msg: x}, when: a == 1}]
              when: a == 2
        """
    )
    assert played.ends() == [("both", "ok"), ("one of two", "skipped"), ("inside", "skipped")]


def test_a_condition_that_is_text_is_an_error_that_says_so(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - set_fact: {flag: "false"}
            - {name: t, debug: {msg: x}, when: flag}
        """
    )
    assert played.status("t") == "failed"
    assert "boolean" in played.msg("t") or "true or false" in played.msg("t")


@pytest.mark.parametrize(
    ("keywords", "status"),
    [
        ("", "changed"),
        ("changed_when: false", "ok"),
        ("changed_when: it.stdout == 'out'", "changed"),
        ("changed_when: it.stdout == 'other'", "ok"),
        ("failed_when: it.stdout == 'out'", "failed"),
        ("failed_when: [it.rc == 0, it.stdout == 'other']", "changed"),
        ("failed_when: false, changed_when: false", "ok"),
    ],
)
def test_changed_when_and_failed_when_have_the_last_word(bench: Bench, keywords: str, status: str) -> None:
    more = f", {keywords}" if keywords else ""
    played = bench.play("- hosts: localhost\n  tasks:\n    - {name: t, command: echo out, register: it" + more + "}\n")
    assert played.status("t") == status


def test_failed_when_can_forgive_an_exit_code(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: t, command: sh -c 'exit 2', register: it, failed_when: "it.rc not in [0, 2]"}
            - {name: said, debug: {msg: "{{ it.failed }} {{ it.failed_when_result }} {{ it.rc }}"}}
        """
    )
    assert played.status("t") == "changed"
    assert played.msg("said") == "False False 2"


def test_environment_adds_up_the_nearest_winning(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          environment: {A: play, B: play, C: play}
          tasks:
            - block:
                - {name: t, shell: echo $A $B $C $D, environment: {C: task, D: "{{ 1 + 1 }}"}}
              environment: {B: block}
        """
    )
    assert played.outcome("t")["stdout"] == "play block task 2"


def test_no_log_keeps_a_secret_out_of_every_event_but_not_out_of_the_register(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: t, shell: echo hush-hush; exit 3, no_log: true, ignore_errors: true, register: it}
            - {name: length, debug: {msg: "{{ it.stdout | length }}"}}
            - {name: bad, shell: echo hush-hush >&2; exit 3, no_log: "{{ it.failed }}"}
        """
    )
    assert "hush-hush" not in repr(played.events)
    assert played.msg("length") in (9, "9")
    assert played.outcome("t") == {"censored": "hidden by no_log"}
    assert played.outcome("bad") == {"censored": "hidden by no_log"}


def test_facts_are_read_when_something_asks_for_one_and_only_then(bench: Bench) -> None:
    quiet = bench.play("- hosts: localhost\n  tasks: [{name: t, debug: {msg: x}}]\n")
    assert quiet.names() == ["t"]
    asked = bench.play("- hosts: localhost\n  tasks: [{name: t, debug: {msg: '{{ ansible_system }}'}}]\n")
    assert asked.names() == ["Gather facts", "t"]
    assert asked.msg("t") == "Linux"


def test_facts_are_read_when_an_included_file_or_a_template_asks_for_one(bench: Bench) -> None:
    bench.file("more.yml", "- {name: inside, debug: {msg: '{{ ansible_system }}'}}\n")
    bench.file("t.j2", "{{ ansible_kernel | length > 0 }}\n")
    included = bench.play("- hosts: localhost\n  tasks: [include_tasks: more.yml]\n")
    assert included.msg("inside") == "Linux"
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: t, template: {src: t.j2, dest: "{here}/out/t"}}
        """
    )
    assert played.exit == 0, played.ends()
    assert bench.wrote("t") == ["True"]


def test_facts_of_another_host_in_the_play_are_read_too(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: web1,web2
          tasks:
            - {name: t, debug: {msg: "{{ hostvars['web2'].ansible_system }}"}, when: inventory_hostname == 'web1'}
        """
    )
    assert played.msg("t", "web1") == "Linux"


def test_the_facts_of_a_host_outside_the_play_are_an_error_that_says_so(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: web1
          tasks:
            - {name: t, debug: {msg: "{{ hostvars['web3'].ansible_system }}"}}
        """
    )
    assert played.status("t") == "failed"
    assert "not in this play" in played.msg("t")


def test_set_fact_and_registers_last_over_plays_and_facts_lose_to_play_vars(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - set_fact: {a: fact}
            - {command: echo out, register: r}
        - hosts: localhost
          vars: {a: play}
          tasks:
            - {name: said, debug: {msg: "{{ a }} {{ r.stdout }}"}}
        """
    )
    assert played.msg("said") == "fact out"


def test_vars_files_may_be_named_by_a_template_and_the_first_that_exists_of_a_list_counts(bench: Bench) -> None:
    bench.file("vars/prod.yml", "size: 9\n")
    bench.file("fallback.yml", "size: 1\n")
    text = """
        - hosts: localhost
          vars_files: [["vars/{{ stage }}.yml", fallback.yml]]
          tasks: [{name: said, debug: {msg: "{{ size }}"}}]
        """
    assert str(bench.play(text, extra=["stage=prod"]).msg("said")) == "9"
    assert str(bench.play(text, extra=["stage=dev"]).msg("said")) == "1"


def test_delegate_to_runs_elsewhere_with_the_hosts_own_variables(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local me=one\nweb2 ansible_connection=local me=two\n")
    played = bench.play(
        """
        - hosts: web1
          tasks:
            - {name: t, command: "echo {{ me }} {{ inventory_hostname }}", delegate_to: web2}
            - {set_fact: {mine: "{{ me }}"}, delegate_to: web2}
            - {set_fact: {its: "{{ me }}"}, delegate_to: web2, delegate_facts: true}
            - name: said
              debug: {msg: "{{ mine }} {{ its | default('-') }} {{ hostvars.web2.its }} {{ hostvars.web2.mine | default('-') }}"}
        """  # noqa: E501
    )
    assert played.outcome("t")["stdout"] == "one web1"
    assert played.msg("said") == "one - one -"


def test_a_task_may_be_delegated_to_a_host_that_the_inventory_does_not_have(bench: Bench) -> None:
    """As in Ansible it is reached by its name, with the variables that all hosts have."""
    text = """
        - hosts: web1
          tasks:
            - name: t
              command: echo {{ ansible_delegated_vars[item].colour }}
              delegate_to: "{{ item }}"
              loop: [elsewhere.invalid]
        """
    bench.hosts("web1 ansible_connection=local\n[all:vars]\nansible_connection=local\ncolour=red\n")
    assert bench.play(text).outcome("t")["results"][0]["stdout"] == "red"
    bench.hosts("web1 ansible_connection=local\n[all:vars]\ncolour=red\n")
    played = bench.play(text)
    assert (played.exit, played.status("t")) == (5, "unreachable")
    assert "elsewhere.invalid" in played.outcome("t")["results"][0]["msg"]


def test_local_action_runs_on_the_controller(bench: Bench) -> None:
    bench.hosts("far ansible_host=127.0.0.1 ansible_port=1\n")
    played = bench.play("- hosts: far\n  tasks: [{name: t, local_action: command echo here}]\n")
    assert played.outcome("t")["stdout"] == "here"


def test_a_task_that_takes_longer_than_its_timeout_is_ended(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: slow, shell: echo $$ > {here}/out/pid; sleep 60 || true, timeout: 1, ignore_errors: true}
        """
    )
    assert played.status("slow") == "ignored"
    assert played.msg("slow") == "Timed out after 1 second(s)."
    for pid in bench.wrote("pid"):
        assert_ends(int(pid))


def test_module_defaults_and_the_nearest_keyword_win(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          module_defaults: {command: {chdir: /}}
          ignore_errors: true
          tasks:
            - {name: t, command: pwd}
            - {name: u, command: pwd, args: {chdir: /tmp}}
            - {name: bad, command: "false"}
            - block: [{name: worse, command: "false"}]
              ignore_errors: false
        """
    )
    assert (played.outcome("t")["stdout"], played.outcome("u")["stdout"]) == ("/", "/tmp")
    assert played.ends()[-2:] == [("bad", "ignored"), ("worse", "failed")]


def test_check_mode_predicts_and_check_mode_false_runs_all_the_same(bench: Bench) -> None:
    text = """
        - hosts: localhost
          {play}
          tasks:
            - {name: file, copy: {content: "x\\n", dest: "{here}/out/made"}, diff: true}
            - {name: command, command: touch {here}/out/ran}
            - {name: anyway, command: touch {here}/out/anyway, check_mode: false}
            - {name: mode, debug: {msg: "{{ ansible_check_mode }}"}}
        """
    played = bench.play(text.replace("{play}", ""), options={"check": True})
    assert [status for _, status in played.ends()] == ["changed", "skipped", "changed", "ok"]
    assert [path.name for path in bench.out.iterdir()] == ["anyway"]
    assert [e.data["after"] for e in played.of("diff")] == ["x\n"]
    assert played.msg("mode") is True
    (bench.out / "anyway").unlink()
    quiet = bench.play(text.replace("{play}", "check_mode: true\n          diff: false"))
    assert [path.name for path in bench.out.iterdir()] == ["anyway"]
    assert quiet.exit == 0


def test_play_wide_no_log_timeout_and_ignore_unreachable_reach_every_task(bench: Bench) -> None:
    bench.hosts("here ansible_connection=local\ngone ansible_host=127.0.0.1 ansible_port=1\n")
    played = bench.play(
        """
        - hosts: all
          no_log: true
          timeout: 4
          ignore_unreachable: true
          ignore_errors: true
          tasks:
            - {name: slow, shell: echo hush; sleep 60}
            - {name: quick, command: echo hush}
        """
    )
    assert "hush" not in repr([e for e in played.events if e.kind != "run_started"])
    assert played.ends("here") == [("slow", "ignored"), ("quick", "changed")]
    assert played.ends("gone") == [("slow", "ignored"), ("quick", "ignored")]
    assert played.exit == 0


def test_how_a_host_is_reached_may_be_said_by_play_and_task(bench: Bench, ssh_hosts: list[Sshd]) -> None:
    host = ssh_hosts[1]
    bench.hosts(
        f"far ansible_host={host.address} ansible_ssh_private_key_file={host.key} "
        f'ansible_ssh_common_args="-o UserKnownHostsFile={host.known_hosts}"\n'
    )
    played = bench.play(
        f"""
        - hosts: far
          connection: ssh
          remote_user: root
          port: {host.port}
          tasks:
            - {{name: there, shell: "echo $SSH_CONNECTION | cut -d' ' -f3"}}
            - {{name: here, shell: "echo ${{SSH_CONNECTION:-none}}", connection: local}}
        """
    )
    assert played.outcome("there")["stdout"] == host.address
    assert played.outcome("here")["stdout"] == "none"


def test_become_runs_a_task_as_another_user(bench: Bench) -> None:
    if shutil.which("sudo") is None:
        pytest.skip("sudo is not installed")
    played = bench.play(
        """
        - hosts: localhost
          become: true
          become_user: nobody
          become_method: sudo
          become_flags: -H -n
          become_exe: env sudo
          tasks:
            - {name: other, command: id -un}
            - {name: own, command: id -un, become: false}
            - {name: block, command: id -un, become_user: daemon}
        """
    )
    assert [played.outcome(name)["stdout"] for name in ("other", "own", "block")] == ["nobody", "root", "daemon"]


def test_gather_subset_limits_what_is_read(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          gather_facts: true
          gather_subset: [min]
          gather_timeout: 5
          fact_path: /nowhere
          tasks:
            - {name: t, debug: {msg: "{{ ansible_system }} {{ ansible_memtotal_mb is defined }}"}}
            - {name: action, action: command echo ok}
        """
    )
    assert played.msg("t") == "Linux False"
    assert played.outcome("action")["stdout"] == "ok"


def test_facts_are_read_at_the_start_of_a_play_where_the_run_says_so_and_the_play_does_not_say_no(bench: Bench) -> None:
    play = "- hosts: localhost\n  tasks: [{name: one, command: 'true'}]\n"
    said_no = play.replace("  tasks", "  gather_facts: false\n  tasks")
    assert bench.play(play).names() == ["one"]
    assert bench.play(play, options={"gathering": "implicit"}).names() == ["Gather facts", "one"]
    assert bench.play(said_no, options={"gathering": "implicit"}).names() == ["one"]


def test_module_defaults_of_a_group_whose_modules_nobody_knows_are_refused(bench: Bench) -> None:
    with pytest.raises(Invalid, match="nothing is known of the group of modules `group/aws`"):
        bench.play(
            """
            - hosts: localhost
              module_defaults: {group/aws: {region: x}}
              tasks: [{command: "true"}]
            """
        )


def test_ansible_host_is_the_hosts_name_where_nobody_gives_it(bench: Bench) -> None:
    bench.hosts("a ansible_connection=local\nb ansible_connection=local ansible_host=10.0.0.2\n")
    played = bench.play("- hosts: all\n  tasks: [{name: said, debug: {msg: '{{ ansible_host }}'}}]\n")
    assert (played.msg("said", "a"), played.msg("said", "b")) == ("a", "10.0.0.2")
    assert played.names("a") == ["said"], "no facts are read for it"
