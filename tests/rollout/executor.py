"""Answers a router's steps on this machine with the few operations it uses: the smallest host there can be."""

from __future__ import annotations

import errno
import hashlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ciflow.model import (
    At,
    Change,
    Copy,
    Detached,
    Exec,
    Mkdir,
    Operation,
    Probe,
    Read,
    Reply,
    Talk,
    Wait,
    Write,
)
from ciflow.rollout.routers.dial import Asked

T = TypeVar("T")


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def place(path: str, content: bytes, mode: str = "") -> None:
    fresh = f"{path}.{threading.get_ident()}"
    Path(fresh).write_bytes(content)
    if mode:
        Path(fresh).chmod(int(mode, 8))
    Path(fresh).replace(path)


def failed(error: OSError) -> Reply:
    return Reply(ok=False, error=str(error), errno=errno.errorcode.get(error.errno or 0, ""), started=time.time())


@dataclass
class Away:
    """One Detached: a dead-man's timer or a supervised process."""

    operation: Detached
    host: LocalHost
    deadline: float = 0.0
    state: str = "armed"
    fired: bool = False
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def live(self) -> bool:
        return self.state in ("armed", "running")

    def run(self) -> None:
        if self.operation.restart:
            self.supervise()
            return
        while time.monotonic() < self.deadline:
            if self.stop.wait(0.02):
                return
        self.fired = True
        for operation in self.operation.operations:
            self.host.answer(operation)
        self.state = "done"

    def supervise(self) -> None:
        command = self.operation.operations[0]
        assert isinstance(command, Exec)
        self.state = "running"
        while not self.stop.is_set():
            with Path(self.operation.log).open("ab") as log:
                self.process = subprocess.Popen(
                    ["/bin/sh", "-c", command.shell], cwd=command.cwd, stdout=log, stderr=log
                )
                self.process.wait()
            self.restarts += 1
            self.stop.wait(0.1)
        self.state = "done"

    def cancel(self) -> None:
        self.stop.set()
        self.state = "absent"
        if self.process:
            self.process.terminate()
            self.process.wait(5)


@dataclass
class LocalHost:
    """This machine as a host. `seen` is called before each operation, so that a test can stop between two."""

    away: dict[str, Away] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    seen: Callable[[Operation], None] = lambda _: None

    def drive(self, steps: Asked[T]) -> T:
        reply: Any = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            assert isinstance(step, At), f"a router yields At, not {step}"
            assert isinstance(step.step, Probe | Change)
            self.seen(step.step.operation)
            reply = self.answer(step.step.operation)

    def answer(self, operation: Operation) -> Reply:
        try:
            return getattr(self, type(operation).__name__.lower())(operation)  # type: ignore[no-any-return]
        except OSError as error:
            return failed(error)

    def __enter__(self) -> LocalHost:
        return self

    def __exit__(self, *_: object) -> None:
        for away in self.away.values():
            away.cancel()

    def pid(self, key: str) -> int:
        """The process that is kept alive under that key, or 0 between two lives."""
        return int(self.answer(Detached(key=key, verb="ask")).data.get("pid", 0))

    def exec(self, op: Exec) -> Reply:
        argv = ["/bin/sh", "-c", op.shell] if op.shell else op.argv
        ran = subprocess.run(argv, capture_output=True, cwd=op.cwd or None)
        return Reply(ok=ran.returncode == 0, rc=ran.returncode, stdout=ran.stdout, stderr=ran.stderr)

    def read(self, op: Read) -> Reply:
        return Reply(stdout=Path(op.path).read_bytes(), started=time.time())

    def mkdir(self, op: Mkdir) -> Reply:
        Path(op.path).mkdir(parents=True, exist_ok=True)
        return Reply()

    def write(self, op: Write) -> Reply:
        with self.lock:
            path = Path(op.path)
            found = sha(path.read_bytes()) if path.exists() else "absent"
            if op.expect and op.expect != found:
                return Reply(status="refused", ok=False, error=f"{op.path} is not as expected")
            place(op.path, op.content, op.mode)
            return Reply(changed=True)

    def copy(self, op: Copy) -> Reply:
        with self.lock:
            place(op.dest, Path(op.path).read_bytes(), op.mode)
            return Reply(changed=True)

    def talk(self, op: Talk) -> Reply:
        unix = op.address.startswith("/")
        started = time.time()
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as link:
            link.settimeout(op.timeout)
            link.connect(op.address if unix else (op.address.rsplit(":", 1)[0], int(op.address.rsplit(":", 1)[1])))
            link.sendall(op.payload)
            parts: list[bytes] = []
            while part := link.recv(65536):
                parts.append(part)
                if op.end and b"".join(parts).endswith(op.end.encode()):
                    break
        return Reply(stdout=b"".join(parts), started=started)

    def wait(self, op: Wait) -> Reply:
        time.sleep(op.delay)
        end = time.monotonic() + op.timeout
        while time.monotonic() <= end:
            if op.path:
                return Reply(ok=Path(op.path).exists())
            with socket.socket() as probe:
                if (probe.connect_ex((op.host, op.port)) == 0) == (op.state == "started"):
                    return Reply()
            time.sleep(op.sleep)
        return Reply(ok=False, error=f"{op.host}:{op.port} is not {op.state} after {op.timeout:g} s")

    def detached(self, op: Detached) -> Reply:
        found = self.away.get(op.key)
        if op.verb == "start" and not (found and found.live() and found.operation == op):
            if found:
                found.cancel()
            found = self.away[op.key] = Away(op, self, time.monotonic() + op.after)
            threading.Thread(target=found.run, daemon=True).start()
        if op.verb == "renew" and found and found.live():
            found.deadline = time.monotonic() + found.operation.after
        if op.verb == "cancel" and found:
            found.cancel()
        if found is None:
            return Reply(data={"state": "absent"})
        pid = found.process.pid if found.process else 0
        return Reply(data={"state": found.state, "fired": found.fired, "pid": pid, "restarts": found.restarts})
