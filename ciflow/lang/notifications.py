"""`notifications:` of a playbook: who is told of a run, of what, and in which words.

A kind's settings are rendered once, before anything runs; `when`, `title`, `text` and `body` for each message, with
`event`: what happened. Both are tried at validation, so that a misspelt name is found before somebody is to be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Findings, Invalid, Span
from ciflow.lang.at_once import made_at_once
from ciflow.lang.files import Files
from ciflow.lang.inherit import conditions
from ciflow.lang.kinds import duration
from ciflow.lang.near import did_you_mean
from ciflow.lang.place import Place
from ciflow.lang.schema import check_part, part_schema
from ciflow.lang.scope import OMIT, Layer, Level, Scope, Vars
from ciflow.lang.template import evaluate, render
from ciflow.lang.template_check import check_template
from ciflow.model import Notification, Playbook, Template

KINDS = ("webhook", "slack", "teams", "pagerduty", "email", "command")
TROUBLE = ("failed", "rolled_back", "interrupted", "paused")  # after these, a success is a recovery
WELL = ("succeeded", "recovered")
USUAL = ("failed", "rolled_back", "paused", "approval", "recovered")
# What PagerDuty is told of unless said otherwise: nobody is woken for a question.
USUAL_OF = {"pagerduty": ("failed", "rolled_back", "paused", "recovered")}
MOMENTS = ("started", "succeeded", "recovered", "failed", "interrupted", "paused", "approval", "dial", "promoted",
           "rolled_back")  # fmt: skip
_EACH = ("when", "title", "text", "body")  # rendered for each message
_CREDENTIAL = re.compile(r"auth|token|key|secret|pass|cookie|credential|hook", re.IGNORECASE)
# An address (the plain ones of RFC 5322, 3.4.1), alone or in angle brackets behind a name.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
_MAIL = re.compile(rf"(?:(?P<name>[^<>@\x00-\x1f\x7f]*)<)?(?P<address>{_ADDRESS})(?(name)>)")
_LONG_PATH = 16  # characters from which on the path of an address is a secret by itself, as Slack's is
_UNOPENED = "CF0017"

# Every field that `event` has, as in a run that failed. `ciflow/report/occasions.py` makes real ones.
SAMPLE: Mapping[str, Any] = {
    "id": "R-1-0a1b2c:failed:1",
    "on": "failed",
    "test": False,
    "title": "release.yml failed",
    "text": "Failed: Install on web1.",
    "playbook": "release.yml",
    "run": "R-1-0a1b2c",
    "who": "ann@ci",
    "machine": "ci",
    "url": "https://ci.example.com/jobs/1",
    "at": "2026-01-02T03:04:05Z",
    "seconds": 62.5,
    "exit": 4,
    "reason": "Failed: Install on web1.",
    "next": "ciflow resume R-1-0a1b2c",
    "play": "",
    "service": "shop",
    "version": "1.4.0",
    "before": "1.3.2",
    "weight": 5.0,
    "failures": [{"task": "Install", "hosts": ["web1"], "message": "no space left", "cause": ""}],
}


def sample(on: str) -> dict[str, Any]:
    """An event as it may look when `on` is told."""
    failures = SAMPLE["failures"] if on in ("failed", "interrupted") else []
    ends = {"succeeded": 0, "recovered": 0, "failed": 4, "interrupted": 130}
    weight = SAMPLE["weight"] if on in ("dial", "promoted", "rolled_back", "paused") else None
    play = "Release" if on == "approval" else ""
    return {**SAMPLE, "on": on, "failures": failures, "exit": ends.get(on), "weight": weight, "play": play}


# --- reading -------------------------------------------------------------------------------------------


def read_notifications(place: Place | None, files: Files, findings: Findings) -> tuple[Notification, ...]:
    """Those that can be told from their faults. Literal secrets are hidden from here on."""
    if place is None or place.value is None:
        return ()
    listed = place.items if isinstance(place.value, list) else [place]
    return tuple(filter(None, (_read(one, files, findings) for one in listed)))


def _read(place: Place, files: Files, findings: Findings) -> Notification | None:
    if not isinstance(place.value, dict):
        findings.error("CF0101", "a notification is a mapping: `to`, and how", place.span)
        return None
    kind = place.value.get("to")
    if kind is None:
        findings.error("CF0103", "a notification needs `to`", place.span, label=f"one of {', '.join(KINDS)}")
        return None
    if kind not in KINDS:
        label = did_you_mean(kind, KINDS, otherwise=f"there are {', '.join(KINDS)}")
        findings.error("CF0104", f"nobody is told by `{kind}`", place.fields["to"].span, label=label)
        return None
    before = len(findings.items)
    _hide(place, str(kind), files)
    check_part(f"notification_{kind}", place, findings)
    schema = part_schema(f"notification_{kind}")
    given = schema.canonical(place.value)
    made, _ = schema.examined(place.value, literal=True)
    on: tuple[str, ...] = tuple(dict.fromkeys(made.get("on") or ())) or USUAL_OF.get(str(kind), USUAL)
    if kind == "pagerduty":
        for one in (name for name in on if name in MOMENTS and name not in TROUBLE + WELL):
            findings.error("CF0104", f"`{one}` neither opens an incident nor closes one", place.fields["on"].span,
                           label=f"PagerDuty hears {', '.join(TROUBLE + WELL)}")  # fmt: skip
    if findings.failed_since(before):
        return None
    settings = {name: value for name, value in given.items() if name not in ("to", "on", *_EACH)}
    return Notification(
        str(kind), on, place.span, settings, conditions(place.fields.get("when")), given.get("title"),
        given.get("text"), given.get("body"), {name: below.span for name, below in place.fields.items()},
    )  # fmt: skip


def _hide(place: Place, kind: str, files: Files) -> None:
    """No snippet, no event and no message shows what the schema calls secret."""
    for name, rules in part_schema(f"notification_{kind}").fields.items():
        if (rules.get("meta") or {}).get("secret") and (below := place.fields.get(name)) is not None:
            for each in below.fields.values() or [below]:
                files.hide(each.span)
            if not isinstance(below.value, Template):
                _keep_secret(kind, {name: below.value}, files)


def _keep_secret(kind: str, settings: Mapping[str, Any], files: Files) -> None:
    """Hide the values of settings by value. Of headers and environments only what is named like a credential: others
    are words that stand everywhere."""
    fields = part_schema(f"notification_{kind}").fields
    for name, value in settings.items():
        if not (fields[name].get("meta") or {}).get("secret"):
            continue
        if isinstance(value, Mapping):
            files.vault.secret({key: one for key, one in value.items() if _CREDENTIAL.search(str(key))})
        elif isinstance(value, str):
            files.vault.secret(value)
            if name == "url" and len(path := _below(value)) >= _LONG_PATH:
                files.vault.secret(path)


def _below(url: str) -> str:
    """What stands behind an address's host."""
    return url.partition("://")[2].partition("/")[2]


# --- before the run ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receiver:
    """A notification whose settings are known. `lacks` names a needed one that came out empty: nobody is told then."""

    spec: Notification
    settings: Mapping[str, Any]
    lacks: str = ""


def scope_before(playbook: Playbook, extra: Mapping[str, Any]) -> Scope:
    """What a notification sees beside `event`: `-e`, and the playbook's own variables."""
    return Scope((Layer(Level.EXTRA_VARS, extra), Layer(Level.PLAY_VARS, playbook.vars)), render)


def receivers(playbook: Playbook, extra: Mapping[str, Any], files: Files) -> tuple[Receiver, ...]:
    """Each with its settings rendered. Raises Invalid, placed; secrets in them are hidden by then."""
    scope = scope_before(playbook, extra)
    return tuple(_receiver(one, scope, files) for one in playbook.notifications)


def _receiver(spec: Notification, scope: Scope, files: Files) -> Receiver:
    schema = part_schema(f"notification_{spec.to}")
    made = {}
    for name, value in spec.settings.items():
        one = made_at_once(partial(render, value), scope, files, spec.spans.get(name))
        if one is not OMIT:
            made[name] = one
    _keep_secret(spec.to, made, files)
    document, faults = schema.examined({"to": spec.to, **made}, literal=False)
    empty = [name for name in schema.required if name != "to" and made.get(name) in ("", [], None)]
    findings = Findings()
    for fault in faults:
        if not (fault.path and fault.path[0] in empty) and not set(fault.needs) & set(empty):
            at = spec.spans.get(str(fault.path[0]), spec.span) if fault.path else spec.span
            findings.error(fault.code, fault.message, at, label=fault.label)
    for name, message in _unfit(document):
        findings.error("CF0104", message, spec.spans.get(name, spec.span))
    lacking = next(iter(empty), "")
    if lacking and not isinstance(spec.settings.get(lacking), Template):
        findings.error("CF0104", f"`{lacking}` is empty", spec.spans.get(lacking, spec.span))
    if findings.errors:
        raise Invalid(findings.items, files.sources())
    settings = {name: value for name, value in document.items() if name != "to"}
    if "timeout" in settings:
        settings["timeout"] = duration(settings["timeout"])
    return Receiver(spec, settings, lacking)


def _unfit(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What no schema tells; never with the value, which may be a secret."""
    if url := str(settings.get("url") or ""):
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or not url.isascii() or any(char <= " " for char in url):
            yield "url", "`url` is no address: it begins with https:// (or http://) and a host"
        elif parts.username is not None:
            yield "url", "`url` has a user in it: say it by `headers`"
    for name, value in (settings.get("headers") or {}).items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", str(name)) or re.search(r"[^\t\x20-\x7e]", str(value)):
            yield "headers", f"the header `{name}` can't be sent: names are words, values printable ASCII"
    for name in ("from", "recipients"):
        texts = settings.get(name) or ()
        for one in [texts] if isinstance(texts, str) else texts:
            if mail_address(str(one)) is None:
                yield name, f"`{name}`: `{one}` is no address: it is like a@example.com, or Ann <a@example.com>"
    if settings.get("password") and not settings.get("user"):
        yield "password", "a `password` is somebody's: `user` says whose"
    if settings.get("tls") == "none" and settings.get("password"):
        yield "tls", "the password would go over the net in plain text: use starttls or tls"


def mail_address(text: str) -> tuple[str, str] | None:
    """The name (or "") and the address of somebody who gets mail; None where it is neither."""
    found = _MAIL.fullmatch(text.strip())
    return ((found["name"] or "").strip(' "'), found["address"]) if found else None


# --- for each message ----------------------------------------------------------------------------------


def said(value: Any, event: Mapping[str, Any], scope: Scope, files: Files, span: Span | None) -> Any:
    """A title, text or body for one event. Raises Invalid, placed."""
    made = made_at_once(lambda scope: render(value, _with(event, scope)), scope, files, span)
    try:
        json.dumps(made, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid([Diagnostic("error", "CF0101", f"this can't be sent as JSON: {error}", span)]) from error
    return made


def wanted(spec: Notification, event: Mapping[str, Any], scope: Scope, files: Files) -> bool:
    """Whether its `when` holds for an event. Raises Invalid, placed."""
    if not spec.when:
        return True
    return made_at_once(lambda scope: evaluate(spec.when, _with(event, scope)), scope, files, spec.spans.get("when"))


def _with(event: Mapping[str, Any], scope: Scope) -> Scope:
    layers = (Layer(Level.MAGIC, Vars({"event": event}, label="the notification"), True), *scope.layers)
    return Scope(layers, scope.render, scope.answers, vault=scope.vault)


# --- at validation -------------------------------------------------------------------------------------


def check_notifications(playbook: Playbook, extra: Mapping[str, Any], files: Files, findings: Findings) -> None:
    """Renders all of it once, with made-up events. What only a vault's password opens is left to the run."""
    scope = scope_before(playbook, extra)
    for spec in playbook.notifications:
        found: list[Diagnostic] = []
        broken = [fault for one in _templates(spec) for fault in check_template(one)]
        if broken:
            findings.items.extend(broken)
            continue
        try:
            _receiver(spec, scope, files)
        except Invalid as fault:
            found += fault.diagnostics
        for event in map(sample, spec.on):
            found += _tried(spec, event, scope, files)
        unique = {(one.code, one.message, one.span): one for one in reversed(found)}
        findings.items.extend(replace(one, related=()) for one in reversed(unique.values()) if one.code != _UNOPENED)


def _templates(spec: Notification) -> Iterator[Template]:
    from ciflow.lang.names import templates_in

    yield from templates_in([spec.settings, *spec.when, spec.title, spec.text, spec.body])


def _tried(spec: Notification, event: Mapping[str, Any], scope: Scope, files: Files) -> Iterator[Diagnostic]:
    try:
        wanted(spec, event, scope, files)
    except Invalid as fault:
        yield from fault.diagnostics
    for name in ("title", "text", "body"):
        try:
            said(getattr(spec, name), event, scope, files, spec.spans.get(name))
        except Invalid as fault:
            yield from fault.diagnostics
