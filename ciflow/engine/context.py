"""What all stages of one run share: its journal, its wire, its inventory, and what plays leave to one another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ciflow.dataclass import dataclass, field

if TYPE_CHECKING:
    from ciflow.engine.connect import Reach
    from ciflow.engine.hosts import Hosts
    from ciflow.engine.jobs import Job
    from ciflow.engine.link import Connection
    from ciflow.engine.questions import Person
    from ciflow.engine.record import Recorder
    from ciflow.engine.stage import StageRun
    from ciflow.engine.stepping import Stepper
    from ciflow.engine.wire import Wire
    from ciflow.lang.inventory import Inventory
    from ciflow.model import Host, Play
    from ciflow.plan import Plan


# The version of Ansible whose language this is: playbooks ask for it before they use something new.
LANGUAGE = {"major": 2, "minor": 19, "revision": 0, "string": "2.19.0"}


@dataclass(frozen=True, slots=True)
class Options:
    """How a run was asked for on the command line; recorded, so that a resume asks for the same."""

    check: bool = False
    diff: bool = False
    forks: int = 0
    verbosity: int = 0
    replace_warm: bool = False
    break_glass: str = ""
    workdir: str = ""
    force_handlers: bool = False
    step: bool = False
    no_skip: bool = False  # plays run though their inputs passed before
    no_notify: bool = False  # nobody is told, whoever the playbook names
    strategy: str = "linear"  # of plays that name none
    gathering: str = "smart"  # `implicit` reads the facts of every play that doesn't say no
    who: str = ""
    ci: str = ""
    again: str = ""  # the stage whose version is deployed again, and gets all traffic at once
    artifact_store: str = ""  # where the playbook names none
    workers: str = ""  # local:N, or the address of a Dask scheduler
    trace: str = ""  # that the run is part of, in the form of TRACEPARENT, with no span where none is above it
    tracestate: str = ""
    page: str = ""  # address of the CI job that it is


def _never(_play: str, _inputs: Sequence[str]) -> Mapping[str, Any]:
    """Of a run that knows no other."""
    return {}


class Kept(Protocol):
    """Something with a name in the store of artifacts."""

    @property
    def digest(self) -> str: ...


class Artifacts(Protocol):
    """Content-addressed files that outlive the run, here and in the store that machines share (`where`)."""

    @property
    def where(self) -> str: ...
    def put_file(self, source: Path) -> str: ...
    def scratch(self) -> Path: ...
    def has(self, digest: str) -> bool: ...
    def take(self, digest: str) -> Path: ...
    def find(self, name: str, key: str) -> Kept | None: ...
    def name(
        self, name: str, digest: str, needed: Mapping[str, str], *, run: str = "", play: str = "", key: str = ""
    ) -> None: ...


class Blobs(Protocol):
    """What the journal itself keeps, by digest."""

    def put(self, content: bytes) -> str: ...
    def path(self, digest: str) -> Path: ...


class Crew(Protocol):
    """Processes that walk shards of a stage's hosts. See engine/crew.py."""

    def takes(self, play: Play, hosts: Sequence[Host]) -> bool: ...
    async def work(self, stage: StageRun, batch: Sequence[Host], number: int) -> None: ...


class Secrets(Protocol):
    """Values that nobody may see, known by value."""

    def add(self, value: str | bytes) -> bool: ...
    def text(self, text: str) -> str: ...
    def value(self, value: object) -> object: ...


@dataclass(slots=True)
class HostValues:
    """What a host came to know in the run: facts, `set_fact`, registers, included variables. All of it is data."""

    facts: dict[str, Any] = field(default_factory=dict)
    set_facts: dict[str, Any] = field(default_factory=dict)
    included: dict[str, Any] = field(default_factory=dict)
    facts_known: bool = False  # all that `setup` tells
    subsets: frozenset[str] = frozenset()  # of `setup`'s that were read, as long as it isn't all

    def learn(self, facts: Mapping[str, Any], *, whole: bool, subsets: Iterable[str] = ()) -> None:
        """Take in facts: each under its own name, all of them as `ansible_facts` without prefix.

        `whole`: they are all those of `setup`; `subsets`: some of its. Other modules (`package_facts`, ..) add
        theirs; `ansible_facts` only stands there once all of it has been read.
        """
        self.facts_known |= whole
        self.subsets |= frozenset(subsets)
        known = {**self.facts, **facts}
        if self.facts_known:
            known["ansible_facts"] = self.short(known)
        self.facts = known

    @staticmethod
    def short(facts: Mapping[str, Any]) -> dict[str, Any]:
        """Facts as `ansible_facts` has them: without prefix."""
        return {name.removeprefix("ansible_"): value for name, value in facts.items() if name != "ansible_facts"}

    def forget(self) -> None:
        """As if no facts had been read."""
        self.facts, self.facts_known, self.subsets = {}, False, frozenset()

    def copy(self) -> HostValues:
        return replace(self, facts=dict(self.facts), set_facts=dict(self.set_facts), included=dict(self.included))

    def merge(self, later: HostValues) -> None:
        """Take over what a play that ended later knows."""
        self.learn(later.facts, whole=later.facts_known, subsets=later.subsets)
        self.set_facts |= later.set_facts
        self.included |= later.included


@dataclass(slots=True)
class RunContext:
    """One run. `extra` is lang's; `hosts`, `outputs`, `artifacts` and `provenance` grow as plays go on."""

    id: str
    plan: Plan
    hosts: Hosts
    files: Any
    extra: Mapping[str, Any]
    options: Options
    recorder: Recorder
    wire: Wire
    controller: Connection
    reach: Reach
    person: Person | None
    stepper: Stepper | None
    store: Artifacts
    blobs: Blobs
    needed: Callable[[], Mapping[str, str]]  # what runs and slots of this machine hold: why, by digest
    started: float
    mask: Secrets
    claim: Callable[[str], int]  # takes a lock for the run and gives its token; raises Locked
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)  # of artifacts: the file that says how each was built
    proofs: Callable[[str], str] = lambda _digest: ""  # by digest: the blob that says how it was built
    scans: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # on artifacts, by digest: the newest report
    git: Mapping[str, Any] = field(default_factory=dict)
    services: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    passed: Callable[[str, Sequence[str]], Mapping[str, Any]] = _never  # the end of a play that had these inputs
    test_history: Callable[[], Mapping[str, Any]] = dict  # what runs before this one tell of its tests
    values: dict[str, HostValues] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)  # tasks left behind on their hosts, by job id
    folder: str = ""  # of the playbook, absolute
    roles: tuple[str, ...] = ()  # folders of the roles that it uses
    crew: Crew | None = None
    away: bool = False  # on another machine than the controller: nothing is done "here"

    def __post_init__(self) -> None:
        self.folder = str(Path(self.plan.path).parent.absolute())

    @property
    def inventory(self) -> Inventory:
        """The inventory as it stands now."""
        return self.hosts.inventory

    def host(self, name: str) -> Host | None:
        """A host of the inventory, or the implicit localhost."""
        return self.inventory.host(name)

    @property
    def of_command(self) -> dict[str, Callable[[], Any]]:
        """Magic variables that say how ciflow was called."""
        chosen = self.plan.selection
        sources = self.hosts.sources
        found: dict[str, Callable[[], Any]] = {
            "ansible_run_tags": lambda: sorted(chosen.tags) or ["all"],
            "ansible_skip_tags": lambda: sorted(chosen.skip_tags),
            "ansible_inventory_sources": lambda: list(sources),
            "inventory_dir": lambda: str(Path(self.inventory.directory).absolute()) if sources else None,
            "inventory_file": lambda: sources[0] if sources else None,
            "ansible_forks": lambda: self.options.forks or max(1, len(self.inventory.hosts)),
            "ansible_playbook_python": lambda: sys.executable,
            "ansible_config_file": lambda: None,
            "ansible_version": lambda: {**LANGUAGE, "full": LANGUAGE["string"]},
        }
        return found | ({"ansible_limit": lambda: chosen.limit} if chosen.limit else {})

    def of_run(self) -> dict[str, Any]:
        """The magic variable `run`."""
        return {"id": self.id, "started": self.started, "who": self.options.who, "ci": self.options.ci}
