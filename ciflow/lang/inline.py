"""Options that stand in a lookup's term, `key file=x col=2`, and the readings of their values."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

_OPTION = re.compile(r"(?:^|(?<=\s))(\w+)=('[^']*'|\"[^\"]*\"|\S*)")


def inline(term: Any, known: Set[str], *, several: bool = True, what: str = "") -> tuple[str, dict[str, str]]:
    """The term without its options, and the options. Raises ValueError for one that the lookup doesn't have.

    Without `several` what is not an option ends the key: `user section=my part` has the section "my part".
    """
    text = str(term)
    found = list(_OPTION.finditer(text))
    if unknown := [one[1] for one in found if one[1] not in known]:
        raise ValueError(f"{what}{unknown[0]!r} is not a valid option here; there are {', '.join(sorted(known))}")
    options = {one[1]: one[2][1:-1] if one[2][:1] in ("'", '"') and one[2][1:] else one[2] for one in found}
    if not several and found:
        ends = [one.start() for one in found[1:]] + [len(text)]
        options = {one[1]: text[one.start(2) : end].strip() for one, end in zip(found, ends, strict=True)}
        return text[: found[0].start()].strip(), options
    return _OPTION.sub("", text).strip() if found else text, options


def boolean(value: Any) -> bool:
    """An option that is on or off. Raises ValueError for anything else."""
    from ciflow.lang.filters import to_bool

    return value if isinstance(value, bool) else to_bool(value)


def number(value: Any, name: str) -> int:
    """A whole number, also as text, decimal, 0x.. or 0.. (octal). Raises ValueError in words."""
    if isinstance(value, int):
        return value
    text = str(value).strip()
    try:
        return int(text, 8) if re.fullmatch(r"0[0-7]+", text) else int(text, 0)
    except ValueError as error:
        raise ValueError(f"`{name}` has an invalid value: {value!r} is no whole number") from error
