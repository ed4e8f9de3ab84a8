"""What a process takes, as far as Linux says: memory of its own, and the time that it computes."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress


def own(process: int | str = "self") -> int:
    """Bytes of memory that a process holds for itself; 0 where it is gone, or this system does not say.

    A child begins with those of its parent.  It does not begin with the pages of files and of shared memory that its
    parent has touched, so these are no measure of what it may come to hold.
    """
    _, resident, shared, *_ = _pages(process)
    return (resident - shared) * mmap.PAGESIZE


def held(process: int) -> int:
    """Bytes of memory of a process, also of results that came from a child, which it shares with its kin, as far as it
    has touched them; pages of files (code of libraries, mapped weights) do not count: the system takes them back at
    will."""
    try:
        with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
            rows = [line.split() for line in file if line.startswith(("RssAnon:", "RssShmem:"))]
    except OSError:
        return 0
    return sum(int(kibibytes) << 10 for _, kibibytes, _ in rows)


def resident(process: int | str = "self") -> int:
    """Bytes of memory of a process, with those of files; 0 where it is gone, or this system does not say."""
    return _pages(process)[1] * mmap.PAGESIZE


def computed(process: int) -> float:
    """Seconds that the busiest of the threads of a process has computed; 0 where it is gone."""
    ticks = [0]
    with suppress(OSError):
        for thread in os.scandir(f"/proc/{process}/task"):
            with suppress(OSError), open(f"{thread.path}/stat", "rb") as file:
                words = file.read().rpartition(b")")[2].split()  # behind the name, which may hold anything
                ticks.append(int(words[11]) + int(words[12]))
    return max(ticks) / os.sysconf("SC_CLK_TCK")


def allocated(process: int | str = "self") -> int:
    """Bytes of data and stack of a process; 0 where it is gone, or this system does not say."""
    return _pages(process)[5] * mmap.PAGESIZE


def _pages(process: int | str) -> list[int]:
    """What Linux counts of a process: all its pages, resident ones, those of them of files and shared memory, code,
    libraries, data and stack, dirty ones."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return [int(count) for count in file.read().split()]
    except OSError:
        return [0] * 7
