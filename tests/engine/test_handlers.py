"""Handlers: notified by a change, run once, in the order they are written, at the end or when flushed."""

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench


def test_handlers_run_once_at_the_end_in_the_order_they_are_written(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: one, command: "true", notify: [second, first]}
            - {name: two, command: "true", notify: second}
            - {name: same, command: "true", changed_when: false, notify: third}
          handlers:
            - {name: first, debug: {msg: x}}
            - {name: second, debug: {msg: x}}
            - {name: third, debug: {msg: x}}
        """
    )
    assert played.names() == ["one", "two", "same", "first", "second"]


def test_listen_gives_handlers_a_common_name(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks: [{name: one, command: "true", notify: restart web}]
          handlers:
            - {name: a, listen: restart web, debug: {msg: x}}
            - {name: b, debug: {msg: x}}
            - {name: c, listen: [other, restart web], debug: {msg: x}}
        """
    )
    assert played.names() == ["one", "a", "c"]


def test_of_two_handlers_with_one_name_the_later_one_counts(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks: [{name: one, command: "true", notify: h}]
          handlers:
            - {name: h, debug: {msg: earlier}}
            - {name: h, debug: {msg: later}}
        """
    )
    assert [e.data["msg"] for e in played.of("task_ended")][1:] == ["later"]


def test_flush_handlers_runs_them_then_and_a_later_change_runs_them_again(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: one, command: "true", notify: h}
            - meta: flush_handlers
            - {name: two, command: "true"}
            - meta: flush_handlers
            - {name: three, command: "true", notify: h}
          handlers: [{name: h, debug: {msg: x}}]
        """
    )
    assert played.names() == ["one", "h", "two", "three", "h"]


def test_handlers_are_flushed_between_pre_tasks_tasks_and_post_tasks(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          pre_tasks: [{name: pre, command: "true", notify: h}]
          tasks: [{name: task, command: "true", notify: h}]
          post_tasks: [{name: post, command: "true", notify: h}]
          handlers: [{name: h, debug: {msg: x}}]
        """
    )
    assert played.names() == ["pre", "h", "task", "h", "post", "h"]


def test_after_a_failure_handlers_run_only_where_force_handlers_says_so(bench: Bench) -> None:
    text = """
        - hosts: localhost
          force_handlers: {force}
          tasks:
            - {name: one, command: "true", notify: [h, k]}
            - {name: bad, command: "false"}
          handlers:
            - {name: h, command: "{h}"}
            - {name: k, debug: {msg: x}}
        """
    assert bench.play(text.replace("{force}", "false").replace("{h}", "true")).names() == ["one", "bad"]
    assert bench.play(text.replace("{force}", "true").replace("{h}", "true")).names() == ["one", "bad", "h", "k"]
    failing = bench.play(text.replace("{force}", "true").replace("{h}", "false"))
    assert failing.names() == ["one", "bad", "h"]
    assert failing.exit == 4


def test_force_handlers_of_the_command_line_is_for_plays_that_say_nothing(bench: Bench) -> None:
    text = """
        - hosts: localhost
          tasks: [{name: one, command: "true", notify: h}, {name: bad, command: "false"}]
          handlers: [{name: h, command: "true"}]
        """
    forced = {"force_handlers": True}
    assert bench.play(text, options=forced).names() == ["one", "bad", "h"]
    told = text.replace("localhost\n", "localhost\n          force_handlers: false\n")
    assert bench.play(told, options=forced).names() == ["one", "bad"]


def test_a_handler_may_notify_a_later_one(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks: [{name: one, command: "true", notify: h}]
          handlers:
            - {name: h, command: "true", notify: k}
            - {name: k, debug: {msg: x}}
        """
    )
    assert played.names() == ["one", "h", "k"]


def test_a_failing_handler_fails_its_host_and_no_later_handler_runs_there(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks: [{name: one, command: "true", notify: [h, k]}]
          handlers:
            - {name: h, command: "test {{ inventory_hostname }} != web2"}
            - {name: k, debug: {msg: x}}
        """
    )
    assert played.names("web1") == ["one", "h", "k"]
    assert played.names("web2") == ["one", "h"]
    assert played.exit == 4


def test_a_handler_runs_only_on_the_hosts_that_notified_it(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks: [{name: one, command: "true", changed_when: "inventory_hostname == 'web3'", notify: h}]
          handlers: [{name: h, debug: {msg: x}}]
        """
    )
    assert [e.host for e in played.of("task_ended") if e.data["name"] == "h"] == ["web3"]


def test_a_handler_whose_name_comes_to_nothing_known_ends_the_play_at_its_place(bench: Bench) -> None:
    text = """
        - hosts: localhost
          vars: {service: web}
          tasks:
            - {name: good, command: "true", notify: "restart {{ service }}"}
            - {name: bad, command: "true", notify: "{{ 'no' ~ 'thing' }}"}
          handlers: [{name: "restart {{ service }}", debug: {msg: x}}]
        """
    played = bench.play(text)
    assert played.ends() == [("good", "changed"), ("bad", "changed")]
    assert "not there: nothing" in played.errors()
    assert played.of("error")[0].data["places"] == [f"{bench.folder}/play.yml:6:44"]
    assert played.exit == 4


def test_a_loop_notifies_when_any_item_changed(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: one, command: "true", loop: [1, 2], changed_when: item == 2, notify: h}
          handlers: [{name: h, debug: {msg: x}}]
        """
    )
    assert played.names() == ["one", "h"]


def test_a_handler_that_is_flushed_twice_does_its_work_twice(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: one, command: "true", notify: h}
            - meta: flush_handlers
            - {name: two, command: "true", notify: h}
          handlers:
            - {name: h, shell: "echo x >> {here}/out/log"}
        """
    )
    assert played.exit == 0
    assert bench.wrote() == ["x", "x"]


def test_a_handler_that_a_later_one_notifies_runs_in_another_round(bench: Bench) -> None:
    bench.play(
        """
        - hosts: localhost
          tasks: [{name: one, command: "true", notify: second}]
          handlers:
            - {name: first, shell: "echo first >> {here}/out/log"}
            - {name: second, shell: "echo second >> {here}/out/log", notify: first}
        """
    )
    assert bench.wrote() == ["second", "first"]


def test_a_block_can_not_be_a_handler(bench: Bench) -> None:
    with pytest.raises(Invalid, match="a block can't be a handler"):
        bench.play(
            """
            - hosts: localhost
              tasks: [{name: one, command: "true", notify: a}]
              handlers:
                - {name: a, block: [{command: "true"}]}
            """
        )
