"""Small models that ask for very much: refused, or written small; never computed on the way.

Each in a process with the limits of the fuzzer, seconds and gigabytes.
"""

from __future__ import annotations

import pytest
from onnx import parser

from . import campaign

DOUBLES = " ".join(f"p{i + 1} = Concat<axis = 0>(p{i}, p{i})" for i in range(30))
#: name -> the newest opset that it needs, the graph, what is said.
REFUSED: dict[str, tuple[int, str, str]] = {
    "operations": (
        17,
        """(float[1,1,4,4] x) => (float y) <float[1,5] r = {0,0,0,3,3}> {
            y = MaxRoiPool<pooled_shape = [1, 100000000]>(x, r)
        }""",
        "more than 100,000 operations",
    ),
    "terms of a sum": (
        17,
        "(float[5,5,5,5] x) => (float y) { y = LRN<size = 2147483646>(x) }",
        "more than 100,000 operations",
    ),
    "parts of a sequence": (
        17,
        """(float[1000000000] x) => (float y) <int64 n = {1}> {
            s = SplitToSequence(x, n)
            y = SequenceAt(s, n)
        }""",
        "1,000,000,000 parts, and 10,000 are the most",
    ),
    "axes": (
        18,
        "(float[q,2,2] x, int64[1000000000] axes) => (float[a,b,c] y) { y = ReduceSum(x, axes) }",
        "1,000,000,000 axes of a tensor that has 3",
    ),
    "a scale of ones": (
        18,
        """(float[3,1000000000] x) => (float y) <int64[1] a = {1}, float e = {0.00001}> {
            s = Mul(x, x)
            m = ReduceMean(s, a)
            v = Add(m, e)
            r = Sqrt(v)
            y = Div(x, r)
        }""",
        "elements, and TFLite counts in 32 bits",
    ),
    "sizes of a crop": (
        18,
        """(float[10,7,3] x, int64[1000000000] n) => (float y) {
            s = Shape(x)
            m = Max(s, n)
            d = Sub(m, s)
            p = Concat<axis = 0>(d, d)
            z = Pad(x, p)
            y = Slice(z, d, m)
        }""",
        "shapes [3] and [1000000000] do not broadcast",
    ),
    "weights of a resize": (
        17,
        """(float[1,1,4,4] x) => (float y) <int64[4] n = {1,1,4,100000000}> {
            y = Resize<mode = "cubic">(x, , , n)
        }""",
        "a table of 100,000,000 elements",
    ),
    "places of a window": (
        17,
        """(float[1,1,4,1000000000] x) => (float y) {
            y = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(x)
        }""",
        "a table of 2,000,000,002 elements",
    ),
    "samples of a region": (
        17,
        """(float[1,1,4,4] x) => (float y) <float[1,4] r = {0,0,3,3}, int64[1] i = {0}> {
            y = RoiAlign<sampling_ratio = 1000000000>(x, r, i)
        }""",
        "a table of 1,000,000,000 elements",
    ),
    "columns of n-grams": (
        17,
        """(int64[100] x) => (float y) {
            y = TfIdfVectorizer<max_gram_length = 2, min_gram_length = 2, max_skip_count = 0, mode = "TF",
                ngram_counts = [0, 0], ngram_indexes = [0, 1000000000], pool_int64s = [1, 2, 3, 4]>(x)
        }""",
        "a table of 2,000,000,002 elements",
    ),
    "gaps between words": (
        17,
        """(int64[n] x) => (float y) {
            y = TfIdfVectorizer<max_gram_length = 2, min_gram_length = 2, max_skip_count = 1000000000, mode = "TF",
                ngram_counts = [0, 0], ngram_indexes = [0, 1], pool_int64s = [1, 2, 3, 4]>(x)
        }""",
        "1,000,000,001 gaps",
    ),
    "waves": (17, "(float[1,1000000000,1] x) => (float y) { y = DFT<axis = 1>(x) }", "a table of"),
    "elements of a result": (
        17,
        """(float[4] x) => (float y) <int64 n = {1000000000}, int64 l = {4000}, float f = {0}> {
            y = MelWeightMatrix(n, l, l, f, f)
        }""",
        "2,001,000,000,000 elements, and TFLite counts in 32 bits",
    ),
    "constants that double": (
        17,
        "(float[4] x) => (int64 y) <int64[4] p0 = {1,2,3,4}> {" + DOUBLES + " y = Identity(p30) }",
        "elements, and TFLite counts in 32 bits",
    ),
    "an image of nothing by much": (
        18,
        """(float[4] x) => (float y) <int64[3] n = {0,400000000,1}, int64[3] k = {1,1,1}, float[1,1,2] d = {1,2}> {
            y = Col2Im(d, n, k)
        }""",
        "[1,1,1,0,400000000,1] has 0 elements",
    ),
}
#: What a kernel makes at run time, and no file holds.
WRITTEN: dict[str, tuple[int, str]] = {
    "a filter bank": (
        17,
        """(float[1] x) => (float y)
        <int64 n = {100000}, int64 l = {4000}, int64 r = {16000}, float f = {0}, float h = {8000}> {
            m = MelWeightMatrix(n, l, r, f, h)
            y = Add(m, x)
        }""",
    ),
    "a window": (
        17,
        "(float[1] x) => (float y) <int64 n = {100000000}> { w = HannWindow(n) y = Add(w, x) }",
    ),
    "a range": (
        17,
        """(int64[1] x) => (int64 y) <int64 a = {0}, int64 n = {1000000000}, int64 d = {1}> {
            r = Range(a, n, d)
            y = Add(r, x)
        }""",
    ),
    "distinct elements": (17, "(int64[1000000000] x) => (int64 y) { y = Unique(x) }"),
    "a crop": (18, "(float[4] x) => (float y) <int64[1] n = {1000000000}> { y = CenterCropPad(x, n) }"),
}
#: Bytes of a process that converts a model of a few nodes, or (its children count) of onnx's tools at their limits.
PLAIN = 700 << 20


def content(opset: int, graph: str) -> bytes:
    model: bytes = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> g {graph}').SerializeToString()
    return model


def test_what_would_be_too_large_is_refused() -> None:
    found = campaign.outcomes([content(opset, graph) for opset, graph, _ in REFUSED.values()])
    for name, outcome in zip(REFUSED, found, strict=True):
        assert outcome.code == 1 and not list(outcome.faults()), (name, outcome)
        assert REFUSED[name][2] in outcome.said, (name, outcome.said)
        assert outcome.peak < PLAIN, (name, outcome.peak >> 20)


def test_what_is_made_at_run_time_costs_nothing_before() -> None:
    found = campaign.outcomes([content(*model) for model in WRITTEN.values()], ("--outputs", "float32", "--no-check"))
    for name, outcome in zip(WRITTEN, found, strict=True):
        assert outcome.code == 0 and not list(outcome.faults()), (name, outcome)
        assert outcome.peak < PLAIN, (name, outcome.peak >> 20)


@pytest.mark.parametrize("name", ["gaps between words", "waves"])
def test_the_message_names_the_node(name: str) -> None:
    opset, graph, _ = REFUSED[name]
    (outcome,) = campaign.outcomes([content(opset, graph)])
    assert f"{'DFT' if name == 'waves' else 'TfIdfVectorizer'} '" in outcome.said
