# ruff: noqa: TID253 - a script that needs PyTorch; the tests read only the files that it writes
"""Write the corpus: small networks with seeded weights, exported by torch's two exporters.

    python tests/models/exports/make_exports.py [part of a name ...]

Needs ``torch==2.13.0 onnx onnxscript onnxruntime``. Every file is checked by onnx.checker and run by ONNX Runtime,
whose outputs must equal torch's at every listed shape; then ``index.json`` is written.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import warnings
import zlib
from pathlib import Path

import cases_ops
import cases_sequence
import cases_vision
import numpy as np
import onnx
import onnxruntime
import torch
from case import Case, Spec, randomise

HERE = Path(__file__).resolve().parent
CASES = (*cases_vision.CASES, *cases_sequence.CASES, *cases_ops.CASES)
TOLERANCE = 2e-5  # of max |torch|, ONNX Runtime against torch


def values(specs: dict[str, Spec], shapes: dict[str, tuple[int, ...]], seed: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(spec.draw(rng, shapes.get(name, spec.shape))) for name, spec in specs.items()]


def export_torchscript(case: Case, model: torch.nn.Module, args: tuple, opset: int, path: Path) -> None:
    mode = torch.onnx.TrainingMode.PRESERVE if case.keep_batchnorm else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        torch.jit.script(model) if case.scripted else model,
        args,
        str(path),
        dynamo=False,
        opset_version=opset,
        training=mode,
        do_constant_folding=not case.keep_batchnorm,
        input_names=list(case.inputs),
        output_names=list(case.outputs),
        dynamic_axes=case.dynamic or None,
    )


def export_dynamo(case: Case, model: torch.nn.Module, args: tuple, path: Path) -> None:
    dims = tuple(case.dynamic.get(name) for name in case.inputs)
    torch.onnx.export(
        model,
        args,
        str(path),
        dynamo=True,
        external_data=False,
        verbose=False,
        optimize=not case.keep_batchnorm,
        input_names=list(case.inputs),
        output_names=list(case.outputs),
        dynamic_shapes=(dims,) if case.dynamic and case.variadic else dims if case.dynamic else None,
    )


def strip(path: Path) -> onnx.ModelProto:
    """Leave out what the exporter says about this machine: stack traces and file names, not part of the model."""

    def clean(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
        graph.doc_string = ""
        del graph.metadata_props[:]
        for item in (*graph.node, *graph.value_info, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
            if isinstance(item, (onnx.NodeProto, onnx.ValueInfoProto)):
                item.doc_string = ""
                del item.metadata_props[:]
            for attribute in getattr(item, "attribute", ()):
                attribute.doc_string = ""
                for inner in (attribute.g, *attribute.graphs):
                    clean(inner) if inner.node else None
        for tensor in getattr(graph, "initializer", ()):
            tensor.doc_string = ""
            del tensor.metadata_props[:]

    model = onnx.load(path)
    model.doc_string = ""
    del model.metadata_props[:]
    clean(model.graph)
    for function in model.functions:
        clean(function)
    onnx.save(model, path)
    return model


def count_nodes(graph: onnx.GraphProto) -> int:
    inner = [g for n in graph.node for a in n.attribute for g in (a.g, *a.graphs)]
    return len(graph.node) + sum(count_nodes(g) for g in inner)


def compare(case: Case, model: torch.nn.Module, path: Path, shapes: dict, seed: int) -> float:
    """ONNX Runtime against torch; the largest difference as a share of the largest value."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    args = values(case.inputs, shapes, seed)
    with torch.no_grad():
        expected = model(*args)
    got = session.run(None, {i.name: a.numpy() for i, a in zip(session.get_inputs(), args, strict=True)})
    expected = [e.numpy() for e in (expected if isinstance(expected, (tuple, list)) else (expected,))]
    worst = 0.0
    for want, have in zip(expected, got, strict=True):
        assert want.shape == have.shape and want.dtype == have.dtype, (want.shape, have.shape, want.dtype, have.dtype)
        assert want.size and np.isfinite(want).all(), "empty or not finite"
        difference = np.abs(want.astype(np.float64) - have).max()
        worst = max(worst, float(difference / max(np.abs(want.astype(np.float64)).max(), 1e-6)))
    assert worst <= TOLERANCE, f"ONNX Runtime and torch differ by {worst:.1e}"
    return worst


def make(case: Case, how: str) -> dict:
    """One file: ``how`` is ``ts<opset>`` or ``dynamo``. Returns its row of the index."""
    seed = zlib.crc32(case.name.encode())
    torch.manual_seed(seed)
    model = randomise(case.make()).eval()
    args = tuple(values(case.inputs, {}, seed))
    path = HERE / f"{case.name}.{how}.onnx"
    if how == "dynamo":
        export_dynamo(case, model, args, path)
    else:
        export_torchscript(case, model, args, int(how.removeprefix("ts")), path)
    proto = strip(path)
    onnx.checker.check_model(str(path), full_check=True)
    names = [i.name for i in proto.graph.input]
    assert names == list(case.inputs), f"inputs {names}"
    dynamic = any(d.dim_param for i in proto.graph.input for d in i.type.tensor_type.shape.dim)
    assert dynamic == bool(case.dynamic), "dynamic dimensions"
    for number, shapes in enumerate(({}, *case.alternatives)):
        compare(case, model, path, shapes, seed + number)
    return {
        "name": path.stem,
        "file": path.name,
        "exporter": "dynamo" if how == "dynamo" else "torchscript",
        "opset": next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")),
        "inputs": [{"name": name, **spec.row()} for name, spec in case.inputs.items()],
        "outputs": [o.name for o in proto.graph.output],
        "dynamic": dynamic,
        "alternative_shapes": [{n: list(a.get(n, s.shape)) for n, s in case.inputs.items()} for a in case.alternatives],
        "nodes": count_nodes(proto.graph),
        "bytes": path.stat().st_size,
    }


def main(wanted: list[str]) -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    index_path = HERE / "index.json"
    rows = {r["name"]: r for r in json.loads(index_path.read_text())} if wanted and index_path.exists() else {}
    failed = []
    for case in CASES:
        for how in case.exports if not wanted or any(w in case.name for w in wanted) else ():
            name, noise = f"{case.name}.{how}", io.StringIO()
            try:
                with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
                    rows[name] = make(case, how)
                print(
                    f"{name:42} opset {rows[name]['opset']:2} {rows[name]['nodes']:4} nodes {rows[name]['bytes']:6} B"
                )
            except Exception as error:
                failed.append(name)
                (HERE / f"{name}.onnx").unlink(missing_ok=True)
                rows.pop(name, None)
                print(f"{name:42} FAILED {type(error).__name__}: {str(error).strip()[:600]}")
    listed = [rows[name] for name in sorted(rows)]
    index_path.write_text("[\n" + ",\n".join(json.dumps(row) for row in listed) + "\n]\n")
    print(f"{len(listed)} files, {sum(r['bytes'] for r in listed) / 1e6:.2f} MB; failed: {failed or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
