"""Pods as targets: which pod and container a host means, and the pipe to a command that is started there.

An exec is never assumed to live on after its connection ended: what it had in hand is asked of the agent's journal,
and where the pod is no more there is nobody to ask (Gone).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Gone, Refused, Unreachable
from ciflow.targets.connection import Connection
from ciflow.targets.kube_kinds import segment
from ciflow.targets.kube_ready import state_of, trouble_of_pod
from ciflow.targets.kube_stream import ERROR, Ending, Stream
from ciflow.targets.kubernetes import NEEDED, Cluster, cluster

LOOK_AGAIN = 0.3  # seconds between looks at a pod that is about to start
START = 300.0  # seconds
HOPELESS = ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
NO_SHELL = ("no such file or directory", "executable file not found", "not found in $PATH")
NEED_SHELL = "use an image with a shell, or add such a container to the pod and name it: ansible_kubectl_container"


class PodPipe:
    """The streams of one exec as a target's pipe."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name

    def send(self, data: bytes) -> None:
        self._stream.send(data)

    def receive(self, timeout: float) -> bytes | None:
        """What came on standard output or standard error. Unreachable: there is nothing that could start a command."""
        came = self._stream.receive(timeout)
        if came is None:
            return None
        if came[0] == ERROR:
            self._why(self._stream.ending)
            return b""
        return came[1]

    def _why(self, ending: Ending | None) -> None:
        if ending is None or ending.rc not in (None, 126, 127):
            return
        if "/bin/sh" in ending.message and any(words in ending.message for words in NO_SHELL):
            raise Unreachable(f"{self._name}: there is no /bin/sh, so no command can run there", help=NEED_SHELL)
        if ending.rc is None:
            raise Unreachable(f"{self._name}: {ending.message}")

    def close(self) -> None:
        self._stream.close()


def open_kubernetes(connection: Connection, command: str) -> PodPipe:
    """Start `command` by /bin/sh in the container that the connection means."""
    asked = cluster(connection.option("kubeconfig") or connection.option("config"), connection.option("context"))
    namespace = connection.option("namespace") or asked.namespace
    pod, container = find_container(asked, connection, namespace)
    stream = open_exec(asked, namespace, pod, container, ["/bin/sh", "-c", command], connection.connect_timeout)
    return PodPipe(stream, f"{connection.name} ({namespace}/{pod}, container {container})")


def open_exec(
    asked: Cluster, namespace: str, pod: str, container: str, argv: list[str], timeout: float, *, stdin: bool = True
) -> Stream:
    """The streams of a command. A standard input stays open as long as the stream: there is no half-close."""
    query = [("command", word) for word in argv]
    query += [("container", container), ("stdin", str(stdin).lower()), ("stdout", "true"), ("stderr", "true")]
    return asked.stream(f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(pod)}/exec", query, max(timeout, 1.0))


def find_container(asked: Cluster, connection: Connection, namespace: str) -> tuple[str, str]:
    """(pod, container) of a connection, once the container runs; `connect_timeout` is how long that may take, and
    START for a pod that was just made: its image may have to be pulled. Gone: there is none with these labels."""
    until = time.monotonic() + max(connection.connect_timeout, START if connection.option("job") else 1.0)
    while True:
        pod, said = _look(asked, connection, namespace)
        if pod is not None:
            container = chosen_container(pod, connection.option("container"), connection.name)
            if _runs(pod, container):
                return str(pod["metadata"]["name"]), container
            said = trouble_of_pod(pod) or f"container {container} does not run"
            if any(word in said for word in HOPELESS):
                raise Unreachable(f"{connection.name}: {said}")
        if time.monotonic() > until:
            raise (Gone if pod is None else Unreachable)(f"{connection.name}: {said}")
        time.sleep(LOOK_AGAIN)


def _look(asked: Cluster, connection: Connection, namespace: str) -> tuple[Mapping[str, Any] | None, str]:
    """The pod as it is now, or why there is none (yet). Gone: the named one is not there."""
    pods = f"/api/v1/namespaces/{segment(namespace)}/pods"
    job = connection.option("job")
    selector = f"job-name={job}" if job else connection.option("selector")
    if selector:
        answer = asked.request("GET", pods, [("labelSelector", selector)])
        _refuse(answer, connection)
        found = pick(answer.body["items"])
        if found is None and job:
            _still_there(asked, connection, namespace, job)
        return found, f"no pod in namespace {namespace} has the labels {selector}"
    name = connection.option("pod") or connection.address or connection.name
    answer = asked.request("GET", f"{pods}/{segment(name)}")
    if answer.status == 404:
        raise Gone(f"{connection.name}: there is no pod {name} in namespace {namespace}",
                   help="a pod's name changes with each rollout: name it by ansible_kubectl_selector")  # fmt: skip
    _refuse(answer, connection)
    if answer.body["status"].get("phase") in ("Succeeded", "Failed"):
        why = trouble_of_pod(answer.body) or answer.body["status"]["phase"]
        raise Gone(f"{connection.name}: pod {name} has ended: {why}")
    return answer.body, ""


def _still_there(asked: Cluster, connection: Connection, namespace: str, job: str) -> None:
    """Whether a pod can still be made by the Job: it makes one, and none in its place."""
    answer = asked.request("GET", f"/apis/batch/v1/namespaces/{segment(namespace)}/jobs/{segment(job)}")
    if answer.status == 404:
        raise Gone(f"{connection.name}: its Job {job} is not there any more")
    state = state_of(answer.body) if answer.ok else None
    if state is not None and (state.lost or state.ready):
        raise Gone(f"{connection.name}: its Job {job} has ended{': ' + state.why if state.why else ''}")


def _refuse(answer: Any, connection: Connection) -> None:
    if not answer.ok:
        raise Unreachable(f"{connection.name}: {answer.message}", help=NEEDED if answer.status == 403 else "")


def pick(pods: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of several pods that are alive one that runs, the oldest: a rollout's new ones don't take its place."""
    alive = [
        pod for pod in pods
        if not pod["metadata"].get("deletionTimestamp") and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]  # fmt: skip
    ranked = sorted(alive, key=lambda pod: (pod["status"].get("phase") != "Running", _age(pod)))
    return ranked[0] if ranked else None


def _age(pod: Mapping[str, Any]) -> tuple[str, str]:
    return str(pod["metadata"].get("creationTimestamp")), str(pod["metadata"]["name"])


def chosen_container(pod: Mapping[str, Any], name: str, host: str) -> str:
    """The container that is named, else as kubectl does: its annotation's default, else the first."""
    names = [str(one["name"]) for one in pod["spec"]["containers"]]
    if name and name not in names:
        raise Refused(f"{host}: pod {pod['metadata']['name']} has no container {name}, but {', '.join(names)}")
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    return name or (default if default in names else names[0])


def _runs(pod: Mapping[str, Any], container: str) -> bool:
    statuses = pod["status"].get("containerStatuses") or []
    return any(one["name"] == container and "running" in (one.get("state") or {}) for one in statuses)
