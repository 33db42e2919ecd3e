"""Sending ahead costs no outcome: what runs, what doesn't, and what is told is the same as one task at a time."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from ciflow.engine.host import HostStage
from ciflow.engine.link import HostLink
from tests.engine.playing import LOCAL_THREE, Bench, Played
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd
from tests.parts.wire import wire


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of operations in each packet that leaves for a host."""
    counts: list[int] = []
    waiting: dict[int, int] = {}
    put, flush = HostLink._put, HostLink.flush

    def counted_put(self: HostLink, call: Any) -> None:
        waiting[id(self)] = waiting.get(id(self), 0) + 1
        put(self, call)

    def counted_flush(self: HostLink) -> None:
        if self._ready and (number := waiting.pop(id(self), 0)):
            counts.append(number)
        flush(self)

    monkeypatch.setattr(HostLink, "_put", counted_put)
    monkeypatch.setattr(HostLink, "flush", counted_flush)
    return counts


def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostStage, "may_follow", lambda *_: False)


def tasks(*lines: str) -> str:
    return "- hosts: all\n  tasks:\n" + "".join(f"    - {line}\n" for line in lines)


def test_a_straight_play_of_twenty_tasks_leaves_in_a_few_packets(
    bench: Bench, flushes: list[int], ssh_hosts: list[Sshd]
) -> None:
    bench.hosts(ssh_hosts[0].inventory_line("web1") + "\n")
    played = bench.play(tasks(*(f'{{name: "{n}", shell: "echo {n} >> {{here}}/out/log"}}' for n in range(20))))
    assert played.exit == 0
    assert bench.wrote() == [str(n) for n in range(20)]
    assert sum(flushes) == 20
    assert len(flushes) <= 3


def test_a_mixed_straight_play_stays_below_six_packets(bench: Bench, flushes: list[int]) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(
        tasks(
            *(
                line.replace("@", str(n))
                for n in range(5)
                for line in (
                    '{shell: "echo s@ >> {here}/out/log"}',
                    '{copy: {content: "@", dest: "{here}/out/f@"}}',
                    "{debug: {msg: fine}}",
                    '{command: "true", when: "@ > 90"}',
                    '{set_fact: {fact@: "{{ 1 + @ }}"}}',
                    '{lineinfile: {path: "{here}/out/f@", line: more}}',
                )
            )
        )
    )
    assert played.exit == 0, played.ends()
    assert len(flushes) <= 6


def test_a_failure_in_the_middle_of_twenty_sent_ahead_leaves_no_later_side_effect(
    bench: Bench, flushes: list[int]
) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(
        tasks(
            *(f'{{name: "{n}", shell: "echo {n} >> {{here}}/out/log; test {n} != 9"}}' for n in range(20)),
        )
    )
    assert max(flushes) >= 15
    assert bench.wrote() == [str(n) for n in range(10)]
    assert played.names() == [str(n) for n in range(10)]
    assert played.status("9") == "failed"
    assert played.exit == 4


INTO_A_FOLDER = {  # the host refuses the first try, for there is a folder, or none; the task goes well all the same
    "copy": "{copy: {src: f, dest: '{here}/out/there'}}",
    "copy on the host": "{copy: {src: '{here}/f', dest: '{here}/out/there', remote_src: true}}",
    "copy into a new folder": "{copy: {src: f, dest: '{here}/out/new/er/'}}",
    "template": "{template: {src: f, dest: '{here}/out/there'}}",
}


@pytest.mark.parametrize("first", INTO_A_FOLDER.values(), ids=list(INTO_A_FOLDER))
def test_tasks_follow_one_that_went_well_at_its_second_try(bench: Bench, first: str) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    bench.file("f", "x")
    (bench.out / "there").mkdir()
    after = [f'{{name: "{n}", shell: "echo {n} >> {{here}}/out/log; test {n} != 4"}}' for n in range(6)]
    played = bench.play(tasks("{file: {path: '{here}/out/there', mode: '0700'}}", first, *after))
    assert played.names()[2:] == bench.wrote() == ["0", "1", "2", "3", "4"]
    assert played.exit == 4


def test_what_follows_a_second_try_that_fails_is_not_done(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    bench.file("f", "x")
    (bench.out / "there/f").mkdir(parents=True)  # a folder where the file is to be
    played = bench.play(tasks(INTO_A_FOLDER["copy"], "{name: after, shell: echo after > {here}/out/log}"))
    assert (played.exit, played.names(), bench.wrote()) == (4, ["copy"], [])


def test_nothing_is_told_of_tasks_after_a_failure_though_they_ask_nothing_of_the_host(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - block:
                - {name: bad, shell: sleep 0.2; exit 1}
                - {name: told, debug: {msg: x}}
                - {name: fact, set_fact: {reached: true}}
                - {name: skipped, command: "true", when: false}
                - {name: notifies, command: "true", notify: h}
              rescue:
                - {name: known, debug: {msg: "{{ reached | default('never') }}"}}
          handlers: [{name: h, debug: {msg: x}}]
        """
    )
    assert played.names() == ["bad", "bad", "known"]
    assert played.msg("known") == "never"


def test_a_lookup_sees_what_the_task_before_wrote_on_the_controller(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          vars: {later: "{{ lookup('file', '{here}/out/made') }}"}
          tasks:
            - {name: make, shell: sleep 0.2; echo made > {here}/out/made; echo after > {here}/out/t2.j2}
            - {name: looked up, debug: {msg: "{{ lookup('file', '{here}/out/made') }}"}}
            - {name: again, shell: sleep 0.2; echo more > {here}/out/made}
            - {name: through a variable, debug: {msg: "{{ later }}"}}
            - {name: third, shell: sleep 0.2; echo third > {here}/out/made}
            - {name: copied, copy: {src: "{here}/out/made", dest: "{here}/out/copy"}}
            - {name: rendered, template: {src: "{here}/out/t2.j2", dest: "{here}/out/rendered"}}
        """
    )
    assert played.exit == 0, played.ends()
    assert (played.msg("looked up"), played.msg("through a variable")) == ("made", "more")
    assert (bench.wrote("copy"), bench.wrote("rendered")) == (["third"], ["after"])


def test_a_clock_is_read_when_the_task_is_reached(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(
        """
        - hosts: all
          tasks:
            - {name: before, debug: {msg: "{{ now().timestamp() }}"}}
            - {command: sleep 1}
            - {name: after, debug: {msg: "{{ now().timestamp() }}"}}
            - {command: sleep 1}
            - {name: by a filter, debug: {msg: "{{ '%s' | strftime }}"}}
        """
    )
    assert float(played.msg("after")) - float(played.msg("before")) >= 1
    assert int(played.msg("by a filter")) >= int(float(played.msg("after"))) + 1


def test_a_task_begins_and_takes_time_when_its_host_gets_to_it(bench: Bench) -> None:
    """Both commands and what looks at nothing leave together; what a person is told of each is what it took."""
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(
        tasks("{name: slow, command: sleep 2}", "{name: quick, command: echo}", "{name: said, debug: {msg: hello}}",
              "{name: items, command: echo, loop: [1, 2]}")
    )  # fmt: skip
    began = {str(event.data["name"]): event for event in played.of("task_started")}
    ended = {str(event.data["name"]): event for event in played.of("task_ended")}
    for name in ("quick", "said", "items"):
        assert began[name].at >= ended["slow"].at, f"{name} was said to run while `slow` did"
        assert ended[name].data["duration"] < 1
    first = played.outcome("items")["results"][0]
    for outcome in (played.outcome("quick"), first):
        assert outcome["duration"] < 1
        assert outcome["started_at"] >= played.outcome("slow")["started_at"] + 2
    order = [
        (event.kind, event.data["name"]) for event in played.events if event.kind in ("task_started", "task_ended")
    ]
    names = ("slow", "quick", "said", "items")
    assert order == [(kind, name) for name in names for kind in ("task_started", "task_ended")]


def test_a_task_is_announced_before_it_ends_however_many_replies_come_at_once(bench: Bench) -> None:
    bench.hosts(LOCAL_THREE)
    files = (f'{{name: "{n}", copy: {{content: x, dest: "{{here}}/out/{{{{ inventory_hostname }}}}.{n}"}}}}'
             for n in range(30))  # fmt: skip
    played = bench.play(tasks(*files))
    began: set[str] = set()
    for event in played.events:
        if event.kind == "task_started":
            began.add(event.task)
        elif event.kind == "task_ended":
            assert event.task in began
    assert len(began) == 30


def test_a_task_that_was_sent_ahead_and_never_reached_is_not_announced(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(tasks("{name: fails, command: 'false'}", "{name: never, command: echo}"))
    assert [event.data["name"] for event in played.of("task_started")] == ["fails"]


def test_a_timeout_counts_from_when_the_task_begins(bench: Bench) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    played = bench.play(tasks("{command: sleep 4.2}", '{name: quick, command: "true", timeout: 4}'))
    assert played.status("quick") == "changed"


# --- the same random plays with and without ---------------------------------------------------------------


class Maker:
    """Makes random plays: commands that fail or not, conditions, registers, handlers, blocks, files, loops."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.registers: list[str] = []

    def play(self) -> str:
        length = self.random.randint(4, 14)
        lines = [line for _ in range(length) for line in self.node(4)]
        handlers = [f"    - {{name: h{n}, shell: 'echo h{n} >> {{here}}/out/log'}}" for n in range(3)]
        force = self.random.choice(["true", "false"])
        head = f"- hosts: all\n  strategy: {self.random.choice(['linear', 'free'])}\n  force_handlers: {force}\n"
        return head + "\n".join(["  tasks:", *lines, "  handlers:", *handlers, ""])

    def node(self, indent: int) -> list[str]:
        if indent < 20 and self.random.random() < 0.12:
            return self.block(indent)
        return [" " * indent + "- " + self.task()]

    def block(self, indent: int) -> list[str]:
        pad = " " * indent
        found = [f"{pad}- block:"]
        for part in ("", "rescue", "always"):
            if part and self.random.random() < 0.4:
                continue
            found += [f"{pad}  {part}:"] if part else []
            found += [line for _ in range(self.random.randint(1, 4)) for line in self.node(indent + 4)]
        return found

    def task(self) -> str:
        self.number += 1
        n, pick = self.number, self.random
        told = f"echo {n} >> {{here}}/out/log"
        kinds = [f'shell: "{told}"'] * 5
        kinds += [f'shell: "{told}; exit 1"', 'command: "false"', "fail: {msg: asked}"]
        kinds += [f'shell: "{told}; echo {n}"', f'copy: {{content: "{n}", dest: "{{here}}/out/file"}}']
        kinds += [f'command: touch {{here}}/out/made{n % 3}, args: {{creates: "{{here}}/out/made{n % 3}"}}']
        kinds += [f'debug: {{msg: "{n}"}}', f"set_fact: {{fact: {n}}}", 'debug: {msg: "{{ fact | default(0) }}"}']
        kinds += ["assert: {that: fact | default(1) | int % 5 != 3}", 'stat: {path: "{here}/out/file"}']
        kinds += [f'lineinfile: {{path: "{{here}}/out/file", line: "l{n}", create: true}}', "meta: flush_handlers"]
        kinds += ['slurp: {src: "{here}/out/file"}', f'template: {{src: t.j2, dest: "{{here}}/out/t{n % 2}"}}']
        module = pick.choice(kinds)
        if module.startswith("meta"):
            return f"{{{module}}}"
        return "{" + ", ".join([f'name: "{n}"', module, *self.keywords(n, module)]) + "}"

    def keywords(self, n: int, module: str) -> list[str]:
        pick, found = self.random, []
        if pick.random() < 0.2 and self.registers:
            name = pick.choice(self.registers)
            found.append("when: " + pick.choice([f"{name} is changed", f"{name} is not failed", f"{name} is skipped"]))
        elif pick.random() < 0.15:
            found.append("when: " + pick.choice(["false", "true", "fact is defined"]))
        if pick.random() < 0.3:
            found.append(f"register: r{n}")
        if pick.random() < 0.25:
            found.append(f"notify: h{pick.randrange(3)}")
        if pick.random() < 0.12:
            found.append("ignore_errors: true")
        if pick.random() < 0.1:
            found.append("failed_when: false")
        if pick.random() < 0.1:
            found.append("changed_when: " + pick.choice(["true", "false"]))
        if pick.random() < 0.08 and module.startswith("shell"):
            found.append("loop: [1, 2]")
        if found and any(word.startswith("register") for word in found):
            self.registers.append(f"r{n}")
        return found


def told(played: Played) -> list[Any]:
    """What a run told of its tasks, without times."""
    kinds = ("task_ended", "handler_notified")
    return [
        (e.kind, e.task, e.data.get("status"), e.data.get("msg"), (e.data.get("outcome") or {}).get("stdout"))
        for e in played.events
        if e.kind in kinds
    ] + [played.exit, played.plays()]


def left(bench: Bench) -> dict[str, str]:
    found = {path.name: path.read_text() for path in sorted(bench.out.iterdir())}
    for path in bench.out.iterdir():
        path.unlink()
    return found


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_sending_ahead_never_changes_an_outcome(bench: Bench, monkeypatch: pytest.MonkeyPatch, start: int) -> None:
    bench.hosts("web1 ansible_connection=local\n")
    bench.file("t.j2", "{{ fact | default('none') }}\n")
    for seed in range(start, start + 10):
        text = Maker(seed).play()
        ahead = bench.play(text)
        files = left(bench)
        with monkeypatch.context() as patch:
            one_at_a_time(patch)
            alone = bench.play(text)
        assert told(ahead) == told(alone), f"seed {seed}:\n{text}"
        assert files == left(bench), f"seed {seed}:\n{text}"


def test_a_straight_play_over_a_slow_line_takes_at_most_six_round_trips(bench: Bench, ssh_hosts: list[Sshd]) -> None:
    """The line gets slow once the connection stands: two seconds a trip, so that what else the machine does counts
    little."""
    host, trip_s = ssh_hosts[0], 2.0
    connected, slow = bench.out / "connected", bench.out / "slow"
    with wire((host.address, host.port)) as line:

        def slow_down() -> None:
            wait_for(connected.exists)
            line.round_trip_s = trip_s
            slow.touch()

        known = bench.file("known_hosts", host.known_hosts.read_text().replace(str(host.port), str(line.port)))
        far = {**host.variables, "ansible_port": str(line.port), "ansible_host": line.address}
        far["ansible_ssh_common_args"] = f"-o UserKnownHostsFile={known}"
        bench.hosts("far " + " ".join(f'{name}="{value}"' for name, value in far.items()) + "\n")
        connect = f"    - shell: touch {connected}; until [ -e {slow} ]; do sleep 0.02; done\n"
        straight = "".join(f"    - {{name: '{n}', command: echo {n}}}\n" for n in range(20))
        threading.Thread(target=slow_down, daemon=True).start()
        played = bench.play(
            f"- name: connect\n  hosts: far\n  tasks:\n{connect}- name: straight\n  hosts: far\n  tasks:\n{straight}"
        )
    assert played.exit == 0, played.ends()
    (end,) = [e for e in played.of("play_ended") if e.data["name"] == "straight"]
    assert end.data["duration"] / trip_s <= 6
