"""Reading a router's settings: each mistake said in words before any host is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
    for name in settings.keys() & _NUMBERS.keys():
        number(f"{name} of router {kind}", settings[name], _NUMBERS[name])
    if "port" in settings:
        port(f"port of router {kind}", settings["port"])


_NUMBERS: Mapping[str, type[int] | type[float]] = {
    "port": int, "concurrency": int, "replicas": int, "timeout": float, "connect_timeout": float, "overdue": float,
}  # fmt: skip


def number(what: str, value: Any, kind: type[int] | type[float] = int) -> None:
    """Refuse what is no number of its kind."""
    try:
        kind(value)
    except (TypeError, ValueError) as error:
        wanted = "a whole number" if kind is int else "a number of seconds"
        raise Refused(f"{what} must be {wanted}, not {value!r}") from error


def port(what: str, value: Any) -> None:
    """Refuse what is no TCP port."""
    number(what, value)
    if not 1 <= int(value) <= 65_535:
        raise Refused(f"{what} must be from 1 to 65535, not {value}")


def absolute(kind: str, settings: Mapping[str, Any], *names: str) -> None:
    """Paths on the router's host must be absolute: the agent has no folder of its own to start from."""
    for name in names:
        path = str(settings.get(name, "/"))
        if not path.startswith("/"):
            raise Refused(f"{name} of router {kind} must be an absolute path on its host, not {path}")


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADDRESS = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:_-]*")
_PLAIN = re.compile(r"[^\s\x00-\x20\x7f\"'`\\;{}#$]*")
_HEADER = re.compile(r"[A-Za-z0-9_-]+")
_VALUE = re.compile(r"[ !%&(-\[\]^_a-~]+")  # printable, but for quotes, backslash, backtick, # and $


def plain(kind: str, service: str, addresses: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Refuse names, addresses and paths that a router's configuration or socket would read as something else: they
    are written into both as they are, and the service's into paths."""
    if not _NAME.fullmatch(service):
        raise Refused(f"a service can't be called {service!r}", help="letters, digits, `.`, `_` and `-`")
    for address in addresses:
        if not _ADDRESS.fullmatch(address):
            raise Refused(f"{address!r} is no address of a slot", help="the name or the IP address of a host, no port")
    for name, value in settings.items() if kind != "command" else ():  # which has a shell for them
        if isinstance(value, str) and not _PLAIN.fullmatch(value):
            help = "no blanks, quotes, backslashes, nor any of ; { } # $"
            raise Refused(f"{name} of router {kind} can't be {value!r}", help=help)


def tester(kind: str, settings: Mapping[str, Any]) -> tuple[str, str] | None:
    """`header: {name: X-Canary, value: "1"}`: requests that go to the candidate at any share."""
    rule = settings.get("header")
    if rule is None:
        return None
    if not isinstance(rule, Mapping) or set(rule) != {"name", "value"}:
        raise Refused(f"header of router {kind} must be {{name: .., value: ..}}, not {rule!r}")
    header, value = str(rule["name"]), str(rule["value"])
    if not _HEADER.fullmatch(header) or not _VALUE.fullmatch(value):
        help = "a name of letters, digits, `-` and `_`; a value without quotes, backslashes, # and $"
        raise Refused(f"header of router {kind} can't be {header!r} with {value!r}", help=help)
    return header, value


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


def not_sticky(kind: str, by: str, why: str = "which has no word for it") -> None:
    """Refuse `by:` of a canary, for a router that can't keep a user on one side."""
    if by:
        raise Refused(
            f"by: {by} is not built for the router {kind}, {why}",
            help="Use router haproxy, envoy or nginx for sticky users, or leave `by` out.",
        )


def sticky(kind: str, by: str) -> str:
    """`by:` of a canary, for a router that hashes users: cookie, cookie:NAME, header:NAME or ip."""
    way, _, name = by.partition(":")
    if way not in ("", "cookie", "header", "ip") or (way == "header" and not name):
        raise Refused(f"by: {by} is no way to tell users apart", help="cookie, cookie:NAME, header:NAME or ip")
    if name and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise Refused(f"by: {by} has a name that router {kind} can't look up", help="letters, digits, `_` and `-`")
    return by
