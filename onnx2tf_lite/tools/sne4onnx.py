"""Extract the part of a model between tensors, or split a model into a chain of parts.

The cut is exact: the part has just the inputs and outputs asked for, in this order.  An input that is needed beside
them is an error that names it (or is added, with --auto-inputs).  `node:NAME` means all results of a node.  The part is
compared with the whole model in ONNX Runtime.

With --split-at (one cut for each word; a,b is a cut through two tensors) or --max-bytes (weights per part) the output
names a chain: part_1.onnx, part_2.onnx, ... and part.json, which says how they belong together.  Weights in side files
are copied without being loaded.

examples:
  sne4onnx -if model.onnx -ion relu_out -oon add_out -of part.onnx
  sne4onnx -if model.onnx -ion relu_out -oon node:head --auto-inputs -of part.onnx
  sne4onnx -if model.onnx --split-at relu_out add_out -of part.onnx
  sne4onnx -if model.onnx --max-bytes 1GB -of part.onnx
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..commands import command, flag, option, parameter
from ..commands.words import size
from ..errors import ToolError, unknown
from ..model.infer import problem
from ..model.lazy import np, onnx
from ..model.light import light
from ..model.tensors import is_external, nbytes
from ..model.types import dims, type_text
from ..model.walk import defined, drop_stale, initializers, inputs, outputs, reads, remove, sort, title
from ..model.write import atomic, write_model
from ._edit import Edit, copied, edit
from ._options import COMMON, INPUT, output
from ._verify import NotRunError, Results, compare_runs, run, sample


@edit("input_op_names output_op_names MODEL GRAPH OUTPUT * QUIET")
def extraction(
    job: Edit,
    input_op_names: Sequence[str],
    output_op_names: Sequence[str],
    has_external_data: bool = False,
    *,
    auto_inputs: bool = False,
) -> onnx.ModelProto:
    """Extract what computes the outputs from the inputs; returns the part."""
    starts, ends = (_tensors(job, n, f) for n, f in ((input_op_names, "-ion"), (output_op_names, "-oon")))
    if not ends:
        raise ToolError("-oon: no output is left")
    wanted, missing, idle = _need(job.model.graph, starts, ends)
    if missing and not auto_inputs:
        raise ToolError(f"-ion: needed too: {', '.join(missing)} (--auto-inputs adds them)", missing[0], missing)
    for name in idle:
        job.log.warning(f"-ion: {name!r} does not lead to any of the outputs")
    known = job.types_of([*starts, *ends], "-ion")
    before = list(outputs(job.model.graph))
    _cut(job.model, wanted, [*starts, *missing], ends, known)
    for label, names in (("input", [*starts, *missing]), ("output", ends)):
        for name in names:
            job.log.info(f"{label} {name}: {type_text(known.get(name))}{_bytes(known.get(name))}")
    weights = sum(map(nbytes, job.model.graph.initializer))
    job.log.info(f"{len(job.model.graph.node)} node(s), {weights} bytes of weights")
    exposed = list(dict.fromkeys([*ends, *(n for n in starts if n not in inputs(job.before.graph))]))
    if exposed != before or starts != inputs(job.before.graph):
        entries = inputs(job.model.graph)
        job.same_outputs(lambda arrays: {n: arrays[n] for n in entries}, lambda got: {n: got[n] for n in ends}, exposed)
    return job.model


@edit("MODEL GRAPH OUTPUT QUIET")
def split(job: Edit, *, split_at: Sequence[str] = (), max_bytes: int = 0) -> list[onnx.ModelProto]:
    """Split at cuts ("a" or "a,b") or into parts of at most ``max_bytes`` of weights; returns the parts, in order.

    Writes ``<stem>_1.onnx`` and so on, and ``<stem>.json``: file, inputs, outputs and bytes of each part.
    """
    target, job.output = job.output, ""  # there is no one result
    if target == "-":
        raise ToolError("-of: several parts cannot go to standard output", "-")
    whole = copied(job.model)
    sort(whole.graph)
    cuts = [_tensors(job, c.split(","), "--split-at") for c in split_at]
    groups = _by_cuts(whole.graph, cuts) if cuts else _by_size(whole.graph, max_bytes)
    ports = _ports(whole.graph, groups)
    known = job.types_of(dict.fromkeys(n for starts, ends in ports for n in (*starts, *ends)), "--split-at")
    parts = [_copy_of(whole, group) for group in groups]
    for part, (starts, ends) in zip(parts, ports, strict=True):
        _cut(part, set(range(len(part.graph.node))), starts, ends, known)
    if job.checks:
        _verify_chain(job, whole, parts)
    if target and not job.dry_run:
        _write_chain(job, Path(target), parts)
    return parts


def extract_or_split(split_at: Sequence[str] = (), max_bytes: int = 0, **values: Any) -> object:
    """What the command line calls; ToolError where it is not clear which."""
    cut = {k: values.pop(k, None) for k in ("input_op_names", "output_op_names")}
    if bool(split_at or max_bytes) == any(cut.values()) or (any(cut.values()) and not all(cut.values())):
        raise ToolError("say either -ion and -oon, or --split-at, or --max-bytes")
    if split_at or max_bytes:
        values.pop("auto_inputs", None)
        return split(split_at=split_at, max_bytes=max_bytes, **values)
    return extraction(cut["input_op_names"] or (), cut["output_op_names"] or (), **values)


def _tensors(job: Edit, names: Sequence[str], flag: str) -> list[str]:
    """Tensors of the main graph by name; ``node:NAME`` are the results of a node."""
    graph, found = job.model.graph, list[str]()
    here = set(defined(graph))
    for name in names:
        if name in here:
            found.append(name)
            continue
        nodes = [n for n in graph.node if name == f"node:{n.name}"]
        if nodes:
            found += [o for n in nodes for o in n.output if o]
            continue
        labels = [f"node:{n.name}" for n in graph.node if n.name]
        error = unknown(flag, "tensor of the main graph", name, labels if name.startswith("node:") else here)
        if not job.missing_ok:
            raise error
        job.log.warning(f"{error} (left out)")
    return list(dict.fromkeys(found))


def _need(graph: onnx.GraphProto, starts: Sequence[str], ends: Sequence[str]) -> tuple[set[int], list[str], list[str]]:
    """Nodes between, model inputs that are needed besides ``starts``, and starts that are not."""
    maker = {o: i for i, n in enumerate(graph.node) for o in n.output if o}
    seen, queue, nodes = set(ends), list(ends), set[int]()
    while queue:
        name = queue.pop()
        index = maker.get(name)
        if name in starts or index is None or index in nodes:
            continue
        nodes.add(index)
        new = [n for n in reads(graph.node[index]) if n not in seen]
        seen.update(new)
        queue += new
    return nodes, [n for n in inputs(graph) if n in seen and n not in starts], [n for n in starts if n not in seen]


def _bytes(kind: onnx.TypeProto | None) -> str:
    shape = dims(kind)
    sizes = [d for d in shape or () if isinstance(d, int)]
    if kind is None or shape is None or len(sizes) < len(shape):
        return ""
    return f", {nbytes(onnx.TensorProto(data_type=kind.tensor_type.elem_type, dims=sizes))} bytes"


def _cut(
    model: onnx.ModelProto,
    nodes: set[int],
    starts: Sequence[str],
    ends: Sequence[str],
    known: dict[str, onnx.TypeProto],
) -> None:
    """Leave only these nodes, and what they read; on the message itself, since onnx_ir, which can extract too, writes
    another message than it has read."""
    graph = model.graph
    infos = {v.name: onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in (*graph.input, *graph.output)}
    listed = [v.name for v in graph.input if v.name in initializers(graph) and v.name not in starts]
    for index in reversed(range(len(graph.node))):
        if index not in nodes:
            del graph.node[index]
    needed = {n for node in graph.node for n in reads(node)} | set(ends)
    remove(graph.initializer, lambda t: t.name not in needed or t.name in starts)
    remove(graph.sparse_initializer, lambda s: s.values.name not in needed or s.values.name in starts)
    del graph.input[:], graph.output[:]
    for ports, names in ((graph.input, [*starts, *(n for n in listed if n in needed)]), (graph.output, ends)):
        ports.extend(infos.get(n) or onnx.ValueInfoProto(name=n, type=known[n]) for n in names)
    drop_stale(graph)
    remove(graph.value_info, lambda v: v.name in starts or v.name in ends)


def _by_cuts(graph: onnx.GraphProto, cuts: list[list[str]]) -> list[list[int]]:
    done, groups = set[int](), list[list[int]]()
    for cut in cuts:
        nodes = _need(graph, [], cut)[0] - done
        if not nodes:
            raise ToolError(f"--split-at: nothing is left to compute for {', '.join(cut)}", cut[0])
        groups.append(sorted(nodes))
        done |= nodes
    rest = [i for i in range(len(graph.node)) if i not in done]
    return groups + ([rest] if rest else [])


def _by_size(graph: onnx.GraphProto, limit: int) -> list[list[int]]:
    """Nodes in order, a new part wherever the weights would be more than the limit."""
    sizes, groups, held = {n: nbytes(t) for n, t in initializers(graph).items()}, [list[int]()], set[str]()
    for index, node in enumerate(graph.node):
        own = {n for n in reads(node) if n in sizes}
        if sum(sizes[n] for n in own) > limit:
            raise ToolError(f"--max-bytes: {title(node)!r} alone has {sum(sizes[n] for n in own)} bytes", title(node))
        if sum(sizes[n] for n in held | own) > limit:
            groups.append([])
            held = set()
        groups[-1].append(index)
        held |= own
    return groups


def _ports(graph: onnx.GraphProto, groups: list[list[int]]) -> list[tuple[list[str], list[str]]]:
    """Inputs and outputs of each part: what comes from earlier ones, and what later ones or the model need."""
    order = [*inputs(graph), *(o for n in graph.node for o in n.output if o)]
    made = [{o for i in group for o in graph.node[i].output if o} for group in groups]
    needs = [{n for i in group for n in reads(graph.node[i])} - m for group, m in zip(groups, made, strict=True)]
    through = [n for n in outputs(graph) if n not in set().union(*made)]  # inputs that are outputs: of the last part
    found = []
    for k, own in enumerate(made):
        later = set(outputs(graph)).union(*needs[k + 1 :])
        starts, ends = needs[k], [n for n in order if n in own & later]
        if k == len(groups) - 1:
            starts, ends = starts | set(through), ends + through
        found.append(([n for n in order if n in starts], ends))
    return found


def _copy_of(whole: onnx.ModelProto, nodes: Sequence[int]) -> onnx.ModelProto:
    """A copy with some of the nodes and the weights these read."""
    needed = {n for i in nodes for n in reads(whole.graph.node[i])}
    model, pairs = light(whole, lambda t: t.name not in needed)
    for own, tensor in pairs:
        if tensor.name in needed and not is_external(tensor):
            own.CopyFrom(tensor)
    for index in reversed(range(len(model.graph.node))):
        if index not in set(nodes):
            del model.graph.node[index]
    return model


def _verify_chain(job: Edit, whole: onnx.ModelProto, parts: list[onnx.ModelProto]) -> None:
    for k, part in enumerate(parts, 1):
        found = problem(part)
        if found:
            raise ToolError(f"part {k} is not a valid model: {found}")

    def run_parts(feeds: dict[str, np.ndarray]) -> Results:
        known = dict(feeds)
        for part in parts:
            known |= run(part, {n: known[n] for n in inputs(part.graph)})
        return known

    try:
        job.log.info(compare_runs(lambda: sample(whole), run_parts, "of the chain as of the whole model"))
    except NotRunError as error:
        job.log.warning(f"the parts were not run, as the model cannot be: {error}")


def _write_chain(job: Edit, path: Path, parts: list[onnx.ModelProto]) -> None:
    lines: list[dict[str, object]] = []
    for k, part in enumerate(parts, 1):
        target = path.with_name(f"{path.stem}_{k}{path.suffix or '.onnx'}")
        write_model(part, target, **job.storage, note=job.log.info)
        ports = {"inputs": inputs(part.graph), "outputs": outputs(part.graph)}
        lines.append({"file": target.name, **ports, "bytes": sum(map(nbytes, part.graph.initializer))})
        job.log.info(f"{target}: {', '.join(ports['inputs'])} -> {', '.join(ports['outputs'])}")
    with atomic(path.with_suffix(".json")) as file:
        file.write(json.dumps({"parts": lines}, indent=2).encode() + b"\n")


main = command(
    extract_or_split,
    INPUT,
    output("extracted.onnx"),
    parameter("has_external_data", "no effect: side files are found without being told of"),
    option("-ion --input_op_names NAME...", "tensors that become the inputs"),
    option("-oon --output_op_names NAME...", "tensors that become the outputs"),
    flag("--auto-inputs", "model inputs that are needed too become inputs"),
    option("--split-at NAME...", "split into a chain at these tensors"),
    option("--max-bytes SIZE", "split into a chain, each part with at most so many bytes of weights", convert=size),
    *COMMON,
    explains=[extraction, split],
)
