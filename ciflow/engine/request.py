"""What somebody asked for, and what is made of it before anything runs: read, checked, asked about, planned."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, Findings, Invalid
from ciflow.engine.canaries import refuse_canaries
from ciflow.engine.connect import NOTHING_SAID, Reach
from ciflow.engine.context import Options
from ciflow.engine.hosts import hosts_of
from ciflow.engine.questions import Answers, Person, answered, ask
from ciflow.engine.secrets import hiding
from ciflow.lang.extravars import extra_vars
from ciflow.lang.files import Files
from ciflow.lang.load import Loaded, load
from ciflow.lang.locked import locked
from ciflow.lang.passwords import Ask, nobody, read_vault
from ciflow.model import Host, Play
from ciflow.plan import Plan, Selection, compile_plan
from ciflow.plan.compile import nowhere, rollout_alone
from ciflow.plan.tags import unused
from ciflow.store.seal import Seal

_SETS = ("tags", "skip_tags", "plays")  # of what a selection says


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for. All of it is recorded, so a resume asks for the very same.

    Variables of the command line may be secrets, and nobody can tell: they are recorded sealed, and so is what it
    says of reaching hosts, passwords among it, and what people answered.
    """

    playbook: str
    inventory: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    options: Options = field(default_factory=Options)
    roles_path: tuple[str, ...] = ()
    folder: str = field(default_factory=os.getcwd)  # where it was asked: relative paths begin there
    reach: Reach = NOTHING_SAID
    answers: Answers = field(default_factory=dict)  # to `vars_prompt`
    vault_ids: tuple[str, ...] = ()  # where vault passwords come from, never the passwords
    subject: str = ""  # what a playbook that ciflow ships works on; runs of it with other subjects don't exclude it

    def to_data(self, seal: Seal) -> dict[str, Any]:
        def sealed(name: str, value: Any) -> str:
            return seal.seal(json.dumps(value).encode("ascii"), name)

        extra = sealed("extra", self.extra) if self.extra else ""
        reach = sealed("reach", asdict(self.reach)) if self.reach != NOTHING_SAID else ""
        answers = sealed("answers", self.answers) if self.answers else ""
        selection = asdict(self.selection)
        selection |= {name: sorted(selection[name]) for name in _SETS}
        return {**asdict(self), "selection": selection, "extra": extra, "reach": reach, "answers": answers}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], seal: Seal) -> Request:
        extra = json.loads(seal.open(data["extra"], "extra")) if data["extra"] else ()
        chosen = data["selection"]
        sets = {name: frozenset(chosen.get(name, ())) for name in _SETS}
        return cls(
            data["playbook"],
            tuple(data["inventory"]),
            tuple(extra),
            Selection(**{**chosen, **sets}),
            Options(**data["options"]),
            tuple(data.get("roles_path", ())),
            data["folder"],
            Reach(**json.loads(seal.open(data["reach"], "reach"))) if data.get("reach") else NOTHING_SAID,
            json.loads(seal.open(data["answers"], "answers")) if data.get("answers") else {},
            tuple(data.get("vault_ids", ())),
            data.get("subject", ""),
        )


@dataclass(frozen=True, slots=True)
class Ready:
    """A playbook that was read, checked and planned, and the files it was read from."""

    loaded: Loaded
    plan: Plan
    files: Files


def prepare(request: Request, files: Files, *, lints: bool = False) -> tuple[Loaded, Plan]:
    """Read, check and plan: everything that can be refused before anything runs. Raises Invalid, without secrets."""
    with hiding(files.vault):
        return _compiled(request, _load(request, files, lints=lints))


def _load(request: Request, files: Files, *, lints: bool = False) -> Loaded:
    extra = extra_vars(request.extra, files)
    return load(request.playbook, request.inventory, extra, files, roles_path=request.roles_path, lints=lints)


def _compiled(request: Request, loaded: Loaded) -> tuple[Loaded, Plan]:
    """The plan, with the answers that the request has."""
    loaded = replace(loaded, playbook=answered(loaded.playbook, request.answers))

    def select(play: Play, cell: Mapping[str, Any], limit: str) -> tuple[Host, ...]:
        return hosts_of(loaded.inventory, loaded.playbook, loaded.extra, play, cell, limit, loaded.files)

    plan = compile_plan(loaded.playbook, select, request.selection)
    hosts = {host.name: host for stage in plan.stages for host in stage.hosts}
    if request.options.again:
        plan = rollout_alone(plan, request.options.again)
    findings = Findings()
    nowhere(plan, findings)
    unused(loaded.playbook, request.selection.tags | request.selection.skip_tags, findings)
    loaded = replace(loaded, findings=(*loaded.findings, *findings.items))
    refuse_canaries(loaded, plan)
    if shut := locked(loaded.playbook, loaded.inventory, hosts.values()):
        raise Invalid(shut, loaded.files.sources())
    return loaded, plan


def password_of(person: Person | None) -> Ask:
    """How a vault password is asked for."""
    return nobody if person is None else lambda prompt: person.ask_first(prompt, secret=True)


def planned(request: Request, person: Person | None = None) -> Ready:
    """`request` made ready from the files that lie here now. What would be asked has its default; only vault passwords
    are asked for."""
    files = Files.live(read_vault(request.vault_ids, password_of(person)))
    return Ready(*prepare(request, files), files)


def asked(request: Request, person: Person | None) -> tuple[Request, Ready]:
    """The same, with the answers of `person` to what the playbook asks. Raises Invalid where nobody can answer."""
    files = Files.live(read_vault(request.vault_ids, password_of(person)))
    with hiding(files.vault):
        loaded = _load(request, files)
        request = replace(request, answers=ask(loaded, person))
        return request, Ready(*_compiled(request, loaded), files)


def go_back(request: Request) -> None:
    """To the folder of the first start, from wherever a run is resumed or a plan is applied."""
    try:
        os.chdir(request.folder)
    except OSError as error:
        raise CiflowError(f"the run began in {request.folder}, which can't be entered: {error.strerror}") from error
