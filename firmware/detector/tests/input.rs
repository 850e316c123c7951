//! What goes into the network, against the vectors that training is held to and against a filter written another way.
//!
//! Not here: cameras, and the network itself.

use detector::{Feeding, Geometry, MAX_FRAME_BYTES, WrongSize, fill_input};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

const VECTORS: &str = include_str!("../../../tests/golden/resize_vectors.json");

/// No file of failures: a test leaves nothing behind.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

fn gray(camera_width: usize, camera_height: usize, width: usize, height: usize) -> Geometry {
    Geometry { camera_width, camera_height, width, height, channels: 1 }
}

fn filled(frame: &[u8], geometry: &Geometry, feeding: &Feeding) -> Vec<u8> {
    let mut input = vec![0x55; geometry.input_bytes()];
    fill_input(frame, geometry, feeding, &mut input).expect("right sizes");
    input
}

/// The definition in `tasks/resize.py`, pixel by pixel.
fn naive(frame: &[u8], geometry: &Geometry) -> Vec<u8> {
    let Geometry { camera_width, camera_height, width, height, .. } = *geometry;
    let shared = |target: usize, source: usize, targets: usize, sources: usize| {
        let end = ((target + 1) * sources).min((source + 1) * targets);
        end.saturating_sub((target * sources).max(source * targets)) as u64
    };
    let all = (camera_width * camera_height) as u64;
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let mut sum = 0;
            for (row, levels) in frame.chunks_exact(camera_width).enumerate() {
                let down = shared(y, row, height, camera_height);
                for (column, level) in levels.iter().enumerate() {
                    sum += down * shared(x, column, width, camera_width) * u64::from(*level);
                }
            }
            pixels.push(u8::try_from((2 * sum + all) / (2 * all)).expect("a mean of bytes"));
        }
    }
    pixels
}

fn cases(name: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    vectors.get(name).and_then(Value::as_array).expect("cases").clone()
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case.get(name).and_then(Value::as_str).expect("a text")
}

fn geometry_of(case: &Value) -> Geometry {
    let number =
        |name: &str| usize::try_from(case.get(name).and_then(Value::as_u64).expect("a number")).expect("small");
    gray(number("source_width"), number("source_height"), number("target_width"), number("target_height"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| u8::try_from(char::from(*byte).to_digit(16).expect("a digit")).expect("small");
    hex.as_bytes().chunks_exact(2).map(|pair| pair.iter().fold(0, |value, byte| value << 4 | digit(byte))).collect()
}

#[test]
fn every_golden_vector_is_reproduced() {
    let found = cases("cases");
    assert!(found.len() >= 13);
    for case in found {
        let frame = bytes(text(&case, "source"));
        let result = filled(&frame, &geometry_of(&case), &Feeding::Same);
        assert_eq!(hex(&result), text(&case, "result"), "{}", text(&case, "name"));
    }
}

#[test]
#[cfg_attr(miri, ignore = "whole frames take Miri minutes")]
fn whole_frames_are_resized_as_in_training() {
    let found = cases("formula_cases");
    assert!(found.len() >= 9);
    let frame: Vec<u8> = (0..120_u32)
        .flat_map(|y| (0..160_u32).map(move |x| ((x * 7 + y * 13 + (x * y) / 3) % 256).to_le_bytes()[0]))
        .collect();
    for case in found {
        let result = filled(&frame, &geometry_of(&case), &Feeding::Same);
        assert_eq!(hex(result.get(..16).expect("16 bytes")), text(&case, "result_first_16"));
        assert_eq!(hex(&Sha256::digest(&result)), text(&case, "result_sha256"), "{}", text(&case, "name"));
    }
}

prop_compose! {
    /// A frame of noise, or one that is black but for noise, or white: sums at both ends.
    fn frame_and_geometry()(
        camera_width in 1_usize..24, camera_height in 1_usize..20, width in 1_usize..24, height in 1_usize..20,
        channels in 1_usize..4,
    )(
        frame in prop_oneof![
            prop::collection::vec(any::<u8>(), camera_width * camera_height),
            prop::collection::vec(prop_oneof![Just(0_u8), Just(255)], camera_width * camera_height),
            Just(vec![255; camera_width * camera_height]),
        ],
        geometry in Just(Geometry { camera_width, camera_height, width, height, channels }),
    ) -> (Vec<u8>, Geometry) { (frame, geometry) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and Miri takes minutes for it")]
    fn any_size_is_resized_exactly((frame, geometry) in frame_and_geometry()) {
        let result = filled(&frame, &geometry, &Feeding::Same);
        let expected: Vec<u8> =
            naive(&frame, &geometry).iter().flat_map(|level| vec![*level; geometry.channels]).collect();
        prop_assert_eq!(result, expected);
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and Miri takes minutes for it")]
    fn feeding_comes_after_resizing((frame, geometry) in frame_and_geometry()) {
        const TABLE: [u8; 256] = {
            let mut table = [0; 256];
            let mut left: &mut [u8] = &mut table;
            let mut level = 0_u8;
            while let Some((byte, rest)) = left.split_first_mut() {
                *byte = level.wrapping_mul(167).wrapping_add(13);
                level = level.wrapping_add(1);
                left = rest;
            }
            table
        };
        let plain = filled(&frame, &geometry, &Feeding::Same);
        let flipped: Vec<u8> = plain.iter().map(|level| level ^ 0x80).collect();
        let mapped: Vec<u8> = plain.iter().map(|level| level.wrapping_mul(167).wrapping_add(13)).collect();
        prop_assert_eq!(filled(&frame, &geometry, &Feeding::Flip), flipped);
        prop_assert_eq!(filled(&frame, &geometry, &Feeding::Table(&TABLE)), mapped);
    }

    #[test]
    #[cfg_attr(miri, ignore = "safe code, and Miri takes minutes for it")]
    fn a_wrong_size_leaves_the_input_as_it_was(
        (frame, geometry) in frame_and_geometry(), cut in 1_usize..5, longer in any::<bool>(), of_frame in any::<bool>()
    ) {
        let other = |length: usize| if longer { length + cut } else { length.saturating_sub(cut) };
        let frame_bytes = if of_frame { other(frame.len()) } else { frame.len() };
        let input_bytes = if of_frame { geometry.input_bytes() } else { other(geometry.input_bytes()) };
        let mut input = vec![0x55; input_bytes];
        let result = fill_input(&vec![7; frame_bytes], &geometry, &Feeding::Same, &mut input);
        prop_assert_eq!(result, Err(WrongSize { frame: frame_bytes, input: input_bytes, geometry }));
        prop_assert!(input.iter().all(|byte| *byte == 0x55));
    }
}

#[test]
fn at_the_cameras_own_size_pixels_are_copied() {
    let geometry = Geometry { camera_width: 3, camera_height: 2, width: 3, height: 2, channels: 2 };
    let result = filled(&[0, 1, 127, 128, 254, 255], &geometry, &Feeding::Flip);
    assert_eq!(result, [128, 128, 129, 129, 255, 255, 0, 0, 126, 126, 127, 127]);
}

#[test]
fn gray_levels_become_signed_bytes_in_order() {
    let levels: Vec<i8> = (0..=255_u8).map(|level| Feeding::Flip.byte(level).cast_signed()).collect();
    assert_eq!(levels, (-128..=127).collect::<Vec<i8>>());
}

#[test]
fn an_input_wider_than_the_resizers_rows_is_refused() {
    let wide = gray(4, 1, 321, 1);
    let mut input = [0x55; 321];
    assert!(fill_input(&[1, 2, 3, 4], &wide, &Feeding::Same, &mut input).is_err());
    assert_eq!(input, [0x55; 321]);
    let widest = gray(4, 1, 320, 1);
    let enlarged = filled(&[1, 2, 3, 4], &widest, &Feeding::Same);
    assert_eq!(enlarged, [1, 2, 3, 4].into_iter().flat_map(|level| [level; 80]).collect::<Vec<u8>>());
}

#[test]
fn nothing_is_no_frame_and_no_input() {
    for geometry in [gray(0, 0, 0, 0), gray(0, 4, 1, 1), gray(4, 0, 1, 1)] {
        assert!(fill_input(&[], &geometry, &Feeding::Same, &mut vec![0; geometry.input_bytes()]).is_err());
    }
    for geometry in [gray(1, 1, 0, 1), gray(1, 1, 1, 0), Geometry { channels: 0, ..gray(1, 1, 1, 1) }] {
        assert!(fill_input(&[9], &geometry, &Feeding::Same, &mut []).is_err());
    }
}

#[test]
fn sizes_that_no_memory_holds_are_refused_without_overflow() {
    let geometry = Geometry { camera_width: usize::MAX, camera_height: 2, width: usize::MAX, height: 3, channels: 3 };
    assert!(fill_input(&[1; 4], &geometry, &Feeding::Same, &mut [0; 4]).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "16 million pixels")]
fn the_largest_frame_stays_white_and_a_larger_one_is_refused() {
    let white = vec![255; MAX_FRAME_BYTES + 4096];
    // Without a common divisor the sums are the largest: 4096 x 4095 levels of 255.
    let (width, height) = (4096, 4095);
    let result = filled(white.get(..width * height).expect("that much"), &gray(width, height, 319, 2), &Feeding::Same);
    assert!(result.iter().all(|level| *level == 255));
    let result = filled(white.get(..MAX_FRAME_BYTES).expect("that much"), &gray(4096, 4096, 5, 3), &Feeding::Same);
    assert_eq!(result, [255; 15]);
    let too_large = gray(4096, 4097, 5, 3);
    assert!(fill_input(&white, &too_large, &Feeding::Same, &mut [0; 15]).is_err());
}

#[test]
fn a_wrong_size_says_what_was_given_and_what_was_wanted() {
    let geometry = Geometry { camera_width: 160, camera_height: 120, width: 96, height: 72, channels: 1 };
    let error = fill_input(&[0; 5], &geometry, &Feeding::Flip, &mut [0; 7]).expect_err("wrong sizes");
    assert_eq!(
        error.to_string(),
        "a frame of 5 B for an input of 7 B, wanted 160x120 and 96x72x1 (at most 320 wide, of at most 16777216 B)"
    );
}
