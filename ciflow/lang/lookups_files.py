"""Lookups that read files of the controller. All but `template` bring data."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import random
import re
import string
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Span
from ciflow.lang.filters_data import flatten
from ciflow.lang.filters_text import matches
from ciflow.lang.inline import boolean, inline, number
from ciflow.lang.scope import Level, Scope
from ciflow.lang.vault import is_vaulted
from ciflow.model import Mkdir, Read, Stat, Walk, Write

if TYPE_CHECKING:
    import configparser


def search_paths(scope: Scope, name: str, folder: str = "files") -> list[str]:
    """Where a relative name is looked for, nearest first: the role, beside the file of tasks, beside the playbook; in
    each in its `folder` first."""
    if name.startswith("/"):
        return [name]
    given = scope.get("ansible_search_path") or (scope.get("role_path"), scope.get("playbook_dir"))
    bases = [str(base) for base in given if base]
    return [f"{base}/{below}{name}" for base in bases or ["."] for below in (f"{folder}/", "")]


def opened(scope: Scope, paths: Iterable[str]) -> tuple[str, bytes] | None:
    """The first of the files that is there, and its bytes. Raises ValueError for one that can't be read."""
    for path in paths:
        reply = scope.answer(Read(path=path))
        if reply.ok and reply.status == "done":
            return path, decrypted(scope, path, reply.stdout)
        if reply.errno not in ("ENOENT", "ENOTDIR", ""):
            raise ValueError(reply.error)
    return None


def decrypted(scope: Scope, path: str, content: bytes) -> bytes:
    """What ansible-vault has encrypted is opened in memory, and is a secret from then on."""
    if not is_vaulted(content):
        return content
    plain = scope.vault.open(content, Span(path, 1, 1))
    scope.vault.secret(text_of(plain))
    return plain


def _found(scope: Scope, name: str, folder: str = "files") -> tuple[str, bytes]:
    paths = search_paths(scope, str(name), folder)
    found = opened(scope, paths)
    if found is None:
        raise ValueError(f"the file {name} is not found: No such file or directory; looked for {', '.join(paths)}")
    return found


def text_of(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def file(scope: Scope, *terms: str, rstrip: bool = True, lstrip: bool = False) -> list[Any]:
    texts = [text_of(_found(scope, name)[1]) for name in terms]
    texts = [text.rstrip() if boolean(rstrip) else text for text in texts]
    return [text.lstrip() if boolean(lstrip) else text for text in texts]


def unvault(scope: Scope, *terms: str) -> list[Any]:
    """Files as they are, decrypted where ansible-vault has encrypted them."""
    return [text_of(_found(scope, name)[1]) for name in terms]


def template(
    scope: Scope, *terms: str, template_vars: Mapping[str, Any] | None = None, variable_start_string: str = "{{",
    variable_end_string: str = "}}", comment_start_string: str = "{#", comment_end_string: str = "#}",
    trim_blocks: bool = True, convert_data: Any = None,
) -> list[Any]:  # fmt: skip
    """Files rendered, as text. `convert_data` is Ansible's; text is never guessed to be data here."""
    from ciflow.lang.template import render_text
    from ciflow.lang.template_vars import file_variables

    del convert_data
    options = {"variable_start_string": variable_start_string, "variable_end_string": variable_end_string,
               "comment_start_string": comment_start_string, "comment_end_string": comment_end_string,
               "trim_blocks": boolean(trim_blocks)}  # fmt: skip
    texts = []
    for name in terms:
        path, content = _found(scope, name, "templates")
        own = scope.child(file_variables(scope, name, path), Level.MAGIC, lazy=True)
        inner = own.child(template_vars) if template_vars else own
        texts.append(render_text(text_of(content), path, inner, options, included_by(scope, path)))
    return texts


def included_by(scope: Scope, path: str) -> Callable[[str], tuple[str, str] | None]:
    """Finds what the template file at `path` includes: beside it, then where templates lie."""

    def find(name: str) -> tuple[str, str] | None:
        beside = path.rpartition("/")[0] or "."
        found = opened(scope, dict.fromkeys((f"{beside}/{name}", *search_paths(scope, name, "templates"))))
        return None if found is None else (found[0], text_of(found[1]))

    return find


def fileglob(scope: Scope, *terms: str) -> list[Any]:
    """Files (not directories) that match, in one folder, sorted; nothing found is an empty list."""
    return [path for pattern in terms for path in _first_matches(scope, pattern)]


def _first_matches(scope: Scope, pattern: str) -> list[str]:
    for candidate in search_paths(scope, pattern):
        folder, _, name = candidate.rpartition("/")
        reply = scope.answer(Walk(path=folder or "/", depth=1))
        entries = reply.data.get("entries", ()) if reply.ok else ()
        paths = [str(entry["path"]) for entry in entries if _is_file(scope, entry)]
        if matched := sorted(path for path in paths if _matches(path.rpartition("/")[2], name)):
            return matched
    return []


def _matches(name: str, pattern: str) -> bool:
    """As a shell's glob: a name that begins with a dot must be asked for."""
    return fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def _is_file(scope: Scope, entry: Mapping[str, Any]) -> bool:
    if entry.get("kind") != "link":
        return entry.get("kind") == "file"
    return scope.answer(Stat(path=str(entry["path"]), follow=True)).data.get("kind") == "file"


def first_found(
    scope: Scope, *terms: Any, files: Any = None, paths: Any = None, skip: Any = False, folder: str = "files"
) -> list[Any]:
    """The first file that is there. A term is a name, a list of terms, or a mapping {files, paths, skip}."""
    names: list[str] = []
    for term in flatten(terms or [files or []], skip_nulls=False):
        own = term if isinstance(term, Mapping) else {}
        skip = own.get("skip", skip)
        given = own.get("files") if isinstance(term, Mapping) else term
        where = _words(own["paths"] if own.get("paths") else paths, ",:;")
        found = _words(given, ",;")
        names += [f"{path}/{name}" for path, name in itertools.product(where, found)] if where else found
    for name in names:
        for path in search_paths(scope, name, folder):
            if scope.answer(Stat(path=path, follow=True)).data.get("exists"):
                return [path]
    if boolean(skip):
        return []
    raise ValueError(f"none of these files exists: {', '.join(names)}")


def _words(value: Any, marks: str) -> list[str]:
    if value is None:
        return []
    listed = value if isinstance(value, list | tuple) else [value]
    return [part.strip() for one in listed for part in re.split(f"[{marks}]", str(one)) if part.strip()]


def ini(
    scope: Scope, *terms: str, file: str = "ansible.ini", section: str = "global", default: Any = "", type: str = "ini",
    re: Any = False, encoding: str = "utf-8", case_sensitive: Any = False, allow_no_value: Any = False,
    allow_none: Any = False, interpolation: Any = True,
) -> list[Any]:  # fmt: skip
    """Values of keys, from an INI file's section or from a file of Java properties."""
    found: list[Any] = []
    for term in terms:
        key, own = inline(term, {"type", "file", "section", "re", "encoding", "default", "case_sensitive",
                                 "allow_no_value", "allow_none", "interpolation"}, several=False)  # fmt: skip
        if not key:
            raise ValueError(f"No key to look up was provided as first term within string inline options: {term}")
        name = str(own.get("file", file))
        kind = own.get("type", type)
        content = _found(scope, name)[1].decode(own.get("encoding", encoding))
        cased = boolean(own.get("case_sensitive", case_sensitive))
        key = key if cased else key.lower()
        values = _section(
            f"[java_properties]\n{content}" if kind == "properties" else content, name,
            "java_properties" if kind == "properties" else str(own.get("section", section)),
            cased=cased,
            bare=boolean(own.get("allow_no_value", allow_no_value)) or boolean(own.get("allow_none", allow_none)),
            filled=boolean(own.get("interpolation", interpolation)),
        )  # fmt: skip
        if boolean(own.get("re", re)):
            found += [values(one) for one in values.keys if _begins(key, one)]
        else:
            found.append(values(key) if key in values.keys else own.get("default", default))
    return [one for one in found if one is not None]


def _begins(pattern: str, text: str) -> bool:
    return matches(text, pattern, match_type="match")


@dataclass(frozen=True)
class _Section:
    """One section of an INI file. A value's `%(name)s` is filled in when it is asked for."""

    parser: configparser.ConfigParser
    name: str

    @property
    def keys(self) -> list[str]:
        return self.parser.options(self.name)

    def __call__(self, key: str) -> str | None:
        from configparser import Error

        try:
            return self.parser.get(self.name, key)
        except Error as error:
            raise ValueError(" ".join(str(error).split())) from error


def _section(content: str, file: str, name: str, *, cased: bool, bare: bool, filled: bool) -> _Section:
    import configparser

    parser = configparser.ConfigParser(
        interpolation=configparser.BasicInterpolation() if filled else None, allow_no_value=bare
    )
    if cased:
        parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(content, file)
    except configparser.Error as error:
        kind = "Duplicate option in " if isinstance(error, configparser.DuplicateOptionError) else ""
        raise ValueError(kind + " ".join(str(error).split())) from error
    if not parser.has_section(name):
        raise ValueError(f"No section {name!r} in {file}")
    return _Section(parser, name)


def csvfile(
    scope: Scope, *terms: str, file: str = "ansible.csv", delimiter: str = "TAB", col: Any = 1, keycol: Any = 0,
    default: Any = None, encoding: str = "utf-8",
) -> list[Any]:  # fmt: skip
    """Of the row whose key column is the term, the value in column `col`; columns count from 0."""
    import csv
    import io

    if not terms:
        raise ValueError("Search key is required but was not found")
    found: list[Any] = []
    for term in terms:
        key, own = inline(term, {"file", "delimiter", "col", "keycol", "default", "encoding"})
        if not key:
            raise ValueError("Search key is required but was not found")
        mark = str(own.get("delimiter", delimiter))
        text = _found(scope, str(own.get("file", file)))[1].decode(own.get("encoding", encoding))
        rows = csv.reader(io.StringIO(text), delimiter="\t" if mark in ("TAB", "\\t") else mark)
        column, column_of_key = number(own.get("col", col), "col"), number(own.get("keycol", keycol), "keycol")
        row = next((row for row in rows if row and row[column_of_key] == key), None)
        if row is not None and not -len(row) <= column < len(row):
            raise ValueError(f"the row of {key!r} has {len(row)} columns; `col` {column} counts from 0")
        value = own.get("default", default) if row is None else row[column]
        found += value if isinstance(value, list) else [value]
    return [one for one in found if one is not None]


# --- passwords -----------------------------------------------------------------------------------------

_SALT = string.ascii_letters + string.digits + "./"
_ONCE_MORE = 1 << 20  # a limit no other Read has, so that this one is asked for anew


def password(
    scope: Scope, *terms: str, length: Any = 20, chars: Any = ("ascii_letters", "digits", ".,:-_"),
    encrypt: str | None = None, seed: Any = None, ident: str | None = None,
) -> list[Any]:  # fmt: skip
    """The password in a file; where there is none yet, one made of recorded randomness, and written, mode 0600.

    With `encrypt` (sha256_crypt, sha512_crypt) its hash, by a salt that is kept beside it.
    """
    if ident is not None:
        raise ValueError("`ident` is for bcrypt, which is not made here")
    made = []
    for term in terms:
        path, own = inline(term, {"length", "chars", "encrypt", "seed"})
        alphabet = _alphabet(own.get("chars", chars))
        size = number(own.get("length", length), "length")
        how = own.get("encrypt", encrypt)
        seeded = own.get("seed", seed)
        fresh = functools.partial(_fresh, scope, size, alphabet, seeded, path)
        if path == "/dev/null":
            made.append(_hashed(fresh(), _random(scope, 8, _SALT, "salt"), how))
        else:
            made.append(_kept(scope, _beside(scope, path), fresh, how))
    return made


def _beside(scope: Scope, path: str) -> str:
    base = scope.get("playbook_dir")
    return path if path.startswith(("/", "~")) or not base else f"{base}/{path}"


def _alphabet(chars: Any) -> str:
    kinds = [kind for kind in chars.replace(",,", ",").split(",") if kind] if isinstance(chars, str) else list(chars)
    if isinstance(chars, str) and ",," in chars:
        kinds.insert(0, ",")
    known = {name: getattr(string, name) for name in (
        "ascii_letters", "ascii_lowercase", "ascii_uppercase", "digits", "hexdigits", "octdigits", "printable",
        "punctuation", "whitespace")}  # fmt: skip
    alphabet = "".join(known.get(str(kind), str(kind)) for kind in kinds).replace('"', "").replace("'", "")
    if not alphabet:
        raise ValueError("a password needs characters to be made of")
    return alphabet


def _fresh(scope: Scope, size: int, alphabet: str, seed: Any, path: str) -> str:
    if seed is not None:
        chance = random.Random(seed)
        return "".join(chance.choice(alphabet) for _ in range(size))
    return _random(scope, size, alphabet, path)


def _random(scope: Scope, size: int, alphabet: str, purpose: str) -> str:
    """Characters of the controller's randomness, which is recorded as every answer is.

    Equal operations have one answer, so each purpose and each round of a loop reads at an offset of its own.
    """
    item = scope.get(str(scope.get("ansible_loop_var", "item")))
    offset = zlib.crc32(f"{purpose} {item!r}".encode("utf-8", "replace"))
    raw = scope.answer(Read(path="/dev/urandom", offset=offset, length=8 * size)).stdout
    numbers = (int.from_bytes(raw[at : at + 8], "big") for at in range(0, 8 * size, 8))
    return "".join(alphabet[one % len(alphabet)] for one in numbers)


def _kept(scope: Scope, path: str, fresh: Callable[[], str], how: str | None) -> str:
    """The password of a file, made and written where there is none. What another host wrote meanwhile counts."""
    known = scope.answer(Read(path=path))
    if not known.ok and known.errno not in ("ENOENT", ""):
        raise ValueError(known.error)
    secret, salt = _parsed(known.stdout) if known.ok else (fresh(), "")
    if known.ok and (salt or not how):
        return _hashed(secret, salt, how)
    salt = _random(scope, 8, _SALT, f"salt of {path}") if how else ""
    line = f"{secret} salt={salt}\n" if salt else f"{secret}\n"
    folder = path.rpartition("/")[0]
    if folder and not known.ok:
        scope.answer(Mkdir(path=folder, mode="0700") if not _is_folder(scope, folder) else Stat(path=folder))
    scope.answer(Write(path=path, content=line.encode(), mode="0600", force=known.ok))
    secret, salt = _parsed(scope.answer(Read(path=path, limit=_ONCE_MORE)).stdout)
    return _hashed(secret, salt, how)


def _is_folder(scope: Scope, path: str) -> bool:
    return scope.answer(Stat(path=path, follow=True)).data.get("kind") == "directory"


def _parsed(content: bytes) -> tuple[str, str]:
    """The password and the salt of a line `PASSWORD salt=SALT ident=IDENT`."""
    secret, _, rest = text_of(content).rstrip().rpartition(" salt=")
    return (secret, rest.partition(" ident=")[0]) if _ else (rest, "")


def _hashed(secret: str, salt: str, how: str | None) -> str:
    from ciflow.lang.filters_text import password_hash

    return password_hash(secret, how, salt) if how else secret
