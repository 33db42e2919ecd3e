"""`set_fact`: give the host variables that later tasks and plays see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """Every argument but `cacheable` is a fact, with the value (and type) that it was rendered to."""
    yield from ()
    facts = {name: value for name, value in args.items() if name != "cacheable"}
    bad = [name for name in facts if not name.isidentifier()]
    if bad:
        return Outcome(failed=True, msg=f"'{bad[0]}' is no name for a variable: letters, digits and underscores")
    if not facts:
        return Outcome(failed=True, msg="No key/value pairs provided, at least one is required")
    return Outcome(facts=facts, data={"ansible_facts": facts})
