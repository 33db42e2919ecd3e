"""`ping`: the host answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Stat, Steps
from ciflow.modules.replies import failure, well


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """The cheapest operation there is goes there and back. `data: crash` fails, as in Ansible."""
    if args["data"] == "crash":
        return Outcome(failed=True, msg="boom")
    reply = yield Probe(Stat(path="/"), last=True)
    return Outcome(data={"ping": args["data"]}) if well(reply) else failure(reply)
