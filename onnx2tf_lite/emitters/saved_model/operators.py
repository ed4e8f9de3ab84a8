"""What TensorFlow's raw operators take and give: operands, results and the attributes that are set here.

A line of :data:`SIGNATURES` says of an operator, as TensorFlow registers it,

    name operand:type ... -> result:type ... | attribute:kind ...

where a type is a ``DataType``, the attribute that holds one, or in brackets that which holds a list of them;
``N*T`` are as many tensors of one type as the attribute ``N`` says.  Attributes with their usual value are left out of
a node.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from .protos import DTYPES, Proto

SIGNATURES = """
Abs                   x:T -> y:T
AddV2                 x:T y:T -> z:T
All                   input:bool reduction_indices:Tidx -> output:bool | keep_dims:bool
Any                   input:bool reduction_indices:Tidx -> output:bool | keep_dims:bool
ArgMax                input:T dimension:Tidx -> output:output_type
ArgMin                input:T dimension:Tidx -> output:output_type
AssignVariableOp      resource:resource value:dtype ->
Atan2                 y:T x:T -> z:T
AvgPool               value:T -> output:T | ksize:ints strides:ints padding:string
BatchMatMulV2         x:T y:T -> output:T | adj_x:bool adj_y:bool
BiasAdd               value:T bias:T -> output:T
Bitcast               input:T -> output:type
BitwiseAnd            x:T y:T -> z:T
BitwiseXor            x:T y:T -> z:T
BroadcastTo           input:T shape:Tidx -> output:T
Cast                  x:SrcT -> y:DstT
Ceil                  x:T -> y:T
ClipByValue           t:T clip_value_min:T clip_value_max:T -> output:T
ConcatV2              values:N*T axis:Tidx -> output:T
Const                 -> output:dtype | value:tensor
Conv2D                input:T filter:T -> output:T | strides:ints padding:string dilations:ints
Conv2DBackpropInput   input_sizes:int32 filter:T out_backprop:T
                      -> output:T | strides:ints padding:string dilations:ints
Conv3D                input:T filter:T -> output:T | strides:ints padding:string dilations:ints
Conv3DBackpropInputV2 input_sizes:Tshape filter:T out_backprop:T
                      -> output:T | strides:ints padding:string dilations:ints
Cos                   x:T -> y:T
Cumprod               x:T axis:Tidx -> out:T | exclusive:bool reverse:bool
Cumsum                x:T axis:Tidx -> out:T | exclusive:bool reverse:bool
DepthToSpace          input:T -> output:T | block_size:int
DepthwiseConv2dNative input:T filter:T -> output:T | strides:ints padding:string dilations:ints
Elu                   features:T -> activations:T
Equal                 x:T y:T -> z:bool
Erf                   x:T -> y:T
Exp                   x:T -> y:T
Fill                  dims:index_type value:T -> output:T
Floor                 x:T -> y:T
FloorDiv              x:T y:T -> z:T
FloorMod              x:T y:T -> z:T
GatherNd              params:Tparams indices:Tindices -> output:Tparams
GatherV2              params:Tparams indices:Tindices axis:Taxis -> output:Tparams | batch_dims:int
Greater               x:T y:T -> z:bool
GreaterEqual          x:T y:T -> z:bool
Identity              input:T -> output:T
If                    cond:Tcond input:[Tin] -> output:[Tout] | then_branch:func else_branch:func output_shapes:shapes
Imag                  input:T -> output:Tout
LRN                   input:T -> output:T | depth_radius:int bias:float alpha:float beta:float
LeakyRelu             features:T -> activations:T | alpha:float
Less                  x:T y:T -> z:bool
LessEqual             x:T y:T -> z:bool
Log                   x:T -> y:T
LogSoftmax            logits:T -> logsoftmax:T
LogicalAnd            x:bool y:bool -> z:bool
LogicalNot            x:bool -> y:bool
LogicalOr             x:bool y:bool -> z:bool
MatMul                a:T b:T -> product:T | transpose_b:bool
Max                   input:T reduction_indices:Tidx -> output:T | keep_dims:bool
MaxPool               input:T -> output:T | ksize:ints strides:ints padding:string
Maximum               x:T y:T -> z:T
Mean                  input:T reduction_indices:Tidx -> output:T | keep_dims:bool
Min                   input:T reduction_indices:Tidx -> output:T | keep_dims:bool
Minimum               x:T y:T -> z:T
MirrorPad             input:T paddings:Tpaddings -> output:T | mode:string
Mul                   x:T y:T -> z:T
Multinomial           logits:T num_samples:int32 -> output:output_dtype | seed:int seed2:int
Neg                   x:T -> y:T
NoOp                  ->
NonMaxSuppressionV4   boxes:T scores:T max_output_size:int32 iou_threshold:T_threshold score_threshold:T_threshold ->
                      selected_indices:int32 valid_outputs:int32 | pad_to_max_output_size:bool
NotEqual              x:T y:T -> z:bool
OneHot                indices:TI depth:int32 on_value:T off_value:T -> output:T | axis:int
Pack                  values:N*T -> output:T | axis:int
Pad                   input:T paddings:Tpaddings -> output:T
PadV2                 input:T paddings:Tpaddings constant_values:T -> output:T
PartitionedCall       args:[Tin] -> output:[Tout] | f:func
Placeholder           -> output:dtype | shape:shape
Pow                   x:T y:T -> z:T
Prod                  input:T reduction_indices:Tidx -> output:T | keep_dims:bool
RFFT2D                input:Treal fft_length:int32 -> output:Tcomplex
RandomStandardNormal  shape:T -> output:dtype | seed:int seed2:int
RandomUniform         shape:T -> output:dtype | seed:int seed2:int
Range                 start:Tidx limit:Tidx delta:Tidx -> output:Tidx
ReadVariableOp        resource:resource -> value:dtype
Real                  input:T -> output:Tout
RealDiv               x:T y:T -> z:T
Relu                  features:T -> activations:T
Relu6                 features:T -> activations:T
Reshape               tensor:T shape:Tshape -> output:T
ResizeBilinear        images:T size:int32 -> resized_images:float | align_corners:bool half_pixel_centers:bool
ResizeNearestNeighbor images:T size:int32 -> resized_images:T | align_corners:bool half_pixel_centers:bool
RestoreV2             prefix:string tensor_names:string shape_and_slices:string -> tensors:[dtypes]
ReverseSequence       input:T seq_lengths:Tlen -> output:T | seq_dim:int batch_dim:int
ReverseV2             tensor:T axis:Tidx -> output:T
RightShift            x:T y:T -> z:T
Round                 x:T -> y:T
Rsqrt                 x:T -> y:T
SaveV2                prefix:string tensor_names:string shape_and_slices:string tensors:[dtypes] ->
ScatterNd             indices:Tindices updates:T shape:Tindices -> output:T
SelectV2              condition:bool t:T e:T -> output:T
Shape                 input:T -> output:out_type
Sigmoid               x:T -> y:T
Sign                  x:T -> y:T
Sin                   x:T -> y:T
Slice                 input:T begin:Index size:Index -> output:T
Softmax               logits:T -> softmax:T
SpaceToDepth          input:T -> output:T | block_size:int
Split                 split_dim:int32 value:T -> output:num_split*T
SplitV                value:T size_splits:Tlen split_dim:int32 -> output:num_split*T
Sqrt                  x:T -> y:T
Square                x:T -> y:T
SquaredDifference     x:T y:T -> z:T
StatefulPartitionedCall args:[Tin] -> output:[Tout] | f:func
StatelessIf           cond:Tcond input:[Tin] -> output:[Tout] | then_branch:func else_branch:func output_shapes:shapes
StatelessWhile        input:[T] -> output:[T] | cond:func body:func output_shapes:shapes
StridedSlice          input:T begin:Index end:Index strides:Index -> output:T | end_mask:int
Sub                   x:T y:T -> z:T
Sum                   input:T reduction_indices:Tidx -> output:T | keep_dims:bool
Tanh                  x:T -> y:T
TensorScatterMax      tensor:T indices:Tindices updates:T -> output:T
TensorScatterMin      tensor:T indices:Tindices updates:T -> output:T
TensorScatterUpdate   tensor:T indices:Tindices updates:T -> output:T
TensorStridedSliceUpdate input:T begin:Index end:Index strides:Index value:T -> output:T
Tile                  input:T multiples:Tmultiples -> output:T
TopKV2                input:T k:Tk -> values:T indices:index_type
Transpose             x:T perm:Tperm -> y:T
TruncateDiv           x:T y:T -> z:T
Unique                x:T -> y:T idx:out_idx
UnsortedSegmentProd   data:T segment_ids:Tindices num_segments:Tnumsegments -> output:T
VarHandleOp           -> resource:resource | shared_name:string dtype:type shape:shape
Where                 input:T -> index:int64
While                 input:[T] -> output:[T] | cond:func body:func output_shapes:shapes
"""


class Argument(NamedTuple):
    """An operand or result: ``dtype``, or the attribute that names it (``listed``: one for each of several tensors);
    ``number``: the attribute that says how many tensors of one type it is."""

    name: str
    dtype: int
    typed: str
    listed: bool
    number: str

    @classmethod
    def of(cls, text: str) -> Argument:
        """From ``name:N*type``."""
        name, _, rest = text.partition(":")
        number, _, kind = rest.rpartition("*")
        plain = kind.strip("[]")
        dtype = DTYPES.get({"float": "float32"}.get(plain, plain), 0)
        return cls(name, dtype, "" if dtype else plain, kind != plain, number)

    def types(self, attributes: Proto) -> list[int]:
        """DataTypes of the tensors that it stands for in a node with ``attributes``."""
        if self.listed:
            return list(attributes[self.typed].list.type)
        dtype = attributes[self.typed].type if self.typed else self.dtype
        return [dtype] * (attributes[self.number].i if self.number else 1)


class RawOperator(NamedTuple):
    """``attributes`` maps names to kinds (``AttrValue``'s fields; plural: lists of them)."""

    operands: tuple[Argument, ...]
    results: tuple[Argument, ...]
    attributes: dict[str, str]


@cache
def operator(name: str) -> RawOperator:
    """The row of ``name``; KeyError where there is none."""
    ends, _, rest = _lines()[name].partition("|")
    operands, results = (tuple(map(Argument.of, side.split())) for side in ends.split("->"))
    attributes = dict(entry.split(":") for entry in rest.split())
    for argument in (*operands, *results):
        if argument.typed:
            attributes[argument.typed] = "types" if argument.listed else "type"
        if argument.number:
            attributes[argument.number] = "int"
    return RawOperator(operands, results, attributes)


def names() -> list[str]:
    """The operators that are known."""
    return list(_lines())


@cache
def _lines() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)((?:[^\n]|\n +)*)", SIGNATURES, re.MULTILINE))
