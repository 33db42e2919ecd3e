"""What every floor over SSH shares: hosts read from a file, and one connection per host, opened side by side."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import paramiko


@dataclass(frozen=True)
class Host:
    """Where one server listens and who may log in there."""

    name: str
    address: str
    port: int
    user: str
    key: str
    known_hosts: str


def read_hosts(path: str) -> list[Host]:
    return [Host(**entry) for entry in json.loads(Path(path).read_text())]


def connect(host: Host) -> paramiko.SSHClient:
    """One connection without Nagle's algorithm: with it each exec waits for a delayed acknowledgement (40 ms)."""
    link = socket.create_connection((host.address, host.port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = paramiko.SSHClient()
    client.load_host_keys(host.known_hosts)
    key = paramiko.Ed25519Key.from_private_key_file(host.key)
    client.connect(host.address, host.port, host.user, pkey=key, sock=link, look_for_keys=False, allow_agent=False)
    return client


def connect_all(hosts: list[Host], pool: ThreadPoolExecutor) -> list[paramiko.SSHClient]:
    return list(pool.map(connect, hosts))
