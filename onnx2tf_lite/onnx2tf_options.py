"""What onnx2tf takes for an option that nobody gives: who passes it says nothing.

The options themselves are ``aliases.ALIASES``; which of them onnx2tf has is in ``tests/compat/known.py``.
"""

from __future__ import annotations

#: The mean and deviation that pictures for calibration are normalised with.
MEAN, STD = "[[[[0.485, 0.456, 0.406]]]]", "[[[[0.229, 0.224, 0.225]]]]"
#: By the keyword of ``convert``; an option that is not here is off.
DEFAULTS: dict[str, object] = {
    "quant_type": "per-channel",
    "quant_norm_mean": MEAN,
    "quant_norm_std": STD,
    "input_quant_dtype": "int8",
    "output_quant_dtype": "int8",
    "check_onnx_tf_outputs_elementwise_close_rtol": 0.0,
    "check_onnx_tf_outputs_elementwise_close_atol": 1e-4,
    "verbosity": "debug",
    "auto_split_max_size_mb": 1024,
    "check_onnx_tf_outputs_sample_data_normalization": "norm",
    "eval_num_samples": 10,
    "eval_rtol": 1e-4,
    "eval_atol": 1e-4,
    "eval_target_tflite": "float32",
    "eval_compare_mode": "auto",
    "switch_nms_version": "v4",
    "number_of_dimensions_after_flextranspose_compression": 6,
    "number_of_dimensions_after_flexstridedslice_compression": 5,
    "fused_argmax_scale_ratio": 0.5,
    "mvn_epsilon": 1e-10,
    "tflite_backend": "flatbuffer_direct",
    "tflite_split_max_bytes": 1073741824,
    "tflite_split_target_bytes": 1060000000,
    "eval_split_models": "unsplit_tflite",
    "native_pytorch_generation_timeout_sec": 0,
}


def is_default(keyword: str, value: object) -> bool:
    """True where ``value`` is what onnx2tf takes if nobody gives this keyword; it asks for nothing then."""
    default = DEFAULTS.get(keyword)
    return default is not None and type(value) in (str, int, float) and value == default
