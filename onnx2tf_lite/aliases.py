"""Every name of every option, those that users of onnx2tf know included, in one table: the command line and the
keywords of `convert` are made of it.

A row says which field of :class:`~onnx2tf_lite.options.Options` it sets, and to what; or why it is ignored or refused.
Existing scripts keep running where they can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from .commands import Option, flag, option, words
from .commands.table import ignored, parameter, refused
from .commands.terminal import LEVELS
from .emitters import EMITTERS, QUANTISED, default
from .record import record
from .targets import DEVICES, WANTED

CHECKS = ("outputs", "layers", "none")
SIMPLIFY = ("auto", "always", "never")
OUTER = ("int8", "uint8", "float32")
IO_LAYOUTS = ("auto", "channels-last", "onnx")  # see layout/edges.py


@record
class Alias:
    """A name of an option.

    ``option``   its flags, meaning and values; its ``dest`` is the keyword
    ``sets``     the field of ``Options``; nothing where it is ignored or refused
    ``value``    what the field becomes, from the words of the command line or the value of the keyword (ValueError)
    ``also``     fields that it implies; ``...`` is the same value
    ``form``     the type of the keyword
    ``ignored``, ``refused``  why
    """

    option: Option
    sets: str = ""
    value: Callable[[Any], Any] = lambda given: given
    also: Mapping[str, Any] = field(default_factory=dict)
    form: str = "str"
    ignored: str = ""
    refused: str = ""

    @property
    def keyword(self) -> str:
        """Under which keyword of the function a caller may give it."""
        return self.option.dest if self.sets or not self.option.flags else self.option.flags[-1].lstrip("-")

    def __str__(self) -> str:
        short = next((f for f in self.option.flags if not f.startswith("--")), "")
        return f"{self.keyword} ({short})" if short else self.keyword


# ------------------------------------------------------------------------------------------------ values


def _number(read: Callable[[str], float]) -> Callable[[object], float]:
    """A word of the command line or a number, both held to the rules of the word."""
    return lambda given: read(str(given))


def _text(given: object) -> str:
    return str(given)


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _kinds(given: str | Iterable[str]) -> tuple[str, ...]:
    return tuple(words.names(given) if isinstance(given, str) else given)


def _shapes(given: str | Iterable[str] | Mapping[str, Iterable[int]]) -> dict[str, tuple[int, ...]]:
    if isinstance(given, Mapping):
        return {name: tuple(map(int, extents)) for name, extents in given.items()}
    return words.shapes(_names(given))


def _numbers(given: str | Iterable[str] | Mapping[str, float]) -> dict[str, float]:
    if isinstance(given, Mapping):
        return {name: float(value) for name, value in given.items()}
    return words.fills(_names(given))


def _level(given: str | bool) -> str:
    return "info" if given is True else str(given)


def _pinned(order: str) -> Callable[[str | Iterable[str]], dict[str, str]]:
    return lambda given: dict.fromkeys(_names(given), order)


def _added(*kinds: str) -> dict[str, bool]:
    return dict.fromkeys(kinds, True)


def _literal(given: object) -> object:
    """Numbers, perhaps nested: ``[[[[0.485, 0.456, 0.406]]]]``, ``0.5,0.5,0.5`` or 0.5."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        return words.numbers(given)


def _calibrated(given: Iterable[Iterable[object]]) -> tuple[tuple[object, ...], ...]:
    """Rows of an input's name, its data and perhaps mean and deviation."""
    rows = [tuple(row) for row in given]
    for row in rows:
        if isinstance(row, str) or len(row) not in (2, 4):
            raise ValueError(f"{' '.join(map(str, row))!r} is not NAME FILE.npy or NAME FILE.npy MEAN STD")
    return tuple((*row[:2], *map(_literal, row[2:])) for row in rows)


# ------------------------------------------------------------------------------------------------ the table


def _set(flags: str, sets: str, help: str, value: Any = None, **more: Any) -> Alias:
    """``value``: a function of what is given; or what a flag sets the field to.  Without flags: a keyword only."""
    own = {key: more.pop(key) for key in ("also", "form") if key in more}
    if value is None or callable(value):
        row = option(flags, help, **more) if flags.startswith("-") else parameter(flags, help)
        return Alias(row, sets, value or (lambda given: given), **own)
    return Alias(flag(flags, help, **more), sets, lambda given: value, form="bool", **own)


def _group(title: str, *rows: Alias) -> list[Alias]:
    return [replace(row, option=replace(row.option, group=title)) for row in rows]


def _hidden(make: Callable[[Iterable[str], str, int | str], Option], flags: str, why: str) -> Option:
    """A row that the help leaves out; ``flags`` with the words of its values, as in :func:`option`."""
    plain = option(flags, "")
    return make(plain.flags, why, plain.settings.get("nargs", int("metavar" in plain.settings)))


def _ignored(flags: str, why: str) -> Alias:
    return Alias(_hidden(ignored, flags, why), ignored=why)


def _refused(flags: str, why: str) -> Alias:
    return Alias(_hidden(refused, flags, why), refused=why)


_PATH = "str | os.PathLike[str]"
_NAMES = "Iterable[str]"
_SHAPES = "Mapping[str, Sequence[int]] | Sequence[str]"
_INPUT_FORM = "x:1,3,224,224"

_OURS = [
    *_group(
        "input and output",
        _set("--outputs KINDS", "outputs", f"of {','.join(EMITTERS)}; default: {','.join(default())}", _kinds,
             form="Sequence[str]"),
        _set("-oh5 --output_h5", "added", "the Keras model as .h5, and as .json with .weights.h5",
             _added("h5", "keras_weights")),
        _set("-okv3 --output_keras_v3", "added", "the Keras model as .keras", _added("keras")),
        _set("-otfv1pb --output_tfv1_pb", "added", "the frozen graph of TensorFlow 1 as .pb", _added("frozen")),
        _set("-ow --output_weights", "tflite_weights", "the weights of every .tflite as _weights.h5 beside it", True),
        _set("-eatfp16 --enable_accumulation_type_float16", "float16_sums",
             "let the float16 file be computed in float16, sums too, where the hardware can", True),
        _set("-dms --disable_model_save", "save", "convert and check, write nothing", False),
    ),
    *_group(
        "device",
        _set("--target", "target", "make .tflite files fit a device, say of every operator whether it runs there",
             _text, choices=DEVICES),
        _set("-cgdc --check_gpu_delegate_compatibility", "asked", "say it of the GPU delegate, change nothing", "gpu"),
        _set("-ofgd --optimization_for_gpu_delegate", "forms", "the forms that --target gpu takes",
             _added(*WANTED["gpu"])),
        _set("-dgc --disable_group_convolution", "forms", "grouped convolutions as one for each group",
             _added("groups")),
        _set("-ebu --enable_batchmatmul_unfold", "forms", "batches of products one by one", _added("products")),
        _set("-eru --enable_rnn_unroll", "forms", "counted loops written out", _added("unroll")),
        *(
            _set(f"{flags}_{dtype}", "forms", "the same as the other: ARG_MAX by a maximum", _added("argmax"))
            for flags, dtype in {
                "-rari64 --replace_argmax_to_reducemax_and_indices_is": "int64",
                "-rarf32 --replace_argmax_to_reducemax_and_indices_is": "float32",
            }.items()
        ),
    ),
    *_group(
        "quantisation",
        _set("-oiqt --output_integer_quantized_tflite", "added", "five files with integers inside; needs data",
             _added(*QUANTISED[:5])),
        _set("-odrqt --output_dynamic_range_quantized_tflite", "added", "int8 weights, float activations",
             _added("dynamic_range_quant")),
        _set("--calibration PATH", "calibration", ".npz by input name, .npy, or a folder of those or of images",
             form=f"{_PATH} | Mapping[str, np.ndarray] | Sequence[Mapping[str, np.ndarray]]"),
        _set("-cind -qcind -cid --custom_input_op_name_np_data_path WORD...", "calibration_parts",
             "NAME FILE.npy [MEAN STD] of an input; repeatable; either layout", _calibrated,
             form="Sequence[Sequence[Any]]", action="append"),
        _set("-qnm --quant_norm_mean M", "calibration_mean", "of the images in the folder: (pixel / 255 - M) / S",
             _literal, form="str | Sequence[float]"),
        _set("-qns --quant_norm_std S", "calibration_std", "0.5,0.5,0.5 or [[[[0.5,0.5,0.5]]]]; default: 0 and 1",
             _literal, form="str | Sequence[float]"),
        _set("--calibration-bgr", "calibration_bgr", "the model takes blue first", True),
        _set("--random-calibration", "random_calibration", "noise instead of data, for a first look", True),
        _set("--picture-calibration", "picture_calibration", "made pictures instead, where no data is given and every "
             "input is one: what compat does, as onnx2tf has pictures of its own", True),
        _set("--min-sqnr DB", "min_sqnr", "keep operations in 16 bits or float until every output has it",
             _number(words.limit), form="float"),
        _set("--min-agreement SHARE", "min_agreement", "the same, of samples with the same argmax: 0.99",
             _number(words.share), form="float"),
        _set("-qt --quant_type", "per_channel", "scales of weights; default: per-channel",
             lambda given: given == "per-channel", choices=("per-channel", "per-tensor")),
        _set("-iqd --input_quant_dtype", "input_dtype", "of full_integer_quant; default: int8", _text, choices=OUTER),
        _set("-oqd --output_quant_dtype", "output_dtype", "default: int8", _text, choices=OUTER),
        _set("-ioqd --input_output_quant_dtype", "input_dtype", "the same as -iqd and -oqd", _text, choices=OUTER,
             also={"output_dtype": ...}),
    ),
    *_group(
        "shapes",
        _set("-b --batch_size N", "batch_size", "size of every free first dimension", _number(words.positive),
             form="int"),
        _set("-ois --overwrite_input_shape NAME:DIMS...", "input_shapes",
             f"fix the shape of inputs, in ONNX order: {_INPUT_FORM}", _shapes, form=_SHAPES),
        _set("-vh --value_hints NAME:NUMBER...", "value_hints",
             "what inputs are filled with in the check: x:0.5, and *:1 for all others", _numbers,
             form="Mapping[str, float] | Sequence[str]"),
        _set("-sh --shape_hints NAME:DIMS...", "shape_hints",
             "shapes for the check, and of pictures and noise to calibrate with; the model stays dynamic", _shapes,
             form=_SHAPES),
    ),
    *_group(
        "layout",
        _set("--io-layout", "io_layout", "of inputs and outputs. auto, the default without compat: channels-last for "
             "images, which a convolution or the like reads or gives, or which have 1 or 3 channels and are nothing "
             "else; channels-last: for every input of rank 3 to 5, and outputs that keep its axes; onnx: none moved",
             _text, choices=IO_LAYOUTS),
        *(
            _set(f"{flags} NAME...", "pins", meaning, _pinned("onnx"), form=_NAMES)
            for flags, meaning in {
                "-k --keep_ncw_or_nchw_or_ncdhw_input_names": "inputs that stay channels-first",
                "-kt --keep_nwc_or_nhwc_or_ndhwc_input_names": "inputs that are channels-last already",
                "-kat --keep_shape_absolutely_input_names": "inputs that stay as in ONNX",
                "-ko --keep_ncw_or_nchw_or_ncdhw_output_names": "outputs that stay channels-first",
                "-kato --keep_shape_absolutely_output_names": "outputs that stay as in ONNX",
            }.items()
        ),
        _set("-cl --channels_last_names NAME...", "pins", "inputs and outputs that become channels-last",
             _pinned("channels_last"), form=_NAMES),
    ),
    *_group(
        "part of the model",
        _set("-inimc --input_names_to_interrupt_model_conversion NAME...", "input_names", "tensors at which to begin",
             _names, form=_NAMES),
        _set("-onimc --output_names_to_interrupt_model_conversion NAME...", "output_names", "tensors at which to end",
             _names, form=_NAMES),
    ),
    *_group(
        "tuning",
        _set("--simplify", "simplify", "onnxsim where it can still find something (auto), always, never", _text,
             choices=SIMPLIFY),
        _set("-nuo --not_use_onnxsim", "simplify", "the same as --simplify never", "never"),
        _set("--fold-budget BYTES", "fold_budget", "growth of the constants that folding may cause (1MB)",
             _number(words.size), form="int"),
        _set("--disable-pass NAME", "disabled_passes", "leave a pass out; repeatable; see --list-passes",
             _names, form=_NAMES, action="append", dest="disable_passes"),
        _set("--keep-node NAME", "keep_nodes", "a node that tuning neither folds, fuses nor removes; repeatable",
             _names, form=_NAMES, action="append", dest="keep_nodes"),
        _set("--keep-batchnorm", "keep_batchnorm", "do not fold BatchNormalization: a layer of the Keras model", True),
    ),
    *_group(
        "check against ONNX Runtime",
        _set("-coto --check_onnx_tf_outputs_elementwise_close", "check", "compare the outputs (the default)",
             "outputs"),
        _set("-cotof --check_onnx_tf_outputs_elementwise_close_full", "check", "compare and list every layer",
             "layers"),
        _set("-cotor --check_onnx_tf_outputs_elementwise_close_rtol R", "rtol",
             "limit: R * max|reference| + A (1e-4 float32, 1e-2 float16)", _number(words.limit),
             form="float"),
        _set("-cotoa --check_onnx_tf_outputs_elementwise_close_atol A", "atol", "1e-6", _number(words.limit),
             form="float"),
        _set("-ert --eval_rtol R", "rtol", "the same as -cotor", _number(words.limit), form="float"),
        _set("-eat --eval_atol A", "atol", "the same as -cotoa", _number(words.limit), form="float"),
        _set("-ens --eval_num_samples N", "samples", "how many random inputs the check draws", _number(words.positive),
             form="int"),
        _set("--require-coverage PERCENT", "require_coverage",
             "of layers, branches and weights that the check has to reach; default 0", _number(words.limit),
             form="float"),
        _set("--budget BYTES", "budget", "memory of a check above a plain run; default 1.8GB, at least 64MB",
             _number(words.size), form="int"),
        _set("--seconds S", "seconds", "time that it may take; default 300, and 10 for every MB of weights",
             _number(words.limit), form="float"),
        _set("-tdnp --test_data_nhwc_path FILE", "test_data", "inputs: .npz by name, or .npy; either layout",
             form=_PATH),
        _set("test_data", "test_data", "arrays by input name, or an .npz or .npy file with them",
             form=f"{_PATH} | Mapping[str, np.ndarray]"),
        _set("check", "check", "outputs, layers or none", _text),
        _set("--html FILE", "html", "every layer as a page with charts (implies -cotof)", also={"check": "layers"},
             form=_PATH),
        _set("--no-check", "check", "do not run anything", "none"),
    ),
    *_group(
        "output on the terminal",
        _set("-n --non_verbose", "verbosity", "errors only", "error"),
        _set("-v --verbosity", "verbosity", "default: info", _level, choices=LEVELS),
    ),
]  # fmt: skip

_ALWAYS = "always done"
_GUESS = "axes are computed, not guessed: there is nothing to correct"
_NO_SPLIT = "models above 2 GB are written as one file; nothing is split"
_NOT_SPLIT = "files are not split"
_ONNX_SHAPE = "results always have the shape that ONNX defines"
_HALVED = "the features would be halved first, which changes the result; -rarf32 does not"
_FEW_AXES = "axes are merged where kernels need it; --target gpu keeps to four"
_NO_FLEX = "no Flex operator is ever written, so none needs a replacement"
_STANDARD = "operators are always written in the form that every TFLite runtime has"
_NO_CUSTOM = "custom operators are never written; nodes that would need one are listed as errors"
_RANGE = "pictures of the check have the range that the model's own arithmetic asks for"

#: The operators that onnx2tf had an option each for, until -rtpo came.
_PSEUDO = {
    "rasin": "asin", "racos": "acos", "rabs": "abs", "rpr": "prelu", "rlr": "leakyrelu", "rpw": "power",
    "rgn": "gathernd", "rng": "neg", "rhs": "hardswish", "rerf": "erf",
}  # fmt: skip

_WITHOUT_EFFECT = [
    _ignored("-osd --output_signaturedefs", _ALWAYS),
    _ignored("-coion --copy_onnx_input_output_names_to_tflite", _ALWAYS),
    _ignored("-fdosm --flatbuffer_direct_output_saved_model", "--outputs says which files are written"),
    _ignored("-tb --tflite_backend NAME", "the .tflite is always written directly"),
    _ignored("-roc --report_op_coverage", "part of the report that is always written"),
    _ignored("-nuonag --not_use_opname_auto_generate", "names are given to unnamed nodes only"),
    _ignored("-nlt --no_large_tensor", "always done, up to --fold-budget"),
    _ignored("-prf --param_replacement_file FILE", _GUESS),
    _ignored("-agj --auto_generate_json", _GUESS),
    _ignored("-agje --auto_generate_json_on_error", _GUESS),
    _ignored("-dsm --disable_strict_mode", _GUESS),
    _ignored("-doem --disable_onnxruntime_output_memmap", _GUESS),
    _ignored("-oemd --onnxruntime_output_memmap_dir PATH", _GUESS),
    _ignored("-tsmb --tflite_split_max_bytes N", _NO_SPLIT),
    _ignored("-tstb --tflite_split_target_bytes N", _NO_SPLIT),
    _ignored("-ewo --eval_with_onnx", _ALWAYS),
    _ignored("-efot --eval_fail_on_threshold", _ALWAYS),
    _ignored("-esm --eval_split_models MODE", _NOT_SPLIT),
    _ignored("-esfot --eval_split_fail_on_threshold", _NOT_SPLIT),
    _ignored("-onwdt --output_nms_with_dynamic_tensor", _ONNX_SHAPE),
    _ignored("-dsft --disable_suppression_flextranspose", _NO_FLEX),
    _ignored("-rafi64 --replace_argmax_to_fused_argmax_and_indices_is_int64", _HALVED),
    _ignored("-raff32 --replace_argmax_to_fused_argmax_and_indices_is_float32", _HALVED),
    _ignored("-fasr --fused_argmax_scale_ratio R", _HALVED),
    _ignored("-nodafsc --number_of_dimensions_after_flexstridedslice_compression N", _FEW_AXES),
    _ignored("-dsfs --disable_suppression_flexstridedslice", _NO_FLEX),
    _ignored("-rtpo --replace_to_pseudo_operators [NAME...]", _NO_FLEX),
    *(_ignored(f"-{short} --replace_{name}_to_pseudo_operators", _NO_FLEX) for short, name in _PSEUDO.items()),
    _ignored("-nodaftc -nodafc --number_of_dimensions_after_flextranspose_compression N", _FEW_AXES),
    _ignored("-snms --switch_nms_version VERSION", _STANDARD),
    _ignored("-fdaco --flatbuffer_direct_allow_custom_ops", _NO_CUSTOM),
    _ignored("-fdcoa --flatbuffer_direct_custom_op_allowlist NAMES", _NO_CUSTOM),
    _ignored("-easm --enable_auto_split_model", _NO_SPLIT),
    _ignored("-asmsm -asmmb --auto_split_max_size_mb N", _NO_SPLIT),
    _ignored("-asms --auto_split_max_size SIZE", _NO_SPLIT),
    _ignored("-coton --check_onnx_tf_outputs_sample_data_normalization NAME", _RANGE),
    _ignored("-ett --eval_target_tflite NAME", "every written file is checked"),
    _ignored("-ecm --eval_compare_mode MODE", "files are always compared in real numbers"),
    _ignored("-onwa --output_nms_with_argmax", _ONNX_SHAPE),
    _ignored("-me --mvn_epsilon E", "MeanVarianceNormalization has the epsilon that ONNX defines, 1e-9"),
    Alias(parameter("onnxruntime_output_memmap", ""), ignored=_GUESS),
    Alias(parameter("tf_input_cache", ""), ignored=_GUESS),
]

_PYTORCH = "PyTorch is not a target of this converter; use the ONNX file there"

_INSTEAD = [
    _refused("-it --input_tflite_file_path FILE", "only ONNX files are converted: -i model.onnx"),
    _refused("-fdopt --flatbuffer_direct_output_pytorch", _PYTORCH),
    _refused("-fdots --flatbuffer_direct_output_torchscript", _PYTORCH),
    _refused("-fdodo --flatbuffer_direct_output_dynamo_onnx", _PYTORCH),
    _refused("-fdoep --flatbuffer_direct_output_exported_program", _PYTORCH),
    _refused("-npgts --native_pytorch_generation_timeout_sec N", _PYTORCH),
]

#: By keyword.
ALIASES: dict[str, Alias] = {row.keyword: row for row in [*_OURS, *_WITHOUT_EFFECT, *_INSTEAD]}
