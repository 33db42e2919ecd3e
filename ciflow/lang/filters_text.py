"""Ansible's filters of text, paths, numbers and time."""

from __future__ import annotations

import datetime
import math
import os.path
import re
import shlex
from typing import Any
from urllib.parse import urlsplit as _urlsplit

from ciflow.lang.scope import Scope


def password_hash(value: Any, hashtype: str = "sha512", salt: str = "", rounds: int = 5000) -> str:
    """A password as /etc/shadow keeps it. The salt must be given: a random one would change the file at each run."""
    from ciflow.lang.shacrypt import sha_crypt

    if hashtype not in ("sha256", "sha512"):
        raise ValueError(f"password_hash makes sha256 and sha512, not {hashtype!r}")
    if not re.fullmatch(r"[./0-9A-Za-z]{1,16}", salt):
        raise ValueError(
            "password_hash needs a salt of 1 to 16 letters, digits, `.` or `/`, or each run would change it"
        )
    return sha_crypt(str(value), salt, hashtype, rounds)


def _flags(ignorecase: bool, multiline: bool) -> re.RegexFlag:
    return (re.I if ignorecase else re.RegexFlag(0)) | (re.M if multiline else re.RegexFlag(0))


def regex_replace(
    value: Any, pattern: str = "", replacement: str = "", ignorecase: bool = False, multiline: bool = False,
    count: int = 0, mandatory_count: int = 0,
) -> str:  # fmt: skip
    made, times = re.subn(pattern, replacement, str(value), count=count, flags=_flags(ignorecase, multiline))
    if mandatory_count and times != mandatory_count:
        raise ValueError(f"regex_replace wants {mandatory_count} replacements and made {times}")
    return made


def regex_search(value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False) -> Any:
    r"""The match, or the groups named by `\1` and `\g<name>`; none where nothing matches."""
    found = re.search(pattern, str(value), _flags(ignorecase, multiline))
    if found is None:
        return None
    if not groups:
        return found.group()
    names = [re.match(r"\\g<(\S+)>|\\(\d+)", group) for group in groups]
    if any(name is None for name in names):
        raise ValueError(r"regex_search takes groups such as '\1' or '\g<name>'")
    return [found.group(name[1]) if name[1] else found.group(int(name[2])) for name in names if name]


def regex_findall(value: Any, pattern: str, multiline: bool = False, ignorecase: bool = False) -> list[Any]:
    return re.findall(pattern, str(value), _flags(ignorecase, multiline))


def regex_escape(value: Any, re_type: str = "python") -> str:
    return re.escape(str(value)) if re_type == "python" else re.sub(r"([].[^$*\\])", r"\\\1", str(value))


def quote(value: Any) -> str:
    return shlex.quote("" if value is None else str(value))


def ternary(value: Any, true_val: Any, false_val: Any = None, none_val: Any = None) -> Any:
    if value is None and none_val is not None:
        return none_val
    return true_val if bool(value) else false_val


def split(value: str, separator: str | None = None, maxsplit: int = -1) -> list[str]:
    return value.split(separator, maxsplit)


def urlsplit(value: str, query: str = "") -> Any:
    parts = _urlsplit(value)
    whole = {name: getattr(parts, name) for name in (
        "fragment", "hostname", "netloc", "password", "path", "port", "query", "scheme", "username")}  # fmt: skip
    if query and query not in whole:
        raise ValueError(f"a URL has no part {query!r}")
    return whole[query] if query else whole


_COMMENTS = {
    "plain": ("", "# ", ""), "erlang": ("", "% ", ""), "c": ("", "// ", ""),
    "cblock": ("/*", " * ", " */"), "xml": ("<!--", " - ", "-->"),
}  # fmt: skip


def comment(text: str, style: str = "plain", decoration: str = "", prefix: str = "", postfix: str = "") -> str:
    """Text as a comment: `style`'s opening and closing lines around decorated lines."""
    if style not in _COMMENTS:
        raise ValueError(f"there is no comment style {style!r}")
    begin, mark, end = _COMMENTS[style]
    mark = decoration or mark
    lines = [begin] if begin else [(prefix or mark).rstrip()]
    lines += [(mark + line).rstrip() for line in text.split("\n")]
    lines.append(end if begin else (postfix or mark).rstrip())
    return "\n".join(lines)


def human_readable(size: Any, isbits: bool = False, unit: str = "") -> str:
    """Bytes in powers of 1024, two decimals, as Ansible prints them."""
    base = "bits" if isbits else "Bytes"
    for index, letter in reversed(list(enumerate("KMGTPEZY", 1))):
        if (not unit and float(size) >= 1024**index) or unit.upper() == letter:
            return f"{float(size) / 1024**index:.2f} {letter}{'b' if isbits else 'B'}"
    return f"{float(size):.2f} {base}"


def human_to_bytes(size: Any, default_unit: str = "", isbits: bool = False) -> int:
    found = re.match(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*\Z", str(size))
    if not found:
        raise ValueError(f"{size!r} is not a size")
    letter = (found[2] or default_unit or "B")[0].upper()
    if letter not in "BKMGTPEZY":
        raise ValueError(f"{size!r} has no unit of {'bits' if isbits else 'bytes'}")
    return round(float(found[1]) * float(1024 ** "BKMGTPEZY".index(letter)))


def to_datetime(text: str, format: str = "%Y-%m-%d %H:%M:%S") -> datetime.datetime:
    return datetime.datetime.strptime(text, format)


def strftime(format: str, second: Any = None, utc: bool = False) -> str:
    zone = datetime.UTC if utc else None
    moment = datetime.datetime.now(zone) if second is None else datetime.datetime.fromtimestamp(float(second), zone)
    return moment.strftime(format)


def logarithm(value: float, base: float = math.e) -> float:
    return math.log10(value) if base == 10 else math.log(value, base)


def root(value: float, base: float = 2) -> float:
    return math.sqrt(value) if base == 2 else math.pow(value, 1 / base)


def path_join(value: Any) -> str:
    return os.path.join(*value) if isinstance(value, list | tuple) else str(value)  # noqa: PTH118


def expanduser(scope: Scope, value: str) -> str:
    """`~` of the account on the controller."""
    if not value.startswith("~"):
        return value
    return str(scope.get("_home") or os.path.expanduser("~")) + value[1:]  # noqa: PTH111


def ipaddr(value: Any, query: str = "") -> Any:
    """The address or network if it is one, else false; `address network netmask prefix version` give a part."""
    import ipaddress

    try:
        interface = ipaddress.ip_interface(str(value))
    except ValueError:
        return False
    parts: dict[str, Any] = {
        "": str(value), "address": str(interface.ip), "network": str(interface.network.network_address),
        "netmask": str(interface.netmask), "prefix": interface.network.prefixlen, "version": interface.version,
        "broadcast": str(interface.network.broadcast_address), "size": interface.network.num_addresses,
    }  # fmt: skip
    if query not in parts:
        raise ValueError(f"ipaddr has no query {query!r}")
    return parts[query]
