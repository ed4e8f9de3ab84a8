"""What callers of onnx2tf rely on where they say nothing.

`import onnx2tf` and `python -m onnx2tf` begin with these keywords of `convert`; so does the command `onnx2tf`, which
looks whether this module is installed, and says which rule holds.
"""

from __future__ import annotations

from onnx2tf_lite.onnx2tf_options import MEAN, STD

DEFAULTS = {
    "io_layout": "channels-last",
    "picture_calibration": True,
    "quant_norm_mean": MEAN,
    "quant_norm_std": STD,
}
NOTE = "compat is installed: the defaults are those of onnx2tf, --io-layout channels-last and --picture-calibration"
