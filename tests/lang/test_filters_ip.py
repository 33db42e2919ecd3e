"""Filters of addresses. The examples are those of the documentation of ansible.utils ("Using the ipaddr filter")."""

from __future__ import annotations

from typing import Any

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.template import render
from tests.lang.making import scope_of, template

NAMES = {
    "test_list": ["192.24.2.1", "host.fqdn", "::1", "192.168.32.0/24", "fe80::100/10", True, "",
                  "42540766412265424405338506004571095040/64"],
    "host_prefix": ["2001:db8:deaf:be11::ef3/64", "192.0.2.48/24", "127.0.0.1", "192.168.0.0/16"],
    "address": "192.168.144.5", "subnet": "192.168.0.0/16",
}  # fmt: skip


def value(text: str) -> Any:
    return render(template(f"{{{{ {text} }}}}"), scope_of(NAMES))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("'192.168.0.1' | ansible.utils.ipaddr", "192.168.0.1"), ("45443646733 | ipaddr", "::a:94a7:50d"),
     ("'523454/24' | ipaddr", "0.7.252.190/24"), ("'localhost' | ipaddr", False), ("'fe80:/10' | ipaddr", False),
     ("true | ipaddr", False), ("'192.168.0.1' | ipv6", False), ("45443646733 | ipv4", False),
     ("test_list | ipaddr",
      ["192.24.2.1", "::1", "192.168.32.0/24", "fe80::100/10", "2001:db8:32c:faad::/64"]),
     ("test_list | ipv4", ["192.24.2.1", "192.168.32.0/24"]),
     ("test_list | ipaddr | ipwrap",
      ["192.24.2.1", "[::1]", "192.168.32.0/24", "[fe80::100]/10", "[2001:db8:32c:faad::]/64"]),
     ("test_list | ipaddr('host')", ["192.24.2.1/32", "::1/128", "fe80::100/10"]),
     ("test_list | ipv4('address')", ["192.24.2.1"]),
     ("test_list | ipaddr('net')", ["192.168.32.0/24", "2001:db8:32c:faad::/64"]),
     ("test_list | ipaddr('net') | ipaddr('size')", [256, 18446744073709551616]),
     ("test_list | ipaddr('192.0.0.0/8')", ["192.24.2.1", "192.168.32.0/24"]),
     ("test_list | ipaddr('net') | ipaddr('1')", ["192.168.32.1/24", "2001:db8:32c:faad::1/64"]),
     ("test_list | ipaddr('net') | ipaddr('-1')", ["192.168.32.255/24", "2001:db8:32c:faad:ffff:ffff:ffff:ffff/64"]),
     ("test_list | ipaddr('net') | ipaddr('400')", ["2001:db8:32c:faad::190/64"]),
     ("host_prefix | ipaddr('host/prefix')", ["2001:db8:deaf:be11::ef3/64", "192.0.2.48/24"]),
     ("host_prefix | ipaddr('host/prefix') | ipaddr('subnet')", ["2001:db8:deaf:be11::/64", "192.0.2.0/24"]),
     ("host_prefix | ipaddr('host/prefix') | ipaddr('prefix')", [64, 24]),
     ("'192.0.2.48/24' | ipaddr('broadcast')", "192.0.2.255"), ("'192.0.2.48/24' | ipaddr('netmask')", "255.255.255.0"),
     ("'192.168.0.0/255.255.255.0' | ipaddr('net')", "192.168.0.0/24"),
     ("'192.168.0.11/255.255.255.0' | ipaddr('network/prefix')", "192.168.0.0/24"),
     ("'192.0.2.0/24' | ipaddr('hostmask')", "0.0.0.255"),
     ("test_list | ipv4('ipv6')", ["::ffff:192.24.2.1/128", "::ffff:192.168.32.0/120"]),
     ("'192.24.2.1' | ipaddr('int')", 3222798849), ("'192.168.32.0/24' | ipaddr('int')", "3232243712/24"),
     ("'192.24.2.1' | ipaddr('revdns')", "1.2.24.192.in-addr.arpa."),
     ("'192.168.1.5' | ip4_hex", "c0a80105"), ("'192.168.1.5' | ip4_hex(':')", "c0:a8:01:05"),
     ("'193.0.2.0' | ipaddr('6to4')", "2002:c100:0200::1/48"),
     ("'192.168.122.1/24' | ipaddr('next_usable')", "192.168.122.2"),
     ("'192.168.122.1/24' | ipaddr('last_usable')", "192.168.122.254"),
     ("'192.168.122.1/24' | ipaddr('range_usable')", "192.168.122.1-192.168.122.254"),
     ("'192.168.122.1/31' | ipaddr('peer')", "192.168.122.0"), ("'192.168.122.1/30' | ipaddr('peer')", "192.168.122.2"),
     ("'10.0.0.0/8' | nthhost(305)", "10.0.1.49"), ("'10.0.0.0/8' | nthhost(-1)", "10.255.255.255"),
     ("'192.168.122.1/24' | next_nth_usable(2)", "192.168.122.3"), ("'192.168.122.254/24' | next_nth_usable(2)", ""),
     ("'192.168.122.10/24' | previous_nth_usable(2)", "192.168.122.8"),
     ("'192.168.0.0/24' | network_in_usable('192.168.0.1')", True),
     ("'192.168.0.0/24' | network_in_usable('192.168.0.255')", False),
     ("'192.168.0.0/16' | network_in_usable('192.168.0.255')", True),
     ("'192.168.0.0/24' | network_in_network('192.168.0.255')", True),
     ("'192.168.0.0/16' | network_in_network('192.168.0.0/24')", True),
     ("['192.168.0.34', '10.3.0.3', '192.168.2.34'] | reduce_on_network('192.168.0.0/24')", ["192.168.0.34"]),
     ("'192.168.1.5' | ipmath(5)", "192.168.1.10"), ("'192.168.0.5' | ipmath(-10)", "192.167.255.251"),
     ("'2001::5' | ipmath(-10)", "2000:ffff:ffff:ffff:ffff:ffff:ffff:fffb"),
     ("address | ipsubnet", "192.168.144.5/32"), ("subnet | ipsubnet", "192.168.0.0/16"),
     ("subnet | ipsubnet(20)", "16"), ("subnet | ipsubnet(20, 0)", "192.168.0.0/20"),
     ("subnet | ipsubnet(20, -1)", "192.168.240.0/20"), ("subnet | ipsubnet(20, 5)", "192.168.80.0/20"),
     ("subnet | ipsubnet(20, -5)", "192.168.176.0/20"), ("address | ipsubnet(20)", "192.168.144.0/20"),
     ("address | ipsubnet(18, 0)", "192.168.128.0/18"), ("address | ipsubnet(18, -1)", "192.168.144.4/31"),
     ("address | ipsubnet(18, 5)", "192.168.144.0/23"), ("address | ipsubnet(18, -5)", "192.168.144.0/27"),
     ("address | ipsubnet(subnet)", 36870), ("'192.168.144.16/30' | ipsubnet('192.168.144.0/24')", 5),
     ("'193.0.2.0' | ipaddr('6to4') | ipsubnet(64, 58820) | ipaddr('1')", "2002:c100:200:e5c4::1/64"),
     ("['192.168.0.0/17', '192.168.128.0/17', '192.168.128.1'] | cidr_merge", ["192.168.0.0/16"]),
     ("['192.168.0.0/24', '192.168.3.0/24'] | cidr_merge('span')", "192.168.0.0/22"),
     ("['192.168.1.42', '192.168.42.1'] | cidr_merge('span')", "192.168.0.0/18")],
)  # fmt: skip
def test_addresses_are_as_the_collections_documentation_shows(text: str, wanted: Any) -> None:
    found = value(text)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize("text", ["'10.0.0.1' | ipaddr('nope')", "'10.0.0.1' | ipaddr('first_usable')",
                                  "'x' | ipmath(1)", "'10.0.0.1' | ipsubnet('192.168.0.0/16')"])  # fmt: skip
def test_a_question_without_an_answer_is_an_error(text: str) -> None:
    with pytest.raises(Invalid):
        value(text)
