"""Answers Api operations of kind kubernetes: read, apply, patch, delete and wait for objects, run a command in a pod.

A request is a mapping with `verb` and that verb's own words (the `_do_` functions name them), and everywhere
`kubeconfig`, `context` and `namespace` ("": the context's own). Objects go without `managedFields`.

Writing is server-side apply as field manager `ciflow`: whoever else manages a field is named in the conflict, and
asking twice is the same as asking once. A write whose answer never came is made again only after the object could be
read again.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Lost, NoSuch
from ciflow.model import Reply
from ciflow.targets.connection import Connection
from ciflow.targets.kube_content import content, hidden, managed_by, plain
from ciflow.targets.kube_kinds import Kinds, Resource, segment
from ciflow.targets.kube_logs import JobLogs
from ciflow.targets.kube_pods import find_container, open_exec
from ciflow.targets.kube_ready import WORKLOADS, State, begins, holds, reaches, state_of, troubles
from ciflow.targets.kube_stream import ERROR, STDERR
from ciflow.targets.kubernetes import LATER, NEEDED, Answer, Cluster, cluster

MANAGER = "ciflow"
APPLY = "application/apply-patch+yaml"
WRITES = 4  # times that a write is made in all
PAUSE = 0.2  # seconds at least between two looks at an object that is waited for
WATCH = 5.0  # seconds of one watch; then the object is read again in any case
KEPT = 4 * 1024 * 1024  # bytes of each output stream of a command that are kept


def ask_kubernetes(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    """The reply to one request. A CiflowError says why there is none."""
    asked = cluster(str(request.get("kubeconfig", "")), str(request.get("context", "")))
    return _VERBS[request["verb"]](_Asked(asked, request, stop))


@functools.cache
def _kinds(asked: Cluster) -> Kinds:
    return Kinds(asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, and whom it goes to."""

    cluster: Cluster
    words: Mapping[str, Any]
    stop: threading.Event

    @property
    def namespace(self) -> str:
        return str(self.words.get("namespace") or self.cluster.namespace)

    def resource(self) -> Resource:
        return _kinds(self.cluster).resource(self.words["api_version"], self.words["kind"])

    def get(self, path: str, query: list[tuple[str, str]] | None = None) -> Answer:
        return self.cluster.request("GET", path, query or [], stop=self.stop)


# --- read ------------------------------------------------------------------------------------------------


def _do_read(asked: _Asked) -> Reply:
    """`api_version kind name namespace labels fields`: data {objects: [..], resource_version}. `everywhere` looks in
    all namespaces; `managed` leaves out what ciflow has not applied. An object that is not there is no failure."""
    words, resource = asked.words, asked.resource()
    name = str(words.get("name", ""))
    path = resource.path("" if words.get("everywhere") else asked.namespace, name)
    query = [(to, str(words[of])) for of, to in (("labels", "labelSelector"), ("fields", "fieldSelector"))
             if words.get(of)]  # fmt: skip
    found: list[Any] = []
    more = ""
    while True:
        answer = asked.get(path, [*query, ("limit", "500"), *([("continue", more)] if more else [])])
        if answer.status == 404:
            return Reply(data={"objects": []})
        if answer.status == 410 and more:  # the list's time is over: from the start, so that nothing is missed
            found, more = [], ""
            continue
        if not answer.ok:
            return refused(answer)
        found += [answer.body] if name else answer.body["items"]
        more = str(answer.body.get("metadata", {}).get("continue") or "") if not name else ""
        if not more:
            break
    named = {"apiVersion": words["api_version"], "kind": words["kind"]}  # items of a list don't say it themselves
    managed = [one for one in found if not words.get("managed") or managed_by(one, MANAGER)]
    return Reply(data={"objects": [{**named, **plain(one)} for one in managed]})


def _do_locate(asked: _Asked) -> Reply:
    """`api_version kind name namespace`: data {path, group, plural}, its address and what its kind is called there."""
    resource = asked.resource()
    group = str(asked.words["api_version"]).rpartition("/")[0]
    path = resource.path(asked.namespace, str(asked.words["name"]))
    return Reply(data={"path": path, "group": group, "plural": resource.plural})


# --- apply -----------------------------------------------------------------------------------------------


def _do_apply(asked: _Asked) -> Reply:
    """`object`, `force` (take fields over from others), `dry_run`: data {before, after}, secrets hidden in both.

    A dry run whose namespace or kind is not there yet, as it may be further up in the same playbook, predicts.
    """
    thing = asked.words["object"]
    try:
        resource = asked.resource()
    except NoSuch:
        if not asked.words.get("dry_run"):
            raise
        return _guessed(thing)
    path = resource.path(asked.namespace, thing["metadata"]["name"])
    before = asked.get(path)
    if not before.ok and before.status != 404:
        return refused(before)
    query = [("fieldManager", MANAGER), ("fieldValidation", "Strict")]
    query += [("force", "true")] * bool(asked.words.get("force"))
    query += [("dryRun", "All")] * bool(asked.words.get("dry_run"))
    answer = _written(asked, "PATCH", path, query, thing, APPLY)
    if (others := conflicts(answer)) and all(one["manager"] == MANAGER for one in others):
        # our own patch has set these: a router's, that made a slot stronger
        answer = _written(asked, "PATCH", path, [*query, ("force", "true")], thing, APPLY)
    if answer.status == 404 and asked.words.get("dry_run"):
        return _guessed(thing)
    if not answer.ok:
        return refused(answer)
    old = before.body if before.ok else {}
    changed = content(old) != content(answer.body)
    was, now = hidden(plain(old), plain(answer.body))
    return Reply(changed=changed, data={"before": was, "after": now})


def _guessed(thing: Mapping[str, Any]) -> Reply:
    return Reply(changed=True, data={"before": {}, "after": hidden({}, dict(thing))[1], "guessed": True})


def _written(asked: _Asked, method: str, path: str, query: list[tuple[str, str]], body: Any, kind: str) -> Answer:
    """The answer to a write. Before it is made again the object is read, so that nothing is sent into the dark."""
    for number in range(WRITES):
        last = number + 1 == WRITES
        try:
            answer = asked.cluster.request(method, path, query, body, kind=kind, again=False, stop=asked.stop)
            again = answer.status in LATER or (answer.status == 409 and not conflicts(answer))
            if last or not again:
                return answer
        except Lost:
            if last or asked.stop.is_set():
                raise
        asked.stop.wait(PAUSE * 2**number)
        asked.get(path)
    raise AssertionError("the last time returns or raises")


def conflicts(answer: Answer) -> list[dict[str, str]]:
    """Fields that somebody else manages: [{manager, field}]. The manager stands in quotes in the server's message."""
    details = answer.body.get("details") if isinstance(answer.body, Mapping) else None
    causes = (details or {}).get("causes") or []
    return [
        {"manager": str(cause.get("message", "")).partition('"')[2].partition('"')[0], "field": str(cause["field"])}
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]


def refused(answer: Answer) -> Reply:
    """A failure in the server's words; a conflict names whom it is with."""
    found = conflicts(answer)
    text = answer.message
    if found:
        fields = ", ".join(f"{one['field']} (by {one['manager']})" for one in found)
        text = f"others manage {fields}: leave these fields out, or take them over with `force_conflicts: true`"
    if answer.status == 403 and "cannot" in text:
        text += f" ({NEEDED})"
    return Reply(ok=False, error=text, data={"status": answer.status, "conflicts": found})


# --- patch -----------------------------------------------------------------------------------------------


def _do_patch(asked: _Asked) -> Reply:
    """`api_version kind name patch`: a list is a JSON Patch (RFC 6902), a mapping a merge patch (RFC 7396). Data
    {after}, or {status}: 422 where a `test` of the patch has failed.

    A patch whose answer never came is made again: one that tests what it replaces fails the second time, and whoever
    asked reads what stands there.
    """
    path = asked.resource().path(asked.namespace, str(asked.words["name"]))
    patch = asked.words["patch"]
    kind = f"application/{'merge-patch' if isinstance(patch, Mapping) else 'json-patch'}+json"
    query = [("fieldManager", MANAGER), ("fieldValidation", "Strict")]
    answer = _written(asked, "PATCH", path, query, patch, kind)
    if not answer.ok:
        return refused(answer)
    return Reply(changed=True, data={"after": hidden({}, plain(answer.body))[1]})


# --- delete ----------------------------------------------------------------------------------------------


def _do_delete(asked: _Asked) -> Reply:
    """`api_version kind name`, `propagation`, `dry_run`: data {before}. What is not there is no change; what was made
    anew under the same name meanwhile is left alone."""
    name = str(asked.words["name"])
    try:
        path = asked.resource().path(asked.namespace, name)
    except NoSuch:
        return Reply(data={"before": {}})
    before = asked.get(path)
    if before.status == 404:
        return Reply(data={"before": {}})
    if not before.ok:
        return refused(before)
    body: dict[str, Any] = {"preconditions": {"uid": before.body["metadata"]["uid"]}}
    body["propagationPolicy"] = asked.words.get("propagation") or "Background"
    if asked.words.get("dry_run"):
        body["dryRun"] = ["All"]  # in the address it would be passed over: a body's options replace those
    answer = _written(asked, "DELETE", path, [], body, "application/json")
    if not answer.ok and answer.status not in (404, 409):
        return refused(answer)
    return Reply(changed=True, data={"before": hidden(plain(before.body), {})[0]})


# --- wait ------------------------------------------------------------------------------------------------


def _do_wait(asked: _Asked) -> Reply:
    """`api_version kind name timeout`, and `condition` {type, status}, {path, begins} or {path, least}, or `endpoints`,
    or `absent`: until the object is ready, or as the condition says, or a Service has an endpoint that is ready, or the
    object is gone. `pause`: seconds at least between two looks. Data {object, why}. `logs`: what the pods of a Job
    print is told meanwhile, and is the reply's stdout.

    A watch only wakes it: every look reads the object anew, so that no end of a watch (410, a lost connection) can
    make it miss anything.
    """
    resource = asked.resource()
    path = resource.path(asked.namespace, str(asked.words["name"]))
    until = time.monotonic() + float(asked.words["timeout"])
    logs = _logs(asked) if asked.words.get("logs") else None
    while True:
        answer = asked.get(path)
        if not answer.ok and answer.status != 404:
            return refused(answer)
        thing = answer.body if answer.ok else {}
        if logs is not None:
            logs.look()
        state = _state(asked, thing)
        left = until - time.monotonic()
        if state.ready or state.lost or left <= 0 or asked.stop.is_set():
            reply = _waited(asked, thing, state)
            return replace(reply, stdout=logs.end()) if logs is not None else reply
        _sleep(asked, resource, thing, min(left, WATCH))


def _logs(asked: _Asked) -> JobLogs:
    tell: Callable[[bytes], None] = asked.words.get("tell") or (lambda _: None)
    return JobLogs(asked.cluster, asked.namespace, str(asked.words["name"]), float(asked.words["timeout"]), tell)


def _state(asked: _Asked, thing: Mapping[str, Any]) -> State:
    if asked.words.get("absent"):
        finalizers = ", ".join((thing.get("metadata") or {}).get("finalizers") or ())
        return State(not thing, f"it waits for its finalizers {finalizers}" if finalizers else "it is still there")
    if not thing:
        return State(False, "it is not there")
    if asked.words.get("endpoints"):
        return _served(asked)
    wanted = asked.words.get("condition")
    if wanted and "least" in wanted:
        return reaches(thing, wanted["path"], int(wanted["least"]))
    if wanted and "path" in wanted:
        return begins(thing, wanted["path"], str(wanted["begins"]))
    return holds(thing, str(wanted["type"]), str(wanted.get("status", "True"))) if wanted else state_of(thing)


def _served(asked: _Asked) -> State:
    """Whether the Service that is asked about has an endpoint that is ready."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{segment(asked.namespace)}/endpointslices"
    answer = asked.get(path, [("labelSelector", f"kubernetes.io/service-name={asked.words['name']}")])
    if not answer.ok:
        return State(False, answer.message, lost=True)
    ends = [end for one in answer.body["items"] for end in one.get("endpoints") or ()]
    ready = sum((end.get("conditions") or {}).get("ready") is not False for end in ends)
    return State(bool(ready), f"{ready} of {len(ends)} endpoints are ready")


def _waited(asked: _Asked, thing: Mapping[str, Any], state: State) -> Reply:
    shown = hidden({}, plain(thing))[1]
    if state.ready:
        return Reply(data={"object": shown, "why": ""})
    said = [state.why, *_troubles(asked, thing)]
    name = f"{asked.words['kind']} {asked.words['name']}"
    verb = "will not be" if state.lost else f"is not {'gone' if asked.words.get('absent') else 'ready'} after"
    after = "ready" if state.lost else f"{float(asked.words['timeout']):g} s"
    why = "; ".join(filter(None, said))
    return Reply(ok=False, error=f"{name} {verb} {after}: {why}", data={"object": shown, "why": why})


def _troubles(asked: _Asked, thing: Mapping[str, Any]) -> list[str]:
    """What its pods say: ImagePullBackOff, CrashLoopBackOff, unschedulable."""
    if thing.get("kind") == "Pod":
        return troubles([thing])
    labels = ((thing.get("spec") or {}).get("selector") or {}).get("matchLabels")
    if thing.get("kind") not in WORKLOADS or not labels:
        return []
    selector = ",".join(f"{name}={value}" for name, value in labels.items())
    answer = asked.get(f"/api/v1/namespaces/{segment(asked.namespace)}/pods", [("labelSelector", selector)])
    return troubles(answer.body["items"]) if answer.ok else []


def _sleep(asked: _Asked, resource: Resource, thing: Mapping[str, Any], most: float) -> None:
    """Until something happens to the object, for `most` seconds at most."""
    pause = float(asked.words.get("pause") or PAUSE)
    if asked.words.get("endpoints"):
        asked.stop.wait(min(most, pause))  # it is not the Service that changes
        return
    began = time.monotonic()
    query = [("fieldSelector", f"metadata.name={asked.words['name']}")]
    if thing:
        query.append(("resourceVersion", str(thing["metadata"]["resourceVersion"])))
    for _ in asked.cluster.watch(resource.path(asked.namespace), query, most):
        break
    asked.stop.wait(max(0.0, pause - (time.monotonic() - began)))


# --- exec ------------------------------------------------------------------------------------------------


def _do_exec(asked: _Asked) -> Reply:
    """`pod` or `selector`, `container`, `argv`, `timeout`: rc, stdout and stderr (as much as KEPT of each).

    Without an exit code nobody knows how it ended, and whether it goes on.
    """
    words = asked.words
    options = tuple((name, str(words[name])) for name in ("pod", "selector", "container") if words.get(name))
    place = Connection(kind="kubernetes", name=str(words.get("pod") or words.get("selector")), options=options)
    pod, container = find_container(asked.cluster, place, asked.namespace)
    stream = open_exec(asked.cluster, asked.namespace, pod, container, list(words["argv"]), 10.0, stdin=False)
    kept: tuple[bytearray, bytearray] = (bytearray(), bytearray())
    cut, data = False, {"pod": pod, "container": container, "namespace": asked.namespace}
    until = time.monotonic() + float(words.get("timeout") or 3600.0)
    try:
        while not asked.stop.is_set() and time.monotonic() < until:
            came = stream.receive(min(1.0, max(0.01, until - time.monotonic())))
            if came is None:
                continue
            if came[0] == ERROR:
                break
            sink = kept[came[0] == STDERR]
            cut |= len(came[1]) > KEPT - len(sink)
            sink += came[1][: KEPT - len(sink)]
    finally:
        stream.close()
    out, err = map(bytes, kept)
    if stream.ending is None:
        text = "the connection ended before the command did: nobody can say how it ended"
        if time.monotonic() >= until or asked.stop.is_set():
            text = "its time is over: nobody can say whether it goes on in the pod"
        return Reply(status="unknown", ok=False, stdout=out, stderr=err, error=text, data=data)
    rc, text = stream.ending.rc, stream.ending.message
    if rc is None:
        return Reply(ok=False, stdout=out, stderr=err, error=text or "it could not be started", data=data)
    return Reply(ok=rc == 0, changed=True, rc=rc, stdout=out, stderr=err, truncated=cut, data=data)


_VERBS: Mapping[str, Callable[[_Asked], Reply]] = {
    "read": _do_read,
    "locate": _do_locate,
    "apply": _do_apply,
    "patch": _do_patch,
    "delete": _do_delete,
    "wait": _do_wait,
    "exec": _do_exec,
}
