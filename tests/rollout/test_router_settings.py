"""What a playbook says of a router is written into its configuration and its socket: nothing in it can say more there
than a name, an address or a path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.lang import canary
from ciflow.rollout.routers import CLUSTERED, ROUTERS, build
from tests.rollout.rig import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}
QUOTES = ["x'", 'x"', "x#", "x$y", "x\\", "x\nlog stdout", "x\x00", "x\x7f", "x\r"]
MORE = ["x; disable server shop_a/a", "x y", "x{", "x}", *QUOTES]
FORMS = {
    "haproxy": ({"socket": "/s", "backend": "shop", "map": "/m"}, ("socket", "backend", "map", "bind", "binary")),
    "envoy": ({"port": 80, "dir": "/d"}, ("dir", "bind", "binary")),
    "nginx": ({"embedded": True, "port": 80, "dir": "/d"}, ("dir", "bind", "binary")),
    "traefik": ({"embedded": True, "port": 80, "dir": "/d", "admin": "127.0.0.1:1"}, ("dir", "bind", "binary")),
}  # fmt: skip


def test_every_router_is_known_to_playbooks_and_tried_and_documented() -> None:
    assert set(canary.ROUTERS) == set(ROUTERS), "ROUTERS of ciflow/lang/canary.py"
    assert set(canary.CLUSTERED) == set(CLUSTERED) < set(ROUTERS)
    outside = set(ROUTERS) - set(CLUSTERED)
    assert set(PROGRAMS) == outside, "PROGRAMS of tests/rollout/rig.py: what its tests need on the machine"
    assert set(FORMS) == outside - {"command"}, "FORMS above: which settings of it go into its configuration"
    columns = {*re.findall(r"(?<=\| )[a-z-]+(?= \|)", (ROOT / "docs" / "routers.md").read_text())}
    assert set(ROUTERS) <= columns, "a column of docs/routers.md"


@pytest.mark.parametrize("service", ["", ".", "../etc", "a/b", "-x", "größe", *MORE])
@pytest.mark.parametrize("kind", ROUTERS)
def test_a_service_has_a_plain_name(kind: str, service: str) -> None:
    with pytest.raises(Refused, match="a service can't be called"):
        build(kind, {}, service, SLOTS, ("h",))


@pytest.mark.parametrize("address", ["", "h:80 backup", "-x", *MORE])
def test_an_address_of_a_slot_is_one(address: str) -> None:
    with pytest.raises(Refused, match="is no address of a slot"):
        build("haproxy", {"socket": "/s"}, "shop", {**SLOTS, "b": {"port": 1, "address": address}}, ("h",))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in FORMS.items() for name in names])
def test_a_setting_can_t_leave_its_place_in_the_configuration(kind: str, name: str) -> None:
    settings, _ = FORMS[kind]
    build(kind, settings, "shop", SLOTS, ("h",))
    for more in MORE:
        with pytest.raises(Refused, match=f"{name} of router {kind} can't be"):
            build(kind, {**settings, name: f"/{more}"}, "shop", SLOTS, ("h",))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("value", ["", "x`) || PathPrefix(`/", *QUOTES])
def test_testers_header_can_t_either(kind: str, value: str) -> None:
    settings, _ = FORMS[kind]
    try:
        build(kind, {**settings, "header": {"name": "X-Canary", "value": "yes, please; {1}"}}, "shop", SLOTS, ("h",))
    except Refused as error:
        assert error.message == f"router {kind} has no setting header", "one that knows no testers says so"
        return
    for header in ({"name": "X-Canary", "value": value}, {"name": value, "value": "1"}):
        with pytest.raises(Refused, match=f"header of router {kind} can't be"):
            build(kind, {**settings, "header": header}, "shop", SLOTS, ("h",))


def test_what_a_router_has_a_language_for_is_left_to_it() -> None:
    shell = "a=1; curl -H \"x: $a\" 'http://h/'\n"
    build("command", {"set": shell, "read": shell}, "shop", SLOTS, ("h",))
    settings, _ = FORMS["traefik"]
    build("traefik", {**settings, "route": {"rule": "Host(`h`) && PathPrefix(`/x`)"}}, "shop", SLOTS, ("h",))
