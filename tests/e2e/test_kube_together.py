"""One service in two clusters, released as one: the dials of both move together, and back together."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import NAME, PROGRAM, PatientUsers, Service, finish
from tests.parts import gateway, images, process
from tests.parts.kube import NODE_IP, Kube
from tests.parts.process import wait_for
from tests.rollout.host import AgentHost

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kube")]
CLUSTERS = ("east", "west")
PLAYBOOK = """
- name: Roll out
  hosts: "{{{{ matrix.cluster }}}}"
  matrix: {{include: {cells}}}
  canary:
    service: shield
    version: "{{{{ version }}}}"
    router: {{gateway-api: {{context: "{{{{ matrix.cluster }}}}", guard_image: "{image}"}}}}
    slots:
      a: {{address: shield-a, port: 80, listen: "{{{{ matrix.a }}}}"}}
      b: {{address: shield-b, port: 80, listen: "{{{{ matrix.b }}}}"}}
    steps: [{{weight: 25%, hold: 1s}}, {{weight: 50%, hold: 1s}}]
    gates: [query: {{name: faults, command: {{argv: [cat, "{home}/{{{{ matrix.cluster }}}}-{{{{ version }}}}"]}}, max: 1, interval: 0.2s}}]
    interval: 0.2s
    warm_up: 0.2s
    dead_man: 10s
    deadline: 60s
    bake: 0.4s
    keep_warm: 10m
  tasks:
    - process:
        name: "{{{{ matrix.cluster }}}}-{{{{ slot.name }}}}"
        cmd: "{python} {home}/program.py {{{{ slot.name }}}} {{{{ slot.listen }}}} none works"
        state: restarted
        health: {{port: "{{{{ slot.listen }}}}", timeout: 10}}
"""  # noqa: E501
HOSTS = "".join(
    f"{name} ansible_connection=local ansible_kubectl_kubeconfig={{path}} ansible_kubectl_context={name}\n"
    for name in CLUSTERS
)


@pytest.fixture(scope="module")
def pair(kube: Kube) -> Iterator[tuple[Service, dict[str, PatientUsers]]]:
    with _pair(kube) as found:
        yield found


@contextlib.contextmanager
def _pair(kube: Kube) -> Iterator[tuple[Service, dict[str, PatientUsers]]]:
    """Two contexts with a namespace, a Gateway and a data plane each: only their API server is one. Version 1.0 serves
    in both, with users."""
    with process.short_folder("both") as home, ExitStack() as stack:
        gateway.define(kube, gateway.GATEWAY)
        config = contexts(kube, home)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("KUBECONFIG", str(config))
        cells, users = [], {}
        for name in CLUSTERS:
            port = process.free_port()
            slots = {slot: process.free_port(NODE_IP) for slot in "ab"}
            things = [t for slot in "ab" for t in gateway.outside(f"{NAME}-{slot}", slots[slot], NODE_IP)]
            gateway.put_all(kube, name, [*things, *gateway.route("gateway-api", NAME, port)])
            argv = gateway.traefik_argv(home / name, "gateway-api", port, process.free_port(), name)
            ready, env = partial(process.answers, "127.0.0.1", port), {"KUBECONFIG": str(kube.kubeconfig)}
            stack.enter_context(process.run(f"traefik-{name}", argv, home, ready, env=env))
            cells.append({"cluster": name, **slots})
            users[name] = PatientUsers(port, rate=100, clients=4)
        (home / "program.py").write_text(PROGRAM.replace("127.0.0.1", "0.0.0.0"))
        text = PLAYBOOK.format(cells=json.dumps(cells), image=images.GUARD, home=home, python=sys.executable)
        (home / "release.yml").write_text(text)
        (home / "hosts").write_text(HOSTS.format(path=config))
        service = Service("gateway-api", home, 0, {}, PatientUsers(0, 0), {})
        stack.callback(_stop, home)
        code, said = released(service, "1.0")
        assert code == 0, said
        for one in users.values():
            stack.enter_context(one)
        yield service, users


def contexts(kube: Kube, home: Path) -> Path:
    """A kubeconfig with a context for each."""
    known: dict[str, Any] = json.loads(kube.kubeconfig.read_text())
    first = known["contexts"][0]["context"]
    known["contexts"] = [{"name": name, "context": {**first, "namespace": name}} for name in CLUSTERS]
    known["current-context"] = "east"
    path = home / "both.kubeconfig"
    path.write_text(json.dumps(known))
    return path


def _stop(home: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with AgentHost() as host:
            host.kept |= {f"process/{name}-{slot}" for name in CLUSTERS for slot in "ab"}


def released(service: Service, version: str, **faults: float) -> tuple[int, str]:
    """Release it; `faults` is what the gate of each cluster finds from then on."""
    for name in CLUSTERS:
        (service.home / f"{name}-{version}").write_text(str(faults.get(name, 0)))
    return finish(service.apply(version, "-i", str(service.home / "hosts")), 120)


def weights(service: Service, version: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {name: [] for name in CLUSTERS}
    for event in service.events("dial"):
        if event.data["version"] == version:
            found[next(name for name in CLUSTERS if name in event.play)].append(event.data["weight"])
    return found


def live(users: dict[str, PatientUsers]) -> dict[str, str]:
    """Which slot serves in each cluster, once the answers agree."""

    def only() -> dict[str, str]:
        for one in users.values():
            one.seen.clear()
        time.sleep(0.3)
        slots = {name: {slot for _, slot in one.seen} for name, one in users.items()}
        agreed = all(len(found) == 1 for found in slots.values())
        return {name: next(iter(found)) for name, found in slots.items()} if agreed else {}

    found: dict[str, str] = wait_for(only, "all traffic on one slot in each")
    return found


def both_left(users: dict[str, PatientUsers], slots: dict[str, str]) -> None:
    """A Gateway may do so a moment after it has said that it does."""
    wait_for(lambda: all(live(users)[name] != slots[name] for name in CLUSTERS), f"both leave {slots}")


def promoted_on_both(service: Service, users: dict[str, PatientUsers], version: str) -> dict[str, str]:
    """Which slots serve once it has all traffic."""
    before = live(users)
    code, said = released(service, version)
    assert code == 0, said
    both_left(users, before)
    return live(users)


def test_both_are_promoted_and_a_fault_of_one_takes_both_back(pair: tuple[Service, dict[str, PatientUsers]]) -> None:
    service, users = pair
    before = live(users)
    code, said = released(service, "2.0")
    assert code == 0, said
    assert weights(service, "2.0") == {name: [2500, 5000, 10_000] for name in CLUSTERS}
    both_left(users, before)
    promoted = live(users)
    code, said = released(service, "3.0", west=9)
    assert code == 7 and "of the same release did not go well" in said, said
    assert {name: found[-1] for name, found in weights(service, "3.0").items()} == dict.fromkeys(CLUSTERS, 0)
    assert live(users) == promoted
    for one in users.values():
        assert not one.failures and {status for status, _ in one.seen} == {200}


def test_status_and_history_know_both_and_one_rollback_turns_both(
    pair: tuple[Service, dict[str, PatientUsers]],
) -> None:
    service, users = pair
    promoted = promoted_on_both(service, users, "4.0")
    code, said = service.ciflow("status")
    assert code == 0 and said.count("4.0") >= 2, said
    code, said = service.ciflow("rollback", "shield")
    assert code == 0 and "east" in said and "west" in said, said
    both_left(users, promoted)


def test_a_machine_with_nothing_but_the_inventory_takes_both_back(
    pair: tuple[Service, dict[str, PatientUsers]],
) -> None:
    service, users = pair
    promoted = promoted_on_both(service, users, "5.0")
    hosts, elsewhere = str(service.home / "hosts"), service.home / "elsewhere"
    code, said = service.ciflow("rollback", "shield", "-i", hosts, state=elsewhere)
    assert code == 0, said
    both_left(users, promoted)
