"""Where models are found and results are put: a folder of this machine, or what fsspec reaches (s3://, gs://, ...).

Several workers write at once, and any of them may be killed: a file is written aside and moved, or put as one object,
and the record of a model comes last.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..delivery import deliver
from ..errors import ToolError
from ..record import record

RECORD = "fleet.json"
#: Plain values, as JSON has them: of a model (``name``, ``status``, ``why``, ``files``, figures) or of a run.
Record = dict[str, Any]
#: Where workers make what is moved into place.
WORK = ".work"


@record
class ModelFile:
    """A model: the name that its results get, where it is, its bytes with those of files beside it that are called
    after it (``net.onnx.data``, ``net.bin``): its side files, as exporters call them."""

    name: str
    url: str
    size: int


def find(patterns: Iterable[str]) -> list[ModelFile]:
    """Every model that a pattern means: a file, a folder (all .onnx below it), or a glob.

    Called by its path below the folder or below the part of the glob that is fixed, without its suffix.

    :raises ToolError: a pattern means nothing, or two models would be called alike.
    """
    found: dict[str, ModelFile] = {}
    for pattern in patterns:
        here = list(_matches(str(pattern)))
        if not here:
            raise ToolError(f"{pattern}: there is no model", str(pattern))
        for model in here:
            other = found.setdefault(model.name, model)
            if other.url != model.url:
                raise ToolError(f"{other.url} and {model.url} would both be called {model.name!r}", model.name)
    return sorted(found.values(), key=lambda model: model.name)


def _matches(pattern: str) -> Iterator[ModelFile]:
    fs, path = fsspec.core.url_to_fs(pattern)
    if fs.isdir(path):
        base, entries = path, fs.find(path, detail=True)
        entries = {name: info for name, info in entries.items() if name.endswith(".onnx")}
    elif set("*?[") & set(path):
        fixed = [part for part in path.split("/") if not set("*?[") & set(part)]
        base, entries = (
            path[: path.find(next(p for p in path.split("/") if p not in fixed))],
            fs.glob(path, detail=True),
        )
    else:
        base, entries = path.rpartition("/")[0], {path: fs.info(path)} if fs.exists(path) else {}
    beside: dict[str, Counter[str]] = {}
    for name, info in entries.items():
        if info["type"] == "file":
            folder = name.rpartition("/")[0]
            if folder not in beside:
                beside[folder] = _side_sizes(fs, folder)
            relative = PurePosixPath(name[len(base) :].lstrip("/"))
            size = int(info["size"]) + beside[folder][relative.stem]
            yield ModelFile(str(relative.with_suffix("")), fs.unstrip_protocol(name), size)


def _side_sizes(fs: fsspec.AbstractFileSystem, folder: str) -> Counter[str]:
    """Bytes of what is called after each model of a folder, by the model's name without its suffix."""
    sizes = Counter[str]()
    for info in fs.ls(folder, detail=True):
        name = PurePosixPath(info["name"]).name
        if info["type"] == "file" and not name.endswith(".onnx"):
            sizes[name.partition(".onnx")[0] if ".onnx" in name else PurePosixPath(name).stem] += int(info["size"])
    return sizes


class Results:
    """The output folder; a model has the folder of its name in it."""

    def __init__(self, url: str):
        self.url = url
        self.fs, self.root = fsspec.core.url_to_fs(url)

    @property
    def local(self) -> Path | None:
        """The folder itself, where it is one of this machine."""
        return Path(self.root) if isinstance(self.fs, LocalFileSystem) else None

    def workshop(self) -> Path | None:
        """Beside what results may be made, so that they are moved and not copied; None: anywhere."""
        if self.local is None:
            return None
        (self.local / WORK).mkdir(parents=True, exist_ok=True)
        return self.local / WORK / "model"

    def path(self, *parts: str) -> str:
        """Of a file in the folder, as its file system calls it."""
        return "/".join([self.root.rstrip("/"), *parts])

    def record(self, name: str) -> Record | None:
        """What is known of a model's results, where all of its files are still there as they were."""
        try:
            record = json.loads(self.fs.cat_file(self.path(name, RECORD)))
            there = {Path(p).name for p in self.fs.ls(self.path(name), detail=False)}
            sizes = {f: int(self.fs.info(self.path(name, f))["size"]) for f in record["files"] if f in there}
            return dict(record) if sizes == record["files"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or cut off: it is made again

    def publish(self, made: Path, name: str, record: Record) -> None:
        """Put the results (none, if ``made`` is not there) and their record into the folder of the model."""
        made.mkdir(exist_ok=True)
        text = json.dumps(record, indent=1) + "\n"
        if self.local is not None:
            folder = self.local / name
            if (folder / RECORD).exists():  # it would speak of files that are being replaced
                (folder / RECORD).unlink()
            deliver(made, folder, ())
            (made / RECORD).write_text(text, encoding="utf-8")
            os.replace(made / RECORD, folder / RECORD)
            return
        if self.fs.exists(self.path(name, RECORD)):
            self.fs.rm_file(self.path(name, RECORD))
        files = [p for p in sorted(made.rglob("*")) if p.is_file()]
        for file in files:
            self.fs.put_file(str(file), self.path(name, file.relative_to(made).as_posix()))
        self.fs.pipe_file(self.path(name, RECORD), text.encode())

    def read(self, name: str) -> str:
        """A text of the folder; empty where it is not there."""
        try:
            return bytes(self.fs.cat_file(self.path(name))).decode()
        except OSError:
            return ""

    def write(self, name: str, text: str) -> None:
        """A text into the folder, whole or not at all."""
        if self.local is not None:
            self.local.mkdir(parents=True, exist_ok=True)
            aside = self.local / f".{name}.new"
            aside.write_text(text, encoding="utf-8")
            os.replace(aside, self.local / name)
        else:
            self.fs.pipe_file(self.path(name), text.encode())


def local_copy(url: str, folder: Path) -> Path:
    """The model on this machine, with its side files; itself where it is here already."""
    fs, path = fsspec.core.url_to_fs(url)
    if isinstance(fs, LocalFileSystem):
        return Path(path)
    model = folder / PurePosixPath(path).name
    fs.get_file(path, str(model))
    for side in side_files(model):
        (folder / side).parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(f"{path.rpartition('/')[0]}/{side}", str(folder / side))
    return model


def side_files(model: Path) -> list[str]:
    """The files, beside a model, in which tensors of it lie.  What is no model has none."""
    import onnx
    from google.protobuf.message import DecodeError

    from ..model.tensors import is_external, reference
    from ..model.walk import tensors

    try:
        proto = onnx.load(model, load_external_data=False)
    except (DecodeError, OSError):
        return []
    places = {reference(tensor)["location"] for tensor in tensors(proto) if is_external(tensor)}
    return sorted(p for p in places if not PurePosixPath(p).is_absolute() and ".." not in PurePosixPath(p).parts)
