"""A .tflite that was damaged on its way: said when it is opened, or read to its end; nothing falls over it later."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from onnx2tf_lite import convert
from onnx2tf_lite.validation.files.flatfile import FlatFile, UnreadableError

from .models import model

#: With a body of control flow and a TRANSPOSE.
TEXT = """g (float[1,4,6,6] x, bool c) => (float[1,4,6,6] y) {
  z = If<then_branch = a () => (float[1,4,6,6] t) { t = Conv<pads = [1,1,1,1]>(x, w) },
         else_branch = b () => (float[1,4,6,6] e) { e = Relu(x) }>(c)
  y = Softmax<axis = 2>(z)
}"""
DAMAGE = 600


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    made = convert(onnx_graph=model(TEXT, w=(4, 4, 3, 3)), output_folder_path=tmp_path_factory.mktemp("out"),
                   outputs=["float32"], check="none", non_verbose=True)  # fmt: skip
    return made.files["float32"].read_bytes()


def read(path: Path) -> None:
    """What the check and the devices read of a file once it is open."""
    file = FlatFile(path)
    list(file.transposes())
    assert isinstance(file.counts, dict) and file.kind and isinstance(file.by_name, dict)
    for body in file.below():
        file.elements(body.number)
    for tensor in file.tensors:
        file.bytes_of(tensor.buffer)
    try:
        assert file.tensor_map is None or file.tensor_map.names is not None
    except ValueError as error:  # its content is other than the emitter's, which is another message
        assert str(error)


def test_the_whole_file_is_read(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "whole.tflite").write_bytes(content)
    assert FlatFile(path).counts.keys() >= {"IF", "CONV_2D", "TRANSPOSE"}
    read(path)


def test_damage_is_seen_when_a_file_is_opened(content: bytes, tmp_path: Path) -> None:
    path, seen = tmp_path / "damaged.tflite", 0
    for seed in range(DAMAGE):
        chance, data = random.Random(seed), bytearray(content)
        if seed % 10 == 0:
            del data[chance.randrange(64, len(data)) :]
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(8, len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            read(path)
        except UnreadableError as error:
            seen += 1
            assert "damaged" in str(error)
    assert DAMAGE // 10 < seen < DAMAGE
