"""Pods of the slots while a release is under way, on a real cluster: what is scaled, kept, replaced and removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from ciflow.diagnostics import Refused
from ciflow.model import Api, Exec
from ciflow.rollout.routers import Router, RouterError, build
from tests.parts import gateway, process
from tests.parts.kube import Kube
from tests.parts.kube import Refused as NotThere
from tests.parts.process import wait_for
from tests.rollout.host import AgentHost
from tests.rollout.kube_rig import kube_settings
from tests.rollout.rig import SERVICE, UPSTREAM, Rig

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kube")]
SPACE = "sizes"
APPS = f"/apis/apps/v1/namespaces/{SPACE}/deployments"
SCALERS = f"/apis/autoscaling/v2/namespaces/{SPACE}/horizontalpodautoscalers"
PODS = f"/api/v1/namespaces/{SPACE}/pods"
DEPLOYMENTS = {"a": f"{SERVICE}-a", "b": f"{SERVICE}-b"}


def slot_objects(slot: str, replicas: int) -> list[dict[str, Any]]:
    """A Service of its own, over the pods of a Deployment."""
    (service, deployment) = gateway.crowd(SERVICE, UPSTREAM, {slot: replicas})
    service["metadata"]["name"] = f"{SERVICE}-{slot}"
    service["spec"]["selector"] = {"app": SERVICE, "slot": slot}
    del deployment["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    return [service, deployment]


def scaler(slot: str, least: int, most: int) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{SERVICE}-{slot}"}
    spec = {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": most}
    metadata = {"name": f"busy-{slot}"}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def slots(kube: Kube) -> Iterator[Rig]:
    """Three pods in slot a, one in slot b. Nobody obeys the Ingresses here: it is pods that this is about."""
    with process.short_folder("sizes") as folder, ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("HOME", str(folder))
        host = stack.enter_context(AgentHost())
        things = [*slot_objects("a", 3), *slot_objects("b", 1), *gateway.route("ingress-nginx", SERVICE, 80)]
        gateway.put_all(kube, SPACE, things)
        wait_for(lambda: ready(kube) == {"a": 3, "b": 1})
        at = {slot: {"address": f"{SERVICE}-{slot}", "port": 80} for slot in "ab"}
        settings = {**kube_settings(kube, SPACE), "deployments": DEPLOYMENTS, "timeout": 20}
        yield Rig("ingress-nginx", 80, folder, host, at, settings, None)  # type: ignore[arg-type]


@pytest.fixture
def router(kube: Kube, slots: Rig) -> Iterator[Router]:
    """At rest on slot a, whose three pods it has, with one in slot b."""
    made = slots.prepared()
    slots.turn(made, 0, live="a")
    yield made
    slots.turn(made, 0, live="a", token=slots.do(made.read()).token + 1)
    for slot, pods in (("a", 3), ("b", 1)):
        with contextlib.suppress(NotThere):
            kube.ask("DELETE", f"{SCALERS}/busy-{slot}")
        notes = {"annotations": {f"size.ciflow-{SERVICE}": None}}
        kube.ask("PATCH", f"{APPS}/{SERVICE}-{slot}", {"metadata": notes, "spec": {"replicas": pods}})
    wait_for(lambda: ready(kube) == {"a": 3, "b": 1})


def ready(kube: Kube) -> dict[str, int]:
    found = {slot: kube.ask("GET", f"{APPS}/{SERVICE}-{slot}")["status"] for slot in "ab"}
    return {slot: int(status.get("readyReplicas", 0)) for slot, status in found.items()}


def least(kube: Kube, slot: str) -> int:
    return int(kube.ask("GET", f"{SCALERS}/busy-{slot}")["spec"]["minReplicas"])


def pods_of(kube: Kube, slot: str) -> set[str]:
    found = kube.ask("GET", f"{PODS}?labelSelector=app%3D{SERVICE},slot%3D{slot}")["items"]
    return {pod["metadata"]["uid"] for pod in found if not pod["metadata"].get("deletionTimestamp")}


def strengthen(slots: Rig, router: Router, weight: int) -> int:
    token = slots.do(router.read()).token
    slots.do(router.strengthen(weight, token, 60.0))
    return token


def test_the_candidate_has_the_pods_of_its_share_before_it_gets_it(kube: Kube, slots: Rig, router: Router) -> None:
    """Of three: 5 % is one, half of it is two, all of it three, by arithmetic."""
    for weight, pods in ((500, 1), (5_000, 2), (10_000, 3)):
        strengthen(slots, router, weight)
        assert ready(kube) == {"a": 3, "b": pods}
        slots.turn(router, min(weight, 9_000))


@pytest.mark.usefixtures("router")
def test_a_surge_has_more_than_that(kube: Kube, slots: Rig) -> None:
    strengthen(slots, slots.router(surge="30%"), 5_000)  # 3 / 2 * 1.3 = 1.95
    assert ready(kube)["b"] == 2
    strengthen(slots, slots.router(surge="50%"), 5_000)  # 3 / 2 * 1.5 = 2.25
    assert ready(kube)["b"] == 3


def test_what_an_autoscaler_governs_is_left_to_it_and_keeps_its_strength(
    kube: Kube, slots: Rig, router: Router
) -> None:
    """Its least is raised and nothing else, up to its most; a while after a way back it is what it was."""
    kube.ask("POST", SCALERS, scaler("a", 1, 5))
    kube.ask("POST", SCALERS, scaler("b", 1, 2))
    token = strengthen(slots, router, 5_000)
    assert (least(kube, "a"), least(kube, "b")) == (3, 2)
    assert ready(kube) == {"a": 3, "b": 2}
    writers = kube.ask("GET", f"{APPS}/{SERVICE}-b")["metadata"]["managedFields"]
    assert not [one for one in writers if one["manager"] == "ciflow"], "only its autoscaler has set its replicas"
    strengthen(slots, router, 10_000)
    assert (least(kube, "a"), least(kube, "b")) == (3, 2), "no more than it may be"
    slots.do(router.let_go(token, 0.5))
    wait_for(lambda: (least(kube, "a"), least(kube, "b")) == (1, 1))


def test_who_serves_everybody_loses_no_pod_when_the_rest_is_let_go(kube: Kube, slots: Rig, router: Router) -> None:
    token = strengthen(slots, router, 10_000)
    slots.turn(router, 10_000, live="b")
    slots.do(router.let_go(token, 0.5))
    told = f"size.ciflow-{SERVICE}"
    wait_for(lambda: told not in (kube.ask("GET", f"{APPS}/{SERVICE}-b")["metadata"].get("annotations") or {}))
    assert ready(kube) == {"a": 3, "b": 3}


def test_a_size_that_somebody_sets_meanwhile_stays(kube: Kube, slots: Rig, router: Router) -> None:
    token = strengthen(slots, router, 5_000)
    kube.ask("PATCH", f"{APPS}/{SERVICE}-b", {"spec": {"replicas": 4}})
    slots.do(router.let_go(token, 0.2))
    wait_for(lambda: done(kube, "sizes") == f"{token} done")
    assert kube.ask("GET", f"{APPS}/{SERVICE}-b")["spec"]["replicas"] == 4


def test_the_next_deployment_may_say_another_size_than_was_raised(kube: Kube, slots: Rig, router: Router) -> None:
    """What ciflow has set itself is nobody else's: an apply of the slot's manifest meets no conflict."""

    def applied(thing: dict[str, Any]) -> None:
        words = {"verb": "apply", "namespace": SPACE, "kubeconfig": slots.settings["kubeconfig"], "object": thing}
        names = {"api_version": thing["apiVersion"], "kind": thing["kind"]}
        reply = slots.host.answer(Api(kind="kubernetes", request={**words, **names}))
        assert reply.ok, reply.error

    applied(scaler("b", 1, 5))
    strengthen(slots, router, 5_000)
    assert least(kube, "b") == 2
    applied(scaler("b", 1, 6))
    assert least(kube, "b") == 1
    strengthen(slots, router, 10_000)
    assert least(kube, "b") == 3


@pytest.mark.usefixtures("router")
def test_pods_that_do_not_come_let_nothing_turn_and_are_named(kube: Kube, slots: Rig) -> None:
    quota = f"/api/v1/namespaces/{SPACE}/resourcequotas"
    kube.ask("POST", quota, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "5"}}})
    try:
        few = slots.router(timeout=4)
        with pytest.raises(RouterError, match="waiting for 3 pods of Deployment shield-b") as lack:
            slots.do(few.strengthen(10_000, slots.do(few.read()).token, 60.0))
        assert "quota" in lack.value.help
    finally:
        kube.ask("DELETE", f"{quota}/few")


def test_the_dead_man_is_renewed_while_pods_are_waited_for(kube: Kube, slots: Rig, router: Router) -> None:
    slots.turn(router, 500, lease=3.0)
    impossible = slots.router(timeout=6, deployments=DEPLOYMENTS, surge="900%")
    kube.ask("POST", f"/api/v1/namespaces/{SPACE}/resourcequotas", {"metadata": {"name": "few"},
             "spec": {"hard": {"pods": "5"}}})  # fmt: skip
    try:
        with pytest.raises(RouterError, match="waiting for"):
            slots.do(impossible.strengthen(5_000, slots.do(router.read()).token, 3.0))
        assert slots.do(router.read()).share == 500
    finally:
        kube.ask("DELETE", f"/api/v1/namespaces/{SPACE}/resourcequotas/few")
    assert slots.do(router.guard(slots.do(router.read()).token, 60.0, renew=True)).armed


# --- what the guard does alone, later -------------------------------------------------------------------------


def done(kube: Kube, key: str) -> str:
    """What the guard says of an errand."""
    lease = kube.ask("GET", f"/apis/coordination.k8s.io/v1/namespaces/{SPACE}/leases/ciflow-{SERVICE}")
    return str(lease["metadata"]["annotations"].get(f"done.ciflow-{key}", ""))


def remove(kind: str, api_version: str, name: str, **more: str) -> Api:
    words = {"api_version": api_version, "kind": kind, "name": name, **more}
    return Api(kind="kubernetes", request={"verb": "delete", **words})


def placed(slots: Rig, operation: Api) -> Api:
    return Api(kind="kubernetes", request={**operation.request, "kubeconfig": slots.settings["kubeconfig"]})


def test_drain_replaces_the_pods_of_the_slot_that_was_left_and_no_others(
    kube: Kube, slots: Rig, router: Router
) -> None:
    slots.do(router.can_cut(1.0))
    before = {slot: pods_of(kube, slot) for slot in "ab"}
    token = slots.do(router.read()).token
    slots.do(router.cut("b", 1.0))
    wait_for(lambda: done(kube, "cut") == f"{token} done")
    wait_for(lambda: not pods_of(kube, "b") & before["b"] and ready(kube)["b"] == 1)
    assert pods_of(kube, "a") == before["a"]


def test_a_release_that_claims_the_dial_calls_off_what_was_left_to_do(kube: Kube, slots: Rig, router: Router) -> None:
    before = pods_of(kube, "b")
    now = slots.do(router.read())
    slots.do(router.cut("b", 2.0))
    slots.turn(router, 0, token=now.token + 1)
    wait_for(lambda: done(kube, "cut").startswith(f"{now.token} left alone"))
    assert pods_of(kube, "b") == before


def test_a_slot_is_retired_by_the_guard_alone_with_rights_for_that_alone(
    kube: Kube, slots: Rig, router: Router
) -> None:
    settings = f"/api/v1/namespaces/{SPACE}/configmaps"
    for name in ("old", "other"):
        kube.ask("POST", settings, {"metadata": {"name": name}})
    operation = placed(slots, remove("ConfigMap", "v1", "old"))
    router.may_leave("localhost", (operation,))
    token = slots.do(router.read()).token
    slots.do(router.leave("localhost", (operation, operation), token, 1.0))
    time.sleep(0.3)
    assert kube.ask("GET", f"{settings}/old")
    wait_for(lambda: done(kube, "retire") == f"{token} done")
    with pytest.raises(NotThere, match="404"):
        kube.ask("GET", f"{settings}/old")
    rules = kube.ask("GET", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{SPACE}/roles/"
                     f"ciflow-guard-{SERVICE}-retire")["rules"]  # fmt: skip
    assert rules == [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["old"], "verbs": ["delete"]}]
    assert kube.ask("GET", f"{settings}/other")


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (Exec(argv=("stop",)), "more than to apply and remove objects"),
        (remove("ConfigMap", "v1", "old", kubeconfig="/another"), "another cluster"),
    ],
)
def test_what_the_guard_can_not_do_alone_is_refused_beforehand(router: Router, operation: Any, why: str) -> None:
    with pytest.raises(RouterError, match=why):
        router.may_leave("localhost", (operation,))


def test_another_namespace_is_none_of_the_guard_s(slots: Rig, router: Router) -> None:
    operation = placed(slots, remove("ConfigMap", "v1", "old", namespace="default"))
    with pytest.raises(RouterError, match="not in namespace sizes"):
        slots.do(router.leave("localhost", (operation,), 1, 1.0))


# --- settings -------------------------------------------------------------------------------------------------

AT: Mapping[str, Mapping[str, Any]] = {slot: {"address": f"{SERVICE}-{slot}", "port": 80} for slot in "ab"}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"deployments": {"a": "x"}}, "must be {a: .., b: ..}"),
        ({"deployments": {"a": "x", "b": "x"}}, "a Deployment for each slot"),
        ({"deployments": "shop"}, "must be {a: .., b: ..}"),
        ({"surge": "much"}, "`surge` of router gateway-api"),
    ],
)
def test_sizes_that_cannot_be_meant_are_refused(settings: Any, why: str) -> None:
    with pytest.raises(Refused, match=why):
        build("gateway-api", settings, SERVICE, AT, ("localhost",))
