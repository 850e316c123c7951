//! What the network's answers mean: threshold and hysteresis over frames, and how old the answer is.

/// How many values the network gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// One: the score of person.
    One,
    /// Two: no person, person. Their difference is the score.
    Two,
}

/// When a person counts as seen. Made from the training side's parameters by the generated crate `model`.
///
/// Scores are in the network's own output steps, so no arithmetic on the device can move a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the network gives.
    pub outputs: Outputs,
    /// Whether an output byte is int8 (else uint8).
    pub signed: bool,
    /// Smallest score that speaks for a person.
    pub enter: i32,
    /// Smallest score that does not speak against one who was seen; at most `enter`.
    pub leave: i32,
    /// Frames in a row that must speak for a person, at least 1.
    pub enter_frames: u16,
    /// Frames in a row that must speak against one, at least 1.
    pub leave_frames: u16,
    /// Age beyond which an answer is stale, milliseconds.
    pub stale_after_ms: u32,
}

impl Decision {
    /// The score in an output of one or two bytes; `None` for any other length.
    pub fn score(&self, output: &[u8]) -> Option<i32> {
        let value = |byte: u8| if self.signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
        match (self.outputs, output) {
            (Outputs::One, [person]) => Some(value(*person)),
            (Outputs::Two, [nobody, person]) => Some(value(*person) - value(*nobody)),
            _ => None,
        }
    }
}

/// The detector's answer at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether a person counts as seen.
    pub person: bool,
    /// Score of the last frame, in output steps; 0 before the first one.
    pub score: i32,
    /// Whether the answer is older than allowed, or there has been no frame at all: do not act on it.
    pub stale: bool,
    /// Milliseconds since the last frame that counted; `None` before the first one.
    pub age_ms: Option<u64>,
}

/// Follows the network's answers over time.
#[derive(Clone, Debug)]
pub struct Detector {
    decision: Decision,
    person: bool,
    score: i32,
    against: u16, // frames in a row that contradict `person`
    seen_at: Option<u64>,
    fingerprint: Option<u64>,
}

impl Detector {
    /// A detector that has seen nothing.
    pub const fn new(decision: Decision) -> Self {
        Self { decision, person: false, score: 0, against: 0, seen_at: None, fingerprint: None }
    }

    /// Whether this frame differs from the one before. A sensor's noise makes every frame different, so the very same
    /// bytes are a camera or a buffer that stands still: do not run the network on it, and let the answer grow stale.
    pub fn is_new(&mut self, frame: &[u8]) -> bool {
        // FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
        let fingerprint = frame
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        let new = self.fingerprint != Some(fingerprint);
        self.fingerprint = Some(fingerprint);
        new
    }

    /// Takes the network's output on a frame of time `now_ms` (any clock that does not run backwards).
    ///
    /// An output of the wrong length is not a frame: the answer stays and ages. Frames before a stall that made the
    /// answer stale do not count together with those after it.
    pub fn see(&mut self, now_ms: u64, output: &[u8]) -> Answer {
        let Some(score) = self.decision.score(output) else {
            return self.answer(now_ms);
        };
        if self.answer(now_ms).stale {
            self.against = 0;
        }
        self.score = score;
        self.seen_at = Some(now_ms);
        let contradicts = if self.person { score < self.decision.leave } else { score >= self.decision.enter };
        self.against = if contradicts { self.against.saturating_add(1) } else { 0 };
        let needed = if self.person { self.decision.leave_frames } else { self.decision.enter_frames };
        if self.against >= needed.max(1) {
            self.person = !self.person;
            self.against = 0;
        }
        self.answer(now_ms)
    }

    /// The answer at `now_ms`, without a new frame.
    pub fn answer(&self, now_ms: u64) -> Answer {
        let age_ms = self.seen_at.map(|then| now_ms.saturating_sub(then));
        Answer {
            person: self.person,
            score: self.score,
            stale: age_ms.is_none_or(|age| age > u64::from(self.decision.stale_after_ms)),
            age_ms,
        }
    }
}
