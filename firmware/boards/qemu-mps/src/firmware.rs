//! Start, the frame loop, and the ways to stop.

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use detector::{Detector, fill_input};
use model::{ARENA_BYTES, DECISION, FEEDING, GEOMETRY, Person};
use tflm::{Elements, Interpreter, Storage};

use crate::clock::Clock;
use crate::console::{Quoted, stop, tell};
use crate::host_files::{CommandLine, HostFile};
use crate::{measure, stack};

/// Longest camera frame, bytes: 160 x 120 gray, with room for larger cameras.
const FRAME_BYTES: usize = GEOMETRY.frame_bytes();

tflm::arena!(static ARENA: ARENA_BYTES bytes in ".tensor_arena");
/// The interpreter's own memory.
pub static STORAGE: Storage<Person> = Storage::new();

#[entry]
fn main() -> ! {
    let line = CommandLine::read();
    tell!(
        "start", "model": Quoted(model::MODEL_SHA256), "revision": Quoted(tflm::REVISION), "kernels": Quoted(tflm::KERNELS),
        "sources": Quoted(tflm::SOURCES_SHA256), "arena_bytes": ARENA_BYTES, "ticks_per_second": Clock::HZ
    );
    let Some(arena) = ARENA.claim() else { stop("the arena was claimed before main") };
    match line.words().nth(1) {
        Some("run") => run(arena, line.number("arena")),
        Some("measure") => measure::measure(arena, line.number("from").unwrap_or(0)),
        _ => stop("say what to do: run, run arena=BYTES, or measure from=BYTES"),
    }
}

/// All frames, with `limit` bytes of the arena where that is given.
fn run(arena: &mut [MaybeUninit<u8>], limit: Option<usize>) -> ! {
    let given = limit.unwrap_or(ARENA_BYTES);
    let Some(arena) = arena.get_mut(..given) else { stop("the arena is smaller than what arena= asks for") };
    let mut interpreter = match Interpreter::<Person>::new(&STORAGE, arena) {
        Ok(interpreter) => interpreter,
        Err(error) => stop(error),
    };
    let clock = Clock::start();
    let mut frames = HostFile::open(c"frames.bin", HostFile::READ);
    let mut outputs = HostFile::open(c"outputs.bin", HostFile::WRITE);
    let mut detector = DECISION.map(Detector::new);
    let mut frame = [0; FRAME_BYTES];
    let mut count = 0_u32;
    while frames.read(&mut frame) {
        let start = clock.ticks();
        if let Err(error) = fill_input(&frame, &GEOMETRY, &FEEDING, interpreter.input().as_bytes_mut()) {
            stop(error);
        }
        let filled = clock.ticks();
        let output = match interpreter.invoke() {
            Ok(output) => output,
            Err(error) => stop(error),
        };
        let done = clock.ticks();
        outputs.write(output.as_bytes());
        // Emulated time is no camera's: every frame counts as 100 ms later than the one before.
        let answer = detector.as_mut().map(|detector| detector.see(u64::from(count) * 100, output.as_bytes()));
        tell!(
            "frame", "index": count, "ticks": done - filled, "feed_ticks": filled - start,
            "score": answer.map_or(0, |a| a.score), "person": answer.is_some_and(|a| a.person)
        );
        count += 1;
    }
    outputs.close();
    tell!("done", "frames": count, "arena_used": interpreter.arena_used(), "stack_bytes": stack::used());
    crate::console::exit(true)
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    tell!("fault", "pc": frame.pc(), "lr": frame.lr());
    crate::console::exit(false)
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    stop(info)
}
