"""`distribute`: whether builds on this host have others compile, and who they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.cargo.cache import port
from ciflow.encoding import loads
from ciflow.model import Context, Exec, Outcome, Probe, Reply, Steps
from ciflow.modules.replies import failure, text, well
from ciflow.modules.sccache import MISSING

# A server of sccache keeps the settings that it was started with: a fresh one is asked, on a port of its own.
_ASK = r"""
command -v sccache > /dev/null || exit 127
sccache --stop-server > /dev/null 2>&1
sccache --dist-status
code=$?
sccache --stop-server > /dev/null 2>&1
exit $code
"""


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """sccache's own word. A scheduler that can't be had fails no build, but it does this task, which asks for it."""
    settings = {"SCCACHE_CONF": args["config"]} if args.get("config") else {}
    own = {"SCCACHE_SERVER_PORT": str(port(f"distribute {context.seed}"))}
    argv = ("/bin/sh", "-c", _ASK.strip() + "\n")
    reply = yield Probe(Exec(argv=argv, env={**context.environment, **settings, **own}, timeout=60.0))
    if reply.rc == 127:
        return Outcome(failed=True, msg=MISSING)
    if not well(reply):
        return failure(reply, {}, "sccache doesn't say who compiles")
    return _told(reply)


def _told(reply: Reply) -> Outcome:
    """{"SchedulerStatus": [url, {num_servers, ..}]}, {"NotConnected": [url, why]} or {"Disabled": why}."""
    try:
        ((kind, found),) = loads(text(reply.stdout)).items()
        if kind == "SchedulerStatus":
            url, counts = found
            data = {"scheduler": url, "connected": True, "builders": int(counts["num_servers"]),
                    "cpus": int(counts["num_cpus"]), "in_progress": int(counts["in_progress"])}  # fmt: skip
            return _connected(data)
        where, why = found if kind == "NotConnected" else ("", found)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = text(reply.stdout).strip()[:200]
        return Outcome(failed=True, msg=f"sccache's status can't be read: {said}")
    data = {"scheduler": where, "connected": False, "builders": 0, "cpus": 0, "in_progress": 0}
    if not where:
        msg = "builds here are not distributed: sccache's settings name no scheduler (role sccache_dist, or [dist])"
        return Outcome(failed=True, msg=msg, data=data)
    return Outcome(failed=True, msg=f"the scheduler {where} can't be had ({why}): builds compile here", data=data)


def _connected(data: Mapping[str, Any]) -> Outcome:
    if not data["builders"]:
        msg = f"the scheduler {data['scheduler']} has no builders: builds compile here"
        return Outcome(failed=True, msg=msg, data=data)
    msg = (
        f"{data['builders']} builder{'s' * (data['builders'] != 1)} with {data['cpus']} processors at "
        f"{data['scheduler']}, {data['in_progress']} compilations under way"
    )
    return Outcome(msg=msg, data=data)
