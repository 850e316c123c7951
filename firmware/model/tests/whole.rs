//! The generated network from camera bytes to a verdict, with TFLM behind it. Written for the example model.
//!
//! Not here: what is generated from other contracts (`contract/tests`), boards.
#![cfg(not(miri))] // Miri runs no C++

use detector::{Detector, fill_input};
use model::{ARENA_BYTES, DECISION, FEEDING, GEOMETRY, MODEL_SHA256, Person};
use sha2::{Digest, Sha256};
use tflm::{Elements, Interpreter, Network, Storage};

/// Gray levels of formula frame `number` (tests/firmware/example_contract.py), each pixel as 5 x 5 of the camera's.
fn camera_frame(number: u32) -> Vec<u8> {
    let level = |x: u32, y: u32| match number {
        n if n.is_multiple_of(6) => [0, 255, 128, 127].get((n / 6 % 4) as usize).copied().unwrap_or_default(),
        n if !n.is_multiple_of(2) => (x * (n + 1) + y * (2 * n + 3) + (x * y) / (n + 1)) % 256,
        n => {
            let noise = (x + 32 * y + 768 * n + 1).wrapping_mul(2_654_435_761);
            ((noise ^ (noise >> 15)) >> 9) % 256
        }
    };
    (0..120).flat_map(|y| (0..160).map(move |x| level(x / 5, y / 5).to_le_bytes()[0])).collect()
}

fn expected() -> Vec<i8> {
    let value: serde_json::Value = serde_json::from_str(include_str!("../example/expected.json")).expect("JSON");
    let outputs = value.get("outputs").and_then(|outputs| outputs.as_array()).expect("a list");
    outputs.iter().map(|output| i8::try_from(output.as_i64().expect("a number")).expect("int8")).collect()
}

#[test]
fn a_camera_frame_becomes_tflms_output_and_a_verdict() {
    tflm::arena!(static ARENA: ARENA_BYTES bytes in ".bss.tensor_arena");
    static STORAGE: Storage<Person> = Storage::new();
    let mut interpreter = Interpreter::<Person>::new(&STORAGE, ARENA.claim().expect("the first claim")).expect("ready");
    let decision = DECISION.expect("the example is a detector");
    let mut detector = Detector::new(decision);
    let mut seen = Vec::new();
    for (number, output) in (0..).zip(expected()) {
        let frame = camera_frame(number);
        assert!(detector.is_new(&frame));
        fill_input(&frame, &GEOMETRY, &FEEDING, interpreter.input().as_bytes_mut()).expect("the camera's size");
        assert_eq!(interpreter.invoke(), Ok(&[output]), "frame {number}");
        let answer = detector.see(100 * u64::from(number), &[output.cast_unsigned()]);
        assert_eq!(answer.score, i32::from(output));
        seen.push(answer.person);
    }
    // Every second frame is noise or flat and scores high, the others are ramps and low: never two in a row.
    assert!(seen.iter().all(|person| !person), "{seen:?}");
    let high = expected().into_iter().max().expect("frames").cast_unsigned();
    assert!(!detector.see(3000, &[high]).person);
    assert!(detector.see(3100, &[high]).person);
}

#[test]
fn the_digest_is_that_of_the_model_that_is_compiled_in() {
    let digest: String = Sha256::digest(Person::MODEL.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, MODEL_SHA256);
    assert_eq!(Person::MODEL.bytes().as_ptr().addr() % 16, 0);
}
