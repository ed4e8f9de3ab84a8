"""The functions that scripts know: names, order and defaults as in the original tools; every parameter explained."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise

import pytest

from onnx2tf_lite.tools._verbs import TOOLS, VERBS

#: Tool -> its positional parameters with their defaults, as users of the original tool call it (a default that was an
#: empty list is an empty tuple here).
SIGNATURES = {
    "snc4onnx": "combine(srcop_destop=(), op_prefixes_after_merging=(), input_onnx_file_paths=(), onnx_graphs=(), "
    "output_onnx_file_path='', output_of_onnx_file_in_the_process_of_fusion=False, disable_onnxsim=False, "
    "non_verbose=False)",
    "sne4onnx": "extraction(input_op_names, output_op_names, input_onnx_file_path='', onnx_graph=None, "
    "output_onnx_file_path='', has_external_data=False, non_verbose=False)",
    "snd4onnx": "remove(remove_node_names=(), input_onnx_file_path='', output_onnx_file_path='', onnx_graph=None, "
    "non_verbose=False)",
    "scs4onnx": "shrinking(input_onnx_file_path='', output_onnx_file_path='', onnx_graph=None, mode='shrink', "
    "forced_extraction_op_names=(), forced_extraction_constant_names=(), disable_auto_downcast=False, "
    "non_verbose=False)",
    "sog4onnx": "generate(op_type='', opset=0, op_name='', ir_version=9, input_variables=None, output_variables=None, "
    "attributes=None, output_onnx_file_path='', non_verbose=False)",
    "sam4onnx": "modify(input_onnx_file_path='', output_onnx_file_path='', onnx_graph=None, op_name='', "
    "attributes=None, delete_attributes=None, input_constants=None, output_shapes=None, non_verbose=False)",
    "soc4onnx": "change(opset, input_onnx_file_path='', output_onnx_file_path='', onnx_graph=None, non_verbose=False)",
    "scc4onnx": "order_conversion(input_op_names_and_order_dims=None, channel_change_inputs=None, "
    "input_onnx_file_path='', output_onnx_file_path='', onnx_graph=None, non_verbose=False)",
    "sna4onnx": "add(connection_src_op_output_names=None, connection_dest_op_input_names=None, add_op_type='', "
    "add_op_name='', add_op_input_variables=None, add_op_output_variables=None, add_op_attributes=None, "
    "input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', non_verbose=False)",
    "sbi4onnx": "initialize(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', "
    "initialization_character_string='-1', disable_onnxsim=False, non_verbose=False)",
    "sor4onnx": "rename(old_new=(), input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', mode='full', "
    "search_mode='exact_match', non_verbose=False)",
    "soa4onnx": "outputs_add(input_onnx_file_path='', onnx_graph=None, output_op_names=(), output_onnx_file_path='', "
    "non_verbose=False, do_not_type_check=False)",
    "sod4onnx": "outputs_delete(input_onnx_file_path='', onnx_graph=None, output_op_names=(), "
    "output_onnx_file_path='', non_verbose=False)",
    "ssi4onnx": "shape_inference(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', "
    "non_verbose=False)",
    "sit4onnx": "inference(input_onnx_file_path, batch_size=1, fixed_shapes=None, test_loop_count=10, "
    "onnx_execution_provider='tensorrt', intra_op_num_threads=0, enable_profiling=False, "
    "input_numpy_file_paths_for_testing=None, numpy_ndarrays_for_testing=None, output_numpy_file=False, "
    "non_verbose=False)",
    "onnx2json": "convert(input_onnx_file_path='', onnx_graph=None, output_json_path='', json_indent=2)",
    "json2onnx": "convert(input_json_path='', json_dict=None, output_onnx_file_path='')",
    "sed4onnx": "encode(constant_string, dtype)",
    "ssc4onnx": "structure_check(input_onnx_file_path='', onnx_graph=None)",
    "sio4onnx": "io_change(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', input_names=(), "
    "input_shapes=(), output_names=(), output_shapes=(), non_verbose=False)",
    "svs4onnx": "variable_switch(from_output_variable_name, to_input_variable_name='', input_onnx_file_path='', "
    "onnx_graph=None, output_onnx_file_path='', non_verbose=False)",
    "sng4onnx": "generate(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', "
    "has_external_data=False, non_verbose=False)",
    "spo4onnx": "partial_optimization(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', "
    "overwrite_input_shape=None, optimization_times=0, target_onnxsim_version='', non_verbose=False)",
    "sde4onnx": "erase(input_onnx_file_path='', onnx_graph=None, output_onnx_file_path='', non_verbose=False)",
}


def test_every_tool_is_pinned() -> None:
    assert set(SIGNATURES) == set(TOOLS)


@pytest.mark.parametrize("tool", sorted(SIGNATURES))
def test_signature(tool: str) -> None:
    """Whatever we added stands behind, as keywords."""
    function = VERBS[TOOLS[tool]].function()
    shown = [
        p.name if p.default is p.empty else f"{p.name}={p.default!r}"
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    ]
    assert f"{function.__name__}({', '.join(shown)})" == SIGNATURES[tool]


@pytest.mark.parametrize("tool", sorted(SIGNATURES))
def test_every_parameter_is_explained(tool: str) -> None:
    function = VERBS[TOOLS[tool]].function()
    text = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")[2]
    said = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert said == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("tool", sorted(SIGNATURES))
def test_what_is_nested_is_shown(tool: str) -> None:
    """Lists of lists and dictionaries: how they are written, with the shapes of arrays."""
    function = VERBS[TOOLS[tool]].function()
    text = (inspect.getdoc(function) or "").partition("Parameters\n----------\n")[2].splitlines()
    said = {a.partition(":")[0]: b for a, b in pairwise(text) if not a.startswith(" ")}
    nested = re.compile(r"Mapping|Values|Variables|Shapes|Sequence\[(Sequence|np|Any)")
    for name, parameter in inspect.signature(function).parameters.items():
        if nested.search(str(parameter.annotation)):
            assert re.search(r"[\[{].*[\]}]", said[name]), (name, said[name])
        assert "may be repeated" not in said[name]
