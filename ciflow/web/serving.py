"""A server from its first request to its last."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import ssl
from collections.abc import Callable

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused
from ciflow.engine.rollback import Asking, Done
from ciflow.store.place import Place
from ciflow.web.actions import Acting
from ciflow.web.app import App
from ciflow.web.guard import Guard, cookie_name
from ciflow.web.http import Limits, Listener
from ciflow.web.journal import Journal
from ciflow.web.tokens import Tokens
from ciflow.web.webhook import Hooks

LOCAL_NAMES = frozenset({"localhost"})


@dataclass(frozen=True, slots=True)
class Serving:
    """What somebody asked for. `names` are others than addresses by which it is reached."""

    place: Place
    tokens: Tokens
    address: str
    port: int
    names: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None
    limits: Limits = field(default_factory=Limits)
    rolled_back: Callable[[Asking, Done], None] = lambda _asking, _done: None  # is told of each that is over

    @property
    def secure(self) -> bool:
        return self.tls is not None

    def url(self, port: int) -> str:
        """By which it is reached from here, or by its first name."""
        anywhere = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}
        host = next(iter(self.names), anywhere.get(self.address, self.address))
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self.secure else 'http'}://{shown}:{port}/"


def refuse_in_the_open(address: str, *, secure: bool, explicit: bool) -> None:
    """Beyond this machine tokens would travel for everybody to read, unless somebody has said that they don't."""
    if secure or explicit or _loopback(address):
        return
    raise Refused(
        f"without TLS everybody between here and there could read the tokens, so {address} is refused",
        help="--cert and --key; or --without-tls where something in front of it speaks TLS",
    )


def _loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def serve(serving: Serving, begun: Callable[[int], None], tell: Callable[[str], None]) -> None:
    """Until SIGINT or SIGTERM. What somebody has asked for by then comes to its end first. `begun` is told the port."""
    asyncio.run(_serve(serving, begun, tell))


async def _serve(serving: Serving, begun: Callable[[int], None], tell: Callable[[str], None]) -> None:
    journal, acting = Journal(serving.place), Acting(serving.place, serving.rolled_back)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    names = LOCAL_NAMES | {name.lower() for name in serving.names} | {serving.address.lower()}
    names |= {socket.gethostname().lower()} if not _loopback(serving.address) else frozenset()

    def answering(port: int) -> App:
        guard = Guard(serving.tokens, names, serving.secure, cookie_name(port, secure=serving.secure))
        return App(journal, acting, guard, Hooks(serving.tokens), tell)

    listener = Listener(serving.limits, serving.tls)
    watching = loop.create_task(journal.watch())
    try:
        begun(await listener.listen(serving.address, serving.port, answering))
        await ended.wait()
    finally:
        watching.cancel()
        await listener.close()
        await asyncio.to_thread(acting.close)
        journal.close()
