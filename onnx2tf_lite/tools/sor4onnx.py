r"""Rename tensors, nodes, inputs, outputs or dimensions, in the whole model: bodies and functions too.

The whole map is made first and must not give two things one name; it is applied once and printed.

examples:
  sor4onnx -if model.onnx -of o.onnx -on "onnx::" "" -sm partial_match
  sor4onnx -if model.onnx -of o.onnx -on input images -on output scores
  sor4onnx -if model.onnx -of o.onnx -on '^/model\.(\d+)/' 'layer\1/' -sm regex
  sor4onnx -if model.onnx -of o.onnx -on batch_size N --kind dim
  sor4onnx -if model.onnx -of o.onnx --map names.json              {"old": "new", ...}
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..commands import command, flag, option, repeated
from ..errors import ToolError, unknown
from ..model import names
from ..model.lazy import onnx
from ..model.names import fresh
from ..model.walk import Scope, defined, inputs, outputs, rename_tensors, scopes
from ._edit import Edit, edit
from ._options import COMMON, INPUT, OUTPUT
from .ssi4onnx import named_dims

MODES = {"full": ("node", "tensor"), "inputs": ("input",), "outputs": ("output",)}
RENAMED = ("node", "tensor", "input", "output", "dim")
#: search mode -> (old, new, name) -> the new name, or the name itself where it does not match
SEARCH: dict[str, Callable[[str, str, str], str]] = {
    "exact_match": lambda old, new, name: new if name == old else name,
    "partial_match": lambda old, new, name: name.replace(old, new) if old else name,
    "prefix_match": lambda old, new, name: new + name[len(old) :] if name.startswith(old) else name,
    "suffix_match": lambda old, new, name: name[: len(name) - len(old)] + new if name.endswith(old) else name,
    "regex": lambda old, new, name: re.sub(old, new, name),
}


@edit("old_new MODEL GRAPH OUTPUT * QUIET")
def rename(
    job: Edit,
    old_new: Sequence[Any] = (),
    mode: str = "full",
    search_mode: str = "exact_match",
    *,
    kind: Sequence[str] = (),
    map_file: str = "",
    metadata: bool = False,
) -> onnx.ModelProto:
    """Rename by pairs, and those in a file; ``kind``, or else ``mode``, says what.  Returns the new model."""
    pairs = _pairs(old_new) + (_read(map_file) if map_file else [])
    if not pairs or mode not in MODES or search_mode not in SEARCH or set(kind) - set(RENAMED):
        raise ToolError(f"nothing to do: pairs {pairs}, mode {mode!r}, search mode {search_mode!r}, kind {kind!r}")
    kinds = tuple(kind) or MODES[mode]
    matched, change = set[tuple[str, str]](), SEARCH[search_mode]

    def new_name(name: str) -> str:
        for old, new in pairs:
            try:
                changed = change(old, new, name)
            except (re.error, IndexError) as error:
                raise ToolError(f"-on: {old!r} is not a regular expression: {error}", old) from error
            if changed != name or (name == old == new):
                matched.add((old, new))
                name = changed
                if search_mode == "exact_match":
                    break
        return name

    renamed = _apply(job.model, kinds, new_name, job.log.info)
    for old, new in pairs:
        if (old, new) not in matched:
            error = unknown("-on", " or ".join(kinds), old, _names(job.model, kinds))
            if not job.missing_ok:
                raise error
            job.log.warning(f"{error} (left out)")
    if renamed and "node" in kinds and not kind:
        _name_the_nameless(job.model)
    for prop in job.model.metadata_props if metadata else ():
        if prop.value in renamed:
            job.log.info(f"metadata {prop.key}: {prop.value} -> {renamed[prop.value]}")
            prop.value = renamed[prop.value]
    ins = dict(zip(inputs(job.before.graph), inputs(job.model.graph), strict=True))
    outs = dict(zip(outputs(job.before.graph), outputs(job.model.graph), strict=True))
    job.same_outputs(
        lambda feeds: {ins[n]: a for n, a in feeds.items()}, lambda got: {outs[n]: a for n, a in got.items()}
    )
    return job.model


def _pairs(said: Sequence[Any]) -> list[tuple[str, str]]:
    items = list(said.items()) if isinstance(said, dict) else list(said)
    if items and isinstance(items[0], str):
        items = [items[i : i + 2] for i in range(0, len(items), 2)]
    if any(len(pair) != 2 for pair in items):
        raise ToolError(f"-on: {said!r} are not pairs of an old and a new name")
    return [(str(old), str(new)) for old, new in items]


def _read(path: str) -> list[tuple[str, str]]:
    try:
        return _pairs(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        raise ToolError(f"--map: {path}: not a JSON object of names: {error}", path) from error


def _names(model: onnx.ModelProto, kinds: Iterable[str]) -> list[str]:
    known = {"input": "graph input", "output": "graph output"}
    listed = [named_dims(model) if k == "dim" else [n for _, n in names.known(model, known.get(k, k))] for k in kinds]
    return [name for some in listed for name in some]


def _apply(
    model: onnx.ModelProto, kinds: Collection[str], new: Callable[[str], str], say: Callable[[str], None]
) -> dict[str, str]:
    """Rename everything of the kinds; what was renamed, old -> new."""
    everywhere, renamed = scopes(model), dict[str, str]()
    for name, places in named_dims(model).items() if "dim" in kinds else ():
        renamed[name] = _valid(name, new)
        for dim in places:
            dim.dim_param = renamed[name]
    maps = {s.path: {n: _valid(n, new) for n in _tensors(s, kinds)} for s in everywhere}
    _injective(everywhere, maps)
    rename_tensors(everywhere, maps)
    for scope in everywhere if "node" in kinds else ():
        named = [n for n in scope.graph.node if n.name]
        before = Counter(n.name for n in named)
        for node in named:
            renamed[node.name] = node.name = _valid(node.name, new)
        after = Counter(n.name for n in named)
        if max(after.values(), default=0) > max(before.values(), default=0):
            twice = after.most_common(1)[0][0]
            raise ToolError(f"-on: several nodes would be called {twice!r}", twice)
    for found in maps.values():
        renamed |= found
    renamed = {old: name for old, name in renamed.items() if old != name}
    for old, name in renamed.items():
        say(f"{old} -> {name}")
    return renamed


def _tensors(scope: Scope, kinds: Collection[str]) -> list[str]:
    """The tensors of a graph that are of the kinds."""
    if "tensor" in kinds:
        return defined(scope.graph)
    if scope.path:
        return []
    return [*(inputs(scope.graph) if "input" in kinds else ()), *(outputs(scope.graph) if "output" in kinds else ())]


def _valid(name: str, new: Callable[[str], str]) -> str:
    made = new(name)
    if not made:
        raise ToolError(f"-on: {name!r} would have no name left", name)
    return made


def _injective(everywhere: list[Scope], maps: dict[str, dict[str, str]]) -> None:
    """No two tensors that see each other may come to have one name; those in a body that have one of the outside stay
    as far apart from it as they are."""
    for scope in everywhere:
        owner: dict[str, tuple[str, str]] = {}
        level: Scope | None = scope
        while level is not None:
            for old in defined(level.graph):
                name = maps[level.path].get(old, old)
                first = owner.setdefault(name, (level.path, old))
                changed = name != old or maps[first[0]].get(first[1], first[1]) != first[1]
                if first[1] != old and changed:
                    raise ToolError(f"-on: {first[1]!r} and {old!r} would both be called {name!r}", name)
            level = level.outer


def _name_the_nameless(model: onnx.ModelProto) -> None:
    taken = {n.name for s in scopes(model) for n in s.graph.node}
    for count, node in enumerate(n for s in scopes(model) for n in s.graph.node if not n.name):
        node.name = fresh(f"sor_{node.op_type}_{count}", taken)


main = command(
    rename,
    INPUT,
    OUTPUT,
    repeated("-on --old_new OLD NEW", "the old text and the new one, which may be empty", form="[['old', 'new'], ...]"),
    option("--map FILE", "a JSON file of old and new names", dest="map_file"),
    option("-m --mode", "full: nodes and tensors; inputs, outputs: those of the model", choices=[*MODES]),
    option("--kind", "rename only these", choices=RENAMED, nargs="+"),
    option("-sm --search_mode", "how the old text is looked for", choices=[*SEARCH]),
    flag("--metadata", "values of the model's metadata that are such a name, too"),
    *COMMON,
)
