"""The hosts that the bench works on: real sshd on 127.0.0.x, described for each contender in its own way."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.parts import sshd, wire


@dataclass(frozen=True)
class Fleet:
    """Hosts under their names: `inventory` for ansible and ciflow, `pyinfra` for pyinfra, `hosts` for the floor."""

    folder: Path
    size: int

    @property
    def inventory(self) -> str:
        return str(self.folder / "inventory.ini")

    @property
    def pyinfra(self) -> str:
        return str(self.folder / "inventory.py")

    @property
    def hosts(self) -> str:
        return str(self.folder / "hosts.json")


def describe(folder: Path, servers: list[sshd.Sshd]) -> Fleet:
    """Write the three descriptions of some servers into `folder`, with one file of all their host keys."""
    folder.mkdir(parents=True)
    known = folder / "known_hosts"
    known.write_text("".join(server.known_hosts.read_text() for server in servers))
    lines, hosts, pyinfra = ["[fleet]"], [], []
    for number, server in enumerate(servers, 1):
        name = f"host{number}"
        variables = {**server.variables, "ansible_ssh_common_args": f"-o UserKnownHostsFile={known}"}
        lines.append(" ".join([name, *(f'{key}="{value}"' for key, value in variables.items())]))
        reach = {"address": server.address, "port": server.port, "user": server.user.name, "key": str(server.key)}
        hosts.append({"name": name, **reach, "known_hosts": str(known)})
        data = {"ssh_hostname": server.address, "ssh_port": server.port, "ssh_user": server.user.name}
        data |= {"ssh_key": str(server.key), "ssh_known_hosts_file": str(known)}
        pyinfra.append((name, data))
    fleet = Fleet(folder, len(servers))
    Path(fleet.inventory).write_text("\n".join(lines) + "\n")
    Path(fleet.hosts).write_text(json.dumps(hosts))
    Path(fleet.pyinfra).write_text(f"fleet = {pyinfra!r}\n")
    return fleet


@contextlib.contextmanager
def fleet(folder: Path, size: int) -> Iterator[Fleet]:
    """`size` servers on 127.0.0.1 and following."""
    with sshd.hosts(folder / "servers", size) as servers:
        yield describe(folder / "described", servers)


@contextlib.contextmanager
def far_host(folder: Path, round_trip_s: float) -> Iterator[tuple[Fleet, Fleet]]:
    """The same one server twice: as it is, and through a proxy that adds `round_trip_s` to each round trip."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(sshd.sshd(folder / "server"))
        proxy = stack.enter_context(wire.wire((server.address, server.port), round_trip_s))
        far = sshd.Sshd(folder / "far", proxy.address, proxy.port, server.user)
        far.folder.mkdir()
        for name in ("id_ed25519", "known_hosts"):
            content = (server.folder / name).read_text().replace(f":{server.port} ", f":{proxy.port} ")
            (far.folder / name).touch(mode=0o600)
            (far.folder / name).write_text(content)
        yield describe(folder / "near-described", [server]), describe(folder / "far-described", [far])
