//! Shapes and types of operators that work element by element, move data or reduce it.

use super::error::{ModelError, ModelErrorKind as Kind};
use super::facts::Element;
use super::graph::Graph;
use super::operators::Operator;
use super::schema::{op, slot};
use super::tensor::Tensor;

/// Most inputs of a CONCATENATION, as in `concatenation.cc`.
const MAX_CONCATENATED: usize = 10;
/// Most axes of a reduction: `MeanParams` has room for no more, and kernels do not look.
const MAX_AXES: u32 = 4;
/// Most dimensions of a PAD, as in `reference_ops::PadKernelMaxDimensionCount` of 2020.
const MAX_PAD_RANK: usize = 4;
/// Most dimensions of tensors of unequal shapes in an operator that broadcasts.
const MAX_BROADCAST_RANK: usize = 4;

impl Graph<'_> {
    /// Checks the shapes and element types of an operator's tensors; false for an operator that is not known here.
    pub const fn check_shapes(&self, operator: &Operator) -> Result<bool, ModelError> {
        ok!(match operator.code {
            op::CONV_2D => self.convolution(operator),
            op::DEPTHWISE_CONV_2D => self.depthwise(operator),
            op::FULLY_CONNECTED => self.fully_connected(operator),
            op::AVERAGE_POOL_2D | op::MAX_POOL_2D | op::L2_POOL_2D => self.pool(operator),
            op::ABS | op::CEIL | op::COS | op::ELU | op::EXP | op::FLOOR | op::GELU | op::HARD_SWISH =>
                self.unary(operator),
            op::LEAKY_RELU | op::LOG | op::LOGICAL_NOT | op::LOGISTIC | op::NEG | op::RELU => self.unary(operator),
            op::RELU6 | op::RELU_N1_TO_1 | op::ROUND | op::RSQRT | op::SIN | op::SQRT => self.unary(operator),
            op::SQUARE | op::TANH | op::ZEROS_LIKE => self.unary(operator),
            op::L2_NORMALIZATION | op::LOG_SOFTMAX | op::SOFTMAX => self.normalization(operator),
            op::CAST | op::DEQUANTIZE | op::QUANTIZE => self.conversion(operator),
            op::ADD | op::DIV | op::FLOOR_DIV | op::FLOOR_MOD | op::LOGICAL_AND | op::LOGICAL_OR =>
                self.binary(operator),
            op::MAXIMUM | op::MINIMUM | op::MUL | op::POW | op::SQUARED_DIFFERENCE | op::SUB => self.binary(operator),
            op::EQUAL | op::NOT_EQUAL | op::GREATER | op::GREATER_EQUAL | op::LESS | op::LESS_EQUAL => {
                self.comparison(operator)
            }
            op::PRELU => self.prelu(operator),
            op::RESHAPE => self.reshape(operator),
            op::EXPAND_DIMS => self.expand_dims(operator),
            op::SQUEEZE => self.squeeze(operator),
            op::CONCATENATION => self.concatenation(operator),
            op::PAD | op::PADV2 => self.pad(operator),
            op::MEAN | op::SUM | op::REDUCE_MAX | op::REDUCE_MIN => self.reduction(operator),
            _ => return Ok(false),
        });
        Ok(true)
    }

    /// One tensor in, one of the same type and number of elements out.
    const fn unary(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, 1, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        operator.must(x.elements == y.elements, Kind::OperandShape)
    }

    /// As `unary`, over the innermost dimension.
    const fn normalization(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, 1, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        let widens = operator.code == op::SOFTMAX && x.is(Element::I8) && y.is(Element::I16);
        ok!(operator.must(x.is(y.element) || widens, Kind::OperandType));
        operator.must(x.has_shape_of(&y), Kind::OperandShape)
    }

    /// One tensor in, one of the same number of elements out; kernels look at both types.
    const fn conversion(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, 1, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        operator.must(x.elements == y.elements, Kind::OperandShape)
    }

    /// Two tensors of one type in, one of that type out.
    const fn binary(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 2, 1));
        let (a, b, y) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)), ok!(self.output(operator, 0)));
        ok!(operator.must(a.is(b.element) && a.is(y.element), Kind::OperandType));
        operator.must(broadcasts(&a, &b, &y), Kind::OperandShape)
    }

    /// Two tensors of one type in, bools out.
    const fn comparison(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 2, 1));
        let (a, b, y) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)), ok!(self.output(operator, 0)));
        ok!(operator.must(a.is(b.element) && y.is(Element::Bool), Kind::OperandType));
        operator.must(broadcasts(&a, &b, &y), Kind::OperandShape)
    }

    /// A tensor and its slopes, which are spread over it.
    const fn prelu(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 2, 1));
        let (x, slope) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        let slope_type = if x.is(Element::I16) { Element::I8 } else { x.element };
        ok!(operator.must(x.is(y.element) && slope.is(slope_type), Kind::OperandType));
        operator.must(broadcasts(&x, &slope, &y) && x.has_shape_of(&y), Kind::OperandShape)
    }

    /// The shape wanted, input 1, is not read on the device: the output has it.
    const fn reshape(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, 2, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        operator.must(x.elements == y.elements, Kind::OperandShape)
    }

    const fn expand_dims(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 2, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        let axis = ok!(ok!(self.input(operator, 1)).i32_at(self.reader, 0)) as i64;
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        ok!(operator.must(axis > -2 - x.rank as i64 && axis <= x.rank as i64, Kind::OptionValue));
        operator.must(y.rank == x.rank + 1 && x.elements == y.elements, Kind::OperandShape)
    }

    const fn squeeze(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, 1, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        let axes = ok!(self.reader.vector_or_empty(ok!(operator.options()), slot::SQUEEZE_DIMS, 4));
        let mut dropped = 0;
        let mut index = 0;
        while index < axes.count {
            let axis = ok!(self.reader.i32_in(axes, index));
            ok!(operator.must(index < x.rank, Kind::OptionValue));
            let Some(bit) = axis_bit(axis, x.rank) else { return Err(Kind::OptionValue.at(operator.at)) };
            dropped |= bit;
            index += 1;
        }
        let mut kept = 0;
        let mut dim = 0;
        while dim < x.rank {
            let drops = if axes.count == 0 { x.dim(dim) == 1 } else { (dropped >> dim) & 1 == 1 };
            if !drops {
                ok!(operator.must(kept < y.rank && y.dim(kept) == x.dim(dim), Kind::OperandShape));
                kept += 1;
            }
            dim += 1;
        }
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        operator.must(kept == y.rank && x.elements == y.elements, Kind::OperandShape)
    }

    const fn concatenation(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(1, MAX_CONCATENATED, 1));
        let y = ok!(self.output(operator, 0));
        let axis = ok!(self.reader.i32_field(ok!(operator.options()), slot::CONCATENATION_AXIS, 0));
        let Some(along) = axis_bit(axis, y.rank) else { return Err(Kind::OptionValue.at(operator.at)) };
        let mut sum = 0;
        let mut index = 0;
        while index < operator.inputs.count {
            let x = ok!(self.input(operator, index));
            ok!(operator.must(x.is(y.element), Kind::OperandType));
            ok!(operator.must(x.rank == y.rank, Kind::OperandShape));
            let mut dim = 0;
            while dim < y.rank {
                if (along >> dim) & 1 == 1 {
                    sum += x.dim(dim) as i64;
                } else {
                    ok!(operator.must(x.dim(dim) == y.dim(dim), Kind::OperandShape));
                }
                dim += 1;
            }
            index += 1;
        }
        let total = y.dim(along.trailing_zeros() as usize) as i64;
        operator.must(sum == total, Kind::OperandShape)
    }

    const fn pad(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 3, 1));
        let (x, paddings) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        let fits = x.rank == y.rank && x.rank <= MAX_PAD_RANK && paddings.elements as usize == 2 * x.rank;
        ok!(operator.must(fits, Kind::OperandShape));
        if operator.inputs.count == 3 {
            let value = ok!(self.input(operator, 2));
            ok!(operator.must(value.is(x.element), Kind::OperandType));
            ok!(operator.must(value.elements == 1, Kind::OperandShape));
        }
        let mut dim = 0;
        while dim < x.rank {
            let before = ok!(paddings.i32_at(self.reader, 2 * dim));
            let after = ok!(paddings.i32_at(self.reader, 2 * dim + 1));
            ok!(operator.must(before >= 0 && after >= 0, Kind::OptionValue));
            let padded = x.dim(dim) as i64 + before as i64 + after as i64;
            ok!(operator.must(y.dim(dim) as i64 == padded, Kind::OperandShape));
            dim += 1;
        }
        Ok(())
    }

    const fn reduction(&self, operator: &Operator) -> Result<(), ModelError> {
        ok!(operator.takes(2, 2, 1));
        let (x, axes) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        let keeps = ok!(self.reader.u8_field(ok!(operator.options()), slot::REDUCER_KEEP_DIMS)) != 0;
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        ok!(operator.must(axes.elements <= MAX_AXES, Kind::OptionValue));
        let mut reduced = 0;
        let mut index = 0;
        while index < axes.elements as usize {
            let axis = ok!(axes.i32_at(self.reader, index));
            let Some(bit) = axis_bit(axis, x.rank) else { return Err(Kind::OptionValue.at(operator.at)) };
            reduced |= bit;
            index += 1;
        }
        let mut kept = 0;
        let mut dim = 0;
        while dim < x.rank {
            let is_reduced = (reduced >> dim) & 1 == 1;
            if !is_reduced || keeps {
                let length = if is_reduced { 1 } else { x.dim(dim) };
                ok!(operator.must(kept < y.rank && y.dim(kept) == length, Kind::OperandShape));
                kept += 1;
            }
            dim += 1;
        }
        operator.must(kept == y.rank, Kind::OperandShape)
    }
}

/// The bit of dimension `axis`, counted from the end where negative; None where there is none.
const fn axis_bit(axis: i32, rank: usize) -> Option<u32> {
    let axis = if axis < 0 { axis as i64 + rank as i64 } else { axis as i64 };
    if axis < 0 || axis >= rank as i64 { None } else { Some(1 << axis) }
}

/// Whether `y` is what `a` and `b` give when dimensions of 1 are spread over the other's.
const fn broadcasts(a: &Tensor, b: &Tensor, y: &Tensor) -> bool {
    if a.has_shape_of(b) {
        return y.has_shape_of(a);
    }
    let rank = if a.rank > b.rank { a.rank } else { b.rank };
    if y.rank != rank || rank > MAX_BROADCAST_RANK {
        return false;
    }
    let mut back = 1;
    while back <= rank {
        let of_a = if back <= a.rank { a.dim(a.rank - back) } else { 1 };
        let of_b = if back <= b.rank { b.dim(b.rank - back) } else { 1 };
        let spread = if of_a == 1 { of_b } else { of_a };
        if (of_b != 1 && of_b != spread) || y.dim(rank - back) != spread {
            return false;
        }
        back += 1;
    }
    true
}
