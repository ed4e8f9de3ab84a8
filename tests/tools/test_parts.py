"""The yard: every part against its definition in numpy, in ONNX Runtime; and its conversion against ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.tools import ToolError, parts
from onnx2tf_lite.tools.parts._attach import attach
from onnx2tf_lite.tools.parts._command import main
from onnx2tf_lite.tools.recipe import run as run_recipe

from . import models

Arrays = dict[str, np.ndarray]


def run(model: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray]:
    import onnxruntime as ort

    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def boxes(*shape: int, centres: bool = False, seed: int = 0) -> np.ndarray:
    """Boxes that overlap a lot, as two corners or as centre and size."""
    rng = np.random.default_rng(seed)
    middle, size = rng.uniform(0, 40, (*shape, 2)), rng.uniform(5, 25, (*shape, 2))
    made = (middle, size) if centres else (middle - size / 2, middle + size / 2)
    return np.concatenate(made, -1).astype(np.float32)


def scores(*shape: int, seed: int = 1) -> np.ndarray:
    """No two are equal, so that the order is defined."""
    count = math.prod(shape)
    return (np.random.default_rng(seed).permutation(count).reshape(shape) / count).astype(np.float32)


def nms(box: np.ndarray, score: np.ndarray, most: int, iou: float, centres: bool = False) -> list[int]:
    """The definition: best first, without those that overlap one that was taken by more than ``iou``."""
    box = box.astype(np.float64)
    low, high = (box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2) if centres else (box[:, :2], box[:, 2:])
    area, taken = np.prod(high - low, -1), list[int]()
    for i in np.argsort(-score):
        common = np.prod(np.clip(np.minimum(high[i], high[taken]) - np.maximum(low[i], low[taken]), 0, None), -1)
        if len(taken) == most:
            break
        if not (common / (area[i] + area[taken] - common) > iou).any():
            taken.append(int(i))
    return taken


def rows(box: np.ndarray, score: np.ndarray, most: int, iou: float, centres: bool = False) -> np.ndarray:
    found = [[b, c, i] for b in range(score.shape[0]) for c in range(score.shape[1])
             for i in nms(box[b], score[b, c], most, iou, centres)]  # fmt: skip
    return np.array(found, np.int64).reshape(-1, 3)


def table(box: np.ndarray, score: np.ndarray, most: int, iou: float) -> np.ndarray:
    """Z003: [B,most,5], filled up with box 0."""
    made = []
    for one, value in zip(box, score, strict=True):
        chosen = (nms(one, value, most, iou) + [0] * most)[:most]
        made.append(np.concatenate([one[chosen], value[chosen, None]], -1))
    return np.stack(made)


def linear(image: np.ndarray, sizes: tuple[int, int], factors: tuple[float, float]) -> np.ndarray:
    """Resize, linear, half_pixel, over the last two axes; edges repeat."""
    for axis, size, factor in zip((-2, -1), sizes, factors, strict=True):
        length = image.shape[axis]
        x = np.clip((np.arange(size) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.floor(x).astype(int)
        share = (x - low).reshape((-1, 1) if axis == -2 else (-1,))
        below, above = (np.take(image, i, axis) for i in (low, np.minimum(low + 1, length - 1)))
        image = below * (1 - share) + above * share
    return image


MEAN, STD = np.reshape([0.485, 0.456, 0.406], (3, 1, 1)), np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
IMAGE, SMALL = pixels(1, 3, 12, 18), pixels(3, 4, 6, 4)
BOXES, MANY = boxes(1, 60), boxes(2, 40)
SCORES, MANY_SCORES = scores(1, 60), scores(2, 40)
DATA, PLACES = pixels(1, 48, 64, 2), np.stack([np.zeros(6), np.arange(6) * 9, 60 - np.arange(6) * 7], -1).astype("i8")

Case = tuple[str, dict[str, Any], Arrays, Callable[[], list[np.ndarray]]]
CASES: list[Case] = [
    ("Z001", {}, {"normalization_rgb_imagenet_input": IMAGE}, lambda: [(IMAGE / 255 - MEAN) / STD]),
    ("Z001", {"mean": [0.5], "std": [0.25], "scale": 1.0, "batch": 3, "height": 6, "width": 4},
     {"normalization_rgb_imagenet_input": SMALL[:, :1]}, lambda: [(SMALL[:, :1] - 0.5) / 0.25]),
    ("Z002", {}, {"normalization_bgr_imagenet_input": IMAGE}, lambda: [(IMAGE / 255 - MEAN[::-1]) / STD[::-1]]),
    ("Z003", {"boxes": 60}, {"boxes": BOXES, "scores": SCORES}, lambda: [table(BOXES, SCORES, 100, 0.5)[0]]),
    ("Z003", {"boxes": 60, "max_boxes": 5, "iou": 0.2, "box_format": "yxyx"},
     {"boxes": BOXES, "scores": SCORES}, lambda: [table(BOXES, SCORES, 5, 0.2)[0]]),
    ("Z003", {"boxes": 40, "max_boxes": 7, "batch": 2}, {"boxes": MANY, "scores": MANY_SCORES},
     lambda: [table(MANY, MANY_SCORES, 7, 0.5)]),
    ("Z003", {"boxes": 40, "max_boxes": 30, "batch": "N", "opset": 17}, {"boxes": MANY, "scores": MANY_SCORES},
     lambda: [table(MANY, MANY_SCORES, 30, 0.5)]),
    ("Z004", {"boxes": 60, "classes": 4}, {"boxes": BOXES, "scores": scores(1, 4, 60)},
     lambda: [rows(BOXES, scores(1, 4, 60), 20, 0.5)]),
    ("Z004", {"boxes": 40, "classes": 3, "batch": 2, "iou": 0.3}, {"boxes": MANY, "scores": scores(2, 3, 40)},
     lambda: [rows(MANY, scores(2, 3, 40), 20, 0.3)]),
    ("Z004", {"boxes": 40, "classes": 3, "batch": "N", "box_format": "cxcywh", "max_boxes": 4},
     {"boxes": boxes(2, 40, centres=True), "scores": scores(2, 3, 40)},
     lambda: [rows(boxes(2, 40, centres=True), scores(2, 3, 40), 4, 0.5, centres=True)]),
    ("Z004", {"boxes": 40, "classes": 3, "batch": 2, "max_boxes": 9, "fixed": True},
     {"boxes": MANY, "scores": scores(2, 3, 40)}, lambda: fixed(rows(MANY, scores(2, 3, 40), 9, 0.5), 54)),
    ("Z005", {}, {"resize_input": IMAGE}, lambda: [linear(IMAGE, (6, 9), (0.5, 0.5))]),
    ("Z005", {"factor": [2, 1.5], "channels": 4, "batch": 3, "height": 6, "width": 4}, {"resize_input": SMALL},
     lambda: [linear(SMALL, (12, 6), (2, 1.5))]),
    ("Z006", {}, {"resize_input": IMAGE, "scales": np.array([1, 1, 1.5, 2], np.float32)},
     lambda: [linear(IMAGE, (18, 36), (1.5, 2))]),
    ("Z007", {"boxes": 40}, {"boxes": MANY[:1], "scores": scores(1, 1, 40)},
     lambda: [rows(MANY[:1], scores(1, 1, 40), 40, 0.3)]),
    ("Z007", {"boxes": 40, "batch": "N", "max_boxes": 3}, {"boxes": MANY, "scores": scores(2, 1, 40)},
     lambda: [rows(MANY, scores(2, 1, 40), 3, 0.3)]),
    ("Z008", {"channels": 4, "size": [6, 4]}, {"tensorrt_resize_input": SMALL},
     lambda: [linear(SMALL, (12, 8), (2, 2))]),
    ("Z009", {}, {"data": DATA, "indices": PLACES}, lambda: [DATA[tuple(PLACES.T)]]),
    ("Z009", {"data": [5, 7], "indices": [2, 3, 1], "opset": 13},
     {"data": DATA[0, :5, :7, 0], "indices": np.arange(6).reshape(2, 3, 1) % 5},
     lambda: [DATA[0, :5, :7, 0][np.arange(6).reshape(2, 3) % 5]]),
    ("Z010", {}, {"split_input": IMAGE[0, :1, :6, :2]}, lambda: np.split(IMAGE[0, :1, :6, :2], 2, 2)),
    ("Z010", {"shape": [3, 12, 18], "axis": -1, "parts": [5, 4, 9]}, {"split_input": IMAGE[0]},
     lambda: np.split(IMAGE[0], [5, 9], 2)),
]  # fmt: skip


def fixed(found: np.ndarray, size: int) -> list[np.ndarray]:
    return [np.concatenate([found, np.full((size - len(found), 3), -1)]), np.array([len(found)])]


def title(case: Case) -> str:
    return "-".join([case[0], *(f"{k}={v}".replace(" ", "") for k, v in case[1].items())])


@pytest.mark.parametrize("case", CASES, ids=title)
def test_definition(case: Case) -> None:
    code, options, feeds, expected = case
    model = parts.make(code, **options)
    onnx.checker.check_model(model, full_check=True)
    found, wanted = run(model, feeds), expected()
    assert len(found) == len(wanted)
    for a, e in zip(found, wanted, strict=True):
        assert a.shape == e.shape and a.dtype.kind == e.dtype.kind
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("case", CASES, ids=title)
def test_converts(case: Case, tmp_path: Path) -> None:
    """Every part with the same inputs as a .tflite; a symbolic number of images is fixed for that."""
    code, options, feeds, _ = case
    model = parts.make(code, **options)
    batch = 2 if options.get("batch") == "N" else None
    inputs = [v.name for v in model.graph.input]
    result = convert(onnx_graph=model, output_folder_path=tmp_path, outputs=("float32",), test_data=feeds,
                     batch_size=batch, keep_shape_absolutely_input_names=inputs, non_verbose=True)  # fmt: skip
    assert result.exit_code == 0, result.check


@pytest.mark.parametrize("code", parts.PARTS)
def test_defaults_are_those_of_the_article(code: str) -> None:
    model = parts.make(code)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version == 8
    assert model.opset_import[0].version == (16 if code == "Z004" else 11)
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in [*model.graph.input, *model.graph.output]}  # fmt: skip
    assert list(shapes.values()) == ARTICLE[code]


#: Shapes of inputs and outputs of the files that the article's author published.
ARTICLE: dict[str, list[list[Any]]] = {
    "Z001": [[1, 3, "H", "W"]] * 2,
    "Z002": [[1, 3, "H", "W"]] * 2,
    "Z003": [[1, 18900, 4], [1, 18900], [100, 5]],
    "Z004": [[1, 19248, 4], [1, 80, 19248], ["N", 3]],
    "Z005": [[1, 3, "height", "width"], [1, 3, "height_resized", "width_resized"]],
    "Z006": [[1, 3, "height", "width"], [4], [1, 3, "height_resized", "width_resized"]],
    "Z007": [[1, 896, 4], [1, 1, 896], ["N", 3]],
    "Z008": [["batch", 256, 4, 4], ["batch", 256, 8, 8]],
    "Z009": [[1, 48, 64, 2], [6, 3], [6, 2]],
    "Z010": [[1, 6, 2], [1, 6, 1], [1, 6, 1]],
}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Z001", {"mean": [0.5]}, "one of each per channel"),
    ("Z001", {"std": [1, 0, 1]}, "not 0"),
    ("Z003", {"iou": 1.5}, "overlap"),
    ("Z003", {"max_boxes": 0}, "max=0"),
    ("Z004", {"box_format": "xywh"}, "there are xyxy, yxyx, cxcywh"),
    ("Z004", {"batch": "N", "fixed": True}, "fixed batch"),
    ("Z009", {"indices": [6, 5]}, "name 5 axes"),
    ("Z010", {"axis": 3}, "axis 3"),
    ("Z010", {"parts": [2, 1]}, "make 3"),
    ("Z005", {"opset": 9}, "exists for 11 to"),
]


@pytest.mark.parametrize(("code", "options", "says"), REFUSED, ids=[f"{c}-{next(iter(o))}" for c, o, _ in REFUSED])
def test_refused(code: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parts.make(code, **options)


def test_suppression_changes_something() -> None:
    """Otherwise the comparisons above would hold for anything that sorts."""
    kept = {iou: len(nms(BOXES[0], SCORES[0], 100, iou)) for iou in (1.0, 0.5, 0.2)}
    assert kept[1.0] == 60 > kept[0.5] > kept[0.2] > 5


# --- attached to models ----------------------------------------------------------------------------------------------


def expect(model: onnx.ModelProto, feeds: Arrays, *names: str) -> list[np.ndarray]:
    """Named tensors of a model, in ONNX Runtime."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    return run(copy, feeds)


def detector() -> onnx.ModelProto:
    """x[1,30,7] -> out[1,7,30]: 4 coordinates and 3 classes, channels first as in new detectors."""
    text = "(float[1,30,7] x) => (float[1,7,30] out) { out = Transpose<perm=[0,2,1]>(x) }"
    graph = onnx.parser.parse_graph(f"detector {text}")
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def test_attach_slices_and_transposes() -> None:
    """``out[:,:4]`` is [1,4,30] and becomes [1,30,4]; ``out[:,4:]`` is [1,3,30], as it has to be."""
    model = attach("Z004", detector(), {"boxes": "out[:,:4]", "scores": "out[:,4:]"}, max_boxes=6)
    x = np.concatenate([boxes(1, 30), scores(1, 30, 3)], -1)
    (found,) = run(model, {"x": x})
    np.testing.assert_array_equal(found, rows(x[..., :4], x[..., 4:].transpose(0, 2, 1), 6, 0.5))


def test_attach_one_class() -> None:
    model = attach("Z003", detector(), {"boxes": "out[:,:4]", "scores": "out[:,4:5]"}, box_format="yxyx", max_boxes=9)
    x = np.concatenate([boxes(1, 30), scores(1, 30, 3)], -1)
    (found,) = run(model, {"x": x})
    np.testing.assert_allclose(found, table(x[..., :4], x[..., 4], 9, 0.5)[0])


YOLOX = models.real("yolox_nano_416")


@pytest.mark.parametrize("path", YOLOX)
def test_attach_to_a_real_detector(path: Path, tmp_path: Path) -> None:
    """In one command; the result converts."""
    out = tmp_path / "with_nms.onnx"
    line = ["attach", "Z004", "--to", str(path), "--boxes", "output[:,:,:4]", "--scores", "output[:,:,5:]",
            "--format", "cxcywh", "--max", "5", "-of", str(out)]  # fmt: skip
    assert main(line) == 0
    feeds = models.real_feeds(path)
    model = onnx.load(out)
    (raw,) = expect(onnx.load(path), feeds, "output")
    (found,) = run(model, feeds)
    np.testing.assert_array_equal(found, rows(raw[..., :4], raw[..., 5:].transpose(0, 2, 1), 5, 0.5, centres=True))
    result = convert(out, tmp_path / "o", outputs=("float32",), test_data=feeds, non_verbose=True)
    assert result.exit_code == 0


@pytest.mark.parametrize("path", models.real("vittrack"))
def test_attach_in_front_of_a_real_model(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "with_normalisation.onnx"
    assert main(["attach", "Z001", "--to", str(path), "--input", "search", "-of", str(out), "-n"]) == 0
    rng = np.random.default_rng(0)
    raw, template = (rng.uniform(0, 255, (1, 3, s, s)).astype(np.float32) for s in (256, 128))
    normal = ((raw / 255 - MEAN) / STD).astype(np.float32)
    expected = run(onnx.load(path), {"search": normal, "template": template})
    found = run(onnx.load(out), {"normalization_rgb_imagenet_input": raw, "template": template})
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-4)


MISTAKES: list[tuple[str, dict[str, str], str]] = [
    ("Z004", {"boxes": "outt", "scores": "out"}, "no tensor 'outt'"),
    ("Z004", {"boxes": "out[:,:4]"}, "needs --scores"),
    ("Z004", {"boxes": "out[:,:5]", "scores": "out[:,4:]"}, r"\[1,5,30\] is not \[B,S,4\] in any order"),
    ("Z004", {"boxes": "out[:,:4]", "scores": "out[:,4:,:9]"}, r"is not \[B=1,C,S=30\]"),
    ("Z004", {"boxes": "out[:,9:]", "scores": "out"}, "leaves nothing"),
    ("Z004", {"boxes": "out[:,a:]", "scores": "out"}, "is no slice"),
    ("Z001", {"input": "x"}, r"makes images \[B,3,H,W\]"),
    ("Z001", {"input": "y"}, "no graph input 'y'"),
    ("Z010", {}, "no fixed place"),
]


@pytest.mark.parametrize(("code", "ports", "says"), MISTAKES, ids=[f"{c}-{k}" for k, (c, _, _) in enumerate(MISTAKES)])
def test_attach_says_what_does_not_fit(code: str, ports: dict[str, str], says: str) -> None:
    with pytest.raises(ToolError, match=says):
        attach(code, detector(), ports)


# --- recipes ---------------------------------------------------------------------------------------------------------

RECIPES = sorted((Path(parts.__file__).parent / "recipes").glob("*.yaml"))


def head(text: str, shape: list[Any]) -> onnx.ModelProto:
    """A detector's end: x split into boxes[N,8400,4] and scores."""
    graph = onnx.parser.parse_graph(text)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([4, shape[1] - 4]), "sizes"))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def test_recipe_of_many_classes(tmp_path: Path) -> None:
    text = """g (float[N,84,8400] x) => (float[N,8400,4] boxes, float[N,80,8400] scores)
    { b, scores = Split<axis=1>(x, sizes) boxes = Transpose<perm=[0,2,1]>(b) }"""
    model = run_recipe(RECIPES_BY_NAME["nms_multi_class"], onnx_graph=head(text, [0, 84]), non_verbose=True)
    onnx.checker.check_model(model, full_check=True)
    box, score = boxes(2, 8400), np.zeros((2, 80, 8400), np.float32)
    score[:, 3, :50], score[:, 7, 20:60] = scores(2, 50), scores(2, 40)
    (found,) = run(model, {"x": np.concatenate([box.transpose(0, 2, 1), score], 1)})
    chosen = found[np.isin(found[:, 1], [3, 7])]
    expected = [[b, c, i] for b in (0, 1) for c in (3, 7) for i in nms(box[b], score[b, c], 100, 0.5)]
    positive = [r for r in expected if score[tuple(r)] > 0]  # the rest are ties of zeros
    assert positive
    assert [r for r in chosen.tolist() if score[tuple(r)] > 0] == positive


def test_recipe_of_one_class(tmp_path: Path) -> None:
    text = """g (float[N,5,8400] x) => (float[N,8400,4] boxes, float[N,8400] scores)
    { b, s = Split<axis=1>(x, sizes) boxes = Transpose<perm=[0,2,1]>(b) scores = Squeeze(s, one) }"""
    detector = head(text, [0, 5])
    detector.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    model = run_recipe(RECIPES_BY_NAME["nms_single_class"], onnx_graph=detector, non_verbose=True)
    box, score = boxes(2, 8400), scores(2, 8400)
    (found,) = run(model, {"x": np.concatenate([box.transpose(0, 2, 1), score[:, None]], 1)})
    np.testing.assert_allclose(found, table(box, score, 100, 0.5))


def test_recipe_of_single_operators() -> None:
    """The article's chain: one node with three constants, as Z004."""
    model = run_recipe(RECIPES_BY_NAME["nms_from_operators"], non_verbose=True)
    onnx.checker.check_model(model, full_check=True)
    operators = [n.op_type for n in model.graph.node if n.op_type != "Constant"]
    assert operators == ["NonMaxSuppression"]
    assert [v.name for v in model.graph.input] == ["boxes", "scores"]
    feeds = {"boxes": boxes(2, 19248), "scores": np.zeros((2, 80, 19248), np.float32)}
    feeds["scores"][:, 5, :30] = scores(2, 30)
    (found,), (wanted,) = run(model, feeds), run(parts.make("Z004", batch="N"), feeds)
    np.testing.assert_array_equal(found, wanted)


RECIPES_BY_NAME = {path.stem: str(path) for path in RECIPES}


# --- the command -----------------------------------------------------------------------------------------------------


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed if line[0] == "Z"] == list(parts.PARTS)
    assert [line.split()[1] for line in listed if line[0] == "r"] == [p.stem for p in RECIPES]
    for code in parts.PARTS:
        assert main(["show", code]) == 0
        printed = capsys.readouterr().out
        for value in [*parts.make(code).graph.input, *parts.make(code).graph.output]:
            assert f" {value.name}: " in printed


def test_write(tmp_path: Path) -> None:
    path = tmp_path / "nms.onnx"
    line = "write Z004 --boxes 8400 --classes 80 --iou 0.7 --max 100 --batch N --format cxcywh -of"
    assert main([*line.split(), str(path)]) == 0
    assert onnx.load(path) == parts.make("Z004", boxes=8400, iou=0.7, max_boxes=100, batch="N", box_format="cxcywh")


WRONG = [("write Z011", 1), ("write Z004 --iou 2", 1), ("write Z010 --parts [1,2]", 1)]


@pytest.mark.parametrize(("line", "code"), WRONG, ids=[line for line, _ in WRONG])
def test_exit_codes(line: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == code
    assert list(tmp_path.iterdir()) == []


def test_unknown_option() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["write", "Z004", "--classses", "3"])
    assert caught.value.code == 2


@pytest.mark.parametrize("columns", ["60", "80"])
@pytest.mark.parametrize("words", [["list"], *(["show", code] for code in parts.PARTS)], ids=" ".join)
def test_what_is_told_of_parts_fits_the_terminal(
    words: list[str], columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(words) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= int(columns)
