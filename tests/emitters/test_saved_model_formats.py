"""The formats of a SavedModel against TensorFlow's own: messages, signatures of operators, checkpoints, sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx2tf_lite.emitters import saved_model
from onnx2tf_lite.emitters.saved_model import checkpoint, operators
from onnx2tf_lite.emitters.saved_model.protos import DTYPES, PRODUCER, message
from tests.emitters.test_saved_model_root import two_inputs
from tests.fuzz.mutate import repeated

tf = pytest.importorskip("tensorflow")
RNG = np.random.default_rng(0)


def paired(ours, theirs, seen):
    """(our field, TensorFlow's) of a message and of all below it."""
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        other = theirs.fields_by_name[field.name]
        yield field, other
        if field.message_type is not None:
            yield from paired(field.message_type, other.message_type, seen)


@pytest.mark.parametrize(
    "name", ["SavedModel", "GraphDef", "TrackableObjectGraph", "BundleHeaderProto", "BundleEntryProto"]
)
def test_messages(name: str) -> None:
    from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2, trackable_object_graph_pb2

    theirs = next(
        getattr(m, name)
        for m in (saved_model_pb2, tensor_bundle_pb2, trackable_object_graph_pb2, tf.compat.v1)
        if hasattr(m, name)
    )
    pairs = list(paired(message(name).DESCRIPTOR, theirs.DESCRIPTOR, set()))
    assert pairs
    for ours, other in pairs:
        kind = "int32" if other.enum_type else other.type
        assert (ours.number, repeated(ours)) == (other.number, repeated(other)), ours.full_name
        assert ours.type == (ours.TYPE_INT32 if kind == "int32" else kind), ours.full_name


def test_data_types() -> None:
    for name, number in DTYPES.items():
        assert tf.as_dtype(name).as_datatype_enum == number
    assert PRODUCER <= tf.version.GRAPH_DEF_VERSION


@pytest.mark.parametrize("name", operators.names())
def test_operators(name: str) -> None:
    from tensorflow.python.framework import op_def_registry

    ours, theirs = operators.operator(name), op_def_registry.get(name)
    for mine, other in zip([*ours.operands, *ours.results], [*theirs.input_arg, *theirs.output_arg], strict=True):
        typed = other.type_list_attr or other.type_attr
        assert (mine.name, mine.dtype, mine.typed) == (other.name, other.type, typed)
        assert (mine.listed, mine.number) == (bool(other.type_list_attr), other.number_attr)
    kinds = {"list(int)": "ints", "list(type)": "types", "list(shape)": "shapes"}
    declared = {a.name: kinds.get(a.type, a.type) for a in theirs.attr}
    assert ours.attributes.items() <= declared.items()
    named = {a.name for a in theirs.attr if not a.HasField("default_value")}
    assert named <= ours.attributes.keys()


def test_a_checkpoint_has_the_bytes_that_tensorflow_writes(tmp_path: Path) -> None:
    dtypes = ["float32", "int64", "uint8", "bool", "float64"]
    arrays = {f"variables/{i}/x": RNG.normal(size=(i % 5, 3)).astype(dtypes[i % 5]) for i in range(70)}
    arrays["variables/99/scalar"] = np.array(3, np.float32)
    objects = RNG.bytes(300)
    checkpoint.write(tmp_path / "ours", {k: np.asarray(a) for k, a in arrays.items()}, objects)
    names = [*arrays, checkpoint.OBJECT_GRAPH]
    tensors = [*map(tf.constant, arrays.values()), tf.constant(objects)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()


def test_a_large_array_in_another_order_is_read_back(tmp_path: Path) -> None:
    array = RNG.normal(size=(700, 3, 1000)).astype(np.float32).transpose(2, 0, 1)
    checkpoint.write(tmp_path / "large", {"x": array}, b"")
    np.testing.assert_array_equal(tf.train.load_checkpoint(str(tmp_path / "large")).get_tensor("x"), array)


def test_a_session_runs_saves_and_restores_it(tmp_path: Path) -> None:
    graph, feeds = two_inputs()
    saved_model.write(graph, tmp_path)
    expected = saved_model.load(tmp_path)(feeds)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path))
        signature = meta.signature_def["serving_default"]
        given = {signature.inputs[k].name: a for k, a in feeds.items()}
        for key, info in signature.outputs.items():
            np.testing.assert_array_equal(session.run(info.name, given), expected[key])
        saver = meta.saver_def
        session.run(saver.save_tensor_name, {saver.filename_tensor_name: str(tmp_path / "again")})
    for suffix in (".index", ".data-00000-of-00001"):
        stored = tmp_path / "variables" / f"variables{suffix}"
        assert (tmp_path / f"again{suffix}").read_bytes() == stored.read_bytes()


def test_tensorflow_saves_it_again(tmp_path: Path) -> None:
    graph, feeds = two_inputs()
    saved_model.write(graph, tmp_path / "ours")
    loaded = tf.saved_model.load(str(tmp_path / "ours"))
    tf.saved_model.save(loaded, str(tmp_path / "theirs"), signatures=loaded.signatures)
    expected = saved_model.load(tmp_path / "ours")(feeds)
    for key, array in saved_model.load(tmp_path / "theirs")(feeds).items():
        np.testing.assert_array_equal(array, expected[key])
