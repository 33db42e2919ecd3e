"""The three kinds of store, each a real one: a folder, an S3 server, a container registry."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ciflow.store.artifacts import Shelf, open_shelf
from ciflow.store.artifacts.registry import Registry
from ciflow.store.artifacts.s3 import S3
from tests.conftest import Start
from tests.parts import registry as registry_part
from tests.parts import s3 as s3_part
from tests.parts.wire import Wire, wire

PART = 1024 * 1024  # bytes that travel at once: less than is usual, so that tests need not move as much
_NUMBERS = itertools.count()


@dataclass
class Place:
    """A store of one kind, empty. `url` leads to it, by way of a wire that a test may cut where there is one."""

    kind: str
    url: str
    folder: Path
    through: Wire | None = None
    machines: int = 0
    made: list[Shelf] = field(default_factory=list)

    def machine(self, clock: Callable[[], float] | None = None) -> Shelf:
        """The shelf of a machine of its own that uses the store."""
        self.machines += 1
        made = open_shelf(self.folder / f"machine{self.machines}", self.url)
        if clock is not None:
            made = Shelf(made.here, made.beyond, clock)
        self.made.append(made)
        return made


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """`host:port` of the server of a kind, started when it is first asked for."""
    with ExitStack() as stack:
        known: dict[str, str] = {}

        def server(kind: str) -> str:
            if kind not in known:
                known[kind] = _started(kind, stack.enter_context, tmp_path_factory.mktemp(kind))
            return known[kind]

        yield server


def _started(kind: str, start: Start, folder: Path) -> str:
    if kind == "s3":
        return urlsplit(start(s3_part.s3(folder))).netloc
    return start(registry_part.registry(folder))


@pytest.fixture(params=["folder", "s3", "oci"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
          servers: Callable[[str], str]) -> Iterator[Place]:  # fmt: skip
    """Each kind of store in turn."""
    kind = str(request.param)
    if kind == "folder":
        yield Place(kind, str(tmp_path / "shared"), tmp_path)
        return
    for name, value in s3_part.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    host, _, port = servers(kind).rpartition(":")
    for backend in (S3, Registry):
        monkeypatch.setattr(backend, "part", PART)
    with wire((host, int(port))) as through:
        name = f"shop{next(_NUMBERS)}"
        at = f"127.0.0.1:{through.port}"
        url = f"s3://{s3_part.BUCKET}/{name}?endpoint=http://{at}" if kind == "s3" else f"oci://{at}/ci/{name}"
        yield Place(kind, url, tmp_path, through)
