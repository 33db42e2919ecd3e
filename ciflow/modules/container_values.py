"""Values of a container's options in the forms of the docker command: ports, volumes, health checks, words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PORT = re.compile(
    r"(?:(?P<ip>\[[0-9a-fA-F:]+\]|[\d.]+)?:)?(?:(?P<host>\d+(?:-\d+)?)?:)?(?P<inside>\d+(?:-\d+)?)(?:/(?P<kind>tcp|udp|sctp))?"
)
_NANO = 1_000_000_000


def words(value: Any) -> list[str]:
    """Words, or text split as a POSIX shell would."""
    return shlex.split(value) if isinstance(value, str) else [str(one) for one in value]


def pairs(value: Any) -> dict[str, str]:
    """Names and texts; numbers and booleans as YAML writes them, for the API takes texts alone."""
    said = value or {}
    return {str(name): _text(one) for name, one in said.items()}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def ports(value: Sequence[Any]) -> dict[str, list[dict[str, str]]]:
    """`PortBindings` of `[[IP:]HOST:]INSIDE[/udp]`, ranges written out. Raises ValueError for another form."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in value:
        for inside, binding in _published(str(one)):
            found.setdefault(inside, []).append(binding)
    return found


def _published(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    match = _PORT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"`{text}` is no port to publish: write `8080:80`, `127.0.0.1:8080:80/tcp`, or `80`")
    inside = _range(match["inside"])
    outside = [str(one) for one in _range(match["host"])] if match["host"] else [""] * len(inside)
    if len(inside) != len(outside):
        raise ValueError(f"`{text}`: the two ranges have different lengths")
    address = (match["ip"] or "").strip("[]")
    for port, host in zip(inside, outside, strict=True):
        yield f"{port}/{match['kind'] or 'tcp'}", {"HostIp": "" if address == "0.0.0.0" else address, "HostPort": host}


def _range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def binds(value: Sequence[str]) -> list[str]:
    """Volumes `SOURCE:INSIDE[:MODE]`, or `INSIDE` alone, without the mode that goes without saying."""
    return [str(one).removesuffix(":rw") for one in value]


def healthcheck(value: Mapping[str, Any]) -> dict[str, Any]:
    """The API's form: durations in nanoseconds; a test that is text is a shell's, as in a Dockerfile."""
    test = value.get("test")
    if isinstance(test, str):
        test = ["NONE"] if test.upper() == "NONE" else ["CMD-SHELL", test]
    elif test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        test = ["CMD", *test]
    made: dict[str, Any] = {"Test": list(test)} if test else {}
    for name, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start_period", "StartPeriod")):
        if value.get(name):
            made[key] = round(float(value[name]) * _NANO)
    if value.get("retries"):
        made["Retries"] = int(value["retries"])
    return made
