"""Templates so simple that their names can be seen without parsing them.

Most templates of a playbook are names between braces, and most conditions a name compared with a constant. Jinja
takes a tenth of a millisecond for each; a playbook has thousands.
"""

from __future__ import annotations

import functools
import re

_DOTTED = r"([A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*"
_PART = re.compile(r"\{\{ ?" + _DOTTED + r" ?\}\}", re.ASCII)
_CONDITION = re.compile(_DOTTED + r"(?: (?:==|!=|<=|>=|<|>) (?:\d{1,9}|'[^'\\\n]*'|\"[^\"\\\n]*\"))?\Z", re.ASCII)
_WORDS = frozenset({"true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if", "else",
                    "loop", "self", "super", "caller", "varargs", "kwargs", "lookup", "query", "q", "range", "dict",
                    "now", "undef", "omit", "lipsum", "cycler", "joiner", "namespace"})  # fmt: skip


@functools.lru_cache(maxsize=16_384)
def simple_names(source: str, expression: bool) -> frozenset[str] | None:
    """The variables that a simple template reads, every one of them in any case; None where it is not simple."""
    if expression:
        found = _CONDITION.match(source)
        names = {found[1]} if found else set()
    else:
        rest = _PART.sub("", source)
        names = set() if "{" in rest or "}" in rest else set(_PART.findall(source))
    return frozenset(names) if names and not names & _WORDS and not _has_word(source) else None


def _has_word(source: str) -> bool:
    """Attributes may not be Jinja's words either; seldom, so that it is enough to look for them roughly."""
    return re.search(r"\.(?:true|false|none|not|and|or|in|is|if|else)\b", source) is not None
