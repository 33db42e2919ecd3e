"""SSH: whom we trust, how we log in, which way we go, and who runs the agent."""

import contextlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from ciflow.diagnostics import Refused, TargetError
from ciflow.model import Exec, Stat
from ciflow.targets import BecomeUser, Connection, ssh
from ciflow.targets.ssh_options import parse_arguments, parse_hop, resolve
from ciflow.targets.told import Ended, Ready
from tests.conftest import Start
from tests.parts import process
from tests.parts.accounts import Accounts
from tests.parts.process import wait_for
from tests.parts.sshd import Sshd, User, host_key
from tests.parts.sshd import sshd as start_sshd
from tests.parts.wire import wire
from tests.targets.conftest import ssh_connection
from tests.targets.parley import Parley


def failure(connection: Connection) -> TargetError | Refused:
    """What stood in the way of a session."""
    event = Parley(connection).next(Ended, Ready)
    assert isinstance(event, Ended), "it was let in"
    assert isinstance(event.error, (TargetError, Refused)), event.error
    return event.error


def assert_all_closed() -> None:
    """No connection is left that another session could share."""
    wait_for(lambda: not any(ssh._POOL.entries.values()), "the end of every connection")


def success(connection: Connection) -> Parley:
    return Parley(connection).ready()


def says_hello(connection: Connection) -> None:
    host = success(connection)
    assert host(Exec(argv=("echo", "hello"))).stdout == b"hello\n"
    host.close()


def own(server: Sshd, number: int) -> str:
    """Arguments that nobody else has, or one connection would be shared."""
    return f"-F none -o UserKnownHostsFile={server.known_hosts} -o ConnectTimeout={20 + number}"


# --- host keys


def with_hosts(server: Sshd, path: Path, text: str) -> Connection:
    path.write_text(text)
    return ssh_connection(server, known_hosts=path)


@pytest.mark.fault(34)
def test_an_unknown_host_key_is_refused_and_the_command_to_accept_it_works(
    ssh_hosts: list[Sshd], tmp_path: Path
) -> None:
    server, known = ssh_hosts[0], tmp_path / "known"
    connection = with_hosts(server, known, "")
    error = failure(connection)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_key.pub")], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert "unknown" in error.message
    assert fingerprint in error.message
    subprocess.run(error.help.splitlines()[-1], shell=True, check=True, capture_output=True)
    success(connection).close()


@pytest.mark.fault(34)
def test_a_changed_or_revoked_host_key_is_refused(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    server = ssh_hosts[0]
    name, rest = server.known_hosts.read_text().split(" ", 1)
    other = " ".join(host_key(tmp_path / "other").split()[:2])
    connection = with_hosts(server, tmp_path / "k1", f"{name} {other}\n")
    two_files = replace(connection, common_args=f"-F none -o 'UserKnownHostsFile={tmp_path}/k0 {tmp_path}/k1'")
    changed = failure(two_files)
    assert "changed" in changed.message
    subprocess.run(changed.help.splitlines()[-1], shell=True, check=True, capture_output=True)
    success(two_files).close()
    revoked = failure(with_hosts(server, tmp_path / "k2", f"{name} {rest}@revoked {name} {rest}"))
    assert "revoked" in revoked.message


def test_no_checking_of_unknown_keys_when_the_user_says_so(
    ssh_hosts: list[Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ssh_hosts[0]
    connection = with_hosts(server, tmp_path / "known", "")
    off = replace(connection, common_args=connection.common_args + " -o StrictHostKeyChecking=no")
    success(off).close()
    assert_all_closed()
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    success(connection).close()
    name = server.known_hosts.read_text().split(" ", 1)[0]
    other = " ".join(host_key(tmp_path / "other").split()[:2])
    assert "changed" in failure(with_hosts(server, tmp_path / "k", f"{name} {other}\n")).message


def test_a_new_key_is_taken_and_written_down_once_when_the_user_says_so(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    """Also by who has no folder for it yet; another key in its place is refused ever after."""
    server, known = ssh_hosts[0], tmp_path / "ssh" / "known"
    new = ssh_connection(server, known_hosts=known)
    new = replace(new, common_args=new.common_args + " -o StrictHostKeyChecking=accept-new")
    success(new).close()
    assert_all_closed()
    success(new).close()
    assert known.read_text().split() == server.known_hosts.read_text().split()[:3]
    assert known.parent.stat().st_mode & 0o777 == 0o700
    other = " ".join(host_key(tmp_path / "other").split()[:2])
    known.write_text(f"{known.read_text().split()[0]} {other}\n")
    assert_all_closed()
    assert "changed" in failure(new).message


@pytest.mark.parametrize("form", ["hashed", "pattern", "list"])
def test_every_form_of_known_hosts_is_understood(ssh_hosts: list[Sshd], tmp_path: Path, form: str) -> None:
    server, known = ssh_hosts[0], tmp_path / "known"
    name, rest = server.known_hosts.read_text().split(" ", 1)
    if form == "hashed":
        known.write_text(f"{name} {rest}")
        subprocess.run(["ssh-keygen", "-Hf", str(known)], check=True, capture_output=True)
        assert known.read_text().startswith("|1|")
    else:
        known.write_text({"pattern": f"[127.0.*]:* {rest}", "list": f"other,{name} {rest}"}[form])
    success(ssh_connection(server, known_hosts=known)).close()


# --- logging in


def test_a_wrong_key_is_told_with_what_was_tried(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    host_key(tmp_path / "wrong")
    connection = replace(ssh_connection(ssh_hosts[0]), private_keys=(str(tmp_path / "wrong"),))
    error = failure(replace(connection, common_args=connection.common_args + " -o IdentitiesOnly=yes"))
    assert "refused the login" in error.message
    assert str(tmp_path / "wrong") in error.message


class Serve(Protocol):
    def __call__(self, **settings: str) -> Sshd: ...


@pytest.fixture
def serve(start: Start, people: Accounts, tmp_path: Path) -> Serve:
    """A server in the namespace of the accounts, where clerk logs in; with settings of its own."""
    return lambda **settings: start(
        start_sshd(tmp_path / "own", user=people.clerk, settings=settings, inside=people.inside())
    )


@pytest.fixture
def clerk(people: Accounts) -> User:
    """An account without rights, with a password."""
    return people.clerk


def test_a_password_opens_the_door(serve: Serve, clerk: User) -> None:
    server = serve(PasswordAuthentication="yes")
    connection = replace(ssh_connection(server), private_keys=(), password=clerk.password or "")
    host = success(connection)
    assert host.hello["user"] == clerk.name
    assert host(Exec(argv=("id", "-un"))).stdout.decode().strip() == clerk.name
    host.close()
    wrong = failure(replace(connection, name="again", password="wrong", port=server.port, user=clerk.name))
    assert "password" in wrong.message


def test_nobody_there_is_told_plainly(ssh_hosts: list[Sshd]) -> None:
    connection = replace(ssh_connection(ssh_hosts[0]), port=process.free_port(), name="web9")
    error = failure(connection)
    assert "web9" in error.message
    assert "refused" in error.message


def test_a_host_without_a_fitting_python_is_told(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    gone = failure(replace(ssh_connection(ssh_hosts[0]), python="/opt/nothing/python3"))
    assert "/opt/nothing/python3" in gone.message
    fake = tmp_path / "python3"
    fake.write_text('#!/bin/sh\nprintf "%s-%s-old-3.5\\n" "$5" "$6"\n')
    fake.chmod(0o755)
    old = failure(replace(ssh_connection(ssh_hosts[0]), python=str(fake)))
    assert "3.5" in old.message
    assert "ansible_python_interpreter" in old.help


def test_noise_of_a_login_is_skipped(serve: Serve, people: Accounts) -> None:
    """A shell whose start-up files talk, on both streams, before the agent does."""
    shell = people.home / "noisy"
    shell.write_text('#!/bin/sh\necho "Welcome! \\\\x00 -hello"\necho oops >&2\nexec /bin/sh "$@"\n')
    shell.chmod(0o755)
    server = serve(ForceCommand='/home/noisy -c "$SSH_ORIGINAL_COMMAND"')
    host = success(ssh_connection(server))
    assert host(Exec(argv=("echo", "clean"))).stdout == b"clean\n"
    host.close()


# --- ways


def test_a_jump_host_is_gone_through_and_its_key_checked(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    hop, server = ssh_hosts[:2]
    known = tmp_path / "known"
    both = f"-F none -o IdentityFile={hop.key} -o UserKnownHostsFile={known} -J root@{hop.address}:{hop.port}"
    known.write_text(hop.known_hosts.read_text() + server.known_hosts.read_text())
    host = success(replace(ssh_connection(server), common_args=both))
    said = host(Exec(shell='echo "$SSH_CONNECTION"')).stdout.decode().split()
    assert said[3] == str(server.port)
    host.close()
    assert_all_closed()
    known.write_text(server.known_hosts.read_text())
    assert "unknown" in failure(replace(ssh_connection(server), common_args=both)).message


def test_a_proxy_command_is_a_way(ssh_hosts: list[Sshd]) -> None:
    server = ssh_hosts[0]
    code = "import socket,sys,threading,os\ns=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
    code += "print(sys.argv[3:],file=open(__file__+'.told','w'))\n"
    code += "def up():\n while (d:=os.read(0,65536)): s.sendall(d)\nthreading.Thread(target=up,daemon=True).start()\n"
    code += "while (d:=s.recv(65536)): os.write(1,d)\n"
    folder = server.folder / "way.py"
    folder.write_text(code)
    args = f"-F none -o UserKnownHostsFile={server.known_hosts} -o HostName={server.address} "
    args += f"-o HostKeyAlias=[{server.address}]:{server.port} -o 'ProxyCommand=python3 {folder} %h %p %n %k %r %%h'"
    host = success(replace(ssh_connection(server), address="its-name", common_args=args))
    assert host(Exec(argv=("true",))).ok
    host.close()
    told = ["its-name", f"[{server.address}]:{server.port}", server.user.name, "%h"]
    assert (folder.parent / "way.py.told").read_text() == f"{told}\n"


def test_the_users_ssh_config_is_read(ssh_hosts: list[Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ssh_hosts[0]
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(
        f"Host shop\n  HostName {server.address}\n  Port {server.port}\n  User root\n"
        f"  IdentityFile {server.key}\n  UserKnownHostsFile {server.known_hosts}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    host = success(Connection(kind="ssh", name="shop", python="/usr/bin/python3", connect_timeout=30.0))
    assert host(Exec(argv=("true",))).ok
    host.close()


def test_arguments_are_read_as_ssh_reads_them() -> None:
    found = parse_arguments("-o Port=2222 -oUser=a -i ~/.ssh/k -o 'ProxyJump b:22' -C -o StrictHostKeyChecking=no")
    assert found == {
        "port": ["2222"],
        "user": ["a"],
        "identityfile": ["~/.ssh/k"],
        "proxyjump": ["b:22"],
        "stricthostkeychecking": ["no"],
    }
    assert parse_hop("me@[::1]:2222") == ("me", "::1", 2222)
    assert parse_hop("gate") == ("", "gate", 0)
    with pytest.raises(Refused, match="LocalForward"):
        parse_arguments("-o LocalForward=1:2:3")


@pytest.mark.parametrize(
    ("address", "user"),
    [("a b", ""), ("-oProxyCommand=x", ""), ("h$(touch x)", ""), ("h\nProxyCommand touch x", ""), ("h;x", ""),
     ("h", "u\nProxyCommand touch x"), ("h", "$(touch x)"), ("h", "-x"), ("h", "u`id`")],
)  # fmt: skip
def test_an_address_or_user_that_a_shell_would_read_is_refused(
    address: str, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ProxyCommand of the user's own holds both, and an inventory may come from elsewhere."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(f"Host *\n  ProxyCommand touch {tmp_path}/ran-%h-%r\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = failure(Connection(kind="ssh", name="n", address=address, user=user))
    assert isinstance(refused, Refused)
    assert "is no address" in refused.message or "is no user" in refused.message
    assert [path.name for path in tmp_path.iterdir()] == [".ssh"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1m30s", 90), ("2H", 7200), ("1d", 86400)])
def test_times_are_read_as_openssh_writes_them(text: str, seconds: float) -> None:
    connection = Connection(kind="ssh", name="h", common_args=f"-o ServerAliveInterval={text} -o ConnectTimeout={text}")
    route = resolve(connection, lambda _host, _file, said: said, {}, Path("/home/me"))
    assert (route.alive_every, route.timeout) == (seconds, seconds)


def test_a_kind_of_connection_that_nobody_has_is_refused_plainly() -> None:
    refused = failure(Connection(kind="winrm", name="c"))
    assert refused.message == "c: there is no connection `winrm`"
    assert "ssh" in refused.help


# --- who runs it


def test_identities_share_a_connection_and_not_an_agent(
    start: Start, people: Accounts, clerk: User, tmp_path: Path
) -> None:
    server = start(start_sshd(tmp_path / "own", inside=people.inside()))
    with wire((server.address, server.port)) as proxy:
        known = tmp_path / "known"
        known.write_text(f"[127.0.0.1]:{proxy.port} {server.known_hosts.read_text().split(' ', 1)[1]}")
        root = ssh_connection(server, proxy.port, known)
        one, two = success(root), success(replace(root, become=BecomeUser(clerk.name, "su")))
        assert (one.hello["user"], two.hello["user"]) == ("root", clerk.name)
        assert one.hello["pid"] != two.hello["pid"]
        assert proxy.connections == 1
        mine = two(Stat(path="~/.local/state/ciflow")).data
        assert (mine["owner"], mine["mode"]) == (clerk.name, "0700")
        one.close()
        assert two(Exec(argv=("id", "-un"))).stdout.decode().strip() == clerk.name
        assert two(Exec(shell="echo ${LC_ALL-unset}")).stdout == b"unset\n"
        two.close()


def test_sudo_without_a_password_makes_root(serve: Serve, people: Accounts) -> None:
    people.sudoers("clerk ALL=(ALL) NOPASSWD: ALL")
    server = serve()
    for password in ("", "not needed"):  # one is given, and sudo never asks for it: the agent must not read it
        host = success(replace(ssh_connection(server), become=BecomeUser(password=password)))
        assert (host.hello["uid"], host.hello["home"]) == (0, "/root")
        host.close()


def test_sudo_is_given_the_password_only_when_it_asks(serve: Serve, people: Accounts, clerk: User) -> None:
    people.sudoers("clerk ALL=(ALL) ALL")
    connection = ssh_connection(serve())
    host = success(replace(connection, become=BecomeUser(password=clerk.password or "")))
    assert host(Exec(argv=("id", "-u"))).stdout == b"0\n"
    host.close()
    assert "password" in failure(replace(connection, become=BecomeUser())).help
    assert "refused" in failure(replace(connection, become=BecomeUser(password="wrong"))).message


def test_su_is_given_the_password_of_its_user(serve: Serve, people: Accounts) -> None:
    other = people.users[1]
    connection = ssh_connection(serve())
    host = success(replace(connection, become=BecomeUser(other.name, "su", password=other.password or "")))
    assert host.hello["user"] == other.name
    host.close()
    assert "su" in failure(replace(connection, become=BecomeUser(other.name, "su", password="wrong"))).message


def test_no_secret_stands_in_a_list_of_processes(serve: Serve, people: Accounts, clerk: User) -> None:
    people.sudoers("clerk ALL=(ALL) ALL")
    host = success(replace(ssh_connection(serve()), become=BecomeUser(password=clerk.password or "")))
    seen = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            seen.append((folder / "cmdline").read_bytes() + (folder / "environ").read_bytes())
    assert len(seen) > 10
    assert not [line for line in seen if (clerk.password or "-").encode() in line]
    host.close()
