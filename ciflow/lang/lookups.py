"""Ansible's lookups, and the loops that are made of them (`loop:` takes a list, `with_<lookup>:` what that gives).

A lookup does no I/O: it asks the scope for the reply to an operation (`scope.answer`), which raises Need until the
engine has performed it on the controller. What a lookup brings in is data; only `template` renders, a file of ours.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang import filters_data as data
from ciflow.lang import lookups_files as files
from ciflow.lang.filters_scope import environment_variable
from ciflow.lang.inline import boolean, inline, number
from ciflow.lang.limits import MOST_ITEMS, TooMuch, timed
from ciflow.lang.lookups_files import text_of
from ciflow.lang.near import nearest
from ciflow.lang.patterns import select
from ciflow.lang.scope import MISSING, Scope
from ciflow.model import Exec, Http, Loop, Reply, Template

# --- of this machine and of others ----------------------------------------------------------------------


def _env(scope: Scope, *terms: str, default: Any = "") -> list[Any]:
    """Variables of ciflow's own environment."""
    found = (environment_variable(scope, name.split()[0]) for name in terms)
    return [default if value is None else value for value in found]


def _output(scope: Scope, command: str) -> str:
    reply: Reply = scope.answer(Exec(shell=command, cwd=str(scope.get("playbook_dir") or "")))
    if reply.rc != 0 or reply.status != "done":
        raise ValueError(f"`{command}` ended with {reply.rc}: {text_of(reply.stderr).strip() or reply.error}")
    return text_of(reply.stdout)


def _pipe(scope: Scope, *terms: str) -> list[Any]:
    return [_output(scope, str(command)).rstrip() for command in terms]


def _lines(scope: Scope, *terms: str) -> list[Any]:
    return [line for command in terms for line in _output(scope, str(command)).splitlines()]


_FOLLOW = {"urllib2": "safe", "safe": "safe", "all": "all", "yes": "all", "none": "none", "no": "none"}


def _url(
    scope: Scope, *terms: str, split_lines: Any = True, validate_certs: Any = True, username: str = "",
    password: str = "", headers: Mapping[str, Any] | None = None, force: Any = False, timeout: Any = 10,
    http_agent: str = "ansible-httpget", follow_redirects: str = "urllib2", ca_path: str = "",
) -> list[Any]:  # fmt: skip
    """What lies at the URLs, by line or (`split_lines: false`) whole."""
    if str(follow_redirects) not in _FOLLOW:
        raise ValueError(f"follow_redirects is one of {', '.join(_FOLLOW)}, not {follow_redirects!r}")
    sent = {"User-Agent": http_agent} | ({"Cache-Control": "no-cache"} if boolean(force) else {})
    sent |= {str(name): str(value) for name, value in (headers or {}).items()}
    found: list[Any] = []
    for url in terms:
        reply = scope.answer(Http(url=url, headers=sent, timeout=float(timeout), verify=boolean(validate_certs),
                                  user=username, password=password, ca=ca_path,
                                  follow=_FOLLOW[str(follow_redirects)]))  # fmt: skip
        if not reply.ok or int(reply.data.get("status", 200)) >= 400:
            raise ValueError(f"{url}: {reply.error or 'status ' + str(reply.data.get('status'))}")
        found += text_of(reply.stdout).splitlines() if boolean(split_lines) else [text_of(reply.stdout)]
    return found


# --- variables -----------------------------------------------------------------------------------------


def _vars(scope: Scope, *terms: str, default: Any = MISSING) -> list[Any]:
    """Values of variables by name; MISSING, which the caller makes undefined, for one that there is none of."""
    found = (scope.find(_text(name, "vars")) for name in terms)
    return [default if value is MISSING else value for value in found]


def _varnames(scope: Scope, *terms: str) -> list[Any]:
    import re

    names = sorted(scope.names())
    try:
        patterns = [re.compile(_text(pattern, "varnames")) for pattern in terms]
    except re.error as error:
        raise ValueError(f"Unable to use {error.pattern!r} as a search parameter: {error}") from error
    return [name for pattern in patterns for name in names if timed(functools.partial(pattern.search, name))]


def _text(term: Any, kind: str) -> str:
    if not isinstance(term, str):
        raise ValueError(f"Invalid setting identifier: {kind} takes names, not {_kind(term)}")
    return term


def _inventory_hostnames(scope: Scope, *terms: Any) -> list[Any]:
    """Hosts that a pattern such as `web:!old` names."""
    groups: Mapping[str, list[str]] = scope.get("groups") or {}
    pattern = ",".join(str(term) for term in data.flatten(terms))
    return select(pattern, list(groups.get("all", ())), groups, lambda _: ())[0]


# --- lists ---------------------------------------------------------------------------------------------


def _flat(values: Any) -> list[Any]:
    """One level of lists dissolved."""
    return [one for value in values for one in (value if isinstance(value, list | tuple) else [value])]


def _dict(_scope: Scope, *terms: Any) -> list[Any]:
    return [item for term in terms for item in data.dict2items(term)]


def _items(_scope: Scope, *terms: Any) -> list[Any]:
    return _flat(terms)


def _list(_scope: Scope, *terms: Any) -> list[Any]:
    return list(terms)


def _flattened(_scope: Scope, *terms: Any) -> list[Any]:
    return data.flatten(terms)


def _nested(_scope: Scope, *terms: Any) -> list[Any]:
    if not terms:
        raise ValueError("nested takes at least one list")
    return [_flat(one) for one in data.product(*(one if isinstance(one, list | tuple) else [one] for one in terms))]


def _together(_scope: Scope, *terms: Any) -> list[Any]:
    if not terms:
        raise ValueError("with_together requires at least one element in each list")
    return [_flat(one) for one in itertools.zip_longest(*terms)]


def _indexed(_scope: Scope, *terms: Any) -> list[Any]:
    return [[index, one] for index, one in enumerate(_flat(terms))]


def _subelements(_scope: Scope, *terms: Any) -> list[Any]:
    if not 2 <= len(terms) <= 3 or not isinstance(terms[1], str):
        raise ValueError(
            "subelements expects a list of two or three items: first a dict or a list, second a string that names a "
            "list in each of its items, and perhaps {skip_missing: true}"
        )
    value, path, *more = terms
    if more and not isinstance(more[0], Mapping):
        raise ValueError("subelements: the optional third item must be a dict, {skip_missing: true}")
    if not isinstance(value, list | tuple | Mapping):
        raise ValueError(f"subelements: first a dict or a list, not {_kind(value)}")
    unknown = set(more[0]) - {"skip_missing"} if more else set()
    if unknown:
        raise ValueError(f"subelements has no option {unknown.pop()!r}")
    if isinstance(value, Mapping) and value.get("skipped", False) is not False:  # the register of a skipped loop
        return []
    items = list(value.values()) if isinstance(value, Mapping) else value
    kept = [one for one in items if not (isinstance(one, Mapping) and one.get("skipped", False) is not False)]
    return [list(pair) for pair in data.subelements(kept, path, bool(more) and boolean(more[0]["skip_missing"]))]


def _random_choice(_scope: Scope, *terms: Any) -> list[Any]:
    return [data.random_of(list(terms))] if terms else []


_NUMBER = r"0?x?[0-9a-f]+"
_SHORT = rf"(?:({_NUMBER})-)?({_NUMBER})(?:/({_NUMBER}|-\d+))?(?::(.+))?\Z"


def _sequence(
    _scope: Scope, *terms: Any, start: Any = 1, end: Any = None, stride: Any = 1, count: Any = None, format: str = "%d"
) -> list[Any]:
    """Numbers as text: `start=1 end=5 stride=2 format=web%02d`, `count=4`, or the short `1-5/2:web%02d`."""
    import re

    found: list[Any] = []
    for term in terms or ("",):
        options = {"start": start, "end": end, "stride": stride, "count": count, "format": format}
        short = re.match(_SHORT, str(term), re.I)
        if short:
            own = zip(("start", "end", "stride", "format"), short.groups(), strict=True)
            options |= {name: value for name, value in own if value is not None}
        else:
            rest, given = inline(term, options.keys(), what="unrecognized arguments to with_sequence: ")
            if rest:
                kind = "has an invalid value" if re.match(r"\w+-\w+(/|\Z)", rest) else "is no sequence"
                raise ValueError(f"{rest!r} {kind}; write `start=1 end=5`, or `1-5`")
            options |= given
        found += _numbers(options)
    return found


def _numbers(options: Mapping[str, Any]) -> list[str]:
    first, step = number(options["start"], "start"), number(options["stride"], "stride")
    if options["count"] is None and options["end"] is None:
        raise ValueError("must specify count or end in with_sequence")
    if options["count"] is not None and options["end"] is not None:
        raise ValueError("can't specify both count and end in with_sequence")
    if options["count"] is not None:
        count = number(options["count"], "count")
        last = first + step * (count - 1)
        if count == 0:
            return []
    else:
        last = number(options["end"], "end")
    if step == 0:
        return []
    if (last - first) * step < 0:
        raise ValueError("to count backwards make stride negative" if step > 0 else
                         "to count forward don't make stride negative")  # fmt: skip
    if abs(last - first) // abs(step) >= MOST_ITEMS:
        raise TooMuch(f"a sequence has at most {MOST_ITEMS:,} numbers")
    return _formatted(str(options["format"]), range(first, last + (1 if step > 0 else -1), step))


def _formatted(format: str, numbers: range) -> list[str]:
    if format.count("%") != 1:
        raise ValueError(f"bad formatting string: {format}; it must have one %, as in web%02d")
    try:
        return [format % one for one in numbers]
    except (ValueError, TypeError) as error:
        raise ValueError(f"bad formatting string: {format} is for no number: {error}") from error


# --- calling -------------------------------------------------------------------------------------------

LOOKUPS: dict[str, Callable[..., list[Any]]] = {
    "csvfile": files.csvfile, "dict": _dict, "env": _env, "file": files.file, "fileglob": files.fileglob,
    "first_found": files.first_found, "indexed_items": _indexed, "ini": files.ini,
    "inventory_hostnames": _inventory_hostnames, "items": _items, "lines": _lines, "list": _list,
    "nested": _nested, "password": files.password, "pipe": _pipe, "random_choice": _random_choice,
    "sequence": _sequence, "subelements": _subelements, "template": files.template, "together": _together,
    "unvault": files.unvault, "url": _url, "varnames": _varnames, "vars": _vars,
}  # fmt: skip
OTHER_LOOKUPS: dict[str, Callable[..., list[Any]]] = {"cartesian": _nested, "flattened": _flattened}
REFUSED = {"config": "ciflow reads no ansible.cfg, so there is nothing to look up"}


def lookup_named(kind: str) -> Callable[..., list[Any]]:
    """The lookup by name, also with its collection. Raises ValueError with the nearest name, or why it is refused."""
    name = kind.removeprefix("ansible.builtin.").removeprefix("community.general.")
    if name in REFUSED:
        raise ValueError(f"the lookup `{name}` is refused: {REFUSED[name]}")
    table = LOOKUPS if kind.startswith("ansible.builtin.") else LOOKUPS | OTHER_LOOKUPS
    if name in table:
        return table[name]
    near = nearest(name, table)
    raise ValueError(f"there is no lookup {kind!r}" + (f", did you mean {near!r}?" if near else ""))


def check_call(kind: str, terms: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Raises ValueError where the lookup is unknown, TypeError where it takes no such arguments."""
    _signature(lookup_named(kind)).bind(None, *terms, **options)


@functools.cache
def _signature(found: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(found)


def _asked(
    scope: Scope, kind: str, terms: tuple[Any, ...], errors: str, options: Mapping[str, Any]
) -> list[Any] | None:
    """What the lookup finds; None for a fault that `errors` (strict, warn, ignore) lets pass."""
    found = lookup_named(kind)
    try:
        _signature(found).bind(scope, *terms, **options)
    except TypeError as error:
        raise ValueError(f"the lookup `{kind}`: {error}") from error
    try:
        return found(scope, *terms, **options)
    except (ValueError, TypeError, KeyError, AttributeError):
        if errors in ("ignore", "warn"):
            return None
        raise


def query(
    scope: Scope, kind: str, *terms: Any, errors: str = "strict", wantlist: bool = True, **options: Any
) -> list[Any]:
    """`query('kind', ..)`: always a list."""
    del wantlist
    return _asked(scope, kind, terms, errors, options) or []


def lookup(scope: Scope, kind: str, *terms: Any, wantlist: bool = False, errors: str = "strict", **options: Any) -> Any:
    """`lookup('kind', ..)`: one value, several joined by commas where they are texts, as in Ansible."""
    found = _asked(scope, kind, terms, errors, options)
    if wantlist:
        return found or []
    if not found or (len(found) > 1 and not all(isinstance(one, str) for one in found)):
        return found
    return found[0] if len(found) == 1 else ",".join(found)


# --- loops ---------------------------------------------------------------------------------------------

_FOLDERS = {"template": "templates", "include_vars": "vars"}  # where `with_first_found` looks, by the task's module


def expand(loop: Loop, scope: Scope, module: str = "") -> list[Any]:
    """The items of a loop, rendered. Raises Invalid where there is no list, Need where a lookup needs I/O."""
    from ciflow.lang.template import render

    if loop.kind == "loop":
        value = render(loop.items, scope)
        if isinstance(value, list | tuple):
            return list(value)
        fix = "write `| dict2items`" if isinstance(value, Mapping) else "give it a list"
        raise _fault(loop, f"`loop` takes a list; this is {_kind(value)}", fix)
    first_found = loop.kind.rpartition(".")[2] == "first_found"
    value = _known_parts(loop.items, scope) if first_found else render(loop.items, scope)
    terms = value if isinstance(value, list | tuple) else [value]
    options = {"folder": _FOLDERS.get(module, "files")} if first_found else {}
    try:
        return _asked(scope, loop.kind, tuple(terms), "strict", options) or []
    except (ValueError, TypeError, KeyError) as error:
        raise _fault(loop, f"`with_{loop.kind}`: {error}", "") from error


def _known_parts(value: Any, scope: Scope) -> Any:
    """What can be rendered of the terms of `with_first_found`: a file with an undefined name in it is no candidate."""
    from ciflow.lang.template import render

    if isinstance(value, Mapping):
        return {key: _known_parts(below, scope) for key, below in value.items()}
    if not isinstance(value, list | tuple):
        return render(value, scope)
    found = []
    for below in value:
        try:
            found.append(_known_parts(below, scope))
        except Invalid as invalid:
            if any(one.code != "CF0210" for one in invalid.diagnostics):
                raise
    return found


def _fault(loop: Loop, message: str, label: str) -> Invalid:
    span = loop.items.span if isinstance(loop.items, Template) else None
    return Invalid([Diagnostic("error", "CF0202", message, span, label)])


def _kind(value: Any) -> str:
    names = {str: "text", dict: "a mapping", bool: "a boolean", int: "a number", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)


def _now(_scope: Scope, utc: bool = False, fmt: str | None = None) -> Any:
    moment = datetime.datetime.now(datetime.UTC if utc else None).replace(tzinfo=None)
    return moment.strftime(fmt) if fmt else moment


GLOBALS: dict[str, Callable[..., Any]] = {"now": _now}
