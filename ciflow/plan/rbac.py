"""The least that a playbook may do in a cluster: Roles and ClusterRoles, worked out from its tasks. Pure.

Only what is written in plain words is known before a run: a kind that a template makes is said to be unknown, for a
role that lacks it would fail in the middle of a run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Host, Play, Task, Template
from ciflow.plan.compile import Plan, Stage, every_task

APPLY = ("create", "get", "patch")
DELETE = ("delete", "get")
WATCH = ("get", "list", "watch")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
# Kinds of Kubernetes' own API that are in no namespace.
WIDE = frozenset(
    {"Namespace", "Node", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
    | {"StorageClass", "IngressClass", "PriorityClass", "RuntimeClass", "GatewayClass", "CSIDriver", "APIService"}
    | {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy"}
)
_CONNECTIONS = ("kubernetes", "kubectl", "kubernetes.core.kubectl")
_LINE = re.compile(r"(?m)^(?:- )?(apiVersion|kind): *[\"']?([\w./-]+)[\"']? *(?:#.*)?$")


@dataclass(frozen=True, slots=True, order=True)
class Need:
    """`verbs` on one resource. `namespace` "" is the context's own, "*" all of them; `wide`: it is in none."""

    namespace: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What is needed, and the places where that could not be told."""

    needs: tuple[Need, ...]
    unknown: tuple[str, ...] = ()


def needs_of(
    plan: Plan, read: Callable[[str, Task], str | None], known: Callable[[Stage, Any], Any] = lambda _, value: value
) -> Needs:
    """Of all tasks of a plan. `read` gives the text of a file that a task names, or None where it can't be had; `known`
    a value of a stage as far as it stands in files: with its templates rendered, or as it is."""
    found: list[Need] = []
    unknown: list[str] = []
    for stage in plan.stages:
        found += [need for host in stage.hosts for need in _of_host(stage.play, host)]
        for task in every_task(stage.play):
            reader = _TASKS.get(task.module)
            if reader is None:
                continue
            try:
                found += reader(replace(task, args=known(stage, task.args)), read)
            except Untold as why:
                unknown.append(f"{task.span}: {why}")
    return Needs(tuple(merged(found)), tuple(dict.fromkeys(unknown)))


def roles(needs: Iterable[Need], name: str, namespace: str = "") -> list[dict[str, Any]]:
    """The objects: a Role for each namespace, and a ClusterRole for what is in none or in all. `namespace` is the one
    that the context has."""
    spaces: dict[str, list[Need]] = {}
    for need in needs:
        spaces.setdefault("*" if need.wide or need.namespace == "*" else need.namespace or namespace, []).append(need)
    made = []
    for space, these in sorted(spaces.items()):
        metadata = {"name": name, **({"namespace": space} if space not in ("*", "") else {})}
        kind = "ClusterRole" if space == "*" else "Role"
        rules = [{"apiGroups": [n.group], "resources": [n.resource], "verbs": list(n.verbs)} for n in merged(these)]
        made.append({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
    return made


def plural(kind: str) -> str:
    """The name of a kind in addresses, by the rule that Kubernetes' own clients guess by."""
    name = kind.lower()
    if name == "endpoints":
        return name
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if re.search(r"[^aeiou]y$", name) else f"{name}s"


class Untold(Exception):
    """A task whose words are only known when it runs."""


def merged(needs: Iterable[Need]) -> Iterator[Need]:
    """One for each resource, with all verbs that somebody needs there."""
    verbs: dict[tuple[str, str, str, bool], set[str]] = {}
    for need in needs:
        verbs.setdefault((need.namespace, need.group, need.resource, need.wide), set()).update(need.verbs)
    for (namespace, group, resource, wide), all_of in sorted(verbs.items()):
        yield Need(namespace, group, resource, tuple(sorted(all_of)), wide)


def _need(namespace: str, api_version: str, kind: str, verbs: Iterable[str]) -> Need:
    group = api_version.rpartition("/")[0]
    return Need(namespace, group, plural(kind), tuple(verbs), kind in WIDE)


def _of_host(play: Play, host: Host) -> Iterator[Need]:
    """A pod that is a host: it is found, and a command is started in it (a websocket asks for both verbs). One that is
    made for the play is made by a Job, which is waited for when it goes."""
    keyword = next((str(one["ansible_connection"]) for one in play.role_defaults if "ansible_connection" in one), "")
    kind = str(host.vars.get("ansible_connection") or keyword or host.connection)
    made = play.image is not None
    if (keyword if made and kind == "local" else kind) not in _CONNECTIONS:
        return
    space = str(host.vars.get("ansible_kubectl_namespace") or play.vars.get("ansible_kubectl_namespace") or "")
    listed = made or host.vars.get("ansible_kubectl_selector")
    yield Need(space, "", "pods", ("list",) if listed else ("get",))
    yield Need(space, "", "pods/exec", ("create", "get"))
    if made:
        yield Need(space, "batch", "jobs", (*APPLY, *DELETE, *WATCH))


# --- tasks -----------------------------------------------------------------------------------------------


def _plain(task: Task, value: Any, what: str) -> str:
    if isinstance(value, Template):
        raise Untold(f"`{what}` is known only when `{task.module}` runs")
    return str(value or "")


def _k8s(task: Task, read: Callable[[str, Task], str | None]) -> Iterator[Need]:
    waits = task.args.get("wait") not in (None, False)
    kinds = list(_kinds(task, read))
    for space, api_version, kind in kinds:
        absent = task.args.get("state") == "absent"
        verbs = {*(DELETE if absent else APPLY), *(WATCH if waits else ())}
        if task.args.get("prune"):
            verbs |= {"delete", "list"}
        if absent and task.args.get("label_selectors"):
            verbs.add("list")
        yield _need(space, api_version, kind, verbs)
        if waits and kind in WORKLOADS:
            yield _need(space, "v1", "Pod", ["list"])
        if waits and kind == "Job" and not absent:
            yield Need(space, "", "pods/log", ("get",))
    for text in task.args.get("prune_kinds") or ():
        api_version, _, kind = _plain(task, text, "prune_kinds").rpartition("/")
        for space in dict.fromkeys(space for space, *_ in kinds):
            yield _need(space, api_version or "v1", kind, ("delete", "get", "list"))


def _k8s_info(task: Task, _read: Callable[[str, Task], str | None]) -> Iterator[Need]:
    kind, api_version = _plain(task, task.args.get("kind"), "kind"), _version(task)
    space = _plain(task, task.args.get("namespace"), "namespace")
    name = task.args.get("name")
    verbs = {"get"} if name else {"list"}
    waits = task.args.get("wait") not in (None, False)
    yield _need(space or ("" if name else "*"), api_version, kind, {*verbs, *(WATCH if waits else ())})


def _k8s_exec(task: Task, _read: Callable[[str, Task], str | None]) -> Iterator[Need]:
    space = _plain(task, task.args.get("namespace"), "namespace")
    yield Need(space, "", "pods", ("list",) if task.args.get("selector") else ("get",))
    yield Need(space, "", "pods/exec", ("create", "get"))


def _version(task: Task) -> str:
    said = next((task.args[name] for name in ("api_version", "api", "version") if name in task.args), "v1")
    return _plain(task, said, "api_version")


def _kinds(task: Task, read: Callable[[str, Task], str | None]) -> Iterator[tuple[str, str, str]]:
    """(namespace, apiVersion, kind) of each object."""
    space = task.args.get("namespace")
    names = ("definition", "resource_definition", "inline")
    said = next((task.args[name] for name in names if name in task.args), None)
    for name in ("src", "template"):
        for one in _listed(task.args.get(name)):
            path = _plain(task, one.get("path") if isinstance(one, Mapping) else one, name)
            text = read(path, task)
            if text is None:
                raise Untold(f"{path} is not to be found")
            yield from _of_text(task, text, space)
    for one in _listed(said):
        if isinstance(one, Template | str):
            yield from _of_text(task, one.source if isinstance(one, Template) else one, space)
        else:
            yield from _of_object(task, one, space)
    if said is None and not task.args.get("src") and not task.args.get("template"):
        yield _plain(task, space, "namespace"), _version(task), _plain(task, task.args.get("kind"), "kind")


def _listed(said: Any) -> list[Any]:
    if said is None:
        return []
    return list(said) if isinstance(said, list | tuple) else [said]


def _of_object(task: Task, thing: Mapping[str, Any], space: Any) -> Iterator[tuple[str, str, str]]:
    own = (thing.get("metadata") or {}).get("namespace", space)
    kind = _plain(task, thing.get("kind", task.args.get("kind")), "kind")
    api_version = _plain(task, thing.get("apiVersion"), "apiVersion") or _version(task)
    yield _plain(task, own, "namespace"), api_version, kind


def _of_text(task: Task, text: str, space: Any) -> Iterator[tuple[str, str, str]]:
    """Documents that may hold templates: only their first words are read, line by line."""
    for document in re.split(r"(?m)^---.*$", text):
        words = dict(_LINE.findall(document))
        if not words and not document.strip():
            continue
        if "kind" not in words:
            raise Untold("a document doesn't say its kind in plain words")
        own = re.search(r"(?m)^  namespace: *[\"']?([\w-]+)[\"']? *$", document)
        yield own[1] if own else _plain(task, space, "namespace"), words.get("apiVersion", "v1"), words["kind"]


_TASKS: Mapping[str, Callable[[Task, Callable[[str, Task], str | None]], Iterable[Need]]] = {
    "k8s": _k8s,
    "k8s_info": _k8s_info,
    "k8s_exec": _k8s_exec,
}
