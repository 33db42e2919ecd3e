"""SSH as a target: the only file that knows paramiko.

One transport per (address, port, user) is shared by the identities that use it, each agent on a channel of its own.
paramiko's exceptions become ours here.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ciflow.targets.late import lean_import

with lean_import("paramiko", "invoke"):
    import paramiko

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Lost, Unreachable
from ciflow.targets.connection import Connection
from ciflow.targets.known_hosts import KnownKey, fingerprint, host_name, keys_for, parse_known_hosts, verdict
from ciflow.targets.ssh_options import Route, Settings, parse_hop, resolve

SEND_TIMEOUT = 30.0  # seconds
SLICE = 32 * 1024  # bytes: no more than one packet, so that a large send copies nothing twice
TICK = 2.0  # seconds a channel waits before it looks up; paramiko has one timeout for both directions
HANDSHAKES = 16  # at once; each costs milliseconds of processor time, and sshd's MaxStartups drops a crowd
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
# The fastest first, measured on loopback; everything else that paramiko knows stays on offer behind them.
KEX = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "mlkem768x25519-sha256")
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr")


@dataclass(slots=True)
class _Shared:
    """A transport, how many pipes use it, and the transports of the hops that it goes through."""

    transport: paramiko.Transport
    through: list[paramiko.Transport]
    users: int = 0

    def close(self) -> None:
        """Takes up to a tenth of a second: paramiko waits for its thread."""
        for transport in [self.transport, *reversed(self.through)]:
            transport.close()


@dataclass(slots=True)
class _Pool:
    """Transports by where they lead. Guarded by one lock per place, so that two identities make one connection."""

    entries: dict[Connection, list[_Shared]] = field(default_factory=dict)
    places: dict[Connection, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    handshakes: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(HANDSHAKES))

    @contextmanager
    def _at(self, place: Connection) -> Iterator[list[_Shared]]:
        with self.lock:
            guard = self.places.setdefault(place, threading.Lock())
        with guard:
            yield self.entries.setdefault(place, [])

    def open(self, connection: Connection) -> tuple[paramiko.Channel, Connection, _Shared]:
        """A channel on a living transport, on a new one when there is none or the server gives no more channels."""
        place = replace(connection, become=None, python="auto", name=connection.address or connection.name)
        with self._at(place) as entries:
            for shared in entries:
                channel = _try_channel(shared.transport, connection)
                if channel is not None:
                    shared.users += 1
                    return channel, place, shared
            with self.handshakes:
                shared = _connect(connection)
            channel = _try_channel(shared.transport, connection)
            if channel is None:
                shared.close()
                raise Unreachable(f"{connection.name}: the server gives no channel", help="see sshd's MaxSessions")
            shared.users = 1
            entries.append(shared)
            return channel, place, shared

    def release(self, place: Connection, shared: _Shared) -> None:
        with self._at(place) as entries:
            shared.users -= 1
            if shared.users == 0:
                entries.remove(shared)
                shared.close()


_POOL = _Pool()  # of the process, as the descriptors are that it shares


class SshPipe:
    """A channel that runs the agent."""

    def __init__(self, channel: paramiko.Channel, place: Connection, shared: _Shared, name: str) -> None:
        self._channel, self._place, self._shared, self._name = channel, place, shared, name
        self._closing = threading.Lock()

    def send(self, data: bytes) -> None:
        at, until = 0, time.monotonic() + SEND_TIMEOUT
        while at < len(data):
            try:
                sent = self._channel.send(data[at : at + SLICE])
            except TimeoutError:
                if time.monotonic() < until:
                    continue
                raise Lost(f"{self._name}: it took nothing for {SEND_TIMEOUT:g} s") from None
            except (OSError, paramiko.SSHException, EOFError) as e:
                raise Lost(f"{self._name}: the connection ended: {e}") from e
            if sent == 0:
                raise Lost(f"{self._name}: the connection ended")
            at, until = at + sent, time.monotonic() + SEND_TIMEOUT

    def receive(self, timeout: float) -> bytes | None:  # noqa: ARG002
        """At most TICK seconds: a shorter wait of one direction would cut the other's short as well."""
        try:
            return self._channel.recv(256 * 1024)
        except TimeoutError:
            return None
        except (OSError, paramiko.SSHException, EOFError):
            return b""

    def close(self) -> None:
        if self._closing.acquire(blocking=False):  # only once
            self._channel.close()
            threading.Thread(target=_POOL.release, args=(self._place, self._shared), daemon=True).start()


def open_ssh(connection: Connection, command: str) -> SshPipe:
    """Run `command` by the host's /bin/sh. Unreachable says why not, and what to do."""
    channel, place, shared = _POOL.open(connection)
    pipe = SshPipe(channel, place, shared, connection.name)
    try:
        channel.set_combine_stderr(True)
        channel.exec_command("exec /bin/sh -c " + shlex.quote(command))
        channel.settimeout(TICK)
    except (paramiko.SSHException, OSError, EOFError) as e:
        pipe.close()
        raise Unreachable(f"{connection.name}: the server refused to run a command: {e}") from e
    return pipe


def _try_channel(transport: paramiko.Transport, connection: Connection) -> paramiko.Channel | None:
    if not transport.is_active():
        return None
    try:
        return transport.open_session(timeout=connection.connect_timeout)
    except (paramiko.SSHException, OSError, EOFError):
        return None


# --- connecting


def _connect(connection: Connection) -> _Shared:
    route = _route(connection)
    hops: list[paramiko.Transport] = []
    try:
        before: paramiko.Transport | None = None
        for text in route.jump:
            user, host, port = parse_hop(text)
            hop_connection = replace(
                connection, name=host, address=host, port=port, user=user, password="", become=None
            )
            hop = replace(_route(hop_connection), jump=())
            before = _transport(hop, hop_connection, before)
            hops.append(before)
        return _Shared(_transport(route, connection, before), hops)
    except BaseException:
        for transport in reversed(hops):
            transport.close()
        raise


def _route(connection: Connection) -> Route:
    return resolve(connection, _ssh_config, os.environ, Path.home())


def _ssh_config(host: str, file: str) -> Settings:
    path = Path(file or "~/.ssh/config").expanduser()
    if file == "none" or not path.is_file():
        return {}
    try:
        found = paramiko.SSHConfig.from_path(str(path)).lookup(host)
    except (paramiko.ConfigParseError, OSError) as e:
        raise Unreachable(f"{path}: {e}") from e
    return {key: list(value) if isinstance(value, list) else [str(value)] for key, value in found.items()}


def _transport(route: Route, connection: Connection, through: paramiko.Transport | None) -> paramiko.Transport:
    """One hop, connected, its host key checked, logged in."""
    where = f"{connection.name} ({route.address}:{route.port})"
    known = _known_hosts(route)
    name = route.alias or host_name(route.address, route.port)
    transport = paramiko.Transport(_socket(route, through, where))
    try:
        options = transport.get_security_options()
        options.kex = (*KEX, *(k for k in options.kex if k not in KEX))
        options.ciphers = (*CIPHERS, *(c for c in options.ciphers if c not in CIPHERS))
        kinds = _known_kinds(known, name, tuple(options.key_types))
        options.key_types = (*kinds, *(k for k in options.key_types if k not in kinds))
        transport.banner_timeout = transport.auth_timeout = max(route.timeout, 5.0)
        transport.start_client(timeout=route.timeout)
        _check_host_key(transport.get_remote_server_key(), known, name, route, connection)
        _log_in(transport, route, connection)
    except (paramiko.SSHException, OSError, EOFError) as e:
        transport.close()
        raise Unreachable(f"{where}: {e or type(e).__name__}") from e
    except BaseException:
        transport.close()
        raise
    return transport


class _Prompt(socket.socket):
    """A TCP socket that neither holds small packets back nor their acknowledgements.

    sshd keeps Nagle's algorithm on for commands without a terminal: its second small packet waits until the first is
    acknowledged, which Linux puts off for 40 ms in each direction change. TCP_QUICKACK has to be set after each read.
    """

    @classmethod
    def to(cls, route: Route) -> _Prompt:
        plain = socket.create_connection((route.address, route.port), route.timeout)
        made = cls(fileno=plain.detach())
        made.settimeout(route.timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def recv(self, *arguments: int) -> bytes:
        data = super().recv(*arguments)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _socket(route: Route, through: paramiko.Transport | None, where: str) -> socket.socket | paramiko.Channel:
    try:
        if through is not None:
            return through.open_channel(
                "direct-tcpip", (route.address, route.port), ("127.0.0.1", 0), timeout=route.timeout
            )
        if route.proxy_command:
            return _proxy(route)
        return _Prompt.to(route)
    except (OSError, paramiko.SSHException) as e:
        raise Unreachable(f"{where}: no connection: {e}") from e


def _proxy(route: Route) -> socket.socket:
    words = {"%h": route.address, "%p": str(route.port), "%r": route.user, "%%": "%"}
    command = route.proxy_command
    for mark, value in words.items():
        command = command.replace(mark, value if mark == "%%" else shlex.quote(value))
    ours, theirs = socket.socketpair()
    with theirs:
        end = theirs.fileno()
        subprocess.Popen(["/bin/sh", "-c", "exec " + command], stdin=end, stdout=end, start_new_session=True)
    return ours


def _known_hosts(route: Route) -> tuple[KnownKey, ...]:
    found: tuple[KnownKey, ...] = ()
    for file in route.known_hosts:
        path = Path(file)
        if path.is_file():
            found += parse_known_hosts(path.read_text(errors="replace"))
    return found


def _known_kinds(known: tuple[KnownKey, ...], name: str, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Key types that we can check come first, or a server with several keys would look changed."""
    kinds = {key.kind for key in keys_for(known, name) if not key.marker}
    if "ssh-rsa" in kinds:
        kinds |= {"rsa-sha2-512", "rsa-sha2-256"}
    return tuple(kind for kind in offered if kind in kinds)


def _check_host_key(
    key: paramiko.PKey, known: tuple[KnownKey, ...], name: str, route: Route, connection: Connection
) -> None:
    found = verdict(known, name, key.get_name(), key.asbytes())
    if found == "trusted" or (found == "unknown" and route.strict == "no"):
        return
    if found == "unknown" and route.strict == "accept-new":
        with Path(route.known_hosts[0]).open("a") as f:
            f.write(f"{name} {key.get_name()} {key.get_base64()}\n")
        return
    port = "" if route.port == 22 else f"-p {route.port} "
    accept = f"ssh-keyscan {port}{route.address} >> {route.known_hosts[0]}"
    remove = f"ssh-keygen -R {shlex.quote(name)} -f {route.known_hosts[0]}"
    raise Unreachable(
        f"{connection.name}: the host key of {name} is {found}: {key.get_name()} {fingerprint(key.asbytes())}",
        help={
            "unknown": f"compare the fingerprint with the host's own, then accept it: {accept}",
            "changed": f"somebody may be in between. If the host was rebuilt: {remove} && {accept}",
            "revoked": "this key must not be used any more: give the host a new one",
        }[found],
    )


def _log_in(transport: paramiko.Transport, route: Route, connection: Connection) -> None:
    tried: list[str] = []
    for label, key in _keys(route, connection, tried):
        try:
            transport.auth_publickey(route.user, key)
            return
        except paramiko.BadAuthenticationType:
            tried.append("keys (the server takes none)")
            break
        except paramiko.AuthenticationException:
            tried.append(label)
            if not transport.is_active():
                break
    if connection.password and transport.is_active():
        try:
            transport.auth_password(route.user, connection.password)
            return
        except paramiko.AuthenticationException:
            tried.append("password")
    raise Unreachable(
        f"{connection.name}: {route.user}@{route.address}:{route.port} refused the login"
        + (f"; tried: {', '.join(tried)}" if tried else ": there is neither a key nor a password to try"),
        help="set ansible_ssh_private_key_file or ansible_user, or load the key into ssh-agent",
    )


def _keys(route: Route, connection: Connection, tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys to try: named ones; else, unless there is a password, the agent's and those of ~/.ssh."""
    yield from _key_files(route.keys, tried)
    if connection.password or (route.keys and route.only_these_keys):
        return
    for key in _agent_keys():
        yield f"agent key {fingerprint(key.asbytes())}", key
    if not route.keys:
        yield from _key_files(tuple(str(Path.home() / ".ssh" / name) for name in DEFAULT_KEYS), [])


def _key_files(paths: tuple[str, ...], tried: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    for path in paths:
        try:
            yield path, paramiko.PKey.from_path(path)
        except FileNotFoundError:
            tried.append(f"{path} (is not there)")
        except paramiko.PasswordRequiredException:
            tried.append(f"{path} (has a passphrase: load it into ssh-agent)")
        except (OSError, paramiko.SSHException, ValueError, TypeError) as e:
            tried.append(f"{path} ({e})")


def _agent_keys() -> tuple[paramiko.PKey, ...]:
    try:
        return tuple(paramiko.Agent().get_keys())
    except (OSError, paramiko.SSHException):
        return ()
