"""The options of onnx2tf, both generations: what its callers may pass, and what they then expect.

``M`` and ``N`` must and should work here, ``O`` exists there because layouts are guessed or because of TensorFlow's own
converter and is accepted with a line, ``X`` is out of scope and refused with what to use instead.  What each does here
is said by ``aliases.ALIASES``; ``docs/coming-from-onnx2tf.md`` has both in one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx2tf_lite.onnx2tf_options import DEFAULTS


@dataclass(frozen=True)
class Known:
    """An option: its short name, the keyword of ``convert`` (long flag without hyphens), the generations that have it
    (1: up to 1.29, 2: 2.x) and how it is ``judged``."""

    short: str
    keyword: str
    generations: str
    judged: str

    @property
    def default(self) -> object:
        """What onnx2tf takes where nobody gives it; None: it is off."""
        return DEFAULTS.get(self.keyword)


#: Lines ``short keyword [generation]``, both where none is said, by how they are judged.
OPTIONS = {
    "M": """
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
    "N": """
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
    "O": """
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
    "X": """
    -it      input_tflite_file_path                        2
    -fdopt   flatbuffer_direct_output_pytorch              2
    -fdots   flatbuffer_direct_output_torchscript          2
    -fdodo   flatbuffer_direct_output_dynamo_onnx          2
    -fdoep   flatbuffer_direct_output_exported_program     2
    -npgts   native_pytorch_generation_timeout_sec         2
    """,
}


def _known(judged: str, line: str) -> Known:
    short, keyword, *generation = line.split()
    return Known(short, keyword, "".join(generation) or "12", judged)


_ROWS = [_known(judged, line) for judged, text in OPTIONS.items() for line in text.strip().splitlines()]
#: By keyword.
KNOWN: dict[str, Known] = {row.keyword: row for row in _ROWS}
