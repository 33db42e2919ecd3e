"""ssh_config(5) as OpenSSH reads it: `ssh -G` says what it makes of a configuration, a real sshd what came of it."""

import itertools
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.model import Exec
from ciflow.targets import Connection
from ciflow.targets.ssh import _route
from ciflow.targets.ssh_keywords import FORGOTTEN, HARMLESS, NOT_MADE, OBEYED, UNBUILT, known
from ciflow.targets.ssh_options import Route, parse_arguments
from ciflow.targets.ssh_trust import chosen
from tests.conftest import Start
from tests.parts import process
from tests.parts.sshd import Sshd, host_key
from tests.parts.sshd import sshd as start_sshd
from tests.targets.conftest import ssh_connection
from tests.targets.test_ssh import failure, own, says_hello, success

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ssh.md"


def by_config(name: str, **more: str) -> Connection:
    """A host of which the inventory knows only its name."""
    return Connection(kind="ssh", name=name, python="/usr/bin/python3", connect_timeout=30.0, **more)  # type: ignore[arg-type]


def test_hosts_are_matched_and_files_included_as_openssh_does(
    ssh_hosts: list[Sshd], home: Path, tmp_path: Path
) -> None:
    server = ssh_hosts[0]
    (home / ".ssh/conf.d").mkdir()
    (home / ".ssh/config").write_text(
        "Include conf.d/*\nMatch originalhost shop user nobody\n  Port 1\n"
        f'Match originalhost shop user root exec "test -e {tmp_path}/flag"\n  Port {server.port}\n'
        "Host *\n  Port 9\n  ProxyJump none\n"
    )
    (home / ".ssh/conf.d/shops").write_text(
        f"Host shop\n  HostName {server.address}\n  IdentityFile {server.key}\n"
        f"  UserKnownHostsFile {server.known_hosts}\n"
    )
    (tmp_path / "flag").touch()
    says_hello(by_config("shop", user="root"))
    (tmp_path / "flag").unlink()
    assert ":9)" in failure(by_config("shop", user="root", common_args="-o ConnectTimeout=5")).message


# --- what ssh makes of it


def by_ssh(*words: str) -> list[tuple[str, str]]:
    """What `ssh -G` prints: keywords and values."""
    argv = [process.find("ssh", "sshd"), "-G", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    return [(word, value) for word, _, value in (line.partition(" ") for line in done.stdout.splitlines())]


STRICT = {"true": "yes", "ask": "yes", "false": "no", "off": "no"}
SAID = ("hostname", "port", "user", "stricthostkeychecking", "identitiesonly", "addressfamily", "forwardagent",
        "serveraliveinterval", "serveralivecountmax", "requiredrsasize", "userknownhostsfile",
        "globalknownhostsfile")  # fmt: skip
IF_SAID = ("proxycommand", "proxyjump", "hostkeyalias", "bindaddress", "identityagent", "revokedhostkeys",
           "connecttimeout")  # fmt: skip
METHODS = {"publickey": "pubkeyauthentication", "password": "passwordauthentication",
           "keyboard-interactive": "kbdinteractiveauthentication"}  # fmt: skip
LISTS = ("identityfile", "certificatefile", "setenv")


def peer(printed: Sequence[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Of what ssh prints all that ciflow obeys, each in one form."""
    once = dict(printed)
    found: dict[str, str | list[str]] = {word: once[word] for word in SAID}
    found |= {word: once[word] for word in IF_SAID if once.get(word, "none") != "none"}
    found["stricthostkeychecking"] = STRICT.get(once["stricthostkeychecking"], once["stricthostkeychecking"])
    found["methods"] = [method for method in once.get("preferredauthentications", ",".join(METHODS)).split(",")
                        if once[METHODS[method]] in ("yes", "true")]  # fmt: skip
    for word in LISTS:
        found[word] = [value for name, value in printed if name == word and value != "none"]
    if any(value.startswith("~/.ssh/id_") for value in found["identityfile"]):
        found["identityfile"] = []  # its usual ones
    return found


def used(route: Route) -> dict[str, str | list[str]]:
    """What ciflow makes of the same."""
    maybe = {
        "proxycommand": route.proxy_command, "proxyjump": ",".join(route.jump), "hostkeyalias": route.alias,
        "bindaddress": route.bind, "revokedhostkeys": route.revoked,
        "identityagent": "" if route.agent == os.environ.get("SSH_AUTH_SOCK", "") else route.agent,
        "connecttimeout": "" if route.timeout == 30 else str(int(route.timeout)),
    }  # fmt: skip
    known = [file for file in route.known_hosts if not file.startswith("/etc/ssh/")]
    return {
        "hostname": route.address, "port": str(route.port), "user": route.user, "stricthostkeychecking": route.strict,
        "identitiesonly": "yes" if route.only_these_keys else "no",
        "addressfamily": {0: "any", 2: "inet", 10: "inet6"}[route.family],
        "forwardagent": "yes" if route.lent and route.lent == route.agent else route.lent or "no",
        "methods": list(route.methods),
        "serveraliveinterval": str(int(route.alive_every)), "serveralivecountmax": str(route.alive_count),
        "requiredrsasize": str(route.least_rsa), "userknownhostsfile": " ".join(known) or "none",
        "globalknownhostsfile": " ".join(file for file in route.known_hosts if file not in known) or "none",
        "identityfile": list(route.keys or ()), "certificatefile": list(route.certificates),
        "setenv": [f"{name}={value}" for name, value in route.environment],
        **{word: value for word, value in maybe.items() if value},
    }  # fmt: skip


def check(config: Path, hosts: Sequence[str], *options: str) -> None:
    for host in hosts:
        ours = used(_route(by_config(host, common_args=" ".join(["-F", str(config), *options]))))
        assert ours == peer(by_ssh("-F", str(config), *options, host)), f"{host}\n{config.read_text()}"


CONFIGURATIONS = {
    "a block in a file that is included under a condition": (
        "Host a*\n  Include MORE\n  Port 2\nHost *\n  Port 3\n  User last\n",
        "User everybody\nHost *b\n  Port 4\nHost c\n  Port 5\n",
    ),
    "negated patterns": ("Host * !ab\n  Port 7\nHost ab !ac\n  Port 8\nInclude MORE\n", "Host *\nUser u\n"),
    "all and an equals sign": ("Match all\nUser=x\nMatch host a*\nPort = 44\nInclude MORE\n", "Match all\nPort 45\n"),
    "what was settled before counts": ("Include MORE\nHost a*\n  Port 6\n", "Match host ab\n  Port 5\n  User k\n"),
    "a name that is given later is no reason to match, unless there is another pass": (
        "Match host real\n  Port 5\nHost a\n  HostName real\nHost ab\n  HostName REAL\nInclude MORE\n",
        "Match originalhost ab final\n  User late\nHost real\n  IdentityFile /k/real\n",
    ),
    "conditions": (
        'Match originalhost a user me\n  Port 1\nMatch exec "test %n = a"\n  User me\nMatch !host a,c\n  Port 2\n'
        "Match localuser nobody,root exec true\n  IdentityFile /k/root\nMatch host *,!ab !exec false\n  Port 3\n",
        "",
    ),
    "comments, quotes and tabs": (
        'Port 23 # as ever\n\tUser\t"a b"\nIdentityFile "/k/a b"   # mine\nIdentityFile /k/c\\ d\n'
        "UserKnownHostsFile '/k/one file' /k/two\n  # Port 24\nCertificateFile \"/k/x y\"\nHost a # Host b\n"
        "ServerAliveInterval 1m30s\n",
        "",
    ),
    "brackets are no pattern": ("Host [ac]b\n  Port 5\nMatch host [a-c]\n  Port 6\nHost ?\n  Port 7\n", ""),
    "of a way by a command and one by hosts the first counts": (
        "Host a\n  ProxyCommand nc %h %p # all of it\nHost ab\n  ProxyJump me@gate:2222,other\nHost c\n"
        "  ProxyCommand none\nHost *\n  ProxyJump late\n  ProxyCommand last %h\n",
        "",
    ),
    "lists add, other words don't": (
        "Host a*\n  IdentityFile /k/1\n  CertificateFile /k/1-cert.pub\n  SetEnv A=1 B=2\nInclude MORE\nHost *\n"
        "  IdentityFile /k/1\n  IdentityFile /k/2\n  CertificateFile /k/2-cert.pub\n  SetEnv A=3\n",
        "IdentityFile /k/3\nSetEnv C=4\n",
    ),
    "a name made of the name": ("Host a*\n  HostName %h.Example.Org\nMatch host *.example.org\n  Port 8\n", ""),
    "what may be switched off": (
        "Host a\n  PubkeyAuthentication no\n  ChallengeResponseAuthentication no\n  IdentityAgent none\nHost ab\n"
        "  PasswordAuthentication no\n  ForwardAgent yes\n  IdentityAgent /k/agent\nHost c\n  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking off\n  ForwardAgent /k/other\nHost *\n  StrictHostKeyChecking accept-new\n"
        "  PreferredAuthentications keyboard-interactive,password\n",
        "",
    ),
    "whom to trust and how to get there": (
        "Host a\n  UserKnownHostsFile none\n  HostKeyAlias known\n  AddressFamily inet6\n  RequiredRSASize 3072\n"
        "Host ab\n  GlobalKnownHostsFile /etc/ssh/mine\n  BindAddress 127.0.0.9\n  RevokedHostKeys /k/revoked\n"
        "Host *\n  ConnectTimeout 7\n  ServerAliveCountMax 9\n  UserKnownHostsFile /k/known /k/more\n",
        "",
    ),
    "unknown words that may be passed over": ("IgnoreUnknown Fancy*,other\nFancyWord 3\nOther x\nPort 4\n", ""),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_configuration_means_what_ssh_takes_it_for(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, more = CONFIGURATIONS[case]
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("HOME", os.path.expanduser(f"~{subprocess.getoutput('id -un')}"))  # noqa: PTH111 - as ssh has it
    (tmp_path / "more").write_text(more)
    config = tmp_path / "config"
    config.write_text(text.replace("MORE", str(tmp_path / "more")))
    if "IdentityAgent none" in text:  # it leaves no agent; ssh prints the word
        assert _route(by_config("a", common_args=f"-F {config}")).agent == ""
        config.write_text(config.read_text().replace("  IdentityAgent none\n", ""))
    check(config, ("a", "ab", "b", "c", "ac", "real", "other", "A.Example.ORG"))


def test_options_of_the_inventory_come_first_for_both(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Match user ann host far\n  Port 5\nHost *\n  ProxyJump gate\n  IdentityFile /k/2\n  User x\n")
    check(config, ("a",), "-o", "User=ann", "-o", "HostName=far", "-o", "ProxyCommand=none")
    check(config, ("a", "far"), "-o", "IdentityFile=/k/1", "-o", "Port=9", "-oUser=ann", "-4")
    with pytest.raises(Refused, match="RemoteForward"):
        parse_arguments("-o 'RemoteForward 80 x:80'")


PATTERNS = ("a", "ab", "a*", "?b", "*", "!ab", "!a*", "b", "real*")
LINES = (
    "Port {n}", "Port={n}", "User u{n}", 'User "u{n}"', "HostName real{n}", "HostName %h.x", "IdentityFile /k/{n}",
    "ProxyJump j{n}", "ProxyCommand p{n} %h", "ConnectTimeout {n}", "HostKeyAlias h{n} # why", "IdentitiesOnly yes",
)  # fmt: skip
CONDITIONS = (
    "host {p}", "!host {p}", "originalhost {p}", "user u{n}", "!user u{n}", "exec true", "!exec false", "final",
    "!final", "canonical", "all", 'exec "test %h = a"',
)  # fmt: skip


def any_configuration(dice: random.Random, include: str = "") -> Iterator[str]:
    """Lines in blocks in files, as nobody would write them."""
    for _ in range(dice.randint(1, 5)):
        number, pattern = dice.randint(1, 4), dice.choice(PATTERNS)
        if dice.random() < 0.4:
            yield "Host " + " ".join(dice.sample(PATTERNS, dice.randint(1, 3)))
        elif dice.random() < 0.7:
            chosen = dice.sample(CONDITIONS, dice.randint(1, 2))
            chosen = ["all"] if "all" in chosen else chosen
            yield "Match " + " ".join(chosen).format(p=pattern, n=number)
        if include and dice.random() < 0.3:
            yield f"Include {include}"
        for line in dice.sample(LINES, dice.randint(1, 3)):
            yield "  " * dice.randint(0, 1) + line.format(n=dice.randint(1, 4))


def test_fifty_configurations_that_nobody_would_write_mean_the_same_to_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", os.path.expanduser(f"~{subprocess.getoutput('id -un')}"))  # noqa: PTH111 - as ssh has it
    dice = random.Random(20)
    config, more = tmp_path / "config", tmp_path / "more"
    for _ in range(50):
        more.write_text("\n".join(any_configuration(dice)) + "\n")
        config.write_text("\n".join(any_configuration(dice, str(more))) + "\n")
        check(config, ("a", "ab"))


def test_tokens_mean_what_they_mean_to_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh itself runs the command of a `Match exec` with them."""
    monkeypatch.setenv("HOME", os.path.expanduser(f"~{subprocess.getoutput('id -un')}"))  # noqa: PTH111 - as ssh has it
    log, config = tmp_path / "log", tmp_path / "config"
    show = "'%C %d %h %i %k %L %l %n %p %r %u %%h'"
    config.write_text("Host a\n  HostName b.Example\n  Port 77\n  User me\n  HostKeyAlias k\n"
                      f'Match exec "echo {show} >> {log}"\n  User late\n')  # fmt: skip
    for host in ("a", "other"):
        by_ssh("-F", str(config), host)
        _route(by_config(host, common_args=f"-F {config}"))
    said = log.read_text().splitlines()
    assert said[0] == said[1] and said[2] == said[3], said
    assert " b.example " in said[0].lower() and "%h" in said[0]


def test_paths_hold_tokens_variables_and_the_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "/safe")
    (home / ".ssh/config").write_text(
        "IdentityFile ${KEYS}/%r@%h-%%\nCertificateFile ~/x\nUserKnownHostsFile %d/%n none\n"
    )
    route = _route(by_config("a", user="me"))
    assert route.keys == ("/safe/me@a-%",)
    assert (route.certificates, route.known_hosts[0], route.new_keys) == ((f"{home}/x",), f"{home}/a", f"{home}/a")
    (home / ".ssh/config").write_text("IdentityFile ${NOT_THERE}/x\n")
    with pytest.raises(Refused, match="NOT_THERE"):
        _route(by_config("a"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [("Match localnetwork 10.0.0.0/8", "config:2: `Match localnetwork` is not understood"),
     ("Match version *", "`Match version` is not understood"), ("Match host", "`Match host` of what"),
     ("ProxyJmp gate", "config:2: ssh has no option proxyjmp"), ("Port 22x", "port must be a number"),
     ('User "a', "config:2: a quote is not closed"), ("KnownHostsCommand /bin/keys", "knownhostscommand is not built"),
     ("BindInterface eth1", "bindinterface is not built"), ("ProxyUseFdpass yes", "proxyusefdpass is not built"),
     ("RefuseConnection go by web2", "refuses the connection: go by web2"),
     ("AddressFamily ipv6", "any, inet or inet6"),
     ("CanonicalizePermittedCNAMEs *:*", "canonicalizepermittedcnames is not built"), ("User", "user says nothing"),
     ("IdentityFile %x", "%x means nothing"), ("!!", "is no line")],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_place(home: Path, lines: str, words: str) -> None:
    (home / ".ssh/config").write_text(f"Host a\n{lines}\n  Port 9\n")
    with pytest.raises(Refused) as caught:
        _route(by_config("a"))
    assert words in caught.value.message
    assert _route(by_config("b", common_args="-F none")).port == 22


def test_what_is_switched_off_is_not_refused(home: Path) -> None:
    (home / ".ssh/config").write_text("KnownHostsCommand none\nProxyUseFdpass no\nCanonicalizePermittedCNAMEs none\n"
                                      "Match tagged web\n  Port 8\nMatch tagged \"\"\n  Port 9\n")  # fmt: skip
    assert _route(by_config("a")).port == 9
    assert _route(by_config("a", common_args="-P web")).port == 8


def test_a_configuration_that_includes_itself_or_is_not_there_is_refused(home: Path) -> None:
    (home / ".ssh/config").write_text("Include config\n")
    assert "includes itself" in failure(by_config("a")).message
    assert f"{home}/none: No such file" in failure(by_config("a", common_args=f"-F {home}/none")).message


def test_a_configuration_that_anybody_may_write_is_refused(home: Path) -> None:
    (home / ".ssh/config").write_text("Port 9\n")
    (home / ".ssh/config").chmod(0o666)
    assert "may be written by others" in failure(by_config("a")).message


def test_every_keyword_of_ssh_is_known_and_the_manual_says_what_is_made_of_it() -> None:
    """Those that this machine's ssh prints, and those of its manual where that is installed."""
    words = {word.lower() for word, _ in by_ssh("-F", "none", "a")}
    manual = subprocess.run(["man", "5", "ssh_config"], capture_output=True, text=True, check=False, env={
        **os.environ, "MANWIDTH": "100"}).stdout if shutil.which("man") else ""  # fmt: skip
    words |= {word.lower() for word in re.findall(r"^ {5,7}([A-Z]\w+)$", manual, re.MULTILINE)}
    assert len(words) > 60
    assert sorted(word for word in words if not known(word)) == []
    sets = (OBEYED, HARMLESS, NOT_MADE, FORGOTTEN, frozenset(UNBUILT))
    assert not [(one & other) for one, other in itertools.combinations(sets, 2) if one & other]
    page = {word.lower() for word in re.findall(r"`(\w+)`", PAGE.read_text())}
    assert sorted((OBEYED | HARMLESS | NOT_MADE | UNBUILT.keys()) - page) == []


CANONICAL = """
CanonicalizeHostname HOW
CanonicalDomains none.test shop.test
CanonicalizeFallbackLocal yes
Host web.shop.test
  Port 5
Match canonical host *.shop.test
  User canonical
Match originalhost web
  HostKeyAlias asked
Host far
  ProxyCommand true
"""


@pytest.mark.parametrize("how", ["yes", "always", "no"])
def test_names_are_made_whole_as_ssh_makes_them(tmp_path: Path, how: str) -> None:
    """CanonicalizeHostname; where these names are is said by a hosts file of the test's own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a hosts file of one's own needs root and unshare")
    names, none, config = tmp_path / "hosts", tmp_path / "none", tmp_path / "config"
    names.write_text(
        "127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}.shop.test.\n" for name in ("web", "far", "a.b"))
    )
    none.write_text("")
    config.write_text(CANONICAL.replace("HOW", how))
    hosts = ("web", "WEB", "far", "a.b", "a.b.c", "nowhere", "web.shop.test.", "127.0.0.1")
    code = f"import sys; from tests.targets.test_ssh_config import *; check(Path(sys.argv[1]), {hosts})"
    enter = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, "sh", str(names), str(none)]
    home = os.path.expanduser(f"~{subprocess.getoutput('id -un')}")  # noqa: PTH111 - as ssh has it
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([*argv, sys.executable, "-c", code, str(config)], capture_output=True, text=True, check=False,
                          cwd=root, env={**os.environ, "HOME": home}, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr


# --- what comes of it


def test_algorithms_are_those_that_the_configuration_allows(start: Start, tmp_path: Path) -> None:
    """The server's own log says which were agreed on."""
    server = start(start_sshd(tmp_path / "own", settings={"LogLevel": "DEBUG1"}))
    wish = ("-o Ciphers=aes256-ctr -o MACs=hmac-sha2-512 -o KexAlgorithms=curve25519-sha256,ecdh-sha2-nistp521 "
            "-o HostKeyAlgorithms=ssh-ed25519")  # fmt: skip
    says_hello(replace(ssh_connection(server), common_args=f"{own(server, 0)} {wish}"))
    said = (server.folder / "sshd.log").read_text()
    assert "cipher: aes256-ctr MAC: hmac-sha2-512 " in said
    assert "kex: algorithm: curve25519-sha256@libssh.org" in said
    told = failure(replace(ssh_connection(server), common_args=f"{own(server, 1)} -o Ciphers=arcfour"))
    assert "Ciphers arcfour: ciflow has none of them" in told.message and "aes256-gcm@openssh.com" in told.help
    other = f"{own(server, 2)} -o HostKeyAlgorithms=rsa-sha2-512"
    assert "host key" in failure(replace(ssh_connection(server), common_args=other)).message


@pytest.mark.parametrize(
    ("said", "found"),
    [("", "b d a c"), ("c,a", "c a"), ("-a", "b d c"), ("+3-cbc", "b d a c 3-cbc"), ("^c", "c b d a"),
     ("x,[a]*,?", "a b c d")],
)  # fmt: skip
def test_lists_of_algorithms_are_read_as_ssh_reads_them(said: str, found: str) -> None:
    """ssh_config(5), Ciphers; the weak one is offered only when somebody asks for it."""
    assert chosen("Ciphers", said, ("a", "b", "c", "d", "3-cbc"), ("b", "d", "x")) == tuple(found.split())


def test_connections_come_from_the_address_and_by_the_family_that_are_asked_for(ssh_hosts: list[Sshd]) -> None:
    server = ssh_hosts[0]
    connection = ssh_connection(server)
    host = success(replace(connection, common_args=f"{own(server, 40)} -o BindAddress=127.0.0.77"))
    assert host(Exec(shell="echo $SSH_CONNECTION")).stdout.split()[0] == b"127.0.0.77"
    host.close()
    assert "no connection" in failure(replace(connection, common_args=f"{own(server, 41)} -6")).message


def test_variables_reach_commands_where_both_sides_say_so(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(start_sshd(tmp_path / "own", settings={"AcceptEnv": "SHOP_* SET"}))
    for name in ("SHOP_ONE", "SHOP_TWO", "SHOP_NOT", "OTHER"):
        monkeypatch.setenv(name, name.lower())
    config = tmp_path / "config"
    config.write_text(
        f'SendEnv SHOP_* OTHER\nSendEnv -SHOP_N*\nSetEnv SET="a b"\nUserKnownHostsFile {server.known_hosts}\n'
    )
    host = success(replace(ssh_connection(server), common_args=f"-F {config}"))
    assert host(Exec(shell="echo $SHOP_ONE,$SHOP_TWO,$SHOP_NOT,$OTHER,$SET")).stdout == b"shop_one,shop_two,,,a b\n"
    host.close()


def test_keys_that_are_revoked_by_a_file_are_refused(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    server, revoked = ssh_hosts[1], tmp_path / "revoked"
    connection = replace(ssh_connection(server), common_args=f"{own(server, 50)} -o RevokedHostKeys={revoked}")
    assert "no host key can be trusted" in failure(connection).message
    revoked.write_text("# those that leaked\n" + host_key(tmp_path / "other") + "\n")
    says_hello(connection)
    server_key = (server.folder / "host_key.pub").read_text()
    revoked.write_text(revoked.read_text() + server_key)
    again = replace(connection, common_args=connection.common_args.replace("=70", "=71"))
    assert "is revoked" in failure(again).message
    keygen = ["ssh-keygen", "-q", "-k", "-f", str(revoked), str(server.folder / "host_key.pub")]
    subprocess.run(keygen, check=True, capture_output=True)
    assert "KRL" in failure(again).message


def test_an_rsa_key_that_is_too_short_is_refused_on_either_side(start: Start, tmp_path: Path) -> None:
    short = tmp_path / "short"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(short)], check=True)
    server = start(start_sshd(tmp_path / "own", settings={"HostKey": str(short)}))
    anybody = "-F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=none -o HostKeyAlgorithms=rsa-sha2-512"
    connection = replace(ssh_connection(server), common_args=anybody)
    says_hello(connection)
    more = replace(connection, common_args=f"{anybody} -o RequiredRSASize=3072")
    assert "is too short" in failure(more).message
    other = start(start_sshd(tmp_path / "other"))
    mine = replace(ssh_connection(other), private_keys=(str(short),))
    mine = replace(mine, common_args=f"{own(other, 0)} -o RequiredRSASize=3072 -o IdentitiesOnly=yes")
    assert "shorter than RequiredRSASize" in failure(mine).message


def test_a_key_that_is_known_without_its_port_is_known(ssh_hosts: list[Sshd], tmp_path: Path) -> None:
    """As OpenSSH's own client has it; one that is another there says nothing."""
    server, known = ssh_hosts[2], tmp_path / "known"
    _, rest = server.known_hosts.read_text().split(" ", 1)
    known.write_text(f"{server.address} {rest}")
    connection = ssh_connection(server, known_hosts=known)
    says_hello(connection)
    argv = ["ssh", "-F", "none", "-i", str(server.key), "-p", str(server.port), "-o", "BatchMode=yes", "-o",
            f"UserKnownHostsFile={known}", f"root@{server.address}", "true"]  # fmt: skip
    assert subprocess.run(argv, capture_output=True, check=False, timeout=90).returncode == 0
    known.write_text(f"{server.address} {host_key(tmp_path / 'other')}\n")
    again = replace(connection, common_args=f"{connection.common_args} -o ConnectTimeout=61")
    assert "is unknown" in failure(again).message


def test_a_new_key_is_taken_and_kept_nowhere_where_there_is_no_file_for_it(ssh_hosts: list[Sshd], home: Path) -> None:
    server = ssh_hosts[3]
    none = "-F none -o UserKnownHostsFile=none -o GlobalKnownHostsFile=none"
    connection = replace(ssh_connection(server), common_args=f"{none} -o StrictHostKeyChecking=accept-new")
    says_hello(connection)
    assert list((home / ".ssh").iterdir()) == []
    told = failure(replace(connection, common_args=none))
    assert "is unknown" in told.message and "UserKnownHostsFile is none" in told.help
