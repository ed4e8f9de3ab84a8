"""Matrix products against ONNX Runtime and numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op_handlers.nodes import check_node, normal, run_node, whole

SHAPES = [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
          ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)),
          ((1, 2, 1, 1, 3, 4), (2, 1, 3, 1, 4, 2)),
          ((2, 1, 2, 1, 2, 1, 3, 4), (4, 5)), ((2, 3, 1, 2, 1, 2, 3, 4), (2, 3, 1, 2, 1, 2, 4, 5)),
          ((2, 1, 2, 1, 2, 1, 3, 4), (1, 2, 1, 2, 1, 2, 4, 5))]  # fmt: skip


@pytest.mark.parametrize("const", [(), (1,), (0,)], ids=["run time", "right constant", "left constant"])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes: tuple[Any, Any], const: tuple[int, ...]) -> None:
    check_node("MatMul", [normal(*shapes[0]), normal(*shapes[1], seed=1)], const=const)


@pytest.mark.parametrize("const", [(), (1,)], ids=["run time", "constant"])
def test_matmul_dynamic(const: tuple[int, ...]) -> None:
    check_node("MatMul", [normal(3, 2, 4), normal(4, 5, seed=1)], const=const, dynamic=[0])


def test_weights_are_fully_connected_and_keep_leading_axes() -> None:
    graph = check_node("MatMul", [normal(3, 2, 4), normal(4, 5, seed=1)], const=[1], dynamic=[0])
    assert [op.kind.name for op in graph.ops] == ["FULLY_CONNECTED"]


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_matmul_is_exact(dtype: str) -> None:
    x, y = whole(3, 4, low=-(2**20), high=2**20, dtype=dtype), whole(2, 4, 5, dtype=dtype, seed=1)
    for got in run_node("MatMul", [x, y]).values():
        np.testing.assert_array_equal(got[0], x @ y)


@pytest.mark.parametrize("trans", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize("const", [(), (1, 2), (2,)], ids=["run time", "constant", "constant bias"])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (3, 5), (3, 1), (), (1,)], ids=str)
def test_gemm(bias: tuple[int, ...] | None, const: tuple[int, ...], trans: tuple[int, int]) -> None:
    if trans != (0, 1) and bias not in (None, (5,), (3, 1)):
        return
    inputs = [normal(*((4, 3) if trans[0] else (3, 4))), normal(*((5, 4) if trans[1] else (4, 5)), seed=1)]
    inputs += [] if bias is None else [normal(*bias, seed=2)]
    check_node("Gemm", inputs, const=const, transA=trans[0], transB=trans[1], alpha=0.5, beta=2.0)


def test_gemm_is_one_operation() -> None:
    graph = check_node("Gemm", [normal(3, 4), normal(5, 4), normal(5)], const=[1, 2], transB=1, alpha=2.0, dynamic=[0])
    assert [op.kind.name for op in graph.ops] == ["FULLY_CONNECTED"]


EQUATIONS = ["ij,jk->ik", "bij,bjk->bik", "bhqd,bhkd->bhqk", "ij->ji", "ij->", "ii->i", "ii", "i,j->ij", "bij,bkj->bik",
             "...ij,...jk->...ik", "bn,bcn->bc", "ij,jk,kl->il", "nhwc,cd->nhwd", "abc,cd,bd->a", "bijc,bjkc->bikc",
             "i,i", "bthd,hdo->bto", "ij,ij->ij"]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str) -> None:
    sizes = dict(zip("abcdhijklnoqtw", (2, 3, 4, 5, 2, 3, 3, 5, 2, 4, 3, 5, 2, 3), strict=True))
    terms = equation.split("->")[0].split(",")
    sizes["j"] = 3 if "ii" in equation else 4
    inputs = [
        normal(*((2,) if "..." in t else ()), *(sizes[c] for c in t.replace("...", "")), seed=i)
        for i, t in enumerate(terms)
    ]
    check_node("Einsum", inputs, equation=equation, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bhqd,bhkd->bhqk", "bn,bcn->bc"])
def test_einsum_dynamic(equation: str) -> None:
    sizes = dict(zip("bijkhqdnc", (2, 3, 4, 5, 2, 3, 4, 5, 3), strict=True))
    inputs = [normal(*(sizes[c] for c in t), seed=i) for i, t in enumerate(equation.split("->")[0].split(","))]
    check_node("Einsum", inputs, equation=equation, dynamic=[0, 1], rtol=1e-4, atol=1e-5)


def test_integer_einsum() -> None:
    x, y = whole(2, 3, dtype=np.int32), whole(3, 4, dtype=np.int32)
    for got in run_node("Einsum", [x, y], equation="ij,jk->ik").values():
        np.testing.assert_array_equal(got[0], x @ y)
