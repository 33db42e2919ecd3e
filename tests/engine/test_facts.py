"""Facts are read when a template asks for one, and no more of them than it asks for, by what a host is asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ciflow.modules import facts, setup
from tests.engine.playing import Bench, Played

ALL = {"min", "hardware", "network", "virtual"}
OF = {"min": "kernel", "hardware": "memtotal_mb", "network": "all_ipv4_addresses", "virtual": "virtualization_type"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def readings(played: Played) -> list[tuple[str, set[str]]]:
    """Each reading of facts: of which host, and which subsets of them, as one fact of each shows."""
    return [
        (event.host, {name for name, fact in OF.items() if f"ansible_{fact}" in event.data["outcome"]["ansible_facts"]})
        for event in played.of("task_ended")
        if event.data["name"] == "Gather facts"
    ]


def play(*messages: str, more: str = "") -> str:
    tasks = "".join(f'    - {{name: t{n}, debug: {{msg: "{{{{ {text} }}}}"}}}}\n' for n, text in enumerate(messages))
    return f"- hosts: localhost\n{more}  tasks:\n{tasks}"


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("ansible_distribution ~ ansible_fqdn", {"min"}),
        ("ansible_facts.os_family", {"min"}),
        ("ansible_facts['memtotal_mb']", {"hardware"}),
        ("ansible_default_ipv4.address | default('none')", {"network"}),
        ("ansible_virtualization_type ~ ansible_facts['processor_count']", {"virtual", "hardware"}),
        ("ansible_facts | length", ALL),
        ("ansible_facts.get('kernel')", ALL),
    ],
)
def test_no_more_facts_are_read_than_templates_name(bench: Bench, asked: str, read: set[str]) -> None:
    played = bench.play(play(asked, asked))
    assert played.exit == 0, played.ends()
    assert readings(played) == [("localhost", read)]


def test_a_play_that_names_no_fact_reads_none(bench: Bench) -> None:
    assert readings(bench.play(play("inventory_hostname", "1 + 1"))) == []


def test_what_an_included_file_asks_for_is_read_then(bench: Bench) -> None:
    """The play names a fact of one subset, a file of tasks one of another, a template's file one of a third."""
    bench.file("more.yml", "- {name: inside, debug: {msg: '{{ ansible_facts.memtotal_mb > 0 }}'}}\n")
    bench.file("t.j2", "{{ ansible_facts.virtualization_role }}\n")
    played = bench.play(
        play("ansible_system")
        + "    - include_tasks: \"{{ 'more' }}.yml\"\n"
        + "    - template: {src: t.j2, dest: '{here}/out/t'}\n"
    )
    assert played.exit == 0, played.ends()
    assert readings(played) == [("localhost", {one}) for one in ("min", "hardware", "virtual")]
    assert played.msg("inside") in (True, "True")


def test_all_is_read_when_all_is_asked_for_later(bench: Bench) -> None:
    bench.file("more.yml", "- {name: inside, set_fact: {all: '{{ ansible_facts }}'}}\n")
    played = bench.play(
        play("ansible_system")
        + "    - include_tasks: \"{{ 'more' }}.yml\"\n"
        + "    - {name: both, debug: {msg: \"{{ all.memtotal_mb > 0 and all.system == 'Linux' }}\"}}\n"
    )
    assert played.exit == 0, played.ends()
    assert readings(played) == [("localhost", {"min"}), ("localhost", ALL - {"min"})]
    assert played.msg("both") in (True, "True")


def test_a_fact_that_the_host_has_not_is_undefined_after_all_was_read(bench: Bench) -> None:
    played = bench.play(play("ansible_distribution_nothing is defined", "ansible_facts.nothing | default('none')"))
    assert (played.msg("t0"), played.msg("t1")) == (False, "none")
    assert set().union(*(read for _, read in readings(played))) == ALL


def test_what_the_play_says_itself_is_read_as_ever(bench: Bench) -> None:
    said = play("ansible_memtotal_mb > 0", more="  gather_subset: [hardware]\n")
    assert readings(bench.play(said)) == [("localhost", {"min", "hardware"})]
    assert readings(bench.play(play("ansible_system", more="  gather_facts: true\n"))) == [("localhost", ALL)]


def test_another_host_is_asked_for_its_own(bench: Bench) -> None:
    bench.hosts()
    played = bench.play(
        """
        - hosts: web1,web2
          tasks:
            - {name: t, debug: {msg: "{{ hostvars['web2'].ansible_facts.memtotal_mb > 0 }}"}}
        """
    )
    assert played.exit == 0, played.ends()
    assert {host for host, _ in readings(played)} <= {"web1", "web2"}
    assert all(read == {"hardware"} for _, read in readings(played))


def test_a_killed_run_asks_again_for_nothing_that_it_knows(bench: Bench) -> None:
    flag = bench.folder / "flag"
    tasks = "    - {name: fails, command: test -e {here}/flag}\n    - debug: {msg: '{{ ansible_kernel }}'}\n"
    text = play("ansible_system") + tasks
    first = bench.play(text)
    assert first.exit == 4 and readings(first) == [("localhost", {"min"})]
    flag.touch()
    again = bench.resume(first.run)
    assert again.exit == 0 and readings(again) == []


def test_a_fact_is_looked_for_where_it_is() -> None:
    """Every fact of this machine, against the subset that its name is said to be in."""
    script = "facts=/none\n" + setup.SCRIPT
    said = facts.sections(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)
    wrong, placed = [], 0
    for subset in facts.SUBSETS:
        for name in facts.facts(said, frozenset([subset])):
            placed += facts.subset_of(name) == subset
            wrong += [name] if facts.subset_of(name) not in (subset, "") else []
    assert not wrong
    assert placed >= 40
    used = {name for names in facts.SECTIONS.values() for name in names}
    assert used == {line.split()[1].rstrip(";") for line in script.splitlines() if line.startswith("section ")}
