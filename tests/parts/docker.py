"""A real Docker daemon with its own socket, data and bridge, holding the images that tests use."""

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import images, process


@dataclass
class Docker:
    """The daemon. It can be restarted, as a host's is under an upgrade; containers do not live on through it."""

    folder: Path
    bridge: str
    more: tuple[str, ...] = ()
    running: process.Running | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """What DOCKER_HOST says to reach it."""
        return f"unix://{self.folder / 'docker.sock'}"

    def cli(self, *arguments: str) -> str:
        """Run `docker`; gives its standard output stripped. Raises CalledProcessError."""
        argv = [process.find("docker", "docker"), "-H", self.host, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    @contextlib.contextmanager
    def container(self, image: str = images.BUSYBOX, *options: str) -> Iterator[str]:
        """A container asleep, by name; removed with all it runs. The Python image gets the machine's /usr."""
        name = f"cf-{secrets.token_hex(4)}"
        usr = ["-v", "/usr:/usr:ro"] if image == images.PYTHON else []
        self.cli("run", "-d", "--name", name, *usr, *options, image, "sleep", "1000000")
        try:
            yield name
        finally:
            self.cli("rm", "-f", name)

    def start(self) -> None:
        """Start it without touching the machine's packet filter: containers need no way out, ports are proxied."""
        argv = [process.find("dockerd", "docker"), "--host", self.host, "--bridge", self.bridge]
        argv += ["--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")]
        argv += ["--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        argv += self.more
        argv += ["--pidfile", str(self.folder / "docker.pid"), "--shutdown-timeout", "1"]
        self.running = process.start("dockerd", argv, self.folder)
        process.wait_until(self._ready, self.running)

    def _ready(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(self.cli("version", "--format", "{{.Server.Version}}"))
        return False

    def stop_alone(self) -> None:
        """The daemon alone, as its upgrade has it: with `--live-restore` its containers live on without it."""
        if self.running is not None:
            self.running.process.terminate()
            self.running.process.wait()
            self.running = None

    def stop(self) -> None:
        if self.running is not None:
            process.end(self.running, patience_s=20)
            self.running = None


@contextlib.contextmanager
def bridge(name: str, address: str) -> Iterator[str]:
    """A network bridge of our own, so that a daemon of the machine keeps its docker0."""
    ip = process.find("ip", "iproute2")
    made = subprocess.run([ip, "link", "add", name, "type", "bridge"], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise process.MissingPart(f"making a network bridge is not permitted here: {made.stderr.strip()}")
    try:
        subprocess.run([ip, "addr", "add", address, "dev", name], check=True)
        subprocess.run([ip, "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run([ip, "link", "del", name], check=False)


@contextlib.contextmanager
def docker(folder: Path, *, another: int = 0, more: tuple[str, ...] = ()) -> Iterator[Docker]:
    """A daemon with everything under `folder` (a short path: it holds sockets) and the test images loaded.

    `another` tells those of one process apart; `more` are options of dockerd.
    """
    process.find("dockerd", "docker")
    if os.geteuid() != 0:
        raise process.MissingPart("dockerd needs root")
    archive = folder / "images.tar"
    images.write_test_images(archive)
    number = (os.getpid() + another) % 250
    with bridge(f"cfd{os.getpid()}{'x' * another}", f"10.246.{number}.1/24") as link:
        daemon = Docker(folder, link, more)
        try:
            daemon.start()
            daemon.cli("load", "-i", str(archive))
            yield daemon
        finally:
            daemon.stop()
            process.unmount_below(folder)
