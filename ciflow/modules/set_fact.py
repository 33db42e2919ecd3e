"""`set_fact`: give the host variables that later tasks and plays see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps

# What a template reads as something else than a variable.
_TAKEN = frozenset({"true", "True", "false", "False", "none", "None", "not"})


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Every argument but `cacheable` is a fact, with the value (and type) that it was rendered to."""
    yield from ()
    facts = {name: value for name, value in args.items() if name != "cacheable"}
    bad = [name for name in facts if not _is_name(name)]
    if bad:
        kind = "" if isinstance(bad[0], str) else f" of type '{type(bad[0]).__name__}'"
        words = "names have letters, digits and underscores, and mean nothing else in a template"
        return Outcome(failed=True, msg=f"Invalid variable name '{bad[0]}'{kind}: {words}")
    if not facts:
        return Outcome(failed=True, msg="No key/value pairs provided, at least one is required")
    return Outcome(facts=facts, data={"ansible_facts": facts})


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier() and name not in _TAKEN
