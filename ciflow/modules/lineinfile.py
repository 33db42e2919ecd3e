"""`lineinfile`: a line is there, or is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.edit import edit, given

_OWN = ("state", "line", "regexp", "search_string", "backrefs", "insertafter", "insertbefore", "firstmatch")


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Refuses, in Ansible's words, what makes no sense together; the rest is one Edit."""
    wrong = _wrong(args)
    if wrong:
        return Outcome(failed=True, msg=wrong)
    return (yield from edit("line", given(args, _OWN), args, context))


def _wrong(args: Mapping[str, Any]) -> str:
    if args["state"] == "present":
        if args["backrefs"] and not args.get("regexp"):
            return "regexp is required with backrefs=true"
        return "line is required with state=present" if args.get("line") is None else ""
    named = any(args.get(name) is not None for name in ("regexp", "search_string", "line"))
    return "" if named else "one of line, search_string, or regexp is required with state=absent"
