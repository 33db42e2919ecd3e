"""`cache`: the store of compiled crates that later builds use: set up, looked at, tried out, emptied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.model import Change, Context, Exec, Outcome, Steps
from ciflow.modules import sccache
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.modules.sccache import Opened

if TYPE_CHECKING:
    from ciflow.cargo.cache import Wish

# The argument, and the variable by which sccache knows it.
_SETTINGS = {
    "dir": "SCCACHE_DIR",
    "size": "SCCACHE_CACHE_SIZE",
    "compression": "SCCACHE_CACHE_ZSTD_LEVEL",
    "redis": "SCCACHE_REDIS_ENDPOINT",
    "bucket": "SCCACHE_BUCKET",
    "endpoint": "SCCACHE_ENDPOINT",
    "region": "SCCACHE_REGION",
}
_PREFIXES = ("SCCACHE_S3_KEY_PREFIX", "SCCACHE_REDIS_KEY_PREFIX")
# Compiles a crate that nobody else has ($1 the wrapper, $2 what makes it so) twice: into the store, and out of it.
_TRY = r"""
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
printf 'pub const SEED: &str = "%s";\n' "$2" > tried.rs
for turn in 1 2; do
  rm -rf out; mkdir out
  "$1" "${RUSTC:-rustc}" --crate-name tried --crate-type lib --emit=dep-info,link --out-dir out tried.rs || exit
done
"""
# Only what sccache itself puts into its folder, which somebody may have set to any folder. Says how much it was.
_EMPTY = r"""
folder=${SCCACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sccache}
"$1" --stop-server >/dev/null 2>&1
cd "$folder" 2>/dev/null || { echo 0; exit 0; }
du -sk . | cut -f 1
rm -rf ./[0-9a-f] ./preprocessor
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Whatever is done to it, its server runs first; none that answers is a failure here, unlike in a build."""
    env = dict(context.environment)
    cache = yield from sccache.opened(_wish(args), env, context)
    if isinstance(cache, str):
        if context.check and cache != sccache.MISSING:
            return Outcome(skipped=True, msg=cache)
        return Outcome(failed=True, msg=f"no cache: {cache}")
    told = {
        "backend": cache.backend.kind,
        "where": cache.backend.where,
        "why": cache.why,
        "env": dict(cache.env),
    }
    said = Outcome(msg=f"{cache.backend.where} ({cache.why})", data=told)
    match args["state"]:
        case "verified":
            return (yield from _verify(said, cache, env, context))
        case "absent":
            return (yield from _clean(said, cache, env))
        case "stats":
            return _stats(said, cache)
    return said


def _wish(args: Mapping[str, Any]) -> Wish:
    from ciflow.cargo.cache import Wish

    settings = {variable: str(args[name]) for name, variable in _SETTINGS.items() if args.get(name)}
    if args.get("prefix"):
        settings |= dict.fromkeys(_PREFIXES, str(args["prefix"]))
    if args.get("endpoint"):
        tls = not str(args["endpoint"]).startswith("http://") and args["tls"]
        settings |= {
            "SCCACHE_S3_USE_SSL": "on" if tls else "off",
            "SCCACHE_S3_ENABLE_VIRTUAL_HOST_STYLE": "on" if args["virtual_host_style"] else "off",
        }
    return Wish(args["backend"], settings)


def _stats(said: Outcome, cache: Opened) -> Outcome:
    """What its server has counted since it was started: by whatever build."""
    from ciflow.cargo.cache import reasons

    found = cache.before
    data = {
        **said.data,
        "hits": found.hits,
        "misses": found.misses,
        "errors": found.errors,
        "not_cached": reasons(found.not_cached),
        "size": found.size,
    }
    msg = f"{found.hits} of {found.hits + found.misses} crates from {cache.backend.where} since its server was started"
    return replace(said, msg=msg, data=data)


def _verify(said: Outcome, cache: Opened, env: Mapping[str, str], context: Context) -> Steps:
    argv = ("/bin/sh", "-c", _TRY.strip() + "\n", "sh", cache.wrapper.path, context.seed or str(context.now))
    reply = yield Change(Exec(argv=argv, env=env, timeout=120.0))
    if not well(reply):
        return failure(reply, said.data, f"{cache.backend.where} can't be tried")
    after = yield from sccache.counters(cache.wrapper, env)
    if isinstance(after, str):
        return Outcome(failed=True, msg=after, data=said.data)
    found = after.since(cache.before)
    data = {**said.data, "hits": found.hits, "misses": found.misses, "errors": found.errors}
    if not found.hits:
        msg = f"{cache.backend.where} took a crate and did not give it back"
        return Outcome(failed=True, msg=msg, data=data)
    return replace(said, msg=f"{cache.backend.where} takes crates and gives them back", data=data)


def _clean(said: Outcome, cache: Opened, env: Mapping[str, str]) -> Steps:
    """The folder of this machine. What is in a shared store is others' too, and expires by that store's own rules."""
    settings = {name: value for name, value in cache.backend.settings.items() if name == "SCCACHE_DIR"}
    argv = ("/bin/sh", "-c", _EMPTY.strip() + "\n", "sh", cache.wrapper.path)
    reply = yield Change(Exec(argv=argv, env={**env, **settings}))
    if predicted(reply) or not well(reply):
        return failure(reply, said.data, "the folder of the cache can't be emptied")
    size = int(text(reply.stdout).strip() or 0) * 1024
    msg = f"{size // 1024} KiB of compiled crates removed from this machine"
    if cache.backend.kind != "local":
        msg += f"; {cache.backend.where} is shared and was left alone: its own rules of expiry empty it"
    return replace(said, changed=size > 0, msg=msg, data={**said.data, "removed": size})
