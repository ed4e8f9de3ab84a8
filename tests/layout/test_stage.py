"""The whole stage on random programs: docs/layout.md, 8.3 and 8.6."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from onnx2tf_lite.ir import build as b
from onnx2tf_lite.ir.graph import Graph, Value, building
from onnx2tf_lite.layout import assign, stage
from onnx2tf_lite.layout.problem import Labelling

from .interpreter import run
from .programs import random_program


def transposed_bytes(graph: Graph) -> int:
    return sum(op.outputs[0].nbytes() for op in graph.ops if op.kind.name == "TRANSPOSE")


def feeds_for(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {v.name: rng.normal(size=v.shape).astype(np.float32) for v in graph.inputs}


def run_by_name(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every ONNX tensor of a program, in ONNX order, laid out or not."""
    if not graph.placements:
        env = run(graph, {v: feeds[v.name] for v in graph.inputs})
        return {n: env[v] for n, v in graph.tensors.items() if v in env}
    stored = {v: graph.placements[v.name].store(feeds[v.name], {}) for v in graph.inputs}
    env = run(graph, stored)
    return {n: p.restore(env[p.value], {}) for n, p in graph.placements.items() if p.value in env}


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[Labelling]:
    """The optimisation problems that a test's runs of the stage posed."""
    problems: list[Labelling] = []
    solve = Labelling.solve
    monkeypatch.setattr(Labelling, "solve", lambda self: (problems.append(self), solve(self))[1])
    return problems


@pytest.mark.parametrize("block", range(30))
def test_random_programs(block: int, solved: list[Labelling]) -> None:
    """Numerics of every tensor equal, emitted bytes = the solver's value = the brute-forced minimum."""
    for seed in range(block * 50, block * 50 + 50):  # 1,500 programs in all
        graph = random_program(seed)
        feeds = feeds_for(graph)
        expected = run_by_name(graph, feeds)
        outputs = {n: expected[n] for n in graph.output_names}
        report = assign(graph)
        got = run_by_name(graph, feeds)
        assert set(outputs) <= set(got), seed
        for name, array in got.items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5, err_msg=f"program {seed}, {name}")
        assert report.emitted_bytes == report.cost_bytes == transposed_bytes(graph), seed
        problem = solved[-1]
        free = range(problem.nodes)
        moving = [
            i for i in free if any(p.node == i and p.keys[0] != p.keys[1] for _, ps in problem.values for p in ps)
        ]
        if len(moving) <= 12 and not report.conflicts:
            labels = [0] * len(free)
            best = min(
                problem.cost([dict(zip(moving, choice, strict=True)).get(i, 0) for i in range(len(labels))])
                for choice in itertools.product((0, 1), repeat=len(moving))
            )
            assert problem.cost(problem.solve()[0]) == best, seed


@pytest.mark.parametrize("seed", range(60))
def test_second_run_changes_nothing(seed: int) -> None:
    graph = random_program(seed)
    report = assign(graph)
    again = assign(graph, {v.name: "onnx" for v in graph.inputs} | dict.fromkeys(graph.output_names, "onnx"))
    assert again.emitted_bytes <= report.emitted_bytes


@pytest.mark.parametrize("seed", range(60))
def test_inserting_a_transpose_and_its_inverse_costs_nothing(seed: int) -> None:
    plain, padded = random_program(seed), random_program(seed)
    rng = np.random.default_rng(seed)
    ops, padded.ops = padded.ops, []
    renamed: dict[Value, Value] = {}
    with building(padded):
        for op in ops:
            op.replace_uses(renamed)
            padded.ops.append(op)
            for value in op.outputs:
                perm = rng.permutation(value.rank)
                if value.rank > 1 and value not in padded.outputs and rng.random() < 0.5:
                    renamed[value] = b.transpose(b.transpose(value, perm), np.argsort(perm))
    assert assign(padded).cost_bytes == assign(plain).cost_bytes


@pytest.mark.parametrize("seed", range(60))
def test_splitting_a_reshape_in_two_costs_nothing(seed: int) -> None:
    """The way over the fully factored shape is a view wherever the direct one is."""
    plain, split = random_program(seed), random_program(seed)
    ops, split.ops = split.ops, []
    with building(split):
        for op in ops:
            if op.kind.name == "RESHAPE":
                x, target = op.inputs[0], op.outputs[0].shape
                assert x is not None
                unit = (1, *x.shape) if x.rank < 5 else x.shape
                op.inputs = [b.reshape(x, unit)]
                assert op.outputs[0].shape == target
            split.ops.append(op)
    assert assign(split).cost_bytes == assign(plain).cost_bytes


def conv_net(first_order: tuple[int, ...] | None = None) -> Graph:
    """Three convolutions with a residual; ``first_order`` (0,3,1,2): exported with a channels-last input."""
    graph = Graph()
    shape = (1, 8, 8, 8)
    x = graph.add_input("x", shape, np.float32)
    w = np.random.default_rng(0).normal(size=(8, 1, 1, 8)).astype(np.float32)

    def conv(v):
        y = b.emit("CONV_2D", b.channels_last(v), b.lift(w), None, padding="VALID", strides=(1, 1), dilations=(1, 1),
                   activation=None, groups=1)  # fmt: skip
        return b.channels_first(y)

    with building(graph):
        y = conv(b.transpose(x, first_order) if first_order else x)
        y = b.relu(conv(b.relu(y)) + y) * np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
        y = b.reshape(b.reduce("MEAN", conv(y), [2, 3], keepdims=True), (1, 8))
        y = b.fully_connected(y, np.eye(8, dtype=np.float32))
    graph.outputs, graph.output_names = [y], ["y"]
    graph.tensors = {"x": x, "y": y}
    return graph


@pytest.mark.parametrize("order", [None, (0, 3, 1, 2)], ids=["nchw", "nhwc-first"])
def test_plain_cnn_has_no_transpose(order: tuple[int, ...] | None) -> None:
    graph = conv_net(order)
    assert assign(graph).emitted_bytes == 0
    assert graph.placements["x"].perm == ((0, 3, 1, 2) if order is None else (0, 1, 2, 3))


def test_pinned_input_pays_for_its_order() -> None:
    graph = conv_net()
    report = assign(graph, {"x": "onnx"})
    assert report.emitted_bytes == 8 * 8 * 8 * 4
    assert graph.inputs[0].shape == (1, 8, 8, 8) and graph.placements["x"].perm == (0, 1, 2, 3)
    assert [m.producer for m in report.transposes] == ["input 'x'"]


def test_flatten_before_a_dense_layer_permutes_weights_not_data() -> None:
    graph = Graph()
    x = graph.add_input("x", (2, 3, 4, 5), np.float32)
    w = np.random.default_rng(0).normal(size=(3, 1, 1, 3)).astype(np.float32)
    with building(graph):
        y = b.emit("CONV_2D", b.channels_last(x), b.lift(w), None, padding="VALID", strides=(1, 1), dilations=(1, 1),
                   activation=None, groups=1)  # fmt: skip
        y = b.reshape(b.channels_first(y), (2, 60))
        y = b.fully_connected(y, np.random.default_rng(1).normal(size=(7, 60)).astype(np.float32))
    graph.outputs, graph.output_names, graph.tensors = [y], ["y"], {"x": x, "y": y}
    feeds = feeds_for(graph)
    expected = run_by_name(graph, feeds)["y"]
    assert assign(graph).emitted_bytes == 0
    np.testing.assert_allclose(run_by_name(graph, feeds)["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", [2, 4])
def test_channel_shuffle_is_one_transpose_inside_the_channels(groups: int) -> None:
    graph = Graph()
    x = graph.add_input("x", (1, 8, 8, 8), np.float32)
    w = np.random.default_rng(0).normal(size=(8, 2, 2, 8)).astype(np.float32)

    def conv(v):
        y = b.emit("CONV_2D", b.channels_last(v), b.lift(w), None, padding="VALID", strides=(1, 1), dilations=(1, 1),
                   activation=None, groups=1)  # fmt: skip
        return b.channels_first(y)

    with building(graph):
        y = conv(x)
        h = y.shape[2]
        y = b.reshape(b.transpose(b.reshape(y, (1, groups, 8 // groups, h, h)), (0, 2, 1, 3, 4)), (1, 8, h, h))
        y = conv(y)
    graph.outputs, graph.output_names, graph.tensors = [y], ["y"], {"x": x, "y": y}
    assign(graph)
    transposes = [op for op in graph.ops if op.kind.name == "TRANSPOSE"]
    assert len(transposes) == 1
    assert transposes[0].inputs[0].shape == (49, groups, 8 // groups)  # [HW, g, C/g]


def tiled_heads() -> Graph:
    """Two small convolution outputs, each repeated, joined to one large output in ONNX order."""
    graph = Graph()
    x = graph.add_input("x", (1, 8, 16, 16), np.float32)
    w = np.random.default_rng(0).normal(size=(8, 1, 1, 8)).astype(np.float32)
    with building(graph):
        heads = [
            b.emit("CONV_2D", b.channels_last(x), b.lift(w + i), None, padding="VALID", strides=(1, 1),
                   dilations=(1, 1), activation=None, groups=1)
            for i in range(2)
        ]  # fmt: skip
        y = b.concat([b.tile(b.channels_first(h), (1, 1, 4, 4)) for h in heads], 1)
    graph.outputs, graph.output_names, graph.tensors = [y], ["y"], {"x": x, "y": y}
    return graph


def test_bytes_decide_not_the_number_of_transposes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small transposes beat a large one; with unit weights (the mutation) sixteen times more would move."""
    small = 8 * 16 * 16 * 4
    assert assign(tiled_heads(), {"y": "onnx"}).emitted_bytes == 2 * small
    monkeypatch.setattr(stage, "weight", lambda value, shape: 0)
    graph = tiled_heads()
    assign(graph, {"y": "onnx"})
    assert transposed_bytes(graph) == 32 * small
