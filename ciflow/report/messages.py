"""What each kind of receiver is sent: pure, from an event and a notification's settings to bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass, field
from ciflow.lang.notifications import WELL

PAGERDUTY = "https://events.pagerduty.com/v2/enqueue"
PORTS = {"starttls": 587, "tls": 465, "none": 25}
TIMEOUT = 10.0  # seconds for one try
_CHANNEL = 2_900  # characters of a section of Slack's (3,000 are allowed)
_SUMMARY = 1_000  # of PagerDuty's (1,024)
_KEY = 255  # of PagerDuty's dedup_key
Event: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Post:
    """A POST of `body`."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, and the server that takes it."""

    host: str
    port: int
    tls: str
    sender: str
    recipients: Sequence[str]
    subject: str
    text: str
    id: str
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A program, and what it reads."""

    argv: Sequence[str]
    stdin: bytes
    env: Mapping[str, str]
    timeout: float


Message: TypeAlias = Post | Mail | Call


def message(kind: str, settings: Mapping[str, Any], event: Event, body: Any, now: float) -> Message:
    """What is sent. `body` is a webhook's own, rendered, or None; `now` in Unix seconds goes into signatures."""
    return _KINDS[kind](settings, event, body, now)


def where(kind: str, settings: Mapping[str, Any]) -> str:
    """Whom it reaches, in words that tell no secret."""
    if kind == "command":
        return str((settings.get("argv") or [""])[0]).rpartition("/")[2]
    if kind == "email":
        return str(settings.get("host", ""))
    parts = urlsplit(str(settings.get("url") or (PAGERDUTY if kind == "pagerduty" else "")))
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname or "")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _post(settings: Mapping[str, Any], value: Any) -> Post:
    return Post(settings["url"], _json(value), {"Content-Type": "application/json"}, settings.get("ca", ""))


# --- webhook -------------------------------------------------------------------------------------------


def _webhook(settings: Mapping[str, Any], event: Event, body: Any, now: float) -> Post:
    content = _json(event if body is None else body)
    headers = {"Content-Type": "application/json"}
    if isinstance(body, str):
        content, headers = body.encode("utf-8", "replace"), {"Content-Type": "text/plain; charset=utf-8"}
    headers |= {"webhook-id": str(event["id"]), "webhook-timestamp": str(int(now))}
    if secret := settings.get("secret"):
        headers["webhook-signature"] = signature(str(secret), str(event["id"]), int(now), content)
    own = {str(name): str(value) for name, value in (settings.get("headers") or {}).items()}
    replaced = {name.lower() for name in own}
    headers = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return Post(settings["url"], content, headers | own, settings.get("ca", ""))


def signature(secret: str, id: str, timestamp: int, content: bytes) -> str:
    """As the specification Standard Webhooks 1.0.0 has it ("Signature scheme"), symmetric: HMAC-SHA256 over
    `id.timestamp.content`. A secret `whsec_..` is base64; any other is its own bytes."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            key = secret.encode()
    made = hmac.new(key, f"{id}.{timestamp}.".encode() + content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(made).decode('ascii')}"


# --- channels of people --------------------------------------------------------------------------------


def _slack(settings: Mapping[str, Any], event: Event, _body: Any, _now: float) -> Post:
    """`text` is all of it, for what knows no blocks (Mattermost)."""
    text = _cut(f"*{event['title']}*\n{event['text']}", _CHANNEL)
    context = {"type": "mrkdwn", "text": f"{event['on'].replace('_', ' ')} · {event['run']}"}
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text}}
    value = {"text": text, "blocks": [section, {"type": "context", "elements": [context]}]}
    return _post(settings, value | ({"channel": settings["channel"]} if settings.get("channel") else {}))


def for_slack(value: Any) -> Any:
    """A text that can neither link nor call anybody, as Slack wants `&`, `<` and `>` written, and Mattermost no `@`:
    what comes from a run, never what the playbook's author wrote around it."""
    if isinstance(value, str):
        escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return re.sub(r"@(?=\w)", "@\u200b", escaped)
    if isinstance(value, Mapping):
        return {key: for_slack(below) for key, below in value.items()}
    return [for_slack(below) for below in value] if isinstance(value, list) else value


def _teams(settings: Mapping[str, Any], event: Event, _body: Any, _now: float) -> Post:
    """Runs of text, for these know no Markdown: nothing in them is a link."""
    lines = [{"type": "TextRun", "text": line} for line in _cut(event["text"], _CHANNEL).splitlines() if line.strip()]
    head = {"type": "TextRun", "text": event["title"], "weight": "Bolder", "size": "Medium"}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": [one]} for one in (head, *lines)],
    }  # fmt: skip
    attached = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return _post(settings, {"type": "message", "attachments": [attached]})


def _pagerduty(settings: Mapping[str, Any], event: Event, _body: Any, _now: float) -> Post:
    """Events API v2. One incident for what goes wrong with a playbook, closed when it is well again."""
    key = str(settings.get("dedup_key") or f"ciflow {event['playbook']}")[:_KEY]
    key = f"{key} test"[-_KEY:] if event["test"] else key
    value: dict[str, Any] = {"routing_key": settings["routing_key"], "dedup_key": key, "event_action": "resolve"}
    if event["on"] not in WELL:
        usual = "warning" if event["on"] == "paused" else "error"
        grave = settings.get("severity") or usual
        details = {
            name: one for name, one in event.items() if name not in ("title", "id") and one not in ("", None, [])
        }
        payload = {"summary": _cut(event["title"], _SUMMARY), "source": event["machine"] or "ciflow",
                   "severity": "info" if event["test"] else grave, "timestamp": event["at"],
                   "component": event["service"] or event["playbook"], "class": event["on"],
                   "custom_details": details}  # fmt: skip
        value |= {"event_action": "trigger", "payload": payload, "client": "ciflow"}
        value |= {"client_url": event["url"]} if event["url"] else {}
    return _post({"url": PAGERDUTY, **settings}, value)


def _email(settings: Mapping[str, Any], event: Event, _body: Any, _now: float) -> Mail:
    tls = settings.get("tls") or "starttls"
    domain = str(settings["from"]).rpartition("@")[2].rstrip("> ") or "ciflow"
    id = re.sub(r"[^A-Za-z0-9.-]", ".", event["id"])
    return Mail(
        str(settings["host"]), int(settings.get("port") or PORTS[tls]), tls, str(settings["from"]),
        [str(one) for one in settings["recipients"]], event["title"], f"{event['text']}\n", f"<{id}@{domain}>",
        str(settings.get("user") or ""), str(settings.get("password") or ""), str(settings.get("ca") or ""),
    )  # fmt: skip


def _command(settings: Mapping[str, Any], event: Event, _body: Any, _now: float) -> Call:
    argv = [str(one) for one in settings["argv"]]
    env = {str(name): str(value) for name, value in (settings.get("env") or {}).items()}
    return Call(argv, _json(event) + b"\n", env, float(settings.get("timeout") or TIMEOUT))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"


_KINDS: Mapping[str, Callable[[Mapping[str, Any], Event, Any, float], Message]] = {
    "webhook": _webhook,
    "slack": _slack,
    "teams": _teams,
    "pagerduty": _pagerduty,
    "email": _email,
    "command": _command,
}
