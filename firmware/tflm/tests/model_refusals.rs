//! What is wrong with a file as such and with the order of its operators: each gets its own name. Tensors are in
//! `model_tensors.rs`, shapes and options of operators in `model_operators.rs` and `model_windows.rs`.
#![allow(clippy::indexing_slicing, reason = "of files and nets that are written here")]

mod model_writer;

use model_writer::changes::{first_operator, first_tensor, judged, judged_file, main_subgraph, net, tree};
use model_writer::{Net, Table, Value, convolution, live, operator, single, weights};
use tflm::model::{Engine, Model, ModelErrorKind as Kind};

const ADD: i32 = 0;
const RELU: i32 = 19;
const RESHAPE: i32 = 22;
const SUBGRAPHS: usize = 8;
const BUFFERS: usize = 12;

/// As `net`, with bytes changed afterwards.
fn file(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Kind> {
    let mut file = convolution().file();
    change(&mut file);
    judged_file(&file)
}

fn number(file: &[u8], at: usize) -> usize {
    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize
}

/// Where the root's list of fields is.
fn root_list(file: &[u8]) -> usize {
    let root = number(file, 0);
    root - number(file, root)
}

#[test]
fn damaged_headers() {
    assert_eq!(judged_file(b""), Err(Kind::TooShort));
    assert_eq!(judged_file(b"\x1c\0\0\0TFL"), Err(Kind::TooShort));
    assert_eq!(judged_file(b"\x1c\0\0\0TFL3"), Err(Kind::OutOfBounds));
    assert_eq!(file(|file| file[7] = b'2'), Err(Kind::NotTflite));
    assert_eq!(tree(|root| _ = root.set(4, Value::I32(2))), Err(Kind::SchemaVersion(2)));
    assert_eq!(tree(|root| root.remove(4)), Err(Kind::SchemaVersion(0)));
}

#[test]
fn damaged_offsets() {
    assert_eq!(file(|file| file[3] = 0x80), Err(Kind::OutOfBounds));
    assert_eq!(file(|file| file[0] += 1), Err(Kind::Misaligned));
    let root = |file: &[u8]| number(file, 0);
    for way_back in [i32::MIN, -8, 8_000, i32::MAX] {
        let change = |file: &mut Vec<u8>| {
            let at = root(file);
            file[at..at + 4].copy_from_slice(&way_back.to_le_bytes());
        };
        assert!(matches!(file(change), Err(Kind::OutOfBounds | Kind::DamagedTable)), "{way_back}");
    }
    let list = |at: usize, value: u8| {
        file(|file| {
            let list = root_list(file);
            file[list + at] = value;
        })
    };
    assert_eq!(list(0, 3), Err(Kind::DamagedTable), "a list of fields that is shorter than its own head");
    assert_eq!(list(0, 13), Err(Kind::DamagedTable), "half a field");
    assert_eq!(list(1, 0xf0), Err(Kind::OutOfBounds), "a list of fields behind the end");
    assert_eq!(list(2, 3), Err(Kind::DamagedTable), "a table that is shorter than its own head");
    assert_eq!(list(3, 0xf0), Err(Kind::OutOfBounds), "a table that ends behind the end");
    assert_eq!(list(4, 2), Err(Kind::FieldOutsideTable), "a field in the table's head");
    assert_eq!(list(4, 200), Err(Kind::FieldOutsideTable), "a field behind its table");
    assert_eq!(list(4, 7), Err(Kind::Misaligned), "a number at an odd place");
    assert_eq!(file(|file| cut_name(file, b"main\0")), Err(Kind::UnterminatedString));
    assert_eq!(file(|file| cut_name(file, b"tensor\0")), Err(Kind::UnterminatedString));
}

fn cut_name(file: &mut [u8], name: &[u8]) {
    let at = file.windows(name.len()).position(|part| part == name).expect("the name");
    file[at + name.len() - 1] = b'!';
}

#[test]
fn lists_that_are_too_long() {
    // The element count of the list of operator codes, the first one that the root leads to.
    let change = |file: &mut Vec<u8>, count: u32| {
        let list = root_list(file);
        let field = number(file, 0) + usize::from(file[list + 6]);
        let at = field + number(file, field);
        file[at..at + 4].copy_from_slice(&count.to_le_bytes());
    };
    for count in [1_000, u32::MAX / 4, u32::MAX / 4 + 1, 0x4000_0001, u32::MAX] {
        assert_eq!(file(|file| change(file, count)), Err(Kind::OutOfBounds), "{count}");
    }
}

#[test]
fn parts_that_are_missing() {
    for slot in [6, SUBGRAPHS, BUFFERS] {
        assert_eq!(tree(|root| root.remove(slot)), Err(Kind::MissingField));
    }
    for slot in [4, 6, 8, 10] {
        assert_eq!(tree(|root| main_subgraph(root).remove(slot)), Err(Kind::MissingField));
    }
    for slot in [6, 8] {
        assert_eq!(tree(|root| first_operator(root).remove(slot)), Err(Kind::MissingField));
    }
    assert_eq!(tree(|root| root.tables(SUBGRAPHS).clear()), Err(Kind::Subgraphs));
    assert_eq!(tree(|root| _ = root.set(BUFFERS, Value::Tables(vec![]))), Err(Kind::Index));
    assert_eq!(net(|net| net.inputs.clear()), Err(Kind::InputsOutputs));
    assert_eq!(net(|net| net.outputs.push(3)), Err(Kind::InputsOutputs));
    assert_eq!(net(|net| net.operators.clear()), Err(Kind::ReadBeforeWrite));
    // Names are nobody's business but the reader's.
    assert_eq!(tree(|root| main_subgraph(root).remove(12)), Ok(()));
    assert_eq!(tree(|root| first_tensor(root).remove(10)), Ok(()));
}

#[test]
fn two_subgraphs_and_calls_of_the_other() {
    let twice = |root: &mut Table| {
        let main = root.tables(SUBGRAPHS)[0].clone();
        root.tables(SUBGRAPHS).push(main);
    };
    assert_eq!(tree(twice), Err(Kind::Subgraphs));
    for code in [118, 119, 129] {
        assert_eq!(judged(&single(code, vec![live(&[4]), live(&[4])])), Err(Kind::ControlFlow(code)));
    }
}

#[test]
fn numbers_of_things_that_do_not_exist() {
    assert_eq!(net(|net| net.inputs[0] = 4), Err(Kind::Index));
    assert_eq!(net(|net| net.outputs[0] = -1), Err(Kind::Index));
    assert_eq!(net(|net| net.operators[0].inputs[1] = 4), Err(Kind::Index));
    assert_eq!(net(|net| net.operators[0].inputs[0] = i32::MIN), Err(Kind::Index));
    assert_eq!(net(|net| net.operators[0].outputs[0] = i32::MAX), Err(Kind::Index));
    assert_eq!(tree(|root| _ = first_tensor(root).set(8, Value::I32(3))), Err(Kind::Index));
    assert_eq!(tree(|root| _ = first_operator(root).set(4, Value::I32(1))), Err(Kind::Index));
    assert_eq!(tree(|root| _ = first_operator(root).set(4, Value::I32(-1))), Err(Kind::Index));
    assert_eq!(tree(|root| _ = first_operator(root).set(20, Value::I32s(vec![4]))), Err(Kind::Index));
    assert_eq!(tree(|root| _ = first_operator(root).set(20, Value::I32s(vec![3]))), Ok(()));
}

#[test]
fn operator_codes_that_are_none() {
    let with = |old: u8, new| tree(|root| _ = root.tables(6)[0].set(4, Value::U8(old)).set(10, Value::I32(new)));
    assert_eq!(with(3, 0), Ok(()), "as written before 2020-07");
    assert_eq!(with(127, 127), Err(Kind::OperatorCode(127)));
    assert_eq!(with(127, 210), Err(Kind::OperatorCode(210)));
    assert_eq!(with(0xff, -1), Err(Kind::OperatorCode(-1)));
    assert_eq!(with(32, 32), Err(Kind::CustomOperator));
    assert_eq!(with(0, 3), Err(Kind::UpstreamOnly), "ADD to a reader from before 2020-07");
    assert_eq!(with(4, 150), Err(Kind::UpstreamOnly), "DEPTHWISE_CONV_2D to such a reader, GELU to others");
}

#[test]
fn numbers_that_reach_beyond_their_table() {
    // A byte at the end of its table where 4 bytes are read: found by running TFLM of 2020, which reads the version.
    for slot in [8, 10] {
        assert_eq!(tree(|root| _ = root.tables(6)[0].set(slot, Value::U8(3))), Err(Kind::FieldOutsideTable));
    }
    for slot in [4, 6, 8, 10] {
        assert_eq!(tree(|root| _ = main_subgraph(root).set(slot, Value::U8(4))), Err(Kind::FieldOutsideTable));
    }
    for slot in [4, 8, 10, 12, 16, 24] {
        assert_eq!(tree(|root| _ = first_tensor(root).set(slot, Value::U8(4))), Err(Kind::FieldOutsideTable));
    }
    for slot in [4, 6, 8, 12, 14, 20] {
        assert_eq!(tree(|root| _ = first_operator(root).set(slot, Value::U8(4))), Err(Kind::FieldOutsideTable));
    }
    for slot in [6, 8, 12, 14] {
        assert_eq!(net(|net| net.operators[0].option(slot, Value::U8(1))), Err(Kind::FieldOutsideTable));
    }
}

#[test]
fn options_of_another_kind() {
    assert_eq!(net(|net| net.operators[0].options = None), Err(Kind::Options));
    assert_eq!(net(|net| net.operators[0].options.as_mut().expect("options").0 = 2), Err(Kind::Options));
    assert_eq!(net(|net| net.operators[0].options.as_mut().expect("options").0 = 22), Err(Kind::Options));
    assert_eq!(net(|net| net.operators[0].options.as_mut().expect("options").0 = 0), Err(Kind::Options));
    assert_eq!(tree(|root| first_operator(root).remove(12)), Err(Kind::Options));
    assert_eq!(tree(|root| _ = first_operator(root).set(14, Value::Bytes(vec![1]))), Err(Kind::Options), "custom");
    assert_eq!(tree(|root| _ = first_operator(root).set(26, Value::U8(1))), Err(Kind::Options), "StableHLO's");
    // A list in options that no shape depends on: TFLM reads it all the same.
    let mut reshape = single(RESHAPE, vec![live(&[4]), live(&[2, 2])]);
    reshape.operators[0] = reshape.operators[0].clone().with(17, vec![(4, Value::I32s(vec![2, 2]))]);
    let mut file = reshape.file();
    assert_eq!(judged_file(&file), Ok(()));
    let list = [2_i32, 2, 2].map(i32::to_le_bytes).concat();
    let at = file.windows(12).rposition(|part| part == list).expect("count and elements");
    file[at + 1] = 1;
    assert_eq!(judged_file(&file), Err(Kind::OutOfBounds));
}

#[test]
fn what_is_read_must_have_been_written() {
    let two = |first: (&[i32], i32), second: (&[i32], i32)| {
        let operators = vec![operator(RELU, first.0, &[first.1]), operator(RELU, second.0, &[second.1])];
        judged(&Net::new(vec![live(&[4]), live(&[4]), live(&[4]), weights(&[4])], operators, 0, 2))
    };
    assert_eq!(two((&[0], 1), (&[1], 2)), Ok(()));
    assert_eq!(two((&[1], 2), (&[0], 1)), Err(Kind::ReadBeforeWrite));
    assert_eq!(two((&[2], 1), (&[1], 2)), Err(Kind::ReadBeforeWrite));
    assert_eq!(two((&[0], 1), (&[0], 1)), Err(Kind::Overwrite), "twice");
    assert_eq!(two((&[0], 0), (&[0], 2)), Err(Kind::Overwrite), "the input");
    assert_eq!(two((&[0], 3), (&[0], 2)), Err(Kind::Overwrite), "a constant, which may be in flash");
    assert_eq!(net(|net| net.outputs[0] = 0), Err(Kind::ReadBeforeWrite), "the input as output");
    assert_eq!(net(|net| net.outputs[0] = 1), Err(Kind::Overwrite), "a constant as output");
    assert_eq!(net(|net| net.inputs[0] = 1), Err(Kind::Overwrite), "a constant as input");
    assert_eq!(net(|net| net.tensors[0].variable = true), Err(Kind::Overwrite), "a variable as input");
}

#[test]
fn inputs_that_are_left_out() {
    assert_eq!(net(|net| net.operators[0].inputs[0] = -1), Err(Kind::OmittedInput));
    assert_eq!(net(|net| net.operators[0].inputs[1] = -1), Err(Kind::OmittedInput));
    assert_eq!(net(|net| net.operators[0].inputs[2] = -1), Err(Kind::UpstreamOnly));
    assert_eq!(judged(&single(ADD, vec![live(&[4]), live(&[4])])), Err(Kind::Options));
}

#[test]
fn what_only_upstream_runs_safely_is_for_upstream() {
    let both = |net: &Net| {
        let file = net.file();
        (
            Model::check_for(&file, Engine::Any).map_err(|error| error.kind).err(),
            Model::check_for(&file, Engine::Upstream).err(),
        )
    };
    let mut nets = vec![convolution(); 3];
    nets[0].operators[0].inputs[2] = -1;
    nets[1].operators[0].inputs.truncate(2);
    nets[2].tensors[1].zero_points.truncate(1);
    for net in &nets {
        assert_eq!(both(net), (Some(Kind::UpstreamOnly), None));
    }
}

#[test]
fn every_error_says_what_and_where() {
    let error = Model::check(b"\0\0\0\0TFL2 and so on").expect_err("no model");
    assert_eq!(error.to_string(), "no TFL3 identifier: not a TensorFlow Lite model (at byte 4)");
    let error = Model::check_for(&single(118, vec![live(&[4]), live(&[4])]).file(), Engine::Any).expect_err("IF");
    assert!(error.to_string().contains("only one subgraph is supported (builtin operator 118) (at byte"));
}
