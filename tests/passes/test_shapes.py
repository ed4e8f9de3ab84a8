"""Overrides, cuts, inference, needless copies; the manager; onnxsim."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnx2tf_lite import passes
from onnx2tf_lite.errors import ConversionError
from onnx2tf_lite.passes.manager import Pass, PassManager, PassResult
from onnx2tf_lite.passes.shapes import infer

from .conftest import feeds, law, load, model, ops, same, session

DYNAMIC = "(float[n,3,h,w] x, float[n,k] z) => (float[n,3,h,w] y, float[n,k] u) { y = Relu (x) u = Relu (z) }"


def shapes(graph: gs.Graph) -> dict[str, list]:
    return {t.name: list(t.shape) for t in [*graph.inputs, *graph.outputs]}


def run(text: str = DYNAMIC, **options: object) -> gs.Graph:
    graph = load(text)
    passes.run("shapes", graph, passes.PassOptions(**options))  # type: ignore[arg-type]
    return graph


def test_batch() -> None:
    assert shapes(run(batch_size=4)) == {"x": [4, 3, "h", "w"], "z": [4, "k"], "y": [4, 3, "h", "w"], "u": [4, "k"]}


def test_input_shape_reaches_every_use_of_its_symbols() -> None:
    assert shapes(run(input_shapes={"x": (2, 3, 8, 9)})) == {
        "x": [2, 3, 8, 9],
        "z": [2, "k"],
        "y": [2, 3, 8, 9],
        "u": [2, "k"],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shapes": {"xx": (1,)}}, "no such input -> did you mean x"),
        ({"input_shapes": {"x": (2, 4, 8, 9)}}, r"\[2,4,8,9\] contradicts the model's \[n,3,h,w\]"),
        ({"input_shapes": {"x": (2, 3)}}, "contradicts"),
        ({"input_shapes": {"x": (2, 3, 8, 9), "z": (3, 1)}}, "dimension 'n' is 2 elsewhere and 3 here"),
        ({"output_names": ("yy",)}, "no such tensor in the model -> did you mean"),
        ({"input_names": ("x",), "output_names": ("u",)}, "also depend on the inputs z"),
    ],
)
def test_refused(options: dict, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        run(**options)


@pytest.mark.parametrize("word", ["?", "None", "unk__7", ""])
def test_names_that_mean_unknown_make_nothing_equal(word: str) -> None:
    proto = model("(float[n,3,h,w] x, float[h,2] z) => (float[n,3,h,w] y) { y = Relu (x) }")
    for dim in [d for i in proto.graph.input for d in i.type.tensor_type.shape.dim if d.dim_param]:
        dim.dim_param = word
    assert [t.shape for t in passes.load(proto).inputs] == [[None, 3, None, None], [None, 2]]


def test_a_name_is_believed_once_in_an_input() -> None:
    graph = load("(float[n,3,s,s] x, float[n,s] z) => (float[n,3,s,s] y) { y = Relu (x) }")
    assert [t.shape for t in graph.inputs] == [["n", 3, "s", None], ["n", "s"]]
    passes.run("shapes", graph, passes.PassOptions(input_shapes={"x": (1, 3, 8, 12)}))
    assert [t.shape for t in graph.inputs] == [[1, 3, 8, 12], [1, 8]]


def test_fixed_batch_is_refused() -> None:
    with pytest.raises(ConversionError, match="no input has a free first dimension"):
        run("(float[1,3] x) => (float[1,3] y) { y = Relu (x) }", batch_size=2)


CHAIN = "(float[2] x, float[2] z) => (float[2] y) { a = Relu (x) b = Add (a, z) c = Neg (b) y = Abs (c) }"


def test_cut() -> None:
    graph = run(CHAIN, input_names=("b",), output_names=("c",))
    assert [t.name for t in graph.inputs] == ["b"] and ops(graph) == {"Neg": 1} and graph.inputs[0].shape == [2]
    onnx.checker.check_model(passes.to_proto(graph))
    assert not passes.run("shapes", graph, passes.PassOptions(input_names=("b",), output_names=("c",))).modified


def test_cut_that_does_not_separate() -> None:
    with pytest.raises(ConversionError, match="depend on the inputs z"):
        run(CHAIN, input_names=("a",))


def test_wrong_declared_shapes_do_not_survive_an_override() -> None:
    graph = load("(float[n,4] x) => (float[1,4] y) { y = Relu (x) }")
    passes.run("shapes", graph, passes.PassOptions(batch_size=3))
    assert list(graph.outputs[0].shape) == [3, 4]


def test_inference_in_bodies() -> None:
    text = """(bool c, float[n,4] x) => (float[n,4] y) {
      y = If (c) <then_branch = t () => (float[n,4] r) { a = Relu (x) r = Neg (a) },
                  else_branch = e () => (float[n,4] s) { s = Neg (x) }> }"""
    graph, _ = law("shapes", model(text))
    assert list(graph.nodes[0].attrs["then_branch"].nodes[0].outputs[0].shape) == ["n", 4]


# -- tile -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("e = Expand (z, s)  y = Mul (x, e)", {"Mul": 1}),
        ("e = Tile (z, r)  y = Add (e, x)", {"Add": 1}),
        ("e = Expand (z, s)  y = Mul (e, e)", {"Expand": 1, "Mul": 1}),
        ("e = Expand (z, s)  y = Relu (e)", {"Expand": 1, "Relu": 1}),
    ],
)
def test_needless_copies(text: str, left: dict[str, int]) -> None:
    proto = model(
        f"(float[4,5] x, float[1,5] z) => (float[4,5] y) {{ {text} }}", s=np.array([4, 5]), r=np.array([4, 1])
    )
    graph = passes.load(proto)
    passes.run("shapes", graph)
    assert passes.run("tile", graph).modified == ("Expand" not in left)
    passes.run("clean", graph)
    assert ops(graph) == left
    given = feeds(proto)
    same(session(proto).run(None, given), session(passes.to_proto(graph)).run(None, given))


@pytest.mark.parametrize(
    ("index", "target", "axis", "fits"),
    [([4, 1], [4, 5], 0, True), ([1, 5], [4, 5], 0, False), ([4, 1], [4, 3], 0, False), ([1, 5], [4, 5], 1, True)],
)
def test_gather_elements(index: list, target: list, axis: int, fits: bool) -> None:
    proto = model(
        f"(float[4,5] x) => (float[a,b] y) {{ e = Expand (i, s)  y = GatherElements <axis = {axis}> (x, e) }}",
        i=np.arange(int(np.prod(index))).reshape(index) % 4, s=np.array(target),
    )  # fmt: skip
    graph, _ = law("tile", proto)
    assert ("Gather" in ops(graph)) == fits


OPEN = "(float[n,3] x, int64[2] k) => (float[a,3] y) { e = Expand (x, k) y = Concat <axis = 0> (x, e) }"
KNOWN = "(float[n,3] x) => (float[n,6] y) { e = Neg (x) y = Concat <axis = 1> (x, e) }"


@pytest.mark.parametrize(("text", "inferred"), [(KNOWN, 1), (OPEN, 2)])
def test_shapes_are_inferred_again_only_where_one_is_open(text: str, inferred: int, monkeypatch) -> None:
    calls: list[bool] = []

    def counted(graph: gs.Graph, trust: bool = True) -> int:
        calls.append(trust)
        return infer(graph, trust)

    monkeypatch.setattr("onnx2tf_lite.passes.shapes.infer", counted)
    passes.optimize(load(text), passes.PassOptions(simplify="never"))
    assert len(calls) == inferred


# -- the manager ------------------------------------------------------------------------------------------------------
class Count(Pass):
    """Changes something a number of times."""

    def __init__(self, times: int, name: str = "count"):
        super().__init__()
        self.times, self.calls, self.name = times, 0, name

    def call(self, graph: gs.Graph) -> PassResult:
        self.calls += 1
        return PassResult(graph, self.calls <= self.times)


class Broken(Pass):
    """Fails."""

    name = "broken"

    def call(self, graph: gs.Graph) -> PassResult:
        raise IndexError("list index out of range")


GRAPH = "(float[2] x) => (float[2] y) { y = Relu (x) }"


def test_fixpoint_stops_early() -> None:
    a, b = Count(2), Count(0)
    result = PassManager([a, b], steps=10)(load(GRAPH))
    assert result.modified and (a.calls, b.calls) == (3, 2)  # b's second quiet run ends it


@pytest.mark.parametrize(("times", "calls"), [(0, 1), (1, 2)])
def test_a_pass_with_nothing_to_do_is_not_run_again_before_something_changes(times: int, calls: int) -> None:
    idle, between = Count(0), Count(times)
    group = PassManager([idle], steps=3)
    manager = PassManager([group, between, idle])
    manager(load(GRAPH))
    assert (idle.calls, between.calls) == (calls, 1)
    manager(load(GRAPH))  # another graph
    assert idle.calls == 2 * calls - times


def test_fixpoint_that_never_settles_says_so() -> None:
    assert "stopped after 3 rounds" in PassManager([Count(99)], steps=3)(load(GRAPH)).notes


def test_failure_names_the_pass_and_those_before() -> None:
    inner = PassManager([Count(1, "second"), Broken()])
    with pytest.raises(ConversionError, match=r"pass 'broken': IndexError.*passes before it: second"):
        PassManager([Count(1, "first"), inner])(load(GRAPH))


def test_a_pass_that_breaks_the_order_is_caught() -> None:
    class Shuffle(Pass):
        """Turns the nodes around."""

        name = "shuffle"

        def call(self, graph: gs.Graph) -> PassResult:
            graph.nodes = graph.nodes[::-1]
            return PassResult(graph, True)

    with pytest.raises(ConversionError, match=r"pass 'shuffle': .* before it is made"):
        Shuffle()(load("(float[2] x) => (float[2] y) { a = Relu (x) y = Neg (a) }"))


def test_registry() -> None:
    assert list(passes.PASSES)[:3] == ["widen", "shapes", "upgrade"] and list(passes.PASSES)[-1] == "names"
    assert all(e.summary.endswith(".") and len(e.summary) < 120 for e in passes.PASSES.values())


@pytest.mark.parametrize(
    "act",
    [
        lambda: passes.run("batchnrm", load(GRAPH)),
        lambda: passes.default_pipeline(passes.PassOptions(disabled=frozenset({"batchnrm"}))),
    ],
)
def test_unknown_pass(act) -> None:
    with pytest.raises(ConversionError, match=r"no such pass -> did you mean batchnorm.?"):
        act()


def test_disabled_passes_do_not_run_and_the_listener_hears_of_the_others() -> None:
    heard: list[tuple[str, int, int]] = []
    options = passes.PassOptions(disabled=frozenset({"gelu", "simplify"}))
    _, reports = passes.optimize(load(GRAPH), options, lambda *call: heard.append(call))
    assert {r.name for r in reports} == set(passes.PASSES) - {"gelu", "simplify"}
    places = [place for _, place, _ in heard]
    assert places == sorted(set(places)) and places[-1] + 1 == heard[0][2]


# -- onnxsim ----------------------------------------------------------------------------------------------------------
WEIGHT = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
FOLDABLE = "(float[1,64] x) => (float[1,64] y) { a = Relu (x) b = Identity (a) c = MatMul (b, w) y = Add (c, c) }"


def test_never_and_auto_leave_a_clean_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxsim

    monkeypatch.setattr(onnxsim, "simplify", lambda *a, **k: pytest.fail("onnxsim was called"))
    for mode in ("never", "auto"):
        passes.optimize(load(FOLDABLE, w=WEIGHT), passes.PassOptions(simplify=mode))


def test_always() -> None:
    proto = model(FOLDABLE, w=WEIGHT)
    graph = passes.load(proto)
    held = graph.nodes[2].inputs[1]._values
    result = passes.run("simplify", graph, passes.PassOptions(simplify="always"))
    assert ops(graph) == {"Relu": 1, "MatMul": 1, "Add": 1} and any("onnxsim" in n for n in result.notes)
    assert next(n for n in graph.nodes if n.op == "MatMul").inputs[1]._values is held  # by reference, not copied
    given = feeds(proto)
    same(session(proto).run(None, given), session(passes.to_proto(graph)).run(None, given))


@pytest.mark.parametrize("failure", ["raises", "returns nonsense", "renames"])
def test_onnxsim_that_fails_leaves_the_model(monkeypatch: pytest.MonkeyPatch, failure: str) -> None:
    import onnxsim

    def broken(proto: onnx.ModelProto, **how: object) -> tuple[onnx.ModelProto, bool]:
        if failure == "raises":
            raise RuntimeError("Segmentation of the universe")
        if failure == "renames":
            return model("(float[1,64] q) => (float[1,64] y) { y = Relu (q) }"), True
        return model("(float[1,64] x) => (float[1,64] y) { y = Relu (x, x) }") if False else onnx.ModelProto(), True

    monkeypatch.setattr(onnxsim, "simplify", broken)
    graph = load(FOLDABLE, w=WEIGHT)
    result = passes.run("simplify", graph, passes.PassOptions(simplify="always"))
    assert ops(graph) == {"Relu": 1, "MatMul": 1, "Add": 1} and "the model is left as it was" in result.notes
