//! The safe wrapper with the real C++ behind it: outputs, arenas of every size, who owns what when.
//!
//! Not here: models that are refused (`model_*.rs`), and TFLM's figures on the target (`tasks/emulator.py`).
#![cfg(not(miri))] // Miri runs no C++

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tflm::{Error, ErrorKind, Interpreter, Storage};

#[expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod example;
use example::{Watched, expected, frame};

include!("example/network.rs");

network!(Example, input: [i8; 768], scale: 1.0);

const AMPLE: usize = 65_536;

/// Output of frame `number` with an interpreter of its own on `size` bytes.
fn run(size: usize, number: u32) -> Result<i8, Error> {
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(size, 0);
    let result = Interpreter::<Example>::new(&storage, arena.bytes()).and_then(|mut interpreter| {
        *interpreter.input() = frame(number);
        interpreter.invoke().map(|[score]| *score)
    });
    assert!(arena.is_intact(), "an arena of {size} B was left");
    result
}

/// The smallest arena that works, to 16 bytes.
fn smallest() -> usize {
    let sizes: Vec<usize> = (0..AMPLE).step_by(16).collect();
    16 * sizes.partition_point(|size| run(*size, 0).is_err())
}

#[test]
fn outputs_are_those_of_tflm_in_python() {
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(AMPLE, 0);
    let mut interpreter = Interpreter::<Example>::new(&storage, arena.bytes()).expect("ready");
    let expected = expected();
    assert_eq!(expected.len(), 24);
    // Twice, and backwards: nothing of one inference is left in the next.
    let numbers: Vec<usize> = (0..expected.len()).chain((0..expected.len()).rev()).collect();
    for number in numbers {
        *interpreter.input() = frame(u32::try_from(number).expect("small"));
        assert_eq!(interpreter.invoke().map(|[score]| *score).ok(), expected.get(number).copied(), "frame {number}");
    }
}

#[test]
fn an_input_that_was_never_filled_is_all_zero() {
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(AMPLE, 0);
    let mut interpreter = Interpreter::<Example>::new(&storage, arena.bytes()).expect("ready");
    assert_eq!(*interpreter.input(), [0; 768]);
    // Frame 12 is gray level 128 all over: input bytes 0.
    assert_eq!(interpreter.invoke().map(|[score]| *score).ok(), expected().get(12).copied());
}

#[test]
fn the_smallest_arena_gives_the_same_outputs_and_16_bytes_less_fail() {
    let needed = smallest();
    for (number, output) in (0..).zip(expected()) {
        assert_eq!(run(needed, number), Ok(output));
    }
    let error = run(needed - 16, 0).expect_err("too small");
    assert_eq!(error.kind, ErrorKind::Begin { arena_bytes: needed - 16 });
    assert!(!error.text.as_str().is_empty());
    println!("smallest arena on this machine: {needed} B ({} TFLM)", tflm::REVISION);
}

#[test]
fn tflms_own_figure_is_no_more_than_the_arena() {
    for size in [smallest(), AMPLE] {
        let storage = Storage::<Example>::new();
        let mut arena = Watched::new(size, 0);
        let interpreter = Interpreter::<Example>::new(&storage, arena.bytes()).expect("ready");
        assert!((1..=size).contains(&interpreter.arena_used()), "{} of {size} B", interpreter.arena_used());
        assert_eq!(interpreter.arena_bytes(), size);
    }
}

#[test]
fn every_arena_that_is_too_small_is_refused_in_tflms_words() {
    let needed = smallest();
    // Every size at which something else may fail first: in steps of 16, and each one where it is very small.
    for size in (0..needed).step_by(16).chain(0..256) {
        let error = run(size, 0).expect_err("too small");
        assert_eq!(error.kind, ErrorKind::Begin { arena_bytes: size });
        assert!(!error.text.as_str().is_empty(), "{size} B");
        let said = error.to_string();
        assert!(said.starts_with(&format!("TFLM did not get ready with an arena of {size} B: ")), "{said}");
    }
    let last_steps: Vec<bool> = (needed - 16..needed + 64).map(|size| run(size, 0).is_ok()).collect();
    assert!(last_steps.is_sorted(), "once it works, more does no harm: {last_steps:?}");
}

#[test]
fn storage_holds_one_interpreter_at_a_time() {
    let storage = Storage::<Example>::new();
    let (mut arena, mut other) = (Watched::new(AMPLE, 0), Watched::new(AMPLE, 0));
    let mut first = Interpreter::<Example>::new(&storage, arena.bytes()).expect("ready");
    let error = Interpreter::<Example>::new(&storage, other.bytes()).err().expect("in use");
    assert_eq!((error.kind, error.text.as_str()), (ErrorKind::InUse, ""));
    assert_eq!(error.to_string(), "this storage already holds an interpreter");
    *first.input() = frame(2);
    assert_eq!(first.invoke().map(|[score]| *score).ok(), expected().get(2).copied(), "the first one is as it was");
}

#[test]
fn storage_and_arena_are_free_again_after_an_interpreter_and_after_a_failure() {
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(AMPLE, 0);
    for (number, output) in (0..).zip(expected()) {
        let mut interpreter = Interpreter::<Example>::new(&storage, arena.bytes()).expect("ready");
        *interpreter.input() = frame(number);
        assert_eq!(interpreter.invoke().map(|[score]| *score), Ok(output));
        drop(interpreter);
        let too_small = arena.bytes().get_mut(..1024).expect("1 KiB");
        assert!(Interpreter::<Example>::new(&storage, too_small).is_err());
    }
}

#[test]
fn an_arena_that_is_not_aligned_is_refused_before_tflm_is_asked() {
    let storage = Storage::<Example>::new();
    for skew in 1..16 {
        let mut arena = Watched::new(AMPLE, skew);
        let address = arena.bytes().as_ptr().addr();
        let error = Interpreter::<Example>::new(&storage, arena.bytes()).err().expect("misaligned");
        assert_eq!((error.kind, error.text.as_str()), (ErrorKind::Misaligned { address }, ""));
        assert!(error.to_string().ends_with(&format!("one is at {address:#x}")), "{error}");
    }
    let mut arena = Watched::new(AMPLE, 16);
    assert!(Interpreter::<Example>::new(&storage, arena.bytes()).is_ok(), "a refusal leaves the storage free");
}

#[test]
fn a_model_that_is_not_aligned_is_refused_before_tflm_is_asked() {
    network!(Skewed, input: [i8; 768], scale: 1.0,
        ops: [ADD, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, LOGISTIC], slots: 5, skip: 8);
    let storage = Storage::<Skewed>::new();
    let mut arena = Watched::new(AMPLE, 0);
    let error = Interpreter::<Skewed>::new(&storage, arena.bytes()).err().expect("misaligned");
    let address = <Skewed as tflm::Network>::MODEL.bytes().as_ptr().addr();
    assert_eq!(error.kind, ErrorKind::Misaligned { address });
    assert_eq!(address % 16, 8);
}

#[test]
fn more_kernels_than_the_model_needs_change_nothing() {
    network!(Rich, input: [i8; 768], scale: 1.0,
        ops: [SOFTMAX, ADD, RESHAPE, AVERAGE_POOL_2D, CONV_2D, DEPTHWISE_CONV_2D, LOGISTIC, PAD], slots: 9);
    let storage = Storage::<Rich>::new();
    let mut arena = Watched::new(AMPLE, 0);
    let mut interpreter = Interpreter::<Rich>::new(&storage, arena.bytes()).expect("ready");
    *interpreter.input() = frame(5);
    assert_eq!(interpreter.invoke().map(|[score]| *score).ok(), expected().get(5).copied());
}

#[test]
fn each_error_has_its_own_words() {
    let too_small = run(1024, 0).expect_err("too small");
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(AMPLE, 0);
    let used = Interpreter::<Example>::new(&storage, arena.bytes()).map(|interpreter| interpreter.arena_used());
    assert!(used.is_ok_and(|used| used > 0), "whatever TFLM says with its figure is no part of the next error");
    let mut arena = Watched::new(AMPLE, 8);
    let misaligned = Interpreter::<Example>::new(&storage, arena.bytes()).err().expect("misaligned");
    assert!(!too_small.text.as_str().is_empty());
    assert_eq!(misaligned.text.as_str(), "", "what TFLM said of the one before is forgotten");
}

#[test]
fn of_many_threads_one_gets_the_storage() {
    static STORAGE: Storage<Example> = Storage::new();
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let outcomes: Vec<Result<i8, ErrorKind>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut arena = Watched::new(AMPLE, 0);
                    let made = Interpreter::<Example>::new(&STORAGE, arena.bytes());
                    STARTED.fetch_add(1, Ordering::SeqCst);
                    while STARTED.load(Ordering::SeqCst) < 4 {
                        thread::yield_now(); // the one that was made lives until all have tried
                    }
                    let mut interpreter = made.map_err(|error| error.kind)?;
                    *interpreter.input() = frame(3);
                    interpreter.invoke().map(|[score]| *score).map_err(|error| error.kind)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(ErrorKind::InUse)).count(), 3);
    assert_eq!(outcomes.into_iter().find_map(Result::ok), expected().get(3).copied());
}

#[test]
fn interpreters_of_several_threads_do_not_disturb_each_other() {
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            scope.spawn(move || {
                for (number, output) in (0..).zip(expected()) {
                    assert_eq!(run(AMPLE, number), Ok(output));
                    let size = 512 + 16 * (thread as usize);
                    let said = run(size, number).expect_err("too small").to_string();
                    assert!(said.contains(&format!("an arena of {size} B")), "{said}");
                }
            });
        }
    });
}

#[test]
fn an_interpreter_that_is_forgotten_keeps_its_storage() {
    let storage = Storage::<Example>::new();
    let mut arena = Watched::new(AMPLE, 0);
    std::mem::forget(Interpreter::<Example>::new(&storage, arena.bytes()));
    let mut other = Watched::new(AMPLE, 0);
    let again = Interpreter::<Example>::new(&storage, other.bytes());
    assert_eq!(again.err().map(|error| error.kind), Some(ErrorKind::InUse));
}
