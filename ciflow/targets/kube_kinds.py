"""From an object's apiVersion and kind to its address in the API, by what the server says that it has (discovery)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import NoSuch, Unreachable
from ciflow.targets.kubernetes import Cluster


@dataclass(frozen=True, slots=True)
class Resource:
    """`root` is /api/v1 or /apis/GROUP/VERSION, `plural` the kind's name in addresses."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Of one object, or of all in a namespace; "" means all namespaces."""
        inside = f"/namespaces/{segment(namespace)}" if self.namespaced and namespace else ""
        return f"{self.root}{inside}/{self.plural}" + (f"/{segment(name)}" if name else "")


def segment(name: str) -> str:
    """A name as one part of an address, which it can't leave. Raises NoSuch for what no object can be called
    (ValidatePathSegmentName of Kubernetes' apimachinery)."""
    if name in ("", ".", "..") or any(sign in name for sign in "/%?#\\") or not name.isprintable() or " " in name:
        raise NoSuch(f"nothing in a cluster can be called {name!r}")
    return name


class Kinds:
    """What one cluster has. A kind that is not found is looked up anew: its definition may have come meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._known: dict[str, Mapping[str, Resource]] = {}

    def resource(self, api_version: str, kind: str) -> Resource:
        """Raises NoSuch where the server has no such kind, naming what it has that is spelt likewise."""
        with self._lock:
            known = self._known.get(api_version, {})
            if kind not in known:
                known = self._known[api_version] = self._ask(api_version)
        if kind not in known:
            alike = next((name for name in known if name.lower() == kind.lower()), "")
            hint = f"did you mean {alike}?" if alike else f"is the definition of {kind} in the cluster?"
            raise NoSuch(f"the cluster has no kind {kind} in {api_version}", help=hint)
        return known[kind]

    def _ask(self, api_version: str) -> Mapping[str, Resource]:
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        answer = self._cluster.request("GET", root)
        if answer.status == 404:
            return {}
        if not answer.ok:
            raise Unreachable(f"{self._cluster.name}: {answer.message}")
        return {str(one["kind"]): _resource(root, one) for one in answer.body["resources"] if "/" not in one["name"]}


def _resource(root: str, one: Mapping[str, Any]) -> Resource:
    return Resource(root, str(one["name"]), bool(one["namespaced"]))
