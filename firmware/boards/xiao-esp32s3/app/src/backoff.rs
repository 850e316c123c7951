//! How long to wait before the next try.

/// Waits that double from try to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    next_ms: u64,
}

impl Backoff {
    /// The first wait, milliseconds.
    pub const FIRST_MS: u64 = 100;
    /// The longest wait, milliseconds.
    pub const LONGEST_MS: u64 = 10_000;

    /// Nothing has failed yet.
    pub const fn new() -> Self {
        Self { next_ms: Self::FIRST_MS }
    }

    /// Something failed: how long to wait now, milliseconds.
    pub fn failed(&mut self) -> u64 {
        let wait = self.next_ms;
        self.next_ms = (2 * wait).min(Self::LONGEST_MS);
        wait
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let waits = [(); 9].map(|()| backoff.failed());
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }
}
