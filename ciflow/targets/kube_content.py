"""What of an object is its content: what people wrote or would compare. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SERVERS = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink")
HIDDEN = "(secret)"


def plain(thing: Mapping[str, Any]) -> dict[str, Any]:
    """Without the record of who manages which field: it is longer than the rest, and no one reads it."""
    if "metadata" not in thing:
        return dict(thing)
    metadata = {name: value for name, value in thing["metadata"].items() if name != "managedFields"}
    return {**thing, "metadata": metadata}


def content(thing: Mapping[str, Any]) -> dict[str, Any]:
    """What an apply can change: neither the server's own book-keeping nor the status."""
    metadata = {name: value for name, value in (thing.get("metadata") or {}).items() if name not in SERVERS}
    return {**{name: value for name, value in thing.items() if name != "status"}, "metadata": metadata}


def managed_by(thing: Mapping[str, Any], manager: str) -> bool:
    """Whether `manager` has applied it."""
    fields = (thing.get("metadata") or {}).get("managedFields") or ()
    return any(one.get("manager") == manager and one.get("operation") == "Apply" for one in fields)


def hidden(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both without the values of a Secret, yet so that it shows which of them differ."""
    if "Secret" not in (before.get("kind"), after.get("kind")):
        return dict(before), dict(after)
    return _without(before, after, "before"), _without(after, before, "after")


def _without(thing: Mapping[str, Any], other: Mapping[str, Any], when: str) -> dict[str, Any]:
    shown = dict(thing)
    for part in ("data", "stringData"):
        if part in thing:
            same = other.get(part) or {}
            shown[part] = {
                name: HIDDEN if not same or same.get(name) == value else f"{HIDDEN[:-1]}, {when})"
                for name, value in (thing[part] or {}).items()
            }
    return shown
