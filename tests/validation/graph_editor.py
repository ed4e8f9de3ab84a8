"""A SavedModel of ours, for tests that change one: its variables, and the constants and attributes of its function."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from onnx2tf_lite.emitters.runtime import tensorflow
from onnx2tf_lite.emitters.saved_model.concrete import CALL
from onnx2tf_lite.emitters.saved_model.graphs import VARIABLE


class GraphEditor:
    """``variables`` by the names of the arguments that they are for, ``nodes`` of the function of the model; ``save``
    writes a copy."""

    def __init__(self, folder: Path):
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        self.folder, self.tf = folder, tensorflow()
        self.proto = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        library = self.proto.meta_graphs[0].graph_def.library.function
        call = next(n for f in library for n in f.node_def if n.name == CALL)
        main = next(f for f in library if f.signature.name == call.attr["f"].func.name)
        self.nodes = main.node_def
        self.reader = self.tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        names = [a.name for a in main.signature.input_arg if a.name.startswith("weight")]
        self.variables = {n: self.reader.get_tensor(self.stored(n)) for n in names}

    def stored(self, name: str) -> str:
        """What the checkpoint calls a variable."""
        return VARIABLE.format(name.removeprefix("weight"))

    def save(self, to: Path) -> Path:
        """All of it, in the folder ``to``."""
        shutil.copytree(self.folder, to, dirs_exist_ok=True)
        (to / "saved_model.pb").write_bytes(self.proto.SerializeToString(deterministic=True))
        shutil.rmtree(to / "variables")
        (to / "variables").mkdir()
        changed = {self.stored(n): array for n, array in self.variables.items()}
        names = list(self.reader.get_variable_to_shape_map())
        self.tf.raw_ops.SaveV2(
            prefix=str(to / "variables" / "variables"),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[self.tf.constant(changed[n] if n in changed else self.reader.get_tensor(n)) for n in names],
        )
        return to


def bent(array: np.ndarray, place: int) -> np.ndarray:
    """One element changed by the largest magnitude of the array."""
    wrong = np.array(array)
    wrong.reshape(-1)[place] += np.abs(array).max()
    return wrong
