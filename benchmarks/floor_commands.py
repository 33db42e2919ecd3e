"""The least that COUNT commands on each host can cost: one exec each, all hosts at once, a barrier after each.

usage: python -m benchmarks.floor_commands HOSTS.json COUNT
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import paramiko

from benchmarks.floor_ssh import connect_all, read_hosts


def execute(client: paramiko.SSHClient, command: str) -> bytes:
    _, output, _ = client.exec_command(command)
    text = output.read()
    if output.channel.recv_exit_status() != 0:
        raise SystemExit(f"{command} failed")
    return text


def main(hosts_path: str, count: int) -> None:
    hosts = read_hosts(hosts_path)
    with ThreadPoolExecutor(len(hosts)) as pool:
        clients = connect_all(hosts, pool)
        for number in range(count):
            expected = f"{number}\n".encode()
            texts = pool.map(execute, clients, [f"echo {number}"] * len(clients))
            if any(text != expected for text in texts):
                raise SystemExit("a host said something else")
        for client in clients:
            client.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
