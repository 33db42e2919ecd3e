"""The routers of a cluster for the contract: a real API server, Traefik as data plane, both slots on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Detached, Exec
from ciflow.rollout.routers.dial import WHOLE
from ciflow.rollout.routers.embedded import process_key
from tests.parts import gateway, images, process
from tests.parts.kube import NODE_IP, Kube, more_addresses
from tests.rollout.host import AgentHost
from tests.rollout.rig import SERVICE, UPSTREAM, Rig, get, version


def kube_settings(kube: Kube, namespace: str) -> dict[str, Any]:
    return {"kubeconfig": str(kube.kubeconfig), "namespace": namespace, "guard_image": images.GUARD}


def start_data_plane(host: AgentHost, kube: Kube, folder: Path, kind: str, port: int, namespace: str) -> int:
    """Traefik, kept alive by the agent of this machine as any router is; the port of its API."""
    admin = process.free_port()
    argv = gateway.traefik_argv(folder / "traefik", kind, port, admin, namespace)
    run = Exec(argv=tuple(argv), env={"KUBECONFIG": str(kube.kubeconfig)})
    host.answer(Detached(key=process_key(kind, SERVICE), operations=(run,), restart=True))
    process.wait_for(lambda: process.answers("127.0.0.1", port) and get(port)[0] == 200)
    return admin


@contextlib.contextmanager
def kube_rig(kind: str, kube: Kube, folder: Path, namespace: str, pods: int = 1) -> Iterator[Rig]:
    """Each slot has so many addresses, as its pods would. Raises process.MissingPart where the definitions or Traefik
    are missing."""
    process.find("traefik", "traefik")
    gateway.define(kube, gateway.ISTIO if kind == "istio" else gateway.GATEWAY)
    port, ports = process.free_port(), {"a": process.free_port(NODE_IP), "b": process.free_port(NODE_IP)}
    slots = {slot: {"address": f"{SERVICE}-{slot}", "port": 80} for slot in "ab"}
    with ExitStack() as stack:
        addresses = (NODE_IP, *stack.enter_context(more_addresses(pods - 1)))
        things = [thing for slot in "ab" for thing in gateway.outside(f"{SERVICE}-{slot}", ports[slot], *addresses)]
        gateway.put_all(kube, namespace, [*things, *gateway.route(kind, SERVICE, port)])
        stack.enter_context(version("a", ports["a"], folder, *addresses))
        b = stack.enter_context(version("b", ports["b"], folder, *addresses))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("HOME", str(folder))
        host = stack.enter_context(AgentHost())
        routed = Rig(kind, port, folder, host, slots, kube_settings(kube, namespace), b)
        if kind in gateway.SERVED:
            admin = start_data_plane(host, kube, folder, kind, port, namespace)
            routed.obeys = lambda share: (WHOLE - share, share) in gateway.weights(admin)
        yield routed


@contextlib.contextmanager
def crowd_rig(kube: Kube, folder: Path, namespace: str) -> Iterator[Rig]:
    """Router replicas: four pods in all behind one Service, with slot a serving."""
    gateway.put_all(kube, namespace, gateway.crowd(SERVICE, UPSTREAM, {"a": 4, "b": 0}))
    slots = {slot: {"address": f"{SERVICE}-{slot}", "port": 80} for slot in "ab"}
    settings = {**kube_settings(kube, namespace), "replicas": 4}
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("HOME", str(folder))
        host = stack.enter_context(AgentHost())
        address = kube.ask("GET", f"/api/v1/namespaces/{namespace}/services/{SERVICE}")["spec"]["clusterIP"]
        yield Rig("replicas", 80, folder, host, slots, settings, None, address)  # type: ignore[arg-type]
