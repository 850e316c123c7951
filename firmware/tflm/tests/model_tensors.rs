//! What is wrong with tensors, their data and quantization: each gets its own name.
#![allow(clippy::indexing_slicing, reason = "of files and nets that are written here")]

mod model_writer;

use model_writer::changes::{first_tensor, judged, judged_file, net, tree};
use model_writer::{
    COMPLEX64, FLOAT32, INT4, INT8, INT16, INT32, INT64, Net, Table, Tensor, Value, live, numbers, operator, single,
};
use tflm::model::{Element, ModelErrorKind as Kind};

const ADD: i32 = 0;
const RELU: i32 = 19;
const BUFFERS: usize = 12;

#[test]
fn shapes_that_no_tensor_has() {
    assert_eq!(net(|net| net.tensors[0].shape = vec![1; 7]), Err(Kind::Rank));
    for dim in [0, -1, i32::MIN] {
        assert_eq!(net(|net| net.tensors[0].shape[1] = dim), Err(Kind::Dimension));
    }
    assert_eq!(net(|net| net.tensors[0].shape = vec![1, 1 << 15, 1 << 15, 2]), Err(Kind::TensorSize));
    assert_eq!(net(|net| net.tensors[0].shape = vec![i32::MAX; 6]), Err(Kind::TensorSize));
    let wide = |element| single(RELU, vec![live(&[1 << 30]).of(element), live(&[1 << 30]).of(element)]).file();
    assert_eq!(judged_file(&wide(9)), Ok(()));
    assert_eq!(judged_file(&wide(INT16)), Err(Kind::TensorSize));
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
        judged_file(&tree.file())
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
    assert_eq!(net(|net| net.tensors[2].dimension = 3), Ok(()), "of a bias nobody reads it");
    assert_eq!(net(|net| net.tensors[2].dimension = -1), Err(Kind::QuantizedDimension));
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
fn a_variable_holds_a_value_from_the_start() {
    let variable = Tensor { variable: true, ..live(&[4]) };
    let net =
        Net::new(vec![live(&[4]), variable, live(&[4])], vec![operator(ADD, &[0, 1], &[2]).with(11, vec![])], 0, 2);
    assert_eq!(judged(&net), Ok(()));
}

#[test]
fn elements_have_their_numbers_in_the_schema() {
    for code in i8::MIN..=i8::MAX {
        assert_eq!(Element::from_code(code).code(), code);
    }
    assert_eq!((Element::from_code(INT32 as i8), Element::I32.size()), (Element::I32, 4));
    assert_eq!(numbers(&[1], &[1]).element, INT32);
}
