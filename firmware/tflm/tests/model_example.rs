//! The checker on real files: the committed example and, where they are, the shared fixtures. What single damages lead
//! to is in the other `model_` files.

use std::path::Path;

use tflm::model::{Element, Engine, Model, ModelErrorKind as Kind, TensorFacts};

const EXAMPLE: &[u8] = include_bytes!("../../model/example/model.tflite");
const INPUT: TensorFacts = TensorFacts::new(Element::I8, &[1, 24, 32, 1], 1.0, -128);
const OUTPUT: TensorFacts = TensorFacts::new(Element::I8, &[1, 1, 1, 1], 1.0 / 256.0, -128);
/// `BuiltinOperator` in schema.fbs.
const ADD: i32 = 0;
const AVERAGE_POOL_2D: i32 = 1;
const CONV_2D: i32 = 3;
const DEPTHWISE_CONV_2D: i32 = 4;
const LOGISTIC: i32 = 14;

/// Checked by the compiler.
const MODEL: Model<'static> = Model::require(EXAMPLE, &INPUT, &OUTPUT);

#[test]
fn the_compiler_checks_a_model_that_is_part_of_the_program() {
    const { assert!(MODEL.operators() == 7 && MODEL.structure_only_operators() == 0) };
    assert_eq!(MODEL.bytes(), EXAMPLE);
}

#[test]
fn facts_are_those_of_the_file() {
    let model = Model::check_for(EXAMPLE, Engine::Any).expect("a sound model");
    assert!(model.input().same(&INPUT) && model.output().same(&OUTPUT));
    assert_eq!((model.input().shape(), model.input().bytes()), (&[1, 24, 32, 1][..], 768));
    assert_eq!((model.output().scale, model.output().zero_point), (1.0 / 256.0, -128));
}

#[test]
fn facts_differ_in_every_part() {
    let others = [
        TensorFacts::new(Element::U8, &[1, 24, 32, 1], 1.0, -128),
        TensorFacts::new(Element::I8, &[1, 24, 32], 1.0, -128),
        TensorFacts::new(Element::I8, &[1, 24, 31, 1], 1.0, -128),
        TensorFacts::new(Element::I8, &[1, 24, 32, 1], 1.000_000_1, -128),
        TensorFacts::new(Element::I8, &[1, 24, 32, 1], 1.0, -127),
        TensorFacts::new(Element::I8, &[1, 24, 32, 1, 1, 1, 1], 1.0, -128),
    ];
    assert!(others.iter().all(|other| !INPUT.same(other)));
    assert!(!TensorFacts::new(Element::F32, &[], f32::NAN, 0).same(&INPUT));
}

#[test]
fn sizes_of_impossible_facts_are_no_panic() {
    assert_eq!(TensorFacts::new(Element::I64, &[i32::MAX; 6], 0.0, 0).bytes(), usize::MAX);
    assert_eq!(TensorFacts::new(Element::I8, &[4, -1], 0.0, 0).bytes(), 0);
    assert_eq!(TensorFacts::new(Element::Other(5), &[4], 0.0, 0).bytes(), 0);
    assert_eq!(TensorFacts::new(Element::I8, &[2; 9], 0.0, 0).shape(), [2; 6]);
}

#[test]
#[should_panic(expected = "output differs")]
fn a_model_with_another_output_is_refused_by_the_compiler() {
    _ = Model::require(EXAMPLE, &INPUT, &INPUT);
}

#[test]
#[should_panic(expected = "is it truncated?")]
fn an_empty_model_is_refused_by_the_compiler() {
    _ = Model::require(&[], &INPUT, &OUTPUT);
}

#[test]
fn operators_without_a_kernel_are_named() {
    assert_eq!(MODEL.uses_only(&[LOGISTIC, ADD, CONV_2D, AVERAGE_POOL_2D, DEPTHWISE_CONV_2D, 99]), Ok(()));
    for missing in [ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, LOGISTIC] {
        let others: Vec<i32> = (0..210).filter(|code| *code != missing).collect();
        let error = MODEL.uses_only(&others).expect_err("an operator is missing");
        assert_eq!(error.kind, Kind::OperatorNotAllowed(missing));
        assert!(error.at > 0 && error.to_string().contains(&format!("builtin operator {missing}")));
    }
}

#[test]
fn no_beginning_of_a_model_is_a_model() {
    for length in (0..EXAMPLE.len()).step_by(if cfg!(miri) { 101 } else { 1 }) {
        let beginning = EXAMPLE.get(..length).expect("a piece");
        let error = Model::check_for(beginning, Engine::Upstream).expect_err("the rest is missing");
        let expected = if length < 8 { Kind::TooShort } else { Kind::OutOfBounds };
        assert_eq!(error.kind, expected, "the first {length} bytes");
    }
}

#[test]
fn a_model_may_be_followed_by_anything() {
    let longer = [EXAMPLE, &[0xff; 100]].concat();
    assert!(Model::check_for(&longer, Engine::Any).is_ok());
}

#[test]
fn other_files_are_no_models() {
    for bytes in [&b"\x89PNG\r\n\x1a\n and so on"[..], &[0; 64], include_bytes!("model_example.rs")] {
        assert_eq!(Model::check(bytes).expect_err("no model").kind, Kind::NotTflite);
    }
}

#[test]
#[cfg_attr(miri, ignore = "reads files")]
fn shared_fixtures_are_judged_as_their_list_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/tflite");
    if !folder.is_dir() {
        println!("skipped: {} is not on this machine", folder.display());
        return;
    }
    // The checker has nothing against float; whether a model is all INT8 is for the audit to say.
    let judged = |name: &str, engine| {
        let bytes = std::fs::read(folder.join(name)).expect("a fixture");
        Model::check_for(&bytes, engine).map(|model| (model.operators(), model.structure_only_operators()))
    };
    assert_eq!(judged("clean_mobilenetv2_035.tflite", Engine::Any), Ok((67, 0)));
    for (name, operators) in [("clean_hard_swish", 8), ("float_io", 9), ("float_sin", 10)] {
        let name = format!("{name}.tflite");
        assert_eq!(judged(&name, Engine::Upstream), Ok((operators, 0)), "{name}");
        // Its last layer has no bias, for which there is a -1: TFLM of 2020 writes in front of its list of tensors.
        assert_eq!(judged(&name, Engine::Any).expect_err("a bias is left out").kind, Kind::UpstreamOnly, "{name}");
    }
    assert_eq!(judged("dynamic_range.tflite", Engine::Upstream).expect_err("hybrid").kind, Kind::OperandType);
}
