"""The memory of our processes is closed to others of the same user; as root, to try it as one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.servers

_USER = 65532
_WORK = f"""
import ctypes, os, sys
from mailsync_api.process import keep_memory_private
os.setgroups([]); os.setgid({_USER}); os.setuid({_USER})
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # setuid() closes it, unlike the kubelet's way of starting
if sys.argv[1] == "closed":
    keep_memory_private()
print("ready", flush=True)
sys.stdin.read()
"""
_LOOK = f"""
import os, sys
os.setgroups([]); os.setgid({_USER}); os.setuid({_USER})
for name, look in (("environ", open), ("mem", open), ("fd", os.listdir), ("root", os.listdir)):
    try:
        look(f"/proc/{{sys.argv[1]}}/{{name}}")
        print(name)
    except PermissionError:
        pass
"""


def start(script: str, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, argument],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


@contextmanager
def working(how: str) -> Iterator[int]:
    with start(_WORK, how) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid


def seen(pid: int) -> list[str]:
    with start(_LOOK, str(pid)) as process:
        return process.communicate()[0].split()


def test_another_process_of_the_user_sees_nothing() -> None:
    assert os.getuid() == 0
    with working("open") as pid:
        assert seen(pid) == ["environ", "mem", "fd", "root"]
    with working("closed") as pid:
        assert seen(pid) == []


@pytest.mark.parametrize("command", ["mailsync_syncjob.job", "mailsync_operator.main"])
def test_every_entry_point_closes_its_memory_first(command: str) -> None:
    # It ends at its first step after that, with arguments that make no sense.
    script = f"""
import ctypes, resource, sys
import {command} as module
sys.argv = ["x", "--no-such-flag"]
try:
    module.main()
except SystemExit:
    pass
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-1] == "0 (0, 0)"
