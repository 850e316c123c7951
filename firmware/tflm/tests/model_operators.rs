//! Shapes, types and options of the operators whose kernels trust them. Not here: what the file itself must be like, in
//! `model_refusals.rs`.

mod model_writer;

use model_writer::{
    BOOL, FLOAT32, INT4, INT16, INT32, INT64, Net, Operator, Tensor, Value, convolution, live, numbers, operator,
    single, weights,
};
use tflm::model::{Engine, Model, ModelErrorKind as Kind};

// `BuiltinOperator` in schema.fbs.
const ADD: i32 = 0;
const AVERAGE_POOL_2D: i32 = 1;
const CONCATENATION: i32 = 2;
const DEPTHWISE_CONV_2D: i32 = 4;
const FULLY_CONNECTED: i32 = 9;
const LOGISTIC: i32 = 14;
const MAX_POOL_2D: i32 = 17;
const RESHAPE: i32 = 22;
const SOFTMAX: i32 = 25;
const PAD: i32 = 34;
const TRANSPOSE: i32 = 39;
const MEAN: i32 = 40;
const SQUEEZE: i32 = 43;
const CAST: i32 = 53;
const PRELU: i32 = 54;
const PADV2: i32 = 60;
const LESS: i32 = 58;
const EXPAND_DIMS: i32 = 70;
const QUANTIZE: i32 = 114;

type Outcome = Result<(), Kind>;

fn judged(net: &Net) -> Outcome {
    Model::check_for(&net.file(), Engine::Any).map(|_| ()).map_err(|error| error.kind)
}

/// What becomes of a sound net when it is changed.
fn changed(sound: &Net, change: impl FnOnce(&mut Net)) -> Outcome {
    let mut net = sound.clone();
    assert_eq!(judged(&net), Ok(()), "before the change");
    change(&mut net);
    judged(&net)
}

fn tensor(net: &mut Net, index: usize) -> &mut Tensor {
    net.tensors.get_mut(index).expect("a tensor")
}

/// Another shape; constants have enough data for it, and one scale.
fn shape(index: usize, shape: &[i32]) -> impl FnOnce(&mut Net) {
    move |net| {
        let tensor = tensor(net, index);
        tensor.shape = shape.to_vec();
        tensor.dimension = 0;
        tensor.scales.truncate(1);
        tensor.zero_points.truncate(1);
        if tensor.data.is_some() {
            tensor.data = Some(vec![1; 4 * shape.iter().product::<i32>() as usize]);
        }
    }
}

/// Another type; constants have enough data for it.
fn element(index: usize, element: u8) -> impl FnOnce(&mut Net) {
    move |net| {
        let tensor = tensor(net, index);
        tensor.element = element;
        if let Some(data) = &mut tensor.data {
            data.resize(data.len() * 8, 0);
        }
    }
}

fn only(net: &mut Net) -> &mut Operator {
    net.operators.first_mut().expect("an operator")
}

fn option(slot: usize, value: Value) -> impl FnOnce(&mut Net) {
    move |net| only(net).option(slot, value)
}

const SHAPE: Outcome = Err(Kind::OperandShape);
const TYPE: Outcome = Err(Kind::OperandType);
const VALUE: Outcome = Err(Kind::OptionValue);
const ARITY: Outcome = Err(Kind::Arity);

#[test]
fn a_convolution_fits_its_filter_bias_and_output() {
    let sound = convolution();
    for (index, wrong) in [
        (0, &[1, 4, 4, 3][..]), // channels that the filter does not have
        (0, &[1, 4, 4, 1]),
        (0, &[4, 4, 2]),
        (0, &[2, 4, 4, 2]), // another batch than the output
        (1, &[3, 1, 2]),
        (1, &[3, 1, 1, 4]),
        (2, &[2]), // a bias less than there are channels
        (2, &[4]),
        (3, &[1, 4, 4, 4]), // a channel more than there are filters
        (3, &[1, 4, 5, 3]), // positions that the window does not have
        (3, &[1, 5, 4, 3]),
        (3, &[1, 3, 4, 3]), // fewer than it has: fast kernels write all
        (3, &[16, 3]),
    ] {
        assert_eq!(changed(&sound, shape(index, wrong)), SHAPE, "tensor {index} of shape {wrong:?}");
    }
    for (index, wrong) in [(0, FLOAT32), (0, INT16), (1, INT16), (1, INT32), (2, INT64), (2, FLOAT32), (3, INT16)] {
        assert_eq!(changed(&sound, element(index, wrong)), TYPE, "tensor {index} of type {wrong}");
    }
    assert_eq!(changed(&sound, |net| only(net).inputs.push(2)), ARITY);
    assert_eq!(changed(&sound, |net| only(net).inputs.truncate(1)), ARITY);
    assert_eq!(changed(&sound, |net| only(net).inputs.truncate(2)), Err(Kind::UpstreamOnly), "no bias");
    let along_the_width = |net: &mut Net| {
        let filter = tensor(net, 1);
        (filter.shape, filter.dimension) = (vec![3, 1, 1, 2], 3);
        (filter.scales, filter.zero_points) = (vec![0.1; 2], vec![0; 2]);
    };
    assert_eq!(changed(&sound, along_the_width), Err(Kind::QuantizedDimension));
}

#[test]
fn a_filter_may_have_one_scale_for_all_channels_or_four_bits() {
    let sound = convolution();
    let one_scale = |net: &mut Net| {
        let filter = tensor(net, 1);
        (filter.scales, filter.zero_points) = (vec![0.1], vec![0]);
    };
    assert_eq!(changed(&sound, one_scale), Ok(()));
    assert_eq!(changed(&sound, element(1, INT4)), Ok(()));
    assert_eq!(changed(&sound, element(0, INT4)), TYPE, "an input of four bits");
    assert_eq!(changed(&sound, element(3, INT4)), TYPE, "an output of four bits");
    let mut wide = sound.clone();
    element(0, INT16)(&mut wide);
    element(3, INT16)(&mut wide);
    element(2, INT64)(&mut wide);
    assert_eq!(judged(&wide), Ok(()), "int16 with int8 weights and an int64 bias");
}

#[test]
fn groups_of_a_convolution_divide_its_channels() {
    let grouped = |depth, channels| {
        let mut net = convolution();
        shape(0, &[1, 4, 4, 6])(&mut net);
        *tensor(&mut net, 1) = weights(&[channels, 1, 1, depth]);
        *tensor(&mut net, 2) = numbers(&[channels], &vec![0; channels as usize]);
        shape(3, &[1, 4, 4, channels])(&mut net);
        Model::check_for(&net.file(), Engine::Upstream).map(|_| judged(&net)).map_err(|error| error.kind)
    };
    assert_eq!(grouped(6, 4), Ok(Ok(())));
    assert_eq!(grouped(3, 4), Ok(Err(Kind::UpstreamOnly)), "2020's kernel would read all 6 channels of 3");
    assert_eq!(grouped(3, 3), Err(Kind::OperandShape), "3 channels in 2 groups");
    assert_eq!(grouped(4, 4), Err(Kind::OperandShape), "6 channels in groups of 4");
    assert_eq!(grouped(7, 4), Err(Kind::OperandShape), "6 channels in groups of 7");
}

#[test]
fn windows_move_as_padding_stride_and_dilation_say() {
    // (size, stride, dilation, padding: 0 SAME, 1 VALID, positions along 4): as in ComputeOutSize of padding.h.
    let along = |size: i32, stride: i32, dilation: i32, padding: u8, positions: i32| {
        let mut net = convolution();
        *tensor(&mut net, 1) = weights(&[3, size, 1, 2]);
        shape(3, &[1, positions, 4, 3])(&mut net);
        for (slot, value) in [(6, 1), (8, stride), (12, 1), (14, dilation)] {
            only(&mut net).option(slot, Value::I32(value));
        }
        only(&mut net).option(4, Value::U8(padding));
        judged(&net)
    };
    for (size, stride, dilation, padding, positions) in [
        (1, 1, 1, 0, 4),
        (3, 2, 1, 0, 2),
        (9, 3, 1, 0, 2),
        (2, 1, 1, 1, 3),
        (2, 2, 1, 1, 2),
        (4, 1, 1, 1, 1),
        (2, 1, 3, 1, 1),
    ] {
        assert_eq!(along(size, stride, dilation, padding, positions), Ok(()), "{size} {stride} {dilation} {padding}");
        assert_eq!(
            along(size, stride, dilation, padding, positions + 1),
            SHAPE,
            "{size} {stride} {dilation} {padding}"
        );
    }
    for (size, stride, dilation, padding) in [
        (1, 0, 1, 0),
        (1, -1, 1, 0),
        (1, 1, 0, 0),
        (1, 1, -1, 1),
        (1, 1, 1, 2), // no padding of the schema
        (1, 1, 1, 255),
        (5, 1, 1, 1), // larger than what it moves over
        (2, 1, 4, 1),
        (1, i32::MAX, 1, 0), // int overflows on the device
        (3, 1, i32::MAX, 0),
    ] {
        assert_eq!(along(size, stride, dilation, padding, 1), VALUE, "{size} {stride} {dilation} {padding}");
    }
}

/// x, filter, bias and y of a depthwise convolution: 2 channels, 2 filters each, over all of a 3x3 map.
fn depthwise() -> Net {
    let filter = Tensor { dimension: 3, scales: vec![0.1; 4], zero_points: vec![0; 4], ..weights(&[1, 3, 3, 4]) };
    let fields = vec![(4, Value::U8(1)), (6, Value::I32(1)), (8, Value::I32(1)), (10, Value::I32(2))];
    let tensors = vec![live(&[1, 3, 3, 2]), filter, numbers(&[4], &[0; 4]), live(&[1, 1, 1, 4])];
    Net::new(tensors, vec![operator(DEPTHWISE_CONV_2D, &[0, 1, 2], &[3]).with(2, fields)], 0, 3)
}

#[test]
fn a_depthwise_convolution_multiplies_its_channels() {
    let sound = depthwise();
    for (index, wrong) in [
        (0, &[1, 3, 3, 4][..]),
        (0, &[1, 3, 3, 1]),
        (1, &[2, 3, 3, 4]),
        (1, &[3, 3, 4]),
        (2, &[3]),
        (3, &[1, 1, 1, 2]),
        (3, &[1, 1, 2, 4]),
        (3, &[2, 1, 1, 4]),
        (3, &[1, 1, 4]),
    ] {
        assert_eq!(changed(&sound, shape(index, wrong)), SHAPE, "tensor {index} of shape {wrong:?}");
    }
    for multiplier in [0, -2] {
        assert_eq!(changed(&sound, option(10, Value::I32(multiplier))), VALUE);
    }
    for multiplier in [1, 3, i32::MAX] {
        assert_eq!(changed(&sound, option(10, Value::I32(multiplier))), SHAPE);
    }
    assert_eq!(changed(&sound, option(16, Value::I32(0))), VALUE, "dilation");
    assert_eq!(changed(&sound, option(16, Value::I32(2))), VALUE, "dilated beyond the map");
    assert_eq!(changed(&sound, |net| only(net).inputs.truncate(2)), Err(Kind::UpstreamOnly), "no bias");
    let left_out = |net: &mut Net| only(net).inputs = vec![0, 1, -1];
    assert_eq!(changed(&sound, left_out), Err(Kind::OmittedInput), "upstream's kernel follows a null pointer");
    let wide = |net: &mut Net| {
        element(0, INT16)(net);
        element(3, INT16)(net);
    };
    assert_eq!(changed(&sound, wide), TYPE, "int16 with an int32 bias, which the kernel reads as int64");
}

#[test]
fn a_fully_connected_layer_fits_its_weights() {
    let tensors = vec![live(&[2, 4]), weights(&[3, 4]), numbers(&[3], &[0; 3]), live(&[2, 3])];
    let sound = Net::new(tensors, vec![operator(FULLY_CONNECTED, &[0, 1, 2], &[3]).with(8, vec![])], 0, 3);
    assert_eq!(changed(&sound, shape(0, &[1, 2, 2, 2])), Ok(()), "flattened on the way");
    assert_eq!(changed(&sound, |net| only(net).inputs.truncate(2)), Ok(()), "no bias");
    for (index, wrong) in [
        (0, &[2, 5][..]),
        (0, &[3, 4]),
        (1, &[4, 4]),
        (1, &[3, 2]),
        (1, &[1, 3, 4]),
        (2, &[4]),
        (3, &[2, 2]),
        (3, &[3, 3]),
        (3, &[6]),
        (3, &[1, 1, 1, 2, 3]),
    ] {
        assert_eq!(changed(&sound, shape(index, wrong)), SHAPE, "tensor {index} of shape {wrong:?}");
    }
    assert_eq!(changed(&sound, shape(3, &[1, 2, 3])), Ok(()));
    assert_eq!(changed(&sound, option(6, Value::U8(1))), VALUE, "shuffled weights");
    let mut deep = sound.clone();
    shape(0, &[1, 8, 4])(&mut deep);
    shape(3, &[1, 8, 3])(&mut deep);
    assert_eq!(judged(&deep), Err(Kind::UpstreamOnly), "2020 takes the 8 for the number of channels");
}

#[test]
fn pools_keep_batch_and_channels() {
    let fields = vec![(6, Value::I32(2)), (8, Value::I32(2)), (10, Value::I32(2)), (12, Value::I32(2))];
    for code in [AVERAGE_POOL_2D, MAX_POOL_2D] {
        let mut sound = single(code, vec![live(&[1, 4, 4, 2]), live(&[1, 2, 2, 2])]);
        *only(&mut sound) = operator(code, &[0], &[1]).with(5, fields.clone());
        for wrong in [&[1, 2, 2, 3][..], &[1, 3, 2, 2], &[1, 2, 3, 2], &[2, 2, 2, 2], &[2, 2, 2]] {
            assert_eq!(changed(&sound, shape(1, wrong)), SHAPE, "{wrong:?}");
        }
        for slot in [6, 8, 10, 12] {
            assert_eq!(changed(&sound, option(slot, Value::I32(0))), VALUE, "slot {slot}");
            assert_eq!(changed(&sound, |net| only(net).options.as_mut().expect("options").1.remove(slot)), VALUE);
        }
        assert_eq!(changed(&sound, element(1, INT16)), TYPE);
        assert_eq!(changed(&sound, |net| only(net).inputs.push(0)), ARITY);
    }
}

#[test]
fn shapes_of_two_operands_are_spread_over_each_other() {
    let sum = |a: &[i32], b: &[i32], y: &[i32]| {
        let mut net = single(ADD, vec![live(a), weights(b), live(y)]);
        *only(&mut net) = operator(ADD, &[0, 1], &[2]).with(11, vec![]);
        judged(&net)
    };
    for (a, b, y) in [
        (&[1, 4, 4, 2][..], &[1, 4, 4, 2][..], &[1, 4, 4, 2][..]),
        (&[1, 4, 4, 2], &[], &[1, 4, 4, 2]),
        (&[1, 4, 4, 2], &[2], &[1, 4, 4, 2]),
        (&[1, 4, 1, 2], &[3, 1], &[1, 4, 3, 2]),
        (&[2], &[2, 3, 1, 2], &[2, 3, 1, 2]),
        (&[1, 1, 1, 1, 2], &[1, 1, 1, 1, 2], &[1, 1, 1, 1, 2]),
    ] {
        assert_eq!(sum(a, b, y), Ok(()), "{a:?} {b:?} {y:?}");
        assert_eq!(sum(b, a, y), Ok(()), "{b:?} {a:?} {y:?}");
    }
    for (a, b, y) in [
        (&[1, 4, 4, 2][..], &[1, 4, 4, 2][..], &[1, 4, 4, 1][..]),
        (&[1, 4, 4, 2], &[1, 4, 4, 2], &[4, 4, 2]),
        (&[1, 4, 4, 2], &[3], &[1, 4, 4, 2]),
        (&[1, 4, 4, 2], &[1, 4, 4, 4], &[1, 4, 4, 4]),
        (&[1, 4, 4, 2], &[2], &[1, 4, 4, 4]),
        (&[2], &[1, 2], &[2]),
        (&[1, 1, 1, 1, 2], &[2], &[1, 1, 1, 1, 2]), // beyond the 4 dimensions of a kernel that spreads
    ] {
        assert_eq!(sum(a, b, y), SHAPE, "{a:?} {b:?} {y:?}");
        assert_eq!(sum(b, a, y), SHAPE, "{b:?} {a:?} {y:?}");
    }
}

#[test]
fn operands_of_one_operator_are_of_one_type() {
    let shape = &[4][..];
    let mut sum = single(ADD, vec![live(shape), weights(shape), live(shape)]);
    *only(&mut sum) = operator(ADD, &[0, 1], &[2]).with(11, vec![]);
    for index in 0..3 {
        assert_eq!(changed(&sum, element(index, INT32)), TYPE);
    }
    assert_eq!(changed(&sum, element(1, INT4)), TYPE, "constants of four bits are packed");
    let less = single(LESS, vec![live(shape), weights(shape), live(shape).of(BOOL)]);
    for index in 0..3 {
        assert_eq!(changed(&less, element(index, INT32)), TYPE);
    }
    let sigmoid = single(LOGISTIC, vec![live(shape), live(shape)]);
    assert_eq!(changed(&sigmoid, element(1, FLOAT32)), TYPE);
    assert_eq!(changed(&sigmoid, |net| tensor(net, 1).shape = vec![5]), SHAPE);
    assert_eq!(changed(&sigmoid, |net| tensor(net, 1).shape = vec![2, 2]), Ok(()), "as many elements");
    for code in [QUANTIZE, CAST] {
        let conversion = single(code, vec![live(shape), live(shape).of(FLOAT32)]);
        assert_eq!(changed(&conversion, |net| tensor(net, 1).shape = vec![5]), SHAPE);
    }
    let slopes = single(PRELU, vec![live(&[1, 4, 2]), weights(&[2]), live(&[1, 4, 2])]);
    assert_eq!(changed(&slopes, |net| *tensor(net, 1) = weights(&[4])), SHAPE);
    assert_eq!(changed(&slopes, |net| *tensor(net, 0) = live(&[1, 1, 2])), SHAPE, "spread to the output's shape");
    assert_eq!(changed(&slopes, element(1, INT16)), TYPE);
}

#[test]
fn a_softmax_keeps_its_shape() {
    let mut sound = single(SOFTMAX, vec![live(&[2, 6]), live(&[2, 6])]);
    *only(&mut sound) = operator(SOFTMAX, &[0], &[1]).with(9, vec![]);
    assert_eq!(changed(&sound, shape(1, &[3, 4])), SHAPE);
    assert_eq!(changed(&sound, element(1, INT16)), Ok(()), "int8 to int16 is a kernel of its own");
    assert_eq!(changed(&sound, element(1, INT32)), TYPE);
}

#[test]
fn reshaping_moves_all_elements() {
    let sound = single(RESHAPE, vec![live(&[1, 4, 6]), numbers(&[2], &[8, 3]), live(&[8, 3])]);
    assert_eq!(changed(&sound, shape(2, &[8, 4])), SHAPE);
    assert_eq!(changed(&sound, element(2, INT16)), TYPE);
    assert_eq!(changed(&sound, |net| only(net).inputs.truncate(1)), Ok(()));

    let sound = single(EXPAND_DIMS, vec![live(&[4, 6]), numbers(&[], &[-3]), live(&[1, 4, 6])]);
    for axis in [3, -4, i32::MIN, i32::MAX] {
        assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[], &[axis])), VALUE, "{axis}");
    }
    assert_eq!(changed(&sound, shape(2, &[4, 6])), SHAPE);
    assert_eq!(changed(&sound, shape(2, &[1, 4, 7])), SHAPE);
    assert_eq!(changed(&sound, |net| *tensor(net, 1) = live(&[]).of(INT32)), Err(Kind::ReadBeforeWrite));
    assert_eq!(changed(&sound, |net| tensor(net, 1).element = INT16), TYPE, "an axis of another type");

    let mut sound = single(SQUEEZE, vec![live(&[1, 4, 1, 6]), live(&[4, 6])]);
    *only(&mut sound) = operator(SQUEEZE, &[0], &[1]).with(30, vec![]);
    assert_eq!(changed(&sound, option(4, Value::I32s(vec![0, -2]))), Ok(()));
    assert_eq!(changed(&sound, option(4, Value::I32s(vec![0]))), SHAPE);
    assert_eq!(changed(&sound, option(4, Value::I32s(vec![1]))), SHAPE, "a dimension of 4");
    for axes in [vec![4], vec![-5], vec![0; 5]] {
        assert_eq!(changed(&sound, option(4, Value::I32s(axes))), VALUE);
    }
    assert_eq!(changed(&sound, shape(1, &[24])), SHAPE, "the kernel would read a dimension that is not there");
}

#[test]
fn concatenation_adds_up_along_one_axis() {
    let tensors = vec![live(&[1, 4, 2]), weights(&[1, 4, 3]), live(&[1, 4, 5])];
    let mut sound = single(CONCATENATION, tensors);
    *only(&mut sound) = operator(CONCATENATION, &[0, 1], &[2]).with(10, vec![(4, Value::I32(-1))]);
    assert_eq!(changed(&sound, option(4, Value::I32(2))), Ok(()));
    assert_eq!(changed(&sound, option(4, Value::I32(1))), SHAPE);
    for axis in [3, -4, i32::MIN, i32::MAX] {
        assert_eq!(changed(&sound, option(4, Value::I32(axis))), VALUE, "{axis}");
    }
    for (index, wrong) in [(1, &[1, 4, 2][..]), (1, &[1, 3, 3]), (1, &[4, 3]), (2, &[1, 4, 6]), (2, &[1, 4, 4])] {
        assert_eq!(changed(&sound, shape(index, wrong)), SHAPE, "tensor {index} of shape {wrong:?}");
    }
    assert_eq!(changed(&sound, element(1, INT16)), TYPE);
    assert_eq!(changed(&sound, |net| only(net).inputs = vec![0; 11]), ARITY, "kernels have room for 10");
}

#[test]
fn padding_grows_every_dimension_by_what_it_says() {
    let tensors = vec![live(&[1, 4, 2]), numbers(&[3, 2], &[0, 0, 1, 2, 0, 0]), live(&[1, 7, 2])];
    let sound = single(PAD, tensors);
    let paddings =
        |values: &'static [i32]| move |net: &mut Net| *tensor(net, 1) = numbers(&[values.len() as i32], values);
    assert_eq!(changed(&sound, paddings(&[0, 0, 2, 2, 0, 0])), SHAPE);
    assert_eq!(changed(&sound, paddings(&[0, 0, 1, 2])), SHAPE);
    assert_eq!(changed(&sound, paddings(&[0, 0, -1, 4, 0, 0])), VALUE);
    assert_eq!(changed(&sound, paddings(&[0, 0, i32::MAX, i32::MAX, 0, 0])), SHAPE);
    assert_eq!(changed(&sound, |net| tensor(net, 1).element = FLOAT32), TYPE);
    let five = single(PAD, vec![live(&[1; 5]), numbers(&[5, 2], &[0; 10]), live(&[1; 5])]);
    assert_eq!(judged(&five), SHAPE, "5 dimensions");

    let with_value = single(PADV2, vec![live(&[4]), numbers(&[1, 2], &[0, 1]), weights(&[]), live(&[5])]);
    assert_eq!(judged(&with_value), Ok(()));
    assert_eq!(changed(&with_value, shape(2, &[2])), SHAPE);
    assert_eq!(changed(&with_value, element(2, INT16)), TYPE);
}

#[test]
fn what_decides_on_shapes_is_constant() {
    let operators = vec![operator(CAST, &[0], &[1]), operator(PAD, &[2, 1], &[3])];
    let tensors = vec![live(&[2]), live(&[2]).of(INT32), weights(&[4]), live(&[5])];
    assert_eq!(judged(&Net::new(tensors, operators, 0, 3)), Err(Kind::OperandNotConstant));
}

#[test]
fn reductions_leave_what_their_axes_say() {
    let mut sound = single(MEAN, vec![live(&[1, 4, 4, 2]), numbers(&[2], &[1, 2]), live(&[1, 2])]);
    *only(&mut sound) = operator(MEAN, &[0, 1], &[2]).with(27, vec![(4, Value::U8(0))]);
    assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[2], &[-2, -3])), Ok(()));
    assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[3], &[1, 2, 2])), Ok(()));
    for axes in [[1, 4], [1, -5], [i32::MIN, 0]] {
        assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[2], &axes)), VALUE, "{axes:?}");
    }
    assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[5], &[1, 2, 1, 2, 1])), VALUE, "room for 4 axes");
    assert_eq!(changed(&sound, |net| *tensor(net, 1) = numbers(&[1], &[1])), SHAPE);
    assert_eq!(changed(&sound, option(4, Value::U8(1))), SHAPE, "kept dimensions");
    for wrong in [&[2][..], &[1, 1, 2], &[2, 1], &[1, 1, 1, 2]] {
        assert_eq!(changed(&sound, shape(2, wrong)), SHAPE, "{wrong:?}");
    }
    let keeps = |net: &mut Net| {
        option(4, Value::U8(1))(net);
        shape(2, &[1, 1, 1, 2])(net);
    };
    assert_eq!(changed(&sound, keeps), Ok(()));
    assert_eq!(changed(&sound, element(2, INT16)), TYPE);
}

#[test]
fn operators_of_unknown_shapes_are_counted() {
    let swapped = vec![live(&[2, 3]), numbers(&[2], &[1, 0]), live(&[9])];
    let file = single(TRANSPOSE, swapped).file();
    let model = Model::check_for(&file, Engine::Any).expect("the structure is sound");
    assert_eq!((model.operators(), model.structure_only_operators()), (1, 1));
    let alone = single(TRANSPOSE, vec![live(&[2, 3]), live(&[3, 2])]);
    assert_eq!(judged(&alone), ARITY, "without its second input");
}
