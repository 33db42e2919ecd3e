"""Cargo.lock before and after: which packages differ, and what may be built otherwise by that."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.cargo.errors import ToolOutputError
from ciflow.cargo.graph import reach
from ciflow.dataclass import dataclass


@dataclass(frozen=True)
class Locked:
    """A package. `key` is its name, of one from elsewhere with version and source; `needs` are keys."""

    key: str
    checksum: str
    needs: frozenset[str]


def key_of(name: str, version: str, source: str) -> str:
    """Packages of the project itself are the same one in whatever version."""
    return f"{name} {version} ({source})" if source else name


def parse(text: str) -> dict[str, Locked]:
    """All packages by key.

    Raises:
        ToolOutputError: not a lock file.
    """
    try:
        entries: list[Mapping[str, Any]] = tomllib.loads(text).get("package", [])
        keys = {_id(one): key_of(one["name"], one["version"], one.get("source", "")) for one in entries}
        names = _abbreviations(keys)
        return {
            keys[_id(one)]: Locked(
                keys[_id(one)],
                one.get("checksum", ""),
                frozenset(names[needed] for needed in one.get("dependencies", ())),
            )
            for one in entries
        }
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as e:
        raise ToolOutputError(f"Cargo.lock can't be read: {type(e).__name__} {e}") from e


def _id(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["name"], entry["version"], entry.get("source", "")


def _abbreviations(keys: Mapping[tuple[str, str, str], str]) -> dict[str, str]:
    """Under which texts `dependencies` name a package: as short as is unambiguous."""
    found: dict[str, str] = {}
    for (name, version, source), key in keys.items():
        found |= {name: key, f"{name} {version}": key, f"{name} {version} ({source})": key}
    return found


def differing(old: Mapping[str, Locked], new: Mapping[str, Locked]) -> dict[str, str]:
    """Keys of packages that may be built otherwise, on either side, each with the reason.

    A package that comes, goes or changes may choose other features of what it needs, so all below it counts; and what
    is gone was needed by those above it.
    """
    found: dict[str, str] = {}
    for side, other, word in ((old, new, "left"), (new, old, "came into")):
        edges = {key: one.needs for key, one in side.items()}
        for key, one in side.items():
            if (before := other.get(key)) is None:
                _add(found, reach([key], edges), f"{key} {word} Cargo.lock")
            elif before != one:
                found.setdefault(key, f"{key} has another entry in Cargo.lock")
                changed = one.needs - before.needs
                _add(found, reach(changed, edges), f"{key} needs others by Cargo.lock: {', '.join(sorted(changed))}")
    gone = [key for key in found if key not in new]
    users: dict[str, list[str]] = {}
    for key, one in old.items():
        for needed in one.needs:
            users.setdefault(needed, []).append(key)
    for key in gone:
        _add(found, reach([key], users), found[key])
    return found


def _add(found: dict[str, str], keys: Iterable[str], why: str) -> None:
    for key in sorted(keys):
        found.setdefault(key, why)


def below(lock: Mapping[str, Locked], key: str) -> set[str]:
    """A package and all that it needs."""
    return reach([key], {one: entry.needs for one, entry in lock.items()})
