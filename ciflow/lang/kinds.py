"""The types that schemas speak of, and how a value becomes one: as Ansible converts, with its traps refused."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.lang.filters import to_bool
from ciflow.model import Template

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SIZES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\Z", re.IGNORECASE)
_MODE = re.compile(r"(0o?)?[0-7]{1,4}\Z|[ugoa]*[-+=][rwxXstugo]*(,[ugoa]*[-+=][rwxXstugo]*)*\Z|preserve\Z")


def duration(value: Any) -> float:
    """Seconds of a number, or of text such as `500ms`, `2m`, `1h30m`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{_shown(value)} is not a duration; write `500ms`, `30s`, `2m`, `8h`")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def percent(value: Any) -> float:
    """Percent as a number: 1.0 of `1%` or of 1."""
    text = f"{value:f}" if isinstance(value, int | float) else str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?\s*%?", text):
        raise ValueError(f"{_shown(value)} is not a percentage; write `25%`")
    number = float(text.rstrip("% "))
    if number > 100:
        raise ValueError(f"{_shown(value)} is more than 100 %")
    return number


def size(value: Any) -> int:
    """Bytes of a number, or of text such as `10MB` (powers of 1024)."""
    found = _SIZE.match(f"{value:f}" if isinstance(value, int | float) else str(value).strip())
    if isinstance(value, bool) or not found:
        raise ValueError(f"{_shown(value)} is not a size; write `10MB`")
    return round(float(found[1]) * _SIZES[found[2].lower()])


def mode(value: Any) -> str:
    """A file mode as text: octal or symbolic."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f'{value} is a decimal number, which is no file mode; write "{value:04}" in quotes')
    if not isinstance(value, str) or not _MODE.match(value.strip()):
        raise ValueError(f'{_shown(value)} is not a file mode; write "0644" or "u=rw,go=r"')
    return value.strip().replace("0o", "0", 1)


def mode_as_written(value: Any, source: str) -> Any:
    """An unquoted mode by its source text: `0644` and `0o644` are octal; `644` stays a number, which `mode` refuses."""
    if isinstance(value, int) and not isinstance(value, bool) and re.fullmatch(r"0o?[0-7]+", source):
        return source.replace("0o", "0", 1)
    return value


def integer(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is not a whole number")
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?\d+\s*", value):
        return int(value)
    raise ValueError(f"{_shown(value)} is not a whole number")


def floating(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{_shown(value)} is not a number")
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        raise ValueError(f"{_shown(value)} is not a number")
    return float(value)


def text(value: Any) -> str:
    """Text, or a number or boolean as text (a template may have made one)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    raise ValueError(f"{_shown(value)} is not text")


def listed(value: Any) -> list[Any]:
    """A list; text is cut at its commas."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")] if value else []
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    raise ValueError(f"{_shown(value)} is not a list")


def items(value: Any) -> list[Any]:
    """A list that is written as one."""
    if isinstance(value, list | tuple):
        return list(value)
    raise ValueError(f"{_shown(value)} is not a list")


def mappings(value: Any) -> list[Any]:
    """A list of mappings, or of templates that will be some."""
    for one in items(value):
        if not isinstance(one, Mapping | Template):
            raise ValueError(f"{_shown(one)} is not a mapping")
    return items(value)


def batches(value: Any) -> list[Any]:
    """Sizes of batches: each a number of hosts, or a share of them."""
    return [one if isinstance(one, Template) else _batch(one) for one in items(value)]


def _batch(value: Any) -> Any:
    try:
        return integer(value)
    except ValueError:
        percent(value)
        return value


def mapping(value: Any) -> dict[Any, Any]:
    """A mapping; text is read as JSON or as `key=value` pairs."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            found = json.loads(value)
        except ValueError as error:
            raise ValueError(f"{_shown(value)} is not a mapping: {error}") from None
        return dict(found)
    if isinstance(value, str) and "=" in value:
        pairs = [part.partition("=") for part in shlex.split(value.replace(",", " "))]
        return {key: below for key, _, below in pairs}
    raise ValueError(f"{_shown(value)} is not a mapping")


def fields(value: Any) -> dict[Any, Any]:
    """A mapping that is written as one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"{_shown(value)} is not a mapping")


def boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value is None or isinstance(value, list | Mapping):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return to_bool(value)


def condition(value: Any) -> Any:
    """`when` and its like: an expression, a boolean, or a list of them."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str | bool | Template):
            raise ValueError(f"{_shown(one)} is not a condition")
    return value


KINDS: dict[str, Callable[[Any], Any]] = {
    "any": lambda value: value,
    "batches": batches,
    "boolean": boolean,
    "condition": condition,
    "dict": mapping,
    "duration": duration,
    "expression": condition,
    "fields": fields,
    "float": floating,
    "integer": integer,
    "items": items,
    "list": listed,
    "mappings": mappings,
    "mode": mode,
    "number": floating,
    "path": text,
    "percent": percent,
    "size": size,
    "string": text,
    "text": text,
}
_EXACT: dict[str, type | tuple[type, ...]] = {
    "boolean": bool, "dict": dict, "fields": dict, "list": list, "items": list, "path": str, "string": str, "text": str,
    "mode": str, "integer": int, "float": float,
}  # fmt: skip


def fit(kinds: str | list[str], value: Any, *, literal: bool) -> Any:
    """`value` as one of `kinds`: the one it is already, else the first it can become. Raises ValueError in words.

    `literal`: it stands so in a file. There, a bare boolean where text is meant is refused, for it would read
    "True" whatever was written.
    """
    if isinstance(value, Template):
        return value
    names = [kinds] if isinstance(kinds, str) else kinds
    for name in names:
        exact = _EXACT.get(name)
        if exact is not None and isinstance(value, exact) and not (exact is int and isinstance(value, bool)):
            return KINDS[name](value)
    if literal and isinstance(value, bool) and not {"any", "boolean", "condition", "expression"} & set(names) \
            and {"text", "string", "path"} & set(names):  # fmt: skip
        raise ValueError("this is a boolean where text is meant; quote it")
    problem = None
    for name in names:
        try:
            return KINDS[name](value)
        except ValueError as error:
            problem = problem or error
    raise problem or ValueError(f"{_shown(value)} does not fit")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    return f'"{value[:60]}"' if isinstance(value, str) else str(value)
