"""`replace`: every match of a pattern in a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.edit import edit, given


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One Edit; a pattern that is none is refused before anything is sent."""
    try:
        pattern = re.compile(args["regexp"])
    except re.error as error:
        return Outcome(failed=True, msg=f"regexp is not valid: {error} (in {args['regexp']!r})")
    try:
        pattern.sub(args["replace"], "")
    except (re.error, IndexError) as error:
        return Outcome(failed=True, msg=f"Unable to process replace due to error: {error} (in {args['replace']!r})")
    return (yield from edit("replace", given(args, ("regexp", "replace", "after", "before")), args, context))
