"""`debug`: show a message or a value in the run's own output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """`msg` arrives rendered. For `var: x` the engine gives {"var": "x", "value": what x holds}."""
    yield from ()
    if args.get("verbosity", 0) > context.verbosity:
        reason = "Verbosity threshold not met."
        return Outcome(skipped=True, msg=reason, data={"skipped_reason": reason})
    if args.get("var"):
        return Outcome(data={str(args["var"]): args.get("value")})
    message = args.get("msg", "Hello world!")
    return Outcome(msg=message) if isinstance(message, str) else Outcome(data={"msg": message})
