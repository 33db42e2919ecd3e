"""What a run used is recorded once: over tries, kills and resumes, and of hosts that can't tell only what they can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ciflow.engine.runner import runner
from ciflow.engine.usage import Usage
from ciflow.store.store import Store
from tests.engine.playing import Bench, Played
from tests.parts.sshd import Sshd

BURN = "python3 {here}/burn.py"
MENDED = f"""
        - name: Try
          hosts: localhost
          tasks:
            - {{name: burn, command: {BURN}}}
            - {{name: picky, shell: {BURN}; test -e {{here}}/out/mended}}
        - {{name: After, hosts: localhost, tasks: [{{name: quick, command: "true"}}]}}
        """


@pytest.fixture(autouse=True)
def burning(bench: Bench) -> None:
    """Spins until its own clock of processor time says 0.2 s."""
    bench.file("burn.py", "import time\nwhile time.process_time() < 0.2: pass\n")


def used(*played: Played) -> dict[str, dict[str, Any]]:
    """By play, all that was told of it added up."""
    found: dict[str, dict[str, Any]] = {}
    for event in (event for one in played for event in one.of("usage")):
        sums = found.setdefault(event.play, {"cpu": 0.0, "peak_kb": 0, "commands": 0, "measured": 0})
        for name, value in event.data.items():
            sums[name] = max(sums[name], value) if name == "peak_kb" else sums.get(name, 0) + value
    return found


def test_each_play_tells_what_its_commands_used(bench: Bench) -> None:
    done = bench.play(f"""
        - {{name: Burn, hosts: localhost, tasks: [{{command: {BURN}}}, {{command: {BURN}}}]}}
        - {{name: Quick, hosts: localhost, tasks: [{{command: "true"}}, {{debug: {{msg: said}}}}]}}
        - {{name: Say, hosts: localhost, tasks: [{{debug: {{msg: said}}}}]}}
        """)
    found = used(done)
    assert set(found) == {"burn", "quick"}, "who ran no command used none"
    assert (found["burn"]["commands"], found["burn"]["measured"]) == (2, 2)
    assert 0.4 <= found["burn"]["cpu"] < 60 and found["burn"]["peak_kb"] > 1000
    assert found["quick"]["commands"] == 1 and found["quick"]["cpu"] < found["burn"]["cpu"]
    assert "sent" not in found["burn"], "nothing went to another machine"


def test_tries_count_each(bench: Bench) -> None:
    done = bench.play(f"""
        - name: Again
          hosts: localhost
          retry: {{attempts: 2, delay: 0}}
          tasks:
            - shell: {BURN}; echo x >> {{here}}/out/tries; test $(wc -l < {{here}}/out/tries) = 4
              register: it
              until: it is succeeded
              retries: 1
              delay: 0
        """)
    assert done.exit == 0 and len(bench.wrote("tries")) == 4
    found = used(done)["again"]
    assert found["commands"] == 4 and 0.8 <= found["cpu"] < 60


def test_a_resumed_run_counts_nothing_twice_and_what_failed_with_what_mended_it(bench: Bench) -> None:
    first = bench.play(MENDED)
    (bench.out / "mended").touch()
    last = bench.resume(first.run)
    assert (first.exit, last.exit) == (4, 0)
    assert used(first)["try"]["commands"] == 2
    assert {play: sums["commands"] for play, sums in used(last).items()} == {"try": 1, "after": 1}


def test_what_a_killed_process_could_not_tell_is_told_by_the_next(bench: Bench) -> None:
    """Killed: what it recorded ends with a reply, and no event has told what that came to."""
    (bench.out / "mended").touch()
    text = MENDED.rstrip() + "\n        - {name: Last, hosts: localhost, tasks: [{debug: {msg: '{{ [] | first }}'}}]}\n"
    first = bench.play(text)
    assert used(first)["try"]["commands"] == 2
    cut_after_the_first_reply(bench.store, first.run)
    last = bench.resume(first.run)
    assert (first.exit, last.exit) == (4, 4)
    assert {play: sums["commands"] for play, sums in used(last).items()} == {"try": 2, "after": 1}
    assert used(last)["try"]["cpu"] >= 0.4


def cut_after_the_first_reply(state: Path, run: str) -> None:
    """The journal as it was at that moment."""
    with Store.open(state) as store:
        events = list(store.events(run=run))
    end = next(number for number, event in enumerate(events) if event.kind == "op_reply")
    state.joinpath("journal.db").unlink()
    for rest in ("journal.db-wal", "journal.db-shm"):
        state.joinpath(rest).unlink(missing_ok=True)
    with Store.open(state) as store:
        store.append(events[: end + 1])


def test_what_went_to_hosts_and_came_from_them_is_told(bench: Bench, ssh_hosts: list[Sshd]) -> None:
    bench.hosts(ssh_hosts[0].inventory_line("web1") + "\n")
    bench.file("big", "x" * 300_000)
    done = bench.play("""
        - {name: Send, hosts: web1, tasks: [{copy: {src: big, dest: "{here}/out/big"}}]}
        - {name: Read, hosts: web1, tasks: [{slurp: {src: "{here}/out/big"}}]}
        """)
    found = used(done)
    assert done.exit == 0
    assert found["send"]["sent"] >= 300_000 > found["send"]["received"]
    assert found["read"]["received"] >= 300_000 > found["read"]["sent"]


def test_a_shell_tells_time_and_no_memory(bench: Bench) -> None:
    bench.hosts("bare ansible_connection=local ansible_python_interpreter=none\n")
    done = bench.play(f"- {{name: Burn, hosts: bare, tasks: [{{shell: {BURN}}}]}}\n")
    found = used(done)["burn"]
    assert done.exit == 0
    assert found["commands"] == 1 and 0.2 <= found["cpu"] < 60
    assert found["peak_kb"] == 0


def test_what_a_target_can_not_know_is_counted_as_not_known() -> None:
    usage = Usage()
    usage.add("R-1|build|web1|0", {"rc": 0})
    usage.add("R-1|build~2|web1|0", {"rc": 1, "cpu": 0.1, "peak_kb": 5})
    usage.add("R-1|build|web1|1", {"data": {}})
    assert list(usage.take("build")) == [("build", {"commands": 2, "measured": 1, "cpu": 0.1, "peak_kb": 5})]
    assert list(usage.take()) == []


def test_a_run_says_which_machine_it_is_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ENVIRONMENT", "github-hosted"), ("OS", "Linux"), ("ARCH", "ARM64")):
        monkeypatch.setenv(f"RUNNER_{name}", value)
    done = bench.play("- {hosts: localhost, tasks: [{debug: {msg: x}}]}")
    machine = done.of("run_started")[0].data["on"]
    assert {**machine, "cores": 0} == {"environment": "github-hosted", "os": "Linux", "arch": "ARM64", "cores": 0}
    assert machine["cores"] >= 1


def test_any_other_machine_is_self_hosted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENVIRONMENT", "OS", "ARCH"):
        monkeypatch.delenv(f"RUNNER_{name}", raising=False)
    assert runner()["environment"] == "self-hosted"
    assert json.loads(json.dumps(runner())) == runner()
