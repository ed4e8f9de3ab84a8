"""One model on a worker: fetched, converted in a warm process, its results published with their record."""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from ..child import Limits
from ..delivery import workshop
from ..record import record
from . import made
from .process import ProcessLostError, Warm
from .storage import RECORD, Record, Results, local_copy, side_files

PACKAGES = ("onnx2tf_lite", "onnx", "onnxruntime", "onnxsim", "ai-edge-litert", "numpy", "tensorflow", "tf-keras")
#: Outcomes that lie in the model and its options: they would be the same again.
SETTLED = frozenset(["right", "differs", "unchecked", "refused"])
TOPIC = "onnx2tf-fleet"
QUIET = 0.3  # seconds between two messages about one model
#: As they are given to ``convert``.
Keywords = Mapping[str, Any]
HERE = threading.local()  # the warm process of every thread of a worker


@record
class Job:
    """``name`` of its results, ``url`` and ``size`` in bytes of the model, ``options`` as keywords of ``convert``, the
    ``recipe`` that edits it before (a file), ``page``: which models get one, its ``seconds`` and ``memory`` (bytes)."""

    name: str
    url: str
    size: int
    options: Keywords = field(default_factory=dict)
    recipe: str = ""
    page: str = "wrong"
    seconds: int = 600
    memory: int = 4 << 30


def run(job: Job, output: str) -> Record:
    """The record of the model: ``again`` where it was there already, made of the same things.

    :raises OSError: the results cannot be stored.
    """
    begin = time.perf_counter()
    store = Results(output)
    with workshop(store.workshop()) as room:
        model = local_copy(job.url, room)
        found = identity(job, model)
        held = store.record(job.name)
        if held and held["key"] == found and held["status"] in SETTLED:
            return held | {"again": True}
        folder = room / "results"
        record = {"name": job.name, "model": job.url, "size": job.size, "key": found, "began": time.time()}
        record |= _convert(job, model, folder)
        if record["status"] == "died":  # what it has left is not to be trusted
            folder = room / "nothing"
        record["files"] = {f.name: f.stat().st_size for f in sorted(folder.glob("*")) if f.is_file()}
        record["whole_seconds"] = round(time.perf_counter() - begin, 3)
        store.publish(folder, job.name, record)
    return record


def _convert(job: Job, model: Path, folder: Path) -> Record:
    """In a fork of this thread's warm process, which is made anew where it was killed."""
    if getattr(HERE, "warm", None) is None:
        HERE.warm = Warm()
    work = partial(made.make, model, folder, job.options, job.recipe, job.page)
    try:
        return dict(HERE.warm.run(work, Limits(job.seconds, job.memory), _teller(job.name)))
    except ProcessLostError as error:
        if HERE.warm.process.poll() is not None:
            HERE.warm = None
        return {"status": "died", "why": [str(error)], "stage": error.stage}


def _teller(name: str) -> Callable[[str], None]:
    """Passes the stages of a model on to who watches, not faster than anybody reads."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # in a process of its own
        return lambda stage: None
    last = time.monotonic()  # of a model that takes no longer nobody reads it

    def tell(stage: str) -> None:
        nonlocal last
        if time.monotonic() - last > QUIET:
            last = time.monotonic()
            worker.log_event(TOPIC, {"name": name, "stage": stage})

    return tell


def identity(job: Job, model: Path) -> str:
    """A key of everything that the results are made of: the bytes of the model and of its side files, the options (and
    the contents of files that they name), the recipe, the versions of the packages.  Not the name, nor the limits."""
    digest = hashlib.sha256()
    for path in [model, *(model.parent / side for side in side_files(model)), *_named(job)]:
        digest.update(_content(path))
    rest = asdict(job)
    for name in ("name", "url", "size", "seconds", "memory", "recipe"):
        rest.pop(name)
    digest.update(json.dumps([rest, versions()], sort_keys=True, default=_contents).encode())
    return digest.hexdigest()


def _contents(value: object) -> str:
    """A digest of what JSON has no form for: of an array all of it, where its repr leaves out the middle."""
    return hashlib.sha256(pickle.dumps(value)).hexdigest()


def _named(job: Job) -> Iterable[Path]:
    """The files and folders that the options and the recipe name."""
    texts = [job.recipe] if job.recipe else []
    values = list(job.options.values())
    while values:
        value = values.pop()
        if isinstance(value, str | Path):
            texts.append(str(value))
        elif isinstance(value, list | tuple):
            values += value
        elif isinstance(value, Mapping):
            values += value.values()
    return [path for text in texts if len(text) < 4096 and (path := Path(text)).exists()]


def _content(path: Path) -> bytes:
    """A digest of a file, or of all files of a folder with their names."""
    if path.is_dir():
        parts = [f"{p.relative_to(path)}".encode() + _content(p) for p in sorted(path.rglob("*")) if p.is_file()]
        return hashlib.sha256(b"".join(parts)).digest()
    if not path.is_file():  # a side file that is missing, or would never end: the conversion says so
        return b""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest() if hasattr(hashlib, "file_digest") else _sha256(file)


def _sha256(file: BinaryIO) -> bytes:
    """Of an open file, for Python 3.10."""
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.digest()


@cache
def versions() -> dict[str, str]:
    """Of the packages that results depend on, as this process has them: reading them again costs 8 ms a model."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


__all__ = ["RECORD", "SETTLED", "TOPIC", "Job", "identity", "run", "versions"]
