"""A container's daemon over TLS: its connections break, and it restarts, in the middle of a task."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ciflow.diagnostics import Unreachable
from ciflow.model import Exec
from ciflow.targets import Connection
from ciflow.targets.told import Ended
from tests.conftest import Start
from tests.engine.playing import Bench
from tests.parts import docker as docker_part
from tests.parts import images
from tests.parts.docker import Docker
from tests.parts.pki import Authority
from tests.parts.process import free_port, short_folder, wait_for
from tests.parts.wire import wire
from tests.targets.parley import Parley

PLAY = """
- hosts: h
  gather_facts: false
  tasks:
    - {name: Long, shell: "echo begun >> /tmp/log; sleep 3; echo ended >> /tmp/log; echo said"}
    - {name: After, shell: cat /tmp/log}
"""


@dataclass(frozen=True)
class Guarded:
    """A daemon that lets in only who has a certificate of its authority; one container of it."""

    docker: Docker
    port: int
    pki: Path
    container: str

    def options(self, port: int = 0) -> dict[str, str]:
        said = {"docker_host": f"tcp://127.0.0.1:{port or self.port}", "validate_certs": "true"}
        files = {"ca_path": "ca.crt", "client_cert": "us.crt", "client_key": "us.key"}
        return said | {name: str(self.pki / file) for name, file in files.items()}

    def inventory(self, port: int = 0) -> str:
        said = " ".join(f"ansible_docker_{name}={value}" for name, value in self.options(port).items())
        return f"h ansible_connection=docker ansible_host={self.container} {said}\n"

    def connection(self, *names: str) -> Connection:
        """With only those of its options."""
        short = {"validate_certs": "verify", "ca_path": "ca", "client_cert": "cert", "client_key": "key"}
        kept = {short.get(name, name): value for name, value in self.options().items() if not names or name in names}
        return Connection(
            kind="docker", name="h", address=self.container, options=tuple(kept.items()), connect_timeout=30
        )


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with short_folder("tls") as folder, ExitStack() as stack:
        authority, port = Authority(folder / "pki"), free_port()
        authority.leaf("them", "docker", alternatives=["127.0.0.1"])
        authority.leaf("us", "ciflow")
        files = [f"--tlscacert={authority.ca}", f"--tlscert={folder}/pki/them.crt", f"--tlskey={folder}/pki/them.key"]
        more = ("--host", f"tcp://127.0.0.1:{port}", "--tlsverify", *files)
        daemon = stack.enter_context(docker_part.docker(folder, another=3, more=more))
        name = daemon.cli("run", "-d", "--restart", "always", "-v", "/usr:/usr:ro", images.PYTHON, "sleep", "1000000")
        try:
            yield Guarded(daemon, port, folder / "pki", name)
        finally:
            daemon.cli("rm", "-f", name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _when_begun(docker: Docker, container: str, act: Callable[[], object]) -> threading.Thread:
    def wait() -> None:
        look = ("exec", container, "sh", "-c", "cat /tmp/log 2>/dev/null; true")
        wait_for(lambda: "begun" in docker.cli(*look))
        act()

    docker.cli("exec", container, "rm", "-f", "/tmp/log")
    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_container_that_restarts_under_a_command_makes_it_unknown_and_nothing_runs_again(
    bench: Bench, docker: Docker
) -> None:
    """The same folder, the same name, another life: that its journal knows nothing does not mean that nothing ran."""
    with docker.container(images.PYTHON) as name:
        bench.hosts(f"h ansible_connection=docker ansible_host={name} ansible_docker_docker_host={docker.host}\n")
        thread = _when_begun(docker, name, lambda: docker.cli("restart", "-t", "0", name))
        played = bench.play(PLAY.replace("sleep 3", "sleep 60"))
        thread.join()
        assert played.exit == 4, played.ends()
        assert played.status("Long") == "unknown"
        assert "After" not in played.names()
        assert docker.cli("exec", name, "cat", "/tmp/log") == "begun"


@pytest.mark.parametrize("how", ["kill", pytest.param("rm", marks=pytest.mark.slow)])
def test_a_container_that_ends_under_a_command_makes_it_unknown_and_says_how_it_ended(
    bench: Bench, docker: Docker, how: str
) -> None:
    act = {"kill": ("kill",), "rm": ("rm", "-f")}[how]
    with docker.container(images.PYTHON) as name:
        bench.hosts(f"h ansible_connection=docker ansible_host={name} ansible_docker_docker_host={docker.host}\n")
        thread = _when_begun(docker, name, lambda: docker.cli(*act, name))
        played = bench.play(PLAY.replace("sleep 3", "sleep 60"))
        thread.join()
        assert played.exit == 4, played.ends()
        assert played.status("Long") == "unknown"
        assert "After" not in played.names()
        told = str(played.msg("Long"))
        assert "with exit code 137" in told or "there is no container" in told, told


@pytest.mark.slow
def test_large_streams_pass_both_ways_through_tls(guarded: Guarded) -> None:
    data = random.Random(5).randbytes(700_000)
    host = Parley(guarded.connection()).ready()
    reply = host(Exec(argv=("cat",), stdin=data))
    assert (reply.ok, reply.stdout) == (True, data)
    host.close()


@pytest.mark.slow
def test_who_has_no_certificate_is_not_let_in_and_one_of_another_authority_is_not_trusted(guarded: Guarded) -> None:
    for names, word in ((("docker_host", "validate_certs", "ca_path"), "certificate"), (("docker_host",), "HTTPS")):
        ended: Ended = Parley(guarded.connection(*names)).next(Ended)
        assert isinstance(ended.error, Unreachable)
        assert word.lower() in ended.error.message.lower()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reset", "cut"])
def test_a_connection_that_breaks_in_the_middle_of_a_command_loses_nothing(
    bench: Bench, start: Start, guarded: Guarded, kind: str
) -> None:
    """The exec lives on without its client: its agent is asked what became of the command, which ran once."""
    proxy = start(wire(("127.0.0.1", guarded.port)))
    bench.hosts(guarded.inventory(proxy.port))
    thread = _when_begun(guarded.docker, guarded.container, lambda: proxy.end_all(kind))  # type: ignore[arg-type]
    played = bench.play(PLAY)
    thread.join()
    assert played.exit == 0, (played.errors(), played.ends())
    assert proxy.connections >= 2
    assert played.outcome("Long")["stdout"] == "said"
    assert played.outcome("After")["stdout"].split() == ["begun", "ended"]


@pytest.mark.fault(23)
@pytest.mark.slow
def test_a_daemon_that_restarts_under_a_command_makes_it_unknown_and_nothing_runs_again(
    bench: Bench, guarded: Guarded
) -> None:
    bench.hosts(guarded.inventory())

    def restart() -> None:
        guarded.docker.stop()
        guarded.docker.start()

    thread = _when_begun(guarded.docker, guarded.container, restart)
    played = bench.play(PLAY.replace("sleep 3", "sleep 20"))
    thread.join()
    assert played.exit == 4, played.ends()
    assert played.status("Long") == "unknown"
    assert "After" not in played.names()
    assert guarded.docker.cli("exec", guarded.container, "cat", "/tmp/log") == "begun"


@pytest.mark.fault(23)
@pytest.mark.slow
def test_a_daemon_that_restarts_and_keeps_its_containers_loses_nothing(bench: Bench) -> None:
    """`--live-restore`: the command goes on in there, and the agent is asked what became of it."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("live"))
        daemon = stack.enter_context(docker_part.docker(folder, another=4, more=("--live-restore",)))
        name = stack.enter_context(daemon.container(images.PYTHON))
        bench.hosts(f"h ansible_connection=docker ansible_host={name} ansible_docker_docker_host={daemon.host}\n")

        def restart() -> None:
            daemon.stop_alone()
            daemon.start()
            daemon.cli("exec", name, "touch", "/tmp/go")

        thread = _when_begun(daemon, name, restart)
        played = bench.play(PLAY.replace("sleep 3", "until test -e /tmp/go; do sleep 0.1; done"))
        thread.join()
        assert played.exit == 0, (played.errors(), played.ends())
        assert played.outcome("Long")["stdout"] == "said"
        assert played.outcome("After")["stdout"].split() == ["begun", "ended"]
