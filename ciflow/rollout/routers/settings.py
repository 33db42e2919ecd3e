"""Reading a router's settings: each mistake said in words before any host is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Refused


def only(kind: str, settings: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    """Refuse settings that the router doesn't have, and the lack of one it needs."""
    strange = sorted(set(settings) - set(known))
    if strange:
        raise Refused(f"router {kind} has no setting {', '.join(strange)}", help=f"It has: {', '.join(known)}.")
    missing = [name for name in needed if not settings.get(name)]
    if missing:
        raise Refused(f"router {kind} needs {', '.join(missing)}", help=f"See docs/routers.md, {kind}.")


def absolute(kind: str, settings: Mapping[str, Any], *names: str) -> None:
    """Paths on the router's host must be absolute: the agent has no folder of its own to start from."""
    for name in names:
        path = str(settings.get(name, "/"))
        if not path.startswith("/"):
            raise Refused(f"{name} of router {kind} must be an absolute path on its host, not {path}")


def tester(kind: str, settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """`header: {name: X-Canary, value: "1"}`: requests that go to the candidate at any share."""
    rule = settings.get("header")
    if rule is None:
        return None
    if not isinstance(rule, Mapping) or set(rule) != {"name", "value"}:
        raise Refused(f"header of router {kind} must be {{name: .., value: ..}}, not {rule!r}")
    return str(rule["name"]), str(rule["value"])


def private(kind: str, settings: Mapping[str, Any], name: str, default: str, may: str) -> str:
    """An address that only people of the router's host may reach: whoever reaches it can look into the router."""
    address = str(settings.get(name, default))
    sockets = ("/",) if "UNIX" in may else ()
    if address and not address.startswith((*sockets, "127.", "[::1]:", "localhost:")):
        raise Refused(
            f"{name} of router {kind} must be {may}, not {address}",
            help="Whoever reaches it can look into the router, or even stop it.",
        )
    return address.replace("localhost:", "127.0.0.1:")


def sticky(kind: str, by: str) -> str:
    """`by:` of a canary, for a router that hashes users: cookie, cookie:NAME, header:NAME or ip."""
    way, _, name = by.partition(":")
    if way not in ("", "cookie", "header", "ip") or (way == "header" and not name):
        raise Refused(f"by: {by} is no way to tell users apart", help="cookie, cookie:NAME, header:NAME or ip")
    if name and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise Refused(f"by: {by} has a name that router {kind} can't look up", help="letters, digits, `_` and `-`")
    return by
