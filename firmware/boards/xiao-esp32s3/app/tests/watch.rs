//! The loop with a camera and a network that exist in memory only. Not touched: TFLM, the sensor's registers.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use app::{Camera, Classifier, FAILURES_TO_RECONFIGURE, Happening, Report, SETTLE_FRAMES, Watch};
use detector::{Decision, Outputs};

const DECISION: Decision = Decision {
    outputs: Outputs::One,
    signed: true,
    enter: 10,
    leave: 0,
    enter_frames: 1,
    leave_frames: 1,
    stale_after_ms: 2_000,
};

/// Microseconds since start; captures take 40 ms, inferences 300 ms, failed captures half a second.
type Clock = Rc<Cell<u64>>;

/// What the camera's next captures do; a good frame where nothing is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Frame,
    Same,
    Timeout,
}

#[derive(Default)]
struct World {
    clock: Clock,
    answers: Cell<bool>, // whether the camera can be set up
    plan: RefCell<Vec<Next>>,
    configured: RefCell<Vec<u64>>, // when, milliseconds
    captures: Cell<u8>,
    output: Cell<i8>,
    network_fails: Cell<bool>,
    classified: Cell<u32>,
}

struct FakeCamera(Rc<World>);

impl Camera<64> for FakeCamera {
    type Error = &'static str;

    fn configure(&mut self) -> Result<(), Self::Error> {
        self.0.configured.borrow_mut().push(self.0.clock.get() / 1_000);
        if self.0.answers.get() { Ok(()) } else { Err("nobody answers") }
    }

    fn capture(&mut self, frame: &mut [u8; 64]) -> Result<(), Self::Error> {
        let world = &self.0;
        let next = if world.plan.borrow().is_empty() { Next::Frame } else { world.plan.borrow_mut().remove(0) };
        let pass = |ms: u64| world.clock.set(world.clock.get() + ms * 1_000);
        match next {
            Next::Timeout => {
                frame.fill(0xee); // half a frame
                pass(500);
                return Err("no complete frame within 500 ms");
            }
            Next::Frame => world.captures.set(world.captures.get().wrapping_add(1)),
            Next::Same => {}
        }
        pass(40);
        frame.fill(world.captures.get());
        Ok(())
    }
}

struct FakeNetwork(Rc<World>, [u8; 1]);

impl Classifier for FakeNetwork {
    type Error = &'static str;

    fn classify(&mut self, frame: &[u8]) -> Result<&[u8], Self::Error> {
        assert!(!frame.contains(&0xee), "half a frame was classified");
        self.0.clock.set(self.0.clock.get() + 300_000);
        self.0.classified.set(self.0.classified.get() + 1);
        self.1 = [self.0.output.get().cast_unsigned()];
        if self.0.network_fails.get() { Err("a kernel failed") } else { Ok(&self.1) }
    }
}

/// A loop and the world around it.
struct Bench {
    world: Rc<World>,
    watch: Watch<'static, FakeCamera, FakeNetwork, 64>,
}

impl Bench {
    fn new(decision: Option<Decision>) -> Self {
        let world = Rc::new(World::default());
        world.answers.set(true);
        let frame = Box::leak(Box::new([0; 64]));
        let (camera, network) = (FakeCamera(world.clone()), FakeNetwork(world.clone(), [0]));
        Self { watch: Watch::new(camera, network, frame, decision), world }
    }

    /// One that has settled.
    fn running(decision: Option<Decision>) -> Self {
        let mut bench = Self::new(decision);
        assert_eq!(bench.step().happening, Happening::CameraReady);
        for _ in 0..SETTLE_FRAMES {
            assert_eq!(bench.step().happening, Happening::Settling);
        }
        bench
    }

    fn step(&mut self) -> Report<'_, &'static str, &'static str> {
        let clock = self.world.clock.clone();
        self.watch.step(move || clock.get())
    }

    fn plan(&self, next: &[Next]) {
        self.world.plan.borrow_mut().extend_from_slice(next);
    }

    fn pass(&self, ms: u64) {
        self.world.clock.set(self.world.clock.get() + ms * 1_000);
    }
}

#[test]
fn frames_are_counted_timed_and_judged() {
    let mut bench = Bench::running(Some(DECISION));
    for (index, (output, person)) in [(-50, false), (50, true), (5, true), (-1, false)].into_iter().enumerate() {
        bench.world.output.set(output);
        let report = bench.step();
        let byte = output.cast_unsigned();
        let index = u32::try_from(index).expect("small");
        assert_eq!(report.happening, Happening::Frame { index, output: &[byte], inference_us: 300_000 });
        assert_eq!(report.person(), person);
        assert_eq!(report.answer.map(|answer| (answer.score, answer.age_ms)), Some((output.into(), Some(300))));
    }
}

#[test]
fn frames_are_not_looked_at_while_the_exposure_settles() {
    let bench = Bench::running(Some(DECISION));
    assert_eq!(bench.world.classified.get(), 0);
}

#[test]
fn without_thresholds_there_are_outputs_and_no_answer() {
    let mut bench = Bench::running(None);
    let report = bench.step();
    assert!(matches!(report.happening, Happening::Frame { index: 0, .. }));
    assert_eq!(report.answer, None);
    assert!(!report.person());
}

#[test]
fn a_camera_that_stalls_makes_the_answer_stale_and_no_frame_up() {
    let mut bench = Bench::running(Some(DECISION));
    bench.world.output.set(100);
    assert!(bench.step().person());
    bench.plan(&[Next::Timeout; 20]);
    let mut was_stale = false;
    for _ in 0..40 {
        let report = bench.step();
        let answer = report.answer.expect("thresholds");
        assert!(!matches!(report.happening, Happening::Frame { .. }) || report.at_ms > 10_000);
        assert_eq!(answer.stale, answer.age_ms.expect("a frame was seen") > 2_000);
        assert_eq!(report.person(), !answer.stale);
        was_stale |= answer.stale;
        bench.pass(50);
    }
    assert!(was_stale);
}

#[test]
fn after_some_failures_in_a_row_the_camera_is_set_up_anew_and_settles_again() {
    let mut bench = Bench::running(Some(DECISION));
    bench.plan(&[Next::Timeout, Next::Timeout, Next::Frame]);
    for _ in 0..3 {
        bench.step();
    }
    assert_eq!(bench.world.configured.borrow().len(), 1, "two failures are not enough");
    bench.plan(&[Next::Timeout; FAILURES_TO_RECONFIGURE as usize]);
    for _ in 0..FAILURES_TO_RECONFIGURE {
        assert!(matches!(bench.step().happening, Happening::NoFrame { .. }));
    }
    assert_eq!(bench.step().happening, Happening::Waiting);
    bench.pass(100);
    assert_eq!(bench.step().happening, Happening::CameraReady);
    assert_eq!(bench.step().happening, Happening::Settling);
    assert_eq!(bench.world.configured.borrow().len(), 2);
}

#[test]
fn a_camera_that_does_not_answer_is_asked_later_and_later() {
    let mut bench = Bench::new(Some(DECISION));
    bench.world.answers.set(false);
    for _ in 0..3_000 {
        let report = bench.step();
        assert!(matches!(report.happening, Happening::CameraLost { .. } | Happening::Waiting));
        assert!(report.answer.is_some_and(|answer| answer.stale));
        bench.pass(10);
    }
    let asked = bench.world.configured.borrow();
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
}

#[test]
fn a_camera_that_answers_but_gives_no_frames_is_set_up_later_and_later_too() {
    let mut bench = Bench::new(Some(DECISION));
    bench.plan(&[Next::Timeout; 3 * 9]);
    for _ in 0..600 {
        bench.step();
        bench.pass(50);
    }
    let asked = bench.world.configured.borrow();
    let waits: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.windows(2).all(|pair| pair[1] > pair[0]), "{waits:?}");
}

#[test]
fn a_frame_ends_the_backing_off() {
    let mut bench = Bench::new(Some(DECISION));
    bench.world.answers.set(false);
    for _ in 0..5 {
        bench.step();
        bench.pass(10_000);
    }
    bench.world.answers.set(true);
    assert_eq!(bench.step().happening, Happening::CameraReady);
    bench.step();
    bench.plan(&[Next::Timeout; FAILURES_TO_RECONFIGURE as usize]);
    for _ in 0..FAILURES_TO_RECONFIGURE {
        bench.step();
    }
    bench.pass(100);
    assert_eq!(bench.step().happening, Happening::CameraReady);
}

#[test]
fn a_frame_that_repeats_is_a_camera_that_stands_still() {
    let mut bench = Bench::running(Some(DECISION));
    bench.step();
    let classified = bench.world.classified.get();
    bench.plan(&[Next::Same; FAILURES_TO_RECONFIGURE as usize]);
    for _ in 0..FAILURES_TO_RECONFIGURE {
        assert_eq!(bench.step().happening, Happening::SameFrame);
    }
    assert_eq!(bench.world.classified.get(), classified, "the network is not run on it");
    bench.pass(100);
    assert_eq!(bench.step().happening, Happening::CameraReady);
}

#[test]
fn a_network_that_fails_leaves_the_last_answer_to_age() {
    let mut bench = Bench::running(Some(DECISION));
    bench.world.output.set(100);
    bench.step();
    bench.world.network_fails.set(true);
    let mut stale = false;
    for _ in 0..10 {
        let report = bench.step();
        assert_eq!(report.happening, Happening::NoOutput { error: "a kernel failed" });
        assert_eq!(report.answer.map(|answer| answer.score), Some(100));
        stale = report.answer.is_some_and(|answer| answer.stale);
    }
    assert!(stale);
    assert_eq!(bench.world.configured.borrow().len(), 1, "the camera is not to blame");
}
