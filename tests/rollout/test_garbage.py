"""A router's port or socket may be answered by anything: half an answer, another program, nobody who means well."""

from __future__ import annotations

from typing import Any

import pytest

from ciflow.model import Reply
from ciflow.rollout.routers import RouterError, build
from ciflow.rollout.routers.dial import heard

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}
SETTINGS: dict[str, dict[str, Any]] = {
    "command": {"set": "x", "read": "y", "counts": "z"}, "envoy": {"port": 80}, "haproxy": {"socket": "/s"},
    "nginx": {"embedded": True, "port": 80}, "traefik": {"embedded": True, "port": 80, "admin": "127.0.0.1:1"},
}  # fmt: skip
BODIES = (
    b"", b"\0\xff" * 50, b"{", b"[]", b"null", b"{}", b'{"configs": 3}', b"[" * 100_000, b"[" * 5000 + b"]" * 5000,
    b"9" * 5000, b'{"configs": [{"route_config": null}]}', b'{"command_line_options": []}', b"\x1b[2J{{ 7*7 }}",
    b"# pxname,svname\nshop_a,BACKEND,x,y\n", b"0x1 dial\n0x2 dial x:y\n0x3 token 1e99\n", b"50\n", b"dial 1:2:a:x\n",
)  # fmt: skip


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def answered(steps: Any, body: bytes) -> Any:
    """What comes out where each question gets this answer."""
    next(steps)
    for _ in range(300):
        try:
            steps.send(Reply(stdout=body, started=1.0, data={"size": 10}))
        except StopIteration as end:
            return end.value
    return "it asks for ever"


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("asked", ["read", "counts"])
def test_what_a_router_says_in_no_known_way_is_said_as_its_trouble(kind: str, asked: str) -> None:
    """Or, where a page of metrics without one of ours is no fault, it has counted nothing."""
    (router,) = build(kind, SETTINGS[kind], "shop", SLOTS, ("h",))
    for body in (*BODIES, *map(http, BODIES), b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n"):
        try:
            found = answered(heard(router, getattr(router, asked)()), body)
        except RouterError as error:
            assert len(error.message) < 1000, error.message
        else:
            assert (kind, asked) == ("traefik", "counts"), body
            assert all(counts.requests == 0 for counts in found.slots.values())
