"""What only containers do: they end, restart, have no shell, and their daemon goes away."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import Invalid, Lost, Refused, Unreachable
from ciflow.lang.files import Files
from ciflow.lang.inventory import load_inventory
from ciflow.model import Exec, Write
from ciflow.targets import Connection
from ciflow.targets.told import Ended
from tests.parts import docker as docker_part
from tests.parts import images, process
from tests.parts.docker import Docker
from tests.targets.conftest import docker_connection
from tests.targets.parley import Parley

Talk = Callable[..., Parley]


def failure(connection: Connection) -> Unreachable:
    ended: Ended = Parley(connection).next(Ended)
    assert isinstance(ended.error, Unreachable)
    return ended.error


@pytest.fixture
def own_daemon() -> Iterator[Docker]:
    """A daemon that the test may end."""
    with process.short_folder("own") as folder, docker_part.docker(folder, another=1) as daemon:
        yield daemon


def test_commands_run_as_the_remote_user_else_as_the_images(docker: Docker, talk: Talk) -> None:
    with docker.container(images.PYTHON) as name:
        assert talk(docker_connection(docker, name))(Exec(argv=("id", "-u"))).stdout == b"0\n"
        assert talk(docker_connection(docker, name, user="65534:65534"))(Exec(shell="id -u; id -g")).stdout == (
            b"65534\n65534\n"
        )


@pytest.mark.slow
def test_a_container_is_found_by_its_id_as_well_as_by_its_name(docker: Docker, talk: Talk) -> None:
    with docker.container(images.PYTHON) as name:
        id = docker.cli("inspect", "-f", "{{.Id}}", name)
        host = talk(docker_connection(docker, id[:12]))
        assert host(Exec(shell="cat /proc/self/cgroup >/dev/null; hostname")).stdout.decode().strip() == id[:12]


def test_the_daemons_socket_is_not_in_the_container(docker: Docker, talk: Talk) -> None:
    with docker.container(images.PYTHON) as name:
        found = talk(docker_connection(docker, name))(Exec(shell="find / -xdev -name docker.sock -o -type s | wc -l"))
        assert found.stdout == b"0\n"


@pytest.mark.parametrize(
    ("variable", "context"), [("DOCKER_HOST", False), ("DOCKER_CONTEXT", True), ("", True)],
)  # fmt: skip
def test_the_daemon_is_the_one_that_the_docker_command_would_use(
    docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, talk: Talk, variable: str, context: bool
) -> None:
    """DOCKER_HOST, DOCKER_CONTEXT, or the context in use, made by the docker command itself."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if context:
        command = [process.find("docker", "docker"), "context"]
        subprocess.run([*command, "create", "shop", "--docker", f"host={docker.host}"], check=True, capture_output=True)
        if not variable:
            subprocess.run([*command, "use", "shop"], check=True, capture_output=True)
    if variable:
        monkeypatch.setenv(variable, "shop" if context else docker.host)
    with docker.container(images.PYTHON) as name:
        connection = Connection(kind="docker", name=name, connect_timeout=30.0)
        assert talk(connection)(Exec(argv=("echo", "here"))).stdout == b"here\n"


def test_a_container_that_is_not_there_or_has_ended_is_told_with_what_became_of_it(docker: Docker) -> None:
    assert "there is no container nowhere" in failure(docker_connection(docker, "nowhere")).message
    name = docker.cli("run", "-d", images.BUSYBOX, "sh", "-c", "exit 7")
    try:
        assert docker.cli("wait", name) == "7"
        assert "with exit code 7" in failure(docker_connection(docker, name)).message
    finally:
        docker.cli("rm", "-f", name)


@pytest.mark.slow
def test_an_image_without_a_shell_is_refused_with_what_to_do(docker: Docker, tmp_path: Path) -> None:
    """As a distroless one: a single program and nothing beside it."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "busybox").chmod(0o755)
    subprocess.run(["tar", "-C", str(folder), "-cf", str(tmp_path / "root.tar"), "."], check=True)
    docker.cli(
        "import", "-c", 'ENTRYPOINT ["/busybox", "sleep", "1000"]', str(tmp_path / "root.tar"), "ciflow.test/bare:1"
    )
    name = docker.cli("run", "-d", "ciflow.test/bare:1")
    try:
        refused = failure(docker_connection(docker, name))
        assert "/bin/sh" in refused.message
        assert "shell" in refused.help
    finally:
        docker.cli("rm", "-f", name)
        docker.cli("rmi", "ciflow.test/bare:1")


def test_no_daemon_is_told_at_once_with_what_to_do(tmp_path: Path) -> None:
    nowhere = Connection(kind="docker", name="web", options=(("docker_host", f"unix://{tmp_path}/none.sock"),))
    refused = failure(nowhere)
    assert f"unix://{tmp_path}/none.sock" in refused.message
    assert "DOCKER_HOST" in refused.help


def test_a_container_that_ends_under_a_command_leaves_no_exit_code(docker: Docker, talk: Talk) -> None:
    with docker.container(images.PYTHON) as name:
        connection = docker_connection(docker, name)
        host = talk(connection)
        host.session.submit("web1", "long", Exec(argv=("sleep", "60")))
        host.session.flush()
        host.ask("nothing")
        docker.cli("kill", name)
        ended = host.next(Ended)
        assert isinstance(ended.error, Lost)
        assert not [one for one in host.seen if getattr(one, "key", "") == "long"]
        assert "with exit code 137" in failure(connection).message


@pytest.mark.slow
def test_what_a_restarted_container_ran_is_unknown_and_what_it_finished_is_not(docker: Docker, talk: Talk) -> None:
    """The journal outlives the restart, in the container's own files; the command does not."""
    with docker.container(images.PYTHON, "-e", "HOME=/root") as name:
        connection = docker_connection(docker, name)
        host = talk(connection)
        assert host(Write(path="/root/kept", content=b"x"), key="done").ok
        host.session.submit("web1", "long", Exec(argv=("sleep", "60")))
        host.session.flush()
        host.ask("nothing")
        docker.cli("restart", "-t", "0", name)
        host.next(Ended)
        again = talk(connection, project=host.project, run=host.run, token=host.token)
        asked = again.ask("done", "long", "never", journal=host.hello["journal"])
        assert [one.state for one in asked][1:] == ["unknown", "unknown"]
        assert again(Exec(argv=("cat", "/root/kept"))).stdout == b"x"


@pytest.mark.fault(23)
@pytest.mark.slow
def test_a_daemon_that_restarts_under_a_command_makes_it_unknown_never_good(own_daemon: Docker, talk: Talk) -> None:
    """Its containers end with it; one that it starts again is another epoch."""
    name = own_daemon.cli("run", "-d", "--restart", "always", "-v", "/usr:/usr:ro", images.PYTHON, "sleep", "1000000")
    connection: Any = docker_connection(own_daemon, name)
    host = talk(connection)
    host.session.submit("web1", "long", Exec(argv=("sleep", "60")))
    host.session.flush()
    host.ask("nothing")
    own_daemon.stop()
    assert isinstance(host.next(Ended).error, Lost)
    assert "no Docker daemon answers" in failure(connection).message
    own_daemon.start()
    process.wait_for(lambda: own_daemon.cli("inspect", "-f", "{{.State.Running}}", name) == "true")
    again = talk(connection, project=host.project, run=host.run, token=host.token)
    assert [one.state for one in again.ask("long", journal=host.hello["journal"])] == ["unknown"]
    own_daemon.cli("rm", "-f", name)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    monkeypatch.delitem(sys.modules, "ciflow.targets.docker", raising=False)
    ended: Ended = Parley(Connection(kind="docker", name="web")).next(Ended)
    assert isinstance(ended.error, Refused)
    assert "`docker`" in ended.error.message
    assert ended.error.help == "pip install ciflow[docker]"


def test_an_inventory_plugin_lists_containers_by_label_as_hosts_to_connect_to(docker: Docker, tmp_path: Path) -> None:
    with docker.container(images.PYTHON, "--label", "tier=web") as web, docker.container(images.PYTHON) as other:
        source = tmp_path / "shop.docker.yml"
        said = f"plugin: docker\nlabel: [tier=web]\ndocker_host: {docker.host}\n"
        source.write_text(said + "keyed_groups: [{key: docker_labels.tier, prefix: tier}]\n")
        files = Files.live()
        inventory = load_inventory((str(source),), files)
        assert [host.name for host in inventory.hosts] == [web]
        assert inventory.groups["tier_web"] == inventory.groups["containers"] == (web,)
        frozen = load_inventory((str(source),), Files.frozen(files.snapshot()))
        assert frozen.hosts == inventory.hosts
        source.write_text(f"plugin: community.docker.docker_containers\ndocker_host: {docker.host}\n")
        assert {web, other} <= {host.name for host in load_inventory((str(source),), Files.live()).hosts}
        (tmp_path / "play.yml").write_text("- hosts: tier_web\n  tasks: [{name: here, command: hostname}]\n")
        source.write_text(said + "groups: {tier_web: true}\n")
        argv = [sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", str(source), "-vv"]
        state = {"XDG_STATE_HOME": str(tmp_path / "state")}
        done = subprocess.run(argv, cwd=tmp_path, env=os.environ | state, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert docker.cli("inspect", "-f", "{{.Config.Hostname}}", web) in done.stdout + done.stderr


def test_an_inventory_of_a_daemon_that_does_not_answer_is_an_error_at_its_place(tmp_path: Path) -> None:
    source = tmp_path / "shop.docker.yml"
    source.write_text(f"plugin: docker\ndocker_host: unix://{tmp_path}/none.sock\n")
    with pytest.raises(Invalid) as caught:
        load_inventory((str(source),), Files.live())
    assert "no Docker daemon answers" in caught.value.diagnostics[0].message
    assert caught.value.diagnostics[0].span is not None
