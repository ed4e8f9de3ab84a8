"""A .tflite file as C++ for TensorFlow Lite for Microcontrollers: its bytes, and what a program needs to know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.write import atomic

if TYPE_CHECKING:
    from ..validation.files.flatfile import FlatFile
    from ..validation.files.parted import Tensor

#: Parts of the names of operators that their methods of the resolver spell another way (micro_mutable_op_resolver.h).
SPELLED = {"2D": "2D", "PADV2": "PadV2", "MATMUL": "MatMul", "CUMSUM": "CumSum", "LSTM": "LSTM"}
METHODS = {"CUSTOM ethos-u": "AddEthosU"}
PER_LINE = 16

HEADER = """// {title}, for TensorFlow Lite for Microcontrollers.
#ifndef {guard}
#define {guard}

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace {name} {{

extern const unsigned char kModel[];  // aligned to 16 bytes
constexpr std::size_t kModelSize = {size};

// What AllocateTensors takes, as TFLM's interpreter measured it on a machine of 64 bits; one of 32 bits takes less.
constexpr std::size_t kArenaSize = {arena};

// real = (stored - zero_point) * scale; a scale of 0: not quantised.
struct Quantization {{
  float scale;
  int zero_point;
}};
{ends}
// Every operator of the model.
constexpr unsigned int kOperators = {count};

inline TfLiteStatus AddOperators(tflite::MicroMutableOpResolver<kOperators>& resolver) {{
{added}
  return kTfLiteOk;
}}

}}  // namespace {name}

#endif  // {guard}
"""
SOURCE = """// {title}
#include "{header}"

namespace {name} {{

alignas(16) const unsigned char kModel[] = {{
{bytes}
}};

static_assert(sizeof(kModel) == kModelSize, "all of the model");

}}  // namespace {name}
"""


def write(file: FlatFile, stem: Path, arena: int) -> list[Path]:
    """``stem``.h and ``stem``.cc of a file that TFLM runs in ``arena`` bytes."""
    name = re.sub(r"\W", "_", stem.name)
    name = f"m_{name}" if name[0].isdigit() else name
    methods = sorted({method(op) for op in file.counts})
    common = {"title": file.path.name, "name": name}
    texts = {
        ".h": HEADER.format(
            **common,
            guard=f"{name.upper()}_H_",
            size=len(file.data),
            arena=arena,
            ends="".join(_ends(file)),
            count=len(methods),
            added="\n".join(f"  if (resolver.{m}() != kTfLiteOk) return kTfLiteError;" for m in methods),
        ),
        ".cc": SOURCE.format(**common, header=f"{stem.name}.h", bytes="\n".join(_lines(memoryview(file.data)))),
    }
    paths = []
    for suffix, text in texts.items():
        paths.append(stem.with_name(stem.name + suffix))
        with atomic(paths[-1]) as out:
            out.write(text.encode())
    return paths


def method(operator: str) -> str:
    """The method of ``tflite::MicroMutableOpResolver`` that registers an operator."""
    return METHODS.get(operator) or "Add" + "".join(SPELLED.get(w, w.capitalize()) for w in operator.split("_"))


def _ends(file: FlatFile) -> Iterator[str]:
    for what, indices in (("Input", file.inputs), ("Output", file.outputs)):
        for number, index in enumerate(indices):
            tensor = file.tensors[index]
            yield f"\n// '{tensor.name}': {tensor.dtype.name}{list(tensor.shape)}\n"
            yield f"constexpr Quantization k{what}{number} = {_quantization(tensor)};\n"


def _quantization(tensor: Tensor) -> str:
    if not tensor.quantised:
        return "{0.0f, 0}"
    return f"{{{float(tensor.scale[0]):.9e}f, {int(tensor.zero[0])}}}"


def _lines(data: memoryview) -> Iterator[str]:
    for start in range(0, len(data), PER_LINE):
        yield "  " + ",".join(map(str, data[start : start + PER_LINE])) + ","
