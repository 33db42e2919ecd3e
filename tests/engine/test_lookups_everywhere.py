"""A lookup is answered wherever a template may stand: in keywords, in other hosts' variables, in `vars`.

Where nothing may be waited for, `env` is answered, and others are refused with their place."""

from __future__ import annotations

import pytest

from ciflow.diagnostics import Invalid
from tests.engine.playing import Bench

PIPE = "lookup('pipe', 'echo asked >> {here}/out/log; echo 1')"
FILE = "lookup('file', '{here}/one.txt')"
TASK = "tasks: [{name: it, command: echo hi}]"


@pytest.fixture
def hosts(bench: Bench) -> Bench:
    bench.file("one.txt", "1\n")
    (bench.folder / "inventory").mkdir()
    inventory = f"""
        all:
          vars: {{ansible_connection: local}}
          hosts:
            web1: {{answer: "{{{{ {PIPE} }}}}", number: 7}}
            web2: {{ansible_user: "{{{{ {FILE} }}}}"}}
        """
    bench.inventory = (str(bench.file("inventory/hosts.yml", inventory)),)
    return bench


@pytest.mark.parametrize(
    "asked",
    [
        "{{ vars.answer }}", "{{ vars['answer'] }}", "{{ lookup('vars', 'answer') }}", "{{ hostvars.web1.answer }}",
        "{{ ['web1'] | map('extract', hostvars, 'answer') | first }}", "{{ hostvars['web1'].vars.answer }}",
        "{{ hostvars.web1['hostvars'].web1.answer }}",
    ],
)  # fmt: skip
def test_a_variable_made_by_a_lookup_is_read_by_every_way_and_asked_for_once(hosts: Bench, asked: str) -> None:
    played = hosts.play(f"- hosts: web1\n  tasks: [{{name: it, debug: {{msg: {asked!r}}}}}]\n")
    assert str(played.msg("it")) == "1"
    assert hosts.wrote() == ["asked"]


def test_another_host_s_variable_made_by_a_lookup_is_read_though_its_facts_are_not(hosts: Bench) -> None:
    played = hosts.play('- hosts: web2\n  tasks: [{name: it, debug: {msg: "{{ hostvars.web1.answer }}"}}]\n')
    assert str(played.msg("it")) == "1"
    assert played.names() == ["it"]


def test_a_host_reached_by_what_a_lookup_says_may_be_delegated_to_and_read_from(hosts: Bench) -> None:
    played = hosts.play(
        """
        - hosts: web1
          tasks:
            - {name: there, command: echo hi, delegate_to: web2}
            - {name: who, debug: {msg: "{{ ansible_delegated_vars.web2.ansible_user }}"}, delegate_to: web2}
        - hosts: web2
          tasks:
            - {name: first, command: echo hi}
            - {name: copied, copy: {src: one.txt, dest: "{here}/out/copied"}}
            - {name: fetched, fetch: {src: "{here}/out/copied", dest: "{here}/out/", flat: true}}
        """
    )
    assert played.exit == 0, played.errors()
    assert str(played.msg("who")) == "1"


@pytest.mark.parametrize(
    "play",
    [
        f'serial: "{{{{ {PIPE} }}}}"\n  {TASK}', f'when: "{PIPE} | int == 1"\n  {TASK}',
        f'vars: {{size: "{{{{ {PIPE} }}}}"}}\n  serial: "{{{{ size }}}}"\n  {TASK}',
        f'tasks: [{{name: it, command: echo hi, check_mode: "{{{{ {FILE} == \'2\' }}}}"}}]',
        f'tasks: [{{name: it, command: echo hi, diff: "{{{{ {FILE} == \'2\' }}}}"}}]',
    ],
    ids=["serial", "when of a play", "a variable of serial", "check_mode", "diff"],
)  # fmt: skip
def test_a_lookup_in_a_keyword_is_answered(hosts: Bench, play: str) -> None:
    played = hosts.play(f"- hosts: web1\n  {play}\n")
    assert played.exit == 0, played.errors()
    assert played.ends() == [("it", "changed")]
    assert hosts.wrote() in ([], ["asked"])


def test_a_play_s_condition_on_a_lookup_is_decided_once_in_the_life_of_its_run(hosts: Bench) -> None:
    play = f'- hosts: web1\n  when: "{PIPE} | int == 1"\n  tasks: [{{command: "test -e {{here}}/out/there"}}]\n'
    played = hosts.play(play)
    assert played.exit == 4
    (hosts.out / "there").touch()
    assert hosts.resume(played.run).exit == 0
    assert hosts.wrote() == ["asked"]


@pytest.mark.parametrize("keyword", ["throttle", "run_once", "notify"])
def test_where_nothing_may_be_waited_for_a_lookup_is_refused_with_its_place(hosts: Bench, keyword: str) -> None:
    task = f'- {{name: it, command: echo hi, {keyword}: "{{{{ {FILE} }}}}"}}'
    played = hosts.play(f"- hosts: web1\n  tasks:\n    {task}\n")
    assert played.exit == 4
    assert "must be known at once" in played.errors()
    assert [place.rpartition("/")[2][:10] for event in played.of("error") for place in event.data["places"]] == [
        "play.yml:3"
    ]


def test_there_the_environment_is_known(hosts: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "web1")
    played = hosts.play(
        """
        - hosts: "{{ lookup('env', 'WHERE') }}"
          tasks:
            - name: it
              command: echo hi
              throttle: "{{ lookup('env', 'NOBODY_SETS_THIS') | default(1, true) }}"
              run_once: "{{ lookup('env', 'WHERE') == 'web1' }}"
              any_errors_fatal: "{{ lookup('env', 'WHERE') == 'x' }}"
              notify: "told {{ lookup('env', 'WHERE') }}"
          handlers: [{name: told web1, debug: {msg: told}}]
        """
    )
    assert played.ends() == [("it", "changed"), ("told web1", "ok")]


def test_hosts_chosen_by_a_file_are_refused_before_anything_runs(hosts: Bench) -> None:
    with pytest.raises(Invalid, match="must be known at once"):
        hosts.play(f'- hosts: "{{{{ {FILE} }}}}"\n  {TASK}\n')


def test_a_canary_s_version_slots_and_router_may_come_from_lookups(hosts: Bench) -> None:
    played = hosts.play(
        """
        - hosts: web1
          canary:
            service: shop
            version: "{{ lookup('file', '{here}/one.txt') }}"
            router: {haproxy: {socket: "{{ lookup('pipe', 'echo {here}/no.sock') }}", hosts: web2}}
            slots: {a: {port: "{{ lookup('file', '{here}/one.txt') }}"}, b: {port: 2}}
            steps: [5%]
          tasks: [{command: echo hi}]
        """
    )
    assert "no.sock" in played.errors() and played.exit == 5  # as far as to ask the router, which isn't there
    (routers,) = played.of("routers")
    assert routers.data["settings"]["socket"] == f"{hosts.folder}/no.sock"
