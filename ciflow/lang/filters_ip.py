"""Filters of addresses and networks, after the documentation of the collection ansible.utils.

Without the library that the collection needs: Python's `ipaddress` (RFC 791, RFC 4291) knows all that is asked here.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    collapse_addresses,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any, TypeAlias

from ciflow.dataclass import dataclass

Address: TypeAlias = IPv4Address | IPv6Address
Interface: TypeAlias = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class _Asked:
    """A value that is an address: as it was given, as an interface, and whether a prefix stood behind it."""

    given: str
    face: Interface
    prefixed: bool

    @property
    def size(self) -> int:
        return int(self.face.network.num_addresses)

    @property
    def first(self) -> Address:
        return self.face.network.network_address

    @property
    def last(self) -> Address:
        return self.face.network.broadcast_address

    @property
    def is_network(self) -> bool:
        """Whether it names a network instead of one host in it."""
        return self.size > 1 and self.face.ip == self.first

    def usable(self) -> tuple[int, int]:
        """The first and last address that a host may have; both of a point-to-point network (RFC 3021)."""
        if not self.prefixed:
            raise ValueError(f"{self.given} is no network")
        return (int(self.first), int(self.last)) if self.size <= 2 else (int(self.first) + 1, int(self.last) - 1)

    def at(self, number: int) -> Address | None:
        """The address with that number, where it may be a host's."""
        first, last = self.usable()
        return type(self.face.ip)(number) if first <= number <= last else None


def _asked(value: Any, version: int | None) -> _Asked | None:
    """None for what is no address, or is one of another version."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    text = str(value)
    address, slash, prefix = text.partition("/")
    try:
        if address.isdigit():  # a number: of IPv4 where it fits
            number = int(address)
            kind = IPv6Address if version == 6 or number >= 2**32 else IPv4Address
            text = f"{kind(number)}{slash}{prefix}"
        face = ip_interface(text)
    except ValueError:
        return None
    return _Asked(text, face, bool(slash)) if version in (None, face.version) else None


def _peer(asked: _Asked) -> Any:
    number = int(asked.face.ip)
    if asked.size == 2:
        return _shown(type(asked.face.ip)(number ^ 1))
    if asked.size != 4 or number % 4 in (0, 3):
        raise ValueError(f"{asked.given} has no peer: it is no host of a point-to-point network")
    return _shown(type(asked.face.ip)(number ^ 3))


def _shown(value: Address | None) -> str | None:
    return None if value is None else str(value)


def _with_prefix(asked: _Asked) -> str:
    return f"{asked.face.ip}/{asked.face.network.prefixlen}"


def _as_ipv4(asked: _Asked) -> str | None:
    if asked.face.version == 4:
        return asked.given
    number, prefix = int(asked.face.ip), asked.face.network.prefixlen
    inside = number < 2**32 or number >> 32 == 0xFFFF
    return f"{IPv4Address(number % 2**32)}/{prefix - 96}" if inside and prefix >= 96 else None


def _as_ipv6(asked: _Asked) -> str:
    if asked.face.version == 6:
        return asked.given
    return f"::ffff:{asked.face.ip}/{asked.face.network.prefixlen + 96}"


def _6to4(asked: _Asked) -> str | None:
    """RFC 3056, section 2."""
    if asked.face.version == 6:
        return asked.given if int(asked.face.ip) >> 112 == 0x2002 else None
    number = f"{int(asked.face.ip):08x}"
    return None if asked.is_network else f"2002:{number[:4]}:{number[4:]}::1/48"


def _range(asked: _Asked) -> str:
    first, last = (type(asked.face.ip)(number) for number in asked.usable())
    return f"{first}-{last}"


def _given_if(holds: Callable[[Address], bool]) -> Callable[[_Asked], str | None]:
    return lambda asked: asked.given if holds(asked.face.ip) else None


_GROUPS: tuple[tuple[tuple[str, ...], Callable[[_Asked], Any]], ...] = (
    (("",), lambda asked: asked.given),
    (("address", "ip"), lambda a: str(a.face.ip) if not a.is_network or a.face.version == 6 else None),
    (("host",), lambda asked: None if asked.is_network else _with_prefix(asked)),
    (
        ("host/prefix", "address/prefix", "gateway", "gw", "hostnet", "router"),
        lambda a: _with_prefix(a) if a.prefixed and (a.size <= 2 or a.face.ip not in (a.first, a.last)) else None,
    ),
    (("ip/prefix",), lambda a: _with_prefix(a) if a.size == 2 or (a.size > 1 and not a.is_network) else None),
    (("ip_netmask",), lambda asked: f"{asked.face.ip} {asked.face.netmask}" if asked.size > 1 else None),
    (("net",), lambda asked: str(asked.face.network) if asked.is_network else None),
    (("network", "network_id"), lambda asked: str(asked.first)),
    (("network/prefix", "subnet"), lambda asked: str(asked.face.network)),
    (("network_netmask",), lambda asked: f"{asked.first} {asked.face.netmask}"),
    (("network_wildcard",), lambda asked: f"{asked.first} {asked.face.hostmask}"),
    (("netmask",), lambda asked: str(asked.face.netmask)),
    (("hostmask", "wildcard"), lambda asked: str(asked.face.hostmask)),
    (("broadcast",), lambda asked: str(asked.last) if asked.size > 2 else None),
    (("prefix",), lambda asked: asked.face.network.prefixlen),
    (("size",), lambda asked: asked.size),
    (("size_usable",), lambda asked: {1: 0, 2: 2}.get(asked.size, asked.size - 2)),
    (("cidr",), _with_prefix),
    (("type",), lambda asked: "network" if asked.is_network else "address"),
    (("version",), lambda asked: asked.face.version),
    (("bool",), lambda _asked: True),
    (("int",), lambda a: f"{int(a.face.ip)}/{a.face.network.prefixlen}" if a.prefixed else int(a.face.ip)),
    (("public",), _given_if(lambda ip: ip.is_global and not ip.is_multicast)),
    (("private",), _given_if(lambda ip: not ip.is_global)),
    (("loopback", "lo"), _given_if(lambda ip: ip.is_loopback)),
    (("link-local",), _given_if(lambda ip: ip.is_link_local)),
    (("multicast",), _given_if(lambda ip: ip.is_multicast)),
    (("unicast",), _given_if(lambda ip: not ip.is_multicast)),
    (("ipv4", "v4"), _as_ipv4),
    (("ipv6", "v6"), _as_ipv6),
    (("6to4",), _6to4),
    (("first_usable",), lambda asked: _shown(asked.at(asked.usable()[0]))),
    (("last_usable",), lambda asked: _shown(asked.at(asked.usable()[1]))),
    (("next_usable",), lambda asked: _shown(asked.at(int(asked.face.ip) + 1))),
    (("previous_usable",), lambda asked: _shown(asked.at(int(asked.face.ip) - 1))),
    (("range_usable",), _range),
    (("peer",), _peer),
    (("revdns",), lambda asked: f"{asked.face.ip.reverse_pointer}."),
    (("wrap",), lambda asked: _wrapped(asked)),
)
_QUERIES = {name: answer for names, answer in _GROUPS for name in names}


def ipaddr(value: Any, query: Any = "", version: int | None = None) -> Any:
    """The value where it is an address that the query holds for, or the part it names; else false.

    A query is a name, a network that the value must be in, or a number: that address of the network. Of a list come
    the answers for its addresses. Raises ValueError for an unknown query.
    """
    if isinstance(value, list | tuple):
        return [found for found in (ipaddr(one, query, version) for one in value) if found]
    asked = _asked(value, version)
    if asked is None:
        return False
    if (answer := _QUERIES.get(str(query))) is not None:
        found = answer(asked)
        return False if found is None else found
    if str(query).removeprefix("-").isdigit():
        return _nth(asked, int(query), prefixed=True)
    return asked.given if _within(asked, str(query)) else False


def _nth(asked: _Asked, index: int, *, prefixed: bool) -> Any:
    network = asked.face.network
    if not -asked.size <= index < asked.size:
        return False
    found = network[index]
    return f"{found}/{network.prefixlen}" if prefixed else str(found)


def _within(asked: _Asked, query: str) -> bool:
    try:
        network = ip_network(query, strict=False)
    except ValueError as error:
        raise ValueError(f"ipaddr has no query {query!r}; there are {', '.join(filter(None, _QUERIES))}") from error
    inside = asked.face.network if asked.is_network else ip_network(asked.face.ip)
    return network.version == inside.version and inside.subnet_of(network)  # type: ignore[arg-type]


def ipv4(value: Any, query: Any = "") -> Any:
    return ipaddr(value, query, 4)


def ipv6(value: Any, query: Any = "") -> Any:
    return ipaddr(value, query, 6)


def ipwrap(value: Any) -> Any:
    """IPv6 addresses in brackets; everything else as it is."""
    if isinstance(value, list | tuple):
        return [ipwrap(one) for one in value]
    asked = _asked(value, 6) if isinstance(value, str) and not value.isdigit() else None
    return value if asked is None else _wrapped(asked)


def _wrapped(asked: _Asked) -> str:
    if asked.face.version == 4:
        return asked.given
    return f"[{asked.face.ip}]" + (f"/{asked.face.network.prefixlen}" if asked.prefixed else "")


def _must(value: Any) -> _Asked:
    asked = _asked(value, None)
    if asked is None:
        raise ValueError(f"{value!r} is no address and no network")
    return asked


def ipsubnet(value: Any, query: Any = "", index: Any = None) -> Any:
    """Subnets of a network, networks around an address, or the rank of one in the network `query`, from 1."""
    asked = _must(value)
    network = asked.face.network
    if query == "":
        return str(network)
    if not str(query).isdigit():
        around = _must(query).face.network
        if around.version != network.version or not network.subnet_of(around):  # type: ignore[arg-type]
            raise ValueError(f"{network} is not in {around}")
        return (int(network.network_address) - int(around.network_address)) // asked.size + 1
    size = int(query)
    if size > network.max_prefixlen:
        raise ValueError(f"there is no prefix of {size} bits")
    if size > network.prefixlen:
        return _subnet(asked, size, index)
    sizes = list(range(size, network.prefixlen)) or [size]
    place = 0 if index is None else int(index)
    return str(network.supernet(new_prefix=sizes[place])) if -len(sizes) <= place < len(sizes) else False


def _subnet(asked: _Asked, size: int, index: Any) -> Any:
    network = asked.face.network
    count = 2 ** (size - network.prefixlen)
    if index is None:
        return str(count)
    place = int(index) % count if -count <= int(index) < count else None
    if place is None:
        return False
    step = 2 ** (network.max_prefixlen - size)
    return f"{type(asked.face.ip)(int(asked.first) + place * step)}/{size}"


def nthhost(value: Any, query: Any = "") -> Any:
    return _nth(_must(value), int(query), prefixed=False)


def ipmath(value: Any, amount: int) -> str:
    asked = _must(value)
    return str(type(asked.face.ip)(int(asked.face.ip) + int(amount)))


def next_nth_usable(value: Any, offset: int) -> str:
    asked = _must(value)
    return str(asked.at(int(asked.face.ip) + int(offset)) or "")


def previous_nth_usable(value: Any, offset: int) -> str:
    return next_nth_usable(value, -int(offset))


def network_in_network(value: Any, test: Any) -> bool:
    return _within(_must(test), str(_must(value).face.network))


def network_in_usable(value: Any, test: Any) -> bool:
    first, last = _must(f"{_must(value).face.network}").usable()
    inner = _must(test)
    inside = (int(inner.first), int(inner.last)) if inner.is_network else (int(inner.face.ip), int(inner.face.ip))
    return network_in_network(value, test) and first <= inside[0] and inside[1] <= last


def reduce_on_network(value: Any, network: Any) -> list[Any]:
    return [one for one in value if network_in_network(network, one)]


def cidr_merge(value: Any, action: str = "merge") -> Any:
    """The fewest networks that hold just these, or (`span`) the smallest one that holds them all."""
    networks = [_must(one).face.network if "/" in str(one) else ip_network(str(one)) for one in value]
    if action == "merge":
        return [str(one) for one in collapse_addresses(networks)]  # type: ignore[type-var]
    if action != "span":
        raise ValueError(f"cidr_merge takes merge or span, not {action!r}")
    lowest, highest = min(int(n.network_address) for n in networks), max(int(n.broadcast_address) for n in networks)
    width = networks[0].max_prefixlen
    bits = width - (lowest ^ highest).bit_length()
    return f"{ip_address(networks[0].network_address.__class__(lowest >> (width - bits) << (width - bits)))}/{bits}"


def ip4_hex(arg: Any, delimiter: str = "") -> str:
    return delimiter.join(f"{byte:02x}" for byte in IPv4Address(str(arg)).packed)


FILTERS: dict[str, Callable[..., Any]] = {
    "cidr_merge": cidr_merge, "ip4_hex": ip4_hex, "ipaddr": ipaddr, "ipmath": ipmath, "ipsubnet": ipsubnet,
    "ipv4": ipv4, "ipv6": ipv6, "ipwrap": ipwrap, "network_in_network": network_in_network,
    "network_in_usable": network_in_usable, "next_nth_usable": next_nth_usable, "nthhost": nthhost,
    "previous_nth_usable": previous_nth_usable, "reduce_on_network": reduce_on_network,
}  # fmt: skip
