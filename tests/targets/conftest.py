"""The targets that a test of the contract runs on, and hosts without Python by three shells."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciflow.targets import BecomeUser, Connection
from tests.parts import images
from tests.parts.docker import Docker
from tests.parts.kube import Kube
from tests.parts.sshd import Sshd
from tests.targets.parley import Parley


def ssh_connection(server: Sshd, port: int = 0, known_hosts: Path | None = None) -> Connection:
    """How the inventory would say it."""
    return Connection(
        kind="ssh",
        name="web1",
        address=server.address,
        port=port or server.port,
        user=server.user.name,
        private_keys=(str(server.key),),
        common_args=f"-F none -o UserKnownHostsFile={known_hosts or server.known_hosts}",
        python="/usr/bin/python3",
        connect_timeout=30.0,
    )


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test alone: local agents keep their journal there."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's home, with a folder .ssh and no agent."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def contained(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A container with Python that sees the machine's processes and the folders of the tests, as a host would."""
    folder = tmp_path_factory.getbasetemp().parent
    with docker.container(images.PYTHON, "--pid=host", "-v", f"{folder}:{folder}") as name:
        yield docker_connection(docker, name)


@pytest.fixture(scope="session")
def python_pod(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """A pod with Python that sees the machine's processes and the folders of the tests, as a host would."""
    folder = str(tmp_path_factory.getbasetemp().parent)
    return kube.connection(kube.start_python("python", folder, spec={"hostPID": True}))


@pytest.fixture(scope="session")
def bare_pod(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Connection:
    """One that has busybox and nothing else."""
    folder = str(tmp_path_factory.getbasetemp().parent)
    mount = {"name": "shared", "from": folder, "mountPath": folder}
    return kube.connection(kube.start_pod("bare-shell", volumeMounts=[mount], spec={"hostPID": True}))


@pytest.fixture(scope="session")
def bare_container(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """One that has busybox and nothing else, and sees the same processes and folders."""
    folder = tmp_path_factory.getbasetemp().parent
    with docker.container(images.BUSYBOX, "--pid=host", "-v", f"{folder}:{folder}") as name:
        yield docker_connection(docker, name)


@pytest.fixture(scope="session")
def busybox_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tools of busybox and no others."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing")
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run([busybox, "--install", "-s", str(folder)], check=True)
    return folder


def docker_connection(docker: Docker, name: str, **more: Any) -> Connection:
    """How the inventory would say it."""
    options = (("docker_host", docker.host),)
    return Connection(kind="docker", name=name, address=name, options=options, connect_timeout=30.0, **more)


def shell_connection(shell: str, request: pytest.FixtureRequest) -> Connection:
    """A host without Python whose /bin/sh is this one; busybox brings all of its own tools."""
    request.getfixturevalue("own_home")
    program, *words = shell.split()
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing")
    if program == "busybox":
        tools = request.getfixturevalue("busybox_tools")
        found = f"/usr/bin/env PATH={tools} {tools}/ash"
    return Connection(python="none", options=(("shell", " ".join([found, *words])),), connect_timeout=30.0)


# What stands for /bin/sh on hosts without Python; one of them in every run of the tests.
SHELLS = ("busybox", *(pytest.param(shell, marks=pytest.mark.slow) for shell in ("dash", "bash --posix")))
# Both agents by other ways to a host.
BOTH_AGENTS = tuple(
    pytest.param(kind, marks=pytest.mark.slow)
    for kind in ("ssh, shell", "docker, shell", "kubernetes, shell", "sudo", "sudo, shell")
)
# For what costs seconds on each: two ways and one shell always, all the others among the slow tests.
EVERYWHERE = (
    "local", "ssh", *SHELLS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("docker", "kubernetes")),
    *BOTH_AGENTS,
)  # fmt: skip


def reach(kind: str, request: pytest.FixtureRequest) -> Connection:
    """The connection of a host of that kind, started when it is first asked for."""
    if kind in ("busybox", "dash", "bash --posix"):
        return shell_connection(kind, request)
    if kind.startswith("sudo"):
        request.getfixturevalue("own_home")
        if shutil.which("sudo") is None:
            pytest.skip("sudo is missing")
        python = "none" if kind.endswith("shell") else "auto"
        return Connection(python=python, become=BecomeUser(user="root", method="sudo"), connect_timeout=30.0)
    if kind == "ssh, shell":
        return replace(ssh_connection(request.getfixturevalue("ssh_hosts")[0]), python="none")
    if kind == "docker, shell":
        return replace(request.getfixturevalue("bare_container"), python="none")
    if kind == "kubernetes, shell":
        return replace(request.getfixturevalue("bare_pod"), python="none")
    if kind == "local":
        request.getfixturevalue("own_home")
        return Connection(connect_timeout=30.0)
    if kind == "docker":
        contained: Connection = request.getfixturevalue("contained")
        return contained
    if kind == "kubernetes":
        pod: Connection = request.getfixturevalue("python_pod")
        return pod
    return ssh_connection(request.getfixturevalue("ssh_hosts")[0])


@pytest.fixture(params=["local", "ssh"])
def connection(request: pytest.FixtureRequest) -> Connection:
    """What is about the agent rather than about the way to it is tried on two; `test_contract.py` on every target."""
    return reach(request.param, request)


@pytest.fixture
def talk() -> Iterator[Callable[..., Parley]]:
    """`talk(connection)`: a session that is ready; closed at the end."""
    open_ones: list[Parley] = []

    def begin(connection: Connection, **more: object) -> Parley:
        open_ones.append(Parley(connection, **more))  # type: ignore[arg-type]
        return open_ones[-1].ready()

    yield begin
    for one in open_ones:
        if one.ended is None and one.hello:
            one.session.end(one.run)
            one.close()


@pytest.fixture
def host(connection: Connection, talk: Callable[..., Parley]) -> Parley:
    """A host to talk to, once by each target."""
    return talk(connection)
