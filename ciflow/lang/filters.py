"""Ansible's filters: plain functions of data. Those that need the scope take it first (SCOPED_FILTERS)."""

from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import json
import math
import os.path
import random
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from ciflow.lang.filters_text import (
    comment,
    expanduser,
    human_readable,
    human_to_bytes,
    ipaddr,
    logarithm,
    password_hash,
    path_join,
    quote,
    regex_escape,
    regex_findall,
    regex_replace,
    regex_search,
    root,
    split,
    strftime,
    ternary,
    to_datetime,
    urlsplit,
)

TRUE_WORDS = frozenset({"yes", "on", "1", "true", "t", "y"})
FALSE_WORDS = frozenset({"no", "off", "0", "false", "f", "n", ""})


def to_bool(value: Any) -> bool:
    """Ansible's reading of booleans; anything else is an error instead of a silent false."""
    if isinstance(value, bool):
        return value
    if value is None:
        return False
    word = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    word = word.removesuffix(".0")
    if word in TRUE_WORDS and not isinstance(value, list | dict):
        return True
    if word in FALSE_WORDS and isinstance(value, str | int | float):
        return False
    raise ValueError(f"{value!r} is neither true nor false (yes, no, on, off, true, false, 1, 0)")


def to_int(value: Any, default: Any = 0, base: int = 10) -> Any:
    """Jinja's `int`: `default` for what is no number."""
    try:
        return int(value, base) if isinstance(value, str) else int(value)
    except (TypeError, ValueError):
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default


# --- formats -------------------------------------------------------------------------------------------


def _json_default(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    return str(value)


def to_json(value: Any, indent: int | None = None, sort_keys: bool = False, ensure_ascii: bool = True) -> str:
    return json.dumps(value, default=_json_default, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii)


def to_nice_json(value: Any, indent: int = 4, sort_keys: bool = True, ensure_ascii: bool = True) -> str:
    return to_json(value, indent, sort_keys, ensure_ascii)


def from_json(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


def to_yaml(value: Any, indent: int | None = None, sort_keys: bool = True) -> str:
    from ciflow.lang.yamltext import dump

    return dump(value, indent=indent, sort=sort_keys)


def to_nice_yaml(value: Any, indent: int = 4, sort_keys: bool = True) -> str:
    from ciflow.lang.yamltext import dump

    return dump(value, indent=indent, flow=False, sort=sort_keys)


def from_yaml(text: Any) -> Any:
    """YAML text as data: what it holds is never a template."""
    documents = from_yaml_all(text)
    return documents[0] if documents else None


def from_yaml_all(text: Any) -> list[Any]:
    from ciflow.lang.yamltext import load_data

    return load_data(text) if isinstance(text, str) else [text]


def b64encode(value: Any, encoding: str = "utf-8") -> str:
    return base64.b64encode(str(value).encode(encoding, "surrogateescape")).decode("ascii")


def b64decode(value: str, encoding: str = "utf-8") -> str:
    return base64.b64decode(value).decode(encoding, "surrogateescape")


def hash_of(value: Any, hashtype: str = "sha1") -> str:
    try:
        return hashlib.new(hashtype, str(value).encode("utf-8", "surrogateescape")).hexdigest()
    except ValueError as error:
        raise ValueError(f"there is no hash {hashtype!r}") from error


def checksum(value: Any) -> str:
    return hash_of(value, "sha1")


def to_uuid(value: Any, namespace: str = "361E6D51-FAEC-444A-9079-341386DA8E2E") -> str:
    """UUID version 5 in Ansible's namespace (RFC 4122)."""
    return str(uuid.uuid5(uuid.UUID(namespace), str(value)))


# --- mappings and lists --------------------------------------------------------------------------------


def combine(*mappings: Any, recursive: bool = False, list_merge: str = "replace") -> dict[str, Any]:
    """Mappings merged, the last one winning."""
    merged: dict[str, Any] = {}
    for one in _flat(mappings):
        if not isinstance(one, Mapping):
            raise ValueError(f"combine takes mappings, not {type(one).__name__}")
        merged = _merge(merged, one, recursive, list_merge)
    return merged


def _flat(values: Iterable[Any]) -> list[Any]:
    return [one for value in values for one in (_flat(value) if isinstance(value, list | tuple) else [value])]


def _merge(left: Mapping[str, Any], right: Mapping[str, Any], recursive: bool, lists: str) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        old = merged.get(key)
        if recursive and isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(old, value, True, lists)
        elif key in merged and isinstance(old, list) and isinstance(value, list):
            merged[key] = _merge_lists(old, value, lists)
        else:
            merged[key] = value
    return merged


def _merge_lists(old: list[Any], new: list[Any], how: str) -> list[Any]:
    match how:
        case "replace":
            return new
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
    raise ValueError(f"list_merge can't be {how!r}")


def dict2items(value: Mapping[str, Any], key_name: str = "key", value_name: str = "value") -> list[dict[str, Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"dict2items takes a mapping, not {type(value).__name__}")
    return [{key_name: key, value_name: below} for key, below in value.items()]


def items2dict(value: Sequence[Any], key_name: str = "key", value_name: str = "value") -> dict[str, Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"items2dict takes a list, not {type(value).__name__}")
    return {item[key_name]: item[value_name] for item in value}


def flatten(value: Any, levels: int | None = None, skip_nulls: bool = True) -> list[Any]:
    flat: list[Any] = []
    for item in value:
        if item in (None, "None", "null") and skip_nulls:
            continue
        if isinstance(item, list | tuple) and (levels is None or levels >= 1):
            flat += flatten(item, None if levels is None else levels - 1, skip_nulls)
        else:
            flat.append(item)
    return flat


def _unique(values: Iterable[Any]) -> list[Any]:
    seen: set[Any] = set()
    odd: list[Any] = []
    result = []
    for value in values:
        if isinstance(value, Hashable) and not isinstance(value, tuple):
            if value in seen:
                continue
            seen.add(value)
        elif value in odd:
            continue
        else:
            odd.append(value)
        result.append(value)
    return result


def unique(values: Iterable[Any], case_sensitive: bool | None = None, attribute: str | None = None) -> list[Any]:
    if attribute is None and case_sensitive is not False:
        return _unique(values)
    found: dict[str, Any] = {}
    for value in values:
        key = extract(attribute, value) if attribute else value
        found.setdefault(repr(key.lower() if case_sensitive is False and isinstance(key, str) else key), value)
    return list(found.values())


def union(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    return _unique([*left, *right])


def intersect(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    other = list(right)
    return _unique(item for item in left if item in other)


def difference(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    other = list(right)
    return _unique(item for item in left if item not in other)


def symmetric_difference(left: Iterable[Any], right: Iterable[Any]) -> list[Any]:
    one, two = list(left), list(right)
    return difference(one, two) + difference(two, one)


def extract(item: Any, container: Any, morekeys: Any = None) -> Any:
    value = container[item]
    for key in [morekeys] if isinstance(morekeys, str | int) else morekeys or []:
        value = value[key]
    return value


def subelements(value: Any, path: Any, skip_missing: bool = False) -> list[tuple[Any, Any]]:
    """Pairs of each item and each element of the list at `path` in it."""
    keys = path.split(".") if isinstance(path, str) else list(path)
    pairs: list[tuple[Any, Any]] = []
    for item in value.values() if isinstance(value, Mapping) else value:
        below: Any = item
        for key in keys:
            if key not in below:
                if skip_missing:
                    below = []
                    break
                raise ValueError(f"there is no {key!r} in {below!r}")
            below = below[key]
        if not isinstance(below, list | tuple):
            raise ValueError(f"{path!r} must be a list in every item")
        pairs += [(item, one) for one in below]
    return pairs


def rekey_on_member(value: Any, key: str, duplicates: str = "error") -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for item in value.values() if isinstance(value, Mapping) else value:
        if item[key] in found and duplicates == "error":
            raise ValueError(f"the key {item[key]!r} is not unique")
        found[item[key]] = item
    return found


MOST_PAIRS = 1_000_000  # that a product may have


def product(*values: Iterable[Any], repeat: int = 1) -> list[Any]:
    lists = [list(value) for value in values]
    if math.prod(len(one) for one in lists) ** repeat > MOST_PAIRS:
        raise ValueError(f"a product has at most {MOST_PAIRS:,} items")
    return list(itertools.product(*lists, repeat=repeat))


def zipped(*values: Iterable[Any]) -> list[Any]:
    return list(zip(*values, strict=False))


def zip_longest(*values: Iterable[Any], fillvalue: Any = None) -> list[Any]:
    return list(itertools.zip_longest(*values, fillvalue=fillvalue))


def random_of(value: Any, start: int = 0, step: int = 1, seed: Any = None) -> Any:
    chance = random.Random(seed) if seed is not None else random.SystemRandom()
    if isinstance(value, int):
        return chance.randrange(start, value, step)
    return chance.choice(list(value))


def shuffle(value: Iterable[Any], seed: Any = None) -> list[Any]:
    items = list(value)
    (random.Random(seed) if seed is not None else random.SystemRandom()).shuffle(items)
    return items


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": b64decode, "b64encode": b64encode, "basename": os.path.basename, "bool": to_bool,
    "checksum": checksum, "combine": combine, "comment": comment, "dict2items": dict2items,
    "difference": difference, "dirname": os.path.dirname, "extract": extract, "flatten": flatten,
    "from_json": from_json, "from_yaml": from_yaml, "from_yaml_all": from_yaml_all, "hash": hash_of,
    "human_readable": human_readable, "human_to_bytes": human_to_bytes, "int": to_int, "intersect": intersect,
    "ipaddr": ipaddr, "items2dict": items2dict, "log": logarithm, "md5": lambda value: hash_of(value, "md5"),
    "normpath": os.path.normpath, "password_hash": password_hash,
    "path_join": path_join, "pow": math.pow, "product": product, "quote": quote,
    "random": random_of, "realpath": os.path.realpath, "regex_escape": regex_escape,
    "regex_findall": regex_findall, "regex_replace": regex_replace, "regex_search": regex_search,
    "rekey_on_member": rekey_on_member, "relpath": os.path.relpath, "root": root,
    "sha1": lambda value: hash_of(value, "sha1"), "shuffle": shuffle, "split": split,
    "splitext": lambda value: list(os.path.splitext(value)), "strftime": strftime, "subelements": subelements,  # noqa: PTH122
    "symmetric_difference": symmetric_difference, "ternary": ternary, "to_datetime": to_datetime,
    "to_json": to_json, "to_nice_json": to_nice_json, "to_nice_yaml": to_nice_yaml, "to_uuid": to_uuid,
    "to_yaml": to_yaml, "union": union, "unique": unique, "urlsplit": urlsplit, "zip": zipped,
    "zip_longest": zip_longest, "permutations": lambda value, size=None: list(itertools.permutations(value, size)),
    "combinations": lambda value, size: list(itertools.combinations(value, size)),
}  # fmt: skip

SCOPED_FILTERS: dict[str, Callable[..., Any]] = {"expanduser": expanduser}
