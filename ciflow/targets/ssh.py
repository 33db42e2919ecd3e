"""SSH as a target: only this, `ssh_agent.py`, `ssh_login.py` and `ssh_trust.py` know paramiko.

One transport per (address, port, user) is shared by the identities that use it, each agent on a channel of its own.
paramiko's exceptions become ours here.
"""

from __future__ import annotations

import logging
import os
import random
import re
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ciflow.late import lean_import

with lean_import("paramiko", "invoke"):
    import paramiko

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Lost, Unreachable
from ciflow.targets.connection import Connection
from ciflow.targets.known_hosts import KnownKey
from ciflow.targets.ssh_agent import LentAgent
from ciflow.targets.ssh_config import settings_for
from ciflow.targets.ssh_login import log_in
from ciflow.targets.ssh_options import Route, parse_hop, resolve
from ciflow.targets.ssh_trust import check_host_key, known_keys, offer

SEND_TIMEOUT = 30.0  # seconds
SLICE = 32 * 1024  # bytes: no more than one packet, so that a large send copies nothing twice
TICK = 2.0  # seconds a channel waits before it looks up; paramiko has one timeout for both directions
HANDSHAKES = 16  # at once; each costs milliseconds of processor time
AT_ONE_SERVER = 8  # of them: sshd's MaxStartups begins to drop at ten
DROPPED = (0.2, 0.4, 0.8, 1.6)  # seconds before a server that hung up is asked again, less up to half by chance

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it raises what matters, and would print it as well


@dataclass(slots=True)
class _Shared:
    """A transport, how many use it (pipes, and transports that go through it), and what it goes through itself."""

    transport: paramiko.Transport
    route: Route
    through: _Lease | None
    users: int = 0

    def close(self) -> None:
        """Takes up to a tenth of a second: paramiko waits for its thread."""
        self.transport.close()
        if self.through is not None:
            self.through.release()


@dataclass(frozen=True, slots=True)
class _Lease:
    """The use of a shared transport; whoever has it gives it back once."""

    place: Connection
    shared: _Shared

    def release(self) -> None:
        _POOL.release(self.place, self.shared)


@dataclass(slots=True)
class _Pool:
    """Transports by where they lead and through what. Guarded by one lock per place, so that two identities make one
    connection, and hosts behind one jump host another."""

    entries: dict[Connection, list[_Shared]] = field(default_factory=dict)
    places: dict[Connection, threading.Lock] = field(default_factory=dict)
    servers: dict[tuple[str, int], threading.Semaphore] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    handshakes: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(HANDSHAKES))

    @contextmanager
    def _at(self, place: Connection) -> Iterator[list[_Shared]]:
        with self.lock:
            guard = self.places.setdefault(place, threading.Lock())
        with guard:
            yield self.entries.setdefault(place, [])

    @contextmanager
    def handshake(self, route: Route) -> Iterator[None]:
        """A turn at a server: more than a few that have not logged in yet, and it drops some (MaxStartups)."""
        with self.lock:
            server = self.servers.setdefault((route.address, route.port), threading.Semaphore(AT_ONE_SERVER))
        with server, self.handshakes:
            yield

    def open(self, connection: Connection) -> tuple[paramiko.Channel, _Lease]:
        """A channel on a living transport, on a new one when there is none or the server gives no more channels."""
        place = replace(connection, become=None, python="auto", name=connection.address or connection.name)
        with self._at(place) as entries:
            for shared in entries:
                channel = _try_channel(shared.transport, connection)
                if channel is not None:
                    shared.users += 1
                    return channel, _Lease(place, shared)
            shared = _connect(connection)
            channel = _try_channel(shared.transport, connection)
            if channel is None:
                shared.close()
                raise Unreachable(f"{connection.name}: the server gives no channel", help="see sshd's MaxSessions")
            shared.users = 1
            entries.append(shared)
            return channel, _Lease(place, shared)

    def hop(self, connection: Connection, before: _Lease | None, through: tuple[str, ...]) -> _Lease:
        """A jump host's transport, which `before` (by the hops `through`) leads to."""
        place = replace(connection, options=(("through", " ".join(through)),))
        with self._at(place) as entries:
            shared = next((one for one in entries if one.transport.is_active()), None)
            if shared is None:
                route = replace(_route(connection), jump=())
                shared = _Shared(_transport(route, connection, before), route, before)
                entries.append(shared)
            elif before is not None:
                before.release()
            shared.users += 1
            return _Lease(place, shared)

    def release(self, place: Connection, shared: _Shared) -> None:
        with self._at(place) as entries:
            shared.users -= 1
            if shared.users == 0:
                entries.remove(shared)
                shared.close()


_POOL = _Pool()  # of the process, as the descriptors are that it shares


class SshPipe:
    """A channel that runs the agent."""

    def __init__(self, channel: paramiko.Channel, lease: _Lease, name: str) -> None:
        self._channel, self._lease, self._name = channel, lease, name
        self._closing = threading.Lock()
        self._lent: list[LentAgent] = []

    @property
    def silence(self) -> tuple[float, int]:
        """ServerAliveInterval and ServerAliveCountMax; (0, ..) where nobody has set them."""
        return self._lease.shared.route.alive_every, self._lease.shared.route.alive_count

    def prepare(self) -> None:
        """What commands there may have of ours: an ssh-agent, and variables of our environment."""
        if path := self._lease.shared.route.lent:
            self._channel.request_forward_agent(lambda asking: self._lent.append(LentAgent(path, asking)))
        for name, value in self._lease.shared.route.environment:
            self._channel.set_environment_variable(name, value)

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
            for lent in self._lent:
                lent.close()
            threading.Thread(target=self._lease.release, daemon=True).start()


class _Promptly(threading.Event):
    """For what a channel waits by: paramiko waits without end for a server's word about a command."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, timeout: float | None = None) -> bool:
        if not super().wait(self._seconds if timeout is None else timeout):
            raise TimeoutError(f"it said nothing for {self._seconds:g} s")
        return True


def open_ssh(connection: Connection, command: str) -> SshPipe:
    """Run `command` by the host's /bin/sh. Unreachable says why not, and what to do."""
    channel, lease = _POOL.open(connection)
    pipe = SshPipe(channel, lease, connection.name)
    try:
        pipe.prepare()
        channel.set_combine_stderr(True)
        channel.event = _Promptly(connection.connect_timeout)
        channel.exec_command("exec /bin/sh -c " + shlex.quote(command))
        channel.settimeout(TICK)
    except (paramiko.SSHException, OSError, EOFError) as e:
        pipe.close()
        raise Unreachable(f"{connection.name}: the server does not run a command: {e}") from e
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
    before: _Lease | None = None
    try:
        for number, text in enumerate(route.jump):
            user, host, port = parse_hop(text)
            hop = replace(connection, name=host, address=host, port=port, user=user, password="", become=None,
                          python="auto")  # fmt: skip
            before = _POOL.hop(hop, before, route.jump[:number])
        return _Shared(_transport(route, connection, before), route, before)
    except BaseException:
        if before is not None:
            before.release()
        raise


def _route(connection: Connection) -> Route:
    return resolve(connection, settings_for, os.environ, Path.home())


def _transport(route: Route, connection: Connection, through: _Lease | None) -> paramiko.Transport:
    """One hop, connected, its host key checked, logged in."""
    where = f"{connection.name} ({route.address}:{route.port})"
    known = known_keys(route)
    with _POOL.handshake(route):
        transport = _greeted(route, through, where, known)
        try:
            check_host_key(transport.get_remote_server_key(), known, route, connection.name)
            log_in(transport, route, connection)
        except (paramiko.SSHException, OSError, EOFError) as e:
            transport.close()
            raise Unreachable(f"{where}: {e or type(e).__name__}") from e
        except BaseException:
            transport.close()
            raise
        return transport


def _greeted(route: Route, through: _Lease | None, where: str, known: tuple[KnownKey, ...]) -> paramiko.Transport:
    """A transport with its keys agreed on. A server that hangs up before it has said who it is has too many who are
    logging in (MaxStartups drops some of them by chance): it is asked again, by nobody at the same moment."""
    for pause in (*DROPPED, None):
        transport = paramiko.Transport(_socket(route, through, where))
        try:
            offer(transport.get_security_options(), route, known)
            transport.banner_timeout = transport.auth_timeout = max(route.timeout, 5.0)
            transport.start_client(timeout=route.timeout)
            if not transport.initial_kex_done:
                raise TimeoutError(f"it said nothing for {route.timeout:g} s")
            return transport
        except (paramiko.SSHException, OSError, EOFError) as e:
            transport.close()
            if transport.remote_version or pause is None or isinstance(e, TimeoutError) or "timeout" in str(e).lower():
                raise Unreachable(f"{where}: {e or type(e).__name__}") from e
        except BaseException:
            transport.close()
            raise
        time.sleep(random.uniform(pause / 2, pause))
    raise AssertionError("the last pause is None")


class _Prompt(socket.socket):
    """A TCP socket that neither holds small packets back nor their acknowledgements.

    sshd keeps Nagle's algorithm on for commands without a terminal: its second small packet waits until the first is
    acknowledged, which Linux puts off for 40 ms in each direction change. TCP_QUICKACK has to be set after each read.
    """

    @classmethod
    def to(cls, route: Route) -> _Prompt:
        made = cls(fileno=_connected(route).detach())
        made.settimeout(route.timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def recv(self, *arguments: int) -> bytes:
        data = super().recv(*arguments)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _connected(route: Route) -> socket.socket:
    """By the first of the host's addresses that answers, of the family and from the address that are asked for."""
    found = socket.getaddrinfo(route.address, route.port, route.family, socket.SOCK_STREAM)
    source = (route.bind, 0) if route.bind else None
    for number, (*_, place) in enumerate(found, 1):
        try:
            return socket.create_connection((str(place[0]), route.port), route.timeout, source)
        except OSError:
            if number == len(found):
                raise
    raise OSError("it has no address")


def _socket(route: Route, through: _Lease | None, where: str) -> socket.socket | paramiko.Channel:
    try:
        if through is not None:
            return through.shared.transport.open_channel(
                "direct-tcpip", (route.address, route.port), ("127.0.0.1", 0), timeout=route.timeout
            )
        if route.proxy_command:
            return _proxy(route)
        return _Prompt.to(route)
    except (OSError, paramiko.SSHException) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise Unreachable(f"{where}: no connection: {reason}") from e


def _proxy(route: Route) -> socket.socket:
    words = {"h": route.address, "k": route.alias or route.name, "n": route.name, "p": str(route.port), "r": route.user}

    def meant(token: re.Match[str]) -> str:
        return shlex.quote(words[token[1]]) if token[1] in words else "%"

    command = re.sub("%([%hknpr])", meant, route.proxy_command)  # ssh_config(5), TOKENS
    ours, theirs = socket.socketpair()
    with theirs:
        end = theirs.fileno()
        subprocess.Popen(["/bin/sh", "-c", "exec " + command], stdin=end, stdout=end, start_new_session=True)
    return ours
