"""Playbooks: from a file to the model. Every fault is found in one go; `load.load` raises them all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import Findings, Invalid
from ciflow.lang.canary import ASKED, SETTLED, read_canary
from ciflow.lang.files import Files
from ciflow.lang.inherit import Inherited, conditions, extend, keywords, names, tags
from ciflow.lang.kinds import boolean, duration, percent
from ciflow.lang.matrix import read_matrix
from ciflow.lang.modulenames import short
from ciflow.lang.near import nearest
from ciflow.lang.needs import check_needs
from ciflow.lang.place import Place
from ciflow.lang.roles import Roles
from ciflow.lang.schema import check_part, part_schema
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope, Vars
from ciflow.lang.sources import Sources, join
from ciflow.lang.tasks import TaskReader
from ciflow.lang.template import render
from ciflow.model import EMPTY, Affected, Approval, Artifact, Node, Play, Playbook, Prompt, Retry, Task

_FACTS = ("gather_subset", "gather_timeout", "fact_path")  # keywords of a play that are arguments of `setup`
_SETTLED = ("gather_facts", "always", "any_errors_fatal", "force_handlers", "deadline", "max_fail_percentage", "order",
            "retry", "concurrency", "strategy", "needs", "matrix")  # fmt: skip
_PLACED = ("hosts", "vars_files", "canary")  # values that are found wrong, or missed, later than they are read
_NOT_BESIDE_CANARY = {
    "image": "what is made for a play does not outlive it",
    "affected": "whether a release stands is no matter of its sources",
    "retry": "what was turned back gets no traffic again by itself; a task tries again with `until` or `retries`",
}
_STRATEGIES = {"debug": "linear"}  # which stops for a person where a task fails


def load_playbook(
    path: str, files: Files, *, roles_path: tuple[str, ...] = (), extra: Mapping[str, Any] = EMPTY
) -> Playbook:
    """The playbook of a file. Raises Invalid with every fault of its files."""
    sources = Sources(files, path.rpartition("/")[0], roles_path)
    playbook = read_playbook(path, sources, extra)
    if sources.findings.errors or playbook is None:
        raise Invalid(sources.findings.items, files.sources())
    return playbook


def read_playbook(path: str, sources: Sources, extra: Mapping[str, Any] = EMPTY) -> Playbook | None:
    """The playbook as far as it can be read; faults are in `sources.findings`.

    Settings that must be known before the run (strategy, matrix, deadlines, ..) may hold templates of `extra` and of
    the playbook's and play's own variables.
    """
    try:
        document = sources.document(path)
    except Invalid as fault:
        sources.findings.items.extend(fault.diagnostics)
        return None
    if document is None:
        return None
    reader = PlaybookReader(sources, extra)
    plays_place, whole = reader.parts(document)
    shared = whole.fields.get("vars") if whole else None
    variables = sources.variables(shared, "playbook", Level.PLAY_VARS, checked=True)
    reader.shared = variables
    chosen = whole.fields.get("artifact_store") if whole else None
    store = reader.settled(chosen) if chosen is not None else None
    with sources.inside(path, "", None):
        plays = reader.plays(plays_place)
    check_needs(plays, reader.needs, sources.findings)
    if not plays and not sources.findings.errors:
        sources.findings.error("CF0113", "this playbook has no plays", document.span)
    name = whole.value.get("name") if whole else None
    label = path.rpartition("/")[2]
    label = str(getattr(name, "source", name) or label)
    made = Playbook(label, path, tuple(plays), variables, document.span, str(store or ""))
    told = whole.fields.get("notifications") if whole else None
    return made if told is None else _with_notifications(made, told, sources, extra)


def _with_notifications(playbook: Playbook, place: Place, sources: Sources, extra: Mapping[str, Any]) -> Playbook:
    from ciflow.lang.notifications import check_notifications, read_notifications  # most playbooks tell nobody

    playbook = replace(playbook, notifications=read_notifications(place, sources.files, sources.findings))
    check_notifications(playbook, extra, sources.files, sources.findings)
    return playbook


class PlaybookReader:
    """Reads plays. Ids are unique over all the playbooks that it reads."""

    def __init__(self, sources: Sources, extra: Mapping[str, Any] = EMPTY) -> None:
        self.sources = sources
        self.extra = extra
        self.shared: Mapping[str, Any] = EMPTY
        self.findings: Findings = sources.findings
        self._ids: dict[str, Play] = {}
        self.needs: dict[str, Place] = {}  # where each play says what it needs, by id

    def parts(self, document: Place) -> tuple[Place | None, Place | None]:
        """The list of plays, and the mapping that it stands in, if any."""
        if isinstance(document.value, list):
            return document, None
        if document.value is None:
            self.findings.error("CF0113", "this playbook is empty", document.span, label="it needs at least one play")
            return None, None
        if isinstance(document.value, dict):
            if "hosts" in document.fields and "plays" not in document.fields:
                self.findings.error("CF0101", "a playbook is a list of plays", document.key_span("hosts"),
                                    label="begin the play with `- `")  # fmt: skip
                return None, document
            check_part("playbook", document, self.findings)
            return document.fields.get("plays"), document
        self.findings.error("CF0101", "a playbook is a list of plays, or a mapping with `plays`", document.span)
        return None, None

    def plays(self, place: Place | None) -> list[Play]:
        if place is None or place.value is None:
            return []
        if not isinstance(place.value, list):
            self.findings.error("CF0101", "`plays` must be a list", place.span)
            return []
        found: list[Play] = []
        for item in place.items:
            if not isinstance(item.value, dict):
                self.findings.error("CF0101", "a play is a mapping of keywords", item.span)
            elif imported := next((key for key in item.value if short(str(key)) == "import_playbook"), None):
                found.extend(self._imported(item, str(imported)))
            else:
                found.append(self._play(item))
        return found

    def _imported(self, place: Place, key: str) -> list[Play]:
        below = place.fields[key]
        given = self.sources.variables(place.fields.get("vars"), "import_playbook", Level.PLAY_VARS)
        name = self._early(below.value, given)
        if not isinstance(name, str):
            self.findings.error("CF0402", "the file of `import_playbook` must be known before the run", below.span)
            return []
        path = join(place.file.rpartition("/")[0], name)
        if not self.sources.files.exists(path):
            self.findings.error("CF0402", f"the file {path} is not found", below.span)
            return []
        with self.sources.inside(path, "imported here", below.span) as fresh:
            document = self.sources.document(path) if fresh else None
            if document is None:
                return []
            plays_place, whole = self.parts(document)
            plays = self.plays(plays_place)
        shared = dict(self.sources.variables(whole.fields.get("vars"), "playbook")) if whole else {}
        self.sources.scope = self._before_the_run(given)
        more_tags = tags(place.fields.get("tags"), _top(self.sources), self.sources)
        more_when = conditions(place.fields.get("when"))
        return [self._with(play, shared, given, more_tags, more_when) for play in plays]

    def _before_the_run(self, *own: Vars) -> Scope:
        """What is known before the run: `-e`, then a play's own variables, then the playbook's."""
        plays = (Layer(Level.PLAY_VARS, variables) for variables in (*own, self.shared))
        return Scope((Layer(Level.EXTRA_VARS, self.extra), *plays), render)

    def _early(self, value: Any, given: Vars) -> Any:
        """A name with templates of `-e`, of its own `vars` and of the playbook's; as it is where they don't suffice."""
        try:
            return self.sources.known(value, self._before_the_run(given))
        except (Invalid, Need, NeedFacts):
            return value

    def _with(
        self, play: Play, shared: Mapping[str, Any], given: Vars, more: frozenset[str], when: tuple[Any, ...]
    ) -> Play:
        own = play.vars if isinstance(play.vars, Vars) else Vars(play.vars)
        merged = Vars({**shared, **own, **given}, {**own.spans, **given.spans}, own.label, Level.PLAY_VARS)
        return replace(play, vars=merged, tags=play.tags | more, when=when + play.when,
                       tasks=_tagged(play.tasks, more), handlers=play.handlers)  # fmt: skip

    # --- one play ----------------------------------------------------------------------------------------

    def _play(self, place: Place) -> Play:
        _renamed(place)
        fields, value = place.fields, place.value
        before = len(self.findings.items)
        said = f"play {value.get('name', '')}".strip()
        variables = self.sources.variables(fields.get("vars"), said, Level.PLAY_VARS, checked=True)
        self._settle(place, variables)
        check_part("play", place, self.findings)
        broken = self.findings.failed_since(before)
        if value.get("hosts") is None and not nearest("hosts", value.keys() - part_schema("play").fields.keys()):
            self.findings.error("CF0103", "a play needs `hosts`", place.span, label="on which hosts?")
        above = extend(_top(self.sources), place, self.sources, level=Level.PLAY_VARS)
        if short(str(value.get("strategy"))) == "debug":
            above = replace(above, nearest={"debugger": "on_failed", **above.nearest})
        reader = TaskReader(self.sources)
        roles = Roles(self.sources, reader)
        reader.roles = roles
        nodes = self._sections(place, above, reader, roles)
        handlers = reader.handlers(fields.get("handlers"), replace(above, notify=()), ())
        canary = read_canary(place, reader, above, self.findings)
        name = str(getattr(value.get("name"), "source", value.get("name")) or _hosts_text(value.get("hosts")))
        id = self._id(place, name)
        if value.get("needs") is not None:
            self.needs[id] = fields["needs"]
        asked = fields["vars_prompt"].items if isinstance(value.get("vars_prompt"), list) else ()
        asked = [one for one in asked if isinstance(one.value, dict) and isinstance(one.value.get("name"), str)]
        basic = Play(
            id,
            name,
            value.get("hosts"),
            place.span,
            nodes,
            (*roles.handlers, *handlers),
            matrix=read_matrix(fields.get("matrix"), self.findings),
            prompts=tuple(Prompt(one.value["name"], one.span) for one in asked),
            spans={key: fields[key].span for key in _PLACED if key in fields},
        )
        for word, why in _NOT_BESIDE_CANARY.items():
            if canary is not None and value.get(word) not in (None, False):
                self.findings.error("CF0111", f"`canary` and `{word}` exclude each other", place.key_span(word),
                                    label=why)  # fmt: skip
        if broken:
            return basic
        connection = keywords(place)
        made = replace(
            basic,
            vars=variables,
            vars_files=names(fields.get("vars_files")),
            prompts=tuple(map(_prompt, asked)),
            role_defaults=(*((connection,) if connection else ()), *roles.defaults),
            role_vars=roles.vars,
            roles=roles.names,
            needs=None if value.get("needs") is None else tuple(str(one) for one in names(fields["needs"])),
            when=conditions(fields.get("when")),
            outputs=value.get("outputs") or {},
            artifacts=self._artifacts(place),
            serial=names(fields.get("serial")),
            tags=above.tags,
            facts={key: value[key] for key in _FACTS if value.get(key) is not None},
            become=above.become,
            environment=above.environment,
            canary=canary,
            image=value.get("image"),
            affected=_affected(value.get("affected")),
        )
        return replace(made, **_settings(value))

    def settled(self, place: Place) -> Any:
        """A keyword of the playbook that must be known before the run."""
        self.sources.scope = self._before_the_run()
        self.sources.settle(place)
        return place.value

    def _artifacts(self, place: Place) -> tuple[Artifact, ...]:
        """What the play leaves and takes. A canary makes nothing, and whoever is skipped has no outputs."""
        listed = place.fields["artifacts"].items if place.value.get("artifacts") else ()
        for number, one in enumerate(listed):
            given = one.value
            if any(given.get("name") == other.value.get("name") for other in listed[:number]):
                said = f"two artifacts of the play are called `{given.get('name')}`"
                self.findings.error("CF0111", said, one.fields["name"].span if "name" in one.fields else one.span)
            if not {"path", "key", "digest"} & set(given):
                self.findings.error("CF0110", "an artifact needs `path`, `key` or `digest`", one.span)
            elif "digest" in given and {"path", "key"} & set(given):
                self.findings.error("CF0111", "`digest` says all: `path` and `key` have no place beside it", one.span)
            elif "path" in given and place.value.get("canary") is not None:
                self.findings.error("CF0111", "a rollout leaves no artifacts", one.span,
                                    label="let a play before it make it, or take it by `key` or `digest`")  # fmt: skip
            elif {"path", "key"} <= set(given) and place.value.get("outputs"):
                self.findings.error("CF0111", "`key` lets the play be skipped, which then has no `outputs`", one.span)
        fields = ("name", "path", "key", "digest")
        return tuple(Artifact(*(one.value.get(field) for field in fields)) for one in listed)

    def _settle(self, place: Place, variables: Vars) -> None:
        """Settings that the plan is made of can't wait for the run: their templates are rendered now."""
        self.sources.scope = self._before_the_run(variables)
        self._settle_each(place, _SETTLED)
        canary = place.fields.get("canary")
        if canary is not None:
            self._settle_each(canary, SETTLED)
            if "gates" in canary.fields:
                self.sources.settle(canary.fields["gates"], ASKED)
                canary.value["gates"] = canary.fields["gates"].value

    def _settle_each(self, place: Place, keywords: tuple[str, ...]) -> None:
        for keyword in keywords:
            if keyword in place.fields:
                self.sources.settle(place.fields[keyword])
                place.value[keyword] = place.fields[keyword].value

    def _sections(self, place: Place, above: Inherited, reader: TaskReader, roles: Roles) -> tuple[Node, ...]:
        """pre_tasks, roles, tasks, post_tasks, with the handlers flushed between, as Ansible does."""
        fields = place.fields
        before = reader.nodes(fields.get("pre_tasks"), above, (), "pre_tasks")
        middle = roles.listed(fields.get("roles"), above, ()) + reader.nodes(fields.get("tasks"), above, (), "tasks")
        after = reader.nodes(fields.get("post_tasks"), above, (), "post_tasks")
        found = before
        if before and (middle or after):
            found += (_flush(place, "pre_tasks"),)
        found += middle
        if after and middle:
            found += (_flush(place, "tasks"),)
        return found + after

    def _id(self, place: Place, name: str) -> str:
        given = place.value.get("id")
        id = str(given) if given else (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "play")
        if id in self._ids and given:
            self.findings.error("CF0122", f"two plays have the id `{id}`", place.fields["id"].span)
        number, unique = 1, id
        while unique in self._ids:
            number += 1
            unique = f"{id}_{number}"
        self._ids[unique] = Play(unique, name, None, place.span)
        return unique


def _top(sources: Sources) -> Inherited:
    return Inherited(base=sources.folder or ".", folder=sources.folder, roles_path=sources.roles_path)


def _renamed(place: Place) -> None:
    """`user` is Ansible's older word for a play's `remote_user`."""
    if "user" in place.fields and "remote_user" not in place.fields:
        place.fields["remote_user"] = place.fields.pop("user")
        place.value["remote_user"] = place.value.pop("user")
        place.keys["remote_user"] = place.keys.pop("user")


def _flush(place: Place, after: str) -> Task:
    """The handlers run here: a task that nobody wrote."""
    return Task("Flush handlers", "meta", {"action": "flush_handlers"}, place.span, (f"flush.{after}",),
                tags=frozenset({"implicit", "always"}))  # fmt: skip


def _hosts_text(hosts: Any) -> str:
    return (
        ",".join(str(one) for one in hosts) if isinstance(hosts, list) else str(getattr(hosts, "source", hosts) or "")
    )


def _settings(value: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of a play that are plain settings, converted; those not given are left out."""
    read: dict[str, Any] = {
        "gather_facts": boolean, "always": boolean, "any_errors_fatal": boolean, "force_handlers": boolean,
        "deadline": duration, "max_fail_percentage": percent, "order": str, "retry": _retry, "approval": _approval,
        "concurrency": lambda one: str(one["group"] if isinstance(one, dict) else one),
        "strategy": lambda one: _STRATEGIES.get(short(str(one)), short(str(one))),
    }  # fmt: skip
    given = {key: value[key] for key in read if value.get(key) is not None}
    return {key: read[key](one) for key, one in given.items()}


def _affected(value: Any) -> Affected | None:
    """`true` stands for all crates, a name for that one."""
    if value is None or value is False:
        return None
    if isinstance(value, Mapping):
        return Affected(**value)
    return Affected() if value is True else Affected(crates=value)


def _retry(value: Mapping[str, Any]) -> Retry:
    plain = Retry()
    return Retry(
        int(value.get("attempts", 2)), str(value.get("backoff", plain.backoff)),
        duration(value.get("delay", plain.delay)), duration(value.get("max_delay", plain.max_delay)),
        _share(value.get("jitter", plain.jitter)),
    )  # fmt: skip


def _prompt(place: Place) -> Prompt:
    given, plain = place.value, Prompt("", place.span)
    return Prompt(
        str(given["name"]), place.span, given.get("prompt", ""), given.get("default"),
        boolean(given.get("private", True)), boolean(given.get("confirm", False)),
        str(given.get("encrypt") or "").removesuffix("_crypt"), str(given.get("salt") or ""),
        int(given.get("salt_size") or plain.salt_size),
    )  # fmt: skip


def _share(value: Any) -> float:
    return percent(value) / 100 if isinstance(value, str) else float(value)


def _approval(value: Mapping[str, Any]) -> Approval:
    approvers = value.get("approvers") or ()
    listed = approvers if isinstance(approvers, list | tuple) else [approvers]
    return Approval(value.get("prompt"), tuple(str(one) for one in listed), duration(value.get("timeout", 0)))


def _tagged(nodes: tuple[Node, ...], more: frozenset[str]) -> tuple[Node, ...]:
    if not more:
        return nodes
    made: list[Node] = []
    for node in nodes:
        if isinstance(node, Task):
            made.append(replace(node, tags=node.tags | more))
        else:
            body, rescue, always = (_tagged(part, more) for part in (node.body, node.rescue, node.always))
            made.append(replace(node, body=body, rescue=rescue, always=always))
    return tuple(made)
