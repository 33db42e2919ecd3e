"""What answers of a Kubernetes API server mean: exit codes, readiness, which pod is meant, what is shown of secrets.

Shapes and rules are those of the API's own reference (Status, Deployment, Job, Pod) and of `kubectl rollout status`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from ciflow.diagnostics import NoSuch, Refused
from ciflow.targets.kube_content import hidden
from ciflow.targets.kube_kinds import Resource
from ciflow.targets.kube_pods import chosen_container, pick
from ciflow.targets.kube_ready import state_of, trouble_of_pod
from ciflow.targets.kube_stream import Ending
from ciflow.targets.kubernetes import Cluster


def status(**fields: Any) -> bytes:
    return json.dumps({"metadata": {}, **fields}).encode()


def exit_code(code: str) -> bytes:
    causes = {"causes": [{"reason": "ExitCode", "message": code}]}
    return status(status="Failure", reason="NonZeroExitCode", message=f"exit code {code}", details=causes)


@pytest.mark.parametrize(
    ("said", "rc"),
    [
        (status(status="Success"), 0),
        (exit_code("1"), 1),
        (exit_code("137"), 137),
        (status(status="Failure", message="container is gone"), None),
        (status(status="Failure", details=None), None),
        (status(status="Failure", details={"causes": None}), None),
        (exit_code("many"), None),
        (b"", None),
        (b"0", None),
        (b"[]", None),
        (b"null", None),
        (b"\xff", None),
        (b'{"status": 0}', None),
    ],
)
def test_only_a_plain_success_is_exit_code_0(said: bytes, rc: int | None) -> None:
    assert Ending.read(said).rc == rc


def deployment(wanted: int, generation: int = 2, observed: int = 2, **counts: int) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"generation": generation},
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": observed, **counts},
    }


@pytest.mark.parametrize(
    ("thing", "ready", "why"),
    [
        (deployment(2, updatedReplicas=2, replicas=2, availableReplicas=2), True, ""),
        (deployment(2, observed=1, updatedReplicas=2, replicas=2, availableReplicas=2), False, "not seen the change"),
        (deployment(2, updatedReplicas=1, replicas=3, availableReplicas=3), False, "1 of 2 new replicas"),
        (deployment(2, updatedReplicas=2, replicas=3, availableReplicas=3), False, "1 old replicas"),
        (deployment(2, updatedReplicas=2, replicas=2, availableReplicas=1), False, "1 of 2 replicas are available"),
        (deployment(0), True, ""),
        ({"kind": "Job", "status": {"active": 1}}, False, "1 pods are at work"),
        ({"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, True, ""),
        ({"kind": "ConfigMap"}, True, ""),
        ({"kind": "Other", "status": {"conditions": [{"type": "Ready", "status": "False"}]}}, False, "Ready is False"),
        ({"kind": "Pod", "status": {"phase": "Succeeded"}}, True, ""),
    ],
)  # fmt: skip
def test_ready_is_what_the_specification_wishes(thing: dict[str, Any], ready: bool, why: str) -> None:
    state = state_of(thing)
    assert state.ready == ready and why in state.why and not state.lost


def test_what_will_never_be_ready_is_known_as_such() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
    thing = deployment(1)
    thing["status"]["conditions"] = [late]
    assert state_of(thing).lost
    assert state_of({"kind": "Job", "status": {"conditions": [failed]}}).lost


def pod(name: str, created: int = 0, phase: str = "Running", **metadata: Any) -> dict[str, Any]:
    stamp = f"2026-01-01T00:00:{created:02}Z"
    spec = {"containers": [{"name": "side"}, {"name": "app"}]}
    known = {"name": name, "creationTimestamp": stamp, **metadata}
    return {"metadata": known, "spec": spec, "status": {"phase": phase}}


def test_a_pod_says_what_keeps_it() -> None:
    back_off = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}}
    back_off["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    one = pod("web-1")
    one["status"]["containerStatuses"] = [back_off]
    assert trouble_of_pod(one) == "web-1: CrashLoopBackOff: back-off 10s (it ended with exit code 137 (OOMKilled))"
    nowhere = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}
    one["status"] = {"conditions": [nowhere]}
    assert trouble_of_pod(one) == "web-1: Unschedulable: 0/1"


def test_of_several_pods_the_oldest_that_runs_is_meant() -> None:
    pods = [
        pod("new", 9), pod("old", 1), pod("older", 0, deletionTimestamp="now"), pod("done", 0, phase="Succeeded"),
        pod("first", 0, phase="Pending"),
    ]  # fmt: skip
    assert (found := pick(pods)) is not None and found["metadata"]["name"] == "old"
    assert pick(pods[2:4]) is None


def test_the_container_is_the_named_one_or_kubectls_default() -> None:
    noted = pod("a", annotations={"kubectl.kubernetes.io/default-container": "app"})
    assert chosen_container(pod("a"), "", "a") == "side"
    assert chosen_container(noted, "", "a") == "app"
    assert chosen_container(noted, "side", "a") == "side"
    with pytest.raises(Refused, match="no container db, but side, app"):
        chosen_container(noted, "db", "web")


def test_secrets_show_that_they_differ_and_nothing_else() -> None:
    before = {"kind": "Secret", "data": {"a": "MQ==", "b": "Mg=="}}
    after = {"kind": "Secret", "data": {"a": "MQ==", "b": "Mw==", "c": "NA=="}}
    was, now = hidden(before, after)
    assert was["data"] == {"a": "(secret)", "b": "(secret, before)"}
    assert now["data"] == {"a": "(secret)", "b": "(secret, after)", "c": "(secret, after)"}
    assert hidden({}, {"kind": "ConfigMap", "data": {"a": "1"}})[1]["data"] == {"a": "1"}


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    with pytest.raises(Refused) as refused:
        Cluster("/no/kubeconfig")
    assert "ciflow[kubernetes]" in refused.value.help


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../nodes/x", "a?x=1", "a#b", "%2e%2e", "a b", "a\nb", "a\\b"])
def test_a_name_leads_nowhere_else_in_the_cluster(name: str) -> None:
    with pytest.raises(NoSuch, match="nothing in a cluster can be called"):
        Resource("/api/v1", "pods", namespaced=True).path("shop", name)
    with pytest.raises(NoSuch, match="nothing in a cluster can be called"):
        Resource("/api/v1", "pods", namespaced=True).path(name, "web")


def test_names_that_the_cluster_itself_has_are_taken() -> None:
    roles = Resource("/apis/rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False)
    assert roles.path("", "system:node").endswith("/clusterroles/system:node")
