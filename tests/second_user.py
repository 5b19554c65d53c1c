"""Another Unix user of this machine, as whom a test tries what it must not be able to do."""

import os
import pickle
import pwd
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import pytest

NAME = "hpcsweep-test"


def second_user() -> pwd.struct_passwd:
    """Return the user, made when it is missing. Skips the test where users cannot be made, but never in CI."""
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        pass
    if os.getuid() != 0:
        reason = "needs a second Unix user, which only root can make"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", NAME], check=True)
    return pwd.getpwnam(NAME)


def as_second_user(action: Callable[[], Any]) -> Any:
    """Return what `action` returns in a process of that user, or the OSError that it raises there."""
    user = second_user()
    if os.getuid() != 0:
        message = "needs root, to act as a second Unix user"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    "localhost".encode("idna")  # that user may not be able to read the modules of this Python: loaded before
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the child only runs `action`
        pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            os.setgroups([user.pw_gid])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            try:
                answer: Any = action()
            except OSError as exc:
                answer = exc
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pickle.load(pipe)
    os.waitpid(pid, 0)
    return answer
