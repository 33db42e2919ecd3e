"""A real Redis on loopback that keeps nothing on disk."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.parts import process


@dataclass(frozen=True)
class Redis:
    port: int
    running: process.Running

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def die(self) -> None:
        """At once, as a machine does whose power is cut."""
        process.kill([self.running.pid])
        self.running.process.wait()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    port = process.free_port()
    argv = [process.find("redis-server", "redis"), "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
    with process.run("redis", argv, folder, lambda: process.answers("127.0.0.1", port)) as running:
        yield Redis(port, running)
