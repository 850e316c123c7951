//! Tensors: shape, type, data and quantization.

use super::error::{ModelError, ModelErrorKind as Kind};
use super::facts::{Element, MAX_RANK, TensorFacts, same_dims};
use super::graph::Graph;
use super::reader::{Reader, Vector};
use super::schema::{TensorType, slot};

/// A tensor whose shape, size and data fit together.
#[derive(Clone, Copy)]
pub(super) struct Tensor {
    /// Where its record is.
    pub at: usize,
    pub element: Element,
    pub rank: usize,
    pub dims: [i32; MAX_RANK],
    /// At most 2^31 - 1.
    pub elements: u32,
    pub variable: bool,
    /// Empty where there is no quantization.
    pub scales: Vector,
    pub zero_points: Vector,
    pub quantized_dimension: i32,
    /// Bytes in the file; empty: the data live in the arena.
    pub data: Vector,
    is_blockwise: bool,
}

impl Tensor {
    /// The dimensions, outermost first.
    pub const fn shape(&self) -> &[i32] {
        match self.dims.split_at_checked(self.rank) {
            Some((shape, _)) => shape,
            None => &self.dims,
        }
    }

    /// Dimension `index`; 1 where the tensor has none there.
    pub const fn dim(&self, index: usize) -> i32 {
        if let Some((_, rest)) = self.shape().split_at_checked(index)
            && let Some((dim, _)) = rest.split_first()
        {
            return *dim;
        }
        1
    }

    pub const fn is_constant(&self) -> bool {
        self.data.count > 0
    }

    pub const fn is(&self, element: Element) -> bool {
        self.element.is(element)
    }

    pub const fn is_int4(&self) -> bool {
        self.element.code() == TensorType::INT4
    }

    pub const fn has_shape_of(&self, other: &Self) -> bool {
        same_dims(self.shape(), other.shape())
    }

    /// Element `index` of a constant int32.
    pub const fn i32_at(&self, reader: Reader<'_>, index: usize) -> Result<i32, ModelError> {
        if !self.is(Element::I32) {
            return Err(Kind::OperandType.at(self.at));
        }
        if !self.is_constant() {
            return Err(Kind::OperandNotConstant.at(self.at));
        }
        if index >= self.elements as usize {
            return Err(Kind::OperandShape.at(self.at));
        }
        reader.i32_in(self.data, index)
    }

    /// What a program must know of this tensor, which must have at most one scale.
    pub const fn facts(&self, reader: Reader<'_>) -> Result<TensorFacts, ModelError> {
        let (scale, zero_point) = match (ok!(reader.elements(self.scales)), ok!(reader.elements(self.zero_points))) {
            ([], []) => (0.0, 0),
            ([scale], [zero_point]) => (f32::from_le_bytes(*scale), i64::from_le_bytes(*zero_point)),
            _ => return Err(Kind::QuantizationLength.at(self.at)),
        };
        Ok(TensorFacts { element: self.element, rank: self.rank, shape: self.dims, scale, zero_point })
    }
}

impl Graph<'_> {
    /// Tensor `index`, all of it checked.
    pub const fn check_tensor(&mut self, index: usize) -> Result<Tensor, ModelError> {
        let tensor = ok!(self.tensor(index));
        let (reader, table) = (self.reader, ok!(self.reader.table(tensor.at)));
        ok!(reader.string(table, slot::TENSOR_NAME));
        if ok!(reader.field(table, slot::TENSOR_SPARSITY, 4)).is_some() {
            return Err(Kind::Sparse.at(tensor.at));
        }
        if ok!(reader.u32_field(table, slot::TENSOR_EXTERNAL_BUFFER)) != 0 {
            return Err(Kind::ExternalBuffer.at(tensor.at));
        }
        if tensor.is_constant() {
            ok!(check_data(&tensor));
        }
        ok!(self.check_quantization(&tensor));
        Ok(tensor)
    }

    /// Tensor `index` as an operand: of what is followed no more than is needed, for `check_tensor` has seen all of it.
    pub const fn tensor(&self, index: usize) -> Result<Tensor, ModelError> {
        let reader = self.reader;
        let table = ok!(reader.table_in(self.tensors, index));
        let shape = ok!(reader.vector_or_empty(table, slot::TENSOR_SHAPE, 4));
        let code = ok!(reader.i8_field(table, slot::TENSOR_TYPE));
        let element = Element::from_code(code);
        if element.size() == 0 {
            return Err(Kind::ElementType(code).at(table.at));
        }
        let (dims, elements) = ok!(read_shape(reader, shape, element.size()));
        let tensor = Tensor {
            at: table.at,
            element,
            rank: shape.count,
            dims,
            elements,
            variable: ok!(reader.u8_field(table, slot::TENSOR_IS_VARIABLE)) != 0,
            data: ok!(self.buffer(ok!(reader.u32_field(table, slot::TENSOR_BUFFER)) as usize, table)),
            scales: Vector::EMPTY,
            zero_points: Vector::EMPTY,
            quantized_dimension: 0,
            is_blockwise: false,
        };
        let Some(place) = ok!(reader.target(table, slot::TENSOR_QUANTIZATION)) else { return Ok(tensor) };
        let quantization = ok!(reader.table(place));
        Ok(Tensor {
            scales: ok!(reader.vector_or_empty(quantization, slot::QUANTIZATION_SCALE, 4)),
            zero_points: ok!(reader.vector_or_empty(quantization, slot::QUANTIZATION_ZERO_POINT, 8)),
            quantized_dimension: ok!(reader.i32_field(quantization, slot::QUANTIZATION_DIMENSION, 0)),
            is_blockwise: ok!(reader.u8_field(quantization, slot::QUANTIZATION_DETAILS_TYPE)) != 0,
            ..tensor
        })
    }

    /// Checks numbers and values of the scales and zero points.
    const fn check_quantization(&mut self, tensor: &Tensor) -> Result<(), ModelError> {
        let (scales, zero_points) = (tensor.scales, tensor.zero_points);
        if tensor.is_blockwise {
            return Err(Kind::QuantizationDetails.at(tensor.at));
        }
        // TFLM of 2026 reads the first zero point for all channels where there is only one; that of 2020 reads on.
        let one_for_all = zero_points.count == 1 && scales.count > 1;
        if one_for_all && self.everywhere {
            return Err(Kind::UpstreamOnly.at(tensor.at));
        }
        if scales.count != zero_points.count && !one_for_all {
            return Err(Kind::QuantizationLength.at(tensor.at));
        }
        if scales.count == 0 {
            return Ok(());
        }
        let dimension = tensor.quantized_dimension;
        let exists = dimension >= 0 && ((dimension as usize) < tensor.rank || (tensor.rank == 0 && dimension == 0));
        // Converters of 2019 gave a bias the dimension of its weights. No kernel reads that of a bias.
        let of_its_weights = tensor.is(Element::I32) && dimension >= 0;
        if !exists && !of_its_weights {
            return Err(Kind::QuantizedDimension.at(tensor.at));
        }
        if exists && scales.count > 1 && scales.count != tensor.dim(dimension as usize) as usize {
            return Err(Kind::QuantizationLength.at(tensor.at));
        }
        ok!(self.spend(scales, usize::MAX));
        let mut rest = ok!(self.reader.elements(scales));
        while let [scale, others @ ..] = rest {
            let bits = u32::from_le_bytes(*scale);
            if bits == 0 || bits >= f32::INFINITY.to_bits() {
                return Err(Kind::Scale.at(scales.start)); // what has a sign bit is larger still
            }
            rest = others;
        }
        ok!(self.spend(zero_points, usize::MAX));
        let (lowest, highest) = tensor.element.zero_points();
        let mut rest = ok!(self.reader.elements(zero_points));
        while let [zero_point, others @ ..] = rest {
            let zero_point = i64::from_le_bytes(*zero_point);
            if zero_point < lowest || zero_point > highest {
                return Err(Kind::ZeroPoint.at(zero_points.start));
            }
            rest = others;
        }
        Ok(())
    }
}

/// The dimensions of a tensor, 1 beyond its rank, and the number of elements.
const fn read_shape(reader: Reader<'_>, shape: Vector, size: usize) -> Result<([i32; MAX_RANK], u32), ModelError> {
    if shape.count > MAX_RANK {
        return Err(Kind::Rank.at(shape.start));
    }
    let mut dims = [1; MAX_RANK];
    let mut elements = 1_u64;
    let mut index = 0;
    let mut rest: &mut [i32] = &mut dims;
    while let Some((dim, others)) = rest.split_first_mut()
        && index < shape.count
    {
        *dim = ok!(reader.i32_in(shape, index));
        if *dim < 1 {
            return Err(Kind::Dimension.at(shape.start));
        }
        elements *= *dim as u64; // two numbers below 2^31
        if elements.saturating_mul(size as u64) > i32::MAX as u64 {
            return Err(Kind::TensorSize.at(shape.start)); // int on the device
        }
        rest = others;
        index += 1;
    }
    Ok((dims, elements as u32))
}

/// Whether the data of a constant suffice for its shape and are aligned for its type.
const fn check_data(tensor: &Tensor) -> Result<(), ModelError> {
    let size = tensor.element.size();
    let elements = tensor.elements as usize;
    let needed = if tensor.is_int4() { elements.div_ceil(2) } else { elements * size };
    if tensor.data.count < needed {
        return Err(Kind::ConstantTooShort.at(tensor.at));
    }
    let alignment = if size > 8 { 8 } else { size }; // complex128 is two numbers of 8 bytes
    if !tensor.data.start.is_multiple_of(alignment) {
        return Err(Kind::Misaligned.at(tensor.data.start));
    }
    if tensor.variable {
        return Err(Kind::ConstantVariable.at(tensor.at));
    }
    Ok(())
}
