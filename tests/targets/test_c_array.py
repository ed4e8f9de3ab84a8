"""The C++ of a model: it compiles, holds the bytes of the file, and knows the operators that TFLM has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite.child import Limits, call
from onnx2tf_lite.targets import c_array, device, proof
from onnx2tf_lite.targets.proof import litert, tflm
from onnx2tf_lite.targets.verdict import judge
from onnx2tf_lite.validation.files.flatfile import FlatFile
from tests.targets import needs, single

#: The methods that micro_mutable_op_resolver.h of tensorflow/tflite-micro has for builtin operators.
NAMES = """
AddAbs AddAdd AddAddN AddArgMax AddArgMin AddAssignVariable AddAveragePool2D AddBatchMatMul AddBatchToSpaceNd
AddBroadcastArgs AddBroadcastTo AddCallOnce AddCast AddCeil AddConcatenation AddConv2D AddCos AddCumSum
AddDepthToSpace AddDepthwiseConv2D AddDequantize AddDiv AddDynamicUpdateSlice AddElu AddEmbeddingLookup AddEqual
AddEthosU AddExp AddExpandDims AddFill AddFloor AddFloorDiv AddFloorMod AddFullyConnected AddGather AddGatherNd
AddGreater AddGreaterEqual AddHardSwish AddIf AddL2Normalization AddL2Pool2D AddLeakyRelu AddLess AddLessEqual AddLog
AddLogSoftmax AddLogicalAnd AddLogicalNot AddLogicalOr AddLogistic AddMaxPool2D AddMaximum AddMean AddMinimum
AddMirrorPad AddMul AddNeg AddNotEqual AddPack AddPad AddPadV2 AddPrelu AddQuantize AddReadVariable AddReduceAll
AddReduceMax AddReduceMin AddRelu AddRelu6 AddReshape AddResizeBilinear AddResizeNearestNeighbor AddReverseV2 AddRound
AddRsqrt AddSelectV2 AddShape AddSin AddSlice AddSoftmax AddSpaceToBatchNd AddSpaceToDepth AddSplit AddSplitV AddSqrt
AddSquare AddSquaredDifference AddSqueeze AddStridedSlice AddSub AddSum AddSvdf AddTanh AddTranspose AddTransposeConv
AddUnidirectionalSequenceLSTM AddUnpack AddVarHandle AddWhile AddZerosLike
"""
METHODS = NAMES.split()
STAND_IN = """#pragma once
enum TfLiteStatus {{ kTfLiteOk = 0, kTfLiteError = 1 }};
namespace tflite {{
template <unsigned int n> struct MicroMutableOpResolver {{
  unsigned int added = 0;
  {methods}
}};
}}
"""
PROGRAM = """#include "net.h"
#include <cstdio>
int main() {
  tflite::MicroMutableOpResolver<net::kOperators> resolver;
  if (net::AddOperators(resolver) != kTfLiteOk || resolver.added != net::kOperators) return 1;
  if (reinterpret_cast<std::uintptr_t>(net::kModel) % 16) return 2;
  std::fwrite(net::kModel, 1, net::kModelSize, stdout);
  std::fprintf(stderr, "%.9g %d %zu", net::kInput0.scale, net::kInput0.zero_point, net::kArenaSize);
  return 0;
}
"""


@pytest.fixture
def file(tmp_path: Path) -> FlatFile:
    path = tmp_path / "net.tflite"
    path.write_bytes(single.content("CONV_2D-grouped-relu6", "q8"))
    return FlatFile(path)


@needs("tflm")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
def test_it_compiles_and_is_the_file(file: FlatFile, tmp_path: Path) -> None:
    fit = judge("micro", file)
    _, source = c_array.write(file, tmp_path / "net", fit.arena)
    stand_in = tmp_path / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    stand_in.parent.mkdir(parents=True)
    methods = "\n  ".join(f"TfLiteStatus {m}() {{ return added++ < n ? kTfLiteOk : kTfLiteError; }}" for m in METHODS)
    stand_in.write_text(STAND_IN.format(methods=methods))
    (tmp_path / "main.cc").write_text(PROGRAM)
    command = ["g++", "-std=c++17", "-Wall", "-Werror", "-I.", "main.cc", source.name, "-o", "net"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    found = subprocess.run([tmp_path / "net"], capture_output=True, check=True, timeout=60)
    assert found.stdout == file.path.read_bytes()
    scale, zero, arena = found.stderr.split()
    assert (np.float32(scale), int(zero), int(arena)) == (np.float32(0.05), 3, fit.arena) and fit.arena > 0


@needs("tflm")
def test_the_arena_is_what_is_needed_and_no_more(file: FlatFile) -> None:
    from tflite_micro.python.tflite_micro import runtime

    arena = judge("micro", file).arena

    def starts(size: int) -> bool:
        try:
            runtime.Interpreter.from_bytes(bytes(file.data), arena_size=size)
        except RuntimeError:
            return False
        return True

    assert call(lambda: starts(arena), limits=Limits(60, 1 << 30))
    assert not call(lambda: starts(arena - 64), limits=Limits(60, 1 << 30))


def test_every_operator_of_the_table_has_its_method() -> None:
    assert {c_array.method(name) for name in device("micro").rows} <= set(METHODS)


@needs("tflm")
def test_a_file_that_gives_other_bytes_does_not_run(file: FlatFile, monkeypatch: pytest.MonkeyPatch) -> None:
    right = litert.everywhere

    def bent(*given: object) -> dict[str, list[np.ndarray]]:
        return {name: [a + np.int8(2) for a in arrays] for name, arrays in right(*given).items()}  # type: ignore[arg-type]

    monkeypatch.setattr(litert, "everywhere", bent)
    fit = judge("micro", file)
    assert not fit.ok and "as far from LiteRT's as is allowed" in fit.sentence


@needs("tflm")
def test_a_tool_that_dies_is_said(file: FlatFile, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(tflm, "ask", lambda *given: os.abort())
    fit = judge("micro", file)
    assert not fit.ok and "aborted" in fit.failed


@needs("tflm")
def test_a_tool_that_does_not_end_is_stopped(file: FlatFile, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(proof, "LIMITS", Limits(1, 1 << 30))
    monkeypatch.setattr(tflm, "ask", lambda *given: time.sleep(30))
    fit = judge("micro", file)
    assert not fit.ok and "within the time" in fit.failed
