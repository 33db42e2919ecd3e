"""`group`: a group of users on the host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules import accounts
from ciflow.modules.program import run_all, tool
from ciflow.modules.replies import failure, text

_NOT_FOUND = 2  # getent's exit code for a key that is not there


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Look, change what differs, and look again only where something did."""
    data: dict[str, Any] = {"name": args["name"], "state": args["state"]}
    if args["non_unique"] and args.get("gid") is None:
        return Outcome(failed=True, msg="non_unique is True but all of the following are missing: gid", data=data)
    look = Probe(tool(["getent", "group", args["name"]], context))
    seen = yield look
    if seen.status != "done" or seen.rc not in (0, _NOT_FOUND):
        return failure(seen, data, "can't ask for groups")
    found = next(iter(accounts.groups_of(text(seen.stdout))), None)
    if args["state"] == "absent":
        argv = ["groupdel", *(["-f"] if args["force"] else []), args["name"]] if found else []
    else:
        argv = accounts.groupmod(args, found) if found else accounts.groupadd(args)
    if argv:
        ran = yield from run_all([(f"can't change the group {args['name']}", tool(argv, context))], data)
        if ran.outcome is not None:
            return ran.outcome
        data |= ran.said
        if not ran.predicted and args["state"] == "present":
            found = next(iter(accounts.groups_of(text((yield look).stdout))), None)
    if found and args["state"] == "present":
        data |= {"system": args["system"], "gid": found.gid}
    return Outcome(changed=bool(argv), data=data)
