"""A service in production on this machine: a router, two slots, users, and `ciflow` as people start it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import StoreError
from ciflow.model import Event
from ciflow.store.store import Store
from tests.parts import gateway, process
from tests.parts.kube import NODE_IP, Kube
from tests.rollout.host import AgentHost
from tests.rollout.kube_rig import kube_settings
from tests.rollout.rig import Users, settings_of

NAME = "shield"
PATIENCE = 120.0  # seconds for anything that is waited for

PROGRAM = """
import asyncio, pathlib, random, sys
slot, port, fault = sys.argv[1].encode(), int(sys.argv[2]), pathlib.Path(sys.argv[3])
if sys.argv[4] == "dies":
    sys.exit("no configuration")
bad = 0.0
async def learn():
    global bad
    while True:
        bad = float(fault.read_text() or 0) if fault.exists() else 0.0
        await asyncio.sleep(0.05)
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            status = b"500 Bad" if random.random() < bad else b"200 OK"
            writer.write(b"HTTP/1.1 %s\\r\\nX-Slot: %s\\r\\nContent-Length: 2\\r\\n\\r\\nok" % (status, slot))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    learning = asyncio.create_task(learn())
    async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=512) as server:
        await server.serve_forever()
asyncio.run(main())
"""

PLAYBOOK = """
name: Release shield
vars:
  fault: "{home}/fault-{{{{ version }}}}"
  slow: 0
  kind: works
  bake: 0.4s
  hold: 0.4s
  deadline: 10m
  on_failure: rollback
plays:
  - name: Roll out
    hosts: localhost
    canary:
      service: shield
      version: "{{{{ version }}}}"
      router: {{{router}: {settings}}}
      slots: {slots}
      steps: [{{weight: 25%, hold: "{{{{ hold }}}}"}}, {{weight: 50%, hold: "{{{{ hold }}}}"}}]
      gates: {gates}
      by: "{by}"
      interval: 0.2s
      warm_up: 0.2s
      dead_man: 6s
      deadline: "{{{{ deadline }}}}"
      bake: "{{{{ bake }}}}"
      keep_warm: 10m
      on_failure: "{{{{ on_failure }}}}"
    tasks:
      - name: Deploy
        shell: echo deploy {{{{ version }}}} >> {home}/ran
      - name: Start
        process:
          name: "shield-{{{{ slot.name }}}}"
          cmd: "{python} {home}/program.py {{{{ slot.name }}}} {{{{ slot.listen }}}} {{{{ fault }}}} {{{{ kind }}}}"
          state: restarted
          health: {{port: "{{{{ slot.listen }}}}", timeout: 60}}
      - name: Take a while
        shell: sleep {{{{ slow }}}}; echo after {{{{ version }}}} >> {home}/ran
    verify:
      - name: Look at it
        shell: sleep {{{{ slow }}}}; echo verify {{{{ version }}}} >> {home}/ran
"""


class PatientUsers(Users):
    """Users who come back when nobody answers at all."""

    async def _one(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                await super()._one(number)
            except OSError as error:
                self.failures.append(repr(error))
                await asyncio.sleep(0.1)


@dataclass
class Service:
    """`ciflow` is run with a home and a journal of its own, so that nothing here meets anything else."""

    kind: str
    home: Path
    port: int
    slots: dict[str, int]
    users: Users
    settings: dict[str, Any]
    bind: str = "127.0.0.1"  # where the slots' programs listen; or everywhere
    gates: str = "[errors: {tolerate: 1.25, floor: 20%}]"
    by: str = ""  # how users stick
    address: str = ""  # the router's name of a slot but for its letter, where that is not the program's own port
    versions: int = 1
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def places(self) -> dict[str, dict[str, Any]]:
        """`slots:` of the playbook."""
        if not self.address:
            return {name: {"port": port, "listen": port} for name, port in self.slots.items()}
        names = {name: f"{self.address}{name}" for name in self.slots}
        return {name: {"address": names[name], "port": 80, "listen": port} for name, port in self.slots.items()}

    @property
    def state(self) -> Path:
        return self.home / "state"

    def write(self, name: str = "release.yml", **changes: Any) -> Path:
        """The playbook, perhaps with other settings of the router."""
        path = self.home / name
        text = PLAYBOOK.format(
            router=self.kind, settings=json.dumps({**self.settings, **changes}), slots=json.dumps(self.places),
            gates=self.gates, by=self.by, home=self.home, python=sys.executable,
        )  # fmt: skip
        path.write_text(text)
        return path

    # --- ciflow ------------------------------------------------------------------------------------------

    def start(self, *words: str, state: Path | None = None, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """`before` are words of a program that starts it."""
        env = {**os.environ, "HOME": str(self.home), "CIFLOW_STATE": str(state or self.state), "COLUMNS": "160"}
        argv = [*before, sys.executable, "-m", "ciflow", *words]
        pipe = subprocess.PIPE
        started = subprocess.Popen(argv, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env, cwd=Path.cwd())
        self.running.append(started)
        return started

    def ciflow(self, *words: str, state: Path | None = None, timeout: float = PATIENCE) -> tuple[int, str]:
        """One command to its end: exit code, and what it said."""
        return finish(self.start(*words, state=state), timeout)

    def next(self, fault: float = 0.0) -> str:
        """The next version's name; `fault` is its share of bad answers."""
        self.versions += 1
        version = f"{self.versions}.0"
        self.break_version(version, fault)
        return version

    def break_version(self, version: str, fault: float) -> None:
        (self.home / f"fault-{version}").write_text(str(fault))

    def apply(
        self, version: str, *words: str, playbook: str = "release.yml", state: Path | None = None, **variables: Any
    ) -> subprocess.Popen[str]:
        extra = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        path = str(self.home / playbook)
        return self.start("apply", path, "--replace-warm", "-e", f"version={version}", *extra, *words, state=state)

    # --- what is seen ------------------------------------------------------------------------------------

    def events(self, *kinds: str, state: Path | None = None) -> list[Event]:
        try:
            with Store.open(state or self.state, read_only=True) as store:
                return list(store.events(kinds=kinds))
        except StoreError:
            return []

    def until(self, version: str, state: str, weight: int | None = None) -> Event:
        """Wait for a state of that version's rollout."""

        def found() -> Event | None:
            told = (e for e in self.events("canary_state") if e.data["version"] == version)
            return next((e for e in told if e.data["state"] == state and weight in (None, e.data["weight"])), None)

        event: Event = process.wait_for(found, f"{version} {state} {weight}", told=self.told)
        return event

    def told(self) -> str:
        return "\n".join(f"{e.kind} {dict(e.data)}" for e in self.events("canary_state", "error", "warning")[-12:])

    def ran(self, version: str) -> list[str]:
        """Which tasks have run for that version, in order."""
        path = self.home / "ran"
        return [line.split()[0] for line in path.read_text().splitlines() if line.split()[1] == version]

    def live(self) -> str:
        """Which slot answers, once the answers agree."""
        slot: str = process.wait_for(self.only_slot, "all traffic on one slot")
        return slot

    def only_slot(self) -> str:
        """By 50 answers: a slot with a quarter of the traffic is not among so many once in two million times."""
        self.users.seen.clear()
        process.wait_for(lambda: self.users.answers >= 50, "50 answers")
        slots = {slot for _, slot in self.users.seen}
        return slots.pop() if len(slots) == 1 else ""

    @contextlib.contextmanager
    def no_request_fails(self, *, by_router: bool = True) -> Iterator[None]:
        """All users get an answer, and (unless their version is faulty) a good one."""
        self.users.seen.clear()
        self.users.failures.clear()
        yield
        bad = {answer: count for answer, count in self.users.seen.items() if answer[0] != 200}
        assert not self.users.failures, self.users.failures[:3]
        assert not (by_router and bad), bad
        assert self.users.answers > 0


def finish(started: subprocess.Popen[str], timeout: float = PATIENCE) -> tuple[int, str]:
    """Its exit code, and its words without the breaks and columns that the screen gives them."""
    try:
        said, _ = started.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        started.kill()
        said, _ = started.communicate()
        raise AssertionError(f"{started.args!r} did not end within {timeout} s:\n{said[-3000:]}") from None
    return started.returncode, " ".join(said.split())


@contextlib.contextmanager
def service(kind: str, by: str = "", **more: Any) -> Iterator[Service]:
    """Version 1.0 in production, with users. Raises MissingPart where the router's program is missing."""
    with process.short_folder("e2e") as home, ExitStack() as stack:
        port, slots = process.free_port(), {"a": process.free_port(), "b": process.free_port()}
        settings = {k: v for k, v in {**settings_of(kind, port, home), **more}.items() if k != "overdue"}
        found = Service(kind, home, port, slots, PatientUsers(port, rate=160, clients=6), settings, by=by)
        yield stack.enter_context(in_production(found))


@contextlib.contextmanager
def kube_service(kube: Kube, kind: str = "gateway-api", namespace: str = "e2e") -> Iterator[Service]:
    """The same in a cluster: Traefik is the data plane, and both slots' programs listen at the node's address."""
    with process.short_folder("e2e") as home, ExitStack() as stack:
        gateway.define(kube, gateway.GATEWAY)
        port, slots = process.free_port(), {name: process.free_port(NODE_IP) for name in "ab"}
        things = [thing for name in "ab" for thing in gateway.outside(f"{NAME}-{name}", slots[name], NODE_IP)]
        gateway.put_all(kube, namespace, [*things, *gateway.route(kind, NAME, port)])
        users = PatientUsers(port, rate=160, clients=6)
        settings = kube_settings(kube, namespace)
        found = Service(kind, home, port, slots, users, settings, "0.0.0.0", "[]", address=f"{NAME}-")
        argv = gateway.traefik_argv(home / "traefik", kind, port, process.free_port(), namespace)
        ready = partial(process.answers, "127.0.0.1", port)
        env = {"KUBECONFIG": str(kube.kubeconfig)}
        stack.enter_context(process.run("traefik", argv, home, ready, env=env))
        yield stack.enter_context(in_production(found))


@contextlib.contextmanager
def in_production(found: Service) -> Iterator[Service]:
    with ExitStack() as stack:
        (found.home / "program.py").write_text(PROGRAM.replace("127.0.0.1", found.bind))
        stack.callback(_stop, found)
        found.write()
        code, said = finish(found.apply("1.0", bake="0s"))
        assert code == 0, said
        stack.enter_context(found.users)
        yield found


def _stop(found: Service) -> None:
    for started in found.running:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
            started.wait()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(found.home))
        with AgentHost() as host:
            host.kept |= {
                f"guard-{NAME}",
                f"retire-{NAME}",
                f"{found.kind}-{NAME}",
                *(f"process/{NAME}-{slot}" for slot in "ab"),
            }
            host.kept |= {f"process/{found.kind}-{NAME}"}
