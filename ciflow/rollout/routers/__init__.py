"""Routers: who splits a service's traffic between its slots. One file each; `ROUTERS` is all there are.

To add one: a file with a class that has the methods of `dial.Router` and a function of `Factory`'s shape, its line
in `ROUTERS`, its fixture in `tests/rollout/rig.py` (the contract suite then runs over it), a section of
`docs/routers.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.rollout.routers.counts import Counts, Sample, interval
from ciflow.rollout.routers.dial import (
    WHOLE,
    Dial,
    Fenced,
    Guard,
    Manifest,
    NotKept,
    Router,
    RouterError,
    Slot,
)
from ciflow.rollout.routers.settings import plain, port

__all__ = [
    "CLUSTERED",
    "ROUTERS",
    "WHOLE",
    "Counts",
    "Dial",
    "Fenced",
    "Guard",
    "Manifest",
    "NotKept",
    "Router",
    "RouterError",
    "Sample",
    "Slot",
    "build",
    "interval",
    "slots_of",
    "uncounted",
]

Factory: TypeAlias = Callable[[Mapping[str, Any], str, Mapping[str, Slot], str, tuple[float, ...], str], Router]


@dataclass(frozen=True, slots=True)
class Kind:
    """A router's file of this package, imported when it is first used: a rollback waits for no other."""

    file: str

    @property
    def build(self) -> Factory:
        """Its function of that name. A test holds each to this signature."""
        found: Factory = import_module(f"ciflow.rollout.routers.{self.file}").build
        return found


ROUTERS: dict[str, Kind] = {
    "command": Kind("command"),
    "envoy": Kind("envoy"),
    "gateway-api": Kind("gateway_api"),
    "haproxy": Kind("haproxy"),
    "ingress-nginx": Kind("ingress_nginx"),
    "istio": Kind("istio"),
    "nginx": Kind("nginx"),
    "replicas": Kind("replicas"),
    "traefik": Kind("traefik"),
}

# Their dial is in a cluster: one for all hosts of the play, and its API is asked from beside the controller.
CLUSTERED = ("gateway-api", "ingress-nginx", "istio", "replicas")


def slots_of(slots: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Slot]:
    """`slots:` of a canary as values. Address defaults to the router host's loopback."""
    if set(slots) != {"a", "b"}:
        found = ", ".join(sorted(slots)) or "none"
        raise Refused(f"slots must be a and b, not {found}", help="slots: {a: {port: 8081}, b: {port: 8082}}")
    for name, at in slots.items():
        if "port" not in at:
            raise Refused(f"slots: {name} has no port", help="slots: {a: {port: 8081}, b: {port: 8082}}")
        port(f"slots: the port of {name}", at["port"])
    made = {name: Slot(name, str(at.get("address", "127.0.0.1")), int(at["port"])) for name, at in slots.items()}
    if made["a"].authority == made["b"].authority:
        raise Refused(
            f"slots a and b are both at {made['a'].authority}",
            help="each version needs an address of its own: both run at once",
        )
    return made


def uncounted(gates: Sequence[str], routers: Sequence[Router]) -> str:
    """Why `gates`, which judge by what routers count, can't with these; "" where they can."""
    if not gates or all(router.counted for router in routers):
        return ""
    return (
        f"router {routers[0].kind} counts nothing, so gate {', '.join(gates)} can't judge: give it a command `counts`, "
        "or take gates that ask a provider (`query`, or `slo` with bad and total)"
    )


def build(
    kind: str,
    settings: Mapping[str, Any],
    service: str,
    slots: Mapping[str, Mapping[str, Any]],
    hosts: Sequence[str],
    *,
    edges: Sequence[float] = (),
    by: str = "",
) -> tuple[Router, ...]:
    """One router for each of `hosts`, from `router: {<kind>: <settings>}`; of those in a cluster, one.

    `edges` are the gates' latency edges in seconds, `by` how users stick: cookie, cookie:NAME, header:NAME, ip.
    Raises Refused for a kind or a setting that isn't there, before anything is asked of a host.
    """
    known = ROUTERS.get(kind)
    if known is None:
        raise Refused(f"no router of kind {kind}", help=f"There are: {', '.join(sorted(ROUTERS))}.")
    own = {name: value for name, value in settings.items() if name != "hosts"}
    where = slots_of(slots)
    plain(kind, service, (slot.address for slot in where.values()), own)
    places = hosts[:1] if kind in CLUSTERED else hosts
    return tuple(known.build(own, service, where, host, tuple(sorted(edges)), by) for host in places)
