//! The smallest arena that works, found on the target itself.

use core::mem::MaybeUninit;

use detector::fill_input;
use model::{FEEDING, GEOMETRY, Person};
use tflm::{Elements, Error, Interpreter, Network};

use crate::console::{exit, stop, tell};
use crate::firmware::STORAGE;

const STEP: usize = 16; // TFLM aligns what it allocates to 16 bytes

/// One inference on a frame of mid-gray with `size` bytes of the arena: its output, and what TFLM says it uses.
fn trial(arena: &mut [MaybeUninit<u8>], size: usize) -> Result<(<Person as Network>::Output, usize), Error> {
    let Some(arena) = arena.get_mut(..size) else { stop("the arena is smaller than the trial") };
    let mut interpreter = Interpreter::<Person>::new(&STORAGE, arena)?;
    let frame = [128_u8; GEOMETRY.frame_bytes()];
    if let Err(error) = fill_input(&frame, &GEOMETRY, &FEEDING, interpreter.input().as_bytes_mut()) {
        stop(error);
    }
    let used = interpreter.arena_used();
    interpreter.invoke().map(|output| (*output, used))
}

/// Whether TFLM gets ready with `size` bytes.
fn begins(arena: &mut [MaybeUninit<u8>], size: usize) -> bool {
    arena.get_mut(..size).is_some_and(|arena| Interpreter::<Person>::new(&STORAGE, arena).is_ok())
}

/// Bisects between `from`, below which no arena can work (the liveness bound), and all of `arena`.
pub fn measure(arena: &mut [MaybeUninit<u8>], from: usize) -> ! {
    let whole = arena.len();
    let (expected, used) = match trial(arena, whole) {
        Ok(found) => found,
        Err(error) => stop(error),
    };
    let (mut fails, mut works) = (from.div_ceil(STEP).saturating_sub(1), whole / STEP);
    let mut trials = 1;
    while works - fails > 1 {
        let middle = fails.midpoint(works);
        trials += 1;
        if begins(arena, middle * STEP) {
            works = middle;
        } else {
            fails = middle;
        }
    }
    // Getting ready is not yet running: the answer must be that of the ample arena.
    match trial(arena, works * STEP) {
        Ok((output, _)) if output.as_bytes() == expected.as_bytes() => {}
        Ok(_) => stop("with the smallest arena that gets ready the network gives another answer"),
        Err(error) => stop(error),
    }
    tell!("measured", "arena_bytes": works * STEP, "arena_used": used, "trials": trials);
    exit(true)
}
