"""`group_by`: put the host into a group that is named by a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Names the group and its parents; the engine puts the host in. Spaces become dashes, as in Ansible."""
    yield from ()
    parents = [str(name).replace(" ", "-") for name in args.get("parents") or ("all",)]
    return Outcome(changed=True, data={"add_group": args["key"].replace(" ", "-"), "parent_groups": parents})
