"""Files are made beside their place and moved there when all of them are right: all, or none."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from .errors import ConversionError, Problem
from .interrupts import undisturbed

PREFIX = ".onnx2tf-"
#: Of a SavedModel; without it the folder is none.
GRAPH = "saved_model.pb"
FINGERPRINT = "fingerprint.pb"  # of one that TensorFlow wrote there before
HERE, EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of Linux
NEW = 60  # seconds in which a folder may not yet be held by who made it


@contextmanager
def workshop(folder: Path | None) -> Iterator[Path]:
    """A new folder beside ``folder`` (None: a temporary one); it disappears whatever happens.

    :raises ConversionError: nothing can be written there.
    """
    beside = None if folder is None else _beside(folder)
    try:
        if beside is not None:
            sweep(beside)
        made = tempfile.mkdtemp(prefix=PREFIX, dir=beside)
    except OSError as error:
        raise ConversionError(Problem(f"output folder '{folder}'", f"cannot be written: {error.strerror}")) from error
    held = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # goes with the process, however that ends
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)


def _beside(folder: Path) -> Path:
    """The folder that exists above ``folder``."""
    for place in [folder.absolute(), *folder.absolute().parents]:
        if place.is_dir():
            return place if place.parent == place or place != folder.absolute() else place.parent
        if os.path.lexists(place):
            what = "is a link to nothing" if place.is_symlink() else "is a file"
            raise ConversionError(Problem(f"output folder '{place}'", what, "name a folder with -o"))
    return Path(folder.anchor or ".")


def sweep(beside: Path, age: float = NEW) -> None:
    """Remove what killed conversions have left: folders of some ``age`` in seconds that nobody holds any more."""
    for left in beside.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime < age:
                continue
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def deliver(work: Path, folder: Path, insides: Iterable[str]) -> None:
    """Move everything into place; what was there under the same names goes, everything else stays.

    A new folder appears whole.  In one that is there, kinds are replaced one after the other, undisturbed by an
    interrupt; of a SavedModel the graph goes first and comes last, so that it never stands beside weights of another.

    ``insides``: folders of ``work`` whose contents, not they themselves, belong into ``folder``.
    """
    whole = [work / name for name in insides]
    inside = [item for part in whole if part.is_dir() for item in sorted(part.iterdir())]
    items = [*inside, *sorted(p for p in work.iterdir() if p not in whole)]
    if not os.path.lexists(folder):
        ready = work / ".ready"
        ready.mkdir()
        for item in items:
            os.rename(item, ready / item.name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.rename(ready, folder)
        return
    with undisturbed():
        if any(item.name == GRAPH for item in inside):
            for name in (GRAPH, FINGERPRINT):
                (folder / name).unlink(missing_ok=True)
        for item in sorted(items, key=lambda item: item.name == GRAPH):
            put(item, folder / item.name)


def put(item: Path, target: Path) -> None:
    """Move one thing into place.  What was there is left where it came from, or is gone.

    Where the system can, the two change places: whoever looks finds one of them.  A file that replaces another is first
    given its place on the disk by ext4, which takes as long as a tenth of the conversion of a small model.
    """
    if os.path.lexists(target) and _exchanged(item, target):
        return
    if target.is_dir() and not target.is_symlink():
        os.rename(target, item.with_name(f"{item.name}.old"))
    os.replace(item, target)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths change places; False where the system, or the file system, cannot."""
    rename = _rename()
    return rename is not None and rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0


@cache
def _rename() -> Callable[..., int] | None:
    """``renameat2`` of Linux, which Python does not have."""
    import ctypes  # numpy has loaded it

    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), "renameat2", None)
    return found
