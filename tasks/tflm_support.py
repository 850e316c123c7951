"""Which operators TensorFlow Lite Micro runs on which integer types, and what else its kernels insist on.

Read from the sources, Prepare and Eval of every kernel, then tried one by one on both interpreters, built for the host
(UNIDIRECTIONAL_SEQUENCE_LSTM and WHILE were only read):

- `upstream`: tensorflow/tflite-micro, commit 90b983c2b3f1480642e040bbd2ddb37b998f3424 of 2026-08-20,
  `micro_mutable_op_resolver.h` and `kernels/*.cc` (reference kernels; ports such as CMSIS-NN replace some of them and
  were not read). Tests run the `tflite-micro` package against it.
- `registry`: TFLM as carried by the crate `tfmicro` 0.1.0 (TensorFlow 33689c48ad of July 2020),
  `micro/kernels/all_ops_resolver.cc` and `micro/kernels/*.cc`. Operator versions are not compared: a resolver that
  registers version 0 takes any.

A signature is a regular expression over one letter a tensor, inputs > outputs; an input left out is `-`, trailing
ones are dropped. Float kernels are not listed: what holds a float is refused before this table is asked. An empty
signature is a kernel that exists for float only.

    b int8   B uint8   h int16   H uint16   i int32   I uint32   l int64   n int4   o bool   ? anything else
"""

import re
from collections.abc import Sequence
from typing import Literal

Revision = Literal["upstream", "registry"]
_LETTERS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "l",
    "int4": "n",
    "bool": "o",
}

_UPSTREAM: dict[str, str] = {
    "ABS": r"b>b|h>h",
    "ADD": r"bb>b|hh>h|ii>i",
    "ADD_N": r"bb+>b",
    "ARG_MAX": r"bi>i",
    "ARG_MIN": r"bi>i",
    "AVERAGE_POOL_2D": r"b>b|h>h",
    "BATCH_MATMUL": r"bb>b|hh>h",
    "BATCH_TO_SPACE_ND": r"bii>b",
    "BROADCAST_ARGS": r"([il])\1>\1",
    "BROADCAST_TO": r"([bBhHiIlo])[il]>\1",
    "CAST": r"[bhiIo]>[bhiI]",
    "CEIL": "",
    "CONCATENATION": r"([bhilo])\1*>\1",
    "CONV_2D": r"b[bn]i?>b|hb[il]?>h",
    "COS": "",
    "CUMSUM": r"bi>b",
    "DEPTH_TO_SPACE": r"b>b",
    "DEPTHWISE_CONV_2D": r"b[bn]i?>b|hbl?>h",
    "DEQUANTIZE": "",
    "DIV": r"bb>b|ii>i",
    "DYNAMIC_UPDATE_SLICE": r"([bhi])\1[il]>\1",
    "ELU": r"b>b",
    "EMBEDDING_LOOKUP": r"ib>b",
    "EQUAL": r"([bilo])\1>o",
    "EXP": "",
    "EXPAND_DIMS": r"([bh])i>\1",
    "FILL": r"[il]([bi])>\1",
    "FLOOR": "",
    "FLOOR_DIV": "",
    "FLOOR_MOD": "",
    "FULLY_CONNECTED": r"b[bn]i?>b|hb[il]?>h",
    "GATHER": r"bi>b",
    "GATHER_ND": r"bi>b",
    "GREATER": r"([bhil])\1>o",
    "GREATER_EQUAL": r"([bil])\1>o",
    "HARD_SWISH": r"b>b",
    "IF": r"o.*>.+",
    "L2_NORMALIZATION": r"b>b",
    "L2_POOL_2D": "",
    "LEAKY_RELU": r"b>b|h>h",
    "LESS": r"([bil])\1>o",
    "LESS_EQUAL": r"([bil])\1>o",
    "LOG": "",
    "LOG_SOFTMAX": r"b>b",
    "LOGICAL_AND": r"oo>o",
    "LOGICAL_NOT": r"o>o",
    "LOGICAL_OR": r"oo>o",
    "LOGISTIC": r"b>b|h>h",
    "MAX_POOL_2D": r"b>b|h>h",
    "MAXIMUM": r"([bhil])\1>\1",
    "MEAN": r"bi>b|hi>h",
    "MINIMUM": r"([bhil])\1>\1",
    "MIRROR_PAD": r"b[il]>b",
    "MUL": r"([bhi])\1>\1",
    "NEG": "",
    "NOT_EQUAL": r"([bilo])\1>o",
    "PACK": r"([bhil])\1*>\1",
    "PAD": r"([bhi])i>\1",
    "PADV2": r"([bhi])i\1>\1",
    "PRELU": r"bb>b|hb>h",
    "QUANTIZE": r"i>[bh]|h>[bhi]|b>[bBhi]|B>b",
    "REDUCE_ALL": r"oi>o",
    "REDUCE_MAX": r"bi>b",
    "REDUCE_MIN": r"bi>b",
    "RELU": r"b>b|h>h",
    "RELU6": r"b>b|h>h",
    "RESHAPE": r"([bBhHiIlo])i?>\1",
    "RESIZE_BILINEAR": r"bi>b",
    "RESIZE_NEAREST_NEIGHBOR": r"([bh])i>\1",
    "REVERSE_V2": r"([bBhilo])i>\1",
    "ROUND": "",
    "RSQRT": r"b>b|h>h",
    "SELECT_V2": r"o([bh])\1>\1",
    "SHAPE": r"[bBhHiIlo]>i",
    "SIN": "",
    "SLICE": r"([bhio])([il])\2>\1",
    "SOFTMAX": r"b>[bh]|h>h",
    "SPACE_TO_BATCH_ND": r"bii>b",
    "SPACE_TO_DEPTH": r"b>b",
    "SPLIT": r"i([bhi])>\1+",
    "SPLIT_V": r"([bhi])ii>\1+",
    "SQRT": "",
    "SQUARE": "",
    "SQUARED_DIFFERENCE": r"([bhi])\1>\1",
    "SQUEEZE": r"([bBhHiIlo])>\1",
    "STRIDED_SLICE": r"([bhio])iii>\1",
    "SUB": r"bb>b|hh>h|ii>i",
    "SUM": r"bi>b|hi>h",
    "SVDF": r"bb[bh][i-][bh]>b",
    "TANH": r"b>b|h>h",
    "TRANSPOSE": r"([bh])i>\1",
    "TRANSPOSE_CONV": r"ibbi?>b|ibh[hl]?>h",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": r"[bh].{23}>[bh]",
    "UNPACK": r"([bhi])>\1+",
    "WHILE": r".+>.+",
    "ZEROS_LIKE": r"([bil])>\1",
}

_REGISTRY: dict[str, str] = {
    **dict.fromkeys(
        ("ABS", "CEIL", "COS", "FLOOR", "LOG", "MEAN", "NEG", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE"), ""
    ),
    "ADD": r"([bB])\1>\1",
    "ARG_MAX": r"[bB]i>i",
    "ARG_MIN": r"[bB]i>i",
    "AVERAGE_POOL_2D": r"([bB])>\1",
    "CONCATENATION": r"([bBil])\1*>\1",
    "CONV_2D": r"([bB])\1i?>\1",
    "DEPTHWISE_CONV_2D": r"([bB])\1i?>\1",
    "DEQUANTIZE": r"[bh]>i",
    "EQUAL": r"([bBilo])\1>o",
    "FULLY_CONNECTED": r"([bB])\1i?>\1",
    "GREATER": r"([bBil])\1>o",
    "GREATER_EQUAL": r"([bBil])\1>o",
    "L2_NORMALIZATION": r"([bB])>\1",
    "LESS": r"([bBil])\1>o",
    "LESS_EQUAL": r"([bBil])\1>o",
    "LOGICAL_AND": r"oo>o",
    "LOGICAL_NOT": r"o>o",
    "LOGICAL_OR": r"oo>o",
    "LOGISTIC": r"b>b",
    "MAX_POOL_2D": r"([bB])>\1",
    "MAXIMUM": r"([bBil])\1>\1",
    "MINIMUM": r"([bBil])\1>\1",
    "MUL": r"([bB])\1>\1",
    "NOT_EQUAL": r"([bBilo])\1>o",
    "PACK": r"([bBil])\1*>\1",
    "PAD": r"([bBi])i>\1",
    "PADV2": r"([bBi])i\1>\1",
    "PRELU": r"([bB])\1>\1",
    "QUANTIZE": r"h>b",
    "RELU": r"([bB])>\1",
    "RELU6": r"([bB])>\1",
    "RESHAPE": r"([bBhilo])i?>\1",
    "RESIZE_NEAREST_NEIGHBOR": r"([bB])i>\1",
    "SOFTMAX": r"b>[bh]|B>B",
    "SPLIT": r"i([bBhi])>\1+",
    "STRIDED_SLICE": r"([bB])iii>\1",
    "SUB": r"([bB])\1>\1",
    "SVDF": r"bbh[i-]h>b",
    "TANH": r"b>b",
    "UNPACK": r"([bBi])>\1+",
}

SUPPORTED: dict[Revision, dict[str, str]] = {"upstream": _UPSTREAM, "registry": _REGISTRY}

# Kernels exist upstream, but they need resource variables that the application allocates; a frozen model has none.
STATEFUL = frozenset({"ASSIGN_VARIABLE", "CALL_ONCE", "READ_VARIABLE", "VAR_HANDLE"})

# Inputs that Prepare reads: they must be constants of the file ("Non-constant >perm< tensor is not supported").
CONSTANT_INPUTS: dict[str, tuple[int, ...]] = {
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "PAD": (1,),
    "PADV2": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (2,),
    "STRIDED_SLICE": (1, 2, 3),
    "TRANSPOSE": (1,),
}

# These move or select numbers without rescaling: data tensors in and out share scale and zero point.
KEEPS_SCALE: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            *("AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER"),
            *("GATHER_ND", "MAX_POOL_2D", "MIRROR_PAD", "PAD", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE"),
            *("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND"),
            *("SPACE_TO_DEPTH", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"),
        ),
        (0,),
    ),
    "MAXIMUM": (0, 1),
    "MINIMUM": (0, 1),
    "PADV2": (0, 2),
    "SELECT_V2": (1, 2),
    "SPLIT": (1,),
}

# Output scale (None: any) and zero point that a kernel insists on, by operator and types.
_FIXED_2020: dict[tuple[str, str], tuple[float | None, int]] = {
    ("L2_NORMALIZATION", "b>b"): (1 / 128, 0),
    ("LOGISTIC", "b>b"): (None, -128),
    ("SOFTMAX", "b>b"): (1 / 256, -128),
    ("SOFTMAX", "b>h"): (1 / 65536, -32768),
    ("TANH", "b>b"): (None, 0),
}
_FIXED_UPSTREAM: dict[tuple[str, str], tuple[float | None, int]] = {
    ("LOG_SOFTMAX", "b>b"): (16 / 256, 127),
    ("LOGISTIC", "b>b"): (None, -128),
    ("LOGISTIC", "h>h"): (1 / 32768, 0),
    ("SOFTMAX", "b>b"): (1 / 256, -128),
    ("SOFTMAX", "b>h"): (1 / 65536, -32768),
    ("SOFTMAX", "h>h"): (1 / 32768, 0),
    ("TANH", "h>h"): (1 / 32768, 0),
}
FIXED_OUTPUT = {"upstream": _FIXED_UPSTREAM, "registry": _FIXED_2020}


def signature(inputs: Sequence[str | None], outputs: Sequence[str]) -> str:
    """`bbi>b` for int8, int8, int32 in and int8 out; None is an input left out."""
    letters = "".join("-" if dtype is None else _LETTERS.get(dtype, "?") for dtype in inputs).rstrip("-")
    return f"{letters}>{''.join(_LETTERS.get(dtype, '?') for dtype in outputs)}"


def runs(op: str, inputs: Sequence[str | None], outputs: Sequence[str], revision: Revision) -> bool:
    """Whether that revision has a kernel for the operator on exactly these (non-float) types."""
    pattern = SUPPORTED[revision].get(op)
    return bool(pattern) and re.fullmatch(str(pattern), signature(inputs, outputs)) is not None
