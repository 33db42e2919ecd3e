"""One try to deliver one message: HTTP, SMTP, a program. Never raises; says in plain words what came of it.

What is said names no address beyond its host: webhook addresses are secrets. A try runs in a thread of its own that
nobody waits for longer than its time, for name servers and dripping answers heed no timeout of a socket.
"""

from __future__ import annotations

import email.utils
import os
import queue
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.lang.notifications import mail_address
from ciflow.report.messages import TIMEOUT, Call, Mail, Message, Post

LONGEST_WAIT = 60.0  # seconds that a receiver may ask us to wait
_READ = 400  # bytes of an answer; the rest is nobody's business
_SHOWN = 160  # characters of it
_AGAIN = (408, 425, 429)  # and all from 500 on: what may go well a moment later
_LATER = (429, 503)  # answers that may say when


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try. `said` is what the receiver answered, or why it did not; `again`: another try may go well,
    `after` so many seconds where it said so."""

    sent: bool
    said: str
    again: bool = False
    after: float = 0.0


class Programs:
    """The programs that are running, so that none outlives the run that it tells of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def start(self, call: Call, folder: Path) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._over:
                raise ProcessLookupError("the run is over")
            pipe, env = subprocess.PIPE, {**os.environ, **call.env}
            made = subprocess.Popen(
                call.argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, cwd=folder, env=env,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(made)
            return made

    def ended(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """End those that run, with all that they have started; no more begins."""
        with self._lock:
            self._over = True
            for process in self._running:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended by itself


def attempt(message: Message, folder: Path, programs: Programs, most: float = TIMEOUT) -> Answer:
    """One try, of `most` seconds in all (a program has its own time). Relative paths begin at `folder`."""
    if isinstance(message, Call):
        return _within(message.timeout + 1.0, lambda: _call(message, folder, programs))
    if isinstance(message, Mail):
        return _within(most, lambda: _mail(message, folder))
    return _within(most, lambda: _post(message, folder))


def _within(seconds: float, deliver: Callable[[], Answer]) -> Answer:
    box: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    threading.Thread(target=lambda: box.put(deliver()), name="notification", daemon=True).start()
    try:
        return box.get(timeout=seconds)
    except queue.Empty:
        return Answer(False, f"no answer within {seconds:g} s", again=True)


# --- HTTP ----------------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What is sent is meant for one host; where else it points, the author has not said."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(post: Post, folder: Path) -> Answer:
    request = urllib.request.Request(post.url, post.body, {"User-Agent": "ciflow", **post.headers}, method="POST")
    try:
        secure = urllib.request.HTTPSHandler(context=_context(post.ca, folder))
        opener = urllib.request.build_opener(secure, _NoRedirect())
        with opener.open(request, timeout=TIMEOUT) as answer:
            answer.read(_READ)
            return Answer(True, f"{answer.status} {answer.reason}".strip())
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error)
    except (OSError, ValueError, HTTPException) as error:
        return _failed(error)


def _refused(error: urllib.error.HTTPError) -> Answer:
    if 300 <= error.code < 400:
        return Answer(False, f"{error.code}: it redirects, which is not followed; write the address that it leads to")
    try:
        body = " ".join(error.read(_READ).decode("utf-8", "replace").split())[:_SHOWN]
    except (OSError, ValueError, HTTPException):
        body = ""
    said = f"{error.code} {error.reason}".strip() + (f": {body}" if body else "")
    wait = _wanted_wait(error.headers.get("Retry-After", "")) if error.code in _LATER else 0.0
    return Answer(False, said, again=error.code in _AGAIN or error.code >= 500, after=wait)


def _wanted_wait(text: str) -> float:
    """Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    if text.strip().isdecimal():
        return min(float(text), LONGEST_WAIT)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0
    return min(max(0.0, at - time.time()), LONGEST_WAIT)


def _context(ca: str, folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder / ca) if ca else None)


def _failed(error: Exception) -> Answer:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Answer(False, f"its certificate is not trusted: {reason.verify_message}")
    if isinstance(reason, ssl.SSLError):
        return Answer(False, f"TLS failed: {(reason.reason or 'no reason given').replace('_', ' ').lower()}")
    if isinstance(reason, socket.gaierror):
        return Answer(False, "its name has no address", again=True)
    if isinstance(reason, TimeoutError):
        return Answer(False, f"no answer within {TIMEOUT:g} s", again=True)
    if isinstance(reason, FileNotFoundError):
        return Answer(False, f"the file {reason.filename or 'of `ca`'} is not there")
    if isinstance(reason, OSError) and reason.strerror:
        return Answer(False, reason.strerror.lower(), again=True)
    if isinstance(reason, OSError | HTTPException):
        return Answer(False, "it hung up without an answer", again=True)
    return Answer(False, "it can't be asked that way")


# --- mail ----------------------------------------------------------------------------------------------


def _mail(mail: Mail, folder: Path) -> Answer:
    try:
        context = _context(mail.ca, folder)
        if mail.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(mail.host, mail.port, timeout=TIMEOUT)
        with server:
            if mail.tls == "starttls":
                server.starttls(context=context)
            if mail.user:
                server.login(mail.user, mail.password)
            refused = server.send_message(_written(mail))
        return Answer(True, f"taken, but not for {', '.join(refused)}" if refused else "taken")
    except smtplib.SMTPAuthenticationError as error:
        return Answer(False, f"{error.smtp_code}: it refuses the user or the password")
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        return Answer(False, f"{error.smtp_code} {said}"[:_SHOWN], again=400 <= error.smtp_code < 500)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        return Answer(False, f"it refuses {', '.join(error.recipients)}"[:_SHOWN], again=max(codes) < 500)
    except smtplib.SMTPNotSupportedError:
        return Answer(False, "it doesn't offer STARTTLS, or no login that is known here")
    except smtplib.SMTPServerDisconnected:
        return Answer(False, "it hung up", again=True)
    except (OSError, ValueError) as error:
        return _failed(error)


def _written(mail: Mail) -> EmailMessage:
    """`Message-ID` is the same for the same moment, so that a second copy is known as one."""
    made = EmailMessage()
    made["Subject"], made["From"] = mail.subject, _address(mail.sender)
    made["To"] = [_address(one) for one in mail.recipients]
    made["Date"], made["Message-ID"] = email.utils.formatdate(), mail.id
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
    made.set_content(mail.text)
    return made


def _address(text: str) -> Address:
    found = mail_address(text)
    if found is None:
        raise ValueError(f"{text} is no address")
    return Address(found[0], addr_spec=found[1])


# --- programs ------------------------------------------------------------------------------------------


def _call(call: Call, folder: Path, programs: Programs) -> Answer:
    try:
        process = programs.start(call, folder)
    except (OSError, ValueError) as error:
        return Answer(False, f"it can't be started: {(getattr(error, 'strerror', None) or str(error)).lower()}")
    try:
        output, _ = process.communicate(call.stdin, timeout=call.timeout)
    except subprocess.TimeoutExpired:
        end(process)
        process.communicate()
        return Answer(False, f"it took longer than {call.timeout:g} s, and was ended")
    finally:
        programs.ended(process)
    if process.returncode == 0:
        return Answer(True, "exit 0")
    last = (output.decode("utf-8", "replace").strip().splitlines() or [""])[-1][:_SHOWN]
    how = f"exit {process.returncode}" if process.returncode > 0 else f"ended by signal {-process.returncode}"
    return Answer(False, f"{how}: {last}" if last else how, again=process.returncode == 75)  # EX_TEMPFAIL, sysexits.h
