//! What a program must know of a model's input and output.

use super::schema::TensorType;

/// Most dimensions that TensorFlow Lite Micro's kernels have room for (`RuntimeShape`).
pub const MAX_RANK: usize = 6;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// int8
    I8,
    /// uint8
    U8,
    /// int16
    I16,
    /// int32
    I32,
    /// int64
    I64,
    /// float32
    F32,
    /// bool, one byte
    Bool,
    /// Any other, by its number in `TensorType` of schema.fbs.
    Other(i8),
}

impl Element {
    /// The type with this number in `TensorType` of schema.fbs.
    pub const fn from_code(code: i8) -> Self {
        match code {
            TensorType::FLOAT32 => Self::F32,
            TensorType::INT32 => Self::I32,
            TensorType::UINT8 => Self::U8,
            TensorType::INT64 => Self::I64,
            TensorType::BOOL => Self::Bool,
            TensorType::INT16 => Self::I16,
            TensorType::INT8 => Self::I8,
            other => Self::Other(other),
        }
    }

    /// The number of this type in `TensorType` of schema.fbs.
    pub const fn code(self) -> i8 {
        match self {
            Self::F32 => TensorType::FLOAT32,
            Self::I32 => TensorType::INT32,
            Self::U8 => TensorType::UINT8,
            Self::I64 => TensorType::INT64,
            Self::Bool => TensorType::BOOL,
            Self::I16 => TensorType::INT16,
            Self::I8 => TensorType::INT8,
            Self::Other(code) => code,
        }
    }

    /// Bytes of one element in the tensor arena, as TensorFlow Lite Micro counts them: int4 takes a byte there. 0 for
    /// types without a fixed size, and for those that it does not know.
    pub const fn size(self) -> usize {
        match self.code() {
            TensorType::INT8 | TensorType::UINT8 | TensorType::BOOL | TensorType::INT4 => 1,
            TensorType::INT16 | TensorType::UINT16 | TensorType::FLOAT16 | TensorType::BFLOAT16 => 2,
            TensorType::INT32 | TensorType::UINT32 | TensorType::FLOAT32 => 4,
            TensorType::INT64 | TensorType::UINT64 | TensorType::FLOAT64 | TensorType::COMPLEX64 => 8,
            TensorType::COMPLEX128 => 16,
            _ => 0,
        }
    }

    /// Lowest and highest zero point of a tensor of this type.
    pub(super) const fn zero_points(self) -> (i64, i64) {
        match self {
            Self::I8 => (i8::MIN as i64, i8::MAX as i64),
            Self::U8 => (0, u8::MAX as i64),
            Self::I16 => (i16::MIN as i64, i16::MAX as i64),
            _ => (i32::MIN as i64, i32::MAX as i64), // the device keeps zero points as int32
        }
    }

    /// Whether both are the same type (`==` is not const).
    pub const fn is(self, other: Self) -> bool {
        self.code() == other.code()
    }
}

/// Type, shape and quantization of a tensor: real = scale * (quantized - zero_point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorFacts {
    /// Type of the elements.
    pub element: Element,
    /// Number of dimensions, 0 for a scalar.
    pub rank: usize,
    /// The dimensions, outermost first; 1 beyond `rank`.
    pub shape: [i32; MAX_RANK],
    /// Scale; 0 where the tensor is not quantized.
    pub scale: f32,
    /// Zero point; 0 where the tensor is not quantized.
    pub zero_point: i64,
}

impl TensorFacts {
    /// Facts to compare a model with. A shape of more than 6 dimensions keeps its `rank`, so that it is no model's.
    pub const fn new(element: Element, shape: &[i32], scale: f32, zero_point: i64) -> Self {
        let mut dims = [1; MAX_RANK];
        let (mut from, mut to): (&[i32], &mut [i32]) = (shape, &mut dims);
        while let (Some((source, sources)), Some((target, targets))) = (from.split_first(), to.split_first_mut()) {
            *target = *source;
            (from, to) = (sources, targets);
        }
        Self { element, rank: shape.len(), shape: dims, scale, zero_point }
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub const fn shape(&self) -> &[i32] {
        match self.shape.split_at_checked(self.rank) {
            Some((dims, _)) => dims,
            None => &self.shape,
        }
    }

    /// Bytes of the whole tensor. For facts that were made by hand and make no sense: the nearest `usize`.
    pub const fn bytes(&self) -> usize {
        let mut bytes = self.element.size();
        let mut dims = self.shape();
        while let Some((dim, rest)) = dims.split_first() {
            bytes = bytes.saturating_mul(if *dim > 0 { *dim as usize } else { 0 });
            dims = rest;
        }
        bytes
    }

    /// Whether everything is the same; the scales bit by bit, because a scale that is off by one bit is another
    /// model's.
    pub const fn same(&self, other: &Self) -> bool {
        self.element.is(other.element)
            && self.rank == other.rank
            && self.scale.to_bits() == other.scale.to_bits()
            && self.zero_point == other.zero_point
            && same_dims(self.shape(), other.shape())
    }
}

/// Whether both lists are the same (`==` is not const).
pub(super) const fn same_dims(mut one: &[i32], mut other: &[i32]) -> bool {
    while let (Some((a, rest)), Some((b, others))) = (one.split_first(), other.split_first()) {
        if *a != *b {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}
