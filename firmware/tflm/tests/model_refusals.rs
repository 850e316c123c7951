//! What is wrong with a file as such, its tensors and the order of its operators: each gets its own name. Shapes and
//! options of operators are in `model_operators.rs`.
#![allow(clippy::indexing_slicing, reason = "of files and nets that are written here")]

mod model_writer;

use model_writer::{
    COMPLEX64, FLOAT32, INT4, INT8, INT16, INT32, INT64, Net, Table, Tensor, Value, convolution, live, numbers,
    operator, single, weights,
};
use tflm::model::{Element, Engine, Model, ModelErrorKind as Kind};

const ADD: i32 = 0;
const RELU: i32 = 19;
const RESHAPE: i32 = 22;
const SUBGRAPHS: usize = 8;
const BUFFERS: usize = 12;

fn judged(file: &[u8]) -> Result<(), Kind> {
    match (Model::check_for(file, Engine::Any), Model::check_for(file, Engine::Upstream)) {
        (Ok(_), Err(error)) => panic!("upstream's engine should allow more, not less: {error}"),
        (Ok(_), Ok(_)) => Ok(()),
        (Err(error), _) => Err(error.kind),
    }
}

/// What becomes of the sound net when it is changed.
fn net(change: impl FnOnce(&mut Net)) -> Result<(), Kind> {
    let mut net = convolution();
    assert_eq!(judged(&net.file()), Ok(()), "before the change");
    change(&mut net);
    judged(&net.file())
}

/// As `net`, for what a net cannot say.
fn tree(change: impl FnOnce(&mut Table)) -> Result<(), Kind> {
    let mut tree = convolution().tree();
    change(&mut tree);
    judged(&tree.file())
}

fn main_subgraph(tree: &mut Table) -> &mut Table {
    &mut tree.tables(SUBGRAPHS)[0]
}

fn first_tensor(tree: &mut Table) -> &mut Table {
    &mut main_subgraph(tree).tables(4)[0]
}

fn first_operator(tree: &mut Table) -> &mut Table {
    &mut main_subgraph(tree).tables(10)[0]
}

/// As `net`, with bytes changed afterwards.
fn file(change: impl FnOnce(&mut Vec<u8>)) -> Result<(), Kind> {
    let mut file = convolution().file();
    change(&mut file);
    judged(&file)
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
    assert_eq!(judged(b""), Err(Kind::TooShort));
    assert_eq!(judged(b"\x1c\0\0\0TFL"), Err(Kind::TooShort));
    assert_eq!(judged(b"\x1c\0\0\0TFL3"), Err(Kind::OutOfBounds));
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
        assert_eq!(judged(&single(code, vec![live(&[4]), live(&[4])]).file()), Err(Kind::ControlFlow(code)));
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
fn shapes_that_no_tensor_has() {
    assert_eq!(net(|net| net.tensors[0].shape = vec![1; 7]), Err(Kind::Rank));
    for dim in [0, -1, i32::MIN] {
        assert_eq!(net(|net| net.tensors[0].shape[1] = dim), Err(Kind::Dimension));
    }
    assert_eq!(net(|net| net.tensors[0].shape = vec![1, 1 << 15, 1 << 15, 2]), Err(Kind::TensorSize));
    assert_eq!(net(|net| net.tensors[0].shape = vec![i32::MAX; 6]), Err(Kind::TensorSize));
    let wide = |element| single(RELU, vec![live(&[1 << 30]).of(element), live(&[1 << 30]).of(element)]).file();
    assert_eq!(judged(&wide(9)), Ok(()));
    assert_eq!(judged(&wide(INT16)), Err(Kind::TensorSize));
    for element in [5, 13, 14, 19, 127, 200] {
        assert_eq!(net(|net| net.tensors[0].element = element), Err(Kind::ElementType(element as i8)));
    }
}

#[test]
fn data_that_do_not_suffice() {
    assert_eq!(net(|net| net.tensors[1].data = Some(vec![1; 5])), Err(Kind::ConstantTooShort));
    assert_eq!(net(|net| net.tensors[1].data = Some(vec![1; 7])), Ok(()));
    assert_eq!(net(|net| net.tensors[1].data = Some(vec![])), Err(Kind::ReadBeforeWrite), "no data: nobody writes it");
    assert_eq!(net(|net| net.tensors[2].data = Some(vec![1; 11])), Err(Kind::ConstantTooShort));
    let packed =
        |bytes| net(|net| net.tensors[1] = Tensor { data: Some(vec![0; bytes]), ..net.tensors[1].clone() }.of(INT4));
    assert_eq!((packed(2), packed(3)), (Err(Kind::ConstantTooShort), Ok(())));
    assert_eq!(
        net(|net| (net.tensors[1].data, net.tensors[1].variable) = (Some(vec![1; 6]), true)),
        Err(Kind::ConstantVariable)
    );
}

#[test]
fn data_at_odd_places() {
    let at = |place: usize, element: u8| {
        let constant = Tensor { data: Some(vec![]), scales: vec![], zero_points: vec![], ..live(&[1]) }.of(element);
        let mut tree = single(ADD, vec![live(&[1]), constant, live(&[1])]).tree();
        tree.tables(BUFFERS)[1].set(4, Value::BytesAt(place, vec![0; 8]));
        judged(&tree.file())
    };
    // Where the data are well placed, it is the missing options that are refused.
    for (element, misplaced, well_placed) in
        [(INT64, 4, 8), (COMPLEX64, 4, 8), (FLOAT32, 2, 4), (INT16, 1, 4), (INT8, 1, 4)]
    {
        assert_eq!(at(misplaced, element), Err(Kind::Misaligned), "{element}");
        assert_eq!(at(well_placed, element), Err(Kind::Options), "{element}");
    }
}

#[test]
fn data_outside_the_flatbuffer() {
    for slot in [6, 8] {
        assert_eq!(tree(|root| _ = root.tables(BUFFERS)[1].set(slot, Value::U64(1))), Ok(()));
        assert_eq!(tree(|root| _ = root.tables(BUFFERS)[1].set(slot, Value::U64(1 << 40))), Err(Kind::ExternalBuffer));
    }
    assert_eq!(tree(|root| _ = first_tensor(root).set(24, Value::I32(1))), Err(Kind::ExternalBuffer));
    assert_eq!(tree(|root| _ = first_tensor(root).set(16, Value::Table(Table::default()))), Err(Kind::Sparse));
}

#[test]
fn quantization_that_makes_no_sense() {
    assert_eq!(net(|net| net.tensors[1].scales = vec![0.1; 2]), Err(Kind::QuantizationLength));
    assert_eq!(net(|net| net.tensors[1].zero_points = vec![0; 4]), Err(Kind::QuantizationLength));
    assert_eq!(net(|net| net.tensors[0].zero_points = vec![]), Err(Kind::QuantizationLength));
    assert_eq!(net(|net| net.tensors[0].scales = vec![]), Err(Kind::QuantizationLength));
    let several = |net: &mut Net| {
        (net.tensors[3].scales, net.tensors[3].zero_points, net.tensors[3].dimension) = (vec![0.1; 3], vec![0; 3], 3)
    };
    assert_eq!(net(several), Err(Kind::QuantizationLength), "the output has one scale");
    for dimension in [-1, 4, i32::MIN, i32::MAX] {
        assert_eq!(net(|net| net.tensors[1].dimension = dimension), Err(Kind::QuantizedDimension));
        assert_eq!(net(|net| net.tensors[0].dimension = dimension), Err(Kind::QuantizedDimension));
    }
    for scale in [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN, -f32::NAN] {
        assert_eq!(net(|net| net.tensors[1].scales[2] = scale), Err(Kind::Scale), "{scale}");
        assert_eq!(net(|net| net.tensors[0].scales[0] = scale), Err(Kind::Scale), "{scale}");
    }
    assert_eq!(net(|net| net.tensors[1].scales[2] = f32::from_bits(1)), Ok(()), "tiny, but a scale");
    for zero_point in [-129, 128, i64::MIN, 1 << 32] {
        assert_eq!(net(|net| net.tensors[0].zero_points[0] = zero_point), Err(Kind::ZeroPoint));
        assert_eq!(net(|net| net.tensors[1].zero_points[1] = zero_point), Err(Kind::ZeroPoint));
    }
    assert_eq!(net(|net| net.tensors[2].zero_points[1] = 1 << 32), Err(Kind::ZeroPoint), "int32");
    let blockwise = |root: &mut Table| {
        let quantization = Table(vec![(12, Value::U8(1))]);
        first_tensor(root).set(12, Value::Table(quantization));
    };
    assert_eq!(tree(blockwise), Err(Kind::QuantizationDetails));
}

#[test]
fn metadata_that_would_be_trusted() {
    let with = |name, buffer| {
        tree(|root| {
            let entry = Table(vec![(4, Value::Text(name)), (6, Value::I32(buffer))]);
            root.set(16, Value::Tables(vec![entry]));
        })
    };
    assert_eq!(with("OfflineMemoryAllocation", 1), Err(Kind::Metadata));
    assert_eq!(with("COMPRESSION_METADATA", 1), Err(Kind::Metadata));
    assert_eq!(with("OfflineMemoryAllocatioN", 1), Ok(()));
    assert_eq!(with("OfflineMemoryAllocation2", 1), Ok(()));
    assert_eq!(with("min_runtime_version", 3), Err(Kind::Index));
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
    assert_eq!(judged(&file), Ok(()));
    let list = [2_i32, 2, 2].map(i32::to_le_bytes).concat();
    let at = file.windows(12).rposition(|part| part == list).expect("count and elements");
    file[at + 1] = 1;
    assert_eq!(judged(&file), Err(Kind::OutOfBounds));
}

#[test]
fn what_is_read_must_have_been_written() {
    let two = |first: (&[i32], i32), second: (&[i32], i32)| {
        let operators = vec![operator(RELU, first.0, &[first.1]), operator(RELU, second.0, &[second.1])];
        judged(&Net::new(vec![live(&[4]), live(&[4]), live(&[4]), weights(&[4])], operators, 0, 2).file())
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
fn a_variable_holds_a_value_from_the_start() {
    let variable = Tensor { variable: true, ..live(&[4]) };
    let net =
        Net::new(vec![live(&[4]), variable, live(&[4])], vec![operator(ADD, &[0, 1], &[2]).with(11, vec![])], 0, 2);
    assert_eq!(judged(&net.file()), Ok(()));
}

#[test]
fn inputs_that_are_left_out() {
    assert_eq!(net(|net| net.operators[0].inputs[0] = -1), Err(Kind::OmittedInput));
    assert_eq!(net(|net| net.operators[0].inputs[1] = -1), Err(Kind::OmittedInput));
    assert_eq!(net(|net| net.operators[0].inputs[2] = -1), Err(Kind::UpstreamOnly));
    assert_eq!(judged(&single(ADD, vec![live(&[4]), live(&[4])]).file()), Err(Kind::Options));
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
fn elements_have_their_numbers_in_the_schema() {
    for code in i8::MIN..=i8::MAX {
        assert_eq!(Element::from_code(code).code(), code);
    }
    assert_eq!((Element::from_code(INT32 as i8), Element::I32.size()), (Element::I32, 4));
    assert_eq!(numbers(&[1], &[1]).element, INT32);
}

#[test]
fn every_error_says_what_and_where() {
    let error = Model::check(b"\0\0\0\0TFL2 and so on").expect_err("no model");
    assert_eq!(error.to_string(), "no TFL3 identifier: not a TensorFlow Lite model (at byte 4)");
    let error = Model::check_for(&single(118, vec![live(&[4]), live(&[4])]).file(), Engine::Any).expect_err("IF");
    assert!(error.to_string().contains("only one subgraph is supported (builtin operator 118) (at byte"));
}
