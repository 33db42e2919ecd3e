"""Whether objects of Kubernetes are as their specification wishes, and what keeps them from it. Pure.

The rules are those of `kubectl rollout status` (Deployment, StatefulSet, DaemonSet), and of the conditions that the
API's own documentation gives the other kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass

Thing = Mapping[str, Any]
ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


@dataclass(frozen=True, slots=True)
class State:
    """`ready`, or not yet with the reason in plain words; `lost` when it will not become so by waiting."""

    ready: bool
    why: str = ""
    lost: bool = False


def state_of(thing: Thing) -> State:
    """An object's own state. A kind that has neither rule nor condition is ready once it is there."""
    status = thing.get("status") or {}
    generation = (thing.get("metadata") or {}).get("generation", 0)
    if status.get("observedGeneration", generation) < generation:
        return State(False, "its controller has not seen the change yet")
    if thing.get("kind") in ROUTES:
        states = [holds(thing, kind, "True") for kind in ("Accepted", "ResolvedRefs")]
        return next((state for state in states if not state.ready), State(True))
    rule = _RULES.get(str(thing.get("kind")))
    if rule is not None:
        return rule(thing.get("spec") or {}, status)
    found = condition(status, "Ready") or condition(status, "Available")
    return _by_condition(found) if found else State(True)


def holds(thing: Thing, kind: str, wanted: str) -> State:
    """Whether a condition of the object has a status (True, False, Unknown), of a route those of all its parents. One
    of an earlier generation says nothing."""
    status = thing.get("status") or {}
    found = [condition(one, kind) for one in (status.get("parents") or [status])]
    if not all(found):
        return State(False, f"it has no condition {kind}")
    generation = (thing.get("metadata") or {}).get("generation", 0)
    for one in filter(None, found):
        if one.get("observedGeneration", generation) < generation:
            return State(False, "its controller has not seen the change yet")
        if str(one.get("status")) != wanted:
            return State(False, _said(one))
    return State(True)


def begins(thing: Thing, path: Iterable[str], text: str) -> State:
    """Whether what stands at `path` in the object begins with `text`."""
    found: Any = thing
    for name in path:
        found = (found or {}).get(name)
    shown = "nothing" if found is None else repr(found)
    return State(str(found or "").startswith(text), f"{list(path)[-1]} is {shown}, not {text!r}")


def reaches(thing: Thing, path: Iterable[str], least: int) -> State:
    """Whether the number at `path` in the object is at least `least`."""
    found: Any = thing
    for name in path:
        found = (found or {}).get(name)
    return State(int(found or 0) >= least, f"{list(path)[-1]} is {int(found or 0)}, not {least}")


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), None)


def troubles(pods: Iterable[Thing]) -> list[str]:
    """What keeps pods from being ready, each said once."""
    said = (trouble_of_pod(pod) for pod in pods if not pod["metadata"].get("deletionTimestamp"))
    return list(dict.fromkeys(filter(None, said)))


def trouble_of_pod(pod: Thing) -> str:
    """`web-1: ImagePullBackOff: Back-off pulling image ..`, or "" where nothing is known to be wrong."""
    status = pod.get("status") or {}
    name = pod["metadata"]["name"]
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state = one.get("state") or {}
        ended = state.get("terminated") or {}
        waiting = state.get("waiting") or {}
        last = (one.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            after = f" (it ended with {_end(last)})" if last else ""
            return f"{name}: {_pair(waiting)}{after}"
        if ended and ended.get("exitCode"):
            return f"{name}: container {one['name']} ended with {_end(ended)}"
    scheduled = condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return f"{name}: {_pair(scheduled)}"
    if status.get("phase") == "Failed":
        return f"{name}: {_pair(status) or 'Failed'}"
    return ""


def _end(ended: Mapping[str, Any]) -> str:
    """`exit code 137 (OOMKilled)`"""
    reason = ended.get("reason")
    return f"exit code {ended.get('exitCode')}" + (f" ({reason})" if reason and reason != "Error" else "")


def _pair(found: Mapping[str, Any]) -> str:
    return ": ".join(str(found[name]).strip() for name in ("reason", "message") if found.get(name))


def _said(found: Mapping[str, Any]) -> str:
    text = _pair(found)
    return f"{found.get('type')} is {found.get('status')}" + (f": {text}" if text else "")


def _by_condition(found: Mapping[str, Any]) -> State:
    return State(found.get("status") == "True", _said(found))


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    wanted = spec.get("replicas", 1)
    progress = condition(status, "Progressing")
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return State(False, _said(progress), lost=True)
    if status.get("updatedReplicas", 0) < wanted:
        return State(False, f"{status.get('updatedReplicas', 0)} of {wanted} new replicas are there")
    if status.get("replicas", 0) > status.get("updatedReplicas", 0):
        return State(False, f"{status['replicas'] - status['updatedReplicas']} old replicas are still there")
    return _enough(status.get("availableReplicas", 0), wanted)


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    wanted = spec.get("replicas", 1)
    rolling = (spec.get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate"
    if rolling and status.get("updateRevision") != status.get("currentRevision"):
        partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
        if status.get("updatedReplicas", 0) < wanted - partition:
            return State(False, f"{status.get('updatedReplicas', 0)} of {wanted - partition} replicas are new")
    return _enough(status.get("readyReplicas", 0), wanted)


def _daemon_set(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    wanted = status.get("desiredNumberScheduled", 0)
    if status.get("updatedNumberScheduled", 0) < wanted:
        return State(False, f"{status.get('updatedNumberScheduled', 0)} of {wanted} pods are new")
    return _enough(status.get("numberAvailable", 0), wanted)


def _replica_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    return _enough(status.get("readyReplicas", 0), spec.get("replicas", 1))


def _enough(there: int, wanted: int) -> State:
    return State(there >= wanted, "" if there >= wanted else f"{there} of {wanted} replicas are available")


def _pod(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    if status.get("phase") == "Succeeded":
        return State(True)
    if status.get("phase") == "Failed":
        return State(False, _pair(status) or "it failed", lost=True)
    found = condition(status, "Ready")
    return _by_condition(found) if found else State(False, f"it is {status.get('phase', 'Pending')}")


def _job(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    failed = condition(status, "Failed")
    if failed is not None and failed.get("status") == "True":
        return State(False, _pair(failed), lost=True)
    done = condition(status, "Complete")
    ready = done is not None and done.get("status") == "True"
    return State(ready, "" if ready else f"{status.get('active', 0)} pods are at work")


def _definition(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    found = condition(status, "Established")
    return _by_condition(found) if found else State(False, "it is not established yet")


def _claim(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    return State(status.get("phase") in ("Bound", "Pending"), f"it is {status.get('phase')}")


def _namespace(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> State:
    return State(status.get("phase") == "Active", f"it is {status.get('phase')}")


_RULES: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], State]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "ReplicaSet": _replica_set,
    "Pod": _pod,
    "Job": _job,
    "CustomResourceDefinition": _definition,
    "PersistentVolumeClaim": _claim,
    "Namespace": _namespace,
}
