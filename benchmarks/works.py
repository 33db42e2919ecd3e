"""The works of the bench by number, and how each contender is asked to do them.

A work is tried in a new folder each time. Some tries have several steps measured one after the other: W3 writes
its templates and then finds them written, W7 runs near and far.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import advisories, contenders, many_crates, scale
from benchmarks.contenders import Command
from benchmarks.fleet import Fleet, far_host, fleet
from benchmarks.peers import Peers
from tests.parts import images
from tests.parts.docker import docker
from tests.parts.postgres import postgres
from tests.parts.process import find, short_folder

ROUND_TRIP_S = 0.1
TEMPLATE = """# {{ inventory_hostname }}, file {{ number }}
[server]
name = {{ inventory_hostname }}
port = {{ 8000 + number }}
{% for worker in range(8) %}
worker.{{ worker }} = {{ inventory_hostname }}-{{ number }}-{{ worker }}
{% endfor %}
"""


@dataclass(frozen=True)
class Step:
    """One measured program; `work` is the name under which it is recorded."""

    work: str
    command: Command


Try = Callable[[Path], Sequence[Step]]


@dataclass(frozen=True)
class Work:
    """A work with its contenders. `whole_tree`: memory of all processes together is what is asked for."""

    title: str
    tries: Mapping[str, Try]
    whole_tree: bool = False


@dataclass(frozen=True)
class Setting:
    """What all works need: a folder for their files, and the peers."""

    folder: Path
    peers: Peers


def playbook(path: Path, tasks: Sequence[str], hosts: str = "fleet", connection: str = "") -> str:
    """Write a straight play in plain Ansible YAML; gives its path."""
    lines = ["- name: Bench", f"  hosts: {hosts}", "  gather_facts: false"]
    lines += [f"  connection: {connection}"] if connection else []
    path.write_text("\n".join([*lines, "  tasks:", *tasks]) + "\n")
    return str(path)


def echoes(count: int) -> list[str]:
    return [f"    - name: Say {number}\n      command: echo {number}" for number in range(count)]


def deploy(path: Path, lines: Sequence[str]) -> str:
    """Write a pyinfra deploy; gives its path."""
    path.write_text("\n".join(["from pyinfra.operations import files, server", *lines]) + "\n")
    return str(path)


def command_tries(setting: Setting, hosts: Fleet, count: int, work: str) -> dict[str, Try]:
    """`count` commands on each host, for all contenders, recorded as `work`."""
    folder, peers = hosts.folder, setting.peers
    play = playbook(folder / "commands.yml", echoes(count))
    lines = [f'server.shell(name="Say {number}", commands=["echo {number}"])' for number in range(count)]
    script = deploy(folder / "commands.py", lines)
    by_ansible = ("-i", hosts.inventory, play)
    return {
        "floor": lambda _: [Step(work, contenders.floor("floor_commands", hosts.hosts, count))],
        "ciflow": lambda _: [Step(work, contenders.ciflow("apply", play, "-i", hosts.inventory))],
        "pyinfra": lambda _: [Step(work, contenders.pyinfra(peers, hosts.pyinfra, script))],
        "ansible": lambda home: [Step(work, contenders.ansible(peers, home, *by_ansible))],
        "ansible-pipelining": lambda home: [Step(work, contenders.pipelined(peers, home, hosts.size, *by_ansible))],
        "mitogen": lambda home: [Step(work, contenders.mitogen(peers, home, hosts.size, *by_ansible))],
    }


@contextlib.contextmanager
def one_host(setting: Setting) -> Iterator[Work]:
    with fleet(setting.folder, 1) as hosts:
        yield Work("1 host x 50 commands", command_tries(setting, hosts, 50, "W1"))


@contextlib.contextmanager
def twenty_hosts(setting: Setting) -> Iterator[Work]:
    with fleet(setting.folder, 20) as hosts:
        yield Work("20 hosts x 20 commands", command_tries(setting, hosts, 20, "W2"))


@contextlib.contextmanager
def ten_containers(setting: Setting) -> Iterator[Work]:
    """Over the Docker daemon's socket. ansible-core has no such connection: it is in another collection."""
    count, folder = 20, setting.folder
    play = playbook(folder / "commands.yml", echoes(count))
    lines = [f'server.shell(name="Say {number}", commands=["echo {number}"])' for number in range(count)]
    script = deploy(folder / "commands.py", lines)
    (folder / "docker").mkdir()
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(docker(folder / "docker"))
        names = [stack.enter_context(daemon.container(images.PYTHON)) for _ in range(10)]
        inventory = folder / "inventory.ini"
        inventory.write_text("[fleet]\n" + "".join(f"{name}\n" for name in names) + "[fleet:vars]\n"
                             f"ansible_connection=docker\nansible_docker_docker_host={daemon.host}\n")  # fmt: skip
        env = {"DOCKER_HOST": daemon.host}
        hosts = ",".join(f"@docker/{name}" for name in names)
        tries: dict[str, Try] = {
            "floor": lambda _: [Step("W2-docker", contenders.floor("floor_docker", daemon.host, count, *names))],
            "ciflow": lambda _: [Step("W2-docker", contenders.ciflow("apply", play, "-i", str(inventory)))],
            "pyinfra": lambda _: [Step("W2-docker", contenders.pyinfra(setting.peers, hosts, script, env=env))],
        }
        yield Work("10 containers x 20 commands", tries)


@contextlib.contextmanager
def templates(setting: Setting) -> Iterator[Work]:
    """20 templates on 20 hosts into an empty folder, and again when all are as they should be."""
    count, root = 20, setting.folder / "written"
    template = setting.folder / "small.conf.j2"
    template.write_text(TEMPLATE)
    tasks, lines = [], []
    for number in range(count):
        dest = f"{root}/{{{{ inventory_hostname }}}}.{number}.conf"
        tasks.append(f"    - name: Write {number}\n      vars: {{number: {number}}}")
        tasks.append(f'      template: {{src: "{template}", dest: "{dest}"}}')
        pyinfra_dest = f'"{root}/" + host.name + ".{number}.conf"'
        lines.append(
            f'files.template(name="Write {number}", src="{template}", dest={pyinfra_dest}, '
            f"inventory_hostname=host.name, number={number})"
        )
    with fleet(setting.folder, 20) as hosts:
        play = playbook(hosts.folder / "templates.yml", tasks)
        script = deploy(hosts.folder / "templates.py", ["from pyinfra import host", *lines])

        def twice(command: Command) -> list[Step]:
            """What was written before is put aside: ext4 takes long to find an inode for a minute after many files
            were removed, and whoever came next would pay."""
            if root.exists():
                root.rename(root.with_name(f"written-{time.monotonic_ns()}"))
            root.mkdir()
            return [Step("W3", command), Step("W3-second", command)]

        peers, by_ansible = setting.peers, ("-i", hosts.inventory, play)
        tries: dict[str, Try] = {
            "floor": lambda _: twice(contenders.floor("floor_templates", hosts.hosts, count, template, root)),
            "ciflow": lambda _: twice(contenders.ciflow("apply", play, "-i", hosts.inventory)),
            "pyinfra": lambda _: twice(contenders.pyinfra(peers, hosts.pyinfra, script)),
            "ansible": lambda home: twice(contenders.ansible(peers, home, *by_ansible)),
            "ansible-pipelining": lambda home: twice(contenders.pipelined(peers, home, hosts.size, *by_ansible)),
            "mitogen": lambda home: twice(contenders.mitogen(peers, home, hosts.size, *by_ansible)),
        }
        yield Work("20 hosts x 20 small templates, first and second run", tries)


@contextlib.contextmanager
def local(setting: Setting) -> Iterator[Work]:
    count, folder, peers = 100, setting.folder, setting.peers
    play = playbook(folder / "local.yml", echoes(count), "localhost", "local")
    lines = [f'server.shell(name="Say {number}", commands=["echo {number}"])' for number in range(count)]
    script = deploy(folder / "local.py", lines)
    inventory = folder / "local.ini"
    inventory.write_text('localhost ansible_connection=local ansible_python_interpreter="/usr/bin/python3"\n')
    by_ansible = ("-i", str(inventory), play)
    tries: dict[str, Try] = {
        "floor": lambda _: [Step("W4", contenders.floor("floor_local", count))],
        "ciflow": lambda _: [Step("W4", contenders.ciflow("apply", play, "-i", str(inventory)))],
        "pyinfra": lambda _: [Step("W4", contenders.pyinfra(peers, "@local", script))],
        "ansible": lambda home: [Step("W4", contenders.ansible(peers, home, *by_ansible))],
        "ansible-pipelining": lambda home: [Step("W4", contenders.pipelined(peers, home, 1, *by_ansible))],
        "mitogen": lambda home: [Step("W4", contenders.mitogen(peers, home, 1, *by_ansible))],
    }
    yield Work("100 commands on this machine", tries)


@contextlib.contextmanager
def start_up(setting: Setting) -> Iterator[Work]:
    """`--version`, and finding faults in 2,000 tasks; a floor that does nothing, and one that only reads YAML."""
    play = playbook(setting.folder / "long.yml", echoes(2000), "localhost", "local")
    peers = setting.peers

    def pair(version: Command, validate: Command | None) -> list[Step]:
        return [Step("W5", version), *([Step("W5-validate", validate)] if validate else [])]

    nothing = Command((sys.executable, "-c", "pass"))
    tries: dict[str, Try] = {
        "floor": lambda _: pair(nothing, contenders.floor("floor_yaml", play)),
        "ciflow": lambda _: pair(contenders.ciflow("--version"), contenders.ciflow("validate", play)),
        "pyinfra": lambda _: pair(contenders.pyinfra(peers, "--version"), None),
        "ansible": lambda home: pair(
            contenders.ansible(peers, home, "--version"),
            contenders.ansible(peers, home, "--syntax-check", play),
        ),
    }
    yield Work("--version, and validating 2,000 tasks", tries)


@contextlib.contextmanager
def many_hosts(setting: Setting) -> Iterator[Work]:
    with fleet(setting.folder, 200) as hosts:
        yield Work("200 hosts x 5 commands, with peak memory", command_tries(setting, hosts, 5, "W6"), whole_tree=True)


@contextlib.contextmanager
def far(setting: Setting) -> Iterator[Work]:
    """20 tasks near and then far; `connection` only connects, so that what is left are the tasks' round trips."""
    with far_host(setting.folder, ROUND_TRIP_S) as (near_host, distant_host):
        near = command_tries(setting, near_host, 20, "W7-near")
        distant = command_tries(setting, distant_host, 20, "W7")
        near["connection"] = lambda _: [Step("W7-near", contenders.floor("floor_commands", near_host.hosts, 0))]
        distant["connection"] = lambda _: [Step("W7", contenders.floor("floor_commands", distant_host.hosts, 0))]

        def both(who: str) -> Try:
            return lambda home: [*near[who](home / "near"), *distant[who](home / "far")]

        title = f"1 host x 20 commands through {ROUND_TRIP_S * 1000:g} ms of delay"
        yield Work(title, {who: both(who) for who in distant})


FARM, FARM_TASKS = 10_000, 3


@contextlib.contextmanager
def simulated(_setting: Setting) -> Iterator[Work]:
    """By three Dask workers (W12), and by one process; no peer has such hosts."""
    with short_folder("postgres") as folder, postgres(folder) as server:  # a folder of its own: it runs as nobody

        def both(home: Path) -> Sequence[Step]:
            env = scale.environment(home, server)
            argv = scale.argv(home, FARM, FARM_TASKS)
            alone = {**env, "CIFLOW_STATE": server.database()}
            shared = Command((*argv, *scale.WAYS["three workers"]), env)
            return [Step("W12", shared), Step("W12-alone", Command(argv, alone))]

        title = f"{FARM:,} simulated hosts x {FARM_TASKS} commands, with peak memory"
        yield Work(title, {"ciflow": both}, whole_tree=True)


@contextlib.contextmanager
def bills(setting: Setting) -> Iterator[Work]:
    """The bill of a program of 900 crates: exact to the build (W9), and from the lock alone (W9-lock)."""
    root = str(many_crates.make(setting.folder))
    offline = {"CARGO_NET_OFFLINE": "true"}

    def peer(*argv: str) -> Command:
        """In the workspace, whose settings cargo looks for where it is started."""
        program = shlex.join((find(argv[0], argv[0]), *argv[1:]))
        return Command(("/bin/sh", "-c", f"cd {shlex.quote(root)} && exec {program}"), offline)

    def ours(home: Path) -> list[Step]:
        exact = contenders.ciflow("sbom", root, "-o", str(home / "exact.json"))
        lock = contenders.ciflow("sbom", root, "--lock-only", "-o", str(home / "lock.json"))
        return [Step("W9", Command(exact.argv, offline)), Step("W9-lock", lock)]

    tries: dict[str, Try] = {
        "ciflow": ours,
        "cargo-cyclonedx": lambda _: [Step("W9", peer("cargo-cyclonedx", "cyclonedx", "-f", "json"))],
        "syft": lambda home: [
            Step("W9-lock", peer("syft", "-q", "scan", f"dir:{root}", "-o", f"cyclonedx-json={home}/syft.json"))
        ],
    }
    yield Work("bill of materials of 900 crates, exact and from the lock", tries)


@contextlib.contextmanager
def known_holes(setting: Setting) -> Iterator[Work]:
    """1,244 advisories and the index of crates.io over 900 crates: the first look (W10-cold), and the next."""
    made = advisories.make(setting.folder)
    given = ("--no-fetch", "--db", str(made.database), "--file", str(made.lock))
    audit = Command((find("cargo-audit", "cargo-audit"), "audit", *given), {"CARGO_HOME": str(made.cargo)})

    def ours(home: Path) -> list[Step]:
        plain = contenders.ciflow("scan", str(made.lock), "--db", str(made.database), "--fail-on", "never")
        homes = {name: str(home / name) for name in ("XDG_CACHE_HOME", "CIFLOW_STATE")}
        command = Command(plain.argv, {"CARGO_HOME": str(made.cargo), **homes})
        return [Step("W10-cold", command), Step("W10", command)]

    tries: dict[str, Try] = {
        "ciflow": ours,
        "cargo-audit": lambda _: [Step("W10-cold", audit), Step("W10", audit)],
    }
    yield Work("advisories over 900 crates, first and second look", tries)


FAR_TASKS = 20
WORKS: Mapping[str, Callable[[Setting], contextlib.AbstractContextManager[Work]]] = {
    "W1": one_host,
    "W2": twenty_hosts,
    "W2-docker": ten_containers,
    "W3": templates,
    "W4": local,
    "W5": start_up,
    "W6": many_hosts,
    "W7": far,
    "W9": bills,
    "W12": simulated,
    "W10": known_holes,
}
