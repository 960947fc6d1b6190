"""Which operations a SavedModel is made of: it is a program, and some write files.

What `tf.saved_model.load` makes callable can do all that TensorFlow's operations do: read files,
write files, call Python.  Exports of this package only compute, and nothing else is loaded unless
the user trusts it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from spanbert_tf.foreign_files import CheckpointError, reading

# Operations of tensorflow-text that the copy inside TF Serving (version 2.12) knows.
SERVABLE_CUSTOM_OPS = frozenset(
    {
        "CaseFoldUTF8",
        "FastBertNormalize",
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
        "RegexSplitWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)
# TensorFlow's own that compute, of tensors and variables, and do nothing else.  An export with
# another one fails: add it here if it neither reads nor writes anything outside of the graph.
_COMPUTING = {
    "control and variables": """
        Assert AssignAddVariableOp AssignVariableOp Case Const EnsureShape Identity IdentityN If
        NoOp PartitionedCall Placeholder PlaceholderWithDefault PreventGradient ReadVariableOp
        ResourceGather ShapeN StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile
        StopGradient While
    """,
    "numbers": """
        Abs Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin BatchMatMul BatchMatMulV2
        BatchMatMulV3 BiasAdd BiasAddGrad Bincount Bitcast BitwiseAnd BitwiseOr BitwiseXor
        Bucketize Cast Ceil ClipByValue Cos Cosh Cumprod Cumsum CumulativeLogsumexp
        DenseBincount Div DivNoNan Einsum Elu Equal Erf Erfc Erfinv Exp Expm1 Floor FloorDiv
        FloorMod Greater GreaterEqual Inv Invert IsFinite IsInf IsNan L2Loss LeakyRelu LeftShift
        Less LessEqual Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul
        MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 MatrixSetDiagV3 Max Maximum Mean Min
        Minimum Mod Mul MulNoNan Neg NextAfter NotEqual Pow Prod RealDiv Reciprocal Relu Relu6
        RightShift Rint Round Rsqrt Selu Sigmoid SigmoidGrad Sign Sin Sinh Softmax
        SoftmaxCrossEntropyWithLogits Softplus Softsign SparseSoftmaxCrossEntropyWithLogits Sqrt
        Square SquaredDifference Sub Sum Tan Tanh TanhGrad TopKV2 TruncateDiv TruncateMod Xdivy
        Xlog1py Xlogy _FusedMatMul
    """,
    "random numbers": """
        RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt StatelessRandomGetAlg
        StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg StatelessRandomNormalV2
        StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2
        StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2
        StatelessTruncatedNormalV2
    """,
    "shapes and places": """
        BroadcastArgs BroadcastGradientArgs BroadcastTo Concat ConcatV2 DynamicPartition
        DynamicStitch EmptyTensorList ExpandDims Fill Gather GatherNd GatherV2 InvertPermutation
        LinSpace ListDiff LowerBound MirrorPad OneHot OnesLike Pack Pad PadV2
        ParallelDynamicStitch RaggedGather RaggedRange RaggedTensorFromVariant
        RaggedTensorToTensor RaggedTensorToVariant Range Rank Reshape Reverse ReverseSequence
        ReverseV2 Roll ScatterNd SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentSum
        SegmentSumV2 Select SelectV2 Shape Size Slice SparseToDense Split SplitV Squeeze
        StridedSlice StridedSliceGrad TensorListConcatV2 TensorListElementShape
        TensorListFromTensor TensorListGather TensorListGetItem TensorListLength
        TensorListPopBack TensorListPushBack TensorListReserve TensorListResize
        TensorListScatterV2 TensorListSetItem TensorListSplit TensorListStack TensorScatterAdd
        TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
        TensorStridedSliceUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts
        UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentMax UnsortedSegmentMin
        UnsortedSegmentProd UnsortedSegmentSum UpperBound Where ZerosLike
    """,
    "strings": """
        AsString DecodePaddedRaw DecodeRaw ReduceJoin RegexFullMatch RegexReplace
        StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower
        StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucketFast StringToNumber
        StringUpper Substr UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeTranscode
        UnsortedSegmentJoin
    """,
}
COMPUTING_OPS = frozenset(" ".join(_COMPUTING.values()).split())


def check_operations(folder: str | os.PathLike[str], trust: bool = False) -> None:
    """Refuses a SavedModel that may do more than compute.

    Args:
        folder: Its folder.
        trust: Whether any operation is allowed.

    Raises:
        CheckpointError: It is damaged, or has other operations than `COMPUTING_OPS` and
            `SERVABLE_CUSTOM_OPS`, and `trust` is false.
    """
    if trust:
        return
    unknown = callable_operations(folder) - COMPUTING_OPS - SERVABLE_CUSTOM_OPS
    if unknown:
        raise CheckpointError(
            f"{folder} is a program with operations that exports of this package have not: "
            f"{', '.join(sorted(unknown))}.  A SavedModel may read and write files; if you trust "
            "the one who made it, pass trust=True"
        )


def custom_operations(folder: str | os.PathLike[str]) -> set[str]:
    """Names the operations of a SavedModel that are not TensorFlow's own.

    Args:
        folder: A SavedModel's folder.

    Returns:
        Names such as `FastWordpieceTokenizeWithOffsets`.
    """
    names: set[str] = set()
    for graph in _graphs(folder):
        library = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(node for of in library for node in of.node_def)]
        names |= {node.op for node in nodes} - {of.signature.name for of in library}
    return {name for name in names if not hasattr(tf.raw_ops, name)}


def callable_operations(folder: str | os.PathLike[str]) -> set[str]:
    """Names the operations of what `tf.saved_model.load` makes callable.

    Every SavedModel also has functions that save and restore its variables.  They are left out
    where nothing that is callable calls them, as TensorFlow does not run them either.
    """
    graphs = _graphs(folder)
    # As `tf.saved_model.load` has it: without objects all of the graph is run, as of TensorFlow 1.
    has_objects = len(graphs) == 1 and graphs[0].HasField("object_graph_def")
    found: set[str] = set()
    for graph in graphs:
        library = {of.signature.name: of.node_def for of in graph.graph_def.library.function}
        names = set(graph.object_graph_def.concrete_functions) if has_objects else set(library)
        found |= _reached(() if has_objects else graph.graph_def.node, names, library)
    return found


def _reached(nodes: Iterable[Any], names: set[str], library: dict[str, Any]) -> set[str]:
    """Operations of nodes, of functions, and of all functions that these name."""
    operations: set[str] = set()
    seen: set[str] = set()
    waiting = [nodes, *(library.get(name, ()) for name in names)]
    while waiting:
        for node in waiting.pop():
            called = [node.op] if node.op in library else []
            operations |= {node.op} - library.keys()
            for value in node.attr.values():
                called += [value.func.name, *(of.name for of in value.list.func)]
            for name in set(called) - seen:
                seen.add(name)
                waiting.append(library.get(name, ()))
    return operations


def _graphs(folder: str | os.PathLike[str]) -> list[Any]:
    path = Path(folder) / tf.saved_model.SAVED_MODEL_FILENAME_PB
    model = saved_model_pb2.SavedModel()
    with reading(path, "a SavedModel"):
        model.ParseFromString(path.read_bytes())
    return list(model.meta_graphs)
