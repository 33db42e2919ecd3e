"""Blocks: what fails, what rescues, what runs in any case; and what a failure leaves for templates to read."""

from tests.engine.playing import Bench


def test_rescue_runs_after_a_failure_and_always_in_any_case(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block:
                - {name: fails, command: sh -c "echo oops >&2; exit 3"}
                - {name: never, command: "true"}
              rescue:
                - name: told
                  debug: {msg: "{{ ansible_failed_task.name }} {{ ansible_failed_result.rc }}"}
              always:
                - {name: in any case, debug: {msg: x}}
            - {name: after, debug: {msg: x}}
        """
    )
    assert played.ends() == [
        ("fails", "failed"),
        ("fails", "rescued"),
        ("told", "ok"),
        ("in any case", "ok"),
        ("after", "ok"),
    ]
    assert played.msg("told") == "fails 3"
    assert played.exit == 0


def test_without_a_failure_rescue_is_passed_by(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [{name: good, command: "true"}]
              rescue: [{name: rescue, debug: {msg: x}}]
              always: [{name: always, debug: {msg: x}}]
        """
    )
    assert played.names() == ["good", "always"]


def test_a_block_without_rescue_still_fails_after_its_always(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [{name: bad, command: "false"}]
              always: [{name: always, debug: {msg: x}}]
            - {name: after, debug: {msg: x}}
        """
    )
    assert played.ends() == [("bad", "failed"), ("always", "ok")]
    assert played.exit == 4


def test_a_failure_in_rescue_fails_the_host_after_always(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [{name: bad, command: "false"}]
              rescue: [{name: worse, fail: {msg: broken}}, {name: never, debug: {msg: x}}]
              always: [{name: always, debug: {msg: x}}]
            - {name: after, debug: {msg: x}}
        """
    )
    assert played.names() == ["bad", "bad", "worse", "always"]
    assert played.exit == 4


def test_a_failure_in_always_fails_the_host_though_the_block_was_good(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block: [{name: good, command: "true"}]
              always: [{name: bad, fail: {msg: broken}}]
            - {name: after, debug: {msg: x}}
        """
    )
    assert played.ends() == [("good", "changed"), ("bad", "failed")]
    assert played.exit == 4


def test_nested_blocks_hand_a_failure_outward_until_one_rescues(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - block:
                - block:
                    - {name: bad, command: "false"}
                  rescue:
                    - {name: worse, command: "false"}
                  always:
                    - {name: inner, debug: {msg: x}}
                - {name: never, debug: {msg: x}}
              rescue:
                - {name: outer, debug: {msg: "{{ ansible_failed_task.name }}"}}
            - {name: after, debug: {msg: x}}
        """
    )
    ran = [name for name, status in played.ends() if status != "rescued"]
    assert ran == ["bad", "worse", "inner", "outer", "after"]
    assert played.msg("outer") == "worse"
    assert played.exit == 0


def test_the_failed_task_is_the_one_that_the_last_rescue_was_for(bench: Bench) -> None:
    """ansible-core 2.19: not what failed in the `rescue`, nor what nothing rescued, nor another host's failure."""
    bench.hosts()
    played = bench.play(
        """
        - hosts: web2,web3
          tasks:
            - block: [{name: fourth, fail: {msg: four}, when: inventory_hostname == 'web3'}]
              always: [{name: nobody, debug: {msg: "{{ ansible_failed_task is defined }}"}}]
        - hosts: web1,web2
          any_errors_fatal: true
          tasks:
            - block: [{name: first, fail: {msg: one}, when: inventory_hostname == 'web1'}]
              rescue:
                - {name: told, debug: {msg: "{{ ansible_failed_task.name | default('none') }}"}}
        - hosts: web1
          tasks:
            - block: [{name: second, fail: {msg: two}}]
              rescue: [{name: third, fail: {msg: three}}]
              always: [{name: at last, debug: {msg: "{{ ansible_failed_result.msg }} {{ ansible_failed_task.name }}"}}]
        """
    )
    assert (played.msg("told", "web1"), played.msg("told", "web2")) == ("first", "none")
    assert played.msg("at last") == "two second"
    assert played.msg("nobody", "web3") is False


def test_a_rescued_host_stays_in_the_play_beside_the_others(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          any_errors_fatal: true
          tasks:
            - block: [{name: picky, command: "test {{ inventory_hostname }} != web2"}]
              rescue: [{name: mended, command: "true"}]
            - {name: after, command: "true"}
        """
    )
    assert played.names("web1") == ["picky", "mended", "after"]
    assert played.names("web2") == ["picky", "picky", "mended", "after"]
    assert played.exit == 0


def test_an_undefined_variable_fails_the_task_in_place_and_can_be_rescued(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - set_fact: {known: {a: 1}}
            - block: [{name: bad, debug: {msg: "{{ known.b }}"}}]
              rescue: [{name: mended, debug: {msg: "{{ ansible_failed_result.msg }}"}}]
        """
    )
    assert "`b`" in played.msg("mended") or "'b'" in played.msg("mended")
    assert played.outcome("bad")["places"] == [f"{bench.folder}/play.yml:5:50"]
    assert played.exit == 0


def test_ignore_errors_goes_on_and_the_result_still_says_that_it_failed(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: bad, command: "false", ignore_errors: true, register: it}
            - {name: said, debug: {msg: "{{ it.failed }} {{ it is failed }} {{ it.rc }}"}}
        """
    )
    assert played.ends() == [("bad", "ignored"), ("said", "ok")]
    assert played.msg("said") == "True True 1"
    assert played.exit == 0


def test_an_ignored_failure_notifies_no_handler(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: bad, command: "false", ignore_errors: true, notify: h}
          handlers:
            - {name: h, debug: {msg: x}}
        """
    )
    assert played.names() == ["bad"]


def test_ignore_unreachable_goes_on_without_what_the_host_would_have_said(bench: Bench) -> None:
    bench.hosts("gone ansible_host=127.0.0.1 ansible_port=1 ansible_user=nobody\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {name: lost, command: "true", ignore_unreachable: true, register: it}
            - {name: said, debug: {msg: "{{ it.unreachable }}"}}
            - {name: fatal, command: "true"}
            - {name: never, debug: {msg: x}}
        """
    )
    assert played.ends() == [("lost", "ignored"), ("said", "ok"), ("fatal", "unreachable")]
    assert played.exit == 5


def test_an_unreachable_host_is_not_rescued(bench: Bench) -> None:
    bench.hosts("gone ansible_host=127.0.0.1 ansible_port=1 ansible_user=nobody\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - block: [{name: lost, command: "true"}]
              rescue: [{name: rescue, debug: {msg: x}}]
              always: [{name: always, debug: {msg: x}}]
        """
    )
    assert played.ends() == [("lost", "unreachable")]
    assert played.exit == 5
