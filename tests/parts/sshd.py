"""Real OpenSSH servers on loopback: one per host, with keys, port and configuration of their own."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.parts import process


@dataclass(frozen=True)
class User:
    """An account that a server lets in: by key, and by password where it has one."""

    name: str
    password: str | None = None


@dataclass
class Sshd:
    """One server. It can be stopped and started on the same port, as a host that restarts is."""

    folder: Path
    address: str
    port: int
    user: User
    inside: Sequence[str] = ()  # what enters the namespace that it runs in (see accounts.py)
    running: process.Running | None = field(default=None, repr=False)

    @property
    def key(self) -> Path:
        """Private key of the account that may log in."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def variables(self) -> dict[str, str]:
        """Inventory variables that reach this host, as Ansible names them."""
        return {
            "ansible_host": self.address,
            "ansible_port": str(self.port),
            "ansible_user": self.user.name,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def inventory_line(self, name: str) -> str:
        """The host in an INI inventory."""
        return " ".join([name, *(f'{key}="{value}"' for key, value in self.variables.items())])

    def ssh(self, command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command with OpenSSH's own client, as a person would."""
        argv = ["ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port), "-o", "BatchMode=yes"]
        argv += ["-o", f"UserKnownHostsFile={self.known_hosts}", f"{self.user.name}@{self.address}", command]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)

    def start(self) -> None:
        """Start, or start again. Readiness is its own word: a connection that asks would count in MaxStartups."""
        argv = [*self.inside, process.find("sshd", "sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        starts = self._listened()
        self.running = process.start("sshd", argv, self.folder)
        process.wait_until(lambda: self._listened() > starts, self.running)

    def _listened(self) -> int:
        log = self.folder / "sshd.log"
        return log.read_text(errors="replace").count("Server listening on") if log.exists() else 0

    def stop(self) -> None:
        """End the server and every connection it holds."""
        if self.running is not None:
            process.end(self.running)
            self.running = None

    def drop_connections(self) -> None:
        """End the connections and leave the server listening, as a crash of the session's process does."""
        if self.running is not None:
            process.kill(process.descendants(self.running.pid))


def host_key(path: Path) -> str:
    """Make an ed25519 key pair at `path`; gives the public half."""
    ssh_keygen = process.find("ssh-keygen", "sshd")
    subprocess.run([ssh_keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def configuration(server: Sshd, settings: Mapping[str, str]) -> str:
    """The whole sshd_config: nothing of the machine's own is read. `settings` go before the usual ones.

    Under sshd, bash reads ~/.bashrc for each command unless SHLVL says that it runs inside another shell: root's
    start-up files (80 ms where they set up pyenv) would otherwise be what tests and benches measure.
    Authorized keys of others than root come from a command run as root, since sshd would read a file as the user who
    logs in, who cannot enter root's temporary folders.
    """
    at = f"[{server.address}]:{server.port}" if ":" in server.address else f"{server.address}:{server.port}"
    usual = {
        "ListenAddress": at,
        "HostKey": server.folder / "host_key",
        **authorized_keys(server),
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "yes",
        "PrintMotd": "no",
        "SetEnv": "SHLVL=2",
        "UseDNS": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "MaxStartups": "500",
        "MaxSessions": "100",
        "Subsystem": "sftp internal-sftp",
    }
    return "".join(f"{name} {value}\n" for name, value in {**usual, **settings}.items())


def authorized_keys(server: Sshd) -> dict[str, str]:
    public = str(server.key.with_suffix(".pub"))
    if server.user.name == "root":
        return {"AuthorizedKeysFile": public}
    return {
        "AuthorizedKeysCommand": f"/bin/cat {public}",
        "AuthorizedKeysCommandUser": "root",
        "AuthorizedKeysFile": "none",
    }


@contextlib.contextmanager
def sshd(
    folder: Path,
    address: str = "127.0.0.1",
    user: User | None = None,
    settings: Mapping[str, str] = {},
    inside: Sequence[str] = (),
) -> Iterator[Sshd]:
    """A server at `address` on a free port with its files under `folder`; root may log in unless `user` is given."""
    process.find("sshd", "sshd")
    if os.geteuid() != 0:
        raise process.MissingPart("sshd can let nobody in unless the tests run as root")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    server = Sshd(folder, address, process.free_port(address), user or User("root"), inside)
    public = host_key(folder / "host_key")
    host_key(server.key)
    server.known_hosts.write_text(f"[{address}]:{server.port} {public}\n")
    config = configuration(server, settings)
    (folder / "sshd_config").write_text(config)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def hosts(folder: Path, count: int) -> Iterator[list[Sshd]]:
    """`count` servers on 127.0.0.1, 127.0.0.2, .., each with its own port and host key."""
    with contextlib.ExitStack() as stack:
        addresses = [f"127.0.0.{number}" for number in range(1, count + 1)]
        yield [stack.enter_context(sshd(folder / address, address)) for address in addresses]
