"""nginx's configuration, and the scripts that start and reload it: pure functions.

The dial is an include file: `split_clients` for the share, and the dial itself, which nginx says on a socket of its
own, so that one can ask the nginx that runs and not a file. Documentation: nginx.org, modules ngx_http_split_clients,
ngx_http_upstream, ngx_http_log, ngx_http_proxy, and "Controlling nginx" for HUP.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from collections.abc import Mapping, Sequence

from ciflow.dataclass import dataclass
from ciflow.rollout.routers.dial import WHOLE, Dial, RouterError, Slot

TOKEN = 2000  # bytes of one word in the file; nginx takes 4096
MARK = "# ciflow "
DIGITS = 8  # of a user in the log: of a hundred thousand, each shares them with a chance of 0.1 %
ROTATE = 32 * 1024 * 1024  # bytes of the embedded nginx's log before it begins anew; one old one is kept
LEAVING = 5.0  # seconds that old workers may take to stop taking connections
SPARING = (1, 27, 4)  # the nginx that has keepalive_min_timeout


@dataclass(frozen=True, slots=True)
class NginxSettings:
    """`router: {nginx: ..}`. Times in seconds. `include` is the dial file, `log` the access log that is counted,
    `admin` a UNIX socket or a loopback host:port where nginx says its dial."""

    embedded: bool
    dir: str
    include: str
    log: str
    pid: str
    admin: str
    port: int = 0
    bind: str = "0.0.0.0"
    binary: str = ""
    config: str = ""
    concurrency: int = 2
    timeout: float = 15.0
    connect_timeout: float = 1.0
    edges: tuple[float, ...] = ()
    by: str = ""
    tester: tuple[str, str] | None = None

    def file(self, name: str) -> str:
        return f"{self.dir.rstrip('/')}/{name}"


def name(service: str, what: str) -> str:
    """A name of ours in nginx's one space of names."""
    return f"ciflow_{re.sub(r'[^a-zA-Z0-9]', '_', service)}_{what}"


# --- the dial -------------------------------------------------------------------------------------------


def dial_file(service: str, slots: Mapping[str, Slot], dial: Dial, settings: NginxSettings) -> bytes:
    """The include file for `http {}`, whole."""
    blocks = [
        f"# The dial of {service}, written by ciflow. Don't edit.",
        f"# token {dial.token}",
        MARK + _packed(dial),
        *_upstreams(service, slots),
        *_split(service, dial, settings),
        _map(service, "connection", "$http_upgrade", {"default": "upgrade", '""': '""'}),
        f"log_format {name(service, 'log')} '${name(service, 'slot')}|$status|$upstream_response_time|"
        f"$upstream_addr|{_user(service, settings)}|.';",
        _admin(service, dial, settings),
    ]
    return ("\n".join(blocks) + "\n").encode()


def _packed(dial: Dial) -> str:
    return base64.b64encode(dial.to_json().encode()).decode()


def _upstreams(service: str, slots: Mapping[str, Slot]) -> list[str]:
    """A group for each slot, with the other slot for when its own can't be reached."""
    blocks = []
    for own, other in (("a", "b"), ("b", "a")):
        blocks.append(
            f"upstream {name(service, own)} {{\n"
            f"    server {slots[own].authority} max_fails=3 fail_timeout=1s;\n"
            f"    server {slots[other].authority} backup;\n"
            f"    keepalive 32;\n}}"
        )
    return blocks


def _split(service: str, dial: Dial, settings: NginxSettings) -> list[str]:
    """Slot b first, so that who is in at 5 % is in at 25 %. A share of 0 or 100 % has no line of its own: nginx takes
    none of 0 %."""
    key, blocks = _key(service, dial, settings)
    if settings.by:
        blocks += [_digit(f'"{key}/{n}" ${name(service, f"user{n}")}') for n in range(DIGITS)]
    lines = {0: ["* a;"], WHOLE: ["* b;"]}.get(dial.share, [f"{dial.share / 100:.2f}% b;", "* a;"])
    drawn = name(service, "drawn") if settings.tester and dial.live else name(service, "slot")
    blocks.append(f'split_clients "{key}" ${drawn} {{\n    ' + "\n    ".join(lines) + "\n}")
    if settings.tester and dial.live:
        header, value = settings.tester
        source = "$http_" + header.lower().replace("-", "_")
        blocks.append(_map(service, "slot", source, {"default": f"${drawn}", quoted(value): dial.candidate}))
    return blocks


def _digit(drawn: str) -> str:
    lines = "\n".join(f"    10% {digit};" for digit in range(9))
    return f"split_clients {drawn} {{\n{lines}\n    * 9;\n}}"


def _user(service: str, settings: NginxSettings) -> str:
    """Who it was, for the log: so many digits, each drawn by a hash of its own, for a cookie may be a secret. Another
    release draws others."""
    return "".join(f"${{{name(service, f'user{n}')}}}" for n in range(DIGITS)) if settings.by else ""


def _key(service: str, dial: Dial, settings: NginxSettings) -> tuple[str, list[str]]:
    """What is hashed: chance, or the user and the release, so that the next release draws others. A request that names
    no user is drawn by chance."""
    kind, _, of = settings.by.partition(":")
    if not kind:
        return "$request_id", []
    salt = re.sub(r"[^\w.-]", "_", dial.manifest.release)
    if kind == "ip":
        return f"$remote_addr/{salt}", []
    cookie = of or "ciflow"
    source = f"$cookie_{cookie}" if kind == "cookie" else "$http_" + of.lower().replace("-", "_")
    maps = [_map(service, "user", source, {"default": source, '""': "$request_id"})]
    if kind == "cookie":
        fresh = f'"{cookie}=$request_id; Path=/; HttpOnly; SameSite=Lax"'
        maps.append(_map(service, "cookie", source, {"default": '""', '""': fresh}))
    return f"${name(service, 'user')}/{salt}", maps


def _map(service: str, what: str, source: str, values: Mapping[str, str]) -> str:
    lines = "\n".join(f"    {value} {result};" for value, result in values.items())
    return f"map {source} ${name(service, what)} {{\n{lines}\n}}"


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _admin(service: str, dial: Dial, settings: NginxSettings) -> str:
    """Says the dial that is in force, on a socket of the router's folder."""
    packed, said = _packed(dial), name(service, "said")
    listen = f"unix:{settings.admin}" if settings.admin.startswith("/") else settings.admin
    parts = [packed[at : at + TOKEN] for at in range(0, len(packed), TOKEN)]
    sets = "\n".join(f'        set ${said} "{f"${{{said}}}" if at else ""}{part}";' for at, part in enumerate(parts))
    return (
        f"server {{\n    listen {listen};\n    access_log off;\n    location = /dial {{\n"
        f"        default_type text/plain;\n{sets}\n        return 200 ${said};\n    }}\n}}"
    )


def parse(content: bytes, where: str) -> Dial:
    """The dial of an include file of ours."""
    line = next((line for line in content.decode("utf-8", "replace").splitlines() if line.startswith(MARK)), "")
    return unpacked(line[len(MARK) :], where)


def unpacked(text: str, where: str) -> Dial:
    try:
        return Dial.from_json(base64.b64decode(text, validate=True).decode())
    except (ValueError, LookupError, TypeError, binascii.Error) as error:
        raise RouterError(
            f"{where} is not a dial of ciflow: {error!r}",
            help="Move it away; the next rollout or rollback writes a new one.",
        ) from error


# --- the whole ------------------------------------------------------------------------------------------


def location(service: str, settings: NginxSettings) -> list[str]:
    """What a `location` needs to send a request to slot a or b as the dial says. Only a request that was not yet sent,
    or may be sent twice (RFC 9110, 9.2.2), is tried again."""
    cookie = settings.by.partition(":")[0] == "cookie"
    return [
        passing(service),
        "proxy_http_version 1.1;",
        "proxy_set_header Host $http_host;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header Upgrade $http_upgrade;",
        f"proxy_set_header Connection ${name(service, 'connection')};",
        "proxy_next_upstream error;",
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        f"proxy_connect_timeout {round(settings.connect_timeout * 1000)}ms;",
        f"proxy_read_timeout {round(settings.timeout * 1000)}ms;",
        f"proxy_send_timeout {round(settings.timeout * 1000)}ms;",
        *([f"add_header Set-Cookie ${name(service, 'cookie')} always;"] if cookie else []),
        logging(service, settings),
    ]


def passing(service: str) -> str:
    return f"proxy_pass http://{name(service, '')}${name(service, 'slot')};"


def logging(service: str, settings: NginxSettings) -> str:
    return f"access_log {quoted(settings.log)} {name(service, 'log')};"


def snippet(service: str, settings: NginxSettings) -> str:
    """What a user's own configuration must have, to be pasted into it."""
    lines = "\n".join(f"    {line}" for line in location(service, settings))
    return (
        f"# in `http`:\n    keepalive_min_timeout 1s;  # nginx 1.27.4 and later\n    include {settings.include};\n\n"
        f"# in the `location` of this service:\n{lines}"
    )


def whole(service: str, settings: NginxSettings, version: tuple[int, ...]) -> str:
    """The configuration of an nginx that ciflow starts itself.

    A reload closes idle connections, which meets the request that just comes: one that was used within a second is
    spared. An nginx that can't spare them keeps none.
    """
    keep = "keepalive_min_timeout 1s" if version >= SPARING else "keepalive_timeout 0"
    rules = "\n".join(f"            {line}" for line in location(service, settings))
    temporary = "\n".join(f"    {kind}_temp_path {quoted(settings.file(kind))};" for kind in ("client_body", "proxy"))
    return f"""daemon off;
user root;
worker_processes {settings.concurrency};
worker_rlimit_nofile 65536;
pid {quoted(settings.pid)};
error_log stderr warn;

events {{
    worker_connections 16384;
}}

http {{
    access_log off;
    {keep};
    client_max_body_size 0;
{temporary}
    include {quoted(settings.include)};

    server {{
        listen {settings.bind}:{settings.port} backlog=4096;
        location / {{
{rules}
        }}
    }}
}}
"""


def command(binary: str, settings: NginxSettings) -> list[str]:
    """nginx with its configuration, as it was started."""
    where = ["-p", settings.dir] if settings.embedded else []
    return [binary, "-e", "stderr", *where, *(["-c", settings.config] if settings.config else [])]


def reload_script(places: Sequence[str], settings: NginxSettings) -> str:
    """Check the configuration, tell nginx to take it, and wait until its old workers take no more connections.

    A worker that leaves says so in its title before it closes its sockets, and takes none between the two.
    """
    return f"""pid=$(cat {shlex.quote(settings.pid)}) || exit 1
nginx=$(for one in {shlex.join(places)}; do command -v "$one" && break; done)
"$nginx" {shlex.join(command("", settings)[1:])} -t -q || exit 1
old=$(cat /proc/$pid/task/$pid/children)
kill -HUP $pid || exit 1
left={round(LEAVING / 0.02)}
for worker in $old; do
  while title=$(tr '\\000' ' ' 2> /dev/null < /proc/$worker/cmdline) || break; do
    case $title in *'nginx: worker process is'*) break ;; *'nginx: worker process'*) ;; *) break ;; esac
    left=$((left - 1))
    [ $left -gt 0 ] || {{ echo "nginx's old workers did not leave within {LEAVING:g} s" >&2; exit 1; }}
    sleep 0.02
  done
done"""


def start_script(binary: str, settings: NginxSettings, safe: str) -> str:
    """The embedded nginx's start: the safe dial first, and a companion that begins its log anew when it is long.

    Workers outlive a master that was killed: they would keep the port, and the share that they had.
    """
    log = shlex.quote(settings.log)
    return f"""rm -f {shlex.quote(settings.admin)}
{safe} || exit 1
for one in /proc/[0-9]*; do
  [ "$one/cwd" -ef {shlex.quote(settings.dir)} ] || continue
  case $(tr '\\000' ' ' 2> /dev/null < "$one/cmdline") in nginx:*) kill -QUIT "${{one#/proc/}}" ;; esac
done
(while sleep 10 && kill -0 $$ 2> /dev/null; do
  size=$(wc -c < {log} 2> /dev/null) || continue
  [ "$size" -lt {ROTATE} ] || {{ mv {log} {log}.1 && kill -USR1 $$; }}
done) > /dev/null 2>&1 &
exec {shlex.join(command(binary, settings))}"""
