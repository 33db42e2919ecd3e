"""Templates so simple that their names can be seen without parsing them.

Most templates of a playbook are names between braces, and most conditions names compared with constants. Jinja takes
a tenth of a millisecond for each; a playbook has thousands.
"""

from __future__ import annotations

import functools
import re

from ciflow.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """`free`: all that are read; `sure`: those read whatever its conditions say; `guarded`: may be undefined."""

    free: frozenset[str] = frozenset()
    sure: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()


_DOTTED = r"([A-Za-z_]\w*)(?:\.[A-Za-z_]\w*)*"
_CONSTANT = r"(?:\d{1,9}|'[^'\\\n{}]*'|\"[^\"\\\n{}]*\")"
_OPERAND = rf"(?:{_CONSTANT}|{_DOTTED})"
_LONE = re.compile(r"\{\{ ?([A-Za-z_]\w*) ?\}\}", re.ASCII)
_LONE_WORD = re.compile(r"([A-Za-z_]\w*)", re.ASCII)
# `x`, `x + 1`, `x ~ y.z`; or `x | default('y')`, `x | default(omit)`
_DEFAULT = rf"{_DOTTED} ?\| ?default\((?:{_CONSTANT}(?:, true)?|omit|true|false)\)"
_PART = re.compile(rf"\{{\{{ ?(?:{_DOTTED}(?: [-+*/~] {_OPERAND})?|{_DEFAULT}) ?\}}\}}", re.ASCII)
# `x`, `not x`, `x.y == 'z'`, `x is not defined`
_ASKED = rf"(?:==|!=|<=|>=|<|>) {_OPERAND}|(is (?:not )?(?:un)?defined)"
_TERM = re.compile(rf"(?:not )?{_DOTTED}(?: (?:{_ASKED}))?(?=\Z| and | or )", re.ASCII)
_JOIN = re.compile(" (?:and|or) ")
# Functions that every template has, unless a variable has the name.
FUNCTIONS = frozenset({"lookup", "query", "q", "range", "dict", "now", "undef", "cycler", "joiner", "namespace"})
RESERVED = FUNCTIONS | {"true", "false", "none", "True", "False", "None", "not", "and", "or", "in", "is", "if", "else",
                      "loop", "self", "super", "caller", "varargs", "kwargs", "omit", "lipsum"}  # fmt: skip
_WORD_INSIDE = re.compile(r"\.(?:true|false|none|not|and|or|in|is|if|else)\b")


@functools.lru_cache(maxsize=16_384)
def lone_name(source: str, expression: bool) -> str:
    """The variable whose value a template gives as it is: the name of `{{ name }}`. Empty for all other templates."""
    found = (_LONE_WORD if expression else _LONE).fullmatch(source)
    return found[1] if found and found[1] not in RESERVED else ""


@functools.lru_cache(maxsize=16_384)
def simple_names(source: str, expression: bool) -> Names | None:
    """The variables that a simple template reads; None where it is not simple."""
    found = _of_condition(source) if expression else _of_text(source)
    if found is None or not found.free or found.free & RESERVED or _WORD_INSIDE.search(source):
        return None  # attributes may not be Jinja's words either: it is enough to look for them roughly
    return found


def _of_text(source: str) -> Names | None:
    rest = _PART.sub("", source)
    if "{" in rest or "}" in rest:
        return None
    sure: set[str] = set()
    guarded: set[str] = set()
    for first, second, forgiven in _PART.findall(source):
        sure.update(name for name in (first, second) if name)
        guarded.update([forgiven] if forgiven else [])
    return Names(frozenset(sure | guarded), frozenset(sure), frozenset(guarded))


def _of_condition(source: str) -> Names | None:
    """Of terms that are joined, only the first is read in any case."""
    free: set[str] = set()
    guarded: set[str] = set()
    sure: frozenset[str] = frozenset()
    at = 0
    while term := _TERM.match(source, at):
        names = {name for name in (term[1], term[2]) if name}
        free |= names
        if term[3]:
            guarded |= names
        elif not at:
            sure = frozenset(names)
        at = term.end()
        join = _JOIN.match(source, at)
        if join is None:
            return Names(frozenset(free), sure, frozenset(guarded))
        at = join.end()
    return None
