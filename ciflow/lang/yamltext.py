"""YAML to plain values and places: the only owner of PyYAML.

PyYAML's composer gives the nodes (libyaml's when it is there); how a plain scalar reads is ours: YAML 1.2 core
(https://yaml.org/spec/1.2.2/#103-core-schema), and the booleans `yes no on off` of Ansible's dialect, as values and
never as keys. A scalar that holds `{{`, `{%` or `{#` becomes a Template, which alone may be rendered later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.diagnostics import Diagnostic, Findings, Span
from ciflow.lang.light import without_patterns
from ciflow.lang.place import Place, marks_of
from ciflow.lang.vault import Vault, encrypted
from ciflow.model import Template

with without_patterns():
    import yaml

MOST_NODES = 200_000  # after alias expansion, unless the file itself is that large
MOST_DEPTH = 100

_PLAIN = "plain"
_QUOTED = "quoted"
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
BOOLEANS_1_1 = {spelling: value for word, value in (("yes", True), ("no", False), ("on", True), ("off", False))
                for spelling in (word, word.capitalize(), word.upper())}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_BASED = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_OTHERWISE_1_1 = re.compile(
    r"[-+]?0[0-7]+\Z|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z|[-+]?0b[01_]+\Z|[-+]?[0-9][0-9]*_[0-9_]*\Z"
    r"|\d{4}-\d\d?-\d\d?([Tt ].*)?\Z|=\Z"
)
_STANDARD = "tag:yaml.org,2002:"


class _Resolver:
    """Leaves the reading of scalars to `_Builder`: only says whether one was plain."""

    def resolve(self, kind: type[yaml.Node], _value: str, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _QUOTED
        return _PLAIN

    def descend_resolver(self, _node: Any, _index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...

    def check_resolver_prefix(self, *_: Any) -> None: ...


if yaml.__with_libyaml__:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class _Loader(_Resolver, CParser):
        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
else:
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Loader(_Resolver, Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)


def parse(
    content: bytes, file: str, findings: Findings, *, trusted: bool = True, vault: Vault | None = None
) -> Place | None:
    """The document of a file as a tree of places; None where it can't be parsed at all (the fault is in `findings`).

    An empty file is a Place of None. With `trusted` false no scalar becomes a Template. `vault` opens `!vault` scalars.
    """
    text = _text(content, file, findings)
    if text is None:
        return None
    try:
        nodes = _compose(text)
    except (yaml.MarkedYAMLError, yaml.reader.ReaderError) as error:
        findings.items.append(_fault(error, text, file))
        return None
    except RecursionError:
        findings.error("CF0018", "values are nested too deep", Span(file, 1, 1))
        return None
    if len(nodes) > 1:
        mark = nodes[1].start_mark
        findings.error("CF0019", "a second YAML document begins here", Span(file, mark.line + 1, 1),
                       help="keep one document in a file")  # fmt: skip
    if not nodes:
        return Place(file, (0, 0, 0, 0), None)
    return _Builder(text, file, findings, trusted, vault).root(nodes[0])


def load_data(text: str) -> list[Any]:
    """Documents of untrusted text as plain data (`from_yaml`). Raises ValueError with line and column."""
    findings = Findings()
    try:
        nodes = _compose(text.removeprefix("\ufeff"))
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}".replace("\n", " ")) from error
    values = [_Builder(text, "text", findings, False).root(node).value for node in nodes]
    if findings.errors:
        first = findings.errors[0]
        raise ValueError(f"not YAML that can be used: {first.message} ({first.span})")
    return values


def dump(
    value: Any, *, indent: int | None = None, flow: bool | None = None, sort: bool = True, width: int | None = None,
    start: bool = False, end: bool = False, canonical: bool = False, style: str | None = None, unicode: bool = True,
) -> str:  # fmt: skip
    """YAML text of plain data, as Ansible's `to_yaml` (flow None: leaf collections inline) and `to_nice_yaml`."""
    text: str = yaml.dump(value, Dumper=_Dumper, indent=indent, default_flow_style=flow, allow_unicode=unicode,
                          sort_keys=sort, width=width, explicit_start=start, explicit_end=end, canonical=canonical,
                          default_style=style)  # fmt: skip
    return text if end else text.removesuffix("...\n")  # PyYAML ends a lone plain scalar so


class _Dumper(yaml.SafeDumper):
    """Writes tuples as lists, and repeated objects in full instead of as aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Quoted where 1.1 (PyYAML's own rule) or 1.2 (ours) would read a plain scalar as something else."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if isinstance(resolve(text), str) else "'")


_Dumper.add_representer(str, _represent_text)
for _kind in (list, tuple):
    _Dumper.add_multi_representer(_kind, lambda dumper, data: dumper.represent_list(data))
_Dumper.add_multi_representer(dict, lambda dumper, data: dumper.represent_dict(data))
_Dumper.add_multi_representer(Mapping, lambda dumper, data: dumper.represent_dict(dict(data)))  # type: ignore[type-abstract]


def _text(content: bytes, file: str, findings: Findings) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rsplit(b"\n", 1)[-1].decode("utf-8", "replace")) + 1
        findings.error("CF0002", f"byte 0x{content[error.start]:02x} is not UTF-8", Span(file, line, column),
                       help="save the file as UTF-8")  # fmt: skip
        return None


def _compose(text: str) -> list[yaml.Node]:
    loader = _Loader(text)
    nodes = []
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                nodes.append(node)
    finally:
        if hasattr(loader, "dispose"):
            loader.dispose()
    return nodes


def _fault(error: yaml.MarkedYAMLError | yaml.reader.ReaderError, text: str, file: str) -> Diagnostic:
    from ciflow.lang import yaml_faults  # nobody else waits for its patterns

    if isinstance(error, yaml.MarkedYAMLError):
        return yaml_faults.syntax_error(error, text, file)
    return yaml_faults.character_error(error, text, file)


class _Builder:
    """Composed nodes to places. Aliased collections share one Place; their expanded size is what counts."""

    def __init__(self, text: str, file: str, findings: Findings, trusted: bool, vault: Vault | None = None) -> None:
        self.vault = vault
        self.text = text
        self.file = file
        self.findings = findings
        self.trusted = trusted
        self.done: dict[int, tuple[Place, int]] = {}
        self.scalars = 0
        self.names: dict[str, Any] = {}  # plain keys met, and how each reads
        self.active: set[int] = set()

    def root(self, node: yaml.Node) -> Place:
        place, size = self.build(node, 0)
        if size > MOST_NODES and size > 10 * (len(self.done) + self.scalars):
            self.findings.error("CF0014", f"aliases expand to {size:,} values, at most {MOST_NODES:,} are taken",
                                Span(self.file, 1, 1))  # fmt: skip
            return Place(self.file, (0, 0, 0, 0), None)
        return place

    def build(self, node: yaml.Node, depth: int) -> tuple[Place, int]:
        """The node's place and its number of values after expansion."""
        if node.__class__ is yaml.ScalarNode:
            self.scalars += 1
            return self.scalar(node), 1
        known = self.done.get(id(node))
        if known is not None:
            return known
        if id(node) in self.active:
            self.error(node, "CF0013", "this value contains itself, by an alias inside it")
            return self.place(node, None), 1
        if depth > MOST_DEPTH:
            self.error(node, "CF0018", f"values are nested more than {MOST_DEPTH} deep")
            result = self.place(node, None), 1
        else:
            self.active.add(id(node))
            result = self.collection(node, depth + 1)
            self.active.discard(id(node))
        self.done[id(node)] = result
        return result

    def collection(self, node: yaml.Node, depth: int) -> tuple[Place, int]:
        wanted = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag == "!unsafe":
            return self.data(node, wanted, depth)
        if node.tag not in (_PLAIN, _STANDARD + wanted):
            self.error(node, "CF0015", f"the tag `{_shown(node.tag)}` makes an object; a playbook holds plain values")
            return self.place(node, None), 1
        return self.mapping(node, depth) if wanted == "map" else self.sequence(node, depth)

    def sequence(self, node: yaml.Node, depth: int) -> tuple[Place, int]:
        place = self.place(node, [])
        place.items = []
        size = 1
        for child in node.value:
            below, count = self.build(child, depth)
            size += count
            place.items.append(below)
            place.value.append(below.value)
        return place, size

    def data(self, node: yaml.Node, wanted: str, depth: int) -> tuple[Place, int]:
        """A collection under `!unsafe`: no text in it is a template."""
        trusted, self.trusted = self.trusted, False
        node.tag = _STANDARD + wanted
        built = self.collection(node, depth)
        self.trusted = trusted
        return built

    def mapping(self, node: yaml.Node, depth: int) -> tuple[Place, int]:
        place = self.place(node, {})
        values: dict[Any, Any] = place.value
        fields: dict[Any, Place] = {}
        place.fields, place.keys = fields, {}
        merged: list[Place] = []
        size = 1
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.odd_key(node, key_node)
                continue
            start, end = key_node.start_mark, key_node.end_mark
            at = (start.line, start.column, end.line, end.column)
            if value_node.__class__ is yaml.ScalarNode:
                self.scalars += 1
                below = self.scalar(value_node)
                size += 1
            else:
                below, count = self.build(value_node, depth)
                size += count
            if key_node.value == "<<" and key_node.tag == _PLAIN:
                merged.append(below)
                continue
            key = self.key(key_node)
            if key in values:
                self.duplicate(key, at, place.keys[key])
                continue
            place.keys[key] = at
            fields[key] = below
            values[key] = below.value
        for source in merged:
            self.merge(place, source)
        return place, size

    def merge(self, place: Place, source: Place) -> None:
        """`<<`: a local key beats a merged one, an earlier source beats a later one."""
        if isinstance(source.value, list):
            for one in source.items:
                self.merge(place, one)
        elif isinstance(source.value, dict):
            for key, below in source.fields.items():
                if key not in place.value:
                    place.keys[key] = source.keys[key]
                    place.fields[key] = below
                    place.value[key] = below.value
        else:
            self.findings.error("CF0101", "`<<` merges mappings; this is none", source.span)

    def key(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        if node.tag != _PLAIN:
            return text
        if text not in self.names:
            self.names[text] = text if text in BOOLEANS_1_1 else resolve(text)
        return self.names[text]

    def odd_key(self, node: yaml.Node, key: yaml.Node) -> None:
        start, end = node.start_mark, node.end_mark
        flow = (
            isinstance(key, yaml.MappingNode)
            and isinstance(node, yaml.MappingNode)
            and key.flow_style
            and node.flow_style
        )
        if flow and key.start_mark.line == start.line and key.start_mark.column == start.column + 1:
            text = self.text[start.index : end.index]
            from ciflow.lang.yaml_faults import unquoted

            self.findings.items.append(unquoted(self.file, start.line + 1, start.column + 1, text))
        else:
            self.error(key, "CF0101", "a key must be a scalar")

    def duplicate(self, key: Any, at: tuple[int, int, int, int], first: tuple[int, int, int, int]) -> None:
        earlier = Span(self.file, first[0] + 1, first[1] + 1, first[2] + 1, first[3] + 1)
        span = Span(self.file, at[0] + 1, at[1] + 1, at[2] + 1, at[3] + 1)
        message, label = f"the key `{key}` stands twice", f"first in line {earlier.line}"
        related = (("it stands here first", earlier),)
        self.findings.items.append(Diagnostic("error", "CF0012", message, span, label, related=related))

    def scalar(self, node: yaml.ScalarNode) -> Place:
        tag, text = node.tag, node.value
        if tag == _PLAIN:
            if text in BOOLEANS_1_1:
                return self.place(node, BOOLEANS_1_1[text], text)
            value = resolve(text)
            if not isinstance(value, str):
                return self.place(node, value, text)
            if _OTHERWISE_1_1.match(text):
                return self.place(node, value, text)
        elif tag not in (_QUOTED, _STANDARD + "str"):
            return self.tagged(node)
        if self.trusted and "{" in text and ("{{" in text or "{%" in text or "{#" in text):
            place = self.place(node, text)
            place.marks = marks_of(self.text, node.start_mark, node.end_mark, node.style, text)
            place.value = Template(text, place.span, marks=place.marks)
            return place
        return self.place(node, text)

    def tagged(self, node: yaml.ScalarNode) -> Place:
        if node.tag == "!unsafe":
            return self.place(node, node.value)
        if node.tag in ("!vault", "!vault-encrypted"):
            return self.encrypted(node)
        short = node.tag.removeprefix(_STANDARD)
        if short in ("int", "float", "bool", "null"):
            return self.place(node, resolve(node.value), node.value)
        self.error(node, "CF0015", f"the tag `{_shown(node.tag)}` is not taken in a playbook")
        return self.place(node, None)

    def encrypted(self, node: yaml.ScalarNode) -> Place:
        """A `!vault` scalar; only documents of ours may have one."""
        place = self.place(node, "")
        if self.vault is None:
            self.error(node, "CF0017", "a value of ansible-vault is not opened here")
            return place
        try:
            place.value = encrypted(node.value, place.span, self.vault)
        except ValueError as error:
            self.error(node, "CF0017", str(error))
        return place

    def place(self, node: yaml.Node, value: Any, text: str = "") -> Place:
        start, end = node.start_mark, node.end_mark
        place = Place(self.file, (start.line, start.column, end.line, end.column), value, text)
        if text == "" and isinstance(value, str):
            place.source = (self.text, start.index)
            place.style = getattr(node, "style", None) or ""
        return place

    def error(self, node: yaml.Node, code: str, message: str) -> None:
        start = node.start_mark
        self.findings.error(code, message, Span(self.file, start.line + 1, start.column + 1))


def resolve(text: str) -> Any:
    """How a plain scalar reads in YAML 1.2 core."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.match(text):
            return int(text) if len(text) < 4000 else text
        if _BASED.match(text):
            return int(text[2:], 8 if text[1] == "o" else 16)
        if _FLOAT.match(text):
            return float(text)
        if _INFINITE.match(text):
            return float(text.replace(".", "").lower())
    return text


def _shown(tag: str) -> str:
    return "!!" + tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else tag
