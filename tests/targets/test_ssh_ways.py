"""SSH as a user has set it up: configuration, keys, certificates, proofs, jump hosts, crowds."""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest

from ciflow.diagnostics import Unreachable
from ciflow.model import Exec
from ciflow.targets import Connection
from ciflow.targets.session import Ended, Ready
from ciflow.targets.ssh import _route
from ciflow.targets.ssh_config import flattened
from ciflow.targets.ssh_login import _key_files
from tests.conftest import Start
from tests.parts import process
from tests.parts.accounts import Accounts
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd
from tests.parts.sshd import sshd as start_sshd
from tests.parts.wire import Break, Toward, Wire, wire
from tests.targets.conftest import ssh_connection
from tests.targets.parley import PROJECT, Parley
from tests.targets.test_ssh import failure, success


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, with a folder .ssh and no agent."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


def by_config(name: str, **more: str) -> Connection:
    """A host of which the inventory knows only its name."""
    return Connection(kind="ssh", name=name, python="/usr/bin/python3", connect_timeout=30.0, **more)  # type: ignore[arg-type]


def says_hello(connection: Connection) -> Parley:
    host = success(connection)
    assert host(Exec(argv=("echo", "hello"))).stdout == b"hello\n"
    host.close()
    return host


# --- configuration


def test_hosts_are_matched_and_files_included_as_openssh_does(
    ssh_hosts: list[Sshd], home: Path, tmp_path: Path
) -> None:
    server = ssh_hosts[0]
    (home / ".ssh/conf.d").mkdir()
    (home / ".ssh/config").write_text(
        "Include conf.d/*\nMatch originalhost shop user nobody\n  Port 1\n"
        f'Match originalhost shop user root exec "test -e {tmp_path}/flag"\n  Port {server.port}\n'
        "Host *\n  Port 9\n  ProxyJump none\n"
    )
    (home / ".ssh/conf.d/shops").write_text(
        f"Host shop\n  HostName {server.address}\n  IdentityFile {server.key}\n"
        f"  UserKnownHostsFile {server.known_hosts}\n"
    )
    (tmp_path / "flag").touch()
    says_hello(by_config("shop", user="root"))
    (tmp_path / "flag").unlink()
    assert ":9)" in failure(by_config("shop", user="root", common_args="-o ConnectTimeout=5")).message


CONFIGURATIONS = {
    "a block in a file that is included under a condition": (
        "Host a*\n  Include more\n  Port 2\nHost *\n  Port 3\n  User last\n",
        "User everybody\nHost *b\n  Port 4\nHost c\n  Port 5\n",
    ),
    "negated patterns": ("Host * !ab\n  Port 7\nHost ab !ac\n  Port 8\nInclude more\n", "Host *\nUser u\n"),
    "all and an equals sign": ("Match all\nUser=x\nMatch host a*\nPort = 44\nInclude more\n", "Match all\nPort 45\n"),
    "what was settled before counts": ("Include more\nHost a*\n  Port 6\n", "Match host ab\n  Port 5\n  User k\n"),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_included_files_mean_what_openssh_takes_them_for(home: Path, case: str) -> None:
    """Port and user of six hosts, by `ssh -G` and by us."""
    text, more = CONFIGURATIONS[case]
    (home / ".ssh/config").write_text(text)
    (home / ".ssh/more").write_text(more)
    for path in (home / ".ssh").iterdir():
        path.chmod(0o600)
    (home / "absolute").write_text(text.replace("Include more", f"Include {home}/.ssh/more"))
    for host in ("a", "ab", "b", "c", "ac", "other"):
        said = subprocess.run(
            [process.find("ssh", "sshd"), "-F", str(home / "absolute"), "-G", host],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        settings = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
        route = _route(by_config(host))
        assert (str(route.port), route.user) == (settings["port"], settings["user"]), host


def test_a_configuration_that_includes_itself_is_refused() -> None:
    with pytest.raises(Exception, match="includes itself"):
        list(flattened("Include me\n", lambda _: ["Include me\n"]))


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


# --- proofs


def key_pair(path: Path, passphrase: str = "") -> Path:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


@contextlib.contextmanager
def ssh_agent(folder: Path, *keys: Path) -> Iterator[Path]:
    """The socket of an agent that holds these keys; it gets their passphrase from a program."""
    path = folder / "agent"
    with process.run("ssh-agent", ["ssh-agent", "-D", "-a", str(path)], folder, lambda: process.listens(path)):
        ask = folder / "ask"
        ask.write_text("#!/bin/sh\necho open sesame\n")
        ask.chmod(0o700)
        env = {**os.environ, "SSH_AUTH_SOCK": str(path), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        for key in keys:
            subprocess.run(["ssh-add", str(key)], env=env, check=True, capture_output=True, timeout=90)
        yield path


def accepting(start: Start, tmp_path: Path, key: Path) -> Sshd:
    """A server that lets this key in."""
    settings = {"AuthorizedKeysFile": f"{key}.pub"}
    return start(start_sshd(tmp_path / "own", settings=settings))


def test_a_key_with_a_passphrase_is_opened_by_it_or_by_the_agent(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_pair(home / "locked", "open sesame")
    connection = replace(ssh_connection(accepting(start, tmp_path, key)), private_keys=(str(key),))
    assert "passphrase" in failure(connection).message
    assert "passphrase is another" in failure(replace(connection, passphrase="wrong")).message
    says_hello(replace(connection, passphrase="open sesame"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, key))))
    only = connection.common_args + " -o IdentitiesOnly=yes"
    says_hello(replace(connection, common_args=only))


@pytest.mark.parametrize(
    "form", ["-t rsa -b 2048", "-t rsa -b 2048 -m PKCS8", "-t ecdsa", "-t ecdsa -m PEM", "-t ecdsa -b 384 -m PKCS8"]
)
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_keys_are_read_in_every_form_that_ssh_keygen_writes(home: Path, form: str, passphrase: str) -> None:
    key = home / "key"
    argv = ["ssh-keygen", "-q", *form.split(), "-N", passphrase, "-C", "", "-f", str(key)]
    subprocess.run(argv, check=True, capture_output=True)
    [(_, found)] = _key_files((str(key),), (), passphrase, tried := [])
    assert (tried, found.get_base64()) == ([], Path(f"{key}.pub").read_text().split()[1])
    signed = found.sign_ssh_data(b"x")
    assert found.verify_ssh_sig(b"x", paramiko.Message(signed.asbytes()))
    assert list(_key_files((str(key),), (), "wrong", [])) == [] or not passphrase


def test_no_key_of_a_kind_is_missed_by_chance(home: Path) -> None:
    """paramiko's own reader misses one ECDSA key in four."""
    for number in range(16):
        key = home / f"key{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "", "-f", str(key)], check=True)
        assert len(list(_key_files((str(key),), (), "", []))) == 1


def test_a_key_is_opened_once_for_all_hosts_and_anew_when_its_file_is_another(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening one is made slow on purpose (bcrypt): a thousand hosts would take minutes."""
    key, opened, kind = key_pair(home / "locked", "open sesame"), list[str](), paramiko.Ed25519Key
    read = kind.from_private_key_file

    def count(path: str, password: Any = None) -> paramiko.PKey:
        opened.append(path)
        return read(path, password)

    monkeypatch.setattr(kind, "from_private_key_file", count)
    server = accepting(start, tmp_path, key)
    connection = replace(ssh_connection(server), private_keys=(str(key),), passphrase="open sesame")
    crowd = [Parley(replace(connection, common_args=own(server, number)), project=f"{PROJECT}-{number}")
             for number in range(6)]  # fmt: skip
    for one in crowd:
        one.ready().close()
    assert opened == [str(key)] * 2  # without the passphrase, and with it
    key.unlink()
    key_pair(key)  # the server takes this one from now on
    says_hello(replace(connection, common_args=own(server, 7)))


def test_of_the_agents_keys_none_is_offered_when_only_the_named_ones_may_be(
    start: Start, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = key_pair(home / "mine")
    connection = replace(ssh_connection(accepting(start, tmp_path, mine)), private_keys=())
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, mine))))
    only = replace(connection, common_args=connection.common_args + " -o IdentitiesOnly=yes")
    assert "refused the login" in failure(only).message
    says_hello(connection)


def test_a_certificate_opens_the_door_and_an_expired_one_does_not(start: Start, home: Path, tmp_path: Path) -> None:
    authority, key = key_pair(home / "authority"), key_pair(home / "mine")
    settings = {"TrustedUserCAKeys": f"{authority}.pub", "AuthorizedKeysFile": "none"}
    server = start(start_sshd(tmp_path / "own", settings=settings))

    def certify(validity: str, name: Path) -> None:
        sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", "-V", validity, f"{key}.pub"]
        subprocess.run(sign, check=True, capture_output=True)
        Path(f"{key}-cert.pub").rename(name)

    connection = replace(ssh_connection(server), private_keys=(str(key),))
    certify("-2h:-1h", home / "over-cert.pub")
    over = replace(connection, common_args=connection.common_args + f" -o CertificateFile={home}/over-cert.pub")
    assert f"{key} with {home}/over-cert.pub" in failure(over).message
    certify("-1h:+1h", home / "good-cert.pub")
    says_hello(replace(over, common_args=over.common_args.replace("over", "good")))
    (home / "good-cert.pub").rename(f"{key}-cert.pub")
    says_hello(replace(connection, name="beside"))


def serve(start: Start, people: Accounts, tmp_path: Path, **settings: str) -> Sshd:
    """Where clerk logs in, by PAM: as most machines do it."""
    pam = people.folder / "etc" / "pam.d" / "sshd"
    pam.write_text("auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n")
    common = {"UsePAM": "yes", "KbdInteractiveAuthentication": "yes"}
    return start(start_sshd(tmp_path / "own", "127.0.0.1", people.clerk, {**common, **settings},
                            people.inside()))  # fmt: skip


def test_a_server_that_asks_for_the_password_is_answered(start: Start, people: Accounts, tmp_path: Path) -> None:
    server = serve(start, people, tmp_path)
    connection = replace(ssh_connection(server), private_keys=(), password=people.clerk.password or "")
    says_hello(connection)
    wrong = failure(replace(connection, name="again", password="wrong"))
    assert "password (keyboard-interactive)" in wrong.message


def test_a_server_that_wants_a_key_and_a_password_gets_both(start: Start, people: Accounts, tmp_path: Path) -> None:
    server = serve(start, people, tmp_path, AuthenticationMethods="publickey,keyboard-interactive")
    connection = ssh_connection(server)
    assert "the server also wants keyboard-interactive" in failure(connection).message
    says_hello(replace(connection, password=people.clerk.password or ""))


def test_the_agent_is_lent_to_the_host_only_when_asked_for(
    start: Start, ssh_hosts: list[Sshd], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_pair(home / "lent")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(start(ssh_agent(tmp_path, key))))
    connection = ssh_connection(ssh_hosts[2])
    listing = Exec(argv=("ssh-add", "-L"), timeout=90)
    without = success(connection)
    assert not without(listing).ok
    without.close()
    lent = success(replace(connection, common_args=connection.common_args + " -A"))
    assert lent(listing).stdout.split()[1] == Path(f"{key}.pub").read_bytes().split()[1]
    lent.close()


# --- ways


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


def own(server: Sshd, number: int) -> str:
    """Arguments that nobody else has, or one connection would be shared."""
    return f"-F none -o UserKnownHostsFile={server.known_hosts} -o ConnectTimeout={20 + number}"


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
