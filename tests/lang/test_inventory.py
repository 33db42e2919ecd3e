"""Inventories: YAML, INI, folders, scripts; ranges, patterns, group_vars; who wins."""

from __future__ import annotations

import stat
import warnings
from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.files import Files
from ciflow.lang.inventory import Added, Inventory, load_inventory
from ciflow.lang.patterns import expand_range
from ciflow.model import Template

INI = """\
# who serves
[web]
web[01:03] http_port=8080
[web:vars]
region=north
greeting="hi {{ region }}"
[db]
db-[a:b] ansible_host=10.0.0.1 ansible_port=2222 tags="['x', 1]"
[prod:children]
web
db
[ungrouped]
lonely ansible_connection=local
"""

YAML = """\
all:
  vars: {shared: all}
  hosts:
    lonely: {ansible_connection: local}
  children:
    prod:
      children:
        web:
          hosts:
            web[01:03]: {http_port: 8080}
          vars: {region: north}
        db:
          hosts: {"db-[a:b]": }
"""


def inventory(folder: Path, **files: str) -> Inventory:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yml", ".yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_inventory((str(folder / next(iter(files)).replace("_yml", ".yml")),), Files.live())


def names(found: Inventory, pattern: str, limit: str = "") -> list[str]:
    return [host.name for host in found.select(pattern, limit)]


@pytest.mark.parametrize("kind", ["hosts", "hosts_yml"])
def test_ini_and_yaml_say_the_same(kind: str, tmp_path: Path) -> None:
    found = inventory(tmp_path, **{kind: INI if kind == "hosts" else YAML})
    assert found.group_map()["prod"] == ["web01", "web02", "web03", "db-a", "db-b"]
    assert found.group_map()["ungrouped"] == ["lonely"]
    web = found.host("web02")
    assert web is not None
    assert (web.vars["http_port"], web.vars["region"], web.connection) == (8080, "north", "ssh")
    assert set(web.groups) == {"web", "prod"}
    lonely = found.host("lonely")
    assert lonely is not None
    assert lonely.connection == "local"


def test_values_in_ini_are_python_literals_and_templates(tmp_path: Path) -> None:
    found = inventory(tmp_path, hosts=INI)
    db = found.host("db-a")
    assert db is not None
    assert (db.vars["ansible_port"], db.vars["tags"]) == (2222, ["x", 1])
    web = found.host("web01")
    assert web is not None
    assert isinstance(web.vars["greeting"], Template)


def test_quotes_in_ini_are_those_of_a_shell_on_a_hosts_line_and_of_python_elsewhere(tmp_path: Path) -> None:
    """As `ansible-inventory --list` (2.19) has them."""
    line = """h a='x "y" z' b="it's" c=x"y"z d='"q"' f="a\\"b" g='a b'c i="[1, '2']" j='{"a": "b c"}' p='p=1 q=2'"""
    text = ["'x \"y\" z'", '"it\'s"', 'x"y"z', "'\"q\"'", '"a" "b"', '"x\\ty"', "a\\tb", '"unclosed']
    group = "".join(f"v{at}={one}\n" for at, one in enumerate(text))
    found = inventory(tmp_path, hosts=f"{line}\n[all:vars]\n{group}").host("h")
    assert found is not None
    assert {name: found.vars[name] for name in "abcdfgijp"} == {
        "a": 'x "y" z', "b": "it's", "c": "xyz", "d": "q", "f": 'a"b', "g": "a bc", "i": [1, "2"], "j": {"a": "b c"},
        "p": "p=1 q=2",
    }  # fmt: skip
    assert [found.vars[f"v{at}"] for at in range(len(text))] == \
        ['x "y" z', "it's", 'x"y"z', '"q"', "ab", "x\ty", "a\\tb", '"unclosed']  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [("web[01:03]", ["web01", "web02", "web03"]), ("w[8:10]", ["w8", "w9", "w10"]), ("x[a:c]", ["xa", "xb", "xc"]),
     ("n[0:10:5]", ["n0", "n5", "n10"]), ("r[1:2]-[a:b]", ["r1-a", "r1-b", "r2-a", "r2-b"]), ("plain", ["plain"])],
)  # fmt: skip
def test_ranges_name_hosts(pattern: str, wanted: list[str]) -> None:
    assert list(expand_range(pattern)) == wanted


# docs.ansible.com, "Patterns: targeting hosts and groups"
@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("all", ["lonely", "web01", "web02", "web03", "db-a", "db-b"]),
        ("*", ["lonely", "web01", "web02", "web03", "db-a", "db-b"]),
        ("web:db", ["web01", "web02", "web03", "db-a", "db-b"]),
        ("web,db", ["web01", "web02", "web03", "db-a", "db-b"]),
        ("prod:!db", ["web01", "web02", "web03"]),
        ("prod:&web:!web02", ["web01", "web03"]),
        ("web[0]", ["web01"]),
        ("web[-1]", ["web03"]),
        ("web[0:1]", ["web01", "web02"]),
        ("web[1:]", ["web02", "web03"]),
        ("~(web0[12]|lonely)", ["lonely", "web01", "web02"]),
        ("~web0[12]:!web02", ["web01"]),
        ("~lonely|db:~web0[3]", ["lonely", "db-a", "db-b", "web03"]),
        ("!web02,~web0(?:1|[2:])", ["web01"]),
        (r"~web\d{1,2}:&prod:!web[0]", ["web02", "web03"]),
        ("web*", ["web01", "web02", "web03"]),
        ("db-?", ["db-a", "db-b"]),
        ("!web", ["lonely", "db-a", "db-b"]),
        ("localhost", ["localhost"]),
        ("nobody", []),
    ],
)
def test_patterns_choose_hosts(pattern: str, wanted: list[str], tmp_path: Path) -> None:
    assert names(inventory(tmp_path, hosts_yml=YAML), pattern) == wanted


def test_a_limit_leaves_only_hosts_of_both(tmp_path: Path) -> None:
    found = inventory(tmp_path, hosts_yml=YAML)
    assert names(found, "web", "web02,db") == ["web02"]
    (tmp_path / "again").write_text("web01\ndb-a\n")
    assert names(found, "all", f"@{tmp_path}/again") == ["web01", "db-a"]


def test_the_controller_is_there_without_being_named() -> None:
    found = load_inventory((), Files.live())
    local = found.host("localhost")
    assert local is not None
    assert local.connection == "local"
    assert names(found, "all") == []


def test_the_controller_has_the_variables_of_all_and_its_own_host_vars(tmp_path: Path) -> None:
    """docs.ansible.com, "Implicit localhost": in no group, but with vars from host_vars and from the all group."""
    found = inventory(tmp_path, hosts_yml=YAML, group_vars__all_yml="x: 1\n", host_vars__localhost_yml="y: 2\n")
    local = found.host("localhost")
    assert local is not None
    assert {name: local.vars.get(name) for name in ("x", "y", "shared", "ansible_connection")} == {
        "x": 1, "y": 2, "shared": "all", "ansible_connection": "local"}  # fmt: skip
    assert "localhost" not in found.group_map()["all"]
    (tmp_path / "group_vars" / "all.yml").write_text("z: 3\n")
    beside = load_inventory((), Files.live(), playbook_dir=str(tmp_path)).select("localhost")
    assert [host.vars["z"] for host in beside] == [3]


def test_names_on_the_command_line_with_ports_and_ipv6() -> None:
    found = load_inventory(("a,b:2222,[2001:db8::1]:22,2001:db8::2,",), Files.live())
    assert [host.name for host in found.hosts] == ["a", "b", "2001:db8::1", "2001:db8::2"]
    assert found.hosts[1].vars["ansible_port"] == 2222


def test_group_vars_and_host_vars_win_over_the_file_and_a_deeper_group_over_a_higher(tmp_path: Path) -> None:
    found = inventory(
        tmp_path,
        hosts_yml=YAML,
        group_vars__all_yml="shared: group_vars_all\na: 1\nb: 1\nc: 1\n",
        group_vars__prod_yml="b: 2\nc: 2\n",
        group_vars__web__one_yml="c: 3\n",
        group_vars__web__two_yml="d: '{{ c }}'\n",
        host_vars__web01_yml="http_port: 9090\n",
    )
    web01, web02 = found.host("web01"), found.host("web02")
    assert web01 is not None
    assert web02 is not None
    assert (web01.vars["http_port"], web02.vars["http_port"]) == (9090, 8080)
    assert [web01.vars[name] for name in ("shared", "a", "b", "c")] == ["group_vars_all", 1, 2, 3]
    assert isinstance(web01.vars["d"], Template)


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "inv").mkdir()
    (tmp_path / "inv" / "a.ini").write_text("[web]\nw1\n")
    (tmp_path / "inv" / "b.yml").write_text("web: {hosts: {w2: }}\n")
    for name in ("c.bak", "c.txt", "c.rst", "c~", ".c", "helper.sh"):
        (tmp_path / "inv" / name).write_text("[web]\nold\n")
    script = tmp_path / "inv" / "d.sh"
    script.write_text('#!/bin/sh\necho \'{"web": ["w3"]}\'\n')
    script.chmod(0o755)
    files = Files.live()
    found = [names(load_inventory((str(tmp_path / "inv"),), files), "web")]
    found.append(names(load_inventory((str(tmp_path / "inv"),), Files.frozen(files.snapshot())), "web"))
    assert found == [["w1", "w2", "w3"]] * 2


def test_of_a_folder_of_variables_only_files_of_variables_are_read(tmp_path: Path) -> None:
    """As in Ansible: those that end in `.yml`, `.yaml`, `.json` or in nothing, through folders in it."""
    said = {"a.yml": "a", "b.yaml": "b", "c.json": '{"c": 1}', "d": "d", "deep/e.yml": "e", "f.md": "f", "g.sh": "g",
            "h.yml~": "h", "deep.old/i.yml": "i", "j.txt": "- no variables"}  # fmt: skip
    for name, text in said.items():
        path = tmp_path / "group_vars" / "all" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if len(text) > 1 else f"{text}: 1\n")
    host = inventory(tmp_path, hosts="w1\n").host("w1")
    assert host is not None
    assert sorted(host.vars) == list("abcde")


def test_a_script_is_asked_for_its_list_and_its_answer_is_kept_in_the_snapshot(tmp_path: Path) -> None:
    script = tmp_path / "inv.sh"
    script.write_text("#!/bin/sh\necho '" + '{"web": {"hosts": ["w1"], "vars": {"x": "{{ y }}"}}, '
                      '"_meta": {"hostvars": {"w1": {"z": 1}}}}' + "'\n")  # fmt: skip
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    files = Files.live()
    host = load_inventory((str(script),), files).host("w1")
    assert host is not None
    assert host.vars == {"x": "{{ y }}", "z": 1}, "a program's output is data"
    script.unlink()
    again = load_inventory((str(script),), Files.frozen(files.snapshot())).host("w1")
    assert again == host


@pytest.mark.parametrize("printed", ["no JSON", "[1]", '{"web": 3}'])
def test_a_script_that_prints_no_inventory_is_said(printed: str, tmp_path: Path) -> None:
    script = tmp_path / "inv.sh"
    script.write_text(f"#!/bin/sh\necho '{printed}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(Invalid, match=r"inventory script .*inv\.sh"):
        load_inventory((str(script),), Files.live())


def test_hosts_come_in_ansible_s_order_a_group_s_own_before_those_of_its_children(tmp_path: Path) -> None:
    """As `ansible -i hosts PATTERN --list-hosts` (2.19) prints them."""
    text = "[web]\nw1\nw2\n[db]\nd1\nw2\n[prod:children]\nweb\ndb\n[six]\ns1\nlonely\n"
    found = inventory(tmp_path, hosts=text)
    assert names(found, "all") == ["s1", "lonely", "w1", "w2", "d1"]
    assert names(found, "web[1]:db[0]") == ["w2", "d1"]
    assert names(found, "!web") == ["s1", "lonely", "d1"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[web\nx\n", "hosts:1:1"),
        ("[web:nope]\n", "hosts:1:1"),
        ("[web]\nx =1 y\n", "hosts:2:1"),
        ("[web:vars]\n  a\n", "hosts:2:3"),
        ("[web]\nx a='b c\n", "hosts:2:3"),
        ("[web]\nw[3:1]\n", "hosts:2:1"),
    ],
)
def test_faults_in_an_ini_inventory_have_a_line(text: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as raised:
        inventory(tmp_path, hosts=text)
    assert str(raised.value.diagnostics[0].span).endswith(place)


def test_groups_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="a -> b -> a"):
        inventory(tmp_path, hosts="[a:children]\nb\n[b:children]\na\n")


def test_a_missing_inventory_is_said(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="is not found"):
        load_inventory((str(tmp_path / "nope"),), Files.live())


def test_a_host_added_while_running_joins_its_groups(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(YAML)
    more = Added("new", ("web", "fresh"), {"x": 1})
    found = load_inventory((str(tmp_path / "hosts.yml"),), Files.live(), added=(more,))
    assert names(found, "fresh") == ["new"]
    assert names(found, "web")[-1] == "new"


@pytest.mark.parametrize(("text", "value"), [("1or", "1or"), (r"'\d'", r"\d"), ("\"b'single'\"", "single")])
def test_what_only_looks_like_python_is_taken_in_silence(text: str, value: str, tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        host = inventory(tmp_path, **{"hosts.ini": f"[all]\nh x={text}\n"}).host("h")
    assert host is not None
    assert host.vars["x"] == value
