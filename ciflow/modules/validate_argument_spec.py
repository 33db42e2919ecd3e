"""`validate_argument_spec`: fail where arguments are not what a specification says; each role begins with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.lang.role_arguments import complaints
from ciflow.model import Context, Outcome, Steps


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """The arguments arrive rendered; what is not given at all is not among them."""
    yield from ()
    spec, context = args["argument_spec"], args["validate_args_context"]
    about = {"validate_args_context": context}
    wrong = complaints(spec, args["provided_arguments"])
    if not wrong:
        return Outcome(msg="The arg spec validation passed", data=about)
    place = [f"the role {context.get('name')} is used at {context['used_at']}"] if context.get("used_at") else []
    msg = "\n".join(["Validation of arguments failed:", *wrong, *place])
    return Outcome(failed=True, msg=msg, data={"argument_errors": wrong, "argument_spec_data": spec, **about})
