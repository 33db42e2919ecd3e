"""`add_host`: a host that the rest of the run knows, also later plays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.lang.inventory_read import port_of
from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Says which host it is; the engine takes it into the run's inventory. All other arguments are its variables."""
    yield from ()
    name = str(args["name"]).strip()
    if not name:
        return Outcome(failed=True, msg="a host needs a name")
    groups = [part.strip() for group in args.get("groups") or () for part in str(group).split(",") if part.strip()]
    own = {key: value for key, value in args.items() if key not in ("name", "groups")}
    name, port = port_of(name)
    if port:
        own["ansible_ssh_port"] = port
    return Outcome(data={"add_host": {"host_name": name, "groups": groups, "host_vars": own}})
