"""Filters and tests: values from Ansible's documentation and from the standards they implement."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import Any

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.template import render
from tests.lang.making import scope_of, template


def value(text: str, **names: Any) -> Any:
    return render(template(f"{{{{ {text} }}}}"), scope_of(names))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # docs.ansible.com, "Using filters to manipulate data"
        ("[3, [4, 2]] | flatten", [3, 4, 2]),
        ("[3, [4, [2]]] | flatten(levels=1)", [3, 4, [2]]),
        ("{'a': {'foo': 1}} | combine({'a': {'bar': 2}}, recursive=True)", {"a": {"foo": 1, "bar": 2}}),
        ("{'a': [1]} | combine({'a': [2]}, list_merge='append')", {"a": [1, 2]}),
        ("{'a': 1} | dict2items", [{"key": "a", "value": 1}]),
        ("[{'key': 'a', 'value': 1}] | items2dict", {"a": 1}),
        ("[1, 2, 1] | unique", [1, 2]),
        ("[1, 2] | union([2, 3])", [1, 2, 3]),
        ("[1, 2, 5] | intersect([2, 3, 5])", [2, 5]),
        ("[1, 2] | difference([2])", [1]),
        ("[1, 2] | symmetric_difference([2, 3])", [1, 3]),
        ("[1, 2] | zip(['a', 'b']) | list", [[1, "a"], [2, "b"]]),
        ("'foobar' | regex_search('(foo)')", "foo"),
        ("'server1/database42' | regex_search('server([0-9]+)/database([0-9]+)', '\\1', '\\2')", ["1", "42"]),
        ("'ansible' | regex_replace('^a.*i(.*)$', 'a\\1')", "able"),
        ("'CAR\ntar\nfoo' | regex_findall('^.ar$', multiline=True, ignorecase=True)", ["CAR", "tar"]),
        ("'^f.*o(.*)$' | regex_escape", "\\^f\\.\\*o\\(\\.\\*\\)\\$"),
        ("'/etc/asdf/foo.txt' | basename", "foo.txt"),
        ("'/etc/asdf/foo.txt' | dirname", "/etc/asdf"),
        ("'nginx.conf' | splitext", ["nginx", ".conf"]),
        ("('/etc', 'path', 'file.txt') | path_join", "/etc/path/file.txt"),
        ("'a b' | quote", "'a b'"),
        ("true | ternary('Mr', 'Ms')", "Mr"),
        ("none | ternary('t', 'f', 'n')", "n"),
        ("1048576 | human_readable", "1.00 MB"),
        ("10 | human_readable", "10.00 Bytes"),
        ("'1.15M' | human_to_bytes", 1205862),
        ("[{'name': 'x', 'v': 1}] | rekey_on_member('name')", {"x": {"name": "x", "v": 1}}),
        ("['a', 'b'] | product([1]) | map('list') | list", [["a", 1], ["b", 1]]),
        ("[0, 2] | map('extract', ['x', 'y', 'z']) | list", ["x", "z"]),
        ("'http://user:pw@h.org:9/p?q=1#f' | urlsplit('hostname')", "h.org"),
        ("'yes' | bool", True),
        ("'0' | bool", False),
        ("'12' | int + 1", 13),
        ("{'b': 1, 'a': [1]} | to_json", '{"b": 1, "a": [1]}'),
        ("{'b': 1, 'a': 2} | to_nice_json", '{\n    "a": 2,\n    "b": 1\n}'),
        ("'[1, 2]' | from_json", [1, 2]),
        ("'a: [1, yes]' | from_yaml", {"a": [1, True]}),
        ("{'a': [1]} | to_nice_yaml", "a:\n- 1\n"),
        ("'Plain' | comment", "#\n# Plain\n#"),
        ("'C' | comment('cblock')", "/*\n *\n * C\n *\n */"),
        ("'192.168.1.5/24' | ipaddr('network')", "192.168.1.0"),
        ("'no address' | ipaddr", False),
        ("[{'n': 1, 'l': ['x']}] | subelements('l') | map('last') | list", ["x"]),
        ("'2026-01-02 03:04:05' | to_datetime | string", "2026-01-02 03:04:05"),
        ("'%Y' | strftime(0, utc=True)", "1970"),
        ("10 | random(seed='x') == 10 | random(seed='x')", True),
        ("8 | log(2) | int", 3),
        ("undefined_name | type_debug", "Undefined"),
        ("[] | type_debug", "list"),
    ],
)
def test_filters_do_what_ansibles_documentation_shows(text: str, wanted: Any) -> None:
    found = value(text)
    normal = [list(one) if isinstance(one, tuple) else one for one in found] if isinstance(found, list) else found
    assert normal == wanted


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_hashes_are_those_of_hashlib(name: str) -> None:
    assert value(f"'text' | hash('{name}')") == hashlib.new(name, b"text").hexdigest()


def test_base64_keeps_any_bytes() -> None:
    assert value("'gP8=' | b64decode | b64encode") == "gP8="


@pytest.mark.parametrize(
    "text", ["'perhaps' | bool", "nope | mandatory", "'x' | from_json", "'a: [' | from_yaml", "'x' | hash('nope')"]
)
def test_filters_refuse_what_ansible_would_let_pass_silently(text: str) -> None:
    with pytest.raises(Invalid):
        value(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("'1.10' is version('1.9', '>')", True),
        ("'1.10' is version('1.10', '==')", True),
        ("'20.04' is version('18.04', 'lt')", False),
        ("'1.0a' is version('1.0', '>')", True),
        # semver.org, section 11: 1.0.0-alpha < 1.0.0-alpha.1 < 1.0.0-beta.2 < 1.0.0-beta.11 < 1.0.0
        ("'1.0.0-alpha' is version('1.0.0-alpha.1', '<', version_type='semver')", True),
        ("'1.0.0-beta.2' is version('1.0.0-beta.11', '<', version_type='semver')", True),
        ("'1.0.0-rc.1' is version('1.0.0', '<', version_type='semver')", True),
        ("[1, 2] is subset([1, 2, 3])", True),
        ("[1, 2, 3] is superset([1])", True),
        ("[1, 2] is contains(2)", True),
        ("'foobar' is match('oo')", False),
        ("'foobar' is search('oo')", True),
        ("'FOO' is regex('foo', ignorecase=True)", True),
        ("[true, false] is any", True),
        ("[true, false] is all", False),
        ("{'failed': true} is failed", True),
        ("{'rc': 0} is succeeded", True),
        ("{'results': [{'changed': true}]} is changed", True),
        ("{'skipped': true} is skipped", True),
        ("'x' is truthy", True),
        ("'/a' is abs", True),
        ("1 is ansible.builtin.version('1')", True),
    ],
)
def test_tests_hold_as_ansible_says(text: str, holds: bool) -> None:
    assert value(text) is holds


# language.md names these; each must be there.
FILTERS = """
default mandatory to_json from_json to_yaml from_yaml to_nice_json combine dict2items items2dict selectattr
rejectattr map unique union intersect difference flatten zip product regex_search regex_replace regex_findall
b64encode b64decode hash password_hash quote basename dirname expanduser realpath splitext bool int float
ternary random shuffle version_test type_debug human_readable ipaddr subelements to_datetime strftime comment
split urlsplit length sort list first extract trim string symmetric_difference join human_to_bytes
rekey_on_member log path_join from_yaml_all
"""


@pytest.mark.parametrize("name", [name for name in FILTERS.split() if name != "version_test"])
def test_every_filter_that_playbooks_use_is_there(name: str) -> None:
    from ciflow.lang.jinja import environment

    assert name in environment().filters


@pytest.mark.parametrize(("kind", "option"), [("sha256", "-5"), ("sha512", "-6")])
@pytest.mark.parametrize("password", ["x", "Hello world!", "a" * 70, "grüße"])
def test_password_hashes_are_those_of_openssl(kind: str, option: str, password: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    ran = subprocess.run(
        [openssl, "passwd", option, "-salt", "ab.cd", password], capture_output=True, text=True, check=True
    )
    assert value(f"p | password_hash('{kind}', 'ab.cd', rounds=5000)", p=password) == ran.stdout.strip()


@pytest.mark.parametrize("text", ["1000000 | random", "range(30) | shuffle", "'x' | vault('y')"])
def test_what_chance_makes_of_constants_is_another_thing_each_time(text: str) -> None:
    assert value(text) != value(text)


def test_a_password_hash_without_salt_has_another_salt_each_time() -> None:
    one, other = (value("'x' | password_hash('sha512', rounds=5000)") for _ in range(2))
    assert one != other
    for found in one, other:
        salt = found.split("$")[2]
        assert len(salt) == 16
        assert value(f"'x' | password_hash('sha512', '{salt}', rounds=5000)") == found
    assert len(value("'x' | password_hash(salt_size=8, rounds=5000)").split("$")[2]) == 8
