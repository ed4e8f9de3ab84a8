"""A small language model as exporters write it for ONNX Runtime: 4-bit weights in blocks, grouped queries, a cache.

A prompt is read at once, then 16 tokens are made one by one; at each step the file has the logits of ONNX Runtime, and
chooses its token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnx2tf_lite import convert
from tests.harness import new_runtime

WORDS, WIDTH, INNER, LAYERS = 64, 64, 96, 2
HEADS, KEYS, SIZE, BLOCK = 2, 1, 32, 32
ROOM, STEPS = 40, 16
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Cache:
    """``rows`` of the cache, or one that grows; a ``window`` in which it slides; ``bits`` of its integers."""

    rows: int | str
    window: int = 0
    bits: int = 0

    @property
    def dtype(self) -> type:
        return np.uint8 if self.bits else np.float32

    @property
    def width(self) -> int:
        """Of the elements of a row of one head."""
        return SIZE * self.bits // 8 if self.bits else SIZE

    @property
    def attrs(self) -> dict[str, Any]:
        slides = {"local_window_size": self.window, "sliding_window_cache": 1} if self.window else {}
        kinds = dict.fromkeys(("k_quant_type", "v_quant_type"), "PER_TENSOR")
        return slides | (kinds | {"kv_cache_bit_width": self.bits} if self.bits else {})


CACHES = {
    "cache of a fixed size": Cache(ROOM),
    "cache that grows": Cache("past"),
    "cache of 4 bits": Cache(ROOM, bits=4),
    "cache that slides": Cache(10, window=6),
    "cache of 4 bits that slides": Cache(10, window=6, bits=4),
}


class Decoder:
    """Collects the nodes and constants of the model."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], *outputs: str, domain: str = "", **attrs: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [*outputs], outputs[0], domain=domain, **attrs))
        return outputs[0]

    def product(self, x: str, name: str, columns: int, rows: int) -> str:
        """x times 4-bit weights [rows, columns]."""
        count = columns // BLOCK
        packed = self.constant(f"{name}.w", self.rng.integers(0, 256, (rows, count, BLOCK // 2), np.uint8))
        scales = self.constant(f"{name}.s", self.rng.uniform(0.01, 0.03, rows * count).astype(np.float32))
        attrs = {"K": columns, "N": rows, "bits": 4, "block_size": BLOCK}
        return self.node("MatMulNBits", [x, packed, scales], name, domain=MICROSOFT, **attrs)

    def layer(self, x: str, i: int) -> str:
        """Attention and a gated network, each behind its normalisation."""
        scale = self.constant(f"{i}.norm1", self.rng.uniform(0.5, 1.5, WIDTH).astype(np.float32))
        normed = self.node("SimplifiedLayerNormalization", [x, scale], f"{i}.normed", epsilon=1e-6, axis=-1)
        widths = (("q", HEADS), ("k", KEYS), ("v", KEYS))
        parts = [self.product(normed, f"{i}.{n}", WIDTH, heads * SIZE) for n, heads in widths]
        cache = [f"past.{i}.key", f"past.{i}.value", "last", "total", "cos", "sin"]
        made = [f"{i}.attended", f"present.{i}.key", f"present.{i}.value"]
        if self.cache.bits:
            step = self.constant(f"{i}.step", np.array([0.6], np.float32))
            cache += ["", "", "", step, step]
        attrs = {"num_heads": HEADS, "kv_num_heads": KEYS, "do_rotary": 1, **self.cache.attrs}
        attended = self.node("GroupQueryAttention", [*parts, *cache], *made, domain=MICROSOFT, **attrs)
        out = self.product(attended, f"{i}.out", HEADS * SIZE, WIDTH)
        scale = self.constant(f"{i}.norm2", self.rng.uniform(0.5, 1.5, WIDTH).astype(np.float32))
        names = [f"{i}.normed2", "", "", f"{i}.sum"]
        normed = self.node("SkipSimplifiedLayerNormalization", [x, out, scale], *names, domain=MICROSOFT, epsilon=1e-6)
        gate, up = (self.product(normed, f"{i}.{n}", WIDTH, INNER) for n in ("gate", "up"))
        half = self.node("Sigmoid", [gate], f"{i}.half")
        gated = self.node("Mul", [self.node("Mul", [gate, half], f"{i}.silu"), up], f"{i}.gated")
        return self.node("Add", [f"{i}.sum", self.product(gated, f"{i}.down", INNER, WIDTH)], f"{i}.result")

    def model(self) -> onnx.ModelProto:
        """Ids of tokens, the mask of all so far and the caches; logits and the caches after them."""
        rows, kind = self.cache.rows, helper.np_dtype_to_tensor_dtype(np.dtype(self.cache.dtype))
        after = "after" if isinstance(rows, str) else rows
        angles = np.arange(64)[:, None] / 100 ** (np.arange(SIZE // 2) / (SIZE // 2))
        self.constant("cos", np.cos(angles).astype(np.float32))
        self.constant("sin", np.sin(angles).astype(np.float32))
        table = self.constant("table", self.rng.standard_normal((WORDS, WIDTH)).astype(np.float32))
        axis, one = self.constant("axis", np.array([1])), self.constant("one", np.array([1]))
        count = self.node("ReduceSum", ["attention_mask", axis], "count", keepdims=0)
        self.node("Cast", [self.node("Sub", [count, one], "before")], "last", to=TensorProto.INT32)
        extent = self.node("Gather", [self.node("Shape", ["attention_mask"], "extents"), "1"], "extent", axis=0)
        self.constant("1", np.array(1))
        self.node("Cast", [extent], "total", to=TensorProto.INT32)
        x = self.node("Gather", [table, "input_ids"], "embedded")
        for i in range(LAYERS):
            x = self.layer(x, i)
        scale = self.constant("norm", np.ones(WIDTH, np.float32))
        normed = self.node("SimplifiedLayerNormalization", [x, scale], "normed", epsilon=1e-6, axis=-1)
        self.product(normed, "logits", WIDTH, WORDS)
        caches = [f"{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
        whole, info = TensorProto.INT64, helper.make_tensor_value_info
        inputs = [info("input_ids", whole, [1, "steps"]), info("attention_mask", whole, [1, "total"])]
        inputs += [info(f"past.{c}", kind, [1, KEYS, rows, self.cache.width]) for c in caches]
        outputs = [info("logits", 1, [1, "steps", WORDS])]
        outputs += [info(f"present.{c}", kind, [1, KEYS, after, self.cache.width]) for c in caches]
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def feeds(tokens: list[int], seen: int, caches: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, seen + len(tokens)), np.int64), **caches}


@new_runtime
@pytest.mark.parametrize(
    "name, kind",
    [
        *((name, "float32") for name in CACHES),
        *((name, "weight_only_int4") for name in ("cache that grows", "cache of 4 bits that slides")),
    ],
)
def test_prompt_and_sixteen_tokens(name: str, kind: str, tmp_path: Path) -> None:
    import onnxruntime as ort
    from ai_edge_litert.interpreter import Interpreter

    cache = CACHES[name]
    model = Decoder(cache).model()
    onnx.save(model, tmp_path / "m.onnx")
    result = convert(tmp_path / "m.onnx", tmp_path / "out", outputs=[kind], verbosity="error")
    assert result.exit_code == 0, [result.check.error, *(file.verdict for file in result.check.files)]
    if kind == "weight_only_int4":
        kept = result.report["quantisation"]["int4 weights"][f"int4 in blocks of {BLOCK}, as they were"]
        assert len(kept) == 7 * LAYERS + 1, "every MatMulNBits, and nothing else"
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    interpreter = Interpreter(str(result.files[kind]))
    caches = [n.removeprefix("past.") for n in (v.name for v in model.graph.input) if n.startswith("past.")]
    rows = (
        1 if isinstance(cache.rows, str) else cache.rows
    )  # LiteRT takes no empty tensor: one that grows has a first row
    start: dict[str, np.ndarray] = {f"past.{c}": np.zeros((1, KEYS, rows, cache.width), cache.dtype) for c in caches}
    theirs, ours, tokens, seen = start, start, [5, 17, 3, 42, 8], int(isinstance(cache.rows, str))
    for _ in range(STEPS + 1):
        names = [o.name for o in session.get_outputs()]
        wanted = dict(zip(names, session.run(None, feeds(tokens, seen, theirs)), strict=True))
        found = invoke(interpreter, feeds(tokens, seen, ours))
        np.testing.assert_allclose(found["logits"], wanted["logits"], rtol=1e-3, atol=1e-3)
        chosen = [int(out["logits"][0, -1].argmax()) for out in (found, wanted)]
        assert chosen[0] == chosen[1]
        theirs, ours = ({f"past.{c}": out[f"present.{c}"] for c in caches} for out in (wanted, found))
        seen, tokens = seen + len(tokens), chosen[:1]


def invoke(interpreter: Any, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One run of the signature, its inputs resized to the arrays."""
    runner = interpreter.get_signature_runner()
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    del runner
    for name, detail in inputs.items():
        interpreter.resize_tensor_input(detail["index"], arrays[name].shape, strict=True)
    interpreter.allocate_tensors()
    for name, detail in inputs.items():
        interpreter.set_tensor(detail["index"], arrays[name].astype(detail["dtype"]))
    interpreter.invoke()
    return {name: np.array(interpreter.get_tensor(detail["index"])) for name, detail in outputs.items()}
