//! The examples that Python and Rust share, through the schema and through the parser.
//!
//! An invalid example is named after the field that it breaks and how: `input.scale--zero.json`. Not here: what the
//! generated source does (crate `model` compiles it), and the Python side (`tests/tasks/test_contract.py`).

use std::fs;
use std::path::{Path, PathBuf};

use contract::{Contract, Feeding, generate};
use serde_json::Value;

/// Broken in a way that only the parser sees: JSON schema compares no fields and knows no float32.
const BEYOND_THE_SCHEMA: [&str; 15] = [
    "decision.leave--above_enter",
    "decision.outputs--not_the_models",
    "input.scale--beyond_float32",
    "input.scale--no_float32",
    "input.shape--batch_of_2",
    "input.shape--too_high",
    "input.shape--too_wide",
    "input.shape--two_channels",
    "input.shape--two_dimensions",
    "input.zero_point--not_int8",
    "operators--twice",
    "operators--unsorted",
    "output.scale--no_float32",
    "output.shape--more_than_an_output_has",
    "output.zero_point--not_uint8",
];

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name without `.json`, and text, of every example in a folder.
fn examples(folder: &str) -> Vec<(String, String)> {
    let folder = crate_folder().join("examples").join(folder);
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            (name, fs::read_to_string(&path).expect("an example"))
        })
        .collect()
}

fn schema() -> jsonschema::Validator {
    let text = fs::read_to_string(crate_folder().join("contract.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("a schema in JSON");
    jsonschema::validator_for(&schema).expect("a sound schema")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What the parser says, without the file's name in front.
fn refusal(text: &str) -> String {
    let said = Contract::parse(text).expect_err("a refusal").to_string();
    said.strip_prefix("contract.json: ").unwrap_or_else(|| panic!("it names no file: {said}")).to_owned()
}

#[test]
fn what_is_valid_passes_the_schema_and_the_parser() {
    let schema = schema();
    let found = examples("valid");
    assert_eq!(found.len(), 6);
    for (name, text) in found {
        assert!(schema.is_valid(&json(&text)), "{name}");
        Contract::parse(&text).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
}

#[test]
fn what_is_written_again_is_the_same_contract_and_passes_the_schema() {
    let schema = schema();
    for (name, text) in examples("valid") {
        let contract = Contract::parse(&text).expect(&name);
        let again = serde_json::to_string(&contract).expect("JSON");
        assert!(schema.is_valid(&json(&again)), "{name}");
        assert_eq!(json(&again), json(&text), "{name}");
        assert_eq!(Contract::parse(&again).expect(&name), contract);
    }
}

#[test]
fn what_is_invalid_is_refused_by_field() {
    let found = examples("invalid");
    assert_eq!(found.len(), 59);
    for (name, text) in found {
        let said = refusal(&text);
        let (field, _) = name.split_once("--").expect("a field");
        for part in field.split('.') {
            assert!(said.contains(part), "{name}: {said}");
        }
    }
}

#[test]
fn what_a_schema_can_see_is_refused_by_the_schema_too() {
    let schema = schema();
    for (name, text) in examples("invalid") {
        assert_eq!(schema.is_valid(&json(&text)), BEYOND_THE_SCHEMA.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn an_invalid_example_is_a_valid_one_but_for_its_field() {
    for (name, text) in examples("invalid") {
        let (field, _) = name.split_once("--").expect("a field");
        let top = field.split('.').next().expect("a part");
        let (_, sound) = examples("valid").into_iter().find(|(name, _)| name == "one_score").expect("an example");
        let (mut broken, sound) = (json(&text), json(&sound));
        let fields = broken.as_object_mut().expect("an object");
        match sound.get(top) {
            Some(value) => fields.insert(top.to_owned(), value.clone()),
            None => fields.remove(top),
        };
        // Two of them need a second field to be as they are, so that the first alone is wrong.
        fields.insert("decision".to_owned(), sound.get("decision").expect("a decision").clone());
        assert_eq!(broken, sound, "{name}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let (_, text) = examples("valid").into_iter().find(|(name, _)| name == "by_table").expect("an example");
    for end in 0..text.trim_end().len() {
        let part = text.get(..end).expect("ASCII");
        assert!(Contract::parse(part).is_err(), "{part}");
    }
    for at in 0..text.len() {
        for other in ["", "-", "9", "0", ",", "\"", "}", "e", "null"] {
            let mut changed = text.clone();
            changed.replace_range(at..=at, other);
            let _ = Contract::parse(&changed).map(|contract| generate(&contract));
        }
    }
}

#[test]
fn something_behind_the_contract_is_refused() {
    let (_, text) = examples("valid").into_iter().next().expect("an example");
    assert!(refusal(&format!("{text}{text}")).contains("trailing characters"));
}

#[test]
fn the_generated_source_says_what_the_contract_says() {
    for (name, text) in examples("valid") {
        let contract = Contract::parse(&text).expect(&name);
        let source = generate(&contract);
        for operator in &contract.operators {
            assert!(source.contains(&format!("tflm::ops::{operator}")), "{name}");
        }
        assert!(source.contains(&format!("ARENA_BYTES: usize = {};", contract.arena_bytes)), "{name}");
        assert!(source.contains(&contract.model.sha256), "{name}");
        assert!(source.contains(&format!("f32::from_bits({:#x})", (contract.input.scale as f32).to_bits())), "{name}");
        assert_eq!(
            source.contains("DECISION: Option<detector::Decision> = None"),
            contract.decision.is_none(),
            "{name}"
        );
        let table = matches!(contract.feeding, Feeding::Table { .. });
        assert_eq!(source.contains("Feeding::Table(&["), table, "{name}");
    }
}

#[test]
fn a_contract_that_was_never_checked_becomes_source_that_does_not_compile() {
    let (_, text) = examples("valid").into_iter().next().expect("an example");
    let mut contract = Contract::parse(&text).expect("valid");
    contract.input.shape.pop();
    assert!(generate(&contract).starts_with("compile_error!("));
}

/// A folder of this test's own, without what an earlier run left in it.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder); // most often there is none
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn a_model_that_is_not_the_contracts_is_refused_with_its_digest() {
    let folder = scratch("another_model");
    let (_, text) = examples("valid").into_iter().next().expect("an example");
    fs::write(folder.join("contract.json"), text).expect("written");
    fs::write(folder.join("model.tflite"), b"abc").expect("written");
    let said = Contract::read(&folder).expect_err("another model").to_string();
    // SHA-256 of "abc": FIPS 180-2, appendix B.1
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(said.contains("another model than the contract's: 3 bytes"), "{said}");
    assert!(said.contains(digest), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let folder = scratch("missing");
    assert!(Contract::read(&folder).expect_err("no contract").to_string().contains("missing/contract.json"));
    let (_, text) = examples("valid").into_iter().next().expect("an example");
    fs::write(folder.join("contract.json"), text).expect("written");
    assert!(Contract::read(&folder).expect_err("no model").to_string().contains("missing/model.tflite"));
}

#[test]
fn the_example_models_contract_is_that_models() {
    let (contract, model) = Contract::read(&crate_folder().join("../model/example")).expect("the example");
    assert_eq!(contract.model.bytes as usize, model.len());
    assert!(schema().is_valid(&serde_json::to_value(&contract).expect("JSON")));
}
