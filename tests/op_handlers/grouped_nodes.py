"""Operands of GroupQueryAttention, drawn: every form of cache, prompt and step with every attribute that ONNX Runtime's
CPU kernel takes, and which of the results its schema specifies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

F32, I32 = np.float32, np.int32
BITS: dict[int, Any] = {0: np.float32, 8: np.int8, 4: np.uint8}


@dataclass
class Drawn:
    """One node: batch B, new tokens S, heads N, key heads K, head size H, rows of the cache C (None: there is none)."""

    mode: str
    rng: np.random.Generator
    attrs: dict[str, Any] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)
    bits: int = 0

    def __post_init__(self) -> None:
        rng = self.rng
        heads, keys = ((4, 2), (4, 4), (4, 1))[rng.integers(3)]
        size, batch = 32, 1 if self.mode == "several tokens" else 2
        steps = {"prompt": 5, "first prompt": 5, "step": 1, "several tokens": 3, "chunk": 4, "shared": 1}[self.mode]
        rows = {"first prompt": None, "prompt": (0, 7)[rng.integers(2)]}.get(self.mode, 9)
        self.attrs = {"num_heads": heads, "kv_num_heads": keys}
        self.last, self.valid, total = self.lengths(batch, steps, rows or 0)
        new = 0 if self.mode == "shared" else steps
        qkv = [self.normal(batch, n, count * size) for n, count in ((steps, heads), (new, keys), (new, keys))]
        packed = new and self.chance(0.3)
        self.inputs = [np.concatenate(qkv, 2), None, None] if packed else qkv
        self.inputs += [*self.cache(batch, keys, rows, size), self.last, np.array(total, I32), *self.turns(steps, size)]
        self.inputs.append(self.normal(1, heads, steps, total) if self.chance(0.3) else None)
        self.inputs.append(self.normal(heads) if self.chance(0.2) else None)
        self.inputs += [*self.scales(keys, size), None, None, self.valid]
        self.shape(rows or 0)

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(F32)

    def lengths(self, batch: int, steps: int, rows: int) -> tuple[np.ndarray, np.ndarray | None, int]:
        """Places of the last tokens, new tokens that count, and the greatest number of tokens."""
        rng, valid = self.rng, None
        if "prompt" in self.mode:
            last = rng.integers(0, steps, batch) if self.chance(0.5) else np.full(batch, steps - 1)
            return last.astype(I32), None, steps
        if self.mode == "chunk":
            past, valid = rng.integers(0, rows - steps + 1, batch), rng.integers(0, steps + 1, batch).astype(I32)
            valid = np.maximum(valid, past == 0).astype(I32)
            return (past + valid - 1).astype(I32), valid, rows
        last = rng.integers(steps, rows + (self.mode == "step"), batch)
        return last.astype(I32), None, int(last.max()) + 1

    def cache(self, batch: int, keys: int, rows: int | None, size: int) -> list[np.ndarray | None]:
        if rows is None:
            return [None, None]
        self.bits = (0, 0, 8, 4)[self.rng.integers(4)]
        if not self.bits:
            return [self.normal(batch, keys, rows, size) for _ in range(2)]
        info, width = np.iinfo(BITS[self.bits]), size * self.bits // 8
        return [self.rng.integers(info.min, info.max + 1, (batch, keys, rows, width), info.dtype) for _ in range(2)]

    def scales(self, keys: int, size: int) -> list[np.ndarray | None]:
        if not self.bits:
            return [None, None]
        kind, shape = (("PER_TENSOR", (1,)), ("PER_CHANNEL", (1, keys, 1, size)))[self.rng.integers(2)]
        self.attrs |= {"k_quant_type": kind, "v_quant_type": kind, "kv_cache_bit_width": self.bits}
        step = 0.025 if self.bits == 8 else 0.4
        return [self.rng.uniform(step, 1.2 * step, shape).astype(F32) for _ in range(2)]

    def turns(self, steps: int, size: int) -> list[np.ndarray | None]:
        """Angles of half a head or less, and positions."""
        if not self.chance(0.5):
            return [None] * 3
        self.attrs |= {"do_rotary": 1, "rotary_interleaved": int(self.rng.integers(2))}
        angles = np.arange(20)[:, None] / 3.0 ** np.arange(size // (2, 4)[self.rng.integers(2)])
        places = self.rng.integers(0, 12, (len(self.last), steps)) if self.chance(0.4) else None
        return [np.cos(angles).astype(F32), np.sin(angles).astype(F32), places]

    def shape(self, rows: int) -> None:
        """Attributes of the scores; a window, or all tokens, or a cache that slides."""
        if self.chance(0.4):
            self.attrs["local_window_size"] = int(self.rng.integers(1, 6))
            padded = self.valid is None and (self.last + 1 < self.inputs[0].shape[1]).any()
            if rows and not padded and self.mode != "shared" and self.chance(0.5):
                self.attrs["sliding_window_cache"] = 1
        elif self.mode != "chunk" and self.chance(0.3):
            self.attrs["causal"] = 0
        if "sliding_window_cache" not in self.attrs and self.chance(0.3):
            self.attrs["qk_output"] = int(self.rng.integers(1, 3))
        for name, value in {"softcap": 0.7, "scale": 0.6, "smooth_softmax": 1}.items():
            self.attrs |= {name: value} if self.chance(0.3) else {}

    @property
    def outputs(self) -> list[Any]:
        kind = BITS[self.bits]
        return [F32, kind, kind] + [F32] * ("qk_output" in self.attrs)

    def specified(self, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        """For each result, where the operator's schema says what it is: not behind the tokens of a row."""
        count, steps = self.last + 1, self.inputs[0].shape[1]
        fresh = np.minimum(count, steps) if self.valid is None else self.valid
        left = count
        if "sliding_window_cache" in self.attrs:
            capacity = self.inputs[3].shape[2]
            once = capacity - self.attrs["local_window_size"] + 1
            left = np.where(count <= capacity, count, count - once * -(-(count - capacity) // once))
        axes = [(1, fresh), (2, left), (2, left), (2, fresh)]
        found = []
        for shape, (axis, number) in zip(shapes, axes, strict=False):
            along = np.arange(shape[axis]).reshape(-1, *(1,) * (len(shape) - 1 - axis))
            found.append(np.broadcast_to(along < number.reshape(-1, *(1,) * (len(shape) - 1)), shape))
        return found
