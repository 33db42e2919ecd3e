"""`distribute`: whether builds on this host have others compile, and who they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.cargo.cache import port
from ciflow.encoding import loads
from ciflow.model import Context, Exec, Outcome, Probe, Steps
from ciflow.modules.replies import failure, text, well
from ciflow.modules.sccache import MISSING, complaint, ending

# sccache waits twenty minutes for a scheduler that takes connections and says nothing (REQUEST_TIMEOUT_SECS in its
# src/dist/http.rs), ten seconds where its server is only being started.
_PATIENCE = 30.0  # seconds
# The scheduler that the settings name, then sccache's word. A server of sccache keeps the settings that it was started
# with: a fresh one is asked, on a port of its own.
_ASK = r"""
command -v sccache > /dev/null || exit 127
settings=${SCCACHE_CONF:-${XDG_CONFIG_HOME:-$HOME/.config}/sccache/config}
sed -n 's/^ *scheduler_url *= *"\(.*\)".*/\1/p' "$settings" 2> /dev/null | grep -m 1 . || echo
exec sccache --dist-status
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """sccache's own word. A scheduler that can't be had fails no build, but it does this task, which asks for it."""
    settings = {"SCCACHE_CONF": args["config"]} if args.get("config") else {}
    mark = f"distribute {context.seed}"
    own = {"CIFLOW_CACHE": mark, "SCCACHE_SERVER_PORT": str(port(mark))}
    argv = ("/bin/sh", "-c", _ASK.strip() + "\n")
    reply = yield Probe(Exec(argv=argv, env={**context.environment, **settings, **own}, timeout=_PATIENCE))
    if reply.rc == 127:
        return Outcome(failed=True, msg=MISSING)
    yield Probe(ending(mark, own["SCCACHE_SERVER_PORT"]))
    scheduler, _, said = text(reply.stdout).partition("\n")
    if well(reply):
        return _told(said)
    if reply.status != "done":
        return failure(reply, {}, "sccache doesn't say who compiles")
    why = f"nothing within {_PATIENCE:g} s" if reply.errno == "ETIMEDOUT" else complaint(reply)
    if not scheduler:
        return Outcome(failed=True, msg=f"sccache doesn't say who compiles: {why}")
    return _silent(scheduler, f"doesn't answer ({why})")


def _told(said: str) -> Outcome:
    """{"SchedulerStatus": [url, {num_servers, ..}]}, {"NotConnected": [url, why]} or {"Disabled": why}."""
    try:
        ((kind, found),) = loads(said).items()
        if kind == "SchedulerStatus":
            url, counts = found
            data = {"scheduler": url, "connected": True, "builders": int(counts["num_servers"]),
                    "cpus": int(counts["num_cpus"]), "in_progress": int(counts["in_progress"])}  # fmt: skip
            return _connected(data)
        where, why = found if kind == "NotConnected" else ("", found)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Outcome(failed=True, msg=f"sccache's status can't be read: {said.strip()[:200]}")
    if not where:
        msg = "builds here are not distributed: sccache's settings name no scheduler (role sccache_dist, or [dist])"
        return Outcome(failed=True, msg=msg, data=_nobody(""))
    return _silent(where, f"can't be had ({why})")


def _silent(scheduler: str, how: str) -> Outcome:
    return Outcome(failed=True, msg=f"the scheduler {scheduler} {how}: builds compile here", data=_nobody(scheduler))


def _nobody(scheduler: str) -> dict[str, Any]:
    return {"scheduler": scheduler, "connected": False, "builders": 0, "cpus": 0, "in_progress": 0}


def _connected(data: Mapping[str, Any]) -> Outcome:
    if not data["builders"]:
        msg = f"the scheduler {data['scheduler']} has no builders: builds compile here"
        return Outcome(failed=True, msg=msg, data=data)
    msg = (
        f"{data['builders']} builder{'s' * (data['builders'] != 1)} with {data['cpus']} processors at "
        f"{data['scheduler']}, {data['in_progress']} compilations under way"
    )
    return Outcome(msg=msg, data=data)
