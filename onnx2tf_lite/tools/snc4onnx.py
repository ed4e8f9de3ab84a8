"""Combine models: outputs of the earlier are connected to inputs of the later.

One -sd for each join, of pairs "output input"; a source may also be a tensor inside or an input of the earlier model.
With -opam all names of a model get its prefix (and what is joined already is addressed with it); without it, names that
clash are changed, and the changes printed.  Models of different opsets are converted to one, type and shape must agree
at every seam, and the result is compared with the models run one after another.

examples:
  snc4onnx -if a.onnx b.onnx -sd out in -opam a b -of ab.onnx
  snc4onnx -if a.onnx b.onnx c.onnx -sd out in -sd b_out in -opam a b c -of abc.onnx
  snc4onnx -if a.onnx b.onnx --io a.out:b.in -dos -of ab.onnx
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..commands import command, flag, group, option, parameter, repeated
from ..errors import ToolError, nearest, one_line, unknown
from ..model import walk
from ..model.infer import infer
from ..model.lazy import onnx
from ..model.names import fresh, names_in
from ..model.read import read_model
from ..model.tensors import is_external
from ..model.types import contradict, types
from ..model.write import write_model
from ._edit import Edit, copied, edit
from ._options import COMMON, output
from ._verify import Feeds, NotRunError, Results, compare_runs, random_feeds, run


@edit("srcop_destop op_prefixes_after_merging input_onnx_file_paths onnx_graphs OUTPUT * QUIET")
def combine(
    job: Edit,
    srcop_destop: Sequence[Sequence[str]] = (),
    op_prefixes_after_merging: Sequence[str] = (),
    input_onnx_file_paths: Sequence[str] = (),
    onnx_graphs: Sequence[onnx.ModelProto] = (),
    output_of_onnx_file_in_the_process_of_fusion: bool = False,
    disable_onnxsim: bool = False,
    *,
    io: Sequence[str] = (),
    opset: int = 0,
    keep_outputs: bool = False,
    simplify: bool | None = None,
) -> onnx.ModelProto:
    """Combine the models; returns the one they make, simplified if ``simplify`` (None: unless ``disable_onnxsim``)."""
    models = [copied(m) for m in onnx_graphs] or [read_model(p) for p in input_onnx_file_paths]
    prefixes = list(op_prefixes_after_merging)
    if len(models) < 2:
        raise ToolError(f"-if: at least two models are combined, not {len(models)}")
    if prefixes and (len(prefixes) != len(models) or len(set(prefixes)) < len(models)):
        raise ToolError(f"-opam: {len(models)} models and the prefixes {prefixes}: one each, all different")
    titles = _titles(job, [*input_onnx_file_paths] or [f"model {i + 1}" for i in range(len(models))], prefixes)
    joins = [_pairs(list(words)) for words in srcop_destop] if srcop_destop else _readable(io, titles)
    if len(joins) != len(models) - 1:
        raise ToolError(f"-sd: {len(models)} models need {len(models) - 1} -sd, one for each join, not {len(joins)}")
    merger = _Merger(job, models, titles, bool(prefixes), opset)
    for index, pairs in enumerate(joins, 1):
        merger.join(index, pairs, keep_outputs)
        if output_of_onnx_file_in_the_process_of_fusion and job.output not in ("", "-"):
            merger.write(index)
    merger.finish()
    job.model = merger.model
    job.test(merger.compare)
    if simplify or (simplify is None and not disable_onnxsim):
        _simplify(job)
    return job.model


def _titles(job: Edit, paths: Sequence[str], prefixes: list[str]) -> list[str]:
    """What models are called: by their prefix, or their file names, made different."""
    for number, path in enumerate(paths, 1):
        prefix = f'"{prefixes[number - 1]}"' if prefixes else "None"
        job.log.info(f"MODEL_INDX={number}: {path}, prefix={prefix}")
    if prefixes:
        return prefixes
    taken: set[str] = set()
    return [fresh(Path(p).stem.replace(" ", "_") or "model", taken) for p in paths]


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    if words and isinstance(words[0], (list, tuple)):
        words = [w for pair in words for w in pair]
    if not words or len(words) % 2:
        raise ToolError(f"-sd: {words}: not pairs of an output and an input")
    return list(zip(words[::2], words[1::2], strict=True))


def _readable(texts: Sequence[str], titles: list[str]) -> list[list[tuple[str, str]]]:
    """``a.out:b.in`` by joins: the destination says to which one it belongs."""
    joins: list[list[tuple[str, str]]] = [[] for _ in titles[1:]]
    for text in texts:
        found = [
            (k, source, target)
            for k, title in enumerate(titles[1:])
            for source, mark, target in [text.partition(f":{title}.")]
            if mark and any(source.startswith(f"{t}.") for t in titles[: k + 1])
        ]
        if len(found) != 1:
            raise ToolError(f"--io: {text!r} is not MODEL.OUTPUT:MODEL.INPUT; the models: {', '.join(titles)}", text)
        [(k, source, target)] = found
        joins[k].append((source, target))
    return joins


class _Merger:
    """The models joined so far.  ``names[k]`` maps the tensors of model k to what they are called in ``model``.

    Not ``onnx.compose``: its prefixes miss what a body reads of the initializers around it, it joins outputs alone and
    fails where a joined input is an output too, it refuses models of different IR versions, metadata or with a function
    in common, drops quantisation annotations, and checks the message whole, which ends at 2 GB.
    """

    def __init__(self, job: Edit, models: list[onnx.ModelProto], titles: list[str], prefixed: bool, opset: int):
        self.job, self.titles, self.prefixed = job, titles, prefixed
        self.parts = _one_opset(models, opset, job)
        self.names: list[dict[str, str]] = [{n: n for n in walk.defined(m.graph)} for m in self.parts]
        self.model = copied(self.parts[0])
        self.own = [list(walk.outputs(m.graph)) for m in self.parts]
        if prefixed:
            self._prefix(self.model, 0, lambda name: True)

    def _prefix(self, model: onnx.ModelProto, index: int, clashes: Callable[[str], bool]) -> None:
        """Put the prefix before every name that ``clashes``: tensors and nodes in all bodies, functions."""
        title, taken = self.titles[index], names_in(model) | names_in(self.model)
        everywhere, changed = walk.scopes(model), {}

        def new(name: str) -> str:
            if not name or not clashes(name):
                return name
            if name not in changed:
                changed[name] = f"{title}_{name}" if self.prefixed else fresh(f"{title}_{name}", taken)
            return changed[name]

        maps = {s.path: {n: new(n) for n in walk.defined(s.graph)} for s in everywhere if not s.in_function}
        functions = {(f.domain, f.name, f.overload): new(f.name) for f in model.functions}
        walk.rename_tensors(everywhere, maps)
        for scope in everywhere:
            for node in scope.graph.node:
                node.op_type = functions.get((node.domain, node.op_type, node.overload), node.op_type)
                node.name = new(node.name)
            if self.prefixed and scope.owner is not None:
                scope.graph.name = new(scope.graph.name)
        for function in model.functions:
            function.name = functions[function.domain, function.name, function.overload]
        self.names[index] = {old: maps[""][old] for old in self.names[index]}
        if changed and not self.prefixed:
            self.job.log.info(f"renamed in {title}: {', '.join(f'{a} -> {b}' for a, b in changed.items())}")

    def join(self, index: int, pairs: list[tuple[str, str]], keep: bool) -> None:
        part = copied(self.parts[index])
        entries = walk.inputs(part.graph)
        joined: dict[str, str] = {}
        for source, target in pairs:
            if target not in entries:
                raise unknown("-sd", f"input of {self.titles[index]}", target, entries)
            if target in joined:
                raise ToolError(f"-sd: input {target!r} of {self.titles[index]} is connected twice", target)
            joined[target] = self._source(source, index)
        self._seams(part, joined, index)
        here = names_in(self.model) | {f.name for f in self.model.functions}
        self._prefix(part, index, (lambda name: True) if self.prefixed else here.__contains__)
        renamed = {self.names[index][target]: source for target, source in joined.items()}
        walk.remove(part.graph.input, lambda v: v.name in renamed)
        for name in set(renamed) & set(walk.outputs(part.graph)):
            label = fresh(f"{name}_identity", names_in(part) | here)
            part.graph.node.append(onnx.helper.make_node("Identity", [renamed[name]], [name], label))
        walk.replace_uses(part.graph, renamed)
        for target, source in joined.items():
            self.names[index][target] = source
            self.job.log.info(f"{source} -> {self.titles[index]}.{target}")
        if not keep:
            walk.remove(self.model.graph.output, lambda v: v.name in joined.values())
        _append(self.model, part, self.titles[index])

    def write(self, index: int) -> None:
        """What is joined so far, beside the output."""
        target = Path(self.job.output)
        step = target.with_name(f"{target.stem}_{index}{target.suffix}")
        if not self.job.dry_run:
            write_model(self.model, step, note=self.job.log.info, **self.job.storage)
        self.job.log.info(f"after join {index}: {step}")

    def _source(self, name: str, index: int) -> str:
        """The tensor that a source means: as it is called now, as its model called it, or ``model.name``."""
        known = walk.defined(self.model.graph)
        if name in known:
            return name
        found = [self.names[k][name] for k in range(index) if name in self.names[k]]
        for k in range(index):
            label = name.removeprefix(f"{self.titles[k]}.")
            if label != name and label in self.names[k]:
                found = [self.names[k][label]]
        if len(set(found)) > 1:
            raise ToolError(f"-sd: several of the models have {name!r}: {', '.join(found)}", name, found)
        if not found:
            raise ToolError(f"-sd: no tensor {name!r} to start from", name, nearest(name, known))
        return found[0]

    def _seams(self, part: onnx.ModelProto, joined: dict[str, str], index: int) -> None:
        """Types and shapes agree where models meet."""
        before, after = types(infer(self.model).graph), types(part.graph)
        for target, source in joined.items():
            why = contradict(before.get(source), after.get(target))
            if why:
                raise ToolError(f"-sd: {source!r} does not fit {self.titles[index]}.{target}: {why}", source)

    def finish(self) -> None:
        """Drop unused inputs; take the prefixes off again where that makes no two names equal."""
        graph = self.model.graph
        used = set(walk.consumers(graph)) | set(walk.outputs(graph))
        idle = [n for n in walk.inputs(graph) if n not in used]
        if idle:
            self.job.log.info(f"removed, as nothing reads them: input(s) {', '.join(idle)}")
            walk.remove(graph.input, lambda v: v.name in idle)
        if self.prefixed:
            renamed = self._unprefixed(walk.outputs(graph), self.titles[-2:])
            if len(self.parts) == 2 and len(walk.inputs(graph)) == 1:
                renamed |= self._unprefixed(walk.inputs(graph), self.titles, set(renamed.values()))
            walk.rename_tensors(walk.scopes(self.model), {"": renamed})
            self.names = [{k: renamed.get(v, v) for k, v in names.items()} for names in self.names]
        walk.sort(graph)

    def _unprefixed(self, names: list[str], titles: Sequence[str], also: set[str] = frozenset()) -> dict[str, str]:  # type: ignore[assignment]
        bare = {n: n.removeprefix(f"{t}_") for t in titles for n in names if n.startswith(f"{t}_")}
        taken = names_in(self.model) | also
        counts = [bare.get(n, n) for n in names]
        return {n: b for n, b in bare.items() if b and counts.count(b) == 1 and b not in taken}

    def compare(self) -> str:
        """Run the models one after another, and the result."""
        model = self.job.model
        return compare_runs(self._one_by_one, lambda feeds: run(model, feeds), "as from the models one after another")

    def _one_by_one(self) -> tuple[Feeds, Results]:
        """The first inputs of the result that the models run with, and its outputs as they give them."""
        why = NotRunError("it has no inputs to try")
        for feeds in random_feeds(self.job.model):
            try:
                known = self._chain(feeds)
            except NotRunError as error:
                why = error
                continue
            return feeds, {n: known[n] for n in walk.outputs(self.job.model.graph)}
        raise why

    def _chain(self, feeds: Feeds) -> Results:
        """The tensors of the result, by the names they have there."""
        known: Results = dict(feeds)
        seen = {names[n] for part, names in zip(self.parts, self.names, strict=True) for n in walk.inputs(part.graph)}
        for part, names in zip(self.parts, self.names, strict=True):
            entries, ends = walk.inputs(part.graph), walk.outputs(part.graph)
            missing = [n for n in entries if names[n] not in known]
            if missing:  # an input that nothing reads
                known |= {names[n]: a for n, a in next(random_feeds(part)).items() if n in missing}
            wanted = [n for n, m in names.items() if n not in entries and (n in ends or m in seen)]
            results = run(part, {n: known[names[n]] for n in entries}, wanted)
            known |= {names[n]: a for n, a in results.items()}
        return known


def _append(model: onnx.ModelProto, part: onnx.ModelProto, title: str) -> None:
    """Everything of ``part`` behind what is there; of metadata and the like, the first wins."""
    for field, values in part.graph.ListFields():
        if field.name not in ("name", "doc_string", "metadata_props"):
            getattr(model.graph, field.name).extend(values)
    model.ir_version = max(model.ir_version, part.ir_version)
    model.functions.extend(f for f in part.functions if f not in model.functions)
    there = {p.key for p in model.metadata_props}
    model.metadata_props.extend(p for p in part.metadata_props if p.key not in there)
    domains = {e.domain: e.version for e in model.opset_import}
    for entry in part.opset_import:
        if domains.setdefault(entry.domain, entry.version) != entry.version:
            what = f"imports version {entry.version} of {entry.domain!r}, the others {domains[entry.domain]}"
            raise ToolError(f"-if: {title} {what}; there is no converter", entry.domain)
    model.opset_import.extend(e for e in part.opset_import if e.domain not in {x.domain for x in model.opset_import})


def _one_opset(models: list[onnx.ModelProto], asked: int, job: Edit) -> list[onnx.ModelProto]:
    """All models in one opset: the one asked for, or the highest among them that all can be converted to."""
    for model in models:
        walk.one_domain(model)
    versions = [next((e.version for e in m.opset_import if not e.domain), 0) for m in models]
    if len({v for v in versions if v} | ({asked} if asked else set())) <= 1:
        return models
    from .soc4onnx import change

    why = ""
    for target in [asked] if asked else sorted(set(versions), reverse=True):
        try:
            made = [
                change(target, onnx_graph=m, non_verbose=True, check=job.checks) if v not in (0, target) else m
                for m, v in zip(models, versions, strict=True)
            ]
        except ToolError as error:
            why = why or str(error)
            continue
        job.log.info(f"opsets {', '.join(map(str, versions))} converted to {target}")
        return made
    raise ToolError(f"--opset: the models have the opsets {versions} and cannot be converted to one: {why}")


def _simplify(job: Edit) -> None:
    """onnxsim, as the known tool does; where it fails the combined model stays."""
    model = job.model
    if any(is_external(t) for t in walk.tensors(model)) or any(
        e.domain not in ("", "ai.onnx.ml") for e in model.opset_import
    ):
        job.log.info("not simplified: the model has side files or operators that are not ONNX's own")
        return
    from ..child import DiedError
    from ..model.simplify import simplified

    try:
        simple = simplified(model)
    except (RuntimeError, ValueError, MemoryError, DiedError, onnx.checker.ValidationError) as error:
        job.log.warning(f"not simplified: onnxsim: {one_line(error)}")
        return
    before = len(model.graph.node)
    model.graph.CopyFrom(simple.graph)
    _lift_constants(model.graph)
    job.log.info(f"simplified with onnxsim: {before} -> {len(model.graph.node)} nodes (-dos leaves that out)")


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers, as older versions of onnxsim made them."""
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op_type == "Constant" and node.domain == "" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            del graph.node[index]


_JOINS = "[['out', 'in', ...], ...]"
main = command(
    combine,
    *group(
        "input and output",
        option("-if --input_onnx_file_paths FILE...", 'the models, in order; "-": standard input', required=True),
    ),
    parameter("onnx_graphs", "the models in memory, which stay as they are; the paths are then not looked at"),
    output("merged_model.onnx"),
    repeated("-sd --srcop_destop NAME...", "what is connected: OUTPUT INPUT ...; once for each join", form=_JOINS),
    option("--io TEXT...", "the same as MODEL.OUTPUT:MODEL.INPUT; a model is called by its prefix, else its file"),
    option("-opam --op_prefixes_after_merging TEXT...", "a prefix for the names of each model"),
    flag("-f --output_of_onnx_file_in_the_process_of_fusion", "write the model after each join too"),
    option("--opset N", "convert all models to this opset (default: the highest that works)", type=int),
    flag("--keep-outputs", "outputs that are connected stay outputs"),
    flag("-dos --disable_onnxsim", "leave the result as it is (snc4onnx simplifies it with onnxsim; combine does not)"),
    flag("--simplify", "simplify the result with onnxsim"),
    *COMMON,
)
