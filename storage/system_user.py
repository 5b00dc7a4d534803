"""The unprivileged system user that the embedded PostgreSQL runs as when we are root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TypedDict

NAME = "statewave"

_CREATE = (
    ("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NAME),
    ("adduser", "-S", "-D", "-H", "-s", "/sbin/nologin", NAME),
)


class Credentials(TypedDict, total=False):
    """Arguments of `subprocess` that start a program as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


def credentials(user: str | None) -> Credentials:
    """How to start a program as `user`, with that user's own group only; as ourselves when `None`."""
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def server_user() -> str | None:
    """Name of the user to run as: `statewave`, made if need be, else `nobody`; `None` when we are not root."""
    if os.geteuid() != 0:
        return None
    if _exists(NAME):
        return NAME
    for command in _CREATE:
        if shutil.which(command[0]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if _exists(NAME):
                return NAME
    return "nobody"


def can_search(user: str, folder: Path) -> bool:
    """Whether `user` may enter `folder` and every folder above it."""
    return _succeeds(user, ["test", "-x", str(folder)])


def can_run(user: str, program: Path) -> bool:
    """Whether `user` may run `program`, and the loader finds what it needs."""
    return _succeeds(user, [str(program), "--version"])


def own_by(user: str, folder: Path) -> None:
    """Create `folder` and give it to `user` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    folder.chmod(0o700)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _succeeds(user: str, argv: list[str]) -> bool:
    try:
        done = subprocess.run(argv, cwd="/", capture_output=True, check=False, **credentials(user))
    except OSError:
        return False
    return done.returncode == 0
