"""The guard's program against an API in memory: when it gives the traffic back, and when it must not."""

from __future__ import annotations

import ast
import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from ciflow.rollout import routers
from ciflow.rollout.routers import kube_guard, kube_objects
from ciflow.rollout.routers.kube_guard import BLIND, DONE, LATER, LEASE, SEEN, Guard
from tests.parts.http import recorded

ROUTE = "/apis/g/v1/namespaces/shop/httproutes/shop"
NOTE = "dial.ciflow/shop"


class Server:
    """Lease and route; a patch of the route tests its annotation, as all that ciflow makes do."""

    def __init__(self) -> None:
        self.lease: dict[str, str] = {}
        self.route = "at 5 %"
        self.down = False
        self.version = 1
        self.removed: list[str] = []
        self.slices: list[dict[str, Any]] = []

    def read(self, name: str) -> str:
        return {"namespace": "shop", "token": "t"}[name]

    def ask(
        self, method: str, path: str, body: Any = None, kind: str = "json-patch+json"
    ) -> tuple[int, dict[str, Any]]:
        if self.down:
            return 0, {"message": "refused"}
        if method == "DELETE":
            self.removed.append(path)
            return 200, {}
        if path == ENDS:
            return 200, {"items": self.slices}
        notes = self.lease if "/leases/" in path else {NOTE: self.route}
        if method == "PATCH" and kind == "merge-patch+json":
            self.lease.update(body["metadata"]["annotations"])
        elif method == "PATCH":
            if body[0]["value"] != self.route:
                return 422, {"message": "test failed"}
            self.route = body[-1]["value"]
        return 200, {"metadata": {"annotations": copy.copy(notes), "resourceVersion": "1"}}

    def say(self, epoch: int, renewal: int, after: float) -> None:
        ways = [
            {"text": text, "patch": [{"op": "test", "value": text}, {"op": "add", "value": "all on a"}]}
            for text in ("at 25 %", "at 5 %")
        ]
        back = [{"path": ROUTE.replace("shop/h", "{namespace}/h", 1), "note": NOTE, "ways": ways}]
        self.lease[LEASE] = json.dumps({"epoch": epoch, "renewal": renewal, "after": after, "give_back": back})


@pytest.fixture
def server() -> Server:
    return Server()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def fires(guard: Guard) -> bool:
    """Whether its time is over, and it gave all back."""
    guard.look()
    return guard.armed() and guard.left() <= 0 and guard.fire()


@pytest.mark.parametrize("stands", ["at 25 %", "at 5 %"])
def test_it_gives_back_the_dial_of_the_turn_and_the_one_before(server: Server, stands: str) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.route = stands
    server.say(1, 0, 10.0)
    assert not fires(guard) and server.lease[SEEN] == "1.0 armed"
    clock.now += 9.9
    assert not fires(guard)
    clock.now += 0.2
    assert fires(guard) and server.route == "all on a"
    guard.look()
    assert server.lease[SEEN] == "1.0 fired"


def test_each_renewal_counts_from_when_it_was_seen(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    for renewal in range(5):
        server.say(1, renewal, 10.0)
        assert not fires(guard)
        assert server.lease[SEEN] == f"1.{renewal} armed"
        clock.now += 9.0
    assert server.route == "at 5 %"


def test_what_somebody_else_has_turned_is_left_alone(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.say(1, 0, 1.0)
    guard.look()
    server.route = "promoted by another"
    clock.now += 2.0
    assert fires(guard) and server.route == "promoted by another"


def test_what_has_fired_is_not_armed_by_a_renewal_nor_by_a_restart_of_the_guard(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.say(1, 0, 1.0)
    guard.look()
    clock.now += 2.0
    assert fires(guard)
    server.say(1, 1, 60.0)
    guard.look()
    assert server.lease[SEEN] == "1.1 fired" and not guard.armed()
    another = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    another.look()
    assert not another.armed()
    server.say(2, 0, 60.0)
    another.look()
    assert server.lease[SEEN] == "2.0 armed" and another.armed()


def test_time_goes_on_while_nobody_answers(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.say(1, 0, 5.0)
    guard.look()
    server.down = True
    clock.now += 6.0
    assert not fires(guard)
    server.down = False
    assert fires(guard) and server.route == "all on a"


def test_a_disarmed_lease_is_idle(server: Server) -> None:
    guard = Guard(server, "ciflow-shop", Clock())  # type: ignore[arg-type]
    server.say(3, 4, 0)
    guard.look()
    assert server.lease[SEEN] == "3.4 idle" and not guard.armed()


ENDS = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dshop-b"
HEALTH = {"service": "shop-b", "least": 1, "misses": 1, "every": 2.0}


def watched(server: Server, *watch: dict[str, Any], after: float = 600.0) -> tuple[Guard, Clock]:
    """A guard that was told to hold the dial for a pause."""
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.say(1, 0, after)
    server.lease[LEASE] = json.dumps({**json.loads(server.lease[LEASE]), "watch": list(watch)})
    guard.look()
    return guard, clock


def looks(guard: Guard, clock: Clock, seconds: float) -> bool:
    """Whether it gives the traffic back at its next look, so many seconds later."""
    clock.now += seconds
    guard.look_on()
    return fires(guard)


NOT_READY = {"conditions": {"ready": False}}


@pytest.mark.parametrize("ends", [[], [{"endpoints": None}], [{"endpoints": [NOT_READY, NOT_READY]}]])
def test_a_candidate_without_a_ready_pod_gives_the_traffic_back_at_the_second_look(
    server: Server, ends: list[dict[str, Any]]
) -> None:
    server.slices = [{"endpoints": [{"conditions": {"ready": True}}]}]
    guard, clock = watched(server, HEALTH)
    assert guard.next_look() <= 0 and not looks(guard, clock, 0.0)
    assert guard.next_look() == 2.0
    server.slices = ends
    assert not looks(guard, clock, 2.0), "a pod that is made anew is away for a moment"
    assert looks(guard, clock, 2.0)
    assert server.route == "all on a"
    guard.look()
    assert server.lease[SEEN] == "1.0 fired"


def test_a_pod_that_comes_back_and_one_of_unknown_state_hold_the_dial(server: Server) -> None:
    """`ready` may be missing: then it is to be taken for true (Kubernetes, EndpointConditions)."""
    guard, clock = watched(server, HEALTH)
    assert not looks(guard, clock, 2.0)
    server.slices = [{"endpoints": [{"addresses": ["10.0.0.1"]}]}]
    for _ in range(5):
        assert not looks(guard, clock, 2.0)
    server.down = True
    for _ in range(5):
        assert not looks(guard, clock, 2.0), "nobody knows: only its time may end it"
    server.down = False
    assert server.lease[SEEN] == "1.0 armed"


def test_an_answer_out_of_its_limits_more_often_than_allowed_gives_the_traffic_back(server: Server) -> None:
    with recorded() as metrics:
        metrics.body = b"value 0.2"
        limits = {"limit": 0.5, "misses": 2, "every": 60.0}
        guard, clock = watched(server, {"url": metrics.url, "headers": {}, "pattern": "value ([0-9.]+)", **limits})
        assert server.lease[BLIND] == "[]"
        metrics.body = b"value 0.7"
        assert not looks(guard, clock, 0.0) and not looks(guard, clock, 60.0)
        metrics.body = b"no number"
        assert not looks(guard, clock, 60.0)
        metrics.body = b"value 0.7"
        assert not looks(guard, clock, 60.0) and not looks(guard, clock, 60.0)
        assert looks(guard, clock, 60.0) and server.route == "all on a"


def test_a_question_that_nobody_answers_is_told_and_gives_nothing_back(server: Server) -> None:
    nowhere = {"url": "http://127.0.0.1:1/", "headers": {}, "pattern": "(1)", "limit": 0, "misses": 0, "every": 5.0}
    guard, clock = watched(server, nowhere, HEALTH)
    assert server.lease[SEEN] == "1.0 armed" and server.lease[BLIND] == "[0]"
    for _ in range(3):
        assert not looks(guard, clock, 5.0)


def test_what_did_not_hold_is_forgotten_when_the_dial_is_turned_again(server: Server) -> None:
    guard, clock = watched(server, HEALTH)
    looks(guard, clock, 2.0)
    assert looks(guard, clock, 2.0)
    server.route = "at 5 %"
    server.say(2, 0, 60.0)
    assert not fires(guard) and server.lease[SEEN] == "2.0 armed" and guard.left() == 60.0


def errand(server: Server, token: int, after: float, *errands: dict[str, Any]) -> None:
    word = {"token": token, "after": after, "path": ROUTE, "note": NOTE, "errands": list(errands)}
    server.lease[f"{LATER}retire"] = json.dumps(word)


REMOVE = {"method": "DELETE", "path": "/api/v1/namespaces/shop/configmaps/old", "type": "json", "body": {}}


def runs(guard: Guard) -> None:
    """One look at the lease, and what is due by then."""
    guard.look()
    guard.run_errands()


def test_an_errand_is_run_once_when_its_time_has_come_and_by_no_other_guard_again(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.route = json.dumps({"token": 7})
    errand(server, 7, 60.0, REMOVE)
    runs(guard)
    assert server.removed == [] and guard.due() == 60.0
    clock.now += 61.0
    runs(guard)
    assert server.removed == [REMOVE["path"]] and server.lease[f"{DONE}retire"] == "7 done"
    for another in (guard, Guard(server, "ciflow-shop", clock)):  # type: ignore[arg-type]
        clock.now += 61.0
        runs(another)
        runs(another)
    assert server.removed == [REMOVE["path"]]


def test_an_errand_of_a_dial_that_somebody_has_claimed_is_left_alone(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.route = json.dumps({"token": 8})
    errand(server, 7, 0.0, REMOVE)
    runs(guard)
    assert server.removed == [] and server.lease[f"{DONE}retire"].startswith("7 left alone")


def test_an_errand_is_tried_again_until_somebody_answers(server: Server) -> None:
    clock = Clock()
    guard = Guard(server, "ciflow-shop", clock)  # type: ignore[arg-type]
    server.route = json.dumps({"token": 7})
    errand(server, 7, 0.0, REMOVE)
    guard.look()
    server.down = True
    guard.run_errands()
    server.down = False
    assert f"{DONE}retire" not in server.lease
    clock.now += 5.0
    runs(guard)
    assert server.removed == [REMOVE["path"]]


def test_the_pod_s_program_needs_nothing_but_an_old_python() -> None:
    """It is sent as it stands, and Python 3.7 reads it (PEP 537)."""
    text = Path(kube_guard.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 7))
    modules = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    modules |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "ciflow" not in modules
    assert (kube_objects.LEASE, kube_objects.SEEN, kube_objects.BLIND) == (LEASE, SEEN, BLIND)
    assert (kube_objects.LATER, kube_objects.DONE) == (LATER, DONE)
    (pod,) = [one for one in kube_objects.guard_objects("shop", "shop", "i", ()) if one["kind"] == "Deployment"]
    assert pod["spec"]["template"]["spec"]["containers"][0]["command"][2] == text


@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_each_router_is_made_of_the_same_words(kind: str) -> None:
    names = ["settings", "service", "slots", "host", "edges", "by"]
    assert list(inspect.signature(routers.ROUTERS[kind].build).parameters) == names
