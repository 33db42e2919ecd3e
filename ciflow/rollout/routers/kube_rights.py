"""What a router in a cluster, and the rollback after it, must be allowed there. Pure.

Whoever makes a Role may give no right that it has not itself (Kubernetes, RBAC, privilege escalation): so what the
guard gets is among it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ciflow.plan.rbac import Need
from ciflow.rollout.routers.ingress_nginx import IngressNginxRouter
from ciflow.rollout.routers.kube import KubeRouter
from ciflow.rollout.routers.kube_objects import LEASES, RBAC

MAKE = ("create", "get", "patch")
WATCH = ("get", "watch")
AUTOSCALING = "autoscaling"


def needs_of_router(router: KubeRouter) -> Iterator[Need]:
    """In the namespace of its settings; "" is the context's own."""
    space = router.settings.place.namespace

    def need(group: str, resource: str, *verbs: str) -> Need:
        return Need(space, group, resource, verbs)

    for ref in router.refs:
        yield need(ref.api_version.rpartition("/")[0], ref.plural, "get", "patch", "watch")
    if isinstance(router, IngressNginxRouter):
        yield need("networking.k8s.io", "ingresses", "get")
    # the guard, what it holds, and what is asked of it
    yield need(LEASES.partition("/")[0], "leases", *MAKE, "list", "watch")
    yield need("", "serviceaccounts", *MAKE)
    yield need(RBAC, "roles", *MAKE)
    yield need(RBAC, "rolebindings", *MAKE)
    yield need("apps", "deployments", *MAKE, "watch")
    yield need("", "pods", "list")
    # whether a slot is there
    yield need("", "services", "get")
    yield need("discovery.k8s.io", "endpointslices", "list")
    if router.kind == "replicas":
        yield need(AUTOSCALING, "horizontalpodautoscalers", "list")
    elif router.settings.deployments:
        yield need(AUTOSCALING, "horizontalpodautoscalers", "list", "patch")
