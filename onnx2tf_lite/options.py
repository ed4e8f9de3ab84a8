"""onnx2tf's options that this converter does not have: accepted because they ask for nothing, or refused with advice.

A row is ``(short, long, number of values)``; "*" is any number.  Existing scripts keep running where they can.
"""

from __future__ import annotations

Row = tuple[str, str, "int | str"]

_GUESS = "axes are computed, not guessed: there is nothing to correct"
_ALWAYS = "always done"
_ONE_WRITER = "the .tflite is always written directly"
_REPORT = "part of the report that is always written"

#: Ignored, with the reason.
OBSOLETE: dict[Row, str] = {
    ("-osd", "output_signaturedefs", 0): _ALWAYS,
    ("-coion", "copy_onnx_input_output_names_to_tflite", 0): _ALWAYS,
    ("-fdosm", "flatbuffer_direct_output_saved_model", 0): "--outputs says which files are written",
    ("-tb", "tflite_backend", 1): _ONE_WRITER,
    ("-roc", "report_op_coverage", 0): _REPORT,
    ("-nuonag", "not_use_opname_auto_generate", 0): "names are given to unnamed nodes only",
    ("-nlt", "no_large_tensor", 0): "always done, up to --fold-budget",
    ("-prf", "param_replacement_file", 1): _GUESS,
    ("-agj", "auto_generate_json", 0): _GUESS,
    ("-agje", "auto_generate_json_on_error", 0): _GUESS,
    ("-dsm", "disable_strict_mode", 0): _GUESS,
    ("-doem", "disable_onnxruntime_output_memmap", 0): _GUESS,
    ("-oemd", "onnxruntime_output_memmap_dir", 1): _GUESS,
    ("-tsmb", "tflite_split_max_bytes", 1): "files above 2 GB need no splitting",
    ("-tstb", "tflite_split_target_bytes", 1): "files above 2 GB need no splitting",
    ("-ewo", "eval_with_onnx", 0): _ALWAYS,
    ("-efot", "eval_fail_on_threshold", 0): _ALWAYS,
    ("-esm", "eval_split_models", 1): "files are not split",
    ("-esfot", "eval_split_fail_on_threshold", 0): "files are not split",
    ("-onwdt", "output_nms_with_dynamic_tensor", 0): "results always have the shape that ONNX defines",
    ("-dsft", "disable_suppression_flextranspose", 0): "no Flex operator is ever written",
    ("-dsfs", "disable_suppression_flexstridedslice", 0): "no Flex operator is ever written",
}

_FLOAT_ONLY = "this version writes float files; quantise <model>_float32.tflite with ai-edge-quantizer"
_KERAS = "this version writes no Keras formats; load the SavedModel (--outputs saved_model)"
_PYTORCH = "PyTorch is not a target of this converter; use the ONNX file there"
_SPLIT = "models above 2 GB are written as one file; cut with -inimc and -onimc where parts are wanted"
_STANDARD = "operators are always written in the form that every TFLite runtime has"
_CUSTOM = "custom operators are never written; the error lists the nodes to replace"
_CHECK = "not a setting of the check: see -cotor, -cotoa, -tdnp and -sh"

#: Refused, with what to do instead.
REFUSED: dict[Row, str] = {
    ("-it", "input_tflite_file_path", 1): "only ONNX files are converted: -i model.onnx",
    ("-odrqt", "output_dynamic_range_quantized_tflite", 0): _FLOAT_ONLY,
    ("-oiqt", "output_integer_quantized_tflite", 0): _FLOAT_ONLY,
    ("-qt", "quant_type", 1): _FLOAT_ONLY,
    ("-cind", "custom_input_op_name_np_data_path", "*"): _FLOAT_ONLY + "; for test inputs use -tdnp",
    ("-qnm", "quant_norm_mean", 1): _FLOAT_ONLY,
    ("-qns", "quant_norm_std", 1): _FLOAT_ONLY,
    ("-iqd", "input_quant_dtype", 1): _FLOAT_ONLY,
    ("-oqd", "output_quant_dtype", 1): _FLOAT_ONLY,
    (
        "-eatfp16",
        "enable_accumulation_type_float16",
        0,
    ): "set it in the delegate that runs the file",
    ("-oh5", "output_h5", 0): _KERAS,
    ("-okv3", "output_keras_v3", 0): _KERAS,
    ("-otfv1pb", "output_tfv1_pb", 0): _KERAS,
    ("-ow", "output_weights", 0): _KERAS,
    ("-fdopt", "flatbuffer_direct_output_pytorch", 0): _PYTORCH,
    ("-fdots", "flatbuffer_direct_output_torchscript", 0): _PYTORCH,
    ("-fdodo", "flatbuffer_direct_output_dynamo_onnx", 0): _PYTORCH,
    ("-fdoep", "flatbuffer_direct_output_exported_program", 0): _PYTORCH,
    ("-npgts", "native_pytorch_generation_timeout_sec", 1): _PYTORCH,
    ("-fdaco", "flatbuffer_direct_allow_custom_ops", 0): _CUSTOM,
    ("-fdcoa", "flatbuffer_direct_custom_op_allowlist", 1): _CUSTOM,
    ("-easm", "enable_auto_split_model", 0): _SPLIT,
    ("-asmsm", "auto_split_max_size_mb", 1): _SPLIT,
    ("-asms", "auto_split_max_size", 1): _SPLIT,
    ("-vh", "value_hints", "*"): "give the inputs themselves: -tdnp inputs.npz",
    (
        "-coton",
        "check_onnx_tf_outputs_sample_data_normalization",
        1,
    ): "give the inputs themselves: -tdnp inputs.npz",
    ("-ens", "eval_num_samples", 1): _CHECK,
    ("-ert", "eval_rtol", 1): "use -cotor",
    ("-eat", "eval_atol", 1): "use -cotoa",
    ("-ett", "eval_target_tflite", 1): "every written file is checked: --outputs says which are written",
    ("-ecm", "eval_compare_mode", 1): _CHECK,
    ("-cgdc", "check_gpu_delegate_compatibility", 0): "run the benchmark tool of the delegate on the file",
    ("-onwa", "output_nms_with_argmax", 0): "results always have the shape that ONNX defines",
    ("-snms", "switch_nms_version", 1): _STANDARD,
    ("-dgc", "disable_group_convolution", 0): _STANDARD,
    ("-ebu", "enable_batchmatmul_unfold", 0): _STANDARD,
    ("-eru", "enable_rnn_unroll", 0): _STANDARD,
    ("-nodaftc", "number_of_dimensions_after_flextranspose_compression", 1): _STANDARD,
    ("-nodafsc", "number_of_dimensions_after_flexstridedslice_compression", 1): _STANDARD,
    ("-ofgd", "optimization_for_gpu_delegate", 0): _STANDARD,
    ("-rari64", "replace_argmax_to_reducemax_and_indices_is_int64", 0): _STANDARD,
    ("-rarf32", "replace_argmax_to_reducemax_and_indices_is_float32", 0): _STANDARD,
    ("-rafi64", "replace_argmax_to_fused_argmax_and_indices_is_int64", 0): _STANDARD,
    ("-raff32", "replace_argmax_to_fused_argmax_and_indices_is_float32", 0): _STANDARD,
    ("-fasr", "fused_argmax_scale_ratio", 1): _STANDARD,
    ("-rtpo", "replace_to_pseudo_operators", "*"): "no Flex operator is ever written, so none needs a replacement",
    ("-me", "mvn_epsilon", 1): "it would change what MeanVarianceNormalization computes",
}
