"""SOFTMAX, LOGISTIC and TANH of 16 bits inside of 8-bit files: where their fixed steps lose what outputs need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnx2tf_lite.quantization import coarse
from onnx2tf_lite.validation.files.flatfile import FlatFile
from onnx2tf_lite.validation.files.integers import Integers
from tests.quantization.test_quantising import quiet
from tests.validation.models import model

SEEN, UNSEEN = 24, 16
#: By operator: attention over places, gates, and products with small numbers.
TEXTS = {
    "SOFTMAX": """g (float[1,{places},8] x) => (float[1,{places},8] y) {{
        q = MatMul(x, w) k = Transpose<perm=[0,2,1]>(x) p = MatMul(q, k) s = Mul(p, size) a = Softmax<axis=-1>(s)
        y = MatMul(a, x) }}""",
    "LOGISTIC": """g (float[1,{places},8] x) => (float[1,{places},8] y) {{
        q = MatMul(x, w) s = Add(q, height) a = Sigmoid(s) y = MatMul(a, v) }}""",
    "TANH": """g (float[1,{places},8] x) => (float[1,{places},8] y) {{
        q = MatMul(x, w) s = Mul(q, size) a = Tanh(s) y = MatMul(a, v) }}""",
}
COARSE = {"SOFTMAX": (300, {"size": 0.25}), "LOGISTIC": (12, {"height": -6.0}), "TANH": (12, {"size": 0.01})}
FINE = {"SOFTMAX": (6, {"size": 0.25}), "LOGISTIC": (12, {"height": 0.0}), "TANH": (12, {"size": 1.0})}
GAIN, LEAST = 4.0, 25.0  # dB that 16 bits bring, and that are left then


def network(operator: str, places: int, end: str = "", **numbers: float) -> onnx.ModelProto:
    """``end``: instead of its last product."""
    text = TEXTS[operator].format(places=places)
    text = text.replace("y = MatMul(a, x)", end or "y = MatMul(a, x)")
    weights = {name: (8, 8) for name in "wv" if f", {name})" in text}
    return model(text, **weights, **{n: np.full((), a, np.float32) for n, a in numbers.items()})


def samples(places: int, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, places, 8)).astype(np.float32)


def converted(proto: onnx.ModelProto, places: int, folder: Path) -> FlatFile:
    """The 8-bit file, integer throughout."""
    kind = "integer_quant"
    result = quiet(proto, folder, [kind], calibration={"x": samples(places, SEEN, 0)})
    assert result.exit_code == 0, [file.verdict for file in result.check.files]
    file = FlatFile(result.files[kind])
    assert not Integers.of(file).floats
    return file


def decibels(proto: onnx.ModelProto, file: FlatFile, places: int) -> float:
    """Signal to noise of all outputs on samples that calibration has not seen, against ONNX Runtime."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    run = Interpreter(str(file.path)).get_signature_runner()
    power, noise = 0.0, 0.0
    for x in samples(places, UNSEEN, 1)[:, None]:
        (want,) = session.run(["y"], {"x": x})
        power += float(np.square(want).sum())
        noise += float(np.square(run(x=x)["y"] - want).sum())
    return 10 * float(np.log10(power / noise))


def result_of(file: FlatFile, operator: str) -> np.dtype:
    (op,) = (op for op in file.operators if op.name == operator)
    return np.dtype(file.tensors[op.outputs[0]].dtype)


@pytest.mark.parametrize("operator", COARSE)
def test_coarse_kernels_have_16_bits(operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places, numbers = COARSE[operator]
    proto = network(operator, places, **numbers)
    finer = converted(proto, places, tmp_path / "finer")
    monkeypatch.setattr(coarse, "TRIED", -np.inf)
    plain = converted(proto, places, tmp_path / "plain")
    assert (result_of(finer, operator), result_of(plain, operator)) == (np.int16, np.int8)
    reached, without = (decibels(proto, file, places) for file in (finer, plain))
    assert reached > LEAST and reached > without + GAIN, (reached, without)


@pytest.mark.parametrize("operator", FINE)
def test_fine_ones_keep_8(operator: str, tmp_path: Path) -> None:
    places, numbers = FINE[operator]
    proto = network(operator, places, **numbers)
    file = converted(proto, places, tmp_path)
    assert result_of(file, operator) == np.int8
    assert decibels(proto, file, places) > LEAST


def test_coarse_ones_that_outputs_do_not_hear_keep_8(tmp_path: Path) -> None:
    """What attention adds is nothing beside what it is added to."""
    places, numbers = COARSE["SOFTMAX"]
    proto = network("SOFTMAX", places, "m = MatMul(a, x) f = Mul(m, few) y = Add(f, x)", few=0.05, **numbers)
    file = converted(proto, places, tmp_path)
    assert result_of(file, "SOFTMAX") == np.int8
    assert decibels(proto, file, places) > LEAST
