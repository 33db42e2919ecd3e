"""Ways to a host: jump hosts, IPv6, crowds, servers that hang up or fall silent."""

import contextlib
import socket
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ciflow.diagnostics import Unreachable
from ciflow.model import Exec
from ciflow.targets.told import Ended, Ready
from tests.conftest import Start
from tests.parts import process
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd
from tests.parts.sshd import sshd as start_sshd
from tests.parts.wire import Break, Toward, Wire, wire
from tests.targets.conftest import ssh_connection
from tests.targets.parley import PROJECT, Parley
from tests.targets.test_ssh import failure, own, says_hello, success


def test_jump_hosts_of_the_configuration_give_way_to_none(ssh_hosts: list[Sshd], home: Path) -> None:
    server = ssh_hosts[0]
    (home / ".ssh/config").write_text(f"Host *\n  ProxyJump 127.0.0.1:{process.free_port()}\n")
    straight = f"-o UserKnownHostsFile={server.known_hosts} -o ConnectTimeout=5"
    assert "refused" in failure(replace(ssh_connection(server), common_args=straight)).message
    says_hello(replace(ssh_connection(server), common_args=straight + " -o ProxyJump=none"))


@pytest.fixture
def sixth(start: Start, tmp_path: Path) -> Sshd:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    return start(start_sshd(tmp_path / "six", address="::1"))


def test_a_host_is_reached_by_its_ipv6_address_also_behind_one(sixth: Sshd, ssh_hosts: list[Sshd]) -> None:
    known = sixth.known_hosts
    known.write_text(known.read_text() + ssh_hosts[0].known_hosts.read_text())
    host = success(ssh_connection(sixth))
    assert host(Exec(shell="echo $SSH_CONNECTION")).stdout.split()[2] == b"::1"
    host.close()
    jump = f"-F none -o UserKnownHostsFile={known} -i {ssh_hosts[0].key} -i {sixth.key} -J root@[::1]:{sixth.port}"
    says_hello(replace(ssh_connection(ssh_hosts[0]), common_args=jump))


def test_hosts_behind_one_jump_host_share_one_connection_to_it(
    start: Start, ssh_hosts: list[Sshd], tmp_path: Path
) -> None:
    hop, *servers = ssh_hosts
    proxy = start(wire((hop.address, hop.port), address=hop.address))
    known = tmp_path / "known"
    renamed = hop.known_hosts.read_text().replace(f":{hop.port} ", f":{proxy.port} ")
    known.write_text(renamed + "".join(server.known_hosts.read_text() for server in servers))
    way = f"-F none -i {hop.key} -o UserKnownHostsFile={known} -J root@{hop.address}:{proxy.port}"
    keys = tuple(str(server.key) for server in servers)
    ways = [replace(ssh_connection(server), common_args=way, private_keys=keys) for server in servers]
    talking = [Parley(way, project=f"{PROJECT}-{number}") for number, way in enumerate(ways)]
    assert [one.ready()(Exec(argv=("echo", "x"))).stdout for one in talking] == [b"x\n"] * 3
    assert proxy.connections == 1
    for one in talking:
        one.close()
    assert_none_left(proxy)
    says_hello(ways[0])
    assert proxy.connections == 2


def assert_none_left(proxy: Wire) -> None:
    wait_for(lambda: not proxy.links, "the end of the jump host's connection")


@pytest.mark.fault(34)
@pytest.mark.parametrize("where", ["the first", "the second", "the last"])
def test_a_key_that_nobody_knows_is_refused_on_every_hop(ssh_hosts: list[Sshd], tmp_path: Path, where: str) -> None:
    """With its fingerprint, and the command that accepts it, also where only the hop before can get there."""
    first, second, last = ssh_hosts[:3]
    known = tmp_path / "known"
    strange = {"the first": first, "the second": second, "the last": last}[where]
    known.write_text("".join(one.known_hosts.read_text() for one in (first, second, last) if one is not strange))
    hops = ",".join(f"root@{one.address}:{one.port}" for one in (first, second))
    keys = " ".join(f"-i {one.key}" for one in (first, second))
    way = f"-F none {keys} -o UserKnownHostsFile={known} -J {hops}"
    error = failure(replace(ssh_connection(last), common_args=way))
    listing = ["ssh-keygen", "-lf", str(strange.folder / "host_key.pub")]
    fingerprint = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()[1]
    assert "unknown" in error.message and fingerprint in error.message
    subprocess.run(error.help.splitlines()[-1], shell=True, check=True)
    success(replace(ssh_connection(last), common_args=way)).close()


def test_a_server_that_drops_a_crowd_lets_everybody_in(start: Start, tmp_path: Path) -> None:
    """MaxStartups drops half of those beyond two, and all beyond six; twelve come at once."""
    server = start(start_sshd(tmp_path / "own", settings={"MaxStartups": "2:50:6"}))
    crowd = [Parley(replace(ssh_connection(server), common_args=own(server, number)), project=f"{PROJECT}-{number}")
             for number in range(12)]  # fmt: skip
    for one in crowd:
        assert one.ready()(Exec(argv=("true",))).ok
        one.close()
    said = (server.folder / "sshd.log").read_text()
    print(f"{said.count('MaxStartups')} words about dropped connections")


def test_a_server_that_hangs_up_at_first_is_asked_again(ssh_hosts: list[Sshd]) -> None:
    """As one does that has too many who are logging in; twice, then it lets us in."""
    server = ssh_hosts[3]
    turned_away: list[int] = []
    with socket.create_server(("127.0.0.9", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=relaying, args=(listener, server, turned_away), daemon=True).start()
        connection = replace(ssh_connection(server), address="127.0.0.9", port=port)
        says_hello(replace(connection, common_args=f"-F none -o StrictHostKeyChecking=no -i {server.key} "
                           f"-o UserKnownHostsFile=/dev/null"))  # fmt: skip
    assert turned_away == [0, 1]


def relaying(listener: socket.socket, server: Sshd, turned_away: list[int]) -> None:
    """Turn two away, then be a wire to the server."""
    for number in range(2):
        client, _ = listener.accept()
        client.sendall(b"Exceeded MaxStartups\r\n" if number else b"")
        client.close()
        turned_away.append(number)
    client, _ = listener.accept()
    there = socket.create_connection((server.address, server.port))
    for one, other in ((client, there), (there, client)):
        threading.Thread(target=pump, args=(one, other), daemon=True).start()


def pump(one: socket.socket, other: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def test_a_silent_server_is_given_up_when_the_user_says(start: Start, ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    """ServerAliveInterval times ServerAliveCountMax, instead of our thirty seconds: the words say after how long."""
    server = ssh_hosts[1]
    proxy = start(wire((server.address, server.port), address=server.address))
    known = tmp_path / "known"
    known.write_text(server.known_hosts.read_text().replace(f":{server.port} ", f":{proxy.port} "))
    connection = ssh_connection(server, proxy.port, known)
    alive = connection.common_args + " -o ServerAliveInterval=1 -o ServerAliveCountMax=2"
    host = success(replace(connection, common_args=alive))
    proxy.end_all("stall")
    ended = host.next(Ended)
    assert "nothing was heard for" in str(ended.error)
    assert int(str(ended.error).rsplit("for ", 1)[1].split()[0]) < 20


def test_a_connection_that_falls_silent_anywhere_in_its_login_is_given_up(start: Start, tmp_path: Path) -> None:
    """Whatever it was asked last: its name, its keys, the login, a channel, a command, the agent's first word."""
    server = start(start_sshd(tmp_path / "own"))
    places: list[tuple[Toward, int]] = [("server", at) for at in range(0, 3000, 250)]
    places += [("client", at) for at in range(0, 2000, 450)]
    tries = []
    for toward, at in places:
        proxy = start(wire((server.address, server.port), address=server.address))
        proxy.breaks.append(Break("stall", at, toward))
        known = tmp_path / f"known-{proxy.port}"
        known.write_text(server.known_hosts.read_text().replace(f":{server.port} ", f":{proxy.port} "))
        connection = ssh_connection(server, port=proxy.port, known_hosts=known)
        tries.append((toward, at, Parley(replace(connection, connect_timeout=2.0))))
    said = {(toward, at): one.next(Ended, Ready).error for toward, at, one in tries}
    print("\n".join(f"{place}: {error}" for place, error in said.items()))
    assert all(isinstance(error, Unreachable) for error in said.values()), said
