"""A simulated farm: hosts whose agents are one thread of this process, each behind a socket pair.

`python -m benchmarks.farm apply ..` is ciflow with one more kind of connection, `farm`; a Dask worker has it too when
it preloads this module (DASK_DISTRIBUTED__WORKER__PRELOAD). What is measured so is all of ciflow and nothing of hosts:
a simulated agent answers each operation at once, with an exit code of 0. Of a hundred hosts, those whose number is
below FARM_DEAD are out of reach.
"""

import json
import os
import selectors
import socket
import threading
from functools import lru_cache

from ciflow.diagnostics import Lost, Unreachable
from ciflow.targets import TARGETS, wire
from ciflow.targets.connection import Connection
from ciflow.targets.launch import packed_agent
from ciflow.targets.readable import readable

CHUNK = 256 * 1024
REPLY = {"rc": 0}


class FarmPipe:
    """Our end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, data: bytes) -> None:
        try:
            self._end.sendall(data)
        except OSError as e:
            raise Lost(f"the simulated agent is gone: {e}") from e

    def receive(self, timeout: float) -> bytes | None:
        try:
            return self._end.recv(CHUNK) if readable(self._end, timeout) else None
        except (OSError, ValueError):
            return b""

    def close(self) -> None:
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._end.close()


class Simulated:
    """One host's agent: takes its source, says hello, answers."""

    def __init__(self, end: socket.socket, mark: str, name: str) -> None:
        self.end = end
        self._name = name
        self._hello = f"{mark}-hello\n".encode()
        self._left = len(packed_agent())
        self._decoder = wire.Decoder()
        self._messages = wire.Messages()

    def take(self, data: bytes) -> bytes:
        """What it says to what it was told."""
        said = b""
        if self._left:
            source, data = data[: self._left], data[self._left :]
            self._left -= len(source)
            if self._left:
                return b""
            hello = {"t": "hello", "pid": 1, "uid": 0, "user": "root", "python": "3.11.0", "home": "/root"}
            said = self._hello + wire.encode_message({**hello, "epoch": "simulated", "warning": ""})
        for frame in self._decoder.feed(data):
            if frame.kind == wire.Kind.MESSAGE and (message := self._messages.add(frame)) is not None:
                said += self._answer(message)
        return said

    def _answer(self, message: dict[str, object]) -> bytes:
        kind = message["t"]
        if kind == "begin":
            begun = {"t": "begun", "token": message["token"], "run": message["run"], "journal": self._name}
            return wire.encode_message({**begun, "warning": ""})
        if kind == "op":
            return wire.encode_message({"t": "answer", "id": message["id"], "reply": REPLY, "streamed": [0, 0]})
        if kind == "ask":
            keys: list[tuple[str, int]] = message["keys"]  # type: ignore[assignment]
            asked = ({"t": "asked", "id": number, "key": key, "state": "absent"} for key, number in keys)
            return b"".join(map(wire.encode_message, asked))
        return wire.encode_message({"t": "ended", "run": message["run"]}) if kind == "end" else b""


class Farm:
    """The thread in which all simulated agents of this process live."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        threading.Thread(target=self._live, name="farm", daemon=True).start()

    def open(self, mark: str, name: str) -> FarmPipe:
        ours, theirs = socket.socketpair()
        self._selector.register(theirs, selectors.EVENT_READ, Simulated(theirs, mark, name))
        return FarmPipe(ours)

    def _live(self) -> None:
        while True:
            for key, _ in self._selector.select():
                agent: Simulated = key.data
                try:
                    data = agent.end.recv(CHUNK)
                    if data:
                        agent.end.sendall(agent.take(data))
                        continue
                except OSError:
                    data = b""
                self._selector.unregister(agent.end)
                agent.end.close()


@lru_cache(maxsize=1)
def farm() -> Farm:
    return Farm()


def open_farm(connection: Connection, command: str) -> FarmPipe:
    """The marks of the hello are the last two words of the command (targets/launch.py)."""
    digits = "".join(filter(str.isdigit, connection.name)) or "0"
    if int(digits) % 100 < int(os.environ.get("FARM_DEAD", "0")):
        raise Unreachable(f"{connection.name}: no route to host (simulated)")
    _, first, second = command.rsplit(maxsplit=2)
    return farm().open(f"{first}-{second}", connection.name)


TARGETS["farm"] = open_farm


def inventory(hosts: int) -> str:
    """That many hosts."""
    names = "".join(f"node{number:05}\n" for number in range(hosts))
    return f"[farm]\n{names}[farm:vars]\nansible_connection=farm\n"


def playbook(tasks: int) -> str:
    steps = [{"name": f"Say {number}", "command": f"echo {number}"} for number in range(tasks)]
    return json.dumps([{"name": "Farm", "hosts": "farm", "gather_facts": False, "tasks": steps}])


if __name__ == "__main__":
    from ciflow.cli.main import main

    main()
