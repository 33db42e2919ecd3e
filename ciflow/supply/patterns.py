"""Patterns of a policy, for addresses of builders, repositories and people."""

from __future__ import annotations

import re


def matches(pattern: str, text: str) -> bool:
    """`*` is anything but a slash, `**` anything: so that a host or an owner can't be slipped past a pattern."""
    parts = (part if part.startswith("*") else re.escape(part) for part in re.split(r"(\*\*|\*)", pattern))
    expression = "".join({"**": ".*", "*": "[^/]*"}.get(part, part) for part in parts)
    return re.fullmatch(expression, text, re.DOTALL) is not None
