"""The pods of a cluster as hosts of an inventory: by name, with how they are reached and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.diagnostics import Unreachable
from ciflow.targets.kube_kinds import segment
from ciflow.targets.kube_pods import chosen_container
from ciflow.targets.kubernetes import NEEDED, cluster

EVERYWHERE = "*"


def list_pods(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Variables by host. `settings`: kubeconfig, context, namespaces ("*": all; the context's own unless said), label
    and field selectors, container, and `all`, which takes in pods that don't run.

    A host is called as its pod is; with its namespace behind it (`web-1.shop`) where there are several of those.
    """
    asked = cluster(str(settings.get("kubeconfig") or ""), str(settings.get("context") or ""))
    spaces = list(settings.get("namespaces") or [asked.namespace])
    place = {f"ansible_kubectl_{name}": settings[name] for name in ("kubeconfig", "context") if settings.get(name)}
    found = {}
    for space in spaces:
        path = "/api/v1/pods" if space == EVERYWHERE else f"/api/v1/namespaces/{segment(space)}/pods"
        query = [(to, ",".join(settings[of])) for of, to in (("label", "labelSelector"), ("field", "fieldSelector"))
                 if settings.get(of)]  # fmt: skip
        answer = asked.request("GET", path, query)
        if not answer.ok:
            raise Unreachable(f"{asked.name}: {answer.message}", help=NEEDED if answer.status == 403 else "")
        for pod in answer.body["items"]:
            metadata = pod["metadata"]
            runs = pod["status"].get("phase") == "Running" or settings.get("all")
            if metadata.get("deletionTimestamp") or not runs:
                continue
            several = len(spaces) > 1 or space == EVERYWHERE
            name = f"{metadata['name']}.{metadata['namespace']}" if several else metadata["name"]
            found[name] = {**dict(_variables(pod, str(settings.get("container") or ""))), **place}
    return found


def _variables(pod: Mapping[str, Any], container: str) -> Iterator[tuple[str, Any]]:
    metadata, spec, status = pod["metadata"], pod["spec"], pod["status"]
    yield "ansible_connection", "kubernetes"
    yield "ansible_kubectl_pod", metadata["name"]
    yield "ansible_kubectl_namespace", metadata["namespace"]
    yield "ansible_kubectl_container", chosen_container(pod, container, metadata["name"])
    yield "kubernetes_labels", metadata.get("labels") or {}
    yield "kubernetes_annotations", metadata.get("annotations") or {}
    yield "kubernetes_images", [one["image"] for one in spec["containers"]]
    yield "kubernetes_node", spec.get("nodeName", "")
    yield "kubernetes_phase", status.get("phase", "")
    yield "kubernetes_ip", status.get("podIP", "")
    owners = metadata.get("ownerReferences") or ()
    yield "kubernetes_owner", f"{owners[0]['kind']}/{owners[0]['name']}" if owners else ""
