"""Authorities that vouch for hosts: `@cert-authority` in known_hosts, with a real sshd and beside OpenSSH's client."""

import subprocess
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from ciflow.targets.host_certificate import Certificate
from tests.conftest import Start
from tests.parts import process
from tests.parts.sshd import Sshd
from tests.parts.sshd import sshd as start_sshd
from tests.targets.conftest import ssh_connection
from tests.targets.test_ssh import failure, says_hello

KINDS = {"ed25519": "-t ed25519", "rsa": "-t rsa -b 2048", "ecdsa": "-t ecdsa -b 256"}


def key(path: Path, kind: str = "ed25519") -> Path:
    argv = ["ssh-keygen", "-q", *KINDS[kind].split(), "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


def certify(host: Path, authority: Path, *words: str) -> Path:
    """The certificate of a host's key."""
    argv = ["ssh-keygen", "-q", "-s", str(authority), "-I", "it", *words, f"{host}.pub"]
    subprocess.run(argv, check=True, capture_output=True)
    return Path(f"{host}-cert.pub")


def public(path: Path) -> str:
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


def by_openssh(server: Sshd, known: Path, *options: str) -> bool:
    """Whether OpenSSH's own client trusts that server."""
    argv = [process.find("ssh", "sshd"), "-F", "none", "-i", str(server.key), "-p", str(server.port)]
    argv += ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known}", *options, f"root@{server.address}", "true"]
    return subprocess.run(argv, capture_output=True, check=False, timeout=90).returncode == 0


@pytest.mark.parametrize(
    ("kind", "authority_kind"), [("ed25519", "ed25519"), ("ed25519", "rsa"), ("rsa", "ecdsa"), ("ecdsa", "ed25519")]
)
def test_a_host_that_an_authority_vouches_for_is_trusted(
    start: Start, tmp_path: Path, kind: str, authority_kind: str
) -> None:
    authority, host = key(tmp_path / "authority", authority_kind), key(tmp_path / "host", kind)
    certificate = certify(host, authority, "-h", "-n", "127.0.0.1,other", "-V", "-1h:+1h")
    server = start(start_sshd(tmp_path / "own", settings={"HostKey": str(host), "HostCertificate": str(certificate)}))
    known = tmp_path / "known"
    known.write_text(f"@cert-authority [127.0.*]:*,*.example.org {public(authority)}\n")
    assert by_openssh(server, known)
    says_hello(ssh_connection(server, known_hosts=known))


REFUSED = {
    "another name": ("-h -n web2,127.0.0.* -V -1h:+1h", "it is for web2, 127.0.0.*"),
    "over": ("-h -n 127.0.0.1 -V -2h:-1h", "its time is over"),
    "not yet": ("-h -n 127.0.0.1 -V +1h:+2h", "its time has not begun"),
    "of a user": ("-n 127.0.0.1 -V -1h:+1h", "it is a user's"),
    "no name": ("-h -V -1h:+1h", "it is for nobody by name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_certificate_that_does_not_hold_is_refused(start: Start, tmp_path: Path, case: str) -> None:
    """Also where an unknown key would be taken. sshd itself refuses a user's certificate: it is judged without one."""
    words, why = REFUSED[case]
    authority, host = key(tmp_path / "authority"), key(tmp_path / "host")
    certificate = certify(host, authority, *words.split())
    if case == "of a user":
        read = Certificate.read(paramiko.pkey.PublicBlob.from_file(str(certificate)).key_blob)
        assert read.trouble("127.0.0.1", 0, "") == why
        return
    server = start(start_sshd(tmp_path / "own", settings={"HostKey": str(host), "HostCertificate": str(certificate)}))
    known = tmp_path / "known"
    known.write_text(f"@cert-authority [127.0.0.1]:* {public(authority)}\n")
    assert case == "no name" or not by_openssh(server, known)
    connection = ssh_connection(server, known_hosts=known)
    told = failure(replace(connection, common_args=connection.common_args + " -o StrictHostKeyChecking=no"))
    assert f"is vouched for, but {why}" in told.message
    known.write_text(f"{known.read_text()}[127.0.0.1]:{server.port} {public(host)}\n")
    assert by_openssh(server, known)
    says_hello(connection)


def test_whom_nobody_known_vouches_for_is_unknown_or_revoked(start: Start, tmp_path: Path) -> None:
    authority, host, other = key(tmp_path / "authority"), key(tmp_path / "host"), key(tmp_path / "other")
    certificate = certify(host, authority, "-h", "-n", "127.0.0.1", "-V", "-1h:+1h")
    server = start(start_sshd(tmp_path / "own", settings={"HostKey": str(host), "HostCertificate": str(certificate)}))
    for number, (line, word) in enumerate(
        (
            (f"@cert-authority 127.0.0.1 {public(other)}", "is unknown"),
            (f"@cert-authority 127.0.0.2 {public(authority)}", "is unknown"),
            (f"@cert-authority * {public(authority)}\n@revoked * {public(authority)}", "is revoked"),
            (f"@cert-authority * {public(authority)}\n@revoked * {public(host)}", "is revoked"),
        )
    ):
        known = tmp_path / f"known{number}"
        known.write_text(f"{line}\n")
        assert not by_openssh(server, known)
        assert word in failure(ssh_connection(server, known_hosts=known)).message
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {public(authority)}\n")
    connection = ssh_connection(server, known_hosts=known)
    for option, word in (
        ("CASignatureAlgorithms=rsa-sha2-512", "CASignatureAlgorithms does not allow"),
        (f"RevokedHostKeys={authority}.pub", "is revoked"),
        ("HostKeyAlgorithms=ssh-ed25519", "is unknown"),
    ):
        assert not by_openssh(server, known, "-o", option)
        told = failure(replace(connection, common_args=f"{connection.common_args} -o {option}")).message
        assert word in told, option


def test_a_certificate_that_was_changed_on_its_way_vouches_for_nobody(tmp_path: Path) -> None:
    """Every byte of what was signed, one after the other: nothing but an error comes of it."""
    authority, host = key(tmp_path / "authority"), key(tmp_path / "host")
    certificate = certify(host, authority, "-h", "-n", "web1", "-V", "-1h:+1h")
    blob = paramiko.pkey.PublicBlob.from_file(str(certificate)).key_blob
    whole = Certificate.read(blob)
    now = (whole.since + whole.until) / 2
    assert whole.trouble("web1", now, "") == ""
    good = 0
    for at in range(len(whole.signed)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        try:
            one = Certificate.read(changed)
            good += one.authority == whole.authority and one.trouble("web1", now, "") == ""
        except paramiko.SSHException:
            continue
    print(f"{len(whole.signed)} bytes changed")
    assert good == 0
