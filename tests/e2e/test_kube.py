"""A release in a real cluster, whole: `ciflow apply`, killed and left, and taken back from another machine."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.service import Service, finish, kube_service
from tests.parts.http import recorded
from tests.parts.kube import Kube
from tests.parts.process import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kube")]


@pytest.fixture(scope="module")
def production(kube: Kube) -> Iterator[Service]:
    with kube_service(kube) as found:
        yield found


def test_a_release_is_promoted_and_taken_back_and_no_request_fails(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(version))
        assert code == 0, said
        assert production.live() != before
        code, said = production.ciflow("rollback", "shield", "--reason", "tried it")
    assert code == 0 and "Rolled back" in said, said
    assert production.live() == before
    code, said = production.ciflow("rollback", "shield")
    assert code == 0 and "nothing to do" in said, said


def test_a_rollout_under_way_is_taken_back_from_a_machine_that_knows_the_inventory_alone(production: Service) -> None:
    version, before = production.next(), production.live()
    inventory = production.home / "elsewhere"
    words = f"ansible_connection=local ansible_kubectl_kubeconfig={production.settings['kubeconfig']}"
    inventory.write_text(f"east {words}\n")
    with production.no_request_fails():
        release = production.apply(version, hold="120s")
        production.until(version, "holding", 2500)
        elsewhere = production.home / "other-state"
        code, said = production.ciflow("rollback", "shield", "-i", str(inventory), state=elsewhere)
        ended, told = finish(release)
    assert code == 0 and "east traffic on" in said, said
    assert ended == 6 and "holds token" in told, told
    assert production.live() == before


def test_killed_in_a_hold_it_is_resumed(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, hold="1s")
        production.until(version, "holding", 2500)
        release.send_signal(signal.SIGKILL)
        release.wait()
        code, said = production.ciflow("resume")
    assert code == 0, said
    assert production.live() != before
    assert production.ran(version) == ["deploy", "after", "verify"]


@pytest.mark.parametrize("killed", [8])
def test_controllers_killed_at_any_moment_leave_the_dial_on_the_live_slot(production: Service, killed: int) -> None:
    """Some die before the first turn, some in a hold, some after the promotion: in each case one slot serves everybody
    within `dead_man` and what the guard takes, and no request fails."""
    rng = random.Random(7)
    for _ in range(killed):
        version = production.next()
        with production.no_request_fails():
            release = production.apply(version, hold="0.6s")
            production.until(version, "deploying")
            time.sleep(rng.uniform(0.0, 4.0))
            release.send_signal(signal.SIGKILL)
            release.wait()
            wait_for(production.only_slot, "all traffic on one slot")


LATE = b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"9"]}]}}'


def test_a_pause_is_guarded_by_what_the_cluster_knows_of_the_candidate(kube: Kube, production: Service) -> None:
    """The pause itself would last ten minutes. What its gate asks is answered on this machine alone, which is said."""
    version, before = production.next(), production.live()
    with recorded() as metrics:
        metrics.body = LATE
        gate = f"query: {{name: late, max: 1, interval: 1s, prometheus: {{url: '{metrics.url}', query: late}}}}"
        playbook = replace(production, gates=f"[{gate}]").write("asked.yml").name
        code, said = finish(production.apply(version, playbook=playbook, on_failure="pause", deadline="10m"))
    assert code == 8 and "watched where its router is" in said, said
    assert "nobody asks what the gates late ask while this is paused" in said, said
    candidate = "b" if before == "a" else "a"
    path = f"/apis/discovery.k8s.io/v1/namespaces/e2e/endpointslices/shield-{candidate}-1"
    found = kube.ask("GET", path)
    kube.ask("DELETE", path)
    try:
        wait_for(lambda: production.only_slot() == before, "the traffic is given back")
    finally:
        kept = {"name": found["metadata"]["name"], "labels": found["metadata"]["labels"]}
        kube.ask("POST", path.rpartition("/")[0], {**found, "metadata": kept})
    code, said = production.ciflow("resume")
    assert code == 7 and "gave the traffic back" in said, said
