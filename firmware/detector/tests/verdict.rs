//! When a person counts as seen, and how old that answer is, against a model of the rules that keeps every frame.
//!
//! Not here: the network's outputs, and where thresholds come from (`tests/tasks/test_contract.py`).

use detector::{Decision, Detector, Outputs};
use proptest::prelude::*;

const DECISION: Decision = Decision {
    outputs: Outputs::One,
    signed: true,
    enter: 20,
    leave: -10,
    enter_frames: 3,
    leave_frames: 2,
    stale_after_ms: 1000,
};

fn config() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 2 } else { 512 }, failure_persistence: None, ..ProptestConfig::default() }
}

/// Whether a person is seen after each of these scores, 100 ms apart.
fn answers(decision: Decision, scores: &[i8]) -> Vec<bool> {
    let mut detector = Detector::new(decision);
    (0..).step_by(100).zip(scores).map(|(now, score)| detector.see(now, &[score.cast_unsigned()]).person).collect()
}

#[test]
fn a_person_is_seen_after_enough_frames_in_a_row_and_not_before() {
    assert_eq!(answers(DECISION, &[20, 127, 20, 20]), [false, false, true, true]);
    assert_eq!(answers(DECISION, &[20, 20, 19, 20, 20, 20]), [false, false, false, false, false, true]);
}

#[test]
fn a_person_is_gone_after_enough_frames_in_a_row_and_not_before() {
    assert_eq!(answers(DECISION, &[20, 20, 20, -11, -128, -11]), [false, false, true, true, false, false]);
    assert_eq!(answers(DECISION, &[20, 20, 20, -11, -10, -11, -11]), [false, false, true, true, true, true, false]);
}

#[test]
fn between_the_thresholds_nothing_changes() {
    assert_eq!(answers(DECISION, &[-10, 0, 19, 19]), [false; 4]);
    let seen = answers(DECISION, &[20, 20, 20, 19, 0, -10, -10, -9]);
    assert_eq!(seen.get(2..), Some([true; 6].as_slice()));
}

#[test]
fn frames_that_led_to_a_change_do_not_count_for_the_next_one() {
    let quick = Decision { enter_frames: 1, leave_frames: 1, enter: 0, leave: 0, ..DECISION };
    assert_eq!(answers(quick, &[0, -1, 0, -1]), [true, false, true, false]);
}

#[test]
fn no_frames_in_a_row_count_as_one() {
    let none = Decision { enter_frames: 0, leave_frames: 0, ..DECISION };
    assert_eq!(answers(none, &[20, -11]), [true, false]);
}

#[test]
fn the_longest_row_does_not_overflow() {
    let patient = Decision { enter_frames: u16::MAX, ..DECISION };
    let mut detector = Detector::new(patient);
    let frames = if cfg!(miri) { 100 } else { usize::from(u16::MAX) };
    for _ in 1..frames {
        assert!(!detector.see(0, &[127]).person);
    }
    assert_eq!(detector.see(0, &[127]).person, !cfg!(miri));
    assert_eq!(detector.see(0, &[127]).person, !cfg!(miri));
}

#[test]
fn before_the_first_frame_the_answer_is_stale_and_has_no_age() {
    let answer = Detector::new(DECISION).answer(12_345);
    assert_eq!((answer.person, answer.score, answer.stale, answer.age_ms), (false, 0, true, None));
}

#[test]
fn an_answer_is_stale_once_it_is_older_than_allowed() {
    let mut detector = Detector::new(DECISION);
    assert!(!detector.see(500, &[20]).stale);
    assert_eq!((detector.answer(1500).stale, detector.answer(1500).age_ms), (false, Some(1000)));
    assert_eq!((detector.answer(1501).stale, detector.answer(1501).age_ms), (true, Some(1001)));
    assert!(!detector.see(1501, &[20]).stale);
}

#[test]
fn frames_before_a_stall_do_not_count_with_those_after_it() {
    let mut detector = Detector::new(DECISION);
    for now in [0, 100, 1101, 1201] {
        assert!(!detector.see(now, &[127]).person, "{now} ms");
    }
    assert!(detector.see(2201, &[127]).person, "1000 ms later is no stall yet");
    assert!(detector.see(2301, &[0x80]).person);
    assert!(detector.see(9000, &[0x80]).person, "the first frame after a stall is the first in a row");
    assert!(!detector.see(9100, &[0x80]).person);
}

#[test]
fn a_clock_that_runs_backwards_makes_no_answer_stale_and_nothing_overflow() {
    let mut detector = Detector::new(DECISION);
    detector.see(u64::MAX, &[20]);
    assert_eq!((detector.answer(0).age_ms, detector.answer(0).stale), (Some(0), false));
    detector.see(0, &[20]);
    assert_eq!((detector.answer(u64::MAX).age_ms, detector.answer(u64::MAX).stale), (Some(u64::MAX), true));
}

#[test]
fn an_output_of_another_length_is_no_frame() {
    let two = Decision { outputs: Outputs::Two, ..DECISION };
    for (decision, wrong) in
        [(DECISION, [[].as_slice(), &[127, 127], &[127; 3]]), (two, [[].as_slice(), &[127], &[127; 3]])]
    {
        let mut detector = Detector::new(decision);
        for output in wrong {
            let answer = detector.see(700, output);
            assert_eq!((answer.person, answer.score, answer.stale, answer.age_ms), (false, 0, true, None));
        }
    }
    let mut detector = Detector::new(DECISION);
    detector.see(0, &[127]);
    detector.see(100, &[127]);
    let answer = detector.see(1101, &[127, 127]);
    assert_eq!((answer.person, answer.stale, answer.age_ms), (false, true, Some(1001)));
}

#[test]
fn scores_are_signed_or_not_as_the_output_is() {
    let unsigned = Decision { signed: false, ..DECISION };
    assert_eq!((DECISION.score(&[0x80]), unsigned.score(&[0x80])), (Some(-128), Some(128)));
    let two = Decision { outputs: Outputs::Two, ..DECISION };
    assert_eq!(two.score(&[0x80, 0x7f]), Some(255));
    assert_eq!(two.score(&[0x7f, 0x80]), Some(-255));
    assert_eq!(Decision { outputs: Outputs::Two, ..unsigned }.score(&[255, 0]), Some(-255));
}

#[test]
fn the_same_frame_again_is_not_new() {
    let mut detector = Detector::new(DECISION);
    let (dark, noise) = ([0; 64], [3; 64]);
    assert!(detector.is_new(&dark));
    assert!(!detector.is_new(&dark));
    assert!(!detector.is_new(&dark));
    assert!(detector.is_new(&noise));
    assert!(detector.is_new(&dark), "it is the frame before that counts, no earlier one");
    assert!(detector.is_new(dark.get(..63).expect("63 bytes")), "a shorter frame is another one");
    assert!(!detector.see(0, &[127]).person, "comparing frames is not seeing one");
}

/// The rules, written over the whole past: a change needs `enter_frames` (`leave_frames`) frames at the end of the past
/// that all speak for it, since the last change, without a stall between them.
fn seen(decision: &Decision, past: &[(u64, i32)]) -> bool {
    let (mut person, mut from) = (false, 0);
    for end in 1..=past.len() {
        let speaks = |score: i32| if person { score < decision.leave } else { score >= decision.enter };
        let needed = usize::from(if person { decision.leave_frames } else { decision.enter_frames });
        let Some(row) = end.checked_sub(needed).filter(|start| *start >= from).and_then(|start| past.get(start..end))
        else {
            continue;
        };
        let steady = row.is_sorted_by(|one, next| next.0 - one.0 <= u64::from(decision.stale_after_ms));
        if steady && row.iter().all(|(_, score)| speaks(*score)) {
            (person, from) = (!person, end);
        }
    }
    person
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_answer_follows_from_the_frames_before_it(
        frames in prop::collection::vec(
            (prop_oneof![4 => 0_u64..200, 1 => 0_u64..3000], any::<i8>(), any::<i8>()), 0..60,
        ),
        thresholds in (-60_i32..60, -60_i32..60), enter_frames in 1_u16..5, leave_frames in 1_u16..5,
        stale_after_ms in 1_u32..2000, two in any::<bool>(), signed in any::<bool>(),
    ) {
        let (leave, enter) = (thresholds.0.min(thresholds.1), thresholds.0.max(thresholds.1));
        let outputs = if two { Outputs::Two } else { Outputs::One };
        let decision = Decision { outputs, signed, enter, leave, enter_frames, leave_frames, stale_after_ms };
        let mut detector = Detector::new(decision);
        let (mut now, mut past) = (0, Vec::new());
        for (pause, nobody, person) in frames {
            now += pause;
            let output = [nobody.cast_unsigned(), person.cast_unsigned()];
            let output = if two { output.as_slice() } else { &output[1..] };
            let score = decision.score(output).expect("the right length");
            past.push((now, score));
            let before = detector.answer(now);
            let answer = detector.see(now, output);
            prop_assert_eq!(answer.person, seen(&decision, &past));
            prop_assert_eq!((answer.score, answer.stale, answer.age_ms), (score, false, Some(0)));
            let age = before.age_ms;
            prop_assert_eq!(before.stale, age.is_none_or(|age| age > u64::from(stale_after_ms)));
            prop_assert_eq!(age.is_none(), past.len() == 1);
        }
    }
}
