//! Shapes and types of convolutions, pooling and fully connected layers.

use super::error::{ModelError, ModelErrorKind as Kind};
use super::facts::Element;
use super::graph::Graph;
use super::operators::Operator;
use super::schema::slot;
use super::tensor::Tensor;

const SAME: i8 = 0;
const VALID: i8 = 1;

/// How a window moves along one dimension.
struct Step {
    size: i32,
    stride: i32,
    dilation: i32,
}

impl Step {
    /// Positions along a dimension of `length`, as `ComputeOutSize` in padding.h. None where it has none, where a
    /// number is out of range, or where the device's int would overflow.
    const fn positions(&self, padding: i8, length: i32) -> Option<i32> {
        if self.size < 1 || self.stride < 1 || self.dilation < 1 {
            return None;
        }
        let (length, stride) = (length as i64, self.stride as i64);
        let covered = (self.size as i64 - 1) * self.dilation as i64 + 1;
        let positions = match padding {
            SAME => (length + stride - 1) / stride,
            VALID if covered <= length => (length + stride - covered) / stride,
            _ => return None,
        };
        let most = i32::MAX as i64;
        let end = (positions - 1) * stride + covered;
        if length + stride > most || covered > most || end > most { None } else { Some(positions as i32) }
    }
}

impl Graph<'_> {
    pub const fn convolution(&self, operator: &Operator) -> Result<(), ModelError> {
        let options = ok!(operator.options());
        ok!(operator.takes(2, 3, 1));
        let (x, filter) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        ok!(operator.must(x.rank == 4 && filter.rank == 4 && y.rank == 4, Kind::OperandShape));
        // Filter: output channels, height, width, input channels of one group.
        let (channels, depth) = (filter.dim(0), filter.dim(3));
        let (Some(groups), Some(0)) = (x.dim(3).checked_div(depth), x.dim(3).checked_rem(depth)) else {
            return Err(Kind::OperandShape.at(operator.at));
        };
        let split_evenly = matches!(channels.checked_rem(groups), Some(0));
        ok!(operator.must(split_evenly && y.dim(3) == channels, Kind::OperandShape));
        if self.everywhere && groups != 1 {
            return Err(Kind::UpstreamOnly.at(operator.at)); // 2020 and ESP-NN: read behind the filter
        }
        ok!(self.weights(operator, &x, &filter, &y, (0, channels)));
        let dilation_w = ok!(self.reader.i32_field(options, slot::CONV_DILATION_W, 1));
        let dilation_h = ok!(self.reader.i32_field(options, slot::CONV_DILATION_H, 1));
        self.window(operator, (filter.dim(1), filter.dim(2)), (dilation_h, dilation_w), &x, &y)
    }

    pub const fn depthwise(&self, operator: &Operator) -> Result<(), ModelError> {
        let options = ok!(operator.options());
        ok!(operator.takes(2, 3, 1));
        let (x, filter) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        ok!(operator.must(x.rank == 4 && filter.rank == 4 && y.rank == 4, Kind::OperandShape));
        // Filter: 1, height, width, output channels.
        let channels = filter.dim(3);
        ok!(operator.must(filter.dim(0) == 1 && y.dim(3) == channels, Kind::OperandShape));
        let multiplier = ok!(self.reader.i32_field(options, slot::DEPTHWISE_MULTIPLIER, 0));
        ok!(operator.must(multiplier > 0, Kind::OptionValue));
        ok!(operator.must(x.dim(3) as i64 * multiplier as i64 == channels as i64, Kind::OperandShape));
        ok!(self.weights(operator, &x, &filter, &y, (3, channels)));
        let dilation_w = ok!(self.reader.i32_field(options, slot::DEPTHWISE_DILATION_W, 1));
        let dilation_h = ok!(self.reader.i32_field(options, slot::DEPTHWISE_DILATION_H, 1));
        self.window(operator, (filter.dim(1), filter.dim(2)), (dilation_h, dilation_w), &x, &y)
    }

    pub const fn fully_connected(&self, operator: &Operator) -> Result<(), ModelError> {
        let options = ok!(operator.options());
        ok!(operator.takes(2, 3, 1));
        let (x, filter) = (ok!(self.input(operator, 0)), ok!(self.input(operator, 1)));
        let y = ok!(self.output(operator, 0));
        // Shuffled weights, a layout that no kernel here knows.
        let shuffled = ok!(self.reader.i8_field(options, slot::FULLY_CONNECTED_FORMAT)) != 0;
        ok!(operator.must(!shuffled, Kind::OptionValue));
        ok!(operator.must(filter.rank == 2 && y.rank >= 2 && y.rank <= 4, Kind::OperandShape));
        let (channels, depth) = (filter.dim(0), filter.dim(1));
        // Batches * depth of the input, without a division: both sides times the channels.
        let flattened = y.elements as u64 * depth as u64 == x.elements as u64 * channels as u64;
        let fits = flattened && y.dim(y.rank - 1) == channels;
        ok!(operator.must(fits, Kind::OperandShape));
        if self.everywhere && y.rank > 2 && y.dim(1) > channels {
            return Err(Kind::UpstreamOnly.at(operator.at)); // 2020: takes dimension 1 for the channels
        }
        self.weights(operator, &x, &filter, &y, (0, channels))
    }

    pub const fn pool(&self, operator: &Operator) -> Result<(), ModelError> {
        let options = ok!(operator.options());
        ok!(operator.takes(1, 1, 1));
        let (x, y) = (ok!(self.input(operator, 0)), ok!(self.output(operator, 0)));
        ok!(operator.must(x.is(y.element), Kind::OperandType));
        ok!(operator.must(x.rank == 4 && y.rank == 4 && x.dim(3) == y.dim(3), Kind::OperandShape));
        let height = ok!(self.reader.i32_field(options, slot::POOL_HEIGHT, 0));
        let width = ok!(self.reader.i32_field(options, slot::POOL_WIDTH, 0));
        self.window(operator, (height, width), (1, 1), &x, &y)
    }

    /// Whether batch, height and width of the output are what a window of this size and dilation (height, width) gives.
    const fn window(
        &self,
        operator: &Operator,
        size: (i32, i32),
        dilation: (i32, i32),
        x: &Tensor,
        y: &Tensor,
    ) -> Result<(), ModelError> {
        let options = ok!(operator.options());
        let padding = ok!(self.reader.i8_field(options, slot::WINDOW_PADDING));
        let stride_w = ok!(self.reader.i32_field(options, slot::WINDOW_STRIDE_W, 0));
        let stride_h = ok!(self.reader.i32_field(options, slot::WINDOW_STRIDE_H, 0));
        let down = Step { size: size.0, stride: stride_h, dilation: dilation.0 };
        let across = Step { size: size.1, stride: stride_w, dilation: dilation.1 };
        let (Some(height), Some(width)) = (down.positions(padding, x.dim(1)), across.positions(padding, x.dim(2)))
        else {
            return Err(Kind::OptionValue.at(operator.at));
        };
        operator.must(y.dim(0) == x.dim(0) && y.dim(1) == height && y.dim(2) == width, Kind::OperandShape)
    }

    /// Types of filter and bias, number of biases and scales; `channels`: dimension of the filter that holds the output
    /// channels, and how many there are.
    const fn weights(
        &self,
        operator: &Operator,
        x: &Tensor,
        filter: &Tensor,
        y: &Tensor,
        channels: (usize, i32),
    ) -> Result<(), ModelError> {
        let weights = if x.is(Element::I16) { Element::I8 } else { x.element };
        let packed = x.is(Element::I8) && filter.is_int4();
        ok!(operator.must(x.is(y.element) && (filter.is(weights) || packed), Kind::OperandType));
        // One scale for all, or one for each output channel: kernels keep a multiplier for each of these.
        if filter.scales.count > 1 {
            ok!(operator.must(filter.quantized_dimension as usize == channels.0, Kind::QuantizedDimension));
        }
        let Some(bias) = ok!(self.bias(operator)) else {
            // ESP-NN's convolutions read the bias without asking whether there is one.
            return operator.must(!self.everywhere || filter.rank == 2, Kind::UpstreamOnly);
        };
        let fits = match x.element {
            Element::F32 => bias.is(Element::F32),
            Element::I8 | Element::U8 => bias.is(Element::I32),
            // The depthwise kernel reads int64 whatever the type; the others look.
            Element::I16 => bias.is(Element::I64) || (channels.0 == 0 && filter.rank == 4 && bias.is(Element::I32)),
            _ => false,
        };
        ok!(operator.must(fits, Kind::OperandType));
        operator.must(bias.elements as i64 == channels.1 as i64, Kind::OperandShape)
    }
}
