//! Whatever happens to the bytes of a model, the checker comes back soon and without a panic. Which damage gets which
//! name is in `model_refusals.rs` and `model_operators.rs`.
#![allow(clippy::indexing_slicing, reason = "of files whose length is known here")]

mod model_writer;

use std::time::{Duration, Instant};

use model_writer::{INT8, Net, Table, Tensor, Value, live, operator};
use tflm::model::{Engine, Model, ModelErrorKind as Kind};

const EXAMPLE: &[u8] = include_bytes!("../../model/example/model.tflite");
/// Miri is a thousand times slower, and looks at the same code.
const SPARSE: usize = if cfg!(miri) { 997 } else { 1 };

/// Pseudorandom numbers (xorshift64*): the same ones in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

/// Checks for every engine; true where the file is accepted. Accepted files keep their promises.
fn accepted(file: &[u8]) -> bool {
    let sound = |model: Model<'_>| {
        for facts in [model.input(), model.output()] {
            assert!(facts.shape().iter().all(|dim| *dim > 0));
            assert!(facts.bytes() > 0 && facts.bytes() < 1 << 31);
        }
        assert!(model.uses_only(&(0..256).collect::<Vec<i32>>()).is_ok());
    };
    match Model::check_for(file, Engine::Any) {
        Ok(model) => {
            sound(model);
            assert!(Model::check_for(file, Engine::Upstream).is_ok(), "upstream's engine allows whatever all do");
            true
        }
        Err(error) => {
            assert!(error.at <= file.len());
            if error.kind == Kind::UpstreamOnly
                && let Ok(model) = Model::check_for(file, Engine::Upstream)
            {
                sound(model);
            }
            false
        }
    }
}

#[test]
fn every_byte_may_be_any_other() {
    let mut file = EXAMPLE.to_vec();
    let mut refused = 0;
    for at in (0..file.len()).step_by(SPARSE) {
        let original = file[at];
        let bits = (0..8).map(|bit| original ^ (1 << bit));
        for value in bits.chain([0, 1, 0x7f, 0x80, 0xff, original.wrapping_add(1), original.wrapping_sub(1)]) {
            file[at] = value;
            refused += usize::from(!accepted(&file));
        }
        file[at] = original;
    }
    assert!(accepted(&file));
    assert!(cfg!(miri) || refused > 10_000, "only {refused}: weights and names do no harm, the rest does");
}

#[test]
fn every_number_may_be_any_other() {
    let mut file = EXAMPLE.to_vec();
    for at in (0..file.len() - 4).step_by(4 * SPARSE) {
        let original: [u8; 4] = [file[at], file[at + 1], file[at + 2], file[at + 3]];
        let near = i32::from_le_bytes(original);
        for value in [
            0,
            4,
            5,
            0x1000,
            0x7fff_ffff,
            i32::MIN,
            -1,
            -4,
            near.wrapping_add(4),
            near.wrapping_sub(4),
            near.wrapping_neg(),
        ] {
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            accepted(&file);
        }
        file[at..at + 4].copy_from_slice(&original);
    }
}

#[test]
fn several_bytes_may_be_any_others() {
    let mut random = Random(0x1234_5678_9abc_def1);
    let mut outcomes = [0, 0];
    for _ in 0..if cfg!(miri) { 5 } else { 10_000 } {
        let mut file = EXAMPLE.to_vec();
        for _ in 0..1 + random.below(8) {
            let at = random.below(file.len());
            match random.below(4) {
                0 => file[at] = random.below(256) as u8,
                1 => file[at] ^= 1 << random.below(8),
                2 => file.truncate(at.max(8)),
                _ => {
                    // A piece of the file somewhere else: damage that still looks like a flatbuffer.
                    let (from, length) = (random.below(file.len()), 1 + random.below(16));
                    let piece = file[from..(from + length).min(file.len())].to_vec();
                    let end = (at + piece.len()).min(file.len());
                    file[at..end].copy_from_slice(&piece[..end - at]);
                }
            }
        }
        outcomes[usize::from(accepted(&file))] += 1;
    }
    assert!(cfg!(miri) || outcomes.iter().all(|count| *count > 200), "{outcomes:?}");
}

#[test]
fn noise_behind_a_good_beginning_is_refused() {
    let mut random = Random(0xfeed_beef_cafe_0001);
    for length in (8..600).step_by(SPARSE) {
        let mut file: Vec<u8> = (0..length).map(|_| random.below(4) as u8 * 4).collect();
        file[4..8].copy_from_slice(b"TFL3");
        assert!(!accepted(&file));
    }
}

/// A file as large as a device could hold, made to keep the checker busy.
fn hostile(tensors: usize, operators: usize, channels: usize) -> Vec<u8> {
    let tensor = Tensor {
        element: INT8,
        scales: vec![1.0; channels],
        zero_points: vec![0; channels],
        ..live(&[channels as i32, 1])
    };
    let mut net = Net::new(vec![live(&[4]), live(&[4]), tensor], vec![operator(19, &[0], &[1])], 0, 1);
    net.tensors.truncate(if channels == 0 { 2 } else { 3 });
    let mut file = net.tree();
    let main = &mut file.tables(8)[0];
    for (slot, count) in [(4, tensors), (10, operators)] {
        let list = main.tables(slot);
        let last = list.last().expect("a table").clone();
        list.resize(count - 1, Table::default());
        list.push(last);
    }
    let mut bytes = file.file();
    share_elements(&mut bytes);
    bytes
}

/// Leads all elements but the first (two) of the lists of tensors and operators to the list's last table: the file says
/// the same thing many times over without being large.
fn share_elements(bytes: &mut [u8]) {
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
    let field = |bytes: &[u8], table: usize, slot: usize| {
        let list = table - number(bytes, table);
        let at = table + usize::from(u16::from_le_bytes([bytes[list + slot], bytes[list + slot + 1]]));
        at + number(bytes, at)
    };
    let root = number(bytes, 0);
    let graphs = field(bytes, root, 8) + 4;
    let main = graphs + number(bytes, graphs);
    for (slot, distinct) in [(4, 2), (10, 1)] {
        let list = field(bytes, main, slot);
        let last = list + 4 * number(bytes, list);
        let target = last + number(bytes, last);
        for at in (list + 4 + 4 * distinct..last).step_by(4) {
            bytes[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "measures time")]
fn no_file_keeps_the_checker_busy() {
    for (tensors, operators, channels, expected) in [
        (2, 1, 0, None),
        (3_000, 1, 0, Some(Kind::TooMuch)),
        (2_000, 10_000, 0, Some(Kind::TooMuch)),
        (2_000, 1, 100_000, Some(Kind::TooMuch)), // 200 million scales, all of them the same 100 000
        (2_000, 8_000, 0, Some(Kind::Overwrite)),
        (2, 1_000_000, 0, Some(Kind::TooMuch)),
    ] {
        let file = hostile(tensors, operators, channels);
        let start = Instant::now();
        let outcome = Model::check_for(&file, Engine::Upstream);
        let took = start.elapsed();
        assert_eq!(outcome.err().map(|error| error.kind), expected, "{tensors} {operators} {channels}");
        // Some milliseconds when optimised; a machine that does other things meanwhile is given time.
        assert!(took < Duration::from_secs(3), "{took:?} for {} bytes", file.len());
    }
}

#[test]
fn a_list_may_lead_to_itself() {
    // A buffer list whose elements are 0: each "table" is the list's own element, whose way back is nought.
    let mut tree = Net::new(vec![live(&[4]), live(&[4])], vec![operator(19, &[0], &[1])], 0, 1).tree();
    tree.set(12, Value::I32s(vec![0; 64]));
    assert!(!accepted(&tree.file()));
    tree.set(12, Value::Tables(vec![Table::default(); 4]));
    assert!(accepted(&tree.file()));
}
