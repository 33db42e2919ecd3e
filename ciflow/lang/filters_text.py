"""Ansible's filters of text, numbers and time."""

from __future__ import annotations

import datetime
import math
import re
import shlex
import time
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from ciflow.lang.limits import check_length, flags, timed

_SALT = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def password_hash(
    value: Any, hashtype: str = "sha512", salt: str | None = None, salt_size: int | None = None,
    rounds: int | None = None, ident: str | None = None,
) -> str:  # fmt: skip
    """A password as /etc/shadow keeps it. Without a salt it gets a random one, so that each rendering is another."""
    import secrets

    if ident is not None:
        raise ValueError("`ident` is for bcrypt, which password_hash doesn't make")
    if salt_size is not None and (type(salt_size) is not int or not 1 <= salt_size <= 16):
        raise ValueError(f"salt_size must be an integer from 1 to 16, not {salt_size!r}")
    if not salt:
        salt = "".join(secrets.choice(_SALT) for _ in range(salt_size or 16))
    if not re.fullmatch(r"[./0-9A-Za-z]{1,16}", salt):
        raise ValueError("a salt of password_hash is 1 to 16 letters, digits, `.` or `/`")
    if salt_size is not None and len(salt) != salt_size:
        raise ValueError(f"the salt has {len(salt)} characters, and `salt_size` says {salt_size}")
    return _hashed(str(value), hashtype.removesuffix("_crypt"), salt, rounds)


@lru_cache(maxsize=512)
def _hashed(secret: str, kind: str, salt: str, rounds: int | None) -> str:
    from ciflow.lang.shacrypt import DEFAULT_ROUNDS, sha_crypt

    if kind not in DEFAULT_ROUNDS:
        raise ValueError(f"password_hash makes sha256 and sha512, not {kind!r}")
    return sha_crypt(secret, salt, kind, rounds or DEFAULT_ROUNDS[kind])


# --- regular expressions -------------------------------------------------------------------------------


def regex_replace(
    value: Any = "", pattern: str = "", replacement: str = "", ignorecase: bool = False, multiline: bool = False,
    count: int = 0, mandatory_count: int = 0,
) -> str:  # fmt: skip
    expression, text = re.compile(pattern, flags(ignorecase, multiline)), str(value)
    made, times = timed(lambda: expression.subn(replacement, text, count=count))
    if mandatory_count and times != mandatory_count:
        raise ValueError(f"regex_replace wants {mandatory_count} replacements and made {times}")
    return made


def regex_search(value: Any, regex: str, *groups: str, ignorecase: bool = False, multiline: bool = False) -> Any:
    r"""The match, or the groups named by `\1` and `\g<name>`; none where nothing matches."""
    names = [re.match(r"\\g<(\S+)>|\\(\d+)", group) for group in groups]
    if any(name is None for name in names):
        raise ValueError(r"regex_search takes groups such as '\1' or '\g<name>'")
    expression, text = re.compile(regex, flags(ignorecase, multiline)), str(value)
    found = timed(lambda: expression.search(text))
    if found is None:
        return None
    return [found.group(name[1] or int(name[2])) for name in names if name] if groups else found.group()


def regex_findall(value: Any, regex: str, multiline: bool = False, ignorecase: bool = False) -> list[Any]:
    expression, text = re.compile(regex, flags(ignorecase, multiline)), str(value)
    return timed(lambda: expression.findall(text))


def regex_escape(value: Any, re_type: str = "python") -> str:
    if re_type == "python":
        return re.escape(str(value))
    if re_type == "posix_basic":
        return re.sub(r"([].[^$*\\])", r"\\\1", str(value))
    raise ValueError(f"regex_escape writes python and posix_basic, not {re_type!r}")


def matches(
    value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False, match_type: str = "search"
) -> bool:
    """The test `regex`. `match_type` is search, match or fullmatch."""
    expression, text = re.compile(pattern, flags(ignorecase, multiline)), str(value)
    how = {"search": expression.search, "match": expression.match, "fullmatch": expression.fullmatch}.get(match_type)
    if how is None:
        raise ValueError(f"match_type is search, match or fullmatch, not {match_type!r}")
    return timed(lambda: how(text)) is not None


# --- text ----------------------------------------------------------------------------------------------


def quote(value: Any) -> str:
    return shlex.quote("" if value is None else str(value))


def ternary(value: Any, true_val: Any, false_val: Any, none_val: Any = None) -> Any:
    if value is None and none_val is not None:
        return none_val
    return true_val if bool(value) else false_val


def split(value: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    return str.split(value, sep, maxsplit)


_PARTS = ("fragment", "hostname", "netloc", "password", "path", "port", "query", "scheme", "username")


def split_url(value: str, query: str = "") -> Any:
    parts = urlsplit(value)
    if query and query not in _PARTS:
        raise ValueError(f"unknown URL component {query!r}; there are {', '.join(_PARTS)}")
    return getattr(parts, query) if query else {name: getattr(parts, name) for name in _PARTS}


def decode_url(value: str) -> str:
    return unquote_plus(value)


_COMMENTS: dict[str, tuple[str, str, str]] = {
    "plain": ("", "# ", ""), "erlang": ("", "% ", ""), "c": ("", "// ", ""),
    "cblock": ("/*", " * ", " */"), "xml": ("<!--", " - ", "-->"),
}  # fmt: skip


def comment(
    text: str, style: str = "plain", newline: str = "\n", beginning: str | None = None, prefix: str | None = None,
    prefix_count: int = 1, decoration: str | None = None, postfix: str | None = None, postfix_count: int = 1,
    end: str | None = None,
) -> str:  # fmt: skip
    """Text as a comment: opening, `prefix` lines, the decorated text, `postfix` lines, closing."""
    if style not in _COMMENTS:
        raise ValueError(f"there is no comment style {style!r}; there are {', '.join(_COMMENTS)}")
    check_length(len(newline) * (prefix_count + postfix_count) + prefix_count * len(prefix or "") + len(text))
    opening, mark, closing = _COMMENTS[style]
    opening, closing = opening if beginning is None else beginning, closing if end is None else end
    mark = mark if decoration is None else decoration
    above = mark.rstrip() if prefix is None else prefix
    below = mark.rstrip() if postfix is None else postfix
    lines = text.split(newline)
    # The last line keeps its blanks: Ansible takes them away only before a line's end.
    body = [(mark.rstrip() if not line else mark + line) for line in lines[:-1]] + [mark + lines[-1]]
    head = ([opening] if opening else []) + ([above] * prefix_count if above else [])
    tail = [below] * postfix_count + ([closing] if closing else [])
    return newline.join([*head, *body, *tail])


# --- numbers and time ----------------------------------------------------------------------------------

_UNITS = {"Y": "yotta", "Z": "zetta", "E": "exa", "P": "peta", "T": "tera", "G": "giga", "M": "mega", "K": "kilo",
          "B": ""}  # fmt: skip
_SIZES: dict[str, int] = {letter: 1 << 10 * power for power, letter in enumerate(reversed(_UNITS))}


def human_readable(size: Any, isbits: bool = False, unit: str | None = None) -> str:
    """Bytes in powers of 1024, two decimals, as Ansible prints them."""
    if not isinstance(size, int | float):
        raise ValueError(f"human_readable failed on bad input: {size!r} is no number")
    wanted = (unit or "").upper()
    letter = next((one for one in _UNITS if (one == wanted if unit else size >= _SIZES[one])), "B")
    base = "bits" if isbits else "Bytes"
    return f"{size / _SIZES[letter]:.2f} {base if letter == 'B' else letter + base[0]}"


def human_to_bytes(size: Any, default_unit: str | None = None, isbits: bool = False) -> int:
    found = re.match(r"([0-9]*\.?[0-9]+)(?:\s*([A-Za-z]+))?\s*\Z", str(size))
    if not found:
        raise ValueError(f"{size!r} is not a size")
    unit = found[2] or default_unit or "B"
    letter, kind = unit[0].upper(), "bit" if isbits else "byte"
    if letter not in _SIZES:
        raise ValueError(f"{size!r} has no unit; there are {' '.join(_SIZES)}")
    short = "B" if letter == "B" else letter + kind[0].upper() if not isbits else letter + "b"
    if len(unit) > 1 and unit.lower() != _UNITS[letter] + kind and unit != short:
        raise ValueError(f"{size!r} is no number of {kind}s; write {letter} or {short}")
    return round(float(found[1]) * float(_SIZES[letter]))


def to_datetime(text: str, format: str = "%Y-%m-%d %H:%M:%S") -> datetime.datetime:
    return datetime.datetime.strptime(text, format)


def strftime(format: str, second: Any = None, utc: bool = False) -> str:
    moment = None if second is None else float(second)
    return time.strftime(format, time.gmtime(moment) if utc else time.localtime(moment))


def logarithm(value: float, base: float = math.e) -> float:
    try:
        return math.log10(value) if base == 10 else math.log(value, base)
    except TypeError as error:
        raise ValueError(f"log can only be used on numbers: {error}") from error


def power(value: float, exponent: float) -> float:
    try:
        return math.pow(value, exponent)
    except TypeError as error:
        raise ValueError(f"pow can only be used on numbers: {error}") from error


def root(value: float, base: float = 2) -> float:
    try:
        return math.sqrt(value) if base == 2 else math.pow(value, 1 / float(base))
    except (TypeError, ValueError) as error:
        raise ValueError(f"root can only be used on numbers: {error}") from error
