"""HAProxy's configuration and what its runtime socket answers, as pure functions.

The dial is a map file: `dial` holds share, safe share, candidate and salt in one value, so that a request reads them
in one look-up; `expires` (milliseconds, the host's clock) is read before it, so that a request which meets a commit
between the two look-ups sees the new dial or falls back to a safe one, never a new share under an old lease.
"""

from __future__ import annotations

import base64
import binascii
import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.counts import BAD, WINDOW, Counts
from ciflow.rollout.routers.dial import WHOLE, Dial, Manifest, RouterError, Slot

MAX_LINE = 12_000  # bytes of one command; HAProxy's buffer is 16 KiB by default


@dataclass(frozen=True, slots=True)
class HaproxySettings:
    """`router: {haproxy: ..}`. Times in seconds; `embedded`: ciflow writes the whole configuration and starts it."""

    socket: str
    backend: str
    map: str
    embedded: bool = False
    dir: str = ""
    port: int = 0
    bind: str = "0.0.0.0"
    binary: str = ""
    timeout: float = 15.0
    connect_timeout: float = 1.0
    overdue: float = 5.0  # a request still open after this counts as bad; whole seconds
    edges: tuple[float, ...] = ()
    by: str = ""
    tester: tuple[str, str] | None = None

    def file(self, name: str) -> str:
        return f"{self.dir.rstrip('/')}/{name}"

    @property
    def table(self) -> str:
        """Named after its edges: counters of other edges can't be mistaken for these."""
        edges = (str(round(edge * 1000)) for edge in self.edges)
        return "_".join([self.backend, "slower", *edges, *(["users"] if self.by else [])])

    @property
    def counters(self) -> int:
        """Counters of a slot: one for each edge; with `by` users who came, and two for each kind of event."""
        return len(self.edges) + (1 + 2 * (1 + len(self.edges)) if self.by else 0)

    @property
    def keeper(self) -> str:
        """The table of users: who came in this window, and what each has met in this release. Its name tells us by what
        the frontend's rules keep them."""
        return f"{self.backend}_by_{self.by.replace(':', '_')}"


def _variable(settings: HaproxySettings, name: str) -> str:
    return f"txn.{re.sub(r'[^a-zA-Z0-9]', '_', settings.backend)}_{name}"


def frontend_rules(settings: HaproxySettings) -> list[str]:
    """What a frontend needs to send a request to slot a or b as the dial says."""
    expires, dial, share, draw, slot = (_variable(settings, n) for n in ("expires", "dial", "share", "draw", "slot"))
    rules = [
        f"http-request set-var({expires}) str(expires),map_str({settings.map},0)",
        f"http-request set-var({dial}) str(dial),map_str({settings.map},0:0::)",
        f"http-request set-var({share}) var({dial}),field(2,:)",
        f"http-request set-var({share}) var({dial}),field(1,:) if {{ date(0,ms),sub({expires}) lt 0 }}",
        *_draw(settings, draw, dial),
        f"http-request set-var({slot}) str(a)",
        f"http-request set-var({slot}) str(b) if {{ var({draw}),sub({share}) lt 0 }}",
    ]
    if settings.tester:
        header, value = settings.tester
        asked = f"{{ req.hdr({header}) -m str {_quoted(value)} }}"
        for name in ("a", "b"):
            rules.append(
                f"http-request set-var({slot}) str({name}) if {asked} {{ var({dial}),field(3,:) -m str {name} }}"
            )
    rules += [*latency(settings, slot), *_people(settings, slot)]
    rules.append(f"use_backend {settings.backend}_%[var({slot})]")
    return rules


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _draw(settings: HaproxySettings, draw: str, dial: str) -> list[str]:
    """A number below 10,000: by chance, or the same for a user through a whole release (salted by it). A request that
    names no user is drawn by chance."""
    kind, _, name = settings.by.partition(":")
    if not kind:
        return [f"http-request set-var({draw}) rand({WHOLE})"]
    user, salt, fresh, key = (_variable(settings, n) for n in ("user", "salt", "fresh", "key"))
    sources = {"cookie": f"req.cook({name or 'ciflow'})", "header": f"req.hdr({name})", "ip": "src"}
    unknown = f"if !{{ var({user}) -m found }}"
    rules = [
        f"http-request set-var({user}) {sources[kind]}",
        f"http-request set-var({fresh}) uuid() {unknown}",
        f"http-request set-var({user}) var({fresh}) {unknown}",
    ]
    if kind == "cookie":
        cookie = f"{name or 'ciflow'}=%[var({fresh})]; Path=/; HttpOnly; SameSite=Lax"
        rules.append(f'http-response add-header Set-Cookie "{cookie}" if {{ var({fresh}) -m found }}')
    return [
        *rules,
        f"http-request set-var({salt}) var({dial}),field(4,:)",
        f"http-request set-var({key}) var({user}),concat(/,{salt}),xxh32",
        f"http-request set-var({draw}) var({key}),mod({WHOLE})",
    ]


def latency(settings: HaproxySettings, slot: str) -> list[str]:
    """Counters of slow answers by slot; `slot` is the variable that names it."""
    if not settings.counters:
        return []
    start = _variable(settings, "start")
    rules = [
        f"http-request set-var({start}) date(0,ms)",
        f"http-request track-sc0 var({slot}) table {settings.table}",
    ]
    for index, edge in enumerate(settings.edges):
        slow = f"{{ date(0,ms),sub({start}) gt {round(edge * 1000)} }}"
        rules.append(f"http-response sc-inc-gpc({index},0) if {slow}")
    return rules


def _people(settings: HaproxySettings, slot: str) -> list[str]:
    """Users counted by slot, as `Counts` says: a user by the first request of each window. What HAProxy answers for
    a slot counts as well, so this follows all answers; there HAProxy 2.6 adds by a fetch only."""
    if not settings.by:
        return []
    key, window, came, bad, sum_ = (_variable(settings, n) for n in ("key", "window", "came", "bad", "sum"))
    start, first = _variable(settings, "start"), len(settings.edges)
    counted = f"{{ var({came}) -m found }}"
    rules = [
        f"http-request track-sc1 var({key}) table {settings.keeper}",
        f"http-request set-var({window}) date,div({WINDOW}),mul(2)",
        f"http-request set-var({window}) date,div({WINDOW}),mul(2),add(1) if {{ var({slot}) -m str b }}",
        f"http-request set-var({came}) bool(true) if !{{ sc1_get_gpt0,sub({window}) eq 0 }}",
        f"http-request sc-set-gpt0(1) var({window}) if {counted}",
        f"http-request sc-inc-gpc({first},0) if {counted}",
        f"http-after-response set-var({bad}) bool(true) if {{ status ge 500 }}",
        f"http-after-response set-var({bad}) bool(true) if {{ srv_name -m found }} !{{ srv_name,strcmp({slot}) eq 0 }}",
    ]
    met = [f"{{ var({bad}) -m found }}"]
    met += [f"{{ date(0,ms),sub({start}) gt {round(edge * 1000)} }}" for edge in settings.edges]
    for kind, event in enumerate(met):
        risk, new = (f"sc_inc_gpc({first + 1 + 2 * kind + n},0)" for n in (0, 1))
        unmet = f"{{ sc_get_gpc({kind},1) eq 0 }}"
        rules += [
            f"http-after-response set-var({sum_}) {risk} if {counted} {unmet}",
            f"http-after-response set-var({sum_}) {new} if {counted} {unmet} {event}",
            f"http-after-response set-var({sum_}) sc_inc_gpc({kind},1) if {counted} {event}",
        ]
    return rules


def backends(settings: HaproxySettings, slots: Mapping[str, Slot]) -> str:
    """One backend for each slot, with the other slot as its backup, and the tables of counters."""
    blocks = [_backend(settings, slots["a"], slots["b"]), _backend(settings, slots["b"], slots["a"])]
    if settings.counters:
        store = f"stick-table type string len 8 size 16 store gpc({settings.counters})"
        blocks.append(f"backend {settings.table}\n    {store}\n")
    if settings.by:
        store = f"stick-table type integer size 1m expire 3h store gpt0,gpc({1 + len(settings.edges)})"
        blocks.append(f"backend {settings.keeper}\n    {store}\n")
    return "\n".join(blocks)


def _backend(settings: HaproxySettings, slot: Slot, other: Slot) -> str:
    """A connection that fails is tried again; once checks find the slot down, the other slot takes its requests."""
    check = "check inter 500ms fastinter 100ms fall 2 rise 2 observe layer4 error-limit 1 on-error fastinter"
    return f"""backend {settings.backend}_{slot.name}
    mode http
    retries 3
    retry-on conn-failure
    option redispatch 1
    timeout connect {round(settings.connect_timeout * 1000)}ms
    timeout server {round(settings.timeout * 1000)}ms
    default-server {check}
    server {slot.name} {slot.authority}
    server {other.name} {other.authority} backup
"""


def snippet(settings: HaproxySettings, slots: Mapping[str, Slot]) -> str:
    """What a user's own configuration must have, to be pasted into it."""
    rules = "\n".join(f"    {rule}" for rule in frontend_rules(settings))
    return (
        f"# in `global`:\n    stats socket {settings.socket} mode 600 level operator\n\n"
        f"# in the frontend (mode http) of this service:\n{rules}\n\n# beside it:\n{backends(settings, slots)}"
    )


def whole(settings: HaproxySettings, slots: Mapping[str, Slot]) -> str:
    """The configuration of an HAProxy that ciflow starts itself."""
    return around(settings, frontend_rules(settings), slots)


def around(settings: HaproxySettings, frontend: Sequence[str], slots: Mapping[str, Slot]) -> str:
    """A whole configuration with these rules of its frontend."""
    rules = "\n".join(f"    {rule}" for rule in frontend)
    patience = f"{round(settings.timeout * 1000)}ms"
    return f"""global
    stats socket {settings.socket} mode 600 level admin
    stats timeout 30s
    hard-stop-after 30s

defaults
    mode http
    timeout client 60s
    timeout http-request {patience}
    timeout http-keep-alive 60s

frontend {settings.backend}
    bind {settings.bind}:{settings.port}
{rules}

{backends(settings, slots)}"""


# --- the map --------------------------------------------------------------------------------------------


def entries(dial: Dial) -> dict[str, str]:
    """The map's keys and values. No value has a space or a semicolon: they go into one command line."""
    manifest = base64.urlsafe_b64encode(dial.manifest.to_json().encode()).decode()
    salt = re.sub(r"[^\w.-]", "_", dial.manifest.release)
    return {
        "dial": f"{dial.share}:{dial.safe}:{dial.candidate if dial.live else ''}:{salt}",
        "expires": str(round(dial.expires * 1000)),
        "token": str(dial.token),
        "revision": str(dial.revision),
        "live": dial.live or "-",
        "manifest": manifest,
    }


def map_file(service: str, dial: Dial) -> bytes:
    """The file that HAProxy starts with: always the settled dial."""
    head = f"# The dial of {service}, written by ciflow; HAProxy reads it at its start. Don't edit.\n"
    return (head + "".join(f"{key} {value}\n" for key, value in entries(dial.settled()).items())).encode()


def parse_map(lines: Sequence[str], where: str) -> Dial | None:
    """A dial from `key value` lines; None when there is no dial in them. Raises RouterError on a damaged one."""
    found = dict(line.split(" ", 1) for line in lines if " " in line and not line.startswith("#"))
    if "dial" not in found:
        return None
    try:
        manifest = Manifest.from_json(base64.urlsafe_b64decode(found["manifest"]).decode())
        live = found["live"].strip("-")
        share, expires = int(found["dial"].split(":")[0]), int(found["expires"]) / 1000
        return Dial(share, int(found["token"]), live, manifest, int(found["revision"]), expires)
    except (LookupError, ValueError, TypeError, binascii.Error) as error:
        raise RouterError(
            f"{where} does not hold a dial of ciflow: {error!r}",
            help="Empty that file and reload HAProxy: all traffic then goes to slot a until ciflow turns the dial.",
        ) from error


def parse_show_map(answer: str, where: str) -> Dial | None:
    """`show map`: each line is an identifier, the key and the value."""
    return parse_map([line.split(" ", 1)[1] for line in answer.splitlines() if line.startswith("0x")], where)


def in_force(dial: Dial, now: float) -> Dial:
    """What HAProxy does with that map at `now`: past `expires` it serves the safe share."""
    return dial if dial.at_rest or now < dial.expires else replace(dial, share=dial.safe, expires=0.0)


def commit_line(settings: HaproxySettings, version: int, dial: Dial) -> str:
    """All keys and the commit in one command line, then what the map holds: atomic, and read back at once."""
    adds = [f"add map @{version} {settings.map} {key} {value}" for key, value in entries(dial).items()]
    line = ";".join([*adds, f"commit map @{version} {settings.map}", f"show map {settings.map}"])
    if len(line) > MAX_LINE:
        raise RouterError(
            f"the manifest of {dial.manifest.service} is too long for HAProxy's socket ({len(line)} bytes)",
            help="Shorten the settings or the reason; they are kept at the router for a rollback without the store.",
        )
    return line


# --- counters -------------------------------------------------------------------------------------------

_SESSION = re.compile(r"\bbe=(\S+) .*?\bage=(\S+)")
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_GPC = re.compile(r"gpc(\d+)=(\d+)")


def parse_info(answer: str) -> dict[str, str]:
    """`show info`: name and value by line."""
    pairs = (line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    return {name: value.strip() for name, value in pairs}


def parse_stat(answer: str) -> dict[tuple[str, str], dict[str, str]]:
    """`show stat`, perhaps several times: rows by (proxy, server)."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    names: list[str] = []
    for row in csv.reader(answer.splitlines()):
        if row and row[0].startswith("# "):
            names = [row[0][2:], *row[1:]]
        elif len(row) > 2 and names:
            rows[row[0], row[1]] = dict(zip(names, row, strict=False))
    return rows


def parse_table(answer: str) -> dict[str, dict[int, int]]:
    """`show table`: general purpose counters by key."""
    found: dict[str, dict[int, int]] = {}
    for line in answer.splitlines():
        key = re.search(r"\bkey=(\S+)", line)
        if key:
            found[key[1]] = {int(index): int(value) for index, value in _GPC.findall(line)}
    return found


def parse_sessions(answer: str, overdue: float) -> Counter[str]:
    """`show sess`: by backend, the requests that have been open for `overdue` seconds or longer."""
    open_for = ((backend, _seconds(age)) for backend, age in _SESSION.findall(answer))
    return Counter(backend for backend, age in open_for if age >= overdue)


def _seconds(age: str) -> int:
    """HAProxy's `1d2h`, `2h5m`, `1m30s`, `12s`."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", age))


def slot_counts(
    settings: HaproxySettings,
    slot: str,
    rows: Mapping[tuple[str, str], Mapping[str, str]],
    table: Mapping[int, int],
    overdue: int,
) -> Counts:
    """One slot's counts from its BACKEND row, which sees what clients saw.

    A request that its client left stays open in HAProxy until the slot answers or `timeout server` ends it with a
    504: it is overdue until then, moves from one part to the other at its end, and counts once.
    """
    backend = f"{settings.backend}_{slot}"
    total = rows[backend, "BACKEND"]
    other = "b" if slot == "a" else "a"
    answered = _answers(total)
    own_words = int(total["hrsp_5xx"]) - sum(int(rows[backend, name]["hrsp_5xx"] or 0) for name in (slot, other))
    never = overdue + max(0, own_words)
    diverted = _answers(rows[backend, other]) - int(rows[backend, other]["hrsp_5xx"] or 0)
    return Counts(
        requests=answered + overdue,
        bad=int(total["hrsp_5xx"]) + overdue + diverted,
        slower={edge: table.get(index, 0) + never for index, edge in enumerate(settings.edges)},
        overdue=overdue,
        diverted=diverted,
        client_errors=int(total["hrsp_4xx"]),
        retries=int(total["wretr"]),
        seen=table.get(len(settings.edges), 0) if settings.by else 0,
        users=_users(settings, table) if settings.by else {},
    )


def _users(settings: HaproxySettings, table: Mapping[int, int]) -> dict[float, tuple[int, int]]:
    kinds = enumerate((BAD, *settings.edges))
    first = len(settings.edges) + 1
    return {kind: (table.get(first + 2 * n, 0), table.get(first + 2 * n + 1, 0)) for n, kind in kinds}


def still_open(settings: HaproxySettings, rows: Mapping[tuple[str, str], Mapping[str, str]]) -> int:
    """Requests of both slots that are under way."""
    return sum(int(rows[f"{settings.backend}_{slot}", "BACKEND"]["scur"]) for slot in ("a", "b"))


def _answers(row: Mapping[str, str]) -> int:
    return sum(int(row[f"hrsp_{kind}"] or 0) for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other"))
