"""Ansible's filters: plain functions of data. Those that need the scope take it first (SCOPED_FILTERS).

`FILTERS` are ansible-core's, `COLLECTIONS` those of collections that many playbooks use, by collection.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import ntpath
import os.path
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.encoding import loads
from ciflow.lang import filters_data as data
from ciflow.lang import filters_ip as ip
from ciflow.lang import filters_scope as scoped
from ciflow.lang import filters_text as text

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


_PROFILES = ("tagless", "inventory_legacy")


def to_json(
    value: Any, indent: int | str | None = None, sort_keys: bool = False, ensure_ascii: bool = True,
    separators: tuple[str, str] | None = None, skipkeys: bool = False, allow_nan: bool = True,
    preprocess_unsafe: Any = None, vault_to_text: Any = None,
) -> str:  # fmt: skip
    """JSON text. The last two are Ansible's, and have nothing to do here."""
    del preprocess_unsafe, vault_to_text
    pair = (separators[0], separators[1]) if separators is not None else None
    return json.dumps(value, default=_json_default, indent=indent, sort_keys=sort_keys, ensure_ascii=ensure_ascii,
                      separators=pair, skipkeys=skipkeys, allow_nan=allow_nan)  # fmt: skip


def to_nice_json(value: Any, indent: int | str = 4, sort_keys: bool = True, ensure_ascii: bool = True) -> str:
    return to_json(value, indent, sort_keys, ensure_ascii)


def from_json(value: Any, profile: str = "tagless") -> Any:
    """`profile` is Ansible's: which of its own marks to look for. Here are none, so that all profiles read alike."""
    if profile not in _PROFILES:
        raise ValueError(f"{profile!r} is no profile of from_json; there are {', '.join(_PROFILES)}")
    if not isinstance(value, str | bytes):
        return value
    try:
        return loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


def to_yaml(
    value: Any, indent: int | None = None, sort_keys: bool = True, default_flow_style: bool | None = None,
    width: int | None = None, explicit_start: bool = False, explicit_end: bool = False, canonical: bool = False,
    default_style: str | None = None, allow_unicode: bool = True,
) -> str:  # fmt: skip
    from ciflow.lang.yamltext import dump

    return dump(value, indent=indent, flow=default_flow_style, sort=sort_keys, width=width, start=explicit_start,
                end=explicit_end, canonical=canonical, style=default_style, unicode=allow_unicode)  # fmt: skip


def to_nice_yaml(
    value: Any, indent: int = 4, sort_keys: bool = True, default_flow_style: bool | None = False,
    width: int | None = None, explicit_start: bool = False, explicit_end: bool = False, canonical: bool = False,
    default_style: str | None = None, allow_unicode: bool = True,
) -> str:  # fmt: skip
    return to_yaml(value, indent, sort_keys, default_flow_style, width, explicit_start, explicit_end, canonical,
                   default_style, allow_unicode)  # fmt: skip


def from_yaml(value: Any) -> Any:
    """YAML text as data: what it holds is never a template."""
    documents = from_yaml_all(value)
    return documents[0] if documents else None


def from_yaml_all(value: Any) -> list[Any]:
    from ciflow.lang.yamltext import load_data

    if value is None:
        return []
    return load_data(value) if isinstance(value, str) else [value]


def b64encode(value: Any, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(str(value).encode(encoding, "surrogateescape")).decode("ascii")


def b64decode(value: str, encoding: str = "utf-8", urlsafe: bool = False) -> str:
    decode = base64.urlsafe_b64decode if urlsafe else base64.b64decode
    return decode(value).decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")


def hash_of(value: Any, hashtype: str = "sha1") -> str:
    try:
        return hashlib.new(hashtype, str(value).encode("utf-8", "surrogateescape")).hexdigest()
    except (ValueError, TypeError) as error:
        raise ValueError(f"there is no hash {hashtype!r}") from error


def checksum(value: Any) -> str:
    return hash_of(value, "sha1")


def md5(value: Any) -> str:
    return hash_of(value, "md5")


def to_uuid(value: Any, namespace: str = "361E6D51-FAEC-444A-9079-341386DA8E2E") -> str:
    """UUID version 5 in Ansible's namespace (RFC 4122)."""
    return str(uuid.uuid5(uuid.UUID(namespace), str(value)))


def json_query(value: Any, expr: str) -> Any:
    """JMESPath over data. Raises ValueError where the optional library is missing or the expression is wrong."""
    try:
        import jmespath  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ValueError("json_query needs jmespath: pip install 'ciflow[query]'") from error
    try:
        return jmespath.search(expr, _listed(value))
    except jmespath.exceptions.JMESPathError as error:
        raise ValueError(f"json_query: {error}") from error


def _listed(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, which is all that JMESPath knows."""
    if isinstance(value, Mapping):
        return {key: _listed(below) for key, below in value.items()}
    return [_listed(below) for below in value] if isinstance(value, list | tuple) else value


def vault(data: Any, secret: str, salt: str = "", vault_id: str = "filter_default") -> str:
    """The text encrypted in ansible-vault's format. Without `salt` it comes out anew at each run."""
    from ciflow.lang.vault import Password, encrypt

    return encrypt(str(data).encode(), Password(vault_id, str(secret).encode()), salt.encode()).decode("ascii")


def unvault(vault: Any, secret: str, vault_id: str = "filter_default") -> str:
    """The plain text of a text in ansible-vault's format; any other as it is. Raises Invalid for a wrong password."""
    from ciflow.lang.vault import Password, Vault, is_vaulted

    content = str(vault).encode()
    plain = Vault((Password(vault_id, str(secret).encode()),)).open(content, None) if is_vaulted(content) else content
    return plain.decode()


# --- paths ---------------------------------------------------------------------------------------------


def path_join(paths: Any) -> str:
    if isinstance(paths, str):
        return paths
    if isinstance(paths, list | tuple):
        return os.path.join(*paths)  # noqa: PTH118
    raise ValueError(f"path_join takes a list of texts, not {type(paths).__name__}")


def common_path(paths: Any) -> str:
    if not isinstance(paths, list | tuple):
        raise ValueError(f"commonpath takes a list, not {type(paths).__name__}")
    return os.path.commonpath(paths)


def splitext(path: str) -> list[str]:
    return list(os.path.splitext(path))  # noqa: PTH122


def splitdrive(path: str) -> list[str]:
    return list(ntpath.splitdrive(path))


FILTERS: dict[str, Callable[..., Any]] = {
    "b64decode": b64decode, "b64encode": b64encode, "basename": os.path.basename, "bool": to_bool,
    "checksum": checksum, "combinations": data.combinations, "combine": data.combine, "comment": text.comment,
    "commonpath": common_path, "dict2items": data.dict2items, "difference": data.difference,
    "dirname": os.path.dirname, "flatten": data.flatten, "from_json": from_json, "from_yaml": from_yaml,
    "from_yaml_all": from_yaml_all, "hash": hash_of, "human_readable": text.human_readable,
    "human_to_bytes": text.human_to_bytes, "int": to_int, "intersect": data.intersect,
    "items2dict": data.items2dict, "log": text.logarithm, "md5": md5, "normpath": os.path.normpath,
    "password_hash": text.password_hash, "path_join": path_join, "permutations": data.permutations,
    "pow": text.power, "product": data.product, "quote": text.quote, "random": data.random_of,
    "realpath": os.path.realpath, "regex_escape": text.regex_escape, "regex_findall": text.regex_findall,
    "regex_replace": text.regex_replace, "regex_search": text.regex_search,
    "rekey_on_member": data.rekey_on_member, "relpath": os.path.relpath, "root": text.root, "sha1": checksum,
    "shuffle": data.shuffle, "split": text.split, "splitext": splitext, "strftime": text.strftime,
    "subelements": data.subelements, "symmetric_difference": data.symmetric_difference, "ternary": text.ternary,
    "to_datetime": text.to_datetime, "to_json": to_json, "to_nice_json": to_nice_json,
    "to_nice_yaml": to_nice_yaml, "to_uuid": to_uuid, "to_yaml": to_yaml, "union": data.union, "unvault": unvault,
    "urldecode": text.decode_url, "urlsplit": text.split_url, "win_basename": ntpath.basename,
    "win_dirname": ntpath.dirname, "win_splitdrive": splitdrive, "zip": data.zipped,
    "zip_longest": data.zip_longest, "vault": vault,
}  # fmt: skip

SCOPED_FILTERS: dict[str, Callable[..., Any]] = {
    "expanduser": scoped.expanduser, "expandvars": scoped.expandvars, "fileglob": scoped.fileglob,
}  # fmt: skip

COLLECTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "community.general": {"json_query": json_query},
    "ansible.utils": ip.FILTERS,
    "ansible.netcommon": ip.FILTERS,
}
