//! Numbers of schema.fbs (version 3) that the checker needs, and what each operator needs.

/// Byte offset of each field's entry in its table's field list (`VT_` in schema_generated.h).
pub(super) mod slot {
    pub const MODEL_VERSION: usize = 4;
    pub const MODEL_OPERATOR_CODES: usize = 6;
    pub const MODEL_SUBGRAPHS: usize = 8;
    pub const MODEL_BUFFERS: usize = 12;
    pub const MODEL_METADATA: usize = 16;

    pub const METADATA_NAME: usize = 4;
    pub const METADATA_BUFFER: usize = 6;

    pub const BUFFER_DATA: usize = 4;
    pub const BUFFER_OFFSET: usize = 6;
    pub const BUFFER_SIZE: usize = 8;

    pub const CODE_DEPRECATED: usize = 4;
    pub const CODE_BUILTIN: usize = 10;

    pub const SUBGRAPH_TENSORS: usize = 4;
    pub const SUBGRAPH_INPUTS: usize = 6;
    pub const SUBGRAPH_OUTPUTS: usize = 8;
    pub const SUBGRAPH_OPERATORS: usize = 10;
    pub const SUBGRAPH_NAME: usize = 12;

    pub const TENSOR_SHAPE: usize = 4;
    pub const TENSOR_TYPE: usize = 6;
    pub const TENSOR_BUFFER: usize = 8;
    pub const TENSOR_NAME: usize = 10;
    pub const TENSOR_QUANTIZATION: usize = 12;
    pub const TENSOR_IS_VARIABLE: usize = 14;
    pub const TENSOR_SPARSITY: usize = 16;
    pub const TENSOR_EXTERNAL_BUFFER: usize = 24;

    pub const QUANTIZATION_SCALE: usize = 8;
    pub const QUANTIZATION_ZERO_POINT: usize = 10;
    pub const QUANTIZATION_DETAILS_TYPE: usize = 12;
    pub const QUANTIZATION_DIMENSION: usize = 16;

    pub const OPERATOR_CODE_INDEX: usize = 4;
    pub const OPERATOR_INPUTS: usize = 6;
    pub const OPERATOR_OUTPUTS: usize = 8;
    pub const OPERATOR_OPTIONS_TYPE: usize = 10;
    pub const OPERATOR_OPTIONS: usize = 12;
    pub const OPERATOR_CUSTOM_OPTIONS: usize = 14;
    pub const OPERATOR_INTERMEDIATES: usize = 20;
    pub const OPERATOR_OPTIONS_2_TYPE: usize = 26;

    // Conv2DOptions, DepthwiseConv2DOptions and Pool2DOptions begin alike.
    pub const WINDOW_PADDING: usize = 4;
    pub const WINDOW_STRIDE_W: usize = 6;
    pub const WINDOW_STRIDE_H: usize = 8;
    pub const CONV_DILATION_W: usize = 12;
    pub const CONV_DILATION_H: usize = 14;
    pub const DEPTHWISE_MULTIPLIER: usize = 10;
    pub const DEPTHWISE_DILATION_W: usize = 14;
    pub const DEPTHWISE_DILATION_H: usize = 16;
    pub const POOL_WIDTH: usize = 10;
    pub const POOL_HEIGHT: usize = 12;
    pub const FULLY_CONNECTED_FORMAT: usize = 6;
    pub const SQUEEZE_DIMS: usize = 4;
    pub const CONCATENATION_AXIS: usize = 4;
    pub const REDUCER_KEEP_DIMS: usize = 4;
}

/// `TensorType`.
pub(super) struct TensorType;

impl TensorType {
    pub const FLOAT32: i8 = 0;
    pub const FLOAT16: i8 = 1;
    pub const INT32: i8 = 2;
    pub const UINT8: i8 = 3;
    pub const INT64: i8 = 4;
    pub const BOOL: i8 = 6;
    pub const INT16: i8 = 7;
    pub const COMPLEX64: i8 = 8;
    pub const INT8: i8 = 9;
    pub const FLOAT64: i8 = 10;
    pub const COMPLEX128: i8 = 11;
    pub const UINT64: i8 = 12;
    pub const UINT32: i8 = 15;
    pub const UINT16: i8 = 16;
    pub const INT4: i8 = 17;
    pub const BFLOAT16: i8 = 18;
}

/// `BuiltinOperator`, those that the checker treats by name.
pub(super) mod op {
    pub const ADD: i32 = 0;
    pub const AVERAGE_POOL_2D: i32 = 1;
    pub const CONCATENATION: i32 = 2;
    pub const CONV_2D: i32 = 3;
    pub const DEPTHWISE_CONV_2D: i32 = 4;
    pub const DEPTH_TO_SPACE: i32 = 5;
    pub const DEQUANTIZE: i32 = 6;
    pub const EMBEDDING_LOOKUP: i32 = 7;
    pub const FLOOR: i32 = 8;
    pub const FULLY_CONNECTED: i32 = 9;
    pub const L2_NORMALIZATION: i32 = 11;
    pub const L2_POOL_2D: i32 = 12;
    pub const LOGISTIC: i32 = 14;
    pub const MAX_POOL_2D: i32 = 17;
    pub const MUL: i32 = 18;
    pub const RELU: i32 = 19;
    pub const RELU_N1_TO_1: i32 = 20;
    pub const RELU6: i32 = 21;
    pub const RESHAPE: i32 = 22;
    pub const RESIZE_BILINEAR: i32 = 23;
    pub const SOFTMAX: i32 = 25;
    pub const SPACE_TO_DEPTH: i32 = 26;
    pub const SVDF: i32 = 27;
    pub const TANH: i32 = 28;
    pub const CUSTOM: i32 = 32;
    pub const PAD: i32 = 34;
    pub const GATHER: i32 = 36;
    pub const BATCH_TO_SPACE_ND: i32 = 37;
    pub const SPACE_TO_BATCH_ND: i32 = 38;
    pub const TRANSPOSE: i32 = 39;
    pub const MEAN: i32 = 40;
    pub const SUB: i32 = 41;
    pub const DIV: i32 = 42;
    pub const SQUEEZE: i32 = 43;
    pub const UNIDIRECTIONAL_SEQUENCE_LSTM: i32 = 44;
    pub const STRIDED_SLICE: i32 = 45;
    pub const EXP: i32 = 47;
    pub const SPLIT: i32 = 49;
    pub const LOG_SOFTMAX: i32 = 50;
    pub const CAST: i32 = 53;
    pub const PRELU: i32 = 54;
    pub const MAXIMUM: i32 = 55;
    pub const ARG_MAX: i32 = 56;
    pub const MINIMUM: i32 = 57;
    pub const LESS: i32 = 58;
    pub const NEG: i32 = 59;
    pub const PADV2: i32 = 60;
    pub const GREATER: i32 = 61;
    pub const GREATER_EQUAL: i32 = 62;
    pub const LESS_EQUAL: i32 = 63;
    pub const SLICE: i32 = 65;
    pub const SIN: i32 = 66;
    pub const TRANSPOSE_CONV: i32 = 67;
    pub const EXPAND_DIMS: i32 = 70;
    pub const EQUAL: i32 = 71;
    pub const NOT_EQUAL: i32 = 72;
    pub const LOG: i32 = 73;
    pub const SUM: i32 = 74;
    pub const SQRT: i32 = 75;
    pub const RSQRT: i32 = 76;
    pub const POW: i32 = 78;
    pub const ARG_MIN: i32 = 79;
    pub const REDUCE_PROD: i32 = 81;
    pub const REDUCE_MAX: i32 = 82;
    pub const PACK: i32 = 83;
    pub const LOGICAL_OR: i32 = 84;
    pub const LOGICAL_AND: i32 = 86;
    pub const LOGICAL_NOT: i32 = 87;
    pub const UNPACK: i32 = 88;
    pub const REDUCE_MIN: i32 = 89;
    pub const FLOOR_DIV: i32 = 90;
    pub const REDUCE_ANY: i32 = 91;
    pub const SQUARE: i32 = 92;
    pub const ZEROS_LIKE: i32 = 93;
    pub const FILL: i32 = 94;
    pub const FLOOR_MOD: i32 = 95;
    pub const RESIZE_NEAREST_NEIGHBOR: i32 = 97;
    pub const LEAKY_RELU: i32 = 98;
    pub const SQUARED_DIFFERENCE: i32 = 99;
    pub const MIRROR_PAD: i32 = 100;
    pub const ABS: i32 = 101;
    pub const SPLIT_V: i32 = 102;
    pub const CEIL: i32 = 104;
    pub const REVERSE_V2: i32 = 105;
    pub const GATHER_ND: i32 = 107;
    pub const COS: i32 = 108;
    pub const ELU: i32 = 111;
    pub const QUANTIZE: i32 = 114;
    pub const ROUND: i32 = 116;
    pub const HARD_SWISH: i32 = 117;
    pub const IF: i32 = 118;
    pub const WHILE: i32 = 119;
    pub const SELECT_V2: i32 = 123;
    pub const BATCH_MATMUL: i32 = 126;
    /// What the old field holds for all codes from here on.
    pub const PLACEHOLDER: i32 = 127;
    pub const CUMSUM: i32 = 128;
    pub const CALL_ONCE: i32 = 129;
    pub const BROADCAST_TO: i32 = 130;
    pub const REDUCE_ALL: i32 = 140;
    pub const BROADCAST_ARGS: i32 = 145;
    pub const GELU: i32 = 150;
    pub const DYNAMIC_UPDATE_SLICE: i32 = 151;
    /// The last one of the schema.
    pub const LAST: i32 = 209;
}

/// Type of the options (`BuiltinOptions`) that TensorFlow Lite Micro's kernel of this operator relies on; 0: none.
/// Where they are absent or another operator's, the 2020 revision leaves the kernel's parameters as the arena had them.
pub(super) const fn options_of(code: i32) -> u8 {
    match code {
        op::CONV_2D => 1,
        op::DEPTHWISE_CONV_2D => 2,
        op::AVERAGE_POOL_2D | op::MAX_POOL_2D | op::L2_POOL_2D => 5,
        op::SVDF => 6,
        op::FULLY_CONNECTED => 8,
        op::SOFTMAX => 9,
        op::CONCATENATION => 10,
        op::ADD => 11,
        op::RESIZE_BILINEAR => 15,
        op::SPACE_TO_DEPTH => 19,
        op::MUL => 21,
        op::GATHER => 23,
        op::MEAN | op::SUM | op::REDUCE_PROD | op::REDUCE_MAX | op::REDUCE_MIN | op::REDUCE_ANY | op::REDUCE_ALL => 27,
        op::SUB => 28,
        op::DIV => 29,
        op::SQUEEZE => 30,
        op::STRIDED_SLICE => 32,
        op::SPLIT => 35,
        op::ARG_MAX => 40,
        op::TRANSPOSE_CONV => 49,
        op::ARG_MIN => 57,
        op::PACK => 59,
        op::UNPACK => 64,
        op::UNIDIRECTIONAL_SEQUENCE_LSTM => 71,
        op::RESIZE_NEAREST_NEIGHBOR => 74,
        op::LEAKY_RELU => 75,
        op::MIRROR_PAD => 77,
        op::SPLIT_V => 79,
        op::DEPTH_TO_SPACE => 94,
        op::BATCH_MATMUL => 101,
        op::CUMSUM => 102,
        _ => 0,
    }
}

/// Fields of an operator code, as below. The 2020 revision reads the version too.
pub(super) const CODE_LAYOUT: &[u8] = b"1s44";

/// Fields of options of this type, as `Reader::check_fields` wants them. None for types that TensorFlow Lite Micro does
/// not read.
pub(super) const fn layout(options_type: u8) -> Option<&'static [u8]> {
    Some(match options_type {
        1 => b"1441441",
        2 => b"1444144",
        5 => b"144441",
        6 => b"411",
        7 | 11 | 28 | 37 | 74 | 102 => b"11",
        8 => b"11111",
        9 | 19 | 35 | 61 | 75 | 79 | 94 | 103 => b"4",
        10 => b"41",
        12 | 21 | 27 | 29 | 40 | 55 | 57 | 77 | 116 => b"1",
        13 => b"4444",
        14 | 49 => b"14411",
        15 => b"..11",
        17 | 30 | 115 => b"v",
        23 | 59 | 64 | 87 | 92 | 93 => b"44",
        31 | 101 => b"111",
        32 => b"444441",
        58 => b"4441",
        69 | 71 => b"144111",
        70 => b"1111",
        106 => b"14441444",
        111 => b"ss",
        114 => b"88",
        _ => return None,
    })
}

/// Fewest inputs and outputs with which a kernel finds all that it reads. For operators whose shapes are checked the
/// exact numbers are checked with them.
pub(super) const fn arity(code: i32) -> (usize, usize) {
    match code {
        op::SVDF => (5, 1),
        op::UNIDIRECTIONAL_SEQUENCE_LSTM => (24, 1),
        op::STRIDED_SLICE => (4, 1),
        op::TRANSPOSE_CONV | op::SLICE | op::SELECT_V2 | op::DYNAMIC_UPDATE_SLICE => (3, 1),
        op::BATCH_TO_SPACE_ND | op::SPACE_TO_BATCH_ND | op::SPLIT_V => (3, 1),
        op::ARG_MAX | op::ARG_MIN | op::BATCH_MATMUL | op::BROADCAST_ARGS | op::BROADCAST_TO | op::CUMSUM => (2, 1),
        op::EMBEDDING_LOOKUP | op::FILL | op::GATHER | op::GATHER_ND | op::MIRROR_PAD | op::SPLIT => (2, 1),
        op::RESIZE_BILINEAR | op::RESIZE_NEAREST_NEIGHBOR | op::REVERSE_V2 | op::TRANSPOSE => (2, 1),
        _ => (1, 1),
    }
}

/// Whether input `index` of this operator may be left out (-1). Not the bias of DEPTHWISE_CONV_2D and SVDF: upstream's
/// kernels of 2026 hand the tensor that they did not get to `DeallocateTempTfLiteTensor`, which follows it.
pub(super) const fn may_omit(code: i32, index: usize) -> bool {
    match code {
        op::CONV_2D | op::FULLY_CONNECTED => index == 2, // the bias
        op::TRANSPOSE_CONV => index == 3,                // the bias
        op::UNIDIRECTIONAL_SEQUENCE_LSTM => index >= 1,  // the kernel itself looks for those that it needs
        _ => false,
    }
}
