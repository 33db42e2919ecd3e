"""`artifact`: put what an earlier play made on the host."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps, Write
from ciflow.modules.place import into, placed


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The file is streamed from the controller's store; an equal one on the host is left alone."""
    name = args["name"]
    source = context.artifacts.get(name)
    if source is None:
        known = ", ".join(sorted(context.artifacts)) or "none"
        msg = f"no earlier play left an artifact named '{name}' (there are: {known})"
        return Outcome(failed=True, msg=msg, data={"name": name})
    wish = Write(
        path=args["dest"],
        source=source,
        mode=args["mode"],
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        backup=args["backup"],
    )
    path, reply = yield from into(wish, posixpath.basename(name), "0755")
    return placed(reply, path, {"name": name, "src": source})
