"""What every provider's answer has in common: a status that says whether it answered at all, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.encoding import loads
from ciflow.model import Http, Reply
from ciflow.rollout.thresholds import Sample

MEANINGS = {
    401: "the credentials are refused",
    403: "the credentials may not ask this",
    404: "nothing is at this address",
}
CREDENTIALS = frozenset({"token", "password", "api_key", "app_key", "secret_key", "session_token"})  # among options
SHOWN = 200  # characters of a provider's own words


@dataclass(frozen=True, slots=True)
class Ask:
    """One question: the provider's `options`, when it is asked (Unix seconds), and how many seconds it may take."""

    options: Mapping[str, Any]
    now: float
    timeout: float


class NoNumber(Exception):
    """Why the answer holds no number; it makes the sample inconclusive."""


def http(options: Mapping[str, Any], path: str = "", timeout: float = 10.0, **given: Any) -> Http:
    """A request to the provider at `url`, with whatever credentials the options hold."""
    headers = {str(name): str(value) for name, value in (options.get("headers") or {}).items()}
    if options.get("token"):
        headers.setdefault("Authorization", f"Bearer {options['token']}")
    return Http(
        url=str(options["url"]).rstrip("/") + path,
        method=given.get("method", "GET"),
        headers={**headers, **given.get("headers", {})},
        body=given.get("body", b""),
        timeout=timeout,
        follow="none",  # credentials in headers go nowhere else
        verify=bool(options.get("verify", True)),
        ca=str(options.get("ca", "")),
        user=str(options.get("user", "")),
        password=str(options.get("password", "")),
    )


def body_of(reply: Reply) -> bytes:
    """The body of a good answer. NoNumber: none came, or its status says no."""
    if not reply.ok:
        raise NoNumber(reply.error or "no answer")
    status = int(reply.data.get("status", 0))
    if 200 <= status < 300:
        return reply.stdout
    raise NoNumber(_refusal(status, reply))


def _refusal(status: int, reply: Reply) -> str:
    said = " ".join(reply.stdout.decode("utf-8", "replace").split())[:SHOWN]
    after = reply.data.get("headers", {}).get("retry-after")
    often = "asked too often" + (f", again after {after} s" if after else "")
    meaning = often if status == 429 else MEANINGS.get(status, "")
    return f"HTTP {status}" + (f": {meaning}" if meaning else "") + (f" ({said})" if said else "")


def json_of(reply: Reply) -> Any:
    """The answer's JSON, with NaN and Infinity as numbers. NoNumber when it is none."""
    try:
        return loads(body_of(reply))
    except ValueError as error:
        raise NoNumber("the answer is no JSON") from error


def number(value: Any) -> float:
    """A number, or text that is one ("NaN" among them). NoNumber for anything else."""
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    raise NoNumber(f"the answer holds no number: {str(value)[:SHOWN]!r}")


def newest(series: Iterable[Iterable[tuple[Any, Any]]], now: float) -> Sample:
    """A sample of the newest value of each series of (Unix seconds, value or None); a series of nothing is none."""
    last = []
    for points in series:
        filled = [(float(at), number(value)) for at, value in points if value is not None and at is not None]
        if filled:
            last.append(max(filled, key=lambda point: point[0]))
    if not last:
        return Sample(())
    return Sample(tuple(value for _, value in last), age=max(0.0, now - max(at for at, _ in last)))


def credentials(source: Mapping[str, Any]) -> Iterator[str]:
    """Those among the options of providers, however deep: nobody is to see them."""
    for name, value in source.items():
        if isinstance(value, Mapping):
            yield from credentials(value)
        elif name in CREDENTIALS and value:
            yield str(value)


def missing(why: str) -> Sample:
    """No number, and why."""
    return Sample((), why=why)
