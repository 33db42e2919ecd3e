"""What ssh's options and configuration say about a route to a host. Pure: parsed settings in, a Route out."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused
from ciflow.targets.connection import Connection
from ciflow.targets.ssh_keywords import (
    NOT_MADE,
    UNBUILT,
    Settings,
    expand,
    first,
    fits,
    keyword,
    known,
    number,
    path,
    put,
    tokens,
    words_of,
)

FLAGS = {
    "-i": "identityfile", "-l": "user", "-p": "port", "-J": "proxyjump", "-F": "configfile", "-b": "bindaddress",
    "-c": "ciphers", "-m": "macs", "-P": "tag",
}  # fmt: skip
SWITCHES = {
    "-A": ("forwardagent", "yes"), "-a": ("forwardagent", "no"),
    "-4": ("addressfamily", "inet"), "-6": ("addressfamily", "inet6"),
}  # fmt: skip
BARE_FLAGS = frozenset(["-C", "-K", "-k", "-n", "-q", "-T", "-t", "-v", "-x", "-X", "-Y"])
METHODS = ("publickey", "password", "keyboard-interactive")
_SWITCHED_OFF = {"publickey": "pubkeyauthentication", "password": "passwordauthentication",
                 "keyboard-interactive": "kbdinteractiveauthentication"}  # fmt: skip
_FAMILIES = {"": socket.AF_UNSPEC, "any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
_NO_ADDRESS = re.compile(r"""^-|['`"$\\;&<>|(){},\s\x00-\x1f\x7f]""")
_NO_USER = re.compile(r"""^-|['`"$\\;&<>|(){}\x00-\x1f\x7f]""")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What ssh_config(5) says of each, as it stands there: a list, maybe with +, - or ^ before it; "" is as usual."""

    kex: str = ""
    ciphers: str = ""
    macs: str = ""
    host_keys: str = ""
    signatures: str = ""  # of the authorities of host certificates


@dataclass(frozen=True, slots=True)
class Route:
    """One hop: where, as whom, with which keys, and which host keys are trusted.

    `keys` None: those that are usual. `strict` is yes (unknown keys are refused), accept-new, or no; `new_keys` is the
    file that the latter write to ("": none). `jump` are hops before this one, outermost first.
    `alive_every` (seconds, 0: as ever) and `alive_count` say when a server that keeps silent is given up.
    `agent` and `lent` are the sockets of the ssh-agents that we use and that commands there may use; "" none.
    """

    address: str
    port: int
    user: str
    keys: tuple[str, ...] | None
    known_hosts: tuple[str, ...]
    strict: str
    new_keys: str = ""
    revoked: str = ""  # file of keys that no host may have
    alias: str = ""
    jump: tuple[str, ...] = ()
    proxy_command: str = ""
    only_these_keys: bool = False
    timeout: float = 10.0
    certificates: tuple[str, ...] = ()
    methods: tuple[str, ...] = METHODS
    agent: str = ""
    lent: str = ""
    alive_every: float = 0.0
    alive_count: int = 3
    name: str = ""  # as it was asked for
    family: socket.AddressFamily = socket.AF_UNSPEC
    bind: str = ""
    algorithms: Algorithms = Algorithms()
    least_rsa: int = 1024  # bits
    environment: tuple[tuple[str, str], ...] = ()


def parse_arguments(text: str) -> dict[str, list[str]]:
    """`ansible_ssh_common_args`. Refused names an option that would be ignored otherwise."""
    words = shlex.split(text)
    settings: dict[str, list[str]] = {}
    while words:
        word = words.pop(0)
        flag, rest = word[:2], word[2:]
        if flag == "-o":
            put(settings, *_option(rest or (words.pop(0) if words else "")))
        elif flag in FLAGS:
            put(settings, FLAGS[flag], [rest or (words.pop(0) if words else "")])
        elif word in SWITCHES:
            put(settings, SWITCHES[word][0], [SWITCHES[word][1]])
        elif flag in BARE_FLAGS:
            continue
        else:
            raise Refused(f"ssh argument {word!r} is not understood", help="put it into ~/.ssh/config or remove it")
    return settings


def _option(text: str) -> tuple[str, list[str]]:
    said = re.match(r"\s*(\w+)(?:\s*=\s*|\s+|$)(.*)", text.strip())
    name = keyword(said[1]) if said else ""
    if said is None or not known(name) or name in NOT_MADE | {"host", "match", "include"}:
        help = "remove it from ansible_ssh_common_args"
        raise Refused(f"ssh option {said[1] if said else text!r} is not supported", help=help)
    try:
        return name, words_of(name, said[2])
    except ValueError as e:
        raise Refused(f"ssh option {said[1]}: {e}") from e


def resolve(
    connection: Connection,
    lookup: Callable[[str, str, Settings], Settings],
    environment: Mapping[str, str],
    home: Path,
) -> Route:
    """The route to a host. First word counts: inventory, then its ssh arguments, then ssh's configuration.

    `lookup(host, configuration file or "", what is settled already)` gives all of it.
    """
    given = parse_arguments(connection.common_args)
    wanted = connection.address or connection.name
    _harmless(connection.name, wanted, connection.user or first(given, "user"))
    settings = lookup(wanted, first(given, "configfile"), _settled(connection, given))
    _refuse_unbuilt(connection.name, settings)
    address = first(settings, "hostname") or wanted
    means = tokens(wanted, address, settings, str(home))
    agent = _agent(first(settings, "identityagent"), means, environment)

    def paths(word: str, usual: str = "") -> tuple[str, ...]:
        said = settings.get(word) or usual.split()
        return tuple(dict.fromkeys(path(one, means, environment) for one in said if one.lower() != "none"))

    hosts = paths("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    return Route(
        address=address,
        port=number(settings, "port", 22),
        user=means["r"],
        keys=paths("identityfile") if settings.get("identityfile") else None,
        known_hosts=(*hosts, *paths("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")),
        strict=_strictness(first(settings, "stricthostkeychecking"), environment),
        new_keys=next(iter(hosts), ""),
        revoked=next(iter(paths("revokedhostkeys")), ""),
        alias=first(settings, "hostkeyalias"),
        jump=_jumps(expand(first(settings, "proxyjump"), {name: means[name] for name in "hnpr"})),
        proxy_command=_command(first(settings, "proxycommand")),
        only_these_keys=_yes(settings, "identitiesonly"),
        timeout=_seconds(first(settings, "connecttimeout")) or connection.connect_timeout,
        certificates=paths("certificatefile"),
        methods=tuple(_methods(settings)),
        agent=agent,
        lent=_lent(first(settings, "forwardagent"), agent, means, environment),
        alive_every=_seconds(first(settings, "serveraliveinterval")),
        alive_count=number(settings, "serveralivecountmax", 3),
        name=wanted,
        family=_family(first(settings, "addressfamily")),
        bind=first(settings, "bindaddress"),
        algorithms=Algorithms(*(first(settings, word) for word in ("kexalgorithms", "ciphers", "macs",
                                                                   "hostkeyalgorithms", "casignaturealgorithms"))),
        least_rsa=number(settings, "requiredrsasize", 1024),
        environment=tuple(_environment(settings, environment)),
    )  # fmt: skip


def _settled(connection: Connection, given: Settings) -> Settings:
    """What the inventory says, and then the arguments."""
    said: dict[str, list[str]] = {}
    for word, value in (("port", connection.port), ("user", connection.user)):
        if value:
            put(said, word, [str(value)])
    if connection.private_keys:
        put(said, "identityfile", list(connection.private_keys))
    for word, words in given.items():
        put(said, word, words)
    return said


def _refuse_unbuilt(name: str, settings: Settings) -> None:
    for word, off in UNBUILT.items():
        if (said := first(settings, word)) and said.lower() not in off:
            help = f"for ciflow alone: -o {word}={off[0]} in ansible_ssh_common_args" if off else ""
            raise Refused(f"{name}: ssh's option {word} is not built, and it would not do to pass over it", help=help)
    if said := " ".join(settings.get("refuseconnection", ())):
        raise Refused(f"{name}: ssh's configuration refuses the connection: {said}")


def _harmless(name: str, address: str, user: str) -> None:
    """Refused: what a `ProxyCommand` or `Match exec` would hand to a shell, as by OpenSSH since 9.6."""
    if _NO_ADDRESS.search(address):
        raise Refused(f"{name}: {address!r} is no address", help="mind ansible_host")
    if _NO_USER.search(user):
        raise Refused(f"{name}: {user!r} is no user's name", help="mind ansible_user")


def _seconds(text: str) -> float:
    """A time as sshd_config(5) writes it: `90`, `1m30s`; 0 for none."""
    if text.lower() == "none":
        return 0.0
    if not re.fullmatch(r"(\d+[smhdw]?)*", text.lower()):
        raise Refused(f"{text!r} is no time", help="write seconds, or 1m30s")
    return sum(int(amount) * _UNITS[unit or "s"] for amount, unit in re.findall(r"(\d+)([smhdw]?)", text.lower()))


def _yes(settings: Settings, word: str) -> bool:
    return first(settings, word).lower() in ("yes", "true")


def _strictness(word: str, environment: Mapping[str, str]) -> str:
    if not word and environment.get("ANSIBLE_HOST_KEY_CHECKING", "").lower() in ("0", "false", "no", "off"):
        return "no"
    return {"no": "no", "off": "no", "false": "no", "accept-new": "accept-new"}.get(word.lower(), "yes")


def _methods(settings: Settings) -> Iterator[str]:
    """Ways to log in, in the order that is preferred, but for those that are switched off."""
    preferred = first(settings, "preferredauthentications").lower().split(",")
    for method in preferred if preferred != [""] else METHODS:
        if method in METHODS and first(settings, _SWITCHED_OFF[method]).lower() not in ("no", "false"):
            yield method


def _family(text: str) -> socket.AddressFamily:
    if text.lower() not in _FAMILIES:
        raise Refused(f"ssh's addressfamily can't be {text!r}; it is any, inet or inet6")
    return _FAMILIES[text.lower()]


def _agent(said: str, means: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The socket of our ssh-agent: ssh_config(5), IdentityAgent."""
    if said.lower() == "none":
        return ""
    if said in ("", "SSH_AUTH_SOCK"):
        return environment.get("SSH_AUTH_SOCK", "")
    return _socket_at(said, means, environment)


def _lent(said: str, agent: str, means: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The socket of the agent that commands on the host may use: ssh_config(5), ForwardAgent."""
    if said.lower() in ("", "no", "false"):
        return ""
    return agent if said.lower() in ("yes", "true") else _socket_at(said, means, environment)


def _socket_at(said: str, means: Mapping[str, str], environment: Mapping[str, str]) -> str:
    name = re.fullmatch(r"\$(\w+)", said)
    return environment.get(name[1], "") if name else path(said, means, environment)


def _environment(settings: Settings, ours: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What commands there get of our environment (SendEnv), and what is set for them (SetEnv)."""
    sent: set[str] = set()
    for pattern in settings.get("sendenv", ()):
        names = {name for name in ours if fits(name, pattern.removeprefix("-"))}
        sent = sent - names if pattern.startswith("-") else sent | names
    set_ = dict(one.split("=", 1) for one in settings.get("setenv", ()) if "=" in one)
    yield from ({name: ours[name] for name in sorted(sent)} | set_).items()


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
