"""The least that COUNT small templates on each host can cost: rendered here, compared and written by SFTP.

usage: python -m benchmarks.floor_templates HOSTS.json COUNT TEMPLATE ROOT
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jinja2
import paramiko

from benchmarks.floor_ssh import Host, connect, read_hosts


def put(sftp: paramiko.SFTPClient, path: str, content: bytes) -> None:
    """Write by renaming a temporary file, unless the file already holds this content."""
    try:
        with sftp.open(path, "rb") as present:
            if present.read() == content:
                return
    except FileNotFoundError:
        pass
    with sftp.open(f"{path}.new", "wb") as new:
        new.write(content)
    sftp.posix_rename(f"{path}.new", path)


def write_all(template: jinja2.Template, count: int, root: str, host: Host) -> None:
    client = connect(host)
    sftp = client.open_sftp()
    for number in range(count):
        text = template.render(inventory_hostname=host.name, number=number)
        put(sftp, f"{root}/{host.name}.{number}.conf", text.encode())
    client.close()


def main(hosts_path: str, count: int, template_path: str, root: str) -> None:
    hosts = read_hosts(hosts_path)
    template = jinja2.Environment(keep_trailing_newline=True).from_string(Path(template_path).read_text())
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(partial(write_all, template, count, root), hosts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
