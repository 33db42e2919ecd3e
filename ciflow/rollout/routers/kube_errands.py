"""`retire` in a cluster: what its tasks come to, as requests that the guard makes alone, long after the rollout."""

from __future__ import annotations

from collections.abc import Sequence

from ciflow.model import Api, Operation
from ciflow.rollout.routers.dial import Asked, RouterError, done
from ciflow.rollout.routers.kube_asks import Asks
from ciflow.rollout.routers.kube_lease import Errand
from ciflow.rollout.routers.kube_objects import Place

VERBS = {"delete": ("delete",), "apply": ("get", "patch", "create")}


def refuse_strange(service: str, place: Place, operations: Sequence[Operation]) -> None:
    """Raise RouterError where one is nothing that the guard can do: it asks its own API server alone."""
    for operation in operations:
        if not isinstance(operation, Api) or operation.kind != "kubernetes" or operation.request["verb"] not in VERBS:
            raise RouterError(
                f"`retire` of {service} does more than to apply and remove objects of its cluster",
                help="its guard does this alone: say it with `k8s`",
            )
        words = operation.request
        if (words.get("kubeconfig", ""), words.get("context", "")) != (place.kubeconfig, place.context):
            raise RouterError(
                f"`retire` of {service} is about another cluster than its router's",
                help="`kubeconfig` and `context` of its tasks must be those of the router",
            )


def errands_of(asks: Asks, service: str, namespace: str, operations: Sequence[Operation]) -> Asked[list[Errand]]:
    """One for each, without those that are there twice: of several hosts each has said the same."""
    found: list[Errand] = []
    for operation in operations:
        assert isinstance(operation, Api)
        words = operation.request
        where = {name: words[name] for name in ("api_version", "kind", "name")}
        space = words.get("namespace") or namespace
        what = f"looking for {words['kind']} {words['name']}, which `retire` names"
        at = done((yield asks.probe("locate", {**where, "namespace": space})), what, str(asks.place)).data
        if f"/namespaces/{namespace}/" not in at["path"]:
            raise RouterError(
                f"`retire` of {service} names {words['kind']} {words['name']}, which is not in namespace {namespace}",
                help="its guard may do nothing outside of the namespace of the dial",
            )
        verbs = list(VERBS[words["verb"]])
        rule = {
            "apiGroups": [at["group"]],
            "resources": [at["plural"]],
            "resourceNames": [words["name"]],
            "verbs": verbs,
        }
        errand = Errand(at["path"], rule, object=words.get("object"), force=bool(words.get("force")))
        if errand not in found:
            found.append(errand)
    return found
