//! What the check of a model lets through must not harm TFLM: mutations of the example model, in memory that
//! AddressSanitizer watches where that is switched on (`tests/firmware/test_rust_workspace.py`).
//!
//! Network is for models that are known when a firmware is compiled, so this goes to the C interface below it. A batch
//! runs in a process of its own: a crash names its seed. Not here: what the check refuses, and why (`model_*.rs`).
#![cfg(not(miri))] // Miri runs no C++
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::env;
use std::ffi::c_void;
use std::io::Write as _;
use std::process::Command;

use tflm::{Model, Op, ops};
use tflm_sys::{INTERPRETER_BYTES, SLOT_BYTES};

#[expect(dead_code, clippy::indexing_slicing, reason = "shared with other tests; a panic is how a test fails")]
mod example;
use example::Watched;

/// How many seeds are tried; F2F_MUTATIONS=N for another number.
const SEEDS: u64 = 40_000;
const BATCHES: u64 = 2;
const ARENA: usize = 65_536;
const BATCH: &str = "F2F_MUTATIONS_BATCH";

/// Kernels that both TFLM revisions have, so that an operator may become another one.
const OPS: &[Op] = &[
    ops::ADD,
    ops::AVERAGE_POOL_2D,
    ops::CONCATENATION,
    ops::CONV_2D,
    ops::DEPTHWISE_CONV_2D,
    ops::FULLY_CONNECTED,
    ops::LOGISTIC,
    ops::MAX_POOL_2D,
    ops::MUL,
    ops::PAD,
    ops::RELU,
    ops::RELU6,
    ops::RESHAPE,
    ops::SOFTMAX,
    ops::SUB,
    ops::TANH,
];

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }
}

fn original() -> Vec<u8> {
    include_bytes!("../../model/example/model.tflite").to_vec()
}

/// Bytes, words or floats of the model replaced, one, two or four of them.
fn mutated(seed: u64) -> Vec<u8> {
    const WORDS: [u32; 12] = [0, 1, 2, 3, 4, 8, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fff8, 0x0001_0000];
    const SCALES: [f32; 6] = [1e-9, 1e-4, 0.004, 1.0, 300.0, 1e9];
    let mut random = Random(seed);
    let mut model = original();
    for _ in 0..[1, 1, 2, 4][random.below(4)] {
        let at = random.below(model.len() - 4);
        let word_at = at & !3;
        let Some(word) = model.get(word_at..word_at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
        else {
            continue;
        };
        let new = match random.below(8) {
            0 => word ^ (1 << random.below(32)),
            1 => WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default(),
            2 => word.wrapping_add(4).wrapping_sub(u32::try_from(random.below(9)).expect("small")),
            3 => SCALES.get(random.below(SCALES.len())).copied().unwrap_or_default().to_bits(),
            4 => {
                // Another word of the model: offsets, types and shapes that are right elsewhere.
                let other = random.below(model.len() - 4) & !3;
                model.get(other..other + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
            }
            _ => {
                let shift = 8 * random.below(4);
                let byte = u32::try_from(random.below(256)).expect("small");
                (word & !(0xff << shift)) | (byte << shift)
            }
        };
        model.splice(word_at..word_at + 4, new.to_le_bytes());
    }
    model
}

/// Runs a checked model, telling TFLM of so much arena; whether TFLM got ready and ran it.
fn run(model: &Model<'_>, arena_bytes: usize) -> bool {
    #[repr(align(16))]
    struct Storage([u8; INTERPRETER_BYTES]);
    #[repr(align(16))]
    struct Slots([u8; SLOT_BYTES * OPS.len()]);
    let (mut storage, mut slots) =
        (Box::new(Storage([0; INTERPRETER_BYTES])), Box::new(Slots([0; SLOT_BYTES * OPS.len()])));
    let storage = (&raw mut storage.0).cast::<c_void>();
    let mut arena = Watched::new(ARENA, 0);
    // Exactly the model's bytes, and nothing of use behind them.
    let mut file = Watched::new(model.bytes().len(), 0);
    for (to, from) in file.bytes().iter_mut().zip(model.bytes()) {
        to.write(*from);
    }
    tflm_sys::tflm_clear_error();
    // SAFETY: storage and slots have the sizes and the alignment that the shim asks for, model and arena are aligned to
    // 16, all of them live until the interpreter is ended, and the model was checked. The arena is as large as it is
    // said to be but in one test, which only runs where AddressSanitizer ends it for that.
    let ran = unsafe {
        let begun = tflm_sys::tflm_begin(
            storage,
            file.bytes().as_ptr().cast(),
            OPS.as_ptr(),
            (&raw mut slots.0).cast(),
            OPS.len(),
            arena.bytes().as_mut_ptr().cast(),
            arena_bytes,
        ) == 0;
        let mut tensor = std::mem::MaybeUninit::<tflm_sys::Tensor>::uninit();
        let ran = begun && tflm_sys::tflm_input(storage, tensor.as_mut_ptr()) == 0 && {
            let tensor = tensor.assume_init();
            assert_eq!(tensor.bytes, model.input().bytes(), "TFLM takes the input for as large as the check does");
            tensor.data.write_bytes(0x2a, tensor.bytes);
            tflm_sys::tflm_invoke(storage) == 0
        };
        if begun {
            tflm_sys::tflm_end(storage);
        }
        ran
    };
    assert!(arena.is_intact(), "the arena was left");
    assert!(file.is_intact(), "the model was left");
    ran
}

/// Not a test by itself: the part of the next one that runs in processes of its own.
#[test]
fn a_batch_of_mutations() {
    let Ok(batch) = env::var(BATCH) else { return };
    let (from, to) = batch.split_once("..").expect("a range");
    let (from, to): (u64, u64) = (from.parse().expect("a number"), to.parse().expect("a number"));
    let (mut accepted, mut ran) = (0, 0);
    for seed in from..to {
        let bytes = mutated(seed);
        // As the firmware does: what holds an operator whose shapes nobody checks is not run.
        let Ok(model) = Model::check(&bytes) else { continue };
        if model.structure_only_operators() > 0 {
            continue;
        }
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "seed={seed} ").and_then(|()| out.flush());
        accepted += 1;
        ran += u64::from(run(&model, ARENA));
    }
    println!("\naccepted={accepted} ran={ran}");
}

#[test]
fn what_the_check_lets_through_never_harms_tflm() {
    let program = env::current_exe().expect("this test");
    let seeds = env::var("F2F_MUTATIONS").map_or(SEEDS, |text| text.parse().expect("a number"));
    let step = seeds.div_ceil(BATCHES);
    let children: Vec<_> = (0..BATCHES)
        .map(|batch| {
            Command::new(&program)
                .args(["--exact", "a_batch_of_mutations", "--nocapture"])
                .env(BATCH, format!("{}..{}", batch * step, (batch + 1) * step))
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("a process")
        })
        .collect();
    let (mut accepted, mut ran) = (0, 0);
    for child in children {
        let answer = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        let last = said.rsplit("seed=").next().and_then(|rest| rest.split(' ').next()).unwrap_or("?");
        let why = String::from_utf8_lossy(&answer.stderr);
        let why: Vec<&str> = why.lines().take(12).collect();
        assert!(answer.status.success(), "seed {last}: {}\n{}", answer.status, why.join("\n"));
        let figure = |name: &str| -> u64 {
            let text = said.rsplit(name).next().and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
            text.parse().expect("a figure")
        };
        accepted += figure("accepted=");
        ran += figure("ran=");
    }
    println!("{seeds} mutations, {accepted} let through by the check, {ran} run by TFLM ({})", tflm::REVISION);
    assert!(accepted > seeds / 10, "weights and names may be anything: {accepted} of {seeds} let through");
    assert!(ran > accepted / 2, "{ran} of {accepted} run");
}

#[test]
fn the_model_itself_is_let_through_and_runs() {
    let bytes = original();
    assert!(run(&Model::check(&bytes).expect("sound"), ARENA));
}

#[test]
#[ignore = "writes beyond its memory, to see whether AddressSanitizer is there: it must end this"]
fn a_write_beyond_the_arena_is_seen() {
    let bytes = original();
    run(&Model::check(&bytes).expect("sound"), ARENA + 16);
    println!("nobody saw it");
}
