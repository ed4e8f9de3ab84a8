"""Versions of real models as onnxruntime.quantization writes them, by the names of their forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from . import golden

OPSET = 13  # the first one in which a quantised tensor has a scale per channel; the quantiser does not look


@dataclass(frozen=True)
class Form:
    """What the quantiser is asked for: ``kind`` is ``QDQ``, ``QOperator`` or ``dynamic``; ``only``: of these operators,
    the others stay float."""

    kind: str
    activations: str = "QInt8"
    weights: str = "QInt8"
    channels: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    only: tuple[str, ...] = ()


_SYMMETRIC = {"ActivationSymmetric": True}
FORMS: dict[str, Form] = {
    "S8S8": Form("QDQ"),
    "S8S8 per channel": Form("QDQ", channels=True),
    "U8S8": Form("QDQ", "QUInt8"),
    "U8U8": Form("QDQ", "QUInt8", "QUInt8"),
    # the weights stay float behind a QuantizeLinear, and so do the biases
    "QAT-like": Form("QDQ", channels=True, extra={"AddQDQPairToWeight": True, "QuantizeBias": False}),
    "S16S8 symmetric": Form("QDQ", "QInt16", extra=_SYMMETRIC),
    "U16S8 symmetric": Form("QDQ", "QUInt16", extra=_SYMMETRIC),
    "S16S8": Form("QDQ", "QInt16"),
    "U16S8": Form("QDQ", "QUInt16"),
    "QOperator S8S8": Form("QOperator"),
    "QOperator U8U8": Form("QOperator", "QUInt8", "QUInt8"),
    "dynamic": Form("dynamic"),
    "dynamic U8": Form("dynamic", weights="QUInt8"),
}


def make(folder: Path, model: golden.Model, form: Form) -> Path:
    """The version of a model, in ``folder``."""
    from onnxruntime import quantization as q

    path, source = folder / "quantised.onnx", upgraded(folder, model)
    types = {"weight_type": q.QuantType[form.weights], "per_channel": form.channels}
    types |= {"op_types_to_quantize": [*form.only]} if form.only else {}
    if form.kind == "dynamic":
        q.quantize_dynamic(source, path, **types)
    else:
        activations, kind = q.QuantType[form.activations], q.QuantFormat[form.kind]
        options = {"quant_format": kind, "activation_type": activations, "extra_options": {**form.extra}}
        q.quantize_static(source, path, _Reader(model), **options, **types)
    return path


def upgraded(folder: Path, model: golden.Model) -> Path:
    """The model in an opset in which the quantiser can say what it does."""
    proto = onnx.load(model.path)
    if next(e.version for e in proto.opset_import if not e.domain) < OPSET:
        proto = onnx.version_converter.convert_version(proto, OPSET)
    onnx.save(proto, folder / "upgraded.onnx")
    return folder / "upgraded.onnx"


class _Reader:
    """Calibration data: what the index of the model says, or random numbers."""

    def __init__(self, model: golden.Model):
        import onnxruntime as ort

        self.left = list(model.feeds()) or [_random(ort.InferenceSession(str(model.path)), seed) for seed in range(4)]

    def get_next(self) -> Any:
        return self.left.pop() if self.left else None


def _random(session: Any, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {i.name: [d if isinstance(d, int) else 1 for d in i.shape] for i in session.get_inputs()}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
