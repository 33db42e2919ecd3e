"""Fixtures of the real parts: each starts its program when first asked for, and skips by name where it is missing."""

import contextlib
import os
import secrets
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.parts import accounts as accounts_part
from tests.parts import docker as docker_part
from tests.parts import http as http_part
from tests.parts import kube as kube_part
from tests.parts import postgres as postgres_part
from tests.parts import registry as registry_part
from tests.parts import sandbox as sandbox_part
from tests.parts import sshd as sshd_part
from tests.parts import tinyfs as tinyfs_part
from tests.parts.process import MissingPart, short_folder

T = TypeVar("T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a part which takes long to start go to the same worker, so that it starts once."""
    for item in items:
        for part in {"kube", "docker", "postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(part))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    with skipping():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    with skipping():
        yield


@contextlib.contextmanager
def skipping() -> Iterator[None]:
    """A test that needs a part which this machine lacks is skipped by its name, wherever it asks for it."""
    try:
        yield
    except MissingPart as missing:
        pytest.skip(str(missing))


# Whoever runs the tests gets the same examples, and none fails for being slow on a busy machine.
STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

# What a CI says of itself by its environment, by the names that ciflow reads.
OF_A_CI = ("CI_", "GITHUB_", "GITLAB_", "ACTIONS_", "BUILD_URL", "OTEL_", "TRACEPARENT", "TRACESTATE")


def pytest_configure(config: pytest.Config) -> None:
    """Tests see the same environment at home and in any CI; those that are about one set it themselves."""
    for name in list(os.environ):
        if name == "CI" or name.startswith(OF_A_CI):
            del os.environ[name]
    if config.getoption("--hypothesis-profile", None) is None:  # say `--hypothesis-profile=default` to look further
        settings.register_profile("steady", STEADY)
        settings.load_profile("steady")
    config.addinivalue_line("markers", "fault(*numbers): shows what a user sees of these faults (faults/table.py)")
    config.addinivalue_line("markers", "slow: takes seconds, mostly of a real part; `make check` leaves it out")


class Start(Protocol):
    """Enters a part's context manager, which is left when the test ends."""

    def __call__(self, part: AbstractContextManager[T], /) -> T: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """`server = start(haproxy(folder, config, ready))`: a part for one test."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[sshd_part.Sshd]:
    """A host of this test alone, which it may stop, restart and break; root logs in by key."""
    with sshd_part.sshd(tmp_path / "sshd") as found:
        yield found


@pytest.fixture(scope="session")
def ssh_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[sshd_part.Sshd]]:
    """Four hosts, 127.0.0.1 to .4, that all tests share: leave them as they were."""
    with sshd_part.hosts(tmp_path_factory.mktemp("hosts"), 4) as found:
        yield found


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[accounts_part.Accounts]:
    """Two users without rights, in a namespace of their own: nobody is added to this machine."""
    with accounts_part.accounts(tmp_path_factory.mktemp("people") / "ns") as found:
        for name in ("clerk", "other"):
            found.add(name, secrets.token_urlsafe(12))
        yield found


@pytest.fixture(scope="session")
def docker() -> Iterator[docker_part.Docker]:
    """A Docker daemon that all tests share; what a test starts it removes."""
    with short_folder("docker") as folder, docker_part.docker(folder) as found:
        yield found


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """`host:port` of an empty container registry."""
    with registry_part.registry(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def kube() -> Iterator[kube_part.Kube]:
    """A one-node Kubernetes that all tests share; each works in a namespace of its own."""
    with short_folder("kube") as folder, kube_part.kube(folder) as found:
        yield found


@pytest.fixture
def upstreams() -> Iterator[tuple[http_part.Upstream, http_part.Upstream]]:
    """Two HTTP servers, a and b, whose status and latency the test switches."""
    with http_part.upstream("a") as a, http_part.upstream("b") as b:
        yield a, b


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with tinyfs_part.tinyfs(tmp_path / "tiny") as found:
        yield found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[sandbox_part.Sandbox]:
    """A whole machine of this test's own, where packages, users and all else may be broken; no services run."""
    with sandbox_part.sandbox(tmp_path / "machine") as found:
        yield found


@pytest.fixture
def booted(tmp_path: Path) -> Iterator[sandbox_part.Sandbox]:
    """The same with systemd as its process 1."""
    with sandbox_part.sandbox(tmp_path / "booted", systemd=True) as found:
        yield found


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_part.Postgres]:
    """A PostgreSQL server that all tests share; each asks for a database of its own."""
    with short_folder("postgres") as folder, postgres_part.postgres(folder) as found:
        yield found
