"""Where models are converted: worker processes of this machine, or those of a Dask scheduler; and what fits there."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import ToolError
from ..record import record

if TYPE_CHECKING:
    from distributed import Client, Worker

#: Of a cluster of our own; the docs say how a scheduler that is started by hand gets the same.
SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # what was on a worker that died is tried again by us, see run
    "distributed.scheduler.work-stealing": False,  # of what nobody holds
    "distributed.worker.daemon": False,
    # Where a machine is so busy that a worker takes longer to come back, it would never come back, and all would wait.
    "distributed.deploy.lost-worker-timeout": "365 days",
    "distributed.admin.log-length": 100,
    # What is looked at so often that it takes a twentieth of two processors from the models:
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
SECONDS = 10  # for a scheduler to answer


@record
class Capacity:
    """Where models are converted, and what each of them may take: see :func:`.run.convert_many`."""

    scheduler: str = ""
    workers: int = 1
    memory_limit: int = 0
    timeout: int = 600
    page: str = "wrong"

    def room(self) -> Room:
        """What a model has.

        :raises ToolError: there is no such scheduler, or its workers cannot do this.
        """
        if not self.scheduler:
            return Room(self.memory_limit or memory() // self.workers, memory())
        try:
            with connected(self) as client:
                held = client.run(_memory_of, on_error="return")
        except (OSError, asyncio.TimeoutError) as error:
            raise ToolError(f"no scheduler at {self.scheduler}: {error or 'no answer'}", self.scheduler) from error
        by_host: dict[str, list[int]] = {}
        for address, bytes_held in held.items():
            if not isinstance(bytes_held, int):
                what = f"the worker at {address} cannot do this: {bytes_held}; every worker needs this package"
                raise ToolError(what, address)
            by_host.setdefault(host(address), []).append(bytes_held)
        share = min(held.values(), default=Room.share)
        return Room(self.memory_limit or share, min(map(sum, by_host.values()), default=share))


@record
class Room:
    """Bytes of memory: the ``share`` of a model beside others, and the ``whole`` of a machine; these where a scheduler
    has no worker yet."""

    share: int = 4 << 30
    whole: int = 4 << 30


def memory() -> int:
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _memory_of(dask_worker: Worker) -> int:
    return int(dask_worker.memory_manager.memory_limit or memory())


def host(address: str) -> str:
    """``10.0.0.7`` of ``tcp://10.0.0.7:41234``."""
    return address.partition("://")[2].rpartition(":")[0]


def hosts(client: Client) -> list[str]:
    """The machines that have workers."""
    return sorted({host(address) for address in client.nthreads()})


@contextmanager
def connected(capacity: Capacity) -> Iterator[Client]:
    """A client of the scheduler, or of a cluster of our own, which ends with it.

    :raises OSError: no answer.
    """
    import dask
    from distributed import Client, LocalCluster

    for name in logging.root.manager.loggerDict:  # each has a level of its own, and what it would say we say
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set(SETTINGS):
        if capacity.scheduler:
            with Client(capacity.scheduler, timeout=SECONDS, set_as_default=False) as client:
                yield client
            return
        with (
            LocalCluster(
                n_workers=capacity.workers,
                threads_per_worker=1,
                memory_limit=0,
                dashboard_address=":0",
                silence_logs=logging.CRITICAL,
                preload=[__name__],
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client


def dask_setup(worker: Worker) -> None:
    """What Dask calls in a worker of our own: it hears no interrupt, nor does what it starts.  A terminal sends one to
    all of them, and each would say so; who runs the cluster hears it, and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
