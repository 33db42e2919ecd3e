"""What a router in a cluster says to its API server: requests, patches that compare and set, and the guard's objects.

Pure: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Api

Thing = Mapping[str, Any]
Patch = list[dict[str, Any]]
MADE = "ciflow.service"  # label of all that ciflow makes for a service
GUARD = Path(__file__).with_name("kube_guard.py")  # never imported here: it takes the modules of a network program
LEASE, SEEN, BLIND = "lease.ciflow", "guard.ciflow", "blind.ciflow"  # annotations of the lease, as the guard knows them
MANIFEST = "manifest.ciflow"  # annotation of the lease
LATER = "later.ciflow-"  # annotations of the lease: work that the guard does alone, later
DONE = "done.ciflow-"  # and what became of it
LEASES = "coordination.k8s.io/v1"
RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Ref:
    """One object of the service's namespace; `plural` is its kind's name in addresses."""

    api_version: str
    kind: str
    plural: str
    name: str

    @property
    def words(self) -> dict[str, str]:
        """Of a request."""
        return {"api_version": self.api_version, "kind": self.kind, "name": self.name}

    @property
    def path(self) -> str:
        """Its address, with `{namespace}` to be filled in by who is there."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        return f"{root}{self.api_version}/namespaces/{{namespace}}/{self.plural}/{self.name}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster, as the machine that runs ciflow knows it, and the namespace there; "": the usual one."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""

    def request(self, verb: str, words: Mapping[str, Any]) -> Api:
        own = {"kubeconfig": self.kubeconfig, "context": self.context, "namespace": self.namespace}
        return Api(kind="kubernetes", request={"verb": verb, **{k: v for k, v in own.items() if v}, **words})

    def __str__(self) -> str:
        return f"cluster {self.context}" if self.context else "the cluster"


def pointer(*names: str | int) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(name).replace("~", "~0").replace("/", "~1") for name in names)


def put(value: Any, *names: str | int) -> dict[str, Any]:
    """`add` is "add or replace" for a member of an object (RFC 6902, 4.1)."""
    return {"op": "add", "path": pointer(*names), "value": value}


def same(value: Any, *names: str | int) -> dict[str, Any]:
    return {"op": "test", "path": pointer(*names), "value": value}


def noted(thing: Thing, name: str) -> str | None:
    """One annotation."""
    found = (thing["metadata"].get("annotations") or {}).get(name)
    return None if found is None else str(found)


def annotated(thing: Thing, name: str, text: str) -> Thing:
    """The object as it will be with that annotation."""
    metadata = thing["metadata"]
    return {**thing, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), name: text}}}


def comparable(text: str) -> str:
    """JSON for an annotation that patches compare. API servers compare strings as they are written down, not what they
    say (evanphx/json-patch 4.12, `lazyNode.equal`), and Go writes these three as escapes where others do not."""
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def noting(thing: Thing, name: str, text: str, between: Patch) -> Patch:
    """Compare and set: `between` is done and the annotation set only while that stands as in `thing`. Where there is
    none yet, nothing at all of the object may have changed."""
    was, metadata = noted(thing, name), thing["metadata"]
    if was is not None:
        return [same(was, "metadata", "annotations", name), *between, put(text, "metadata", "annotations", name)]
    first = [same(metadata["resourceVersion"], "metadata", "resourceVersion")]
    first += [] if metadata.get("annotations") else [put({}, "metadata", "annotations")]
    return [*first, *between, put(text, "metadata", "annotations", name)]


def lease_ref(service: str) -> Ref:
    return Ref(LEASES, "Lease", "leases", f"ciflow-{service}")


def leases_of(service: str, place: Place, *, everywhere: bool) -> Api:
    """The lease of a service in the namespace of the place, or all of them in all namespaces."""
    words: dict[str, Any] = {"api_version": LEASES, "kind": "Lease", "labels": f"{MADE}={service}"}
    return place.request("read", {**words, "everywhere": True} if everywhere else words)


def lease_object(service: str) -> dict[str, Any]:
    ref = lease_ref(service)
    metadata = {"name": ref.name, "labels": _labels(service), "annotations": {MADE: service}}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata}


def guard_ref(service: str) -> Ref:
    return Ref("apps/v1", "Deployment", "deployments", f"ciflow-guard-{service}")


def guard_objects(service: str, namespace: str, image: str, guarded: tuple[Ref, ...]) -> list[dict[str, Any]]:
    """The lease, an account that may do nothing but give the traffic back and see what is ready, and the guard. In the
    order to make them."""
    name = guard_ref(service).name
    labels = _labels(service)
    metadata = {"name": name, "labels": labels}
    lease = lease_ref(service)
    rules = [right(ref, "get", "patch", *(["watch"] if ref == lease else [])) for ref in (lease, *guarded)]
    rules += [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}]
    return [
        lease_object(service),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        *_bound(service, namespace, name, rules),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {**labels, "app": name}}, "spec": _pod(service, image)},
            },
        },
    ]


def later_objects(service: str, namespace: str, key: str, rights: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What lets the guard do one errand, beside its own rights: a Role that names each object."""
    rules = [dict(right) for number, right in enumerate(rights) if right not in rights[:number]]
    return _bound(service, namespace, f"{guard_ref(service).name}-{key}", rules)


def _bound(service: str, namespace: str, name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A Role for the guard's account, and its binding."""
    metadata = {"name": name, "labels": _labels(service)}
    account = {"kind": "ServiceAccount", "name": guard_ref(service).name, "namespace": namespace}
    role = {"apiGroup": RBAC, "kind": "Role", "name": name}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": role,
         "subjects": [account]},
    ]  # fmt: skip


def right(ref: Ref, *verbs: str) -> dict[str, Any]:
    """A rule of a Role, for that one object."""
    group = ref.api_version.rpartition("/")[0]
    return {"apiGroups": [group], "resources": [ref.plural], "resourceNames": [ref.name], "verbs": list(verbs)}


def _pod(service: str, image: str) -> dict[str, Any]:
    program = GUARD.read_text(encoding="utf-8")
    container = {
        "name": "guard",
        "image": image,
        "command": ["python3", "-c", program, lease_ref(service).name],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "serviceAccountName": guard_ref(service).name,
        "terminationGracePeriodSeconds": 2,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }


def _labels(service: str) -> dict[str, str]:
    return {"app.kubernetes.io/managed-by": "ciflow", MADE: service}
