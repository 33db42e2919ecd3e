"""`fail`: end the host's part in the play with a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Always failed; `when:` says whether it comes to that."""
    yield from ()
    return Outcome(failed=True, msg=args["msg"])
