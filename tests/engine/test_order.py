"""Order: tasks one after the other, hosts side by side, the barrier of the linear strategy, batches, failure limits."""

import pytest

from tests.engine.playing import Bench


def started_before(bench: Bench, earlier: str, later: str) -> bool:
    """Whether every end of `earlier` was written before any start of `later`."""
    lines = bench.wrote()
    ends = [at for at, line in enumerate(lines) if line.startswith(f"end-{earlier}")]
    starts = [at for at, line in enumerate(lines) if line.startswith(f"start-{later}")]
    return max(ends) < min(starts)


NOTED = """
- hosts: all
  tasks:
    - name: one
      shell: |
        echo start-one-{{ inventory_hostname }} >> {here}/out/log
        sleep {{ nap }}
        echo end-one-{{ inventory_hostname }} >> {here}/out/log
      vars: {nap: "{{ '0.4' if inventory_hostname == 'web1' else '0' }}"}
    - name: two
      shell: "echo start-two-{{ inventory_hostname }} >> {here}/out/log"
"""


def test_no_host_starts_a_task_before_all_have_ended_the_one_before(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(NOTED)
    assert played.exit == 0
    assert len(bench.wrote()) == 9
    assert started_before(bench, "one", "two")


def test_with_the_free_strategy_a_fast_host_does_not_wait_for_a_slow_one(bench: Bench) -> None:
    bench.hosts()
    bench.play(NOTED.replace("hosts: all", "hosts: all\n  strategy: free"))
    assert not started_before(bench, "one", "two")


def test_tasks_on_a_hosts_own_files_need_no_barrier_but_a_command_after_them_does(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - name: own
              copy: {content: "x", dest: "{here}/out/{{ inventory_hostname }}"}
            - name: seen
              shell: ls {here}/out | wc -l
              register: seen
            - name: said
              debug: {msg: "{{ seen.stdout }}"}
        """
    )
    assert [played.msg("said", host) for host in ("web1", "web2", "web3")] == ["3", "3", "3"]


def test_hostvars_of_another_host_see_what_it_registered_in_the_task_before(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - set_fact: {mine: "fact of {{ inventory_hostname }}"}
            - name: said
              debug: {msg: "{{ hostvars['web3'].mine }}"}
        """
    )
    assert played.msg("said", "web1") == "fact of web3"


def test_serial_takes_the_hosts_in_batches_each_through_all_tasks(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          serial: [1, 100%]
          tasks:
            - name: one
              shell: echo one-{{ inventory_hostname }} >> {here}/out/log
            - name: batch
              debug: {msg: "{{ ansible_play_batch }} {{ play_hosts }} of {{ ansible_play_hosts }}"}
        """
    )
    assert bench.wrote()[0] == "one-web1"
    assert played.msg("batch", "web1") == "['web1'] ['web1'] of ['web1', 'web2', 'web3']"
    assert played.msg("batch", "web3") == "['web2', 'web3'] ['web2', 'web3'] of ['web1', 'web2', 'web3']"


def test_a_batch_of_which_every_host_failed_ends_the_play(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          serial: 1
          tasks:
            - name: fails on the second
              command: test {{ inventory_hostname }} != web2
        - name: later
          hosts: all
          tasks: [{name: more, debug: {msg: hi}}]
        """
    )
    assert [e.host for e in played.of("task_ended")] == ["web1", "web2"]
    assert played.plays()["later"] == "skipped"
    assert played.exit == 4


def test_a_failed_host_leaves_the_play_and_the_others_go_on_also_in_the_next(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - name: fails on the second
              command: test {{ inventory_hostname }} != web2
            - name: after
              command: "true"
        - name: later
          hosts: all
          tasks: [{name: more, command: "true"}]
        """
    )
    assert played.names("web2") == ["fails on the second"]
    assert played.names("web1") == ["fails on the second", "after", "more"]
    assert played.exit == 4


ENDS = {
    "every host failed": "- {name: Test, hosts: all, tasks: [{command: 'false'}]}",
    "its deadline was over": "- {name: Test, hosts: all, deadline: 1, tasks: [{command: sleep 60}]}",
    "nobody approved of it": (
        "- {name: Test, hosts: all, approval: {prompt: 'Go?', timeout: 1}, tasks: [{command: 'true'}]}"
    ),
    "it was cut short": (
        "- {name: Test, hosts: all, any_errors_fatal: true,"
        " tasks: [{command: 'test {{ inventory_hostname }} != web2'}]}"
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_no_play_comes_after_one_that_ended_for_all_its_hosts_however_many_are_in_between(
    bench: Bench, how: str
) -> None:
    """As ansible-playbook stops there: a deployment two plays after a failed test is a deployment of what failed."""
    bench.hosts()
    played = bench.play(
        f"""
        {ENDS[how]}
        - {{name: Build, hosts: all, tasks: [{{command: "true"}}]}}
        - {{name: Tidy, hosts: all, always: true, tasks: [{{command: "true"}}]}}
        - {{name: Deploy, hosts: all, tasks: [{{command: "true"}}]}}
        - {{name: Announce, hosts: all, needs: [Deploy], tasks: [{{command: "true"}}]}}
        - {{name: Measure, hosts: all, needs: [Tidy], tasks: [{{command: "true"}}]}}
        """
    )
    ended = {"Test": "failed", "Build": "skipped", "Tidy": "ok", "Deploy": "skipped", "Announce": "skipped"}
    assert played.plays() == {**ended, "Measure": "ok"}
    assert {e.data["reason"] for e in played.of("play_ended") if e.data["result"] == "skipped"} == {"`Test` failed"}
    assert played.exit == 4


def test_a_host_that_failed_is_in_no_later_play_though_one_that_always_runs_was_between(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks: [{command: "test {{ inventory_hostname }} != web2"}]
        - {hosts: all, always: true, tasks: [{name: tidy, command: "true"}]}
        - {hosts: all, tasks: [{name: deploy, command: "true"}]}
        """
    )
    assert played.names("web1")[1:] == ["tidy", "deploy"]
    assert played.names("web2")[1:] == ["tidy"]


def test_any_errors_fatal_ends_the_play_for_all_after_the_task(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          any_errors_fatal: true
          tasks:
            - name: fails on the second
              command: test {{ inventory_hostname }} != web2
            - name: after
              command: "true"
        """
    )
    assert sorted(played.ends()) == [("fails on the second", s) for s in ("changed", "changed", "failed")]
    assert played.exit == 4


def test_max_fail_percentage_ends_the_play_when_exceeded_and_not_when_met(bench: Bench) -> None:
    text = """
        - hosts: all
          max_fail_percentage: {limit}
          tasks:
            - name: fails on the second
              command: test {{ inventory_hostname }} != web2
            - name: after
              command: "true"
        """
    bench.hosts("a ansible_connection=local\n" + "web2 ansible_connection=local\n")
    assert "after" not in bench.play(text.replace("{limit}", "49")).names()
    assert "after" in bench.play(text.replace("{limit}", "50")).names()


def test_run_once_runs_on_the_first_host_and_all_have_its_register(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - name: once
              shell: "echo once >> {here}/out/log; echo {{ inventory_hostname }}"
              run_once: true
              register: found
            - name: said
              debug: {msg: "{{ found.stdout }}"}
            - set_fact: {shared: "{{ inventory_hostname }}"}
              run_once: true
            - name: fact
              debug: {msg: "{{ shared }}"}
        """
    )
    assert bench.wrote() == ["once"]
    assert {played.msg("said", host) for host in ("web1", "web2", "web3")} == {"web1"}
    assert {played.msg("fact", host) for host in ("web1", "web2", "web3")} == {"web1"}


def test_a_run_once_task_that_fails_fails_every_host(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {name: once, command: "false", run_once: true}
            - {name: after, command: "true"}
        """
    )
    assert "after" not in played.names()
    assert played.plays() == {"all": "failed"}


def test_throttle_limits_how_many_hosts_work_at_once(bench: Bench) -> None:
    bench.hosts()
    bench.play(
        """
        - hosts: all
          tasks:
            - shell: "echo in >> {here}/out/log; sleep 0.1; echo out >> {here}/out/log"
              throttle: 1
        """
    )
    assert bench.wrote() == ["in", "out"] * 3


def test_forks_limit_how_many_hosts_work_at_once(bench: Bench) -> None:
    bench.hosts()
    bench.play(
        """
        - hosts: all
          gather_facts: true
          tasks:
            - shell: "echo in >> {here}/out/log; sleep 0.1; echo out >> {here}/out/log; : {{ ansible_system }}"
        """,
        options={"forks": 1},
    )
    assert bench.wrote() == ["in", "out"] * 3


def test_order_sorts_and_reverses_the_hosts(bench: Bench) -> None:
    bench.hosts("b ansible_connection=local\nc ansible_connection=local\na ansible_connection=local\n")
    text = """
        - hosts: all
          order: {order}
          serial: 1
          tasks: [{name: t, debug: {msg: x}}]
        """
    found = {}
    for order in ("inventory", "reverse_inventory", "sorted", "reverse_sorted"):
        found[order] = "".join(e.host for e in bench.play(text.replace("{order}", order)).of("task_ended"))
    assert found == {"inventory": "bca", "reverse_inventory": "acb", "sorted": "abc", "reverse_sorted": "cba"}


def test_meta_end_host_and_end_play_are_no_failures(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - meta: end_host
              when: inventory_hostname == 'web1'
            - {name: one, command: "true"}
            - meta: end_play
            - {name: two, command: "true"}
        - name: later
          hosts: all
          tasks: [{name: more, command: "true"}]
        """
    )
    assert played.names("web1") == ["more"]
    assert played.names("web2") == ["one", "more"]
    assert played.exit == 0


def test_meta_end_batch_ends_its_batch_only(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          serial: 1
          tasks:
            - meta: end_batch
              when: inventory_hostname == 'web2'
            - {name: one, debug: {msg: x}}
        """
    )
    assert [e.host for e in played.of("task_ended")] == ["web1", "web3"]
    assert played.exit == 0


def test_host_pinned_takes_a_host_through_all_tasks_before_the_next_one_begins(bench: Bench) -> None:
    bench.hosts()
    bench.play(
        """
        - hosts: all
          strategy: host_pinned
          tasks:
            - shell: "echo {{ inventory_hostname }} >> {here}/out/log"
            - shell: "sleep 0.1; echo {{ inventory_hostname }} >> {here}/out/log"
        """,
        options={"forks": 1},
    )
    assert bench.wrote() == ["web1", "web1", "web2", "web2", "web3", "web3"]


def test_a_play_without_a_strategy_has_that_of_the_run(bench: Bench) -> None:
    bench.hosts()
    bench.play(NOTED, options={"strategy": "free"})
    assert not started_before(bench, "one", "two")
    bench.play(NOTED.replace("hosts: all", "hosts: all\n  strategy: linear"), options={"strategy": "free"})


def test_any_errors_fatal_fails_every_host_where_it_stands_and_handlers_follow_force_handlers(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          force_handlers: true
          any_errors_fatal: true
          tasks:
            - {name: note, command: "true", notify: h}
            - name: block
              block: [{name: fails, command: "test {{ inventory_hostname }} != web2"}]
              always: [{name: always, command: "true"}]
            - {name: nobody, command: "true"}
          handlers: [{name: h, command: "true"}]
        """
    )
    assert played.exit == 4
    for host in ("web1", "web2", "web3"):
        assert played.names(host) == ["note", "fails", "always", "h"]


def test_clear_host_errors_lets_failed_hosts_take_part_in_the_next_play(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {name: fails, command: "test {{ inventory_hostname }} != web2"}
            - meta: clear_host_errors
            - {name: rest, command: "true"}
        - hosts: all
          tasks: [{name: next, command: "true"}]
        """
    )
    assert played.exit == 0
    assert played.names("web2") == ["fails", "next"]


def test_reset_connection_connects_anew(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: one, shell: echo $PPID, register: one}
            - {name: two, shell: echo $PPID, register: two}
            - meta: reset_connection
            - {name: three, shell: echo $PPID, register: three}
            - {name: said, debug: {msg: "{{ one.stdout == two.stdout }} {{ two.stdout == three.stdout }}"}}
        """
    )
    assert played.msg("said") == "True False"
