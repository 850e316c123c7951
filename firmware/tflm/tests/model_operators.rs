//! Shapes, types and options of the operators that work element by element, move data or reduce it, whose kernels trust
//! them. Convolutions and pools are in `model_windows.rs`, the file itself in `model_refusals.rs`.

mod model_writer;

use model_writer::changes::{ARITY, SHAPE, TYPE, VALUE, changed, element, judged, only, option, shape, tensor};
use model_writer::{BOOL, FLOAT32, INT4, INT16, INT32, Net, Value, live, numbers, operator, single, weights};
use tflm::model::{Engine, Model, ModelErrorKind as Kind};

// `BuiltinOperator` in schema.fbs.
const ADD: i32 = 0;
const CONCATENATION: i32 = 2;
const LOGISTIC: i32 = 14;
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
