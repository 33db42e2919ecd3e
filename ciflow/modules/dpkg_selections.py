"""`dpkg_selections`: what dpkg is to do with a package (hold it, say)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules.program import broken, run_all, tool
from ciflow.modules.replies import text, well


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Ask, and set where it is otherwise."""
    name, wanted = args["name"], args["selection"]
    seen = yield Probe(tool(["dpkg", "--get-selections", name], context))
    if not well(seen):
        return broken(seen, "can't ask dpkg")
    if "no packages found matching" in text(seen.stderr):
        msg = f"Failed to find package '{name}' to perform selection '{wanted}'."
        return Outcome(failed=True, msg=msg)
    words = text(seen.stdout).split()
    before = words[1] if len(words) > 1 else "not present"
    data = {"before": before, "after": wanted}
    if before != wanted:
        call = tool(["dpkg", "--set-selections"], context, stdin=f"{name} {wanted}\n")
        ran = yield from run_all([(f"can't set the selection of {name}", call)], data)
        if ran.outcome is not None:
            return ran.outcome
    return Outcome(changed=before != wanted, data=data, diff=(f"{before}\n", f"{wanted}\n") if context.diff else None)
