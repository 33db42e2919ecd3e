"""Hosts that a run makes: `add_host`, `group_by`, `meta: refresh_inventory`. Against Ansible: peer/dynamic.yml."""

from click.testing import CliRunner

from ciflow.cli.plan import command
from ciflow.engine.request import Request, planned
from ciflow.engine.start import apply
from ciflow.plan import Selection
from ciflow.report.summary import Summary
from ciflow.store.store import Store
from tests.engine.playing import Bench, Played, Seen

MAKES = """
- hosts: localhost
  tasks:
    - add_host: {name: new, groups: [fresh], ansible_connection: local, note: "{{ 1000000 | random }}"}
    - {name: breaks, command: "test -e {here}/out/mended"}
- name: fresh
  hosts: fresh
  tasks:
    - {name: there, shell: "echo {{ inventory_hostname }}-{{ note }} >> {here}/out/log"}
    - {name: then, command: "test -e {here}/out/mended-too"}
    - {name: again, shell: "echo {{ note }} >> {here}/out/log"}
"""


def test_a_resumed_run_has_the_hosts_that_it_made_before(bench: Bench) -> None:
    first = bench.play(MAKES)
    assert first.exit == 4
    (bench.out / "mended").write_text("")
    assert bench.resume(first.run).exit == 4
    (bench.out / "mended-too").write_text("")
    last = bench.resume(first.run)
    assert last.exit == 0
    there, note = bench.wrote()
    assert there == f"new-{note}", "once, with what was drawn at first"
    assert {event.host for event in last.of("task_ended") if event.data["name"] == "again"} == {"new"}


def test_a_host_that_was_added_has_the_variables_of_its_groups(bench: Bench) -> None:
    bench.hosts("[web]\nw1\n[web:vars]\ndoor=80\n[all:vars]\nansible_connection=local\n")
    bench.file("group_vars/made.yml", "colour: '{{ door }} red'\n")
    bench.file("host_vars/w2.yml", "own: of the file\n")
    played = bench.play(
        """
        - hosts: w1
          tasks:
            - add_host: {name: w2, groups: "web,made", own: given}
        - hosts: web
          tasks:
            - name: said
              debug: {msg: "{{ door }} {{ colour | default('-') }} {{ own | default('-') }} {{ group_names }}"}
        """
    )
    assert played.msg("said", "w1") == "80 - - ['web']"
    assert played.msg("said", "w2") == "80 80 red of the file ['made', 'web']"


def test_what_a_host_says_about_a_new_one_is_never_rendered(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {name: output, command: "echo '{{ '{{' }} 6 * 7 }}'", register: it}
            - add_host: {name: new, groups: fresh, ansible_connection: local, note: "{{ it.stdout }}"}
        - hosts: fresh
          tasks: [{name: said, debug: {msg: "{{ note }}"}}]
        """
    )
    assert played.msg("said") == "{{ 6 * 7 }}"


def test_groups_by_a_value_choose_the_hosts_of_later_plays(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {group_by: {key: "k {{ inventory_hostname == 'web2' }}", parents: kinds}}
            - {name: said, debug: {msg: "{{ group_names }} {{ groups['k-True'] }}"}}
        - {name: some, hosts: k-True, tasks: [{name: some, debug: {msg: x}}]}
        - {name: rest, hosts: "kinds:!k-True", tasks: [{name: rest, debug: {msg: x}}]}
        """
    )
    assert played.msg("said", "web1") == "['k-False', 'kinds'] ['web2']"
    assert [event.host for event in played.of("task_ended") if event.data["name"] == "some"] == ["web2"]
    assert sorted(e.host for e in played.of("task_ended") if e.data["name"] == "rest") == ["web1", "web3"]


def test_the_limit_counts_for_new_hosts_too(bench: Bench) -> None:
    bench.hosts()
    path = bench.file(
        "play.yml",
        """
        - hosts: all
          tasks: [{add_host: {name: new, ansible_connection: local}}]
        - hosts: all
          tasks: [{name: said, debug: {msg: x}}]
        """,
    )
    seen = Seen()
    with Store.open(bench.store) as store:
        apply(Request(str(path), bench.inventory, (), Selection(limit="web1")), store, [seen])
    ends = Played(0, "", seen.events).of("task_ended")
    assert [event.host for event in ends if event.data["name"] == "said"] == ["web1"]


def test_refresh_inventory_reads_the_sources_anew_and_keeps_the_hosts_that_were_added(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    text = """
        - hosts: web1
          tasks:
            - add_host: {name: made, ansible_connection: local}
            - {name: grow, shell: "echo 'web2 ansible_connection=local' >> {here}/inventory.ini"}
            - {name: before, debug: {msg: "{{ groups.all }}"}}
            - meta: refresh_inventory
            - {name: after, debug: {msg: "{{ groups.all }}"}}
        - hosts: all
          tasks:
            - {name: there, shell: "echo {{ inventory_hostname }} >> {here}/out/log"}
            - {name: breaks, command: "test -e {here}/out/mended"}
        """
    first = bench.play(text)
    assert first.msg("before") == ["web1", "made"]
    assert first.msg("after") == ["web1", "web2", "made"]
    (bench.out / "mended").write_text("")
    bench.file("inventory.ini", "other ansible_connection=local\n")
    assert bench.resume(first.run).exit == 0
    assert sorted(bench.wrote()) == ["made", "web1", "web2"], "a resumed run has the hosts that it read"


def test_the_plan_says_which_plays_choose_their_hosts_when_they_begin(bench: Bench) -> None:
    path = bench.file(
        "play.yml",
        """
        - {name: before, hosts: localhost, tasks: [{debug: {msg: x}}]}
        - {name: makes, hosts: localhost, tasks: [{add_host: {name: new, groups: fresh}}]}
        - {name: after, hosts: fresh, tasks: [{debug: {msg: x}}]}
        """,
    )
    stages = planned(Request(str(path))).plan.stages
    assert [(stage.play.name, stage.open) for stage in stages] == [("before", False), ("makes", False), ("after", True)]
    shown = CliRunner().invoke(command, [str(path)], standalone_mode=False).output
    assert "after [after]  on no hosts, and those that it has when it begins" in shown


def test_stats_are_told_and_added_up(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: all
          tasks:
            - set_stats: {data: {built: 2, names: ["{{ inventory_hostname }}"]}}
              throttle: 1
            - set_stats: {data: {own: "{{ inventory_hostname }}"}, per_host: true}
            - {run_once: true, set_stats: {data: {last: x}, aggregate: false}}
        """
    )
    summary = Summary()
    for event in played.events:
        summary.event(event)
    assert summary.stats[""] == {"built": 6, "names": ["web1", "web2", "web3"], "last": "x"}
    assert summary.stats["web2"] == {"own": "web2"}
    text = "\n".join("".join(piece.text for piece in line) for line in summary.lines(100))
    assert 'built: 6, names: ["web1", "web2", "web3"]' in text


def test_the_implicit_localhost_has_hostvars_for_who_names_it_and_is_in_no_list(bench: Bench) -> None:
    """As ansible-core 2.19 without an inventory: `1 1 True 0 []`."""
    played = bench.play("""
        - hosts: localhost
          tasks:
            - set_fact: {f: 1}
            - name: seen
              debug:
                msg: "{{ hostvars.localhost.f }} {{ hostvars['localhost'].f }} {{ 'localhost' in hostvars }}
                  {{ hostvars | length }} {{ groups.all }} {{ hostvars.get('nobody', 'none') }}"
        """)
    assert played.msg("seen") == "1 1 True 0 [] none"


def test_a_port_in_the_name_of_an_added_host_is_its_port_as_in_ansible(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {add_host: {name: "h1.example:2222", groups: [g]}, register: it}
            - {add_host: {name: "[2001:db8::1]:23", groups: [g]}}
            - {add_host: {name: "2001:db8::2", groups: [g]}}
            - {name: said, debug: {msg: "{{ groups.g }} {{ it.add_host.host_vars }}"}}
        """
    )
    assert played.msg("said") == "['h1.example', '2001:db8::1', '2001:db8::2'] {'ansible_ssh_port': 2222}"


def test_a_host_that_was_only_put_into_a_group_goes_with_the_inventory_that_had_it(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\nweb2 ansible_connection=local\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - group_by: {key: "of_{{ inventory_hostname }}"}
            - {name: shrink, shell: "echo 'web1 ansible_connection=local' > {here}/inventory.ini", run_once: true}
            - meta: refresh_inventory
            - {name: after, debug: {msg: "{{ [groups.all, groups.of_web1] }}"}}
        """
    )
    assert played.msg("after", "web1") == [["web1"], ["web1"]]
