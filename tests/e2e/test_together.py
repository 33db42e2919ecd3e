"""Two services in one release: a matrix over a canary play. Their dials move together, and back together."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.service import PROGRAM, PatientUsers, Service, finish
from tests.parts import process
from tests.rollout.host import AgentHost
from tests.rollout.rig import Users, settings_of

NAMES = ("shield", "shell")
PLAYBOOK = """
- name: Roll out
  hosts: localhost
  matrix: {{include: {cells}}}
  canary:
    service: "{{{{ matrix.service }}}}"
    version: "{{{{ version }}}}"
    router: {{envoy: {{port: "{{{{ matrix.port }}}}", bind: 127.0.0.1, dir: "{home}/{{{{ matrix.service }}}}"}}}}
    slots: {{a: {{port: "{{{{ matrix.a }}}}"}}, b: {{port: "{{{{ matrix.b }}}}"}}}}
    steps: [{{weight: 25%, hold: 0.4s}}, {{weight: 50%, hold: 0.4s}}]
    gates: [errors: {{tolerate: 1.25, floor: 20%}}]
    interval: 0.2s
    warm_up: 0.2s
    dead_man: 5s
    deadline: 30s
    bake: 0.4s
    keep_warm: 10m
  tasks:
    - process:
        name: "{{{{ matrix.service }}}}-{{{{ slot.name }}}}"
        cmd: "{python} {home}/program.py {{{{ slot.name }}}} {{{{ slot.port }}}} {home}/fault-{{{{ matrix.service }}}}-{{{{ version }}}} works"
        state: restarted
        health: {{port: "{{{{ slot.port }}}}", timeout: 10}}
"""  # noqa: E501


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Service, dict[str, Users]]]:
    with _pair() as found:
        yield found


@contextlib.contextmanager
def _pair() -> Iterator[tuple[Service, dict[str, Users]]]:
    """Version 1.0 of both in production, with users. Raises MissingPart without Envoy."""
    with process.short_folder("pair") as home, ExitStack() as stack:
        settings_of("envoy", 0, home)
        cells = [{"service": name, **{k: process.free_port() for k in ("port", "a", "b")}} for name in NAMES]
        (home / "program.py").write_text(PROGRAM)
        (home / "release.yml").write_text(PLAYBOOK.format(cells=json.dumps(cells), home=home, python=sys.executable))
        users = {str(cell["service"]): Users(int(cell["port"]), rate=120, clients=4) for cell in cells}
        service = Service("envoy", home, 0, {}, PatientUsers(0, 0), {})
        stack.callback(_stop, home)
        code, said = finish(service.apply("1.0"))
        assert code == 0, said
        for one in users.values():
            stack.enter_context(one)
        yield service, users


def _stop(home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with AgentHost() as host:
            for name in NAMES:
                host.kept |= {f"guard-{name}", f"process/envoy-{name}", *(f"process/{name}-{slot}" for slot in "ab")}


def weights(service: Service, name: str, version: str) -> list[int]:
    return [
        e.data["weight"] for e in service.events("dial") if (e.data["service"], e.data["version"]) == (name, version)
    ]


@pytest.mark.slow
def test_both_are_promoted_and_a_fault_of_one_takes_both_back(pair: tuple[Service, dict[str, Users]]) -> None:
    service, users = pair
    code, said = finish(service.apply("2.0"))
    assert code == 0, said
    assert weights(service, "shield", "2.0") == weights(service, "shell", "2.0") == [2500, 5000, 10_000]
    (service.home / "fault-shell-3.0").write_text("0.9")
    code, said = finish(service.apply("3.0"))
    assert code == 7 and "of the same release did not go well" in said, said
    assert weights(service, "shield", "3.0")[-1] == weights(service, "shell", "3.0")[-1] == 0
    for one in users.values():
        assert not one.failures
    assert {status for status, _ in users["shield"].seen} == {200}, "nobody saw a fault of the one that has none"


@pytest.mark.slow
def test_many_at_a_time_is_refused_before_anything_runs(pair: tuple[Service, dict[str, Users]]) -> None:
    service, _ = pair
    path = service.home / "few.yml"
    path.write_text((service.home / "release.yml").read_text().replace("matrix: {", "matrix: {max_parallel: 1, "))
    code, said = service.ciflow("validate", str(path), "-e", "version=9.0")
    planned, told = service.ciflow("plan", str(path), "-e", "version=9.0")
    assert 3 in (code, planned) and "move together" in said + told, (said, told)


@pytest.mark.slow
def test_killed_in_the_middle_both_go_on_together_when_resumed(pair: tuple[Service, dict[str, Users]]) -> None:
    service, _ = pair
    release = service.apply("4.0")
    service.until("4.0", "holding", 5000)
    release.kill()
    release.wait()
    code, said = service.ciflow("resume")
    assert code == 0, said
    assert weights(service, "shield", "4.0")[-1] == weights(service, "shell", "4.0")[-1] == 10_000
