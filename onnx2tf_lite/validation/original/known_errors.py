"""What the references are known to do wrong, each with the evidence, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from ...record import record
from ..figures.measure import Array

RUNTIME, REFERENCE = "ONNX Runtime", "onnx.reference"
LOOP = "Loop"
ATTENTION, AVERAGE = "Attention", "AveragePool"
LOWEST = "-3.4e38 in the place of -infinity"
POOLS = ("MaxPool", AVERAGE, "LpPool")


@record
class KnownError:
    """Of one ``reference``, in one ``output`` of an operator."""

    reference: str
    operator: str
    output: int
    what: str
    evidence: str


KNOWN = (
    KnownError(
        REFERENCE,
        "LRN",
        0,
        "windows of even size are moved by one channel",
        "ONNX: from channel c - floor((size-1)/2) to c + ceil((size-1)/2); odd sizes agree with ONNX Runtime",
    ),
    KnownError(
        RUNTIME,
        ATTENTION,
        3,
        LOWEST,
        "ONNX: what is masked is -infinity before the softmax; onnx.reference has -infinity at the same places",
    ),
    *(
        KnownError(
            reference,
            ATTENTION,
            0,
            f"the mask is capped with the scores, where there are both, before {release} (asked of the one that runs)",
            "ONNX: the softcap comes before the mask; onnx's own cases attention_4d_softcap_neginf_mask*",
        )
        for reference, release in ((RUNTIME, "1.28"), (REFERENCE, "onnx 1.22"))
    ),
    KnownError(
        RUNTIME,
        ATTENTION,
        0,
        "NaN where a mask leaves nothing to be seen, before 1.28 (asked of the one that runs)",
        "ONNX: such rows are 0; onnx's own cases attention_*_fullymasked_row_nan_robustness",
    ),
    KnownError(
        RUNTIME,
        AVERAGE,
        0,
        "with ceil_mode places behind the pads count, below opset 19, in some releases (asked of the one that runs)",
        "ONNX: count_include_pad counts what pads say; onnx's own average_pool_2d_ceil_last_window_starts_on_pad",
    ),
    KnownError(
        RUNTIME,
        LOOP,
        0,
        "extents from the declaration where a scan output has no rows, of rows that no iteration made",
        "ONNX: the loop concatenates what its turns give; a declaration need not hold (ONNX Runtime only warns of it)",
    ),
    *(
        KnownError(
            RUNTIME,
            pool,
            0,
            "a result where the window does not fit once, if the stride is larger than what is missing",
            "ONNX: floor((extent + pads - window) / stride) + 1 is 0; a C++ quotient is cut off towards 0 instead",
        )
        for pool in POOLS
    ),
)


@record
class PoolWindow:
    """Of a pool: the tensor that it slides over, and the spatial extents without which it does not fit once."""

    over: str
    least: tuple[int, ...]


def windows(graph: gs.Graph) -> dict[str, PoolWindow]:
    """Of the pools whose results are empty, by ONNX, where the window does not fit; by the names of these."""
    found = {}
    for node in graph.nodes:
        a = node.attrs
        if node.op in POOLS and not node.domain and not a.get("ceil_mode", 0) and "SAME" not in a.get("auto_pad", ""):
            kernel = a["kernel_shape"]
            pads = a.get("pads") or [0] * 2 * len(kernel)
            each = zip(kernel, a.get("dilations") or [1] * len(kernel), pads, pads[len(kernel) :], strict=False)
            least = tuple(hole * (size - 1) + 1 - before - after for size, hole, before, after in each)
            found[node.outputs[0].name] = PoolWindow(node.inputs[0].name, least)
    return found


def operators() -> list[Any]:
    """onnx.reference's operators that are wrong, done right."""
    from onnx.reference.op_run import OpRun

    class LRN(OpRun):
        """Local response normalisation, x / (bias + alpha / size * sum of squares) ** beta."""

        op_domain = ""

        def _run(self, x: np.ndarray, alpha: float = 0, beta: float = 0, bias: float = 0, size: int = 1) -> Any:
            before, after = (size - 1) // 2, size // 2
            padded = np.pad(x * x, [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
            total = sum(padded[:, k : k + x.shape[1]] for k in range(size))
            return ((x / (bias + alpha / size * total) ** beta).astype(x.dtype),)

    return [LRN]


def masked_outputs(graph: gs.Graph) -> frozenset[str]:
    """Tensors in which ONNX Runtime writes the lowest float where -infinity belongs."""
    rows = [k for k in KNOWN if k.what == LOWEST]
    return frozenset(node.outputs[k.output].name for node in graph.nodes for k in rows
                     if node.op == k.operator and not node.domain and len(node.outputs) > k.output)  # fmt: skip


def masks_wrongly(reference: str, operator: str, domain: str, softcap: float, masked: bool) -> bool:
    """Is an operator an Attention that a reference, as it is here, makes wrong?"""
    if operator != ATTENTION or domain or not masked:
        return False
    return (reference == RUNTIME and _nan_unseen()) or (softcap > 0 and _capped(reference))


@cache
def _capped(reference: str) -> bool:
    """Does a place that is masked count where there is a softcap?"""
    return _attended(reference, "<softcap=1.0>", np.array([[0, -np.inf]], np.float32)) != 1


@cache
def _nan_unseen() -> bool:
    """Is the result NaN where a query sees no place?"""
    return bool(np.isnan(_attended(RUNTIME, "", np.zeros((1, 2), bool))))


def _attended(reference: str, attributes: str, mask: Array) -> float:
    """What a query makes of two places with 1 and 0, of which it sees those that the mask says."""
    import onnxruntime as ort

    kind = "bool" if mask.dtype == bool else "float"
    model = onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["": 23]>
    g (float[1,1,1,1] q, float[1,1,2,1] v, {kind}[1,2] mask) => (float[1,1,1,1] y) {{
        y = Attention{attributes}(q, v, v, mask)
    }}""")
    if reference == REFERENCE:
        from onnx.reference import ReferenceEvaluator

        session: Any = ReferenceEvaluator(model)
    else:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(model.SerializeToString(), options)
    v = np.array([1, 0], np.float32).reshape(1, 1, 2, 1)
    (y,) = session.run(None, {"q": np.zeros((1, 1, 1, 1), np.float32), "v": v, "mask": mask})
    return float(y.item())


@cache
def counts_behind() -> bool:
    """Does an AveragePool count places that neither the operand has nor the pads?"""
    import onnxruntime as ort

    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 13]>
    g (float[1,1,3] x) => (float[1,1,2] y) {
        y = AveragePool<kernel_shape = [2], strides = [2], ceil_mode = 1, count_include_pad = 1>(x)
    }""")
    (y,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": np.ones((1, 1, 3), np.float32)})
    return bool(np.any(y != 1))


def unsaid(operator: str, got: Array, expected: Array) -> Array:
    """``got``, where it has no rows as ``expected``, with the extents that the reference made up for these."""
    empty = operator == LOOP and got.size == expected.size == 0 and got.ndim == expected.ndim
    return got.reshape(expected.shape) if empty and got.shape[:1] == expected.shape[:1] == (0,) else got


def corrected(results: Mapping[str, np.ndarray], masked: Iterable[str]) -> dict[str, np.ndarray]:
    """What a reference means by what it wrote."""
    fixed = dict(results)
    for name in masked:
        if name in fixed and fixed[name].dtype.kind == "f":
            low = fixed[name] <= np.finfo(fixed[name].dtype).min
            fixed[name] = np.where(low, np.asarray(-np.inf, fixed[name].dtype), fixed[name])
    return fixed
