"""The options of onnx2tf, both generations: what its callers may pass, and what they then expect.

``M`` and ``N`` must and should work here, ``O`` exists there because layouts are guessed or because of TensorFlow's own
converter and is accepted with a line, ``X`` is out of scope and refused with what to use instead.  What each does here
is said by ``aliases.ALIASES``; ``docs/coming-from-onnx2tf.md`` has both in one table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """An option: its short name, the keyword of ``convert`` (long flag without hyphens), the ``default`` of that, the
    generations that have it (1: up to 1.29, 2: 2.x) and how it is ``judged``."""

    short: str
    keyword: str
    default: object
    generations: str
    judged: str


def _rows(judged: str, text: str, **defaults: object) -> list[Known]:
    """Of lines ``short keyword [generations]``; an option that is not among the ``defaults`` is off by default."""
    found = []
    for line in text.strip().splitlines():
        short, keyword, *rest = line.split()
        default = defaults.get(keyword)
        found.append(Known(short, keyword, default, "".join(rest) or "12", judged))
    return found


#: The mean and deviation that pictures for calibration are normalised with.
MEAN, STD = "[[[[0.485, 0.456, 0.406]]]]", "[[[[0.229, 0.224, 0.225]]]]"

_ROWS = [
    *_rows(
        "M",
        """
        -b       batch_size
        -ois     overwrite_input_shape
        -sh      shape_hints
        -k       keep_ncw_or_nchw_or_ncdhw_input_names
        -kt      keep_nwc_or_nhwc_or_ndhwc_input_names
        -kat     keep_shape_absolutely_input_names
        -inimc   input_names_to_interrupt_model_conversion
        -onimc   output_names_to_interrupt_model_conversion
        -odrqt   output_dynamic_range_quantized_tflite
        -oiqt    output_integer_quantized_tflite
        -qt      quant_type
        -cind    custom_input_op_name_np_data_path
        -qnm     quant_norm_mean
        -qns     quant_norm_std
        -iqd     input_quant_dtype
        -oqd     output_quant_dtype
        -coto    check_onnx_tf_outputs_elementwise_close
        -cotof   check_onnx_tf_outputs_elementwise_close_full
        -cotor   check_onnx_tf_outputs_elementwise_close_rtol
        -cotoa   check_onnx_tf_outputs_elementwise_close_atol
        -tdnp    test_data_nhwc_path                           2
        -nuo     not_use_onnxsim
        -nlt     no_large_tensor
        -onwdt   output_nms_with_dynamic_tensor
        -n       non_verbose
        -v       verbosity
        """,
        quant_type="per-channel",
        quant_norm_mean=MEAN,
        quant_norm_std=STD,
        input_quant_dtype="int8",
        output_quant_dtype="int8",
        check_onnx_tf_outputs_elementwise_close_rtol=0.0,
        check_onnx_tf_outputs_elementwise_close_atol=1e-4,
        verbosity="debug",
    ),
    *_rows(
        "N",
        """
        -dms     disable_model_save
        -oh5     output_h5
        -okv3    output_keras_v3
        -otfv1pb output_tfv1_pb
        -ow      output_weights
        -roc     report_op_coverage                            2
        -fdaco   flatbuffer_direct_allow_custom_ops            2
        -fdcoa   flatbuffer_direct_custom_op_allowlist         2
        -vh      value_hints
        -easm    enable_auto_split_model
        -asmsm   auto_split_max_size_mb
        -asms    auto_split_max_size                           2
        -eatfp16 enable_accumulation_type_float16
        -coton   check_onnx_tf_outputs_sample_data_normalization
        -ewo     eval_with_onnx                                2
        -ens     eval_num_samples                              2
        -ert     eval_rtol                                     2
        -eat     eval_atol                                     2
        -ett     eval_target_tflite                            2
        -ecm     eval_compare_mode                             2
        -cgdc    check_gpu_delegate_compatibility
        -onwa    output_nms_with_argmax                        2
        -snms    switch_nms_version
        -dgc     disable_group_convolution
        -ebu     enable_batchmatmul_unfold
        -eru     enable_rnn_unroll
        -nodaftc number_of_dimensions_after_flextranspose_compression
        -nodafsc number_of_dimensions_after_flexstridedslice_compression
        -ofgd    optimization_for_gpu_delegate
        -rari64  replace_argmax_to_reducemax_and_indices_is_int64
        -rarf32  replace_argmax_to_reducemax_and_indices_is_float32
        -rafi64  replace_argmax_to_fused_argmax_and_indices_is_int64
        -raff32  replace_argmax_to_fused_argmax_and_indices_is_float32
        -fasr    fused_argmax_scale_ratio
        -rtpo    replace_to_pseudo_operators
        -me      mvn_epsilon
        """,
        auto_split_max_size_mb=1024,
        check_onnx_tf_outputs_sample_data_normalization="norm",
        eval_num_samples=10,
        eval_rtol=1e-4,
        eval_atol=1e-4,
        eval_target_tflite="float32",
        eval_compare_mode="auto",
        switch_nms_version="v4",
        number_of_dimensions_after_flextranspose_compression=6,
        number_of_dimensions_after_flexstridedslice_compression=5,
        fused_argmax_scale_ratio=0.5,
        mvn_epsilon=1e-10,
    ),
    *_rows(
        "O",
        """
        -osd     output_signaturedefs
        -coion   copy_onnx_input_output_names_to_tflite
        -tb      tflite_backend                                2
        -fdosm   flatbuffer_direct_output_saved_model          2
        -nuonag  not_use_opname_auto_generate
        -prf     param_replacement_file
        -agj     auto_generate_json
        -agje    auto_generate_json_on_error
        -dsm     disable_strict_mode
        -doem    disable_onnxruntime_output_memmap
        -oemd    onnxruntime_output_memmap_dir
        -tsmb    tflite_split_max_bytes                        2
        -tstb    tflite_split_target_bytes                     2
        -efot    eval_fail_on_threshold                        2
        -esm     eval_split_models                             2
        -esfot   eval_split_fail_on_threshold                  2
        -dsft    disable_suppression_flextranspose
        -dsfs    disable_suppression_flexstridedslice
        """,
        tflite_backend="flatbuffer_direct",
        tflite_split_max_bytes=1073741824,
        tflite_split_target_bytes=1060000000,
        eval_split_models="unsplit_tflite",
    ),
    *_rows(
        "X",
        """
        -it      input_tflite_file_path                        2
        -fdopt   flatbuffer_direct_output_pytorch              2
        -fdots   flatbuffer_direct_output_torchscript          2
        -fdodo   flatbuffer_direct_output_dynamo_onnx          2
        -fdoep   flatbuffer_direct_output_exported_program     2
        -npgts   native_pytorch_generation_timeout_sec         2
        """,
        native_pytorch_generation_timeout_sec=0,
    ),
]

#: By keyword.
KNOWN: dict[str, Known] = {row.keyword: row for row in _ROWS}


def is_default(keyword: str, value: object) -> bool:
    """True where ``value`` is what onnx2tf takes if nobody gives this keyword; it asks for nothing then."""
    default = KNOWN[keyword].default if keyword in KNOWN else None
    return default is not None and type(value) in (str, int, float) and value == default
