"""`uri`: one HTTP request, seen from the host."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlencode

from ciflow.encoding import loads
from ciflow.model import At, Change, Context, Exec, Http, Outcome, Probe, Read, Reply, Step, Steps
from ciflow.modules.execute import held_back
from ciflow.modules.get_url import asked
from ciflow.modules.multipart import Form, form
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.modules.sources import Missing, find

_READS = ("GET", "HEAD", "OPTIONS")
_TYPES = {"json": "application/json", "form-urlencoded": "application/x-www-form-urlencoded"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """A reading method is a Probe, and so runs in check mode too; any other, and one with `dest`, is a Change."""
    held = yield from held_back(Exec(creates=args.get("creates", ""), removes=args.get("removes", "")))
    if held:
        return Outcome(msg=f"skipped, since {held}", data={"stdout": f"skipped, since {held}"})
    body = _body(args)
    if args.get("src"):
        content = yield from _file(args, context)
        if isinstance(content, Outcome):
            return content
        body = content
    if args["body_format"] == "form-multipart":
        made = yield from _multipart(args, context)
        if isinstance(made, Outcome):
            return made
        body, args = made.body, {**args, "headers": {**args["headers"], "Content-Type": made.content_type}}
    operation = _request(args, body)
    reads = operation.method in _READS and not operation.dest
    reply = yield Probe(operation, last=True) if reads else Change(operation, last=True)
    if predicted(reply):
        return Outcome(skipped=True, msg=f"{operation.method} is not sent in check mode")
    return _outcome(args, reply)


def _multipart(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Form | Outcome]:
    if not isinstance(args.get("body"), Mapping):
        return Outcome(failed=True, msg="body must be mapping, cannot be of another type, with form-multipart")
    return (yield from form(args["body"], context, on_the_host=args["remote_src"]))


def _file(args: Mapping[str, Any], context: Context) -> Any:
    """The body from a file: of the controller, or of the host with `remote_src`."""
    if args["remote_src"]:
        reply = yield Probe(Read(path=args["src"]))
    else:
        found = yield from find(args["src"], context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found))
        reply = yield At("controller", Probe(Read(path=found.path)))
    return reply.stdout if well(reply) else failure(reply)


def _body(args: Mapping[str, Any]) -> bytes:
    body = args.get("body")
    if body is None:
        return b""
    if args["body_format"] == "json" and not isinstance(body, str):
        return json.dumps(body).encode()
    if args["body_format"] == "form-urlencoded" and not isinstance(body, str):
        return urlencode(body, doseq=True).encode()
    return str(body).encode("utf-8", "surrogateescape")


def _request(args: Mapping[str, Any], body: bytes) -> Http:
    headers = {str(name): str(value) for name, value in args["headers"].items()}
    kind = _TYPES.get(args["body_format"], "")
    if kind and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = kind
    return Http(
        url=args["url"],
        method=args["method"].upper(),
        headers=asked(args) | headers,
        body=body,
        timeout=args["timeout"],
        follow={"yes": "all", "no": "none", "urllib2": "safe"}.get(args["follow_redirects"], args["follow_redirects"]),
        verify=args["validate_certs"],
        ca=args.get("ca_path", ""),
        user=args.get("url_username", ""),
        password=args.get("url_password", ""),
        dest=args.get("dest", ""),
        proxy=args["use_proxy"],
        cert=args.get("client_cert", ""),
        key=args.get("client_key", ""),
    )


def _outcome(args: Mapping[str, Any], reply: Reply) -> Outcome:
    if reply.status != "done":
        return failure(reply, {"url": args["url"], "status": -1})
    status = int(reply.data.get("status", -1))
    wanted = [int(code) for code in args["status_code"]]
    good = status in wanted
    data = _data(args, reply, status, show=args["return_content"] or not good)
    if good:
        return Outcome(changed=bool(args.get("dest")) and reply.changed, msg=f"OK ({_length(reply)} bytes)", data=data)
    reason = f"HTTP Error {status}: {_phrase(status)}" if status > 0 else f"Request failed: {reply.error}"
    return Outcome(failed=True, msg=f"Status code was {status} and not {wanted}: {reason}", data=data)


def _data(args: Mapping[str, Any], reply: Reply, status: int, *, show: bool) -> dict[str, Any]:
    """Ansible's keys: each header under its name in small letters, `json` where the body is that."""
    headers = {str(k).lower().replace("-", "_"): v for k, v in dict(reply.data.get("headers", {})).items()}
    url = reply.data.get("url", args["url"])
    cookies = _cookies(headers.get("set_cookie", ""))
    data: dict[str, Any] = headers | {
        "status": status,
        "url": url,
        "redirected": url != args["url"],
        "elapsed": int(reply.duration),
        "cookies": cookies,
        "cookies_string": "; ".join(f"{name}={value}" for name, value in cookies.items()),
    }
    if args.get("dest"):
        data["path"] = args["dest"]
    body = text(reply.stdout)
    if show:
        data["content"] = body
    if "json" in str(headers.get("content_type", "")):
        data |= _json(body)
    return data


def _json(body: str) -> dict[str, Any]:
    """A body that says it is JSON and is not has no `json` key, as in Ansible: `content` shows what came."""
    try:
        return {"json": loads(body)}
    except ValueError:
        return {}


def _cookies(header: str) -> dict[str, str]:
    """Names and values of the cookies that the answer set; their attributes are left out."""
    several = re.split(r",\s*(?=[^;,=\s]+=)", header)  # joined by commas, which dates in them hold as well
    first = [one.split(";", 1)[0] for one in several if "=" in one]
    return {name.strip(): value.strip() for name, value in (part.split("=", 1) for part in first)}


def _length(reply: Reply) -> str:
    headers = {str(k).lower(): v for k, v in dict(reply.data.get("headers", {})).items()}
    return str(headers.get("content-length", "unknown"))


def _phrase(status: int) -> str:
    from http import HTTPStatus

    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "unknown"
