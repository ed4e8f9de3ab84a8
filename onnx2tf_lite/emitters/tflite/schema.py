"""What the schema of .tflite files says of what is written: tables, unions, enumerations.

Names and numbers are those of ``tensorflow/compiler/mlir/lite/schema/schema.fbs``, those of fields as in Python.
Fields that are neither written nor copied are left out, enumerations are complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from struct import calcsize
from typing import NamedTuple

import numpy as np


def _numbers(text: str) -> dict[str, int]:
    """Of "NAME 1 OTHER 2"."""
    return {name: int(number) for name, number in re.findall(r"(\S+) (\d+)", text)}


def _numbered(names: str, first: int = 0) -> dict[str, int]:
    """Names that are numbered in their order."""
    return {name: number for number, name in enumerate(names.split(), first)}


#: A field: its type, its name, its number and its default where that is not zero.  Types are those of ``struct``, lists
#: of them or of tables, strings ("text"), and "table", which is one of any kind.
TABLES = """
Model                    I version 0; [table] operatorCodes 1; [table] subgraphs 2; text description 3;
                         [table] buffers 4; [table] metadata 6; [table] signatureDefs 7
OperatorCode             b deprecatedBuiltinCode 0; i version 2 = 1; i builtinCode 3
SubGraph                 [table] tensors 0; [i] inputs 1; [i] outputs 2; [table] operators 3; text name 4
Tensor                   [i] shape 0; b type 1; I buffer 2; text name 3; table quantization 4; [i] shapeSignature 7;
                         ? hasRank 8; ? isVariable 5
QuantizationParameters   [f] scale 2; [q] zeroPoint 3; i quantizedDimension 6
Operator                 I opcodeIndex 0; [i] inputs 1; [i] outputs 2; B builtinOptionsType 3; table builtinOptions 4;
                         B builtinOptions2Type 11; table builtinOptions2 12; [B] customOptions 5;
                         b customOptionsFormat 6; [?] mutatingVariableInputs 7; [i] intermediates 8
Buffer                   [B] data 0; Q offset 1; Q size 2
Metadata                 text name 0; I buffer 1
SignatureDef             [table] inputs 0; [table] outputs 1; text signatureKey 2; I subgraphIndex 4
TensorMap                text name 0; I tensorIndex 1

AddOptions               b fusedActivationFunction 0
ArgMaxOptions            b outputType 0
ArgMinOptions            b outputType 0
BatchMatMulOptions       ? adjX 0; ? adjY 1
CastOptions              b inDataType 0; b outDataType 1
ConcatenationOptions     i axis 0
Conv2DOptions            b padding 0; i strideW 1; i strideH 2; b fusedActivationFunction 3; i dilationWFactor 4 = 1;
                         i dilationHFactor 5 = 1
Conv3DOptions            b padding 0; i strideD 1; i strideW 2; i strideH 3; b fusedActivationFunction 4;
                         i dilationDFactor 5 = 1; i dilationWFactor 6 = 1; i dilationHFactor 7 = 1
CumsumOptions            ? exclusive 0; ? reverse 1
DepthToSpaceOptions      i blockSize 0
DepthwiseConv2DOptions   b padding 0; i strideW 1; i strideH 2; i depthMultiplier 3; b fusedActivationFunction 4;
                         i dilationWFactor 5 = 1; i dilationHFactor 6 = 1
DivOptions               b fusedActivationFunction 0
FullyConnectedOptions    b fusedActivationFunction 0; ? keepNumDims 2
GatherOptions            i axis 0; i batchDims 1
GeluOptions              ? approximate 0
IfOptions                i thenSubgraphIndex 0; i elseSubgraphIndex 1
LeakyReluOptions         f alpha 0
LocalResponseNormalizationOptions  i radius 0; f bias 1; f alpha 2; f beta 3
MirrorPadOptions         b mode 0
MulOptions               b fusedActivationFunction 0
OneHotOptions            i axis 0
PackOptions              i valuesCount 0; i axis 1
Pool2DOptions            b padding 0; i strideW 1; i strideH 2; i filterWidth 3; i filterHeight 4;
                         b fusedActivationFunction 5
RandomOptions            q seed 0; q seed2 1
ReducerOptions           ? keepDims 0
ResizeBilinearOptions    ? alignCorners 2; ? halfPixelCenters 3
ResizeNearestNeighborOptions  ? alignCorners 0; ? halfPixelCenters 1
ReverseSequenceOptions   i seqDim 0; i batchDim 1
ShapeOptions             b outType 0
SoftmaxOptions           f beta 0
SpaceToDepthOptions      i blockSize 0
SplitOptions             i numSplits 0
SplitVOptions            i numSplits 0
StablehloScatterOptions  ? indicesAreSorted 0; [q] updateWindowDims 1; [q] insertedWindowDims 2;
                         [q] scatterDimsToOperandDims 3; q indexVectorDim 4; ? uniqueIndices 5;
                         i updateComputationSubgraphIndex 6
StridedSliceOptions      i endMask 1
SubOptions               b fusedActivationFunction 0
TransposeConvOptions     b padding 0; i strideW 1; i strideH 2; b fusedActivationFunction 3
UniqueOptions            b idxOutType 0 = 2
WhileOptions             i condSubgraphIndex 0; i bodySubgraphIndex 1
"""
FIELDS = dict(re.findall(r"^(\w+) +((?:[^\n]|\n +)+)", TABLES, re.MULTILINE))

#: The unions of an operator: what they may hold, 0 is nothing.
UNIONS = {
    "builtinOptions": """
        Conv2DOptions DepthwiseConv2DOptions ConcatEmbeddingsOptions LSHProjectionOptions Pool2DOptions
        SVDFOptions RNNOptions FullyConnectedOptions SoftmaxOptions ConcatenationOptions AddOptions
        L2NormOptions LocalResponseNormalizationOptions LSTMOptions ResizeBilinearOptions CallOptions
        ReshapeOptions SkipGramOptions SpaceToDepthOptions EmbeddingLookupSparseOptions MulOptions
        PadOptions GatherOptions BatchToSpaceNDOptions SpaceToBatchNDOptions TransposeOptions ReducerOptions
        SubOptions DivOptions SqueezeOptions SequenceRNNOptions StridedSliceOptions ExpOptions TopKV2Options
        SplitOptions LogSoftmaxOptions CastOptions DequantizeOptions MaximumMinimumOptions ArgMaxOptions
        LessOptions NegOptions PadV2Options GreaterOptions GreaterEqualOptions LessEqualOptions
        SelectOptions SliceOptions TransposeConvOptions SparseToDenseOptions TileOptions ExpandDimsOptions
        EqualOptions NotEqualOptions ShapeOptions PowOptions ArgMinOptions FakeQuantOptions PackOptions
        LogicalOrOptions OneHotOptions LogicalAndOptions LogicalNotOptions UnpackOptions FloorDivOptions
        SquareOptions ZerosLikeOptions FillOptions BidirectionalSequenceLSTMOptions
        BidirectionalSequenceRNNOptions UnidirectionalSequenceLSTMOptions FloorModOptions RangeOptions
        ResizeNearestNeighborOptions LeakyReluOptions SquaredDifferenceOptions MirrorPadOptions AbsOptions
        SplitVOptions UniqueOptions ReverseV2Options AddNOptions GatherNdOptions CosOptions WhereOptions
        RankOptions ReverseSequenceOptions MatrixDiagOptions QuantizeOptions MatrixSetDiagOptions
        HardSwishOptions IfOptions WhileOptions DepthToSpaceOptions NonMaxSuppressionV4Options
        NonMaxSuppressionV5Options ScatterNdOptions SelectV2Options DensifyOptions SegmentSumOptions
        BatchMatMulOptions CumsumOptions CallOnceOptions BroadcastToOptions Rfft2dOptions Conv3DOptions
        HashtableOptions HashtableFindOptions HashtableImportOptions HashtableSizeOptions VarHandleOptions
        ReadVariableOptions AssignVariableOptions RandomOptions BucketizeOptions GeluOptions
        DynamicUpdateSliceOptions UnsortedSegmentProdOptions UnsortedSegmentMaxOptions
        UnsortedSegmentMinOptions UnsortedSegmentSumOptions ATan2Options SignOptions BitcastOptions
        BitwiseXorOptions RightShiftOptions
    """,
    "builtinOptions2": """
        StablehloConcatenateOptions StablehloBroadcastInDimOptions StablehloSliceOptions
        StablehloConvolutionOptions StablehloCustomCallOptions StablehloReduceOptions
        StablehloScatterOptions StablehloCompareOptions StablehloDynamicSliceOptions StablehloPadOptions
        StablehloIotaOptions StablehloDotGeneralOptions StablehloReduceWindowOptions StablehloSortOptions
        StablehloWhileOptions StablehloGatherOptions StablehloTransposeOptions DilateOptions
        StablehloRngBitGeneratorOptions ReduceWindowOptions StableHLOCompositeOptions
        StablehloShiftLeftOptions StablehloCaseOptions
    """,
}
#: Options -> the union that they belong to, their number there.  Those without a line in ``TABLES`` have no fields.
OPTIONS = {name: (union, number) for union, names in UNIONS.items() for name, number in _numbered(names, 1).items()}

BUILTIN_OPERATORS = _numbered("""
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
    LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX
    SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD
    UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
    UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE
    BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL
    LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT
    RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
    UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR
    LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK
    ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4
    NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
    PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
    HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE
    READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL
    GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
    STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
    STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT
    STABLEHLO_CASE
""")
TENSOR_TYPES = {
    np.dtype(name): number
    for name, number in _numbers("""
        float32 0 float16 1 int32 2 uint8 3 int64 4 bool 6 int16 7 complex64 8 int8 9 float64 10 uint64 12 uint32 15
        uint16 16
    """).items()
}
NARROW = {4: 17}  # types of integers that are not whole bytes, by their bits
#: Options that are one of an enumeration.
ENUMS = {
    "padding": _numbers("SAME 0 VALID 1"),
    "fusedActivationFunction": _numbers("RELU 1 RELU_N1_TO_1 2 RELU6 3 TANH 4"),
}


class Field(NamedTuple):
    """Of a table.

    ``slot``    its number: the place in the vtable      ``code``  for ``struct``, of the number or the reference
    ``size``    in bytes      ``is_number``  it lies in the table itself      ``default``  what it is where it is absent
    ``item``    the numpy dtype of a list's numbers; None where it holds something else
    """

    slot: int
    code: str
    size: int
    is_number: bool
    default: int
    item: np.dtype | None


@cache
def fields(table: str) -> Mapping[str, Field]:
    """The fields of a table that may be written, by name."""
    entries = re.findall(r"(\S+) (\w+) (\d+)(?: = (\d+))?", FIELDS.get(table, ""))
    return {name: _field(kind, int(slot), int(default or 0)) for kind, name, slot, default in entries}


def _field(kind: str, slot: int, default: int) -> Field:
    is_number, code = len(kind) == 1, kind if len(kind) == 1 else "I"
    item = np.dtype(f"<{kind[1]}") if re.fullmatch(r"\[.\]", kind) else None
    return Field(slot, code, calcsize(f"<{code}"), is_number, default, item)
