"""Reading and writing models: pipes, external data, the limit of 2 GB, nothing half-written.

Tensors in side files are never loaded for an edit that does not touch them.  In memory their reference carries the
folder it is relative to, under onnx's own key ``basepath``; in files this key is never written nor believed.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..errors import ToolError
from .lazy import onnx
from .light import light
from .tensors import fetch, inline, is_external, nbytes, refer, reference
from .walk import tensors

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

    from .tensors import Bytes

#: A model whose tensors take more than this gets a side file: protobuf ends at 2 GiB, and the graph needs room too.
LIMIT = 2**31 - 2**24
#: Offsets of tensors in side files are multiples of this, so that they can be mapped into memory.
ALIGN = 4096
#: The specification lets tensors in a side file be this far apart.
PADDING = 64 * 1024
#: Where the names of open files are (/dev/stdout), which may be links to ordinary ones.
OPEN_FILES = ("/dev", "/dev/fd", "/proc/self/fd")
_ZEROS = bytes(1 << 20)


def write_model(
    model: ModelProto,
    path: str | os.PathLike[str],
    *,
    external_data: bool | None = None,
    size_threshold: int = 1024,
    note: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """Write a model, on standard output for "-"; returns the files written (the model first).

    ``external_data`` True: initializers of at least ``size_threshold`` bytes go to ``<name>.data`` beside the model,
    False: all into one file, None: side files if the model has some or would be too large without.  Tensors that are
    in side files of the same folder stay there: such a file is shared, and never changed.
    """
    inside = sum(nbytes(t) for t in tensors(model) if not is_external(t))
    outside = sum(nbytes(t) for t in tensors(model) if is_external(t))
    if external_data is False or str(path) == "-":
        return _save_single(model, path, inside + outside, external_data)
    if external_data is None and not outside and inside <= LIMIT:
        return [_write(Path(path), lambda file: file.write(model.SerializeToString(deterministic=True)))]
    if external_data is None and inside > LIMIT:
        note(f"the model has {inside / 2**30:.1f} GiB, more than one file can hold: its weights go to a side file")
    return _save_split(model, Path(path), size_threshold, note)


def _save_single(model: ModelProto, path: str | os.PathLike[str], size: int, external: bool | None) -> list[Path]:
    copy, pairs = light(model, lambda t: False)
    here = Path.cwd().resolve()
    stay = str(path) == "-" and external is not False and size > LIMIT
    for own, _ in pairs:
        said = reference(own)
        if stay and Path(said.get("basepath", "/")).is_relative_to(here):  # the next command runs in this folder too
            refer(own, str((Path(said["basepath"]) / said["location"]).relative_to(here)), said)
        elif size > LIMIT:
            where = "standard output" if str(path) == "-" else str(path)
            raise ToolError(f"{where}: {size / 2**30:.1f} GiB do not fit into one file (protobuf ends at 2 GiB)", where)
        else:
            inline(own)
    if size > LIMIT and not (stay and pairs):
        raise ToolError(f"{path}: {size / 2**30:.1f} GiB do not fit into one file (protobuf ends at 2 GiB)", str(path))
    data = copy.SerializeToString(deterministic=True)
    if str(path) != "-":
        return [_write(Path(path), lambda file: file.write(data))]
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise ToolError(f"standard output: cannot be written: {error.strerror}", "-") from error
    return []


def _save_split(model: ModelProto, path: Path, threshold: int, note: Callable[[str], object]) -> list[Path]:
    copy, pairs = light(model, lambda t: _splits(t, threshold))
    folder, written = path.parent.resolve(), []
    moved: list[tuple[TensorProto, TensorProto]] = []
    sources = {_source(t) for _, t in pairs if is_external(t)}
    whole = _whole_files([t for _, t in pairs if is_external(t)])
    stay = {s for s in sources if s.parent.is_relative_to(folder)}
    for source in sorted(whole - stay):
        target = folder / whole_location(source, pairs)
        if not target.exists():
            _write(target, lambda file, source=source: _copy(source, file))  # type: ignore[misc]
            written.append(target)
            stay.add(source)
        elif _same_file(source, target):
            stay.add(source)
    for own, tensor in pairs:
        if is_external(tensor) and _source(tensor) in stay:
            said = reference(tensor)
            inside = Path(said["basepath"], said["location"])
            near = inside.is_relative_to(folder)
            refer(own, str(inside.relative_to(folder)) if near else said["location"], said)
        else:
            moved.append((own, tensor))
    if moved:
        side = _side_name(path, sources)
        written.append(_write(side, lambda file: _pack(file, moved, side.name)))
    elif stay:
        names = ", ".join(sorted(s.name for s in stay))
        note(f"the weights are in {names}, which other models may share")
    return [_write(path, lambda file: file.write(copy.SerializeToString(deterministic=True))), *written]


def _splits(tensor: TensorProto, threshold: int) -> bool:
    return tensor.data_type != onnx.TensorProto.STRING and nbytes(tensor) >= threshold


def _source(tensor: TensorProto) -> Path:
    said = reference(tensor)
    if "basepath" not in said:
        what = f"tensor {tensor.name!r} is in the side file {said.get('location')!r}: give the path of the model"
        raise ToolError(f"{what}, or load it with onnx2tf_lite.tools.load", tensor.name)
    return Path(said["basepath"], said.get("location", ""))


def _whole_files(found: list[TensorProto]) -> set[Path]:
    """The side files of which everything but padding is still in use."""
    used: dict[Path, set[tuple[int, int]]] = {}
    for tensor in found:
        fetch(tensor)  # raises for what is missing or unsafe
        said = reference(tensor)
        used.setdefault(_source(tensor), set()).add((int(said.get("offset", 0)), nbytes(tensor)))
    return {
        source
        for source, ranges in used.items()
        if source.stat().st_size - sum(n for _, n in ranges) <= sum(PADDING for _ in ranges)
        and max(start + n for start, n in ranges) == source.stat().st_size
    }


def whole_location(source: Path, pairs: list[tuple[TensorProto, TensorProto]]) -> str:
    """The location under which tensors refer to a side file."""
    return next(reference(t)["location"] for _, t in pairs if is_external(t) and _source(t) == source)


def _same_file(a: Path, b: Path) -> bool:
    import filecmp

    return os.path.samefile(a, b) or (a.stat().st_size == b.stat().st_size and filecmp.cmp(a, b, shallow=False))


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as data:
        while block := data.read(1 << 20):
            _put(file, block)
    file.truncate()


def _put(file: BinaryIO, data: Bytes) -> None:
    """Write; blocks of zeros become holes in the file."""
    for start in range(0, len(data), 1 << 20):
        block = data[start : start + (1 << 20)]
        if block == _ZEROS[: len(block)]:
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)


def _side_name(path: Path, sources: set[Path]) -> Path:
    """``<name>.data``, or with a number if the model in memory still reads a file of that name."""
    taken, k = {s.resolve() for s in sources}, 1
    side = path.parent.resolve() / f"{path.name}.data"
    while side in taken:
        k += 1
        side = path.parent.resolve() / f"{path.name}.{k}.data"
    return side


def _pack(file: BinaryIO, moved: list[tuple[TensorProto, TensorProto]], location: str) -> None:
    for own, tensor in moved:
        data = fetch(tensor)
        file.seek(-file.tell() % (ALIGN if len(data) >= ALIGN else 16), os.SEEK_CUR)
        refer(own, location, {"offset": str(file.tell()), "length": str(len(data))})
        _put(file, data)
    file.truncate()


def copy_unchanged(model: ModelProto, source: Path, target: Path) -> list[Path]:
    """Copy a model that was not edited, byte for byte, with its side files (which keep their names).  Returns nothing
    where another file is in the way of a side file."""
    outside = [t for t in tensors(model) if is_external(t)]
    folder, written = target.parent.resolve(), []
    if source.parent.resolve() != folder:
        for side in sorted({_source(t) for t in outside}):
            fetch(next(t for t in outside if _source(t) == side))
            copy = folder / side.relative_to(source.parent.resolve())
            if copy.exists() and not _same_file(side, copy):
                return []
            if not copy.exists():
                written.append(_write(copy, lambda file, side=side: _copy(side, file)))  # type: ignore[misc]
    if not target.exists() or not os.path.samefile(source, target):
        _write(target, lambda file: _copy(source, file))
    return [target, *written]


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Write under a temporary name, then rename: whoever looks sees the old file or the whole new one."""
    with atomic(path) as file:
        fill(file)
    return path


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that gets its name when it is complete; a ToolError where it cannot be written.

    What is no file (/dev/null, /dev/stdout, a named pipe) is written into, and not replaced.
    """
    target, temporary = Path(path), ""
    try:
        if target.exists() and (not target.is_file() or str(target.absolute().parent) in OPEN_FILES):
            with tempfile.TemporaryFile() as file:
                yield file
                file.seek(0)
                with open(path, "wb") as device:
                    shutil.copyfileobj(file, device)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        raise ToolError(f"{path}: cannot be written: {error.strerror or error}", str(path)) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """A text file that gets its name when it is complete, or standard output for "-"; a ToolError where it cannot."""
    if str(path) == "-":
        print(text)
        return
    with atomic(path) as file:
        file.write(text.encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
