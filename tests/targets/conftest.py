"""Both targets that a test of the contract runs on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciflow.targets import Connection
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


@pytest.fixture(params=["local", "ssh"])
def connection(request: pytest.FixtureRequest) -> Connection:
    if request.param == "local":
        request.getfixturevalue("own_home")
        return Connection(connect_timeout=30.0)
    return ssh_connection(request.getfixturevalue("ssh_hosts")[0])


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
    """A host to talk to, once local and once over SSH."""
    return talk(connection)
