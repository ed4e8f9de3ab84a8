"""The messages of a SavedModel that are written or read here, without TensorFlow.

Names, numbers and types are those of ``tensorflow/core/{framework,protobuf}/*.proto``; fields that are never used are
left out, enumerations are the integers that they are on the wire, and types that nest there stand side by side.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES = """
SavedModel            int64 saved_model_schema_version = 1; repeated MetaGraphDef meta_graphs = 2
MetaGraphDef          MetaInfoDef meta_info_def = 1; GraphDef graph_def = 2; SaverDef saver_def = 3;
                      map<string, SignatureDef> signature_def = 5; SavedObjectGraph object_graph_def = 7
MetaInfoDef           repeated string tags = 4; string tensorflow_version = 5; bool stripped_default_attrs = 7
VersionDef            int32 producer = 1; int32 min_consumer = 2
SaverDef              string filename_tensor_name = 1; string save_tensor_name = 2; string restore_op_name = 3;
                      int32 version = 7
SignatureDef          map<string, TensorInfo> inputs = 1; map<string, TensorInfo> outputs = 2; string method_name = 3
TensorInfo            string name = 1; int32 dtype = 2; TensorShapeProto tensor_shape = 3

GraphDef              repeated NodeDef node = 1; FunctionDefLibrary library = 2; VersionDef versions = 4
NodeDef               string name = 1; string op = 2; repeated string input = 3; string device = 4;
                      map<string, AttrValue> attr = 5
AttrValue             AttrList list = 1; bytes s = 2; int64 i = 3; float f = 4; bool b = 5; int32 type = 6;
                      TensorShapeProto shape = 7; TensorProto tensor = 8; NameAttrList func = 10
AttrList              repeated bytes s = 2; repeated int64 i = 3; repeated float f = 4; repeated bool b = 5;
                      repeated int32 type = 6; repeated TensorShapeProto shape = 7
NameAttrList          string name = 1
TensorProto           int32 dtype = 1; TensorShapeProto tensor_shape = 2; bytes tensor_content = 4;
                      repeated bytes string_val = 8
TensorShapeProto      repeated Dim dim = 2
Dim                   int64 size = 1
FunctionDefLibrary    repeated FunctionDef function = 1
FunctionDef           OpDef signature = 1; repeated NodeDef node_def = 3; map<string, string> ret = 4;
                      map<string, AttrValue> attr = 5; map<uint32, ArgAttrs> arg_attr = 7
ArgAttrs              map<string, AttrValue> attr = 1
OpDef                 string name = 1; repeated ArgDef input_arg = 2; repeated ArgDef output_arg = 3;
                      bool is_stateful = 17
ArgDef                string name = 1; int32 type = 3; repeated DtypeAndShape handle_data = 7
DtypeAndShape         int32 dtype = 1; TensorShapeProto shape = 2

SavedObjectGraph      repeated SavedObject nodes = 1; map<string, SavedConcreteFunction> concrete_functions = 2
SavedObject           repeated ObjectReference children = 1; SavedUserObject user_object = 4;
                      SavedFunction function = 6; SavedVariable variable = 7;
                      SavedBareConcreteFunction bare_concrete_function = 8
ObjectReference       int32 node_id = 1; string local_name = 2
SavedUserObject       string identifier = 1; VersionDef version = 2
SavedVariable         int32 dtype = 1; TensorShapeProto shape = 2; bool trainable = 3; string name = 6
SavedFunction         repeated string concrete_functions = 1; FunctionSpec function_spec = 2
FunctionSpec          StructuredValue fullargspec = 1; StructuredValue input_signature = 5
SavedBareConcreteFunction  string concrete_function_name = 1; repeated string argument_keywords = 2;
                      int64 allowed_positional_arguments = 3; FunctionSpec function_spec = 4
SavedConcreteFunction repeated int32 bound_inputs = 2; StructuredValue canonicalized_input_signature = 3;
                      StructuredValue output_signature = 4
StructuredValue       NoneValue none_value = 1; string string_value = 13; TensorSpecProto tensor_spec_value = 33;
                      ListValue list_value = 51; TupleValue tuple_value = 52; DictValue dict_value = 53;
                      NamedTupleValue named_tuple_value = 54
NoneValue
ListValue             repeated StructuredValue values = 1
TupleValue            repeated StructuredValue values = 1
DictValue             map<string, StructuredValue> fields = 1
NamedTupleValue       string name = 1; repeated PairValue values = 2
PairValue             string key = 1; StructuredValue value = 2
TensorSpecProto       string name = 1; TensorShapeProto shape = 2; int32 dtype = 3

TrackableObjectGraph  repeated TrackableObject nodes = 1
TrackableObject       repeated ObjectReference children = 1; repeated SerializedTensor attributes = 2
SerializedTensor      string name = 1; string full_name = 2; string checkpoint_key = 3
BundleHeaderProto     int32 num_shards = 1; VersionDef version = 3
BundleEntryProto      int32 dtype = 1; TensorShapeProto shape = 2; int32 shard_id = 3; int64 offset = 4;
                      int64 size = 5; fixed32 crc32c = 6
"""

#: ``DataType``, by the name that numpy has for it (and those of its own).
DTYPES = {
    name: int(number)
    for name, number in re.findall(
        r"(\w+) (\d+)",
        "float32 1, float64 2, int32 3, uint8 4, int16 5, int8 6, string 7, complex64 8, int64 9, bool 10, uint16 17, "
        "float16 19, resource 20, uint32 22, uint64 23",
    )
}
PRODUCER = 2200  # version of GraphDef; TensorFlow 2.20 writes it, and every TensorFlow 2 reads it

#: A message: its class is made at run time.
Proto = Any
_Field = descriptor_pb2.FieldDescriptorProto
SCALARS = frozenset(_Field.Type.keys())


@cache
def message(name: str) -> Proto:
    """The class of messages called ``name``.  Its pool is its own, so TensorFlow may be imported beside it."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    """Scalars have presence, as inside a oneof (syntax proto2); lists of them are packed, as in proto3."""
    file = descriptor_pb2.FileDescriptorProto(name="saved_model.proto", syntax="proto2")
    for name, fields in re.findall(r"^(\w+) *((?:[^\n]|\n +)*)", MESSAGES, re.MULTILINE):
        made = file.message_type.add(name=name)
        for key, value, kind, field, number in re.findall(
            r"(?:map<(\w+), (\w+)>|((?:repeated )?\w+)) (\w+) = (\d+)", fields
        ):
            if not key:
                _add(made, kind, field, int(number))
                continue
            entry = made.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            _add(entry, key, "key", 1)
            _add(entry, value, "value", 2)
            _add(made, f"repeated {name}.{entry.name}", field, int(number))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add(made: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int) -> None:
    kind, repeated = kind.removeprefix("repeated "), kind.startswith("repeated ")
    field = made.field.add(name=name, number=number, label=3 if repeated else 1)
    scalar = f"TYPE_{kind.upper()}"
    if scalar not in SCALARS:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{kind}"
        return
    field.type = _Field.Type.Value(scalar)
    if repeated and kind not in ("string", "bytes"):
        field.options.packed = True
