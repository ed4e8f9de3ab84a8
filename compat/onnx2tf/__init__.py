"""``import onnx2tf``: this converter under the name, and with the defaults, that callers of onnx2tf rely on.

Five things differ from :func:`onnx2tf_lite.convert`: the layout is that of ``--io-layout channels-last`` (every input
of rank 3 to 5 is moved, and the outputs that keep its axes); integers that are asked for without data are calibrated on
made pictures where every input is one, with a warning; a keyword that holds onnx2tf's own default asks for nothing; a
file that differs from ONNX Runtime, or could not be compared with it, is a warning; and the Keras model is returned,
made when something of it is first used.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from ._keras import KerasModel

if TYPE_CHECKING:
    import onnx

__all__ = ["convert"]

#: The release whose interface this is; callers compare it with the releases that they know.
__version__ = "1.28.8+lite"


def convert(
    input_onnx_file_path: str | os.PathLike[str] = "",
    onnx_graph: onnx.ModelProto | str | os.PathLike[str] | None = None,
    output_folder_path: str | os.PathLike[str] = "saved_model",
    **keywords: Any,
) -> Any:
    """Convert as :func:`onnx2tf_lite.convert` does; the ``tf_keras`` model.

    The arguments are in the order of onnx2tf; a path in the place of ``onnx_graph``, ``convert("m.onnx", "out")``, can
    only be the folder.

    :raises onnx2tf_lite.ConversionError: with everything that is wrong; nothing is written then.
    """
    from onnx2tf_lite_compat import DEFAULTS

    from onnx2tf_lite.conversion import convert as run
    from onnx2tf_lite.onnx2tf_options import is_default

    if isinstance(onnx_graph, str | os.PathLike):
        onnx_graph, output_folder_path = None, onnx_graph
    asked = {name: value for name, value in keywords.items() if not is_default(name, value)}
    result = run(input_onnx_file_path, output_folder_path, onnx_graph=onnx_graph, **DEFAULTS | asked)
    if result.check is not None:
        wrong = [file.verdict for file in result.check.files if not file.ok]
        for said in [*wrong, *filter(None, [result.check.error])]:
            warnings.warn(said, RuntimeWarning, stacklevel=2)
    return KerasModel(result)
