"""A failed run, taken up again: what failed is tried again, what is finished is not repeated, what was drawn stays."""

import pytest

from ciflow.engine import task as task_module
from tests.engine.playing import Bench

MENDED = """
        - name: play
          hosts: localhost
          tasks:
            - {name: number, set_fact: {drawn: "{{ 1000000 | random }} {{ now().timestamp() }}"}}
            - {name: one, shell: echo one >> {here}/out/log}
            - {name: picky, shell: echo picky >> {here}/out/log; test -e {here}/out/mended, notify: h}
            - {name: two, shell: echo two >> {here}/out/log}
            - {name: said, debug: {msg: "{{ drawn }}"}}
          handlers:
            - {name: h, shell: echo handler >> {here}/out/log}
        - {name: after, hosts: localhost, tasks: [{name: three, shell: echo three >> {here}/out/log}]}
        """


def test_a_failed_task_is_tried_again_and_finished_ones_are_not_repeated(bench: Bench) -> None:
    first = bench.play(MENDED)
    assert bench.wrote() == ["one", "picky"]
    again = bench.resume(first.run)
    assert bench.wrote() == ["one", "picky", "picky"]
    assert (first.exit, again.exit) == (4, 4)
    (bench.out / "mended").touch()
    last = bench.resume(first.run)
    assert bench.wrote() == ["one", "picky", "picky", "picky", "two", "handler", "three"]
    assert last.exit == 0
    assert last.names() == ["picky", "two", "said", "h", "three"]


def test_what_was_drawn_or_read_from_a_clock_keeps_its_value(bench: Bench) -> None:
    first = bench.play(MENDED)
    (bench.out / "mended").touch()
    last = bench.resume(first.run)
    facts = [e.data["outcome"] for e in first.of("task_ended") if e.data["name"] == "number"]
    assert last.msg("said") in repr(facts)


def test_only_the_items_of_a_loop_that_failed_are_tried_again(bench: Bench) -> None:
    text = """
        - hosts: localhost
          tasks:
            - name: loop
              shell: echo {{ item }} >> {here}/out/log; test {{ item }} != b -o -e {here}/out/mended
              loop: [a, b, c]
              register: it
            - {name: said, debug: {msg: "{{ it.results | map(attribute='item') | join(' ') }}"}}
        """
    first = bench.play(text)
    (bench.out / "mended").touch()
    last = bench.resume(first.run)
    assert bench.wrote() == ["a", "b", "c", "b"]
    assert last.msg("said") == "a b c"
    assert last.exit == 0


def test_retries_that_were_waited_for_are_not_waited_for_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
        - hosts: localhost
          tasks:
            - name: third
              shell: echo x >> {here}/out/tries; wc -l < {here}/out/tries
              register: it
              until: it.stdout | int == 3
              delay: 0.1
            - {name: picky, command: test -e {here}/out/mended}
        """
    first = bench.play(text)
    (bench.out / "mended").touch()

    async def no_sleep(seconds: float) -> None:
        raise AssertionError(f"slept {seconds} s again")

    with monkeypatch.context() as patch:
        patch.setattr(task_module.asyncio, "sleep", no_sleep)
        last = bench.resume(first.run)
    assert bench.wrote("tries") == ["x"] * 3
    assert last.exit == 0
    assert last.of("retry") == []


def test_a_rescue_that_ran_is_not_run_again_and_its_failure_is_not_retried(bench: Bench) -> None:
    text = """
        - hosts: localhost
          tasks:
            - block: [{name: bad, shell: "echo bad >> {here}/out/log; exit 1"}]
              rescue: [{name: rescue, shell: echo rescue >> {here}/out/log}]
            - {name: picky, command: test -e {here}/out/mended}
        """
    first = bench.play(text)
    (bench.out / "mended").touch()
    assert bench.resume(first.run).exit == 0
    assert bench.wrote() == ["bad", "rescue"]


def test_on_resume_an_include_is_what_it_was(bench: Bench) -> None:
    bench.file("one.yml", "- {name: inside, shell: echo one >> {here}/out/log}\n")
    text = """
        - hosts: localhost
          vars: {which: one}
          tasks:
            - include_tasks: "{{ which }}.yml"
            - {name: picky, command: test -e {here}/out/mended}
        """
    first = bench.play(text)
    bench.file("one.yml", "- {name: inside, shell: echo changed >> {here}/out/log}\n")
    (bench.out / "mended").touch()
    assert bench.resume(first.run).exit == 0
    assert bench.wrote() == ["one"]


def test_the_other_hosts_of_a_play_are_left_alone_when_one_is_tried_again(bench: Bench) -> None:
    bench.hosts()
    text = """
        - hosts: all
          tasks:
            - shell: "echo {{ inventory_hostname }} >> {here}/out/log;
                      test {{ inventory_hostname }} != web2 -o -e {here}/out/mended"
            - shell: echo after-{{ inventory_hostname }} >> {here}/out/log
        """
    first = bench.play(text)
    (bench.out / "mended").touch()
    assert bench.resume(first.run).exit == 0
    assert sorted(bench.wrote()) == ["after-web1", "after-web2", "after-web3", "web1", "web2", "web2", "web3"]


def test_a_run_with_a_lost_store_takes_over_hosts_that_share_a_machine_without_fencing_itself(bench: Bench) -> None:
    bench.hosts()
    text = """
        - hosts: all
          strategy: free
          tasks:
            - {name: one, shell: "sleep 0.{{ 3 if inventory_hostname == 'web1' else 0 }}"}
            - {name: two, command: "true"}
        """
    for _ in range(3):
        assert bench.play(text).exit == 0
    bench.store = bench.folder / "another"
    assert bench.play(text).exit == 0


def test_an_unreachable_host_is_tried_again(bench: Bench) -> None:
    bench.file("roles/r/tasks/main.yml", "")
    text = "- hosts: localhost\n  tasks: [{name: t, command: 'true', delegate_to: far}]\n"
    bench.hosts("far ansible_host=127.0.0.1 ansible_port=1\n")
    first = bench.play(text)
    assert first.exit == 5
    assert bench.resume(first.run).exit == 5
