"""Ansible's filters of mappings and lists, and of chance."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ciflow.lang.limits import MOST_ITEMS, TooMuch, bounded

_MERGES = ("replace", "keep", "append", "prepend", "append_rp", "prepend_rp")


def combine(*terms: Any, recursive: bool = False, list_merge: str = "replace") -> dict[Any, Any]:
    """Mappings merged, the last one winning."""
    if list_merge not in _MERGES:
        raise ValueError(f"list_merge is one of {', '.join(_MERGES)}, not {list_merge!r}")
    merged: dict[Any, Any] = {}
    for one in flatten(terms, levels=1):
        if not isinstance(one, Mapping):
            raise ValueError(f"combine takes mappings, not {type(one).__name__}")
        merged = _merge(merged, one, recursive, list_merge)
    return merged


def _merge(left: Mapping[Any, Any], right: Mapping[Any, Any], recursive: bool, lists: str) -> dict[Any, Any]:
    merged = dict(left)
    for key, value in right.items():
        old = merged.get(key)
        if recursive and isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(old, value, True, lists)
        elif isinstance(old, list) and isinstance(value, list):
            merged[key] = _merge_lists(old, value, lists)
        else:
            merged[key] = value
    return merged


def _merge_lists(old: list[Any], new: list[Any], how: str) -> list[Any]:
    match how:
        case "keep":
            return old
        case "append":
            return old + new
        case "prepend":
            return new + old
        case "append_rp":
            return [item for item in old if item not in new] + new
        case "prepend_rp":
            return new + [item for item in old if item not in new]
    return new


def dict2items(value: Mapping[Any, Any], key_name: str = "key", value_name: str = "value") -> list[dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"dict2items takes a mapping, not {type(value).__name__}")
    return [{key_name: key, value_name: below} for key, below in value.items()]


def items2dict(value: Sequence[Any], key_name: str = "key", value_name: str = "value") -> dict[Any, Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"items2dict takes a list, not {type(value).__name__}")
    if any(not isinstance(item, Mapping) or key_name not in item or value_name not in item for item in value):
        raise ValueError(f"every item must be a mapping with {key_name!r} and {value_name!r}")
    return {item[key_name]: item[value_name] for item in value}


def flatten(value: Any, levels: int | None = None, skip_nulls: bool = True) -> list[Any]:
    flat: list[Any] = []
    for item in value:
        if skip_nulls and item in (None, "None", "null"):
            continue
        if isinstance(item, list | tuple) and (levels is None or levels >= 1):
            flat += flatten(item, None if levels is None else int(levels) - 1, skip_nulls)
        else:
            flat.append(item)
    return flat


# --- sets ----------------------------------------------------------------------------------------------


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order, also of values that have no hash."""
    seen: set[Any] = set()
    odd: list[Any] = []
    result = []
    for value in values:
        try:
            if value in seen:
                continue
            seen.add(value)
        except TypeError:
            if value in odd:
                continue
            odd.append(value)
        result.append(value)
    return result


def _has(values: Iterable[Any]) -> Any:
    """Values to ask with `in`: a set where they have hashes, so that long lists don't take quadratic time."""
    found = list(values)
    try:
        return set(found)
    except TypeError:
        return found


def _in(value: Any, values: Any) -> bool:
    try:
        return value in values
    except TypeError:  # no hash, so it is in no set
        return False


def union(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    return distinct([*left, *right])


def intersect(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    other = _has(right)
    return distinct(item for item in left if _in(item, other))


def difference(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    other = _has(right)
    return distinct(item for item in left if not _in(item, other))


def symmetric_difference(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    one, two = list(left), list(right)
    return difference(one, two) + difference(two, one)


# --- parts of items ------------------------------------------------------------------------------------


def subelements(obj: Any, subelements: Any, skip_missing: bool = False) -> list[tuple[Any, Any]]:
    """Pairs of each item and each element of the list at the dotted path `subelements` in it."""
    if not isinstance(obj, list | tuple | Mapping):
        raise ValueError(f"subelements takes a list or a mapping of mappings, not {type(obj).__name__}")
    keys = subelements.split(".") if isinstance(subelements, str) else list(subelements)
    pairs: list[tuple[Any, Any]] = []
    for item in obj.values() if isinstance(obj, Mapping) else obj:
        below: Any = item
        for key in keys:
            if not isinstance(below, Mapping) or key not in below:
                if not skip_missing:
                    raise ValueError(_no_key(key, below))
                below = []
                break
            below = below[key]
        if not isinstance(below, list | tuple):
            raise ValueError(f"the key {subelements!r} should point to a list in every item")
        pairs += [(item, one) for one in below]
    return pairs


def _no_key(key: str, below: Any) -> str:
    if isinstance(below, Mapping):
        return f"could not find {key!r} key in iterated item {below!r}"
    return f"the key before {key!r} should point to a dictionary, got {below!r}"


def rekey_on_member(data: Any, key: str, duplicates: str = "error") -> dict[Any, Any]:
    if duplicates not in ("error", "overwrite"):
        raise ValueError(f"duplicates parameter to rekey_on_member has unknown value {duplicates!r}")
    if isinstance(data, str) or not isinstance(data, Iterable):
        raise ValueError("Type is not a valid list, set, or dict for rekey_on_member")
    found: dict[Any, Any] = {}
    for item in data.values() if isinstance(data, Mapping) else data:
        if not isinstance(item, Mapping):
            raise ValueError("List item is not a valid dict for rekey_on_member")
        if key not in item:
            raise ValueError(f"the key {key!r} was not found in {item!r}")
        if item[key] in found and duplicates == "error":
            raise ValueError(f"the key {item[key]!r} is not unique, cannot convert to dict")
        found[item[key]] = item
    return found


# --- combinations --------------------------------------------------------------------------------------


def product(*values: Iterable[Any], repeat: int = 1) -> list[Any]:
    lists = [list(value) for value in values]
    _check_count(math.prod(len(one) for one in lists) ** min(repeat, 100))
    return list(itertools.product(*lists, repeat=repeat))


def permutations(value: Iterable[Any], r: int | None = None) -> list[Any]:
    items = list(value)
    _check_count(math.perm(len(items), r))
    return list(itertools.permutations(items, r))


def combinations(value: Iterable[Any], r: int) -> list[Any]:
    items = list(value)
    _check_count(math.comb(len(items), r))
    return list(itertools.combinations(items, r))


def _check_count(count: int) -> None:
    if count > MOST_ITEMS:
        raise TooMuch(f"a list made by a template has at most {MOST_ITEMS:,} items; this one would have {count:,}")


def zipped(*values: Iterable[Any]) -> list[Any]:
    return bounded(zip(*values, strict=False))


def zip_longest(*values: Iterable[Any], fillvalue: Any = None) -> list[Any]:
    return bounded(itertools.zip_longest(*values, fillvalue=fillvalue))


# --- chance --------------------------------------------------------------------------------------------


def random_of(end: Any, start: int | None = None, step: int | None = None, seed: Any = None) -> Any:
    """A number below `end`, or an item. Python's own generator, so that a seed gives what it gives in Ansible."""
    chance = random.Random(seed) if seed is not None else random.SystemRandom()
    if isinstance(end, int):
        return chance.randrange(start or 0, end, step or 1)
    if start or step:
        raise ValueError("`start` and `step` are for numbers")
    if not isinstance(end, Iterable):
        raise ValueError("random takes a whole number, a list or a text")
    return chance.choice(end if isinstance(end, Sequence) else list(end))


def shuffle(value: Iterable[Any], seed: Any = None) -> list[Any]:
    items = list(value)
    (random.Random(seed) if seed else random.SystemRandom()).shuffle(items)
    return items
