"""`apt-get` as several modules call it: its index brought up to date, its options, what it would do."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Hold, Outcome, Reply, Step
from ciflow.modules.program import broken, questions, tool
from ciflow.modules.replies import predicted, text, well

QUIET = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}
# apt forgives an archive out of reach unless told otherwise, and goes on with what it had.
_UPDATE = ("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
# $1 the exit code of policy-rc.d, the rest the call: services that packages bring are not started meanwhile.
_WITH_POLICY = r"""
policy=/usr/sbin/policy-rc.d code=$1; shift
restore() { rm -f -- "$policy"; [ ! -e "$policy.ciflow" ] || mv -- "$policy.ciflow" "$policy"; }
[ ! -e "$policy" ] || mv -- "$policy" "$policy.ciflow"
trap restore EXIT
printf '#!/bin/sh\nexit %s\n' "$code" >"$policy" && chmod 755 "$policy"
"$@"
"""


def call(argv: list[str], args: Mapping[str, Any], context: Context) -> Exec:
    """One call of apt-get or dpkg, under the policy that the task asks for."""
    if args.get("policy_rc_d") is None:
        return tool(argv, context, env=QUIET)
    return questions(_WITH_POLICY, (str(args["policy_rc_d"]), *argv), context, QUIET)


def updated(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Outcome | None]:
    """`apt-get update`, tried again after 1, 2, 4, .. seconds; the failure of the last try, or None."""
    tries = max(1, int(args["update_cache_retries"]))
    reply = Reply()
    for number in range(tries):
        reply = yield Change(tool(_UPDATE, context, env=QUIET))
        if well(reply) or predicted(reply):
            return None
        if reply.status != "done":
            break
        if number + 1 < tries:
            pause = min(2**number, int(args["update_cache_retry_max_delay"]))
            yield Hold(float(pause), why="the archives of apt can't be reached")
    return broken(reply, f"Failed to update apt cache after {tries} retries")


def prepared(stdout: str) -> str:
    """The part of apt-get's words that says what it is about to do: what Ansible shows as the difference."""
    lines = stdout.splitlines()
    start = lines.index("Reading state information...") + 1 if "Reading state information..." in lines else 0
    ends = (n for n, line in enumerate(lines) if line[:1].isdigit() and " upgraded, " in line)
    return "".join(f"{line}\n" for line in lines[start : next(ends, len(lines)) + 1])


def difference(reply: Reply, context: Context) -> tuple[str, str] | None:
    """`prepared` where differences are asked for."""
    return ("", prepared(text(reply.stdout))) if context.diff else None
