//! Shapes, types and options of convolutions, fully connected layers and pools, whose kernels trust them. Other
//! operators are in `model_operators.rs`.

mod model_writer;

use model_writer::changes::{ARITY, SHAPE, TYPE, VALUE, changed, element, judged, only, option, shape, tensor};
use model_writer::{
    FLOAT32, INT4, INT16, INT32, INT64, Net, Tensor, Value, convolution, live, numbers, operator, single, weights,
};
use tflm::model::{Engine, Model, ModelErrorKind as Kind};

// `BuiltinOperator` in schema.fbs.
const AVERAGE_POOL_2D: i32 = 1;
const DEPTHWISE_CONV_2D: i32 = 4;
const FULLY_CONNECTED: i32 = 9;
const MAX_POOL_2D: i32 = 17;

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
