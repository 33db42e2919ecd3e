"""What routers in a cluster are told: each mistake said in words before any cluster is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused
from ciflow.model import EMPTY
from ciflow.rollout.routers.dial import Slot
from ciflow.rollout.routers.kube_objects import Place

SETTINGS = ("name", "namespace", "kubeconfig", "context", "guard_image", "gitops")
SIZED = ("deployments", "surge", "timeout")  # of routers whose split is not made of pods
GUARD_IMAGE = "docker.io/library/python:3.13-alpine"
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")  # RFC 1035, with room for what ciflow puts before it


@dataclass(frozen=True, slots=True)
class KubeSettings:
    """`name` of the object that splits the traffic; `gitops`: who else applies it leaves the split alone. `deployments`
    of the slots, `surge` and `timeout` (seconds): see kube_sizes.py."""

    name: str
    place: Place = Place()
    guard_image: str = GUARD_IMAGE
    gitops: bool = False
    tester: tuple[str, str] | None = None
    deployments: Mapping[str, str] = field(default_factory=dict)
    surge: float = 0.0
    timeout: float = 120.0


def kube_settings(kind: str, settings: Mapping[str, Any], service: str, slots: Mapping[str, Slot]) -> KubeSettings:
    """What all of them are told. Raises Refused for names that can't be in a cluster."""
    if not LABEL.fullmatch(service):
        raise Refused(f"the service {service} of router {kind} is to be named as Kubernetes names things: a-z, 0-9, -")
    for slot in slots.values():
        if not LABEL.fullmatch(slot.address):
            raise Refused(
                f"`address` of slot {slot.name} must be the name of its Service, not {slot.address}",
                help=f"slots: {{a: {{address: {service}-a, port: 80}}, b: {{address: {service}-b, port: 80}}}}",
            )
    if slots["a"].address == slots["b"].address:
        raise Refused(f"slots a and b of router {kind} must have a Service each, not both {slots['a'].address}")
    words = {name: str(settings.get(name) or "") for name in ("kubeconfig", "context", "namespace")}
    return KubeSettings(
        name=str(settings.get("name", service)),
        place=Place(**words),
        guard_image=str(settings.get("guard_image", GUARD_IMAGE)),
        gitops=bool(settings.get("gitops", False)),
        deployments=_deployments(kind, settings),
        surge=_part(kind, settings.get("surge", 0)),
        timeout=float(settings.get("timeout", 120.0)),
    )


def _deployments(kind: str, settings: Mapping[str, Any]) -> Mapping[str, str]:
    """`deployments: {a: .., b: ..}`."""
    said = settings.get("deployments")
    if said is None:
        return EMPTY
    if not isinstance(said, Mapping) or set(said) != {"a", "b"} or said["a"] == said["b"]:
        raise Refused(
            f"`deployments` of router {kind} must be {{a: .., b: ..}}, a Deployment for each slot, not {said}"
        )
    return {slot: str(name) for slot, name in said.items()}


def _part(kind: str, said: Any) -> float:
    """`surge: 25%` as a part of one."""
    text = str(said).strip()
    if not re.fullmatch(r"\d+(\.\d+)?%?", text):
        raise Refused(
            f"`surge` of router {kind} is a part of the pods that the candidate's share takes, as 25%, not {said}"
        )
    return float(text.rstrip("%")) / 100
