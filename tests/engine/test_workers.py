"""`--workers`: hosts shared between processes come to the same as in one, whoever of the processes is killed."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from ciflow.diagnostics import ExitCode
from tests.conftest import Start
from tests.engine.workers import Crewed, commands, told
from tests.parts.dask import dask
from tests.parts.otlp import patient, receiver
from tests.parts.postgres import Postgres
from tests.parts.process import wait_for

EVERYTHING = Path(__file__).parent / "crew" / "site.yml"
SLOW = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Before
      shell: echo "{{ inventory_hostname }} before" >> log
    - name: Once
      shell: echo "{{ inventory_hostname }} once" >> log; echo said
      run_once: true
      register: it
    - name: Slow
      shell: echo "{{ inventory_hostname }} slow" >> log; sleep 4
    - name: After
      shell: echo "{{ inventory_hostname }} {{ it.stdout }}" >> log
"""


@pytest.fixture
def crewed(tmp_path: Path, postgres: Postgres) -> Crewed:
    return Crewed(tmp_path, postgres.database())


def once_each(crewed: Crewed) -> None:
    """What SLOW leaves when each of its tasks ran once on each host, and the one on h0 alone."""
    hosts = range(crewed.hosts)
    every = Counter(f"h{host} {what}" for host in hosts for what in ("before", "slow", "said"))
    assert Counter(crewed.lines()) == every + Counter(["h0 once"])


def all_are_slow(crewed: Crewed) -> None:
    wait_for(lambda: sum(line.endswith("slow") for line in crewed.lines()) == crewed.hosts)


def test_workers_tell_the_same_events_and_end_with_the_same_code(crewed: Crewed) -> None:
    crewed.write("site.yml", EVERYTHING.read_text())
    crewed.write("more.yml", "- name: Included\n  command: echo it\n- command: 'true'\n  notify: Handler\n")
    crewed.write("v.yml", "from_file: 7\n")
    alone = crewed.apply("--json")
    shared = crewed.apply("--json", "--workers", "local:3")
    assert shared.returncode == alone.returncode == ExitCode.TASK_FAILED, shared.stderr
    assert told(shared) - told(alone) == told(alone) - told(shared) == Counter()
    assert sum(told(shared).values()) > 150
    assert commands(shared) == commands(alone) != Counter()
    assert "shard_started" in shared.stdout


def test_a_worker_killed_in_the_middle_loses_no_task_and_repeats_none(crewed: Crewed) -> None:
    crewed.write("site.yml", SLOW)
    run = crewed.start("--workers", "local:3")
    all_are_slow(crewed)
    os.kill(crewed.workers()[1], signal.SIGKILL)
    _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.OK, said
    assert re.search(r"warning: a worker was lost; its hosts \(h\d to h\d\) go on with another", said)
    once_each(crewed)


@pytest.mark.slow
@pytest.mark.parametrize("others", [(), ("--workers", "local:2"), ("--workers", "none")])
def test_a_controller_killed_with_its_workers_is_resumed_by_others(crewed: Crewed, others: tuple[str, ...]) -> None:
    crewed.write("site.yml", SLOW)
    run = crewed.start("--workers", "local:3")
    all_are_slow(crewed)
    run.kill()
    run.communicate()
    resumed = crewed.run("resume", *others)
    assert resumed.returncode == ExitCode.OK, resumed.stderr
    once_each(crewed)


@pytest.mark.slow
def test_sigterm_leaves_commands_to_end_on_their_hosts_and_a_resume_takes_their_results(crewed: Crewed) -> None:
    crewed.write("site.yml", SLOW)
    run = crewed.start("--workers", "local:3")
    all_are_slow(crewed)
    run.terminate()
    run.communicate(timeout=60)
    assert run.returncode == ExitCode.TERMINATED
    assert crewed.run("resume").returncode == ExitCode.OK
    once_each(crewed)


REFUSED = {
    "add_host: {name: new}": "hosts that it adds would be known to one worker only",
    "group_by: {key: some}": "groups that it makes would be known to one worker only",
    'debug: {msg: "{{ hostvars.h1.it }}"}': "it reads `hostvars`",
    "setup: {}\n      delegate_to: h1\n      delegate_facts: true": "`delegate_facts` tells facts",
    "command: 'true'\n      throttle: 1": "`throttle` counts",
    "meta: refresh_inventory": "changes what all of them know",
    "pause: {prompt: Go on?}": "asks somebody at the terminal",
}


def test_what_workers_cannot_share_is_refused_at_its_place_before_anything_runs(crewed: Crewed) -> None:
    tasks = "".join(f"    - name: T\n      {text}\n" for text in REFUSED)
    crewed.write("site.yml", f"- hosts: all\n  tasks:\n    - command: touch ran\n{tasks}")
    done = crewed.apply("--workers", "local:2")
    assert done.returncode == ExitCode.INVALID
    assert done.stderr.count("error[CF0530]") == len(REFUSED)
    assert all(why in done.stderr for why in REFUSED.values()), done.stderr
    assert re.search(r"site.yml:4:\d+", done.stderr)
    assert not (crewed.folder / "ran").exists()


def test_on_one_host_a_play_stays_whole_and_may_do_all_of_it(crewed: Crewed) -> None:
    tasks = "    - add_host: {name: new}\n    - debug: {msg: '{{ hostvars.h1 }}'}\n"
    crewed.write("site.yml", f"- hosts: h1\n  tasks:\n{tasks}")
    assert crewed.apply("--workers", "local:1").returncode == ExitCode.OK


def test_what_a_literal_include_holds_is_looked_at_too(crewed: Crewed) -> None:
    crewed.write("more.yml", "- add_host: {name: '{{ inventory_hostname }}x'}\n")
    crewed.write("site.yml", "- hosts: all\n  tasks:\n    - include_tasks: '{{ \"more\" }}.yml'\n")
    done = crewed.apply("--workers", "local:2")
    assert done.returncode == ExitCode.TASK_FAILED
    assert "workers can't share this task" in done.stderr


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("local:0", "neither `local:N` nor the address"),
        ("4", "neither `local:N` nor the address"),
        ("tcp://scheduler.example.org:8786", "speaks plain TCP"),
        ("tls://127.0.0.1:9", "wants a certificate"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers"),
    ],
)
def test_workers_that_cannot_be_had_are_said_in_plain_words(crewed: Crewed, where: str, why: str) -> None:
    crewed.write("site.yml", SLOW)
    done = crewed.apply("--workers", where)
    assert done.returncode == ExitCode.INVALID
    assert why in done.stderr and "Traceback" not in done.stderr


def test_workers_need_a_journal_that_all_of_them_reach(crewed: Crewed) -> None:
    crewed.write("site.yml", SLOW)
    done = crewed.apply("--workers", "local:2", "--state", str(crewed.folder / "alone"))
    assert done.returncode == ExitCode.INVALID
    assert "--state postgresql://" in done.stderr


@pytest.mark.slow
def test_workers_of_a_cluster_by_its_address_with_one_of_them_lost(
    tmp_path: Path, postgres: Postgres, start: Start
) -> None:
    crewed = Crewed(tmp_path, postgres.database(), hosts=4)
    cluster = start(dask(tmp_path, crewed.env))
    crewed.env |= cluster.env
    crewed.write("site.yml", SLOW)
    run = crewed.start("--workers", cluster.address)
    all_are_slow(crewed)
    os.kill(cluster.workers[1].pid, signal.SIGKILL)
    _, said = run.communicate(timeout=180)
    assert run.returncode == ExitCode.OK, said
    assert "a worker was lost" in said
    once_each(crewed)


@pytest.mark.slow
def test_what_workers_do_is_one_trace_and_their_commands_hear_of_it(crewed: Crewed) -> None:
    tell = "shell: echo $TRACEPARENT > {{ inventory_hostname }}"
    crewed.write("site.yml", f"- name: All\n  hosts: all\n  tasks:\n    - {tell}\n")
    with receiver() as heard:
        crewed.env |= heard.environment(PYTHONPATH=patient(crewed.folder))
        done = crewed.apply("--workers", "local:2")
        assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
        run, play = heard.named("RUN site.yml"), heard.named("All")
        tasks = {span.attributes["cicd.worker.name"]: span for span in heard.spans if span.above == play.id}
    assert tasks.keys() == {f"h{number}" for number in range(crewed.hosts)} and play.above == run.id
    told = {host: (crewed.folder / host).read_text().strip() for host in tasks}
    assert told == {host: f"00-{run.trace}-{span.id}-01" for host, span in tasks.items()}
