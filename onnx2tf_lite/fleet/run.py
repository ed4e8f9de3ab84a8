"""All models of a plan on Dask: an own cluster of this machine's cores, or the one at an address.

What a worker or the scheduler loses is asked for again; a model is never tried again because of itself.  Models that
need more memory than a worker has come when all others are done, one at a time on each machine; and with them, once
more, those that were on a worker that died: whichever of them is to blame takes no other with it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..delivery import sweep
from ..errors import ToolError
from ..record import record
from . import job as work
from .cluster import Capacity, Room, connected, hosts
from .job import TOPIC, Job, Keywords
from .page import summary, write
from .plan import FleetPlan, Override, need, understood
from .progress import Silent, View
from .storage import WORK, Record, Results

if TYPE_CHECKING:
    from distributed import Client, Future

#: Seconds for which a scheduler that is gone is waited for.
PATIENCE = 300
#: Models that are handed to the scheduler at once: it forgets what is done, and never holds the whole of a large plan.
AHEAD = 2000
KILLED = "two workers died over it, one after the other"
#: Where a model may go; None: anywhere.
Machines = list[str] | None


@dataclass
class Fleet:
    """What a run made: a record per model, by its name (``status`` in ``fleet.made.STATUS``); ``lost``: models of which
    nothing is known, and why."""

    output: str
    records: dict[str, Record] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Every model is right."""
        return not self.lost and all(record["status"] == "right" for record in self.records.values())


def convert_many(
    models: Sequence[str | os.PathLike[str]] = (),
    output: str | os.PathLike[str] = "out",
    *,
    plan: FleetPlan | str | os.PathLike[str] | None = None,
    options: Keywords | None = None,
    scheduler: str = "",
    workers: int | None = None,
    memory_limit: int = 0,
    timeout: int = 600,
    page: str = "wrong",
    view: View | None = None,
) -> Fleet:
    """Convert many models, each checked, into a folder of its own below ``output``, and write ``output/index.html``.

    :param models: files, folders and globs, of this machine or of what fsspec reaches.
    :param output: a folder, or an address that fsspec writes to.
    :param plan: a :class:`FleetPlan`, or its YAML file; ``models`` and ``options`` come on top of it.
    :param options: keywords of :func:`onnx2tf_lite.convert` for all models.
    :param scheduler: address of a Dask scheduler; empty: an own one, with worker processes of this machine.
    :param workers: how many of these; default: one for each core.
    :param memory_limit: bytes for a model; 0: the machine's memory, divided among its workers.
    :param timeout: seconds for a model.
    :param page: ``all``, ``wrong`` or ``none``: which models get a page of their check.
    :param view: told what happens, for those who watch.
    :raises ToolError: for a plan that cannot be carried out; nothing is converted then.
    """
    settings = Capacity(scheduler, workers or os.cpu_count() or 1, memory_limit, timeout, page)
    lanes = planned(models, plan, options or {}, settings)
    return _Run(lanes, os.fspath(output), view or Silent(), settings).run()


@record
class Lanes:
    """Models that go side by side, the largest first, and those that go alone, with all of the machine's memory."""

    packed: list[Job]
    alone: list[Job]
    room: Room

    @classmethod
    def of(cls, jobs: Iterable[Job], room: Room) -> Lanes:
        """By what they need: beside others where that is within the share of each."""
        ordered = sorted(jobs, key=lambda job: (-job.size, job.name))
        alone = [replace(job, memory=max(room.whole, job.memory)) for job in ordered if need(job) > room.share]
        return cls([job for job in ordered if need(job) <= room.share], alone, room)


def planned(
    models: Sequence[str | os.PathLike[str]],
    plan: FleetPlan | str | os.PathLike[str] | None,
    options: Keywords,
    settings: Capacity,
) -> Lanes:
    """Every model with its options, in its lane.

    :raises ToolError: for a plan that cannot be carried out.
    """
    held = plan if isinstance(plan, FleetPlan) else FleetPlan.read(os.fspath(plan)) if plan else FleetPlan()
    if options:
        understood(options, "options")
        held = replace(held, rules=(*held.rules, Override(options=options)))
    held = replace(held, models=(*held.models, *(os.fspath(model) for model in models)))
    room = settings.room()
    return Lanes.of(held.jobs(page=settings.page, seconds=settings.timeout, memory=room.share), room)


@dataclass
class _Run:
    lanes: Lanes
    output: str
    view: View
    settings: Capacity

    def run(self) -> Fleet:
        """Both lanes, then the page."""
        fleet, store = Fleet(self.output), Results(self.output)
        self._writable(store)
        packed, alone = self.lanes.packed, self.lanes.alone
        self.view.begin(len(packed) + len(alone))
        begin = time.time()
        try:
            suspects: list[Job] = []
            self._group(fleet, packed, suspects)
            self._group(fleet, [*alone, *suspects], None)
        finally:
            if store.local is not None:
                _tidy(store.local / WORK)
            self.view.end()
        write(store, summary(fleet.records, fleet.lost, begin))
        return fleet

    def _writable(self, store: Results) -> None:
        try:
            store.write("fleet.running", f"{time.time()}\n")
            store.fs.rm_file(store.path("fleet.running"))
        except OSError as error:
            raise ToolError(f"{self.output}: cannot be written: {error.strerror or error}", self.output) from error

    def _group(self, fleet: Fleet, jobs: Sequence[Job], suspects: list[Job] | None) -> None:
        """Until every one of these has an outcome or is among the ``suspects``, through the loss of schedulers; without
        that list one at a time on each machine."""
        waiting, lost_since = {job.name: job for job in jobs}, 0.0
        while waiting:
            known = len(waiting)
            try:
                with connected(self.settings) as client:
                    anywhere: list[Machines] = [None]
                    slots = anywhere * AHEAD if suspects is not None else [[h] for h in hosts(client)] or anywhere
                    self._pass(client, fleet, waiting, slots, suspects)
            except RuntimeError as error:
                remedy = "a script that calls convert_many does so below  if __name__ == '__main__':"
                raise ToolError(f"the workers cannot be started ({error}): {remedy}") from error
            except (OSError, asyncio.TimeoutError, asyncio.CancelledError) as error:
                if not self.settings.scheduler:
                    raise ToolError(f"the cluster cannot be started: {error}") from error
            if len(waiting) < known or not lost_since:
                lost_since = time.monotonic()
            elif time.monotonic() - lost_since > PATIENCE:
                fleet.lost |= dict.fromkeys(waiting, f"no scheduler at {self.settings.scheduler} for {PATIENCE} s")
                return
            if waiting:
                self.view.say(f"the scheduler has gone: {len(waiting)} models are asked for again")
                time.sleep(1)

    def _pass(
        self,
        client: Client,
        fleet: Fleet,
        waiting: dict[str, Job],
        slots: Sequence[Machines],
        suspects: list[Job] | None,
    ) -> None:
        """Hand out what is waiting, one for each slot at a time, and take what comes back, as long as there is a
        scheduler."""
        from distributed import as_completed

        client.subscribe_topic(TOPIC, lambda event: self.view.stage(event[1]["name"], event[1]["stage"]))
        order = iter(list(waiting.values()))
        futures = {self._submit(client, job, slot): (job, slot) for slot, job in zip(slots, order, strict=False)}
        stream = as_completed(list(futures), loop=client.loop)
        for future in stream:
            job, slot = futures.pop(future)
            outcome = _outcome(future)
            if outcome is None:  # the scheduler forgot it, or is gone: the next pass
                return
            del waiting[job.name]
            if outcome == KILLED and suspects is not None:
                suspects.append(job)
                self.view.say(f"{job.name}: its worker died; it is tried once more, alone")
            else:
                self._note(fleet, job.name, outcome)
            if (more := next(order, None)) is not None:
                futures[new := self._submit(client, more, slot)] = more, slot
                stream.add(new)

    def _note(self, fleet: Fleet, name: str, outcome: Record | str) -> None:
        if isinstance(outcome, str):
            fleet.lost[name] = outcome
            outcome = {"name": name, "status": "died", "why": [outcome]}
        else:
            fleet.records[name] = outcome
        self.view.done(outcome)

    def _submit(self, client: Client, job: Job, slot: Machines) -> Future[Record]:
        # One group of keys, so that the scheduler keeps what no worker is free for; no key twice, so that another run
        # of the same scheduler asks for itself.  Another machine is better than none where its own has gone.
        key = "convert", job.name, time.monotonic_ns()
        given = {"workers": slot, "allow_other_workers": True} if slot else {}
        return client.submit(work.run, job, self.output, pure=False, key=key, **given)


def _outcome(future: Future[Record]) -> Record | str | None:
    """The record; why there is none; None where the scheduler does not know it any more."""
    from distributed import KilledWorker

    if future.status == "finished":
        return dict(future.result())
    error = future.exception() if future.status == "error" else None
    if error is None:
        return None
    if isinstance(error, KilledWorker):
        return KILLED
    return f"{type(error).__name__}: {error}"


def _tidy(folder: Path) -> None:
    """The folder of the workshops, once nobody is in it."""
    sweep(folder, 0)  # of workers that were killed
    with suppress(OSError):  # another run is in it, or it was never made
        folder.rmdir()
