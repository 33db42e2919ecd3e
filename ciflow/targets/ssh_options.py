"""What ssh's options and configuration say about a route to a host. Pure: parsed settings in, a Route out."""

from __future__ import annotations

import getpass
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.targets.connection import Connection

Settings = Mapping[str, list[str]]  # option in lower case -> its values, in order

FLAGS = {"-i": "identityfile", "-l": "user", "-p": "port", "-J": "proxyjump", "-F": "configfile"}
SWITCHES = {"-A": ("forwardagent", "yes"), "-a": ("forwardagent", "no")}
BARE_FLAGS = frozenset(["-4", "-6", "-C", "-K", "-k", "-n", "-q", "-T", "-t", "-v", "-x", "-X", "-Y"])
_UNDERSTOOD = """
    identityfile user port proxyjump proxycommand hostname userknownhostsfile hostkeyalias globalknownhostsfile
    stricthostkeychecking connecttimeout identitiesonly configfile certificatefile forwardagent
    serveraliveinterval serveralivecountmax
"""
# Options that change comfort or speed, never where a connection leads or whom it trusts.
_HARMLESS = """
    controlmaster controlpath controlpersist compression forwardx11 loglevel batchmode tcpkeepalive
    preferredauthentications requesttty gssapiauthentication
    kbdinteractiveauthentication passwordauthentication pubkeyauthentication checkhostip addkeystoagent
    hashknownhosts updatehostkeys addressfamily connectionattempts numberofpasswordprompts visualhostkey sendenv
    setenv ciphers macs kexalgorithms hostkeyalgorithms pubkeyacceptedkeytypes pubkeyacceptedalgorithms ipqos
    rekeylimit
"""
_NO_ADDRESS = re.compile(r"""^-|['`"$\\;&<>|(){},\s\x00-\x1f\x7f]""")
_NO_USER = re.compile(r"""^-|['`"$\\;&<>|(){}\x00-\x1f\x7f]""")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
UNDERSTOOD = frozenset(_UNDERSTOOD.split())
HARMLESS = frozenset(_HARMLESS.split())


@dataclass(frozen=True, slots=True)
class Route:
    """One hop: where, as whom, with which keys, and which host keys are trusted.

    `strict` is yes (unknown keys are refused), accept-new, or no. `jump` are hops before this one, outermost first.
    `alive_every` (seconds, 0: as ever) and `alive_count` say when a server that keeps silent is given up.
    """

    address: str
    port: int
    user: str
    keys: tuple[str, ...]
    known_hosts: tuple[str, ...]
    strict: str
    alias: str = ""
    jump: tuple[str, ...] = ()
    proxy_command: str = ""
    only_these_keys: bool = False
    timeout: float = 10.0
    certificates: tuple[str, ...] = ()
    forward_agent: bool = False
    alive_every: float = 0.0
    alive_count: int = 3
    name: str = ""  # as it was asked for


def parse_arguments(text: str) -> Settings:
    """`ansible_ssh_common_args`. Refused names an option that would be ignored otherwise."""
    words = shlex.split(text)
    settings: dict[str, list[str]] = {}
    while words:
        word = words.pop(0)
        flag, rest = word[:2], word[2:]
        if flag == "-o":
            name, value = _option(rest or (words.pop(0) if words else ""))
        elif flag in FLAGS:
            name, value = FLAGS[flag], rest or (words.pop(0) if words else "")
        elif word in SWITCHES:
            name, value = SWITCHES[word]
        elif flag in BARE_FLAGS:
            continue
        else:
            raise Refused(f"ssh argument {word!r} is not understood", help="put it into ~/.ssh/config or remove it")
        settings.setdefault(name, []).append(value)
    return settings


def _option(text: str) -> tuple[str, str]:
    name, _, value = text.replace("=", " ", 1).strip().partition(" ")
    if name.lower() not in UNDERSTOOD | HARMLESS:
        raise Refused(f"ssh option {name} is not supported", help="remove it from ansible_ssh_common_args")
    return name.lower(), value.strip().strip('"')


def resolve(
    connection: Connection,
    lookup: Callable[[str, str, Settings], Settings],
    environment: Mapping[str, str],
    home: Path,
) -> Route:
    """The route to a host. First word counts: inventory, then its ssh arguments, then ssh's configuration.

    `lookup(host, configuration file or "", what is settled already)` gives what ssh_config says about a host.
    """
    given = parse_arguments(connection.common_args)
    wanted = connection.address or connection.name
    _harmless(connection.name, wanted, connection.user or _first(given, {}, "user"))
    settled = {**given, **({"user": [connection.user]} if connection.user else {})}
    config = lookup(wanted, _first(given, {}, "configfile"), settled)
    port = connection.port or int(_first(given, config, "port") or 22)
    user = connection.user or _first(given, config, "user") or getpass.getuser()
    known = _first(given, config, "userknownhostsfile") or "~/.ssh/known_hosts ~/.ssh/known_hosts2"
    known += " " + (_first(given, config, "globalknownhostsfile") or "/etc/ssh/ssh_known_hosts")
    keys = (*connection.private_keys, *given.get("identityfile", ()), *config.get("identityfile", ()))
    return Route(
        address=_first(given, config, "hostname") or wanted,
        port=port,
        user=user,
        keys=tuple(dict.fromkeys(_expand(key, home) for key in keys)),
        known_hosts=tuple(_expand(path, home) for path in known.split()),
        strict=_strictness(_first(given, config, "stricthostkeychecking"), environment),
        alias=_first(given, config, "hostkeyalias"),
        jump=_jumps(_first(given, config, "proxyjump")),
        proxy_command=_command(_first(given, config, "proxycommand")),
        only_these_keys=_first(given, config, "identitiesonly").lower() == "yes",
        timeout=_seconds(_first(given, config, "connecttimeout")) or connection.connect_timeout,
        certificates=tuple(_expand(path, home) for path in (*given.get("certificatefile", ()),
                                                            *config.get("certificatefile", ()))),
        forward_agent=_first(given, config, "forwardagent").lower() not in ("", "no"),
        alive_every=_seconds(_first(given, config, "serveraliveinterval")),
        alive_count=int(_first(given, config, "serveralivecountmax") or 3),
        name=wanted,
    )  # fmt: skip


def _harmless(name: str, address: str, user: str) -> None:
    """Refused: what a `ProxyCommand` or `Match exec` would hand to a shell, as by OpenSSH since 9.6."""
    if _NO_ADDRESS.search(address):
        raise Refused(f"{name}: {address!r} is no address", help="mind ansible_host")
    if _NO_USER.search(user):
        raise Refused(f"{name}: {user!r} is no user's name", help="mind ansible_user")


def _seconds(text: str) -> float:
    """A time as sshd_config(5) writes it: `90`, `1m30s`; 0 for none."""
    if not re.fullmatch(r"(\d+[smhdw]?)*", text.lower()):
        raise Refused(f"{text!r} is no time", help="write seconds, or 1m30s")
    return sum(int(number) * _UNITS[unit or "s"] for number, unit in re.findall(r"(\d+)([smhdw]?)", text.lower()))


def _first(given: Settings, config: Settings, name: str) -> str:
    return next((value for settings in (given, config) for value in settings.get(name, ())), "")


def _expand(path: str, home: Path) -> str:
    return str(home) + path[1:] if path.startswith("~/") else path.replace("%d", str(home))


def _strictness(word: str, environment: Mapping[str, str]) -> str:
    if not word and environment.get("ANSIBLE_HOST_KEY_CHECKING", "").lower() in ("0", "false", "no", "off"):
        return "no"
    return {"no": "no", "off": "no", "accept-new": "accept-new"}.get(word.lower(), "yes")


def _jumps(text: str) -> tuple[str, ...]:
    return () if text.lower() in ("", "none") else tuple(hop.strip() for hop in text.split(","))


def _command(text: str) -> str:
    return "" if text.lower() == "none" else text


def parse_hop(text: str) -> tuple[str, str, int]:
    """(user, host, port) of one hop of ProxyJump: [user@]host[:port], or ssh://..; 0 and "" are "not said"."""
    user, _, place = text.removeprefix("ssh://").rpartition("@")
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return user, host, int(port.lstrip(":") or 0)
    host, colon, port = place.rpartition(":")
    if not colon or ":" in host:
        return user, place, 0
    return user, host, int(port)
