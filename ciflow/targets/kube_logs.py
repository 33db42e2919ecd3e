"""What the containers of a Job print, while somebody waits for it: followed from their beginning, line by line."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ciflow.targets.kube_kinds import segment
from ciflow.targets.kubernetes import Cluster

KEPT = 1024 * 1024  # bytes of all containers together that are kept
LAST = 10.0  # seconds for what is still on its way when the Job has ended


class JobLogs:
    """Of one Job. `look` finds containers that have begun; each is followed in a thread of its own."""

    def __init__(
        self, cluster: Cluster, namespace: str, job: str, timeout: float, tell: Callable[[bytes], None]
    ) -> None:
        self._cluster = cluster
        self._pods = f"/api/v1/namespaces/{segment(namespace)}/pods"
        self._job = job
        self._timeout = timeout
        self._tell = tell
        self._lock = threading.Lock()
        self._kept = bytearray()
        self._followed: dict[tuple[str, str], threading.Thread] = {}

    def look(self) -> None:
        answer = self._cluster.request("GET", self._pods, [("labelSelector", f"job-name={self._job}")])
        for pod in answer.body["items"] if answer.ok else ():
            for one in pod["status"].get("containerStatuses") or ():
                named = (str(pod["metadata"]["name"]), str(one["name"]))
                if named not in self._followed and {"running", "terminated"} & (one.get("state") or {}).keys():
                    self._followed[named] = threading.Thread(target=self._follow, args=named, daemon=True)
                    self._followed[named].start()

    def end(self) -> bytes:
        """All that was printed, or its first KEPT bytes, once the Job has ended."""
        self.look()
        for thread in self._followed.values():
            thread.join(LAST)
        with self._lock:
            return bytes(self._kept)

    def _follow(self, pod: str, container: str) -> None:
        """Whole lines, so that those of several containers don't mix."""
        rest = b""
        query = [("container", container), ("follow", "true")]
        for piece in self._cluster.pieces(f"{self._pods}/{segment(pod)}/log", query, self._timeout):
            lines, newline, rest = (rest + piece).rpartition(b"\n")
            self._take(lines + newline)
        self._take(rest)

    def _take(self, data: bytes) -> None:
        if data:
            with self._lock:
                self._kept += data[: KEPT - len(self._kept)]
            self._tell(data)
