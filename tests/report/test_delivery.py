"""One message to real receivers: web servers of every manner, a mail server, programs."""

from __future__ import annotations

import email
import os
import socket
import threading
import time
from collections.abc import Iterator
from email.policy import default
from pathlib import Path

import pytest

from ciflow.report.delivery import Answer, Programs, attempt
from ciflow.report.messages import Call, Mail, Post
from tests.parts.receivers import Web, arrived, post_office, web


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as made:
        yield made


def posted(url: str, folder: Path = Path(), ca: str = "", most: float = 60.0) -> Answer:
    return attempt(Post(url, b'{"a":1}', {"Content-Type": "application/json"}, ca), folder, Programs(), most)


def test_a_post_arrives_as_it_is(server: Web) -> None:
    assert posted(f"{server.url}/hook?a=b") == Answer(True, "200 OK")
    (got,) = server.of("/hook?a=b")
    assert got.body == b'{"a":1}' and got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("status", "again"), [(400, False), (401, False), (404, False), (408, True), (410, False),
                                               (425, True), (429, True), (500, True), (503, True)])  # fmt: skip
def test_what_may_go_well_a_moment_later_is_tried_again(server: Web, status: int, again: bool) -> None:
    answer = posted(f"{server.url}/{status}/x")
    assert (answer.sent, answer.again) == (False, again)
    assert answer.said.startswith(str(status)) and "said" in answer.said


def test_a_receiver_that_says_when_is_waited_for_within_reason(server: Web) -> None:
    assert posted(f"{server.url}/later/1").after == 1.0


def test_a_redirect_is_not_followed(server: Web) -> None:
    answer = posted(f"{server.url}/away/x")
    assert not answer.sent and not answer.again and "redirects" in answer.said
    assert not [one for one in server.got if "elsewhere" in one.path]


@pytest.mark.parametrize("manner", ["hang", "drip"])
def test_who_hangs_or_drips_is_left_after_the_time_of_a_try(server: Web, manner: str) -> None:
    answer = posted(f"{server.url}/{manner}/x", most=1.0)
    assert answer == Answer(False, "no answer within 1 s", again=True)


def test_an_answer_without_end_is_not_read_to_its_end(server: Web) -> None:
    assert posted(f"{server.url}/huge/x").sent


def test_who_hangs_up_is_asked_again(server: Web) -> None:
    answer = posted(f"{server.url}/reset/x")
    assert not answer.sent and answer.again


def test_nobody_listens_and_a_name_without_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and listens not
        answer = posted(f"http://127.0.0.1:{taken.getsockname()[1]}/secret")
    assert answer == Answer(False, "connection refused", again=True)
    answer = posted("http://nowhere.invalid/secret")
    assert not answer.sent and "secret" not in answer.said


def test_a_certificate_is_checked_against_the_authority_that_is_named(tmp_path: Path) -> None:
    with web(tmp_path / "ca") as server:
        assert posted(f"{server.url}/hook", tmp_path, "ca/ca.crt") == Answer(True, "200 OK")
        answer = posted(f"{server.url}/hook")
        assert not answer.sent and not answer.again and "certificate is not trusted" in answer.said
        answer = posted(f"{server.url}/hook", tmp_path, "ca/none.crt")
        assert not answer.sent and "is not there" in answer.said
        assert len(server.got) == 1
    with web(tmp_path / "other", name="other.example") as server:
        answer = posted(f"{server.url}/hook", ca=server.ca)
        assert not answer.sent and "certificate is not trusted" in answer.said and not server.got


# --- mail ----------------------------------------------------------------------------------------------


def mail(port: int, ca: str, tls: str = "starttls", user: str = "ann", password: str = "open sesame") -> Answer:
    made = Mail(
        "127.0.0.1", port, tls, "Größe, Shop <ciflow@example.com>", ["ops@example.com", "Dev <dev@example.com>"],
        "Überraschung failed",
        "Zeile\n.\nend\n", "<R-1.failed.1@example.com>", user, password, ca,
    )  # fmt: skip
    return attempt(made, Path(), Programs(), 60.0)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it is TLS from the start
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_goes_encrypted_with_a_login(tmp_path: Path, tls: str) -> None:
    with post_office(tmp_path, tls=tls) as office:
        assert mail(office.port, office.ca, tls) == Answer(True, "taken")
    (got,) = office.mails
    assert office.users == ["ann"] and got.rcpt_tos == ["ops@example.com", "dev@example.com"]
    read = email.message_from_bytes(got.content, policy=default)
    assert read["Subject"] == "Überraschung failed" and read["Message-ID"] == "<R-1.failed.1@example.com>"
    assert got.mail_from == "ciflow@example.com" and read["To"] == "ops@example.com, Dev <dev@example.com>"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read.get_content().replace("\r\n", "\n") == "Zeile\n.\nend\n"


def test_a_wrong_password_is_said_and_not_tried_again(tmp_path: Path) -> None:
    with post_office(tmp_path) as office:
        answer = mail(office.port, office.ca, password="wrong one")
    assert not answer.sent and not answer.again and "refuses the user or the password" in answer.said
    assert not office.mails


def test_a_password_never_goes_over_a_way_that_somebody_else_could_be_at(tmp_path: Path) -> None:
    with post_office(tmp_path) as office:
        answer = mail(office.port, "")
        assert not answer.sent and "certificate is not trusted" in answer.said
    with post_office(tmp_path, tls="none", login=False) as office:
        answer = mail(office.port, office.ca)
        assert not answer.sent and "STARTTLS" in answer.said
        assert mail(office.port, "", "none", user="") == Answer(True, "taken")
    assert len(office.mails) == 1 and office.users == [""]


# --- programs ------------------------------------------------------------------------------------------


def called(shell: str, folder: Path, timeout: float = 60.0, programs: Programs | None = None) -> Answer:
    made = Call(["sh", "-c", shell], b'{"on":"failed"}\n', {"KEY": "it"}, timeout)
    return attempt(made, folder, programs or Programs())


def test_a_program_gets_the_event_and_says_how_it_went(tmp_path: Path) -> None:
    assert called('cat > got; echo "$KEY" >> got', tmp_path) == Answer(True, "exit 0")
    assert (tmp_path / "got").read_text() == '{"on":"failed"}\nit\n'
    assert called("echo no route >&2; exit 3", tmp_path) == Answer(False, "exit 3: no route")
    assert called("exit 75", tmp_path) == Answer(False, "exit 75", again=True)
    assert called("kill -9 $$", tmp_path) == Answer(False, "ended by signal 9")
    answer = attempt(Call(["no-such-program"], b"", {}, 60.0), tmp_path, Programs())
    assert not answer.sent and "can't be started" in answer.said


def test_a_program_that_reads_nothing_is_no_fault(tmp_path: Path) -> None:
    made = Call(["true"], b"x" * 1_000_000, {}, 60.0)
    assert attempt(made, tmp_path, Programs()) == Answer(True, "exit 0")


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    answer = called("sleep 600 & echo $! > child; wait", tmp_path, timeout=1.0)
    assert not answer.sent and "longer than 1 s" in answer.said
    assert gone(int((tmp_path / "child").read_text()))


def test_no_program_outlives_the_run(tmp_path: Path) -> None:
    programs = Programs()
    waiting = threading.Thread(target=called, args=("echo $$ > pid; exec sleep 600", tmp_path, 60.0, programs))
    waiting.start()
    assert arrived(lambda: len((tmp_path / "pid").read_text()) if (tmp_path / "pid").exists() else 0, 2)
    programs.stop()
    waiting.join(60)
    assert gone(int((tmp_path / "pid").read_text()))
    assert "can't be started" in called("true", tmp_path, programs=programs).said


def gone(pid: int) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
