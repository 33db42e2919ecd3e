"""The least that COUNT commands in each container can cost: one exec each, all at once, a barrier after each.

usage: python -m benchmarks.floor_docker DOCKER_HOST COUNT CONTAINER..
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker


def execute(container: Any, number: int) -> bytes:
    code, text = container.exec_run(["/bin/sh", "-c", f"echo {number}"])
    if code != 0:
        raise SystemExit(f"echo {number} failed")
    return bytes(text)


def main(host: str, count: int, names: list[str]) -> None:
    client = docker.DockerClient(base_url=host, max_pool_size=len(names))
    containers = [client.containers.get(name) for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        for number in range(count):
            texts = pool.map(execute, containers, [number] * len(names))
            if any(text != f"{number}\n".encode() for text in texts):
                raise SystemExit("a container said something else")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
