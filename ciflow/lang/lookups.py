"""Ansible's lookups, and the loops that are made of them (`loop:` takes a list, `with_<lookup>:` what that gives).

A lookup does no I/O: it asks the scope for the reply to an operation (`scope.answer`), which raises Need until the
engine has performed it on the controller. What a lookup brings in is data; only `template` renders, a file of ours.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.lang import filters
from ciflow.lang.near import nearest
from ciflow.lang.scope import MISSING, Scope
from ciflow.lang.vault import is_vaulted
from ciflow.model import Exec, Http, Loop, Read, Reply, Stat, Template, Walk


def search_paths(scope: Scope, name: str, folder: str = "files") -> list[str]:
    """Where a relative name is looked for, nearest first: the role's folder, the role, beside the playbook."""
    if name.startswith("/"):
        return [name]
    bases = [str(base) for base in (scope.get("role_path"), scope.get("playbook_dir")) if base]
    return [f"{base}/{below}{name}" for base in bases or ["."] for below in (f"{folder}/", "")]


def _found(scope: Scope, name: str, folder: str = "files") -> tuple[str, bytes]:
    for path in search_paths(scope, name, folder):
        reply = scope.answer(Read(path=path))
        if reply.ok and reply.status == "done":
            return path, _opened(scope, path, reply.stdout)
        if reply.errno not in ("ENOENT", "ENOTDIR", ""):
            raise ValueError(reply.error)
    raise ValueError(f"the file {name} is not found; looked for {', '.join(search_paths(scope, name, folder))}")


def _opened(scope: Scope, path: str, content: bytes) -> bytes:
    """What ansible-vault has encrypted is opened in memory, and is a secret from then on."""
    if not is_vaulted(content):
        return content
    plain = scope.vault.open(content, Span(path, 1, 1))
    scope.vault.secret(_text(plain))
    return plain


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _file(scope: Scope, *names: str, rstrip: bool = True, lstrip: bool = False) -> list[Any]:
    texts = [_text(_found(scope, name)[1]) for name in names]
    texts = [text.rstrip() if rstrip else text for text in texts]
    return [text.lstrip() if lstrip else text for text in texts]


def _unvault(scope: Scope, *names: str) -> list[Any]:
    """Files, decrypted where ansible-vault has encrypted them."""
    return [_text(_found(scope, name)[1]) for name in names]


def _env(scope: Scope, *names: str, default: Any = "") -> list[Any]:
    """Variables of ciflow's own environment; `printenv` is asked, so that the answer is recorded."""
    found = []
    for name in names:
        reply = scope.answer(Exec(argv=("printenv", name.split()[0])))
        found.append(_text(reply.stdout).removesuffix("\n") if reply.rc == 0 else default)
    return found


def _ran(reply: Reply, command: str) -> str:
    if reply.rc != 0 or reply.status != "done":
        raise ValueError(f"`{command}` ended with {reply.rc}: {_text(reply.stderr).strip() or reply.error}")
    return _text(reply.stdout)


def _pipe(scope: Scope, *commands: str) -> list[Any]:
    return [_ran(scope.answer(Exec(shell=command)), command).rstrip("\n") for command in commands]


def _lines(scope: Scope, *commands: str) -> list[Any]:
    return [line for command in commands for line in _ran(scope.answer(Exec(shell=command)), command).splitlines()]


def _template(scope: Scope, *names: str, template_vars: Mapping[str, Any] | None = None) -> list[Any]:
    from ciflow.lang.template import render_text

    texts = []
    for name in names:
        path, content = _found(scope, name, "templates")
        texts.append(render_text(_text(content), path, scope.child(template_vars or {})))
    return texts


def _fileglob(scope: Scope, *patterns: str) -> list[Any]:
    """Files (not directories) that match, in one folder, sorted; nothing found is an empty list."""
    found: list[str] = []
    for pattern in patterns:
        for candidate in search_paths(scope, pattern):
            folder, _, name = candidate.rpartition("/")
            reply = scope.answer(Walk(path=folder or "/", depth=1))
            entries = reply.data.get("entries", ()) if reply.ok else ()
            paths = [str(entry["path"]) for entry in entries if entry.get("kind") == "file"]
            matched = [path for path in paths if fnmatch.fnmatch(path.rpartition("/")[2], name)]
            if matched:
                found += sorted(matched)
                break
    return found


def _first_found(scope: Scope, *terms: Any, files: Any = None, paths: Any = None, skip: bool = False) -> list[Any]:
    names: list[str] = []
    where: list[str] = [""]
    for term in _flat([*terms, *([files] if files else [])]):
        if isinstance(term, Mapping):
            skip = bool(term.get("skip", skip))
            where = _words(term.get("paths")) or where
            names += _words(term.get("files"))
        else:
            names += _words(term)
    where = _words(paths) or where
    for folder, name in itertools.product(where, names) if where != [""] else (("", name) for name in names):
        for path in search_paths(scope, f"{folder}/{name}" if folder else name):
            if scope.answer(Stat(path=path)).data.get("exists"):
                return [path]
    if skip:
        return []
    raise ValueError(f"none of these files exists: {', '.join(names)}")


def _words(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one).strip() for one in (value if isinstance(value, list | tuple) else str(value).split(","))]


def _flat(values: Any) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]


def _vars(scope: Scope, *names: str, default: Any = MISSING) -> list[Any]:
    found = []
    for name in names:
        value = scope.find(name)
        if value is MISSING and default is MISSING:
            near = scope.nearest(name)
            raise ValueError(f"no variable is named {name!r}" + (f"; nearest: {near[0]}" if near else ""))
        found.append(default if value is MISSING else value)
    return found


def _varnames(scope: Scope, *patterns: str) -> list[Any]:
    return [name for pattern in patterns for name in sorted(scope.names()) if re.search(pattern, name)]


def _dict(_scope: Scope, *terms: Any) -> list[Any]:
    return [item for term in _flat(terms) for item in filters.dict2items(term)]


def _items(_scope: Scope, *terms: Any) -> list[Any]:
    return _flat(_flat(terms)) if len(terms) == 1 else _flat(terms)


def _listed(_scope: Scope, *terms: Any) -> list[Any]:
    return list(terms[0]) if len(terms) == 1 and isinstance(terms[0], list | tuple) else list(terms)


def _flattened(_scope: Scope, *terms: Any) -> list[Any]:
    return filters.flatten(terms)


def _nested(_scope: Scope, *terms: Any) -> list[Any]:
    lists = terms[0] if len(terms) == 1 else terms
    return [_flat(one) for one in itertools.product(*(one if isinstance(one, list) else [one] for one in lists))]


def _together(_scope: Scope, *terms: Any) -> list[Any]:
    lists = terms[0] if len(terms) == 1 else terms
    return [list(one) for one in itertools.zip_longest(*lists)]


def _indexed(_scope: Scope, *terms: Any) -> list[Any]:
    return [[index, one] for index, one in enumerate(_flat(_flat(terms)))]


def _subelements(_scope: Scope, *terms: Any) -> list[Any]:
    value, path, *more = terms[0] if len(terms) == 1 else terms
    skip = bool(more and isinstance(more[0], Mapping) and more[0].get("skip_missing"))
    return [list(pair) for pair in filters.subelements(value, path, skip)]


def _random_choice(_scope: Scope, *terms: Any) -> list[Any]:
    return [filters.random_of(_flat(terms))]


def _inventory_hostnames(scope: Scope, *patterns: str) -> list[Any]:
    groups = scope.get("groups") or {}
    return [host for pattern in patterns for host in groups.get(pattern, [])]


MOST_ITEMS = 1_000_000  # that a sequence may have


def _sequence(_scope: Scope, *terms: Any, start: Any = 1, end: Any = None, stride: Any = None, count: Any = None,
              format: str = "%d") -> list[Any]:  # fmt: skip
    """Numbers as text: `start=1 end=5 stride=2 format=web%02d`, `count=4`, or the short `1-5/2:web%02d`."""
    given = dict(re.findall(r"(\w+)=(\S+)", " ".join(str(term) for term in terms)))
    start, end, stride = given.get("start", start), given.get("end", end), given.get("stride", stride)
    count, format = given.get("count", count), given.get("format", format)
    short = re.match(r"(?:(\w+)-)?(\w+)(?:/(-?\w+))?(?::(.+))?\Z", str(terms[0])) if terms and not given else None
    if short:
        start, end, stride, format = short[1] or 1, short[2], short[3], short[4] or format
    first = int(str(start), 0)
    if count is not None:
        step = int(str(stride), 0) if stride is not None else 1
        last = first + step * (int(str(count), 0) - 1)
        if int(str(count), 0) == 0:
            return []
    else:
        if end is None:
            raise ValueError("a sequence needs `end` or `count`")
        last = int(str(end), 0)
        step = int(str(stride), 0) if stride is not None else 1
    if step == 0:
        return []
    if (last - first) * step < 0:
        raise ValueError("a sequence that counts down needs a negative stride")
    if abs(last - first) // abs(step) >= MOST_ITEMS:
        raise ValueError(f"a sequence has at most {MOST_ITEMS:,} numbers")
    return [format % number for number in range(first, last + (1 if step > 0 else -1), step)]


def _url(scope: Scope, *urls: str, split_lines: bool = True) -> list[Any]:
    found: list[Any] = []
    for url in urls:
        reply = scope.answer(Http(url=url))
        if not reply.ok:
            raise ValueError(f"{url}: {reply.error or reply.data.get('status')}")
        found += _text(reply.stdout).splitlines() if split_lines else [_text(reply.stdout)]
    return found


def _ini(scope: Scope, *keys: str, file: str = "ansible.ini", section: str = "global", default: Any = "",
         type: str = "ini", **_: Any) -> list[Any]:  # fmt: skip
    import configparser

    content = _text(_found(scope, file)[1])
    parser = configparser.ConfigParser(interpolation=None, allow_no_value=True)
    parser.read_string(f"[{section}]\n{content}" if type == "properties" else content)
    return [parser.get(section, key.split()[0], fallback=default) for key in keys]


def _csvfile(scope: Scope, *keys: str, file: str = "ansible.csv", delimiter: str = "\t", col: Any = 1,
             keycol: Any = 0, default: Any = "") -> list[Any]:  # fmt: skip
    import csv
    import io

    separator = "\t" if delimiter in ("TAB", "\\t") else delimiter
    rows = list(csv.reader(io.StringIO(_text(_found(scope, file)[1])), delimiter=separator))
    return [next((row[int(col)] for row in rows if row and row[int(keycol)] == key), default) for key in keys]


_CHARACTERS = {"ascii_letters": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "digits": "0123456789",
               "hexdigits": "0123456789abcdefABCDEF", "punctuation": "!#%&()*+-./:;<=>?@[]^_{|}~"}  # fmt: skip


def _password(
    scope: Scope, *terms: str, length: int = 20, chars: Any = ("ascii_letters", "digits", ".,:-_")
) -> list[Any]:
    """The password in a file; where there is none yet, one made of recorded randomness, and written, mode 0600."""
    from ciflow.model import Write

    path = terms[0].split()[0]
    given = dict(re.findall(r"(\w+)=(\S+)", " ".join(terms)))
    size, kinds = int(given.get("length", length)), _words(given.get("chars", chars))
    if path != "/dev/null":
        known = scope.answer(Read(path=path))
        if known.ok and known.stdout:
            return [_text(known.stdout).splitlines()[0].split(" salt=")[0]]
    alphabet = "".join(_CHARACTERS.get(kind, kind) for kind in kinds)
    raw = scope.answer(Read(path="/dev/urandom", length=8 * size)).stdout
    numbers = (int.from_bytes(raw[at : at + 8], "big") for at in range(0, 8 * size, 8))
    password = "".join(alphabet[number % len(alphabet)] for number in numbers)
    if path != "/dev/null":
        scope.answer(Write(path=path, content=f"{password}\n".encode(), mode="0600", force=False))
    return [password]


LOOKUPS: dict[str, Callable[..., list[Any]]] = {
    "csvfile": _csvfile, "dict": _dict, "env": _env, "file": _file, "fileglob": _fileglob,
    "first_found": _first_found, "flattened": _flattened, "indexed_items": _indexed, "ini": _ini,
    "inventory_hostnames": _inventory_hostnames, "items": _items, "lines": _lines, "list": _listed,
    "nested": _nested, "cartesian": _nested, "password": _password, "pipe": _pipe,
    "random_choice": _random_choice, "sequence": _sequence, "subelements": _subelements, "template": _template,
    "together": _together, "unvault": _unvault, "url": _url, "varnames": _varnames, "vars": _vars,
}  # fmt: skip


def query(scope: Scope, kind: str, *terms: Any, errors: str = "strict", **options: Any) -> list[Any]:
    """`query('kind', ..)`: always a list."""
    name = kind.removeprefix("ansible.builtin.")
    if name not in LOOKUPS:
        near = nearest(name, LOOKUPS)
        raise ValueError(f"there is no lookup {kind!r}" + (f", did you mean {near!r}?" if near else ""))
    options.pop("wantlist", None)
    try:
        return LOOKUPS[name](scope, *terms, **options)
    except (ValueError, TypeError, KeyError):
        if errors in ("ignore", "warn"):
            return []
        raise


def lookup(scope: Scope, kind: str, *terms: Any, wantlist: bool = False, errors: str = "strict", **options: Any) -> Any:
    """`lookup('kind', ..)`: one value, several joined by commas where they are texts, as in Ansible."""
    found = query(scope, kind, *terms, errors=errors, **options)
    if wantlist:
        return found
    if not found:
        return None if errors != "strict" else ""
    if len(found) == 1:
        return found[0]
    return ",".join(found) if all(isinstance(one, str) for one in found) else found


_ONE_LIST = frozenset({"items", "nested", "cartesian", "together", "subelements", "list", "flattened", "indexed_items"})


def expand(loop: Loop, scope: Scope) -> list[Any]:
    """The items of a loop, rendered. Raises Invalid where there is no list, Need where a lookup needs I/O."""
    from ciflow.lang.template import render

    value = render(loop.items, scope)
    if loop.kind == "loop":
        if isinstance(value, list | tuple):
            return list(value)
        fix = "write `| dict2items`" if isinstance(value, Mapping) else "give it a list"
        raise _fault(loop, f"`loop` takes a list; this is {_kind(value)}", fix)
    if loop.kind not in LOOKUPS:
        raise _fault(loop, f"there is no lookup `{loop.kind}`", "")
    terms = value if isinstance(value, list | tuple) else [value]
    try:
        return query(scope, loop.kind, list(terms)) if loop.kind in _ONE_LIST else query(scope, loop.kind, *terms)
    except (ValueError, TypeError, KeyError) as error:
        raise _fault(loop, f"`with_{loop.kind}`: {error}", "") from error


def _fault(loop: Loop, message: str, label: str) -> Invalid:
    span = loop.items.span if isinstance(loop.items, Template) else None
    return Invalid([Diagnostic("error", "CF0202", message, span, label)])


def _kind(value: Any) -> str:
    names = {str: "text", dict: "a mapping", bool: "a boolean", int: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _now(_scope: Scope, utc: bool = False, fmt: str = "") -> Any:
    import datetime

    moment = datetime.datetime.now(datetime.UTC if utc else None).replace(tzinfo=None)
    return moment.strftime(fmt) if fmt else moment


GLOBALS: dict[str, Callable[..., Any]] = {"now": _now}
