"""What only the routers of a cluster do: on a real API server, with Traefik as data plane."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

import pytest

from ciflow.diagnostics import Refused
from ciflow.model import Api, At, Change, Probe, Step
from ciflow.rollout.metrics import watch as left_to_others
from ciflow.rollout.routers import Dial, Fenced, Router, RouterError, build
from ciflow.rollout.routers.dial import Guard
from ciflow.rollout.thresholds import Threshold
from tests.parts import gateway, process
from tests.parts.http import recorded
from tests.parts.kube import NODE_IP, Kube
from tests.parts.kube import Refused as Lacking
from tests.parts.prometheus import prometheus
from tests.rollout import test_routers as contract
from tests.rollout.kube_rig import crowd_rig, kube_rig, kube_settings
from tests.rollout.rig import SERVICE, Rig, Users, get

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kube")]
SPACE = "routers"
ROUTES = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SPACE}/httproutes"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases"
BOTH = [{"name": f"{SERVICE}-a", "port": 80, "weight": 1}, {"name": f"{SERVICE}-b", "port": 80, "weight": 0}]


@pytest.fixture(scope="module")
def edge(kube: Kube) -> Iterator[Rig]:
    with process.short_folder("edge") as folder, kube_rig("gateway-api", kube, folder, SPACE) as found:
        yield found


def prepared(edge: Rig, live: str = "a", **more: Any) -> Router:
    router = edge.router(**more)
    edge.do(router.prepare(edge.dial(live=live)))
    return router


def routed(kube: Kube, name: str, *rules: Mapping[str, Any], **metadata: Any) -> str:
    """One more HTTPRoute, which no Gateway has."""
    spec = {"parentRefs": [{"name": "nowhere"}], "rules": list(rules) or [{"backendRefs": BOTH}]}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    kube.ask("POST", ROUTES, {**kind, "metadata": {"name": name, **metadata}, "spec": spec})
    return name


# --- what must be there ---------------------------------------------------------------------------------------


def test_a_route_that_is_not_there_is_named_with_what_is_needed(edge: Rig) -> None:
    with pytest.raises(RouterError, match=r"there is no HTTPRoute nowhere in the cluster") as lack:
        prepared(edge, name="nowhere")
    assert "backendRefs: [{name: shield-a, port: 80, weight: 1}" in lack.value.help


def test_a_cluster_without_the_definitions_says_which_is_lacking(kube: Kube, edge: Rig) -> None:
    """Of Istio here, whose own tests come later and define them."""
    definition = f"{gateway.DEFINITIONS}/virtualservices.networking.istio.io"
    with contextlib.suppress(Lacking):
        kube.ask("DELETE", definition)
    process.wait_for(lambda: not there(kube, definition))
    (router,) = build("istio", kube_settings(kube, SPACE), SERVICE, edge.slots, ("localhost",))
    with pytest.raises(RouterError, match=r"the cluster has no kind VirtualService in networking\.istio\.io") as lack:
        edge.do(router.prepare(edge.dial()))
    assert "kind: VirtualService" in lack.value.help


def there(kube: Kube, path: str) -> bool:
    try:
        return bool(kube.ask("GET", path))
    except Lacking:
        return False


@pytest.mark.parametrize(
    ("name", "refs", "why"),
    [
        ("half", BOTH[:1], "rule 1 of HTTPRoute half splits between shield-a$"),
        ("third", [*BOTH, {"name": "other", "port": 80}], "splits between shield-a, shield-b, other"),
        ("none", [{"name": "other", "port": 80}], "has no rule that splits between shield-a and shield-b"),
    ],
)
def test_rules_that_cannot_be_turned_are_refused(kube: Kube, edge: Rig, name: str, refs: Any, why: str) -> None:
    routed(kube, name, {"backendRefs": refs})
    with pytest.raises(RouterError, match=why):
        prepared(edge, name=name)


@pytest.mark.parametrize(
    ("name", "marks", "snippet"),
    [
        ("argo", {"annotations": {"argocd.argoproj.io/tracking-id": "shop:x"}}, "jqPathExpressions: ["),
        ("flux", {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "toolkit.fluxcd.io/ssa: IfNotPresent"),
    ],
)
def test_a_route_that_a_repository_owns_is_refused_with_the_words_that_help(
    kube: Kube, edge: Rig, name: str, marks: Any, snippet: str
) -> None:
    routed(kube, name, **marks)
    with pytest.raises(RouterError, match="which would put the traffic back") as refused:
        prepared(edge, name=name)
    assert snippet in refused.value.help
    assert edge.do(edge.router(name=name, gitops=True).prepare(edge.dial())).share == 0


def test_a_missing_right_is_said_in_the_server_s_words(kube: Kube, edge: Rig) -> None:
    accounts = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
    kube.ask("POST", accounts, {"metadata": {"name": "nobody"}})
    token = kube.ask("POST", f"{accounts}/nobody/token", {"spec": {"expirationSeconds": 600}})["status"]["token"]
    path = edge.folder / "nobody.kubeconfig"
    text = kube.kubeconfig.read_text()
    path.write_text(re.sub(r'"user": \{"client-[^}]*\}', f'"user": {{"token": "{token}"}}', text))
    with pytest.raises(RouterError, match=r"cannot get resource .*httproutes"):
        edge.do(edge.router(kubeconfig=str(path)).read())


def test_no_traffic_goes_to_a_candidate_without_an_endpoint(kube: Kube, edge: Rig) -> None:
    router = prepared(edge)
    edge.turn(router, 0, live="a")
    with without(kube, f"{SERVICE}-b-1"), pytest.raises(RouterError, match="slot b of shield does not answer"):
        edge.turn(router, 500)
    assert edge.do(router.read()).share == 0
    edge.turn(router, 500)
    edge.turn(router, 0)


@contextlib.contextmanager
def without(kube: Kube, name: str) -> Iterator[None]:
    """Without that EndpointSlice."""
    slice_ = kube.ask("GET", f"{SLICES}/{name}")
    kube.ask("DELETE", f"{SLICES}/{name}")
    yield
    kept = {"name": name, "labels": slice_["metadata"]["labels"]}
    kube.ask("POST", SLICES, {**slice_, "metadata": kept})


# --- the dial -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("weights", "live"), [((1, 0), "a"), ((0, 3), "b")])
def test_the_slot_that_serves_everybody_before_the_first_release_is_live(
    kube: Kube, edge: Rig, weights: tuple[int, int], live: str
) -> None:
    refs = [{**ref, "weight": weight} for ref, weight in zip(BOTH, weights, strict=True)]
    name = routed(kube, f"first-{live}", {"backendRefs": refs})
    dial = edge.do(edge.router(name=name).prepare(edge.dial(live="")))
    assert (dial.live, dial.share) == (live, 10_000 if live == "b" else 0)


def test_a_split_that_nobody_has_decided_is_refused(kube: Kube, edge: Rig) -> None:
    name = routed(kube, "split", {"backendRefs": [{**ref, "weight": 1} for ref in BOTH]})
    with pytest.raises(RouterError, match="gives slot b 50 % and holds no dial"):
        prepared(edge, name=name)


def test_nothing_but_weights_of_rules_with_both_slots_is_touched(kube: Kube, edge: Rig) -> None:
    filters = [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}]
    paths = [{"path": {"type": "PathPrefix", "value": "/static"}}]
    other = {"matches": paths, "filters": filters, "backendRefs": [{"name": "files", "port": 80, "weight": 7}]}
    name = routed(kube, "rules", other, {"backendRefs": BOTH}, {"filters": filters, "backendRefs": BOTH})
    before = kube.ask("GET", f"{ROUTES}/{name}")["spec"]
    router = edge.router(name=name)
    first = edge.do(router.prepare(edge.dial()))
    with pytest.raises(RouterError, match="waiting for the Gateway of HTTPRoute rules"):
        edge.do(router.turn(Dial(10_000, 1, "b", first.manifest), 0))  # no Gateway has it, which is said
    after = kube.ask("GET", f"{ROUTES}/{name}")["spec"]
    assert [ref["weight"] for rule in after["rules"] for ref in rule["backendRefs"]] == [7, 0, 10_000, 0, 10_000]
    for rule in (*before["rules"], *after["rules"]):
        for ref in rule["backendRefs"]:
            del ref["weight"]
    assert after == before


def test_a_split_that_somebody_sets_by_hand_is_told_as_it_is(kube: Kube, edge: Rig) -> None:
    router = prepared(edge)
    token = edge.turn(router, 0, live="a").token
    rules = kube.ask("GET", f"{ROUTES}/{SERVICE}")["spec"]["rules"]
    for ref in rules[0]["backendRefs"]:
        ref["weight"] = 1
    kube.ask("PATCH", f"{ROUTES}/{SERVICE}", {"spec": {"rules": rules}})
    seen = edge.do(router.read())
    assert (seen.share, seen.token, seen.at_rest) == (5_000, token, False)
    assert edge.turn(router, 0).at_rest


def met(edge: Rig, headers: Mapping[str, str] | None = None) -> set[tuple[int, str]]:
    return {get(edge.port, headers=headers) for _ in range(20)}


def test_testers_meet_the_candidate_at_any_share(kube: Kube, edge: Rig) -> None:
    header = {"name": "X-Canary", "value": "1"}
    with pytest.raises(RouterError, match="has no rule for testers"):
        prepared(edge, header=header)
    rules = kube.ask("GET", f"{ROUTES}/{SERVICE}")["spec"]["rules"]
    both = {"spec": {"rules": [*rules, {"matches": [{"headers": [header]}], "backendRefs": BOTH}]}}
    kube.ask("PATCH", f"{ROUTES}/{SERVICE}", both)
    try:
        router = prepared(edge, header=header)
        for share, live, candidate in ((0, "a", "b"), (10_000, "b", "a"), (0, "a", "b")):
            edge.turn(router, share, live=live)
            process.wait_for(lambda to=candidate: met(edge, {"X-Canary": "1"}) == {(200, to)})
            process.wait_for(lambda to=live: met(edge) == {(200, to)})
    finally:
        kube.ask("PATCH", f"{ROUTES}/{SERVICE}", {"spec": {"rules": rules}})


# --- dead-man -------------------------------------------------------------------------------------------------


def falls_back(edge: Rig, router: Router, within: float) -> float:
    """How long it took until the dial was back."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(RouterError):
            if edge.do(router.read()).share == 0:
                return time.monotonic() - began
        assert time.monotonic() - began < within, "the traffic stays on the candidate"
        time.sleep(0.05)


def test_a_guard_that_is_made_anew_holds_the_lease(kube: Kube, edge: Rig) -> None:
    router = prepared(edge)
    edge.turn(router, 5_000, lease=4.0)
    pods = f"/api/v1/namespaces/{SPACE}/pods"
    for pod in kube.ask("GET", f"{pods}?labelSelector=app%3Dciflow-guard-{SERVICE}")["items"]:
        kube.ask("DELETE", f"{pods}/{pod['metadata']['name']}")
    falls_back(edge, router, within=30.0)


def test_the_traffic_comes_back_after_an_outage_of_the_api_server(kube: Kube, edge: Rig) -> None:
    router = prepared(edge)
    edge.turn(router, 5_000, lease=2.0)
    with Users(edge.port, rate=200) as users:
        kube.stop_apiserver()
        time.sleep(3.0)
        kube.start_apiserver()
        falls_back(edge, router, within=30.0)
    assert users.failures == [] and {status for status, _ in users.seen} == {200}
    process.wait_for(lambda: turned(edge, router))  # the Gateway connects again in its own time


def turned(edge: Rig, router: Router) -> bool:
    with contextlib.suppress(RouterError):
        return edge.turn(router, 0, live="a").at_rest
    return False


def test_a_guard_that_does_not_answer_lets_no_traffic_move(kube: Kube, edge: Rig) -> None:
    router = prepared(edge)
    edge.turn(router, 0, live="a")
    guard = f"/apis/apps/v1/namespaces/{SPACE}/deployments/ciflow-guard-{SERVICE}"
    kube.ask("PATCH", guard, {"spec": {"replicas": 0}})
    pods = f"/api/v1/namespaces/{SPACE}/pods?labelSelector=app%3Dciflow-guard-{SERVICE}"
    process.wait_for(lambda: not kube.ask("GET", pods)["items"])
    try:
        with pytest.raises(RouterError, match="waiting for the answer of the guard"):
            edge.turn(router, 500)
        assert edge.do(router.read()).share == 0
    finally:
        kube.ask("PATCH", guard, {"spec": {"replicas": 1}})
    prepared(edge)
    edge.turn(router, 500)
    edge.turn(router, 0)


def test_who_dies_between_arming_and_the_second_step_leaves_nobody_on_the_candidate(edge: Rig) -> None:
    router = prepared(edge)
    now = edge.turn(router, 500, lease=60.0)
    second = edge.router().turn(Dial(2_500, now.token, "a", now.manifest), now.token, lease=1.0)
    step = next(second)
    while not ("Lease" in str(step) and "begins" in str(step)):  # the guard has been told, and is listened to
        step = second.send(edge.host.answer(step.step.operation))  # type: ignore[union-attr]
    assert edge.do(router.read()).share == 500
    falls_back(edge, router, within=30.0)


def test_two_that_hold_one_lease_do_not_both_keep_it(edge: Rig) -> None:
    """A writer that was overtaken can't arm over who has overtaken it."""
    router = prepared(edge)
    now = edge.turn(router, 0, live="a")
    old = edge.router().turn(Dial(500, now.token, "a", now.manifest), now.token, lease=60.0)
    step = next(old)
    for _ in range(3):  # it has read the lease and the route, and looked for an endpoint
        step = old.send(edge.host.answer(step.step.operation))  # type: ignore[union-attr]
    newer = edge.do(router.turn(Dial(2_500, now.token + 1, "a", now.manifest), now.token, lease=60.0))
    with pytest.raises(Fenced):
        while True:
            step = old.send(edge.host.answer(step.step.operation))  # type: ignore[union-attr]
    assert edge.do(router.guard(newer.token, 60.0, renew=True)).armed
    assert edge.do(router.read()).share == 2_500
    edge.turn(router, 0)


# --- a pause that no controller watches -----------------------------------------------------------------------


@pytest.fixture
def paused(edge: Rig) -> Iterator[tuple[Router, int]]:
    """Half of the traffic on the candidate for ten minutes; the token."""
    router = prepared(edge)
    edge.turn(router, 0, live="a")
    yield router, edge.turn(router, 5_000, lease=600.0).token
    edge.turn(router, 0, live="a")


def test_a_paused_candidate_without_a_ready_pod_gives_the_traffic_back(
    kube: Kube, edge: Rig, paused: tuple[Router, int]
) -> None:
    router, token = paused
    assert edge.do(router.guard(token, 600.0)) == Guard(armed=True)
    with without(kube, f"{SERVICE}-b-1"):
        falls_back(edge, router, within=60.0)


def test_a_real_prometheus_watches_a_pause_from_within_the_cluster(edge: Rig, paused: tuple[Router, int]) -> None:
    router, token = paused
    with process.short_folder("prometheus") as folder, recorded() as candidate:
        candidate.body, candidate.headers = b"late 1\n", {"Content-Type": "text/plain"}
        jobs = {"candidate": [candidate.url.removeprefix("http://")]}
        with prometheus(folder, jobs, NODE_IP) as metrics:
            asked = {"prometheus": {"url": metrics.url, "query": "late"}}
            watch = left_to_others(asked, 2.0, Threshold(max=5.0, failure_limit=1, interval=1.0))
            elsewhere = {"prometheus": {**asked["prometheus"], "url": "http://127.0.0.1:9"}}
            nobody = left_to_others(elsewhere, 2.0, Threshold())
            assert watch is not None and nobody is not None
            process.wait_for(lambda: edge.do(router.guard(token, 600.0, (nobody, watch))).blind == (nobody,))
            time.sleep(5.0)
            assert edge.do(router.read()).share == 5_000
            candidate.body = b"late 9\n"
            falls_back(edge, router, within=60.0)


# --- istio, whose definitions are here without its proxies ---------------------------------------------------

MESH = "mesh"
VIRTUAL = f"/apis/networking.istio.io/v1/namespaces/{MESH}/virtualservices/{SERVICE}"


@pytest.fixture(scope="module")
def mesh(kube: Kube) -> Iterator[Rig]:
    with process.short_folder("mesh") as folder, kube_rig("istio", kube, folder, MESH) as found:
        yield found


@pytest.mark.parametrize(
    "holds",
    [
        contract.test_what_was_turned_is_read_back_with_token_and_manifest,
        contract.test_a_turn_without_a_lease_is_refused,
        contract.test_preparing_a_router_that_runs_changes_nothing,
        contract.test_a_smaller_token_is_refused_and_the_holder_named,
        contract.test_of_two_writers_that_race_for_the_dial_exactly_one_wins,
        contract.test_a_writer_stopped_before_any_of_its_steps_does_no_harm_when_it_goes_on,
        contract.test_a_controller_killed_between_any_two_steps_leaves_a_dial_that_can_be_read_and_taken,
        contract.test_a_renewed_dead_man_leaves_the_dial_alone,
        contract.test_a_disarmed_dead_man_is_gone,
    ],
)
def test_istio_by_its_api_alone(mesh: Rig, holds: Callable[[Rig], None]) -> None:
    router = prepared(mesh)
    mesh.turn(router, 0, live="a")
    holds(mesh)
    now = mesh.do(router.read())
    mesh.do(router.guard(mesh.turn(router, 0, live="a").token, 0))
    assert now.live == "a"


@pytest.mark.parametrize("share", [0, 1, 500, 9_900, 10_000])
def test_istio_s_weights_by_its_api_alone(kube: Kube, mesh: Rig, share: int) -> None:
    mesh.turn(prepared(mesh), share)
    routes = kube.ask("GET", VIRTUAL)["spec"]["http"][0]["route"]
    assert [one.get("weight", 0) for one in routes] == [10_000 - share, share]


def test_istio_s_testers_by_its_api_alone(kube: Kube, mesh: Rig) -> None:
    """Their rule, before the others, leads to the slot that is not live, at any share."""
    rules = kube.ask("GET", VIRTUAL)["spec"]["http"]
    testers = {"match": [{"headers": {"x-canary": {"exact": "1"}}}], "route": rules[0]["route"]}
    kube.ask("PATCH", VIRTUAL, {"spec": {"http": [testers, *rules]}})
    try:
        router = prepared(mesh, header={"name": "X-Canary", "value": "1"})
        for share, live, testers_b in ((0, "a", 10_000), (500, "a", 10_000), (10_000, "b", 0), (0, "a", 10_000)):
            mesh.turn(router, share, live=live)
            routes = [rule["route"] for rule in kube.ask("GET", VIRTUAL)["spec"]["http"]]
            assert [route[1].get("weight", 0) for route in routes] == [testers_b, share]
    finally:
        kube.ask("PATCH", VIRTUAL, {"spec": {"http": rules}})


def test_istio_s_dead_man_by_its_api_alone(mesh: Rig) -> None:
    router = prepared(mesh)
    mesh.turn(router, 5_000, lease=1.0)
    assert falls_back(mesh, router, within=30.0) > 0.4


# --- replicas: real pods behind one Service ------------------------------------------------------------------

PODS = "pods"


@pytest.fixture(scope="module")
def crowd(kube: Kube) -> Iterator[Rig]:
    """Four pods in all behind one Service, with slot a serving."""
    with process.short_folder("crowd") as folder, crowd_rig(kube, folder, PODS) as rig:
        prepared(rig)
        process.wait_for(lambda: scale(kube) == {"a": 4, "b": 0})
        process.wait_for(lambda: process.answers(service_address(kube), 80))  # kube-proxy hears later
        yield rig


def scale(kube: Kube) -> dict[str, int]:
    """The ready pods of each slot."""
    path = f"/apis/apps/v1/namespaces/{PODS}/deployments"
    found = {slot: kube.ask("GET", f"{path}/{SERVICE}-{slot}")["status"] for slot in "ab"}
    return {slot: int(status.get("readyReplicas", 0)) for slot, status in found.items()}


def service_address(kube: Kube) -> str:
    return str(kube.ask("GET", f"/api/v1/namespaces/{PODS}/services/{SERVICE}")["spec"]["clusterIP"])


class Callers(threading.Thread):
    """People who come to the Service's address, each on a connection of its own."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(daemon=True)
        self.address = service_address(kube)
        self.seen: Counter[tuple[int, str]] = Counter()
        self.lost: list[OSError | HTTPException] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.005):
            try:
                self.seen[get(80, address=self.address)] += 1
            except (OSError, HTTPException) as error:
                self.lost.append(error)


@pytest.mark.parametrize(("share", "a", "b"), [(1, 3, 1), (5_000, 2, 2), (9_900, 1, 3), (10_000, 0, 4), (0, 4, 0)])
def test_replicas_come_as_near_to_the_share_as_whole_pods_do(
    kube: Kube, crowd: Rig, share: int, a: int, b: int
) -> None:
    """By arithmetic: of four pods, and at least one of each that is to have traffic. None of its callers is lost."""
    callers = Callers(kube)
    callers.start()
    crowd.turn(crowd.router(), share, live="b" if share == 10_000 else "a")
    process.wait_for(lambda: scale(kube) == {"a": a, "b": b})
    callers.over.set()
    callers.join()
    assert crowd.do(crowd.router().read()).share == share
    assert callers.lost == []
    assert {status for status, _ in callers.seen} == {200}


@pytest.mark.parametrize(
    "holds",
    [
        contract.test_what_was_turned_is_read_back_with_token_and_manifest,
        contract.test_a_smaller_token_is_refused_and_the_holder_named,
        contract.test_of_two_writers_that_race_for_the_dial_exactly_one_wins,
        contract.test_a_writer_stopped_before_any_of_its_steps_does_no_harm_when_it_goes_on,
    ],
)
def test_replicas_are_fenced_as_any_router_is(crowd: Rig, holds: Callable[[Rig], None]) -> None:
    router = prepared(crowd)
    crowd.turn(router, 0, live="a")
    holds(crowd)
    crowd.do(router.guard(crowd.turn(router, 0, live="a").token, 0))


def test_a_rollback_between_any_two_steps_of_a_promotion_brings_all_pods_back(crowd: Rig) -> None:
    prepared(crowd)
    contract.goes_back_after_each_step(crowd, contract.WAY[:3], 5)  # for pods start at each


def test_the_guard_gives_back_a_promotion_that_was_not_finished(kube: Kube, crowd: Rig) -> None:
    """Its controller dies when the Service says slot b, and all pods of slot b are asked for."""
    router = prepared(crowd)
    half = contract.half_way(contract.claimed(crowd.do(router.read())))
    now = crowd.do(router.turn(half, half.token - 1, 600.0))
    promotion = router.turn(contract.promoted(now), now.token, 5.0)
    pending: Step | None = next(promotion)
    while not grows(pending, f"{SERVICE}-b"):
        pending = contract.one_step(crowd, promotion, pending)
    contract.one_step(crowd, promotion, pending)
    assert crowd.do(router.read()).live == "b"
    falls_back(crowd, router, within=60.0)
    process.wait_for(lambda: scale(kube) == {"a": 4, "b": 0})
    read = crowd.do(router.read())
    assert (read.live, read.at_rest) == ("a", True)


def grows(step: Step | None, deployment: str) -> bool:
    assert isinstance(step, At) and isinstance(step.step, Probe | Change) and isinstance(step.step.operation, Api)
    request = step.step.operation.request
    return request["verb"] == "patch" and request["name"] == deployment


def test_the_guard_gives_back_all_pods(kube: Kube, crowd: Rig) -> None:
    router = prepared(crowd)
    token = crowd.turn(router, 5_000, lease=600.0).token  # pods may take long to come
    assert crowd.do(router.guard(token, 2.0, renew=True)).armed
    falls_back(crowd, router, within=60.0)
    process.wait_for(lambda: scale(kube) == {"a": 4, "b": 0})


def test_pods_that_do_not_become_ready_turn_nothing_away_from_stable(kube: Kube, crowd: Rig) -> None:
    process.wait_for(lambda: scale(kube) == {"a": 4, "b": 0})
    path = f"/apis/apps/v1/namespaces/{PODS}/deployments/{SERVICE}-b"
    good = kube.ask("GET", path)["spec"]["template"]["spec"]["containers"]
    kube.ask(
        "PATCH", path, {"spec": {"template": {"spec": {"containers": [{**good[0], "image": "nowhere.test/x:1"}]}}}}
    )
    try:
        router = prepared(crowd, timeout=2)
        with pytest.raises(RouterError, match=r"waiting for the pods of Deployment shield-b .*Image"):
            crowd.turn(router, 5_000)
        assert scale(kube)["a"] == 4
        crowd.turn(router, 0)
    finally:
        kube.ask("PATCH", path, {"spec": {"template": {"spec": {"containers": good}}}})


def test_an_autoscaler_of_a_slot_is_named(kube: Kube, crowd: Rig) -> None:
    path = f"/apis/autoscaling/v2/namespaces/{PODS}/horizontalpodautoscalers"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{SERVICE}-a"}
    scaler = {"metadata": {"name": "busy"}, "spec": {"scaleTargetRef": target, "minReplicas": 4, "maxReplicas": 5}}
    kube.ask("POST", path, scaler)
    try:
        with pytest.raises(RouterError, match="HorizontalPodAutoscaler busy changes the replicas of shield-a"):
            prepared(crowd)
    finally:
        kube.ask("DELETE", f"{path}/busy")


# --- settings -------------------------------------------------------------------------------------------------

SLOTS = {"a": {"address": "shield-a", "port": 80}, "b": {"address": "shield-b", "port": 80}}


@pytest.mark.parametrize(
    ("settings", "slots", "why"),
    [
        ({"nam": "x"}, SLOTS, "router gateway-api has no setting nam"),
        ({}, {"a": {"port": 80}, "b": {"port": 81}}, "`address` of slot a must be the name of its Service"),
        ({}, {"a": SLOTS["a"], "b": SLOTS["a"]}, "slots a and b are both at shield-a:80"),
        ({}, {"a": SLOTS["a"], "b": {**SLOTS["a"], "port": 81}}, "must have a Service each"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: Any, slots: Any, why: str) -> None:
    with pytest.raises(Refused, match=why):
        build("gateway-api", settings, SERVICE, slots, ("localhost",))


def test_a_service_whose_name_no_object_may_have_is_refused() -> None:
    with pytest.raises(Refused, match="named as Kubernetes names things"):
        build("gateway-api", {}, "My_Shop", SLOTS, ("localhost",))


def test_sticky_users_are_refused_with_the_routers_that_have_them() -> None:
    with pytest.raises(Refused, match="by: cookie is not built for the router gateway-api") as refused:
        build("gateway-api", {}, SERVICE, SLOTS, ("localhost",), by="cookie")
    assert "haproxy, envoy or nginx" in refused.value.help


def test_a_play_on_many_hosts_has_one_router_in_a_cluster() -> None:
    assert [one.host for one in build("gateway-api", {}, SERVICE, SLOTS, ("one", "two"))] == ["one"]
