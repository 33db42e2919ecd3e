"""Which address gives what. A request passes the guard (guard.py), finds its line here, and is answered from the folds
(folds.py) as JSON or as a page (pages.py), or does something (actions.py). No part of it is ever the name of a file."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote

from ciflow.dataclass import dataclass
from ciflow.diagnostics import CiflowError, ExitCode, NoSuch, StoreError
from ciflow.engine.control import Speaker
from ciflow.model import Event
from ciflow.report.jsonl import finite, json_line
from ciflow.report.markup import STYLE
from ciflow.report.text import safe
from ciflow.store.artifacts.records import Entry
from ciflow.store.store import Store
from ciflow.web import folds, pages
from ciflow.web.actions import VERBS, Acting, body_of
from ciflow.web.guard import ALWAYS, Guard, Shut, Visitor
from ciflow.web.http import Request, Response
from ciflow.web.journal import Journal
from ciflow.web.tokens import HOOK, Token
from ciflow.web.webhook import Hooks

ANY = "*"
BEAT = 15.0  # seconds between two signs of life to who follows events
PIECE = 256 * 1024  # bytes of an artifact that are read at a time
MOST_RUNS = 1000
STREAMS = 128  # that follow events at once
_STATUS = {
    ExitCode.INVALID: 409, ExitCode.LOCKED: 409, ExitCode.UNREACHABLE: 502, ExitCode.TASK_FAILED: 502,
    ExitCode.INTERNAL: 503,
}  # fmt: skip
Getting: TypeAlias = "Callable[[App, Request, Token, tuple[str, ...]], Awaitable[Response]]"
Posting: TypeAlias = "Callable[[App, Request, Visitor, tuple[str, ...]], Awaitable[Response]]"


@dataclass(slots=True)
class App:
    """Answers requests. `tell` says on the server's own screen what was done, and by whom."""

    journal: Journal
    acting: Acting
    guard: Guard
    hooks: Hooks
    tell: Callable[[str], None]
    streams: int = 0

    async def __call__(self, request: Request) -> Response:
        try:
            found = await self._answer(request)
        except Shut as shut:
            found = _refused(request, shut.status, shut.message, shut.help)
        except NoSuch as error:
            found = await self._sorry(request, 404, error)
        except CiflowError as error:
            found = await self._sorry(request, _STATUS.get(error.exit_code, 500), error)
        except Exception:  # a fault of ours ends one answer, not the page
            traceback.print_exc()
            found = _refused(request, 500, "a fault of ciflow itself: what the server has printed says where")
        return Response(found.status, {**ALWAYS, **found.headers}, found.body, found.pieces)

    async def _answer(self, request: Request) -> Response:
        self.guard.check_host(request)
        if request.method not in ("GET", "HEAD", "POST"):
            raise Shut(405, "there are GET, HEAD and POST")
        if request.path == ("enter",):
            return self._enter(request)
        if request.method == "POST" and request.path[:2] == ("api", "hooks") and len(request.path) == 3:
            return await self._hook(request)
        visitor = self.guard.visitor(request)
        if visitor is None:
            return _unknown(request)
        if request.method == "POST":
            return await self._post(request, visitor)
        for pattern, get in ROUTES:
            if _fits(pattern, request.path):
                return await get(self, request, visitor.token, request.path)
        raise Shut(404, "there is nothing at this address")

    async def _post(self, request: Request, visitor: Visitor) -> Response:
        if request.path == ("leave",):
            self.guard.check_origin(request, needed=True)
            return self.guard.let_out()
        self.guard.check_acting(request, visitor)
        for pattern, post in POSTS:
            if _fits(pattern, request.path):
                answered = await post(self, request, visitor, request.path)
                await self.journal.look()
                return answered
        raise Shut(404, "there is nothing at this address")

    def _enter(self, request: Request) -> Response:
        """By the link that was printed, or by what was typed."""
        secret = request.query.get("token", "")
        if request.method == "POST":
            self.guard.check_origin(request, needed=True)
            secret = dict(parse_qsl(request.body.decode("ascii", "replace"))).get("token", "").strip()
        token = self.guard.tokens.of_secret(secret)
        if token is None or request.method == "HEAD":
            return Response(401, _HTML, pages.sign_in(bool(secret), False))
        return self.guard.let_in(token)

    async def _hook(self, request: Request) -> Response:
        token = self.hooks.sender(request.path[2], request)
        done = await self.acting.answer(Speaker(token.name, HOOK), body_of(request.body))
        self.say(token.name, HOOK, done)
        await self.journal.look()
        return _json(done)

    async def _sorry(self, request: Request, status: int, error: CiflowError) -> Response:
        visitor = self.guard.visitor(request)
        if visitor is None or _for_programs(request):
            return _refused(request, status, error.message, error.help, int(error.exit_code))
        body = pages.sorry(pages.view_of(visitor.token, self.journal.last), error.message, error.help)
        return Response(status, _HTML, body)

    def say(self, who: str, way: str, done: Mapping[str, Any]) -> None:
        self.tell(safe(f"{who} ({way}): {'; '.join(done['lines'])}"))


# --- what is shown -----------------------------------------------------------------------------------------------


def _data(ask: Callable[[Store], Any]) -> Getting:
    """JSON that is the same for everybody."""

    async def get(app: App, request: Request, _token: Token, _path: tuple[str, ...]) -> Response:
        return _json(await app.journal.fold(request.path, ask))

    return get


async def _runs(app: App, request: Request, _token: Token, _path: tuple[str, ...]) -> Response:
    most = min(_number(request, "n", folds.RUNS), MOST_RUNS)
    return _json(await app.journal.fold(("api", "runs", str(most)), partial(folds.runs, most=most)))


async def _history(app: App, _request: Request, _token: Token, path: tuple[str, ...]) -> Response:
    return _json(await app.journal.fold(path, partial(folds.releases, service=path[2])))


async def _show(app: App, _request: Request, _token: Token, path: tuple[str, ...]) -> Response:
    found = await app.journal.fold(path[1:], partial(folds.show, run=path[2]))
    return await asyncio.to_thread(lambda: _json(found.data()))


async def _log(app: App, request: Request, _token: Token, path: tuple[str, ...]) -> Response:
    asked = request.query
    ask = partial(folds.log, run=path[2], task=asked.get("task", ""), host=asked.get("host", ""),
                  after=_number(request, "after", 0))  # fmt: skip
    return await asyncio.to_thread(_json, await app.journal.read(ask))


async def _artifacts(app: App, _request: Request, _token: Token, _path: tuple[str, ...]) -> Response:
    return _json([asdict(one) for one in await app.journal.fold(("artifacts",), folds.artifacts)])


async def _artifact(app: App, _request: Request, _token: Token, path: tuple[str, ...]) -> Response:
    """Only what has a name as an artifact, by its whole digest: blobs are also snapshots of sources."""
    entries = await app.journal.fold(("artifacts",), folds.artifacts)
    entry = next((one for one in entries if one.digest == path[2]), None)
    if entry is None:
        raise NoSuch("no artifact on this machine has this digest")
    return await app.journal.read(partial(_download, entry=entry))


def _download(store: Store, entry: Entry) -> Response:
    from ciflow.store.artifacts import open_shelf

    file = open_shelf(store.path).take(entry.digest)
    name = quote(entry.name.rstrip("/").rpartition("/")[2] or "artifact", safe="", errors="replace")
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "content-length": str(file.stat().st_size),
        "content-security-policy": "default-src 'none'; sandbox",
    }
    return Response(200, headers, b"", _pieces(file))


async def _pieces(file: Path) -> AsyncGenerator[bytes, None]:
    """A file of the store, with no more of it in memory than its reader takes."""
    opened = await asyncio.to_thread(file.open, "rb")
    try:
        while piece := await asyncio.to_thread(opened.read, PIECE):
            yield piece
    finally:
        opened.close()


async def _events(app: App, request: Request, _token: Token, _path: tuple[str, ...]) -> Response:
    """Server-sent events. Who comes back says the number of the last one that it has."""
    if app.streams >= STREAMS:
        raise Shut(503, "too many follow events already")
    await app.journal.look()
    last, run = app.journal.last, request.query.get("run", "")
    after = _number(request, "after", last)
    if (seen := request.headers.get("last-event-id", "")).isascii() and seen.isdigit():
        after = int(seen[:18])
    kinds = frozenset(filter(None, request.query.get("kinds", "").split(",")))
    headers = {"content-type": "text/event-stream", "x-accel-buffering": "no"}
    return Response(200, headers, b"", _stream(app, min(after, last), run, kinds))


async def _stream(app: App, after: int, run: str, kinds: frozenset[str]) -> AsyncGenerator[bytes, None]:
    """Each event with its number as its id. A line with an id alone is no event for who listens: it says how far all
    has been seen."""
    app.streams += 1
    try:
        yield f"retry: 2000\nid: {after}\n\n".encode()
        wanted = partial(_wanted, kinds=kinds)
        async for seen, events in app.journal.follow(after, wanted, run, BEAT):
            yield _told(seen, events)
    except (NoSuch, StoreError):
        return  # who listens comes back, and is told then
    finally:
        app.streams -= 1


def _wanted(event: Event, kinds: frozenset[str]) -> bool:
    return not kinds or event.kind in kinds


def _told(seen: int, events: Sequence[Event]) -> bytes:
    told = "".join(f"id: {event.seq}\ndata: {json_line(event)}\n\n" for event in events)
    return f"{told}id: {seen}\n\n".encode()


async def _overview(app: App, _request: Request, token: Token, _path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    try:
        found = await app.journal.fold(("overview",), folds.overview)
    except NoSuch:
        found = folds.Overview((), (), ())
    return Response(200, _HTML, pages.overview(view, found))


async def _run(app: App, _request: Request, token: Token, path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    found = await app.journal.fold(path, partial(folds.show, run=path[1]))
    return Response(200, _HTML, await asyncio.to_thread(pages.run, view, found))


async def _output(app: App, request: Request, token: Token, path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    play, task = (request.query.get(name, "") for name in ("play", "task"))
    found = await app.journal.read(partial(folds.ended, run=path[1], play=play, task=task))
    return Response(200, _HTML, await asyncio.to_thread(pages.output, view, path[1], found))


async def _service(app: App, _request: Request, token: Token, path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    found = await app.journal.fold(("overview",), folds.overview)
    shown = next((one for one in found.services if one.name == path[1]), None)
    past = await app.journal.fold(path, partial(folds.history_of, service=path[1]))
    return Response(200, _HTML, pages.service(view, path[1], past, shown))


async def _all_runs(app: App, _request: Request, token: Token, _path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    found = await app.journal.fold(("runs",), partial(folds.summaries_of, most=MOST_RUNS))
    return Response(200, _HTML, pages.runs(view, found))


async def _shelf(app: App, _request: Request, token: Token, _path: tuple[str, ...]) -> Response:
    view = pages.view_of(token, app.journal.last)
    return Response(200, _HTML, pages.artifacts(view, await app.journal.fold(("artifacts",), folds.artifacts)))


def _file(kind: str, read: Callable[[], str]) -> Getting:
    async def get(_app: App, _request: Request, _token: Token, _path: tuple[str, ...]) -> Response:
        return Response(200, {"content-type": f"{kind}; charset=utf-8"}, read().encode())

    return get


def _shipped(name: str) -> str:
    from importlib.resources import files

    return files("ciflow.web").joinpath(name).read_text("utf-8")


# --- what is done ------------------------------------------------------------------------------------------------


def _speaker(visitor: Visitor) -> Speaker:
    return Speaker(visitor.token.name, "page" if visitor.by_cookie else "API")


async def _roll_back(app: App, request: Request, visitor: Visitor, path: tuple[str, ...]) -> Response:
    speaker = _speaker(visitor)
    done = await app.acting.roll_back(path[2], speaker, body_of(request.body))
    app.say(speaker.who, speaker.way, done)
    return _json(done)


async def _say(app: App, request: Request, visitor: Visitor, path: tuple[str, ...]) -> Response:
    speaker = _speaker(visitor)
    done = await app.acting.say(path[2], path[3], speaker, body_of(request.body))
    app.say(speaker.who, speaker.way, done)
    return _json(done)


async def _approve(app: App, request: Request, visitor: Visitor, _path: tuple[str, ...]) -> Response:
    speaker = _speaker(visitor)
    done = await app.acting.answer(speaker, body_of(request.body))
    app.say(speaker.who, speaker.way, done)
    return _json(done)


_HTML = {"content-type": "text/html; charset=utf-8"}
ROUTES: tuple[tuple[tuple[str, ...], Getting], ...] = (
    ((), _overview),
    (("runs",), _all_runs),
    (("runs", ANY), _run),
    (("runs", ANY, "output"), _output),
    (("services", ANY), _service),
    (("artifacts",), _shelf),
    (("page.css",), _file("text/css", lambda: STYLE + _shipped("page.css"))),
    (("page.js",), _file("text/javascript", lambda: _shipped("page.js"))),
    (("api", "status"), _data(folds.status)),
    (("api", "services"), _data(folds.services)),
    (("api", "services", ANY, "history"), _history),
    (("api", "runs"), _runs),
    (("api", "runs", ANY), _show),
    (("api", "runs", ANY, "log"), _log),
    (("api", "approvals"), _data(folds.approvals)),
    (("api", "artifacts"), _artifacts),
    (("api", "artifacts", ANY), _artifact),
    (("api", "events"), _events),
)
POSTS: tuple[tuple[tuple[str, ...], Posting], ...] = (
    (("api", "services", ANY, "rollback"), _roll_back),
    *((("api", "services", ANY, verb), _say) for verb in VERBS),
    (("api", "approvals"), _approve),
)


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(part in (ANY, given) for part, given in zip(pattern, path, strict=True))


def _number(request: Request, name: str, usual: int) -> int:
    given = request.query.get(name)
    if given is None:
        return usual
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise Shut(400, f"`{name}` is a number")
    return int(given)


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False)
    return Response(status, {"content-type": "application/json"}, text.encode())


def _for_programs(request: Request) -> bool:
    return request.path[:1] == ("api",)


def _refused(request: Request, status: int, message: str, help: str = "", code: int = ExitCode.INVALID) -> Response:
    if _for_programs(request):
        return _json({"error": message, "help": help, "exit": int(code)}, status)
    return Response(status, {"content-type": "text/plain; charset=utf-8"}, f"{safe(message)}\n{safe(help)}\n".encode())


def _unknown(request: Request) -> Response:
    """A browser that follows a link of another site shows no cookie of ours: it is asked once more."""
    if _for_programs(request):
        found = _json({"error": "a token is needed", "help": "Authorization: Bearer TOKEN", "exit": 3}, 401)
        return Response(401, {**found.headers, "www-authenticate": "Bearer"}, found.body)
    again = request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"
    return Response(401, _HTML, pages.sign_in(False, again))
