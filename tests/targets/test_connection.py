"""What a process does for the sake of many connections."""

import platform
import subprocess
import sys

import pytest

# 20 threads that hold memory at the same time; the C library then tells its arenas.
MANY_THREADS = """
import ctypes, threading
from ciflow.targets.connection import share_arenas
if {shared}:
    share_arenas()
inside, done = threading.Barrier(21), threading.Event()
def hold():
    held = bytearray(1000)
    inside.wait()
    done.wait()
for _ in range(20):
    threading.Thread(target=hold).start()
inside.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
done.set()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
def test_threads_of_many_connections_share_two_pools_of_memory() -> None:
    def arenas(shared: bool) -> int:
        program = [sys.executable, "-c", MANY_THREADS.format(shared=shared)]
        return subprocess.run(program, capture_output=True, text=True, check=True).stdout.count("<heap nr=")

    assert arenas(shared=True) <= 2 < arenas(shared=False)
