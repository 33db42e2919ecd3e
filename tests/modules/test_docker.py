"""`container`, `image` and `container_network` against a real daemon and a real registry, through the whole engine."""

import base64
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import bcrypt
import pytest

from ciflow.diagnostics import Refused
from ciflow.targets.docker_relay import connection_of
from tests.engine.playing import Bench, Played
from tests.parts import docker as docker_part
from tests.parts import images
from tests.parts import registry as registry_part
from tests.parts.docker import Docker
from tests.parts.process import short_folder
from tests.parts.sshd import Sshd

LOCAL = "web1 ansible_connection=local\n"


class Shop:
    """A bench whose playbooks speak of one daemon; what they make there is removed afterwards."""

    def __init__(self, bench: Bench, docker: Docker) -> None:
        self.bench = bench
        self.docker = docker
        bench.hosts(LOCAL)

    def task(self, module: str, args: dict[str, Any], **options: Any) -> Played:
        """One task, written as JSON, which is YAML."""
        given = {"docker_host": self.docker.host, **args}
        text = f"- hosts: web1\n  tasks:\n    - name: do\n      {module}: {json.dumps(given)}\n"
        return self.bench.play(text, options=options)

    def container(self, **args: Any) -> Played:
        options = {name: args.pop(name) for name in ("check", "diff") if name in args}
        return self.task(
            "container", {"name": "shop", "image": images.BUSYBOX, "command": "sleep 1000", **args}, **options
        )

    def inspect(self, what: str = "{{.State.Status}}", name: str = "shop") -> str:
        return self.docker.cli("inspect", "-f", what, name)


@pytest.fixture
def shop(tmp_path: Path, docker: Docker) -> Iterator[Shop]:
    yield Shop(Bench(tmp_path), docker)
    for name in docker.cli("ps", "-aq", "--filter", "name=^shop").split():
        docker.cli("rm", "-fv", name)
    for name in docker.cli("network", "ls", "-q", "--filter", "name=^shop").split():
        docker.cli("network", "rm", name)


def changed(played: Played) -> bool:
    assert played.exit == 0, (played.errors(), played.msg("do"))
    return bool(played.outcome("do")["changed"])


def test_a_container_is_started_once_and_left_alone_while_it_is_as_wished(shop: Shop) -> None:
    wish = {
        "env": {"A": 1, "B": True}, "labels": {"tier": "web"}, "ports": ["127.0.0.1::80", "7000-7001/udp"],
        "volumes": [f"{shop.bench.folder}:/data:ro", "/scratch", "named:/named:rw"], "user": "nobody", "memory": "64m",
        "healthcheck": {"test": "true", "interval": "1s", "retries": 2}, "restart_policy": "on-failure",
        "restart_retries": 3, "etc_hosts": {"db": "10.0.0.7"}, "tmpfs": ["/run:size=1m"], "init": True,
        "entrypoint": ["/bin/busybox"], "hostname": "shop1", "cpus": 0.5, "working_dir": "/tmp",
        "cap_drop": ["NET_RAW"],
    }  # fmt: skip
    assert changed(shop.container(**wish))
    first = shop.inspect("{{.Id}}")
    assert not changed(shop.container(**wish))
    assert shop.inspect("{{.Id}} {{.State.Status}}") == f"{first} running"
    shop.docker.cli("stop", "-t", "0", "shop")
    assert changed(shop.container(**wish))
    assert shop.inspect("{{.Id}} {{.State.Status}}") == f"{first} running"


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"env": {"A": 2}}, "env"), ({"command": "sleep 999"}, "command"), ({"ports": ["8081:80"]}, "ports"),
        ({"labels": {"tier": "db"}}, "labels"), ({"image": images.PYTHON, "volumes": ["/usr:/usr:ro"]}, "image"),
    ],
)  # fmt: skip
def test_what_differs_is_named_and_makes_it_anew(shop: Shop, change: dict[str, Any], option: str) -> None:
    shop.docker.cli("run", "-d", "--name", "shop", "-e", "A=1", images.BUSYBOX, "sleep", "1000")
    first = shop.inspect("{{.Id}}")
    played = shop.container(**change, check=True, diff=True, force_kill=True)
    assert (changed(played), shop.inspect("{{.Id}}")) == (True, first)
    played = shop.container(**change, force_kill=True)
    assert changed(played)
    assert option in [one["option"] for one in played.outcome("do")["differences"]]
    assert shop.inspect("{{.Id}} {{.State.Status}}") != f"{first} running"
    assert not changed(shop.container(**change, check=True))


def test_memory_and_restart_policy_change_while_it_lives(shop: Shop) -> None:
    changed(shop.container(memory="32m"))
    first = shop.inspect("{{.Id}}")
    assert changed(shop.container(memory="64m", restart_policy="always"))
    assert shop.inspect("{{.Id}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}") == (
        f"{first} {64 * 1024**2} always"
    )


def test_more_than_was_asked_for_counts_only_where_the_comparison_is_strict(shop: Shop) -> None:
    shop.docker.cli("run", "-d", "--name", "shop", "-e", "A=1", "-e", "B=2", images.BUSYBOX, "sleep", "1000")
    assert not changed(shop.container(env={"A": "1"}, check=True))
    assert changed(shop.container(env={"A": "1"}, comparisons={"env": "strict"}, check=True))
    assert not changed(shop.container(env={"A": "2"}, comparisons={"*": "ignore"}, check=True))


def test_check_mode_says_what_would_be_and_does_nothing(shop: Shop) -> None:
    played = shop.container(check=True)
    assert changed(played)
    assert played.msg("do") == "would: create, start"
    assert shop.docker.cli("ps", "-aq", "--filter", "name=^/shop$") == ""


def test_present_does_not_start_stopped_stops_and_absent_takes_away(shop: Shop) -> None:
    assert changed(shop.container(state="present"))
    assert shop.inspect() == "created"
    assert changed(shop.container())
    assert changed(shop.container(state="stopped", stop_timeout=0))
    assert not changed(shop.container(state="stopped"))
    assert shop.inspect() == "exited"
    assert changed(shop.task("docker_container", {"name": "shop", "state": "absent"}))
    assert not changed(shop.task("community.docker.docker_container", {"name": "shop", "state": "absent"}))


def test_healthy_waits_for_the_health_check(shop: Shop) -> None:
    health = {"test": "test -e /tmp/well", "interval": "0.3s"}
    played = shop.container(state="healthy", healthcheck=health, command="sh -c 'sleep 1; touch /tmp/well; sleep 1000'")
    assert changed(played)
    assert played.outcome("do")["container"]["State"]["Health"]["Status"] == "healthy"


def test_one_that_ends_instead_of_getting_healthy_is_told_at_once_with_its_output(shop: Shop) -> None:
    command = "sh -c 'echo no database >&2; exit 3'"
    played = shop.container(state="healthy", healthcheck={"test": "true"}, command=command)
    assert played.exit != 0
    assert "ended with exit code 3" in played.msg("do")
    assert "no database" in played.msg("do")


def test_a_task_that_waits_for_its_end_is_as_good_as_its_exit_code(shop: Shop) -> None:
    good = shop.container(detach=False, command="sh -c 'echo out; echo err >&2'", cleanup=True)
    assert changed(good)
    data = good.outcome("do")
    assert (data["rc"], data["stdout"], data["stderr"]) == (0, "out\n", "err\n")
    bad = shop.container(detach=False, command="sh -c 'exit 7'")
    assert bad.exit != 0
    assert "exit code 7" in bad.msg("do")


def test_what_the_daemon_refuses_is_told_in_its_words(shop: Shop) -> None:
    played = shop.container(image="ciflow.test/nowhere:1", pull="never")
    assert "is not here" in played.msg("do")
    assert "no such file" in shop.container(command="/no/such/program").msg("do")
    assert "is no port" in shop.container(ports=["eighty"]).msg("do")
    nowhere = shop.task("container", {"name": "shop", "docker_host": "unix:///nowhere.sock"})
    assert "no Docker daemon answers at unix:///nowhere.sock" in nowhere.msg("do")


def test_nothing_is_mounted_that_was_not_named(shop: Shop) -> None:
    changed(shop.container())
    assert json.loads(shop.inspect("{{json .Mounts}}")) == []


@pytest.mark.slow
def test_networks_hold_the_containers_that_are_named(shop: Shop) -> None:
    network = {"name": "shop-net", "internal": True, "ipam_config": [{"subnet": "10.97.1.0/24"}], "labels": {"a": "b"}}
    assert changed(shop.task("container_network", network, check=True))
    assert changed(shop.task("container_network", network))
    assert not changed(shop.task("docker_network", network))
    assert changed(shop.container(networks=[{"name": "shop-net", "aliases": ["web"], "ipv4_address": "10.97.1.9"}]))
    where = '{{with index .NetworkSettings.Networks "shop-net"}}{{.IPAddress}}{{end}}'
    assert shop.inspect(where) == "10.97.1.9"
    assert not changed(shop.task("container_network", {**network, "connected": ["shop"]}))
    other = {**network, "ipam_config": [{"subnet": "10.97.2.0/24"}]}
    played = shop.task("container_network", other, diff=True)
    assert changed(played)
    assert played.outcome("do")["differences"] == ["IPAM"]
    assert shop.inspect(where).startswith("10.97.2.")
    assert changed(shop.task("container_network", {**other, "connected": []}))
    assert changed(shop.task("container_network", {"name": "shop-net", "state": "absent"}))
    assert not changed(shop.task("container_network", {"name": "shop-net", "state": "absent"}))


@pytest.mark.fault(32)
@pytest.mark.slow
def test_an_image_is_built_pushed_pulled_and_held_to_its_digest(shop: Shop, registry: str) -> None:
    """A tag that is moved to another image after the plan does not go through where the digest is named."""
    folder = shop.bench.folder / "site"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {images.BUSYBOX}\nARG WORD\nCOPY . /site\nRUN echo $WORD > /word\n")
    (folder / "index.html").write_text("hello\n")
    (folder / "secret.txt").write_text("no\n")
    (folder / ".dockerignore").write_text("# not for the image\nsecret.txt\n")
    name = f"{registry}/shop:1"
    build = {"name": name, "source": "build", "build": {"path": str(folder), "args": {"WORD": "one"}}, "push": True}
    assert changed(shop.task("image", build, check=True))
    built = shop.task("image", build)
    assert changed(built)
    digest = built.outcome("do")["digest"]
    assert digest.startswith("sha256:")
    assert not changed(shop.task("image", build))
    assert shop.docker.cli("run", "--rm", name, "sh", "-c", "ls /site; cat /word").split() == [
        "Dockerfile", "index.html", "one",
    ]  # fmt: skip
    assert changed(shop.task("image", {"name": name, "state": "absent", "force": True}))
    pinned = {"name": name, "digest": digest}
    assert changed(shop.task("image", pinned))
    assert not changed(shop.task("image", {**pinned, "force": True}))
    shop.docker.cli("tag", images.PYTHON, name)
    shop.docker.cli("push", name)
    shop.docker.cli("rmi", "-f", name)
    moved = shop.task("image", pinned)
    assert moved.exit != 0
    assert f"not {digest}" in moved.msg("do")
    exactly = f"{registry}/shop@{digest}"
    assert changed(shop.task("image", {"name": exactly, "state": "absent", "force": True}))
    assert changed(shop.task("image", {"name": exactly}))
    assert changed(shop.task("image", {"name": exactly, "repository": f"{registry}/stable:9"}))
    shop.docker.cli("rmi", "-f", f"{registry}/stable:9", exactly, name)


def test_a_build_that_fails_shows_the_builders_words(shop: Shop) -> None:
    folder = shop.bench.folder / "site"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {images.BUSYBOX}\nRUN echo going; exit 9\n")
    played = shop.task("image", {"name": "shop:1", "source": "build", "build": {"path": str(folder)}})
    assert played.exit != 0
    assert "returned a non-zero code: 9" in played.msg("do")
    assert "going" in played.outcome("do")["stdout"]


def test_a_pull_that_fails_is_a_failure_though_the_daemon_answers_200(shop: Shop, registry: str) -> None:
    played = shop.task("image", {"name": f"{registry}/not/there:1"})
    assert played.exit != 0
    assert "could not pull" in played.msg("do")


class _Engine(http.server.BaseHTTPRequestHandler):
    """As much of the Engine's API as a pull needs; keeps the credentials that came."""

    seen: ClassVar[list[str]] = []

    def _say(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        known = bool(self.seen) and self.path.endswith("/json")
        version = {"ApiVersion": "1.41", "Id": "sha256:1", "RepoDigests": []}
        self._say(200 if known or self.path == "/version" else 404, version)

    def do_POST(self) -> None:
        self.seen.append(self.headers["X-Registry-Auth"])
        self._say(200, {"status": "done"})

    def log_message(self, *_arguments: object) -> None:
        return


def test_credentials_come_from_the_docker_commands_helpers_and_are_written_down_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """~/.docker/config.json names a helper for the registry, a program that is asked by its protocol."""
    helper = tmp_path / "bin" / "docker-credential-vaulted"
    helper.parent.mkdir()
    answer = '{"ServerURL": "registry.example.com", "Username": "ann", "Secret": "xyzzy-word"}'
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credHelpers": {"registry.example.com": "vaulted"}}')
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    _Engine.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    bench = Bench(tmp_path)
    bench.hosts(LOCAL)
    try:
        played = bench.play(f"""
            - hosts: web1
              tasks:
                - name: do
                  image: {{name: "registry.example.com/shop:1", docker_host: "tcp://127.0.0.1:{server.server_port}"}}
        """)
    finally:
        server.shutdown()
        server.server_close()
    assert changed(played)
    given = json.loads(base64.urlsafe_b64decode(_Engine.seen[0]))
    given = {name.lower(): value for name, value in given.items()}  # as Go reads it
    assert (given["username"], given["password"]) == ("ann", "xyzzy-word")
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path != helper]
    assert not [path for path in kept if b"xyzzy-word" in path.read_bytes()]


@pytest.mark.slow
def test_a_registry_that_asks_for_a_login_gets_that_of_the_helper(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real registry, and a real daemon that pushes to it and pulls from it; with another word neither is let in."""
    hashed = bcrypt.hashpw(b"xyzzy-word", bcrypt.gensalt(4)).decode()
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/users").write_text(f"ann:{hashed}\n")
    (tmp_path / "bin").mkdir()
    helper = tmp_path / "bin/docker-credential-vaulted"
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auth = f"htpasswd: {{realm: shop, path: {tmp_path}/registry/users}}"
    with registry_part.registry(tmp_path / "registry", auth) as registry:
        (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {registry: "vaulted"}}))
        name = f"{registry}/shop:1"
        shop.docker.cli("tag", images.BUSYBOX, name)
        outcomes = []
        for word in ("another", "xyzzy-word"):
            helper.write_text(f"""#!/bin/sh\ncat >/dev/null\necho '{{"Username": "ann", "Secret": "{word}"}}'\n""")
            helper.chmod(0o755)
            pushed = shop.task("image", {"name": name, "source": "local", "push": True})
            shop.docker.cli("rmi", name)
            pulled = shop.task("image", {"name": name})
            outcomes.append((pushed.exit, pulled.exit))
            if word == "another":
                assert "xyzzy" not in str(pushed.msg("do")) and "unauthorized" in str(pulled.msg("do")).lower()
                shop.docker.cli("tag", images.BUSYBOX, name)
        assert outcomes == [(4, 4), (0, 0)]
        shop.docker.cli("rmi", name)


@pytest.mark.slow
def test_a_daemon_that_restarts_under_a_task_is_asked_again(tmp_path: Path) -> None:
    """A container whose start was lost is started once more, which is no harm; a daemon that stays away is unknown."""
    with short_folder("own") as folder, docker_part.docker(folder, another=2) as daemon:
        shop = Shop(Bench(tmp_path), daemon)
        restart = threading.Timer(1.0, lambda: (daemon.stop(), daemon.start()))
        restart.start()
        played = shop.container(command="sh -c 'sleep 4; exit 5'", detach=False, restart_policy="no")
        restart.join()
        assert played.exit != 0
        data = played.outcome("do")
        assert data["rc"] not in (0, None)
        daemon.cli("rm", "-f", "shop")


@pytest.mark.slow
def test_tasks_of_a_host_reached_by_ssh_ask_the_daemon_of_that_host(shop: Shop, ssh_hosts: list[Sshd]) -> None:
    """`unix://` is a socket there, asked through ciflow's own connection; a host without a daemon says so."""
    server = ssh_hosts[0]
    shop.bench.hosts(
        f"web1 ansible_host={server.address} ansible_port={server.port} ansible_user={server.user.name} "
        f"ansible_ssh_private_key_file={server.key} ansible_python_interpreter=/usr/bin/python3 "
        f"ansible_ssh_common_args='-F none -o UserKnownHostsFile={server.known_hosts}'\n"
    )
    assert changed(shop.container())
    assert shop.inspect() == "running"
    assert not changed(shop.container())
    nowhere = shop.task("container", {"name": "shop", "state": "absent", "docker_host": "unix:///no/where.sock"})
    assert nowhere.exit != 0
    assert "no Docker daemon answers at /no/where.sock: No such file or directory" in nowhere.msg("do")
    assert shop.inspect() == "running"


def test_the_address_of_a_daemon_behind_ssh_is_read_as_the_docker_command_reads_it() -> None:
    found = connection_of("ssh://ann@web1.example.com:2222")
    assert (found.kind, found.address, found.port, found.user) == ("ssh", "web1.example.com", 2222, "ann")
    assert connection_of("ssh://web1").user == ""
    with pytest.raises(Refused, match="no daemon's address"):
        connection_of("ssh://ann:word@web1")


@pytest.mark.fault(32)
@pytest.mark.slow
def test_a_container_of_a_tag_that_has_moved_in_the_registry_is_made_anew(shop: Shop, registry: str) -> None:
    name = f"{registry}/app:1"

    def publish(image: str) -> None:
        shop.docker.cli("tag", image, name)
        shop.docker.cli("push", name)

    publish(images.BUSYBOX)
    wish = {"image": name, "pull": "always", "volumes": ["/usr:/usr:ro"], "force_kill": True}
    assert changed(shop.container(**wish))
    assert not changed(shop.container(**wish))
    publish(images.PYTHON)
    publish(images.BUSYBOX)
    assert not changed(shop.container(**wish)), "the tag is back where it was"
    publish(images.PYTHON)
    shop.docker.cli("tag", images.BUSYBOX, name)
    assert changed(shop.container(**wish, check=True))
    played = shop.container(**wish)
    assert changed(played)
    assert [one["option"] for one in played.outcome("do")["differences"]] == ["image"]
    shop.docker.cli("rm", "-f", "shop")
    shop.docker.cli("rmi", "-f", name)
