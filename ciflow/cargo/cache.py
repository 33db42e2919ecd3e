"""sccache: which store of compiled crates to use and why, the wrapper that cargo calls, and what came of it.

Names of variables: https://github.com/mozilla/sccache/blob/main/docs/Configuration.md. What sccache does was measured
with 0.16: it ends with 2 where its server can't be had (rustc itself with 0, 1 or 101), and cargo then fails. So
cargo is not given sccache but a script that calls it and goes on without it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from ciflow.cargo.errors import ToolOutputError
from ciflow.dataclass import dataclass, field

KINDS = ("github", "s3", "redis", "local")  # the order in which they are tried: the most shared first
# Variables that are asked for. Of the others nobody needs more than whether they are set: they are secrets.
SHOWN = ("SCCACHE_BUCKET", "SCCACHE_REGION", "SCCACHE_ENDPOINT", "SCCACHE_DIR", "AWS_REGION", "ACTIONS_RESULTS_URL")
ADDRESSES = ("SCCACHE_REDIS_ENDPOINT", "SCCACHE_REDIS")  # may hold a password, which is cut out
COUNTED = ("ACTIONS_RUNTIME_TOKEN", "GITHUB_ACTIONS")
_PORTS = {"redis": 6379, "rediss": 6379, "redis+tls": 6379, "http": 80, "https": 443}
# What sets each kind up; a wrapper drops those of all kinds but its own, or sccache might take another.
_SETTINGS = {
    "github": ("SCCACHE_GHA_ENABLED",),
    "s3": ("SCCACHE_BUCKET",),
    "redis": ("SCCACHE_REDIS_ENDPOINT", "SCCACHE_REDIS", "SCCACHE_REDIS_CLUSTER_ENDPOINTS"),
    "local": (),
}
_OTHERS = ("SCCACHE_MULTILEVEL_CHAIN", "SCCACHE_MEMCACHED", "SCCACHE_GCS_BUCKET", "SCCACHE_AZURE_BLOB_CONTAINER")
_TIERS = {"s3": "disk,s3", "redis": "disk,redis"}
# Questions of cargo to rustc (its version, its cfg), no compilations; so nobody misses them in the cache.
_QUESTIONS = ("-", "missing input", "missing output_dir")
_REASONS = {
    "crate-type": "links a program, a test or a dynamic library",
    "multiple input files": "linted by clippy",
    "incremental": "compiled incrementally (CARGO_INCREMENTAL=0 ends that)",
    "unknown source language": "not a language that sccache knows",
}


@dataclass(frozen=True)
class Wish:
    """What somebody asked for: a kind or `auto`, and settings that go before those of the host's environment."""

    kind: str = "auto"
    settings: Mapping[str, str] = field(default_factory=dict)  # SCCACHE_.. and their values


@dataclass(frozen=True)
class Backend:
    """A store that may be there. `address` (host, port) must answer before sccache is asked: that fails at once, while
    sccache takes ten seconds to say so. `settings` are what the wrapper exports; the rest is in the environment."""

    kind: str
    where: str
    why: str
    settings: Mapping[str, str]
    address: tuple[str, int] | None = None


@dataclass(frozen=True)
class Choice:
    """Stores worth a try, the best first, and why each other is none."""

    candidates: tuple[Backend, ...]
    passed_over: tuple[str, ...]


def choose(wish: Wish, seen: Mapping[str, str]) -> Choice:
    """`seen` are the variables of the host that SHOWN, ADDRESSES and COUNTED name, as far as they are set."""
    environment = {**seen, **wish.settings}
    found: list[Backend] = []
    without: list[str] = []
    for kind in KINDS if wish.kind == "auto" else (wish.kind,):
        backend = _READERS[kind](environment, wish.settings)
        if isinstance(backend, str):
            without.append(f"{kind}: {backend}")
        else:
            found.append(backend)
    return Choice(tuple(found), tuple(without))


def _github(environment: Mapping[str, str], settings: Mapping[str, str]) -> Backend | str:
    address = environment.get("ACTIONS_RESULTS_URL", "")
    if not address or "ACTIONS_RUNTIME_TOKEN" not in environment:
        if "GITHUB_ACTIONS" not in environment:
            return "not a job of GitHub Actions"
        return "the job doesn't hand on ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN"
    # Without the second sccache speaks to the first version of that service, which is switched off.
    export = {**settings, "SCCACHE_GHA_ENABLED": "on", "ACTIONS_CACHE_SERVICE_V2": "on"}
    return Backend("github", "GitHub's cache", "this is a job of GitHub Actions", export, _host_port(address))


def _s3(environment: Mapping[str, str], settings: Mapping[str, str]) -> Backend | str:
    bucket = environment.get("SCCACHE_BUCKET", "")
    if not bucket:
        return "SCCACHE_BUCKET is not set"
    region = environment.get("SCCACHE_REGION") or environment.get("AWS_REGION") or "us-east-1"
    endpoint = environment.get("SCCACHE_ENDPOINT", "")
    export = {"SCCACHE_REGION": region} | dict(settings)
    where = f"bucket {bucket} at {endpoint or 'AWS'}"
    address = _host_port(endpoint or f"https://s3.{region}.amazonaws.com")
    return Backend("s3", where, "SCCACHE_BUCKET is set", export, address)


def _redis(environment: Mapping[str, str], settings: Mapping[str, str]) -> Backend | str:
    url = environment.get("SCCACHE_REDIS_ENDPOINT") or environment.get("SCCACHE_REDIS") or ""
    if not url:
        return "SCCACHE_REDIS_ENDPOINT is not set"
    address = _host_port(url)
    where = f"redis at {address[0]}:{address[1]}" if address else "redis"
    return Backend("redis", where, "SCCACHE_REDIS_ENDPOINT is set", settings, address)


def _local(environment: Mapping[str, str], settings: Mapping[str, str]) -> Backend | str:
    folder = environment.get("SCCACHE_DIR", "")
    return Backend("local", folder or "sccache's folder", "a folder of this machine is always there", settings)


_READERS = {"github": _github, "s3": _s3, "redis": _redis, "local": _local}


def _host_port(url: str) -> tuple[str, int] | None:
    """Where a URL, or a bare `host:port`, leads; None where that can't be told."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        return None
    return (parts.hostname, port or _PORTS.get(parts.scheme, 80)) if parts.hostname else None


@dataclass(frozen=True)
class Wrapper:
    """The script that stands in for rustc: `path` on the host, and its text."""

    path: str
    text: str


def wrapper(backend: Backend, sccache: str, folder: str, user: str, seen: Mapping[str, str]) -> Wrapper:
    """One script holds all of a backend, so that its path in RUSTC_WRAPPER is all that a build needs.

    Its server has a port of its own, for each user, backend and environment: it keeps those it was started with. A
    build may say another port, for a server of its own, whose counters are those of that build alone.
    Remote stores get the local folder as a nearer tier, which sccache fills from them.
    """
    settings = dict(backend.settings)
    if backend.kind in _TIERS:
        settings["SCCACHE_MULTILEVEL_CHAIN"] = _TIERS[backend.kind]
    dropped = [*_OTHERS, *(name for kind, names in _SETTINGS.items() if kind != backend.kind for name in names)]
    named = json.dumps([sccache, user, backend.kind, sorted(settings.items()), sorted(seen.items())])
    digest = blake2b(named.encode(), digest_size=6).hexdigest()
    path = f"{folder}/rustc-{backend.kind}-{digest}"
    settings["CIFLOW_CACHE"] = path
    lines = [f"unset {' '.join(name for name in dropped if name not in settings)}"]
    lines += [f"export SCCACHE_SERVER_PORT=${{SCCACHE_SERVER_PORT:-{port(path)}}}"]
    lines += ["export SCCACHE_IDLE_TIMEOUT=${SCCACHE_IDLE_TIMEOUT:-600}"]  # it ends what others are too long about, too
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(settings.items())]
    return Wrapper(path, _SCRIPT.format(settings="\n".join(lines), sccache=shlex.quote(sccache)))


def port(name: str) -> int:
    """The same for the same name; below those that Kubernetes gives to services and systems to outgoing connections."""
    return 20_000 + int(blake2b(name.encode(), digest_size=4).hexdigest(), 16) % 10_000


_SCRIPT = """\
#!/bin/sh
# Made by ciflow: rustc by way of sccache, and without it for five minutes after its store was lost.
{settings}
lost=${{CIFLOW_CACHE_LOST:-$0.lost}}
case $1 in -*) exec {sccache} "$@" ;; esac
if [ -e "$lost" ] && [ -n "$(find "$lost" -mmin -5)" ]; then exec "$@"; fi
said=$lost.$$
{sccache} "$@" 2> "$said"
code=$?
# What another host's compiler refuses (a probe of a build script is meant to be) is told so, and no loss of the store.
if [ $code = 254 ] && grep -q '^sccache: Job failed on server' "$said"; then rm -f "$said"; exec "$@"; fi
cat "$said" >&2
rm -f "$said"
case $code in 0 | 1 | 101) exit $code ;; esac
echo "sccache ended with $code" >> "$lost"
exec "$@"
"""


@dataclass(frozen=True)
class Stats:
    """Counters of a server; seconds are sums. `errors` are stores and look-ups that went wrong, without harm."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    compilations: int = 0
    compile_seconds: float = 0.0
    hit_seconds: float = 0.0
    not_cached: Mapping[str, int] = field(default_factory=dict)
    location: str = ""
    size: int | None = None  # bytes, where the store tells
    distributed: int = 0  # of the compilations, those that other hosts did

    def since(self, before: Stats) -> Stats:
        """What was counted after `before`; all of it where the server was started anew between."""
        if self.hits + self.misses < before.hits + before.misses or self.compilations < before.compilations:
            before = Stats()
        reasons = {why: count - before.not_cached.get(why, 0) for why, count in self.not_cached.items()}
        return Stats(
            hits=self.hits - before.hits,
            misses=self.misses - before.misses,
            errors=self.errors - before.errors,
            compilations=self.compilations - before.compilations,
            compile_seconds=round(self.compile_seconds - before.compile_seconds, 3),
            hit_seconds=round(self.hit_seconds - before.hit_seconds, 3),
            not_cached={why: count for why, count in reasons.items() if count > 0},
            location=self.location,
            size=self.size,
            distributed=max(0, self.distributed - before.distributed),
        )


def stats(text: str) -> Stats:
    """Read `sccache --show-stats --stats-format json`.

    Raises:
        ToolOutputError: it is something else.
    """
    try:
        document = json.loads(text)
        counts = document["stats"]
        return Stats(
            hits=_sum(counts["cache_hits"]),
            misses=_sum(counts["cache_misses"]),
            errors=counts["cache_read_errors"] + counts["cache_write_errors"] + counts["cache_timeouts"],
            compilations=counts["compilations"],
            compile_seconds=_seconds(counts["compiler_write_duration"]),
            hit_seconds=_seconds(counts["cache_read_hit_duration"]),
            not_cached={why: n for why, n in counts["not_cached"].items() if why not in _QUESTIONS},
            location=str(document["cache_location"]),
            size=document["cache_size"],
            distributed=sum(counts.get("dist_compiles", {}).values()),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ToolOutputError(f"sccache's statistics can't be read: {type(e).__name__} {e}") from e


def _sum(counts: Mapping[str, Any]) -> int:
    return sum(counts["counts"].values())


def _seconds(duration: Mapping[str, int]) -> float:
    return round(duration["secs"] + duration["nanos"] / 1e9, 3)


@dataclass(frozen=True)
class Compiled:
    """How long a crate takes to compile here on the average, remembered from build to build."""

    count: int = 0
    seconds: float = 0.0

    def with_(self, found: Stats) -> Compiled:
        """Half of the past counts, so that the mean follows the project."""
        if not found.compilations:
            return self
        return Compiled(self.count // 2 + found.compilations, round(self.seconds / 2 + found.compile_seconds, 3))

    def saved(self, found: Stats) -> float | None:
        """Seconds that the hits spared: as many mean compilations, less what fetching took. None: nobody knows yet.

        Of one processor: crates that were compiled side by side count each.
        """
        if not found.hits:
            return 0.0
        if not self.count:
            return None
        return round(max(0.0, found.hits * self.seconds / self.count - found.hit_seconds), 1)

    @classmethod
    def read(cls, text: str) -> Compiled:
        """What `text` wrote; nothing is known from a file that somebody spoiled."""
        found = re.fullmatch(r"(\d+) ([\d.]+)\n", text)
        return cls(int(found[1]), float(found[2])) if found and found[2].count(".") < 2 else cls()

    def text(self) -> str:
        return f"{self.count} {self.seconds}\n"


def reasons(not_cached: Mapping[str, int]) -> dict[str, int]:
    """Why crates were not looked up, in words, the most frequent first."""
    found = {_REASONS.get(why, why): count for why, count in not_cached.items()}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two events `cache` as one; of their words those that came last."""
    if not one:
        return dict(other)
    total = {**one, **{name: value for name, value in other.items() if value}}
    for name in ("hits", "misses", "distributed"):
        total[name] = int(one.get(name, 0)) + int(other.get(name, 0))
    known = [told["seconds_saved"] for told in (one, other) if told.get("seconds_saved") is not None]
    total["seconds_saved"] = round(sum(known), 1) if known else None
    both: Sequence[Mapping[str, int]] = (one.get("not_cached") or {}, other.get("not_cached") or {})
    total["not_cached"] = {why: sum(counts.get(why, 0) for counts in both) for why in {**both[0], **both[1]}}
    return total


def sentence(told: Mapping[str, Any]) -> str:
    """The event `cache` (or several added up) in words."""
    return ", ".join(_parts(told)) if told.get("backend") else f"none: {told.get('why')}"


def _parts(told: Mapping[str, Any]) -> Iterator[str]:
    hits, misses = int(told.get("hits", 0)), int(told.get("misses", 0))
    where = told.get("where") or "the cache"
    yield f"{hits} of {hits + misses} crates from {where}" if hits + misses else f"no crate was looked for in {where}"
    if hits:
        saved = told.get("seconds_saved")
        yield f"about {saved:g} s saved" if saved is not None else "time saved not known yet"
    left_out: Mapping[str, int] = told.get("not_cached") or {}
    if told.get("distributed"):
        yield f"{told['distributed']} compiled elsewhere"
    if left_out:
        yield f"{sum(left_out.values())} not cacheable ({_listed(left_out)})"
    if told.get("lost"):
        yield "the rest compiled without it, for the store was lost"


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{count} {why}" for why, count in counts.items())


def why(chosen: Backend, tried: Sequence[str]) -> str:
    """Why this one: what speaks for it, and what was wrong with those that would have gone before it."""
    return "; ".join([f"{chosen.kind}: {chosen.why}", *tried])
