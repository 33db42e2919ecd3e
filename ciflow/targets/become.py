"""Taking another identity on a host: the command that does it, what it asks, and what its refusal means. Pure.

A password goes down the pipe only after the program has asked for it; otherwise the agent would read it. sudo asks
with a prompt of our own, a nonce; su with its own under LC_ALL=C; doas only at a terminal, which a few lines of Python
on the host give it.
"""

from __future__ import annotations

import base64
import re
import shlex
import zlib

from ciflow.diagnostics import Denied, Refused
from ciflow.targets.connection import BecomeUser

# Gives a program a terminal of its own to ask at, hands the answer on, and stays until the program has ended. The
# program's standard streams are ours: what is binary passes through no terminal.
TERMINAL = """
import fcntl,os,select,signal,sys,termios
m,s=os.openpty()
r,w=os.pipe()
os.set_blocking(w,False)
signal.signal(signal.SIGCHLD,lambda *_:None)
signal.set_wakeup_fd(w)
p=os.fork()
if not p:
 os.setsid()
 fcntl.ioctl(s,termios.TIOCSCTTY,0)
 try:os.execvp(sys.argv[3],sys.argv[3:])
 except OSError as e:os.write(2,(sys.argv[3]+": "+e.strerror+"\\n").encode());os._exit(127)
t=b""
while r not in select.select([m,r],[],[])[0]:
 t+=os.read(m,4096)
 if b":" not in t:continue
 os.write(1,(sys.argv[1]+sys.argv[2]).encode())
 l=b""
 while l[-1:]!=b"\\n":
  c=os.read(0,1)
  if not c:break
  l+=c
 os.write(m,l)
 break
sys.exit(os.waitpid(p,0)[1]>>8)
"""

# What sudo, su and doas (with PAM and without) say of a password that is not the right one, in the C locale.
_WRONG = re.compile(rb"sorry, try again|incorrect password|authentication fail(ed|ure)", re.IGNORECASE)
# .. and where none was given.
_MISSING = re.compile(rb"password is required|authentication required|terminal is required", re.IGNORECASE)
_NEVER_ASK = re.compile(r"^-([ABbEeHiKkLlPSsVv]*)n([ABbEeHiKkLlPSsVv]*)$")  # among flags that take no value


def terminal_arguments() -> str:
    """`-c ..` for Python, in one line that a login shell of any kind hands on as it is."""
    packed = base64.b64encode(zlib.compress(TERMINAL.encode())).decode()
    return "-ISc " + shlex.quote(f'import zlib,binascii;exec(zlib.decompress(binascii.a2b_base64("{packed}")))')


def needs_terminal(become: BecomeUser) -> bool:
    """Whether its program asks only at a terminal."""
    return become.method == "doas" and bool(become.password)


def become_command(become: BecomeUser, command: str, p: str, q: str) -> tuple[str, bytes]:
    """(the command for /bin/sh, without `exec` or environment in front; the prompt that asks for the password).

    `p` and `q` are the halves of a nonce. `exe` and `flags` stand in the command as they were given, as in Ansible.
    Refused for a method that is not known.
    """
    user, inner, exe, flags = shlex.quote(become.user), shlex.quote(command), become.exe or become.method, become.flags
    if become.method == "sudo" and become.password:
        words = f"{exe} -H -k -S -p '{p}''{q}' {_asking(flags)} -u {user} -- /bin/sh -c {inner}"
        return words, (p + q).encode()
    if become.method == "sudo":
        return f"{exe} -H -n {flags} -u {user} -- /bin/sh -c {inner}", b""
    if become.method == "su":
        words = f"{exe} {flags} {user} -c {shlex.quote('unset LC_ALL; ' + command)}"
        return words, b"Password: " if become.password else b""
    if become.method == "doas":
        prompt = (p + q).encode() if become.password else b""
        return f"{exe} {_asking(flags) if prompt else '-n ' + flags} -u {user} /bin/sh -c {inner}", prompt
    raise Refused(f"become_method {become.method!r} is not supported", help="use sudo, su or doas")


def _asking(flags: str) -> str:
    """Without `-n`, which forbids to ask: as in Ansible, a password that is given is meant to be used."""
    words = [_NEVER_ASK.sub(r"-\1\2", word) for word in flags.split()]
    return " ".join(word for word in words if word not in ("-", "--non-interactive"))


def wrong_password(name: str, identity: str) -> Denied:
    return Denied(f"{name}: the password for {identity} was refused", help="-K asks for another; see `become`'s user")


def denial(said: bytes, name: str, identity: str, *, asked: bool) -> Denied | None:
    """What it means that the program ended with these words; None when they are not about a password."""
    if asked and _WRONG.search(said):
        return wrong_password(name, identity)
    if not asked and (_MISSING.search(said) or _WRONG.search(said)):
        return Denied(
            f"{name}: a password is needed to become {identity}",
            help="give it: -K, --become-password-file, or ansible_become_password",
        )
    return None
