//! From the parallel port's bytes to a gray frame.

use crate::{FRAME_BYTES, PIXELS};

/// What a piece of the stream did to the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The frame goes on.
    Partial,
    /// The frame ended and has every byte.
    Complete,
    /// The frame ended and had another size: the receiver started in its middle, or bytes were lost. The next piece
    /// begins a new frame.
    Discarded {
        /// Bytes of the frame that was thrown away.
        bytes: usize,
    },
}

/// Takes the luma out of a YUV 4:2:2 stream (Y U Y V) that arrives in pieces of any length.
///
/// A frame that is not complete never counts as one: only a stretch of exactly [`FRAME_BYTES`] between two ends of
/// frame does, so it does not matter where in a frame the receiver was started.
#[derive(Debug)]
pub struct Assembler<'f> {
    luma: &'f mut [u8; PIXELS],
    bytes: usize,
}

impl<'f> Assembler<'f> {
    /// An assembler that writes into `luma`, row by row.
    pub fn new(luma: &'f mut [u8; PIXELS]) -> Self {
        Self { luma, bytes: 0 }
    }

    /// Takes the next bytes of the stream; `ends_frame` says that the frame is over after them.
    pub fn push(&mut self, piece: &[u8], ends_frame: bool) -> Progress {
        // Luma has the even places of the stream; what lies behind the end of the frame is counted and not stored.
        let luma = piece.iter().skip(self.bytes % 2).step_by(2);
        for (to, from) in self.luma.iter_mut().skip(self.bytes.div_ceil(2)).zip(luma) {
            *to = *from;
        }
        self.bytes = self.bytes.saturating_add(piece.len());
        if !ends_frame {
            return Progress::Partial;
        }
        match core::mem::take(&mut self.bytes) {
            FRAME_BYTES => Progress::Complete,
            bytes => Progress::Discarded { bytes },
        }
    }

    /// Bytes of the frame so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// A frame whose luma counts up and whose chroma is 255.
    fn stream() -> Vec<u8> {
        (0..PIXELS).flat_map(|i| [(i % 251) as u8, 255]).collect()
    }

    fn expected() -> Vec<u8> {
        (0..PIXELS).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn pieces_of_any_length_give_the_same_frame() {
        for length in [1, 2, 3, 7, 320, 1024, 4095, FRAME_BYTES] {
            let mut luma = [0; PIXELS];
            let mut assembler = Assembler::new(&mut luma);
            let stream = stream();
            let mut pieces = stream.chunks(length).peekable();
            while let Some(piece) = pieces.next() {
                let last = pieces.peek().is_none();
                let progress = assembler.push(piece, last);
                assert_eq!(progress, if last { Progress::Complete } else { Progress::Partial }, "length {length}");
            }
            assert_eq!(luma.as_slice(), expected(), "length {length}");
        }
    }

    #[test]
    fn an_end_of_frame_may_come_without_bytes() {
        let mut luma = [0; PIXELS];
        let mut assembler = Assembler::new(&mut luma);
        assert_eq!(assembler.push(&stream(), false), Progress::Partial);
        assert_eq!(assembler.push(&[], true), Progress::Complete);
        assert_eq!(luma.as_slice(), expected());
    }

    #[test]
    fn a_start_in_the_middle_costs_that_frame_only() {
        let mut luma = [9; PIXELS];
        let mut assembler = Assembler::new(&mut luma);
        let stream = stream();
        assert_eq!(assembler.push(&stream[30_001..], true), Progress::Discarded { bytes: 8_399 });
        assert_eq!(assembler.push(&stream, true), Progress::Complete);
        assert_eq!(luma.as_slice(), expected());
    }

    #[test]
    fn a_frame_with_too_many_bytes_is_discarded_without_harm() {
        let mut luma = [0; PIXELS];
        let mut assembler = Assembler::new(&mut luma);
        let stream = stream();
        assert_eq!(assembler.push(&stream, false), Progress::Partial);
        assert_eq!(assembler.bytes(), FRAME_BYTES);
        assert_eq!(assembler.push(&stream, true), Progress::Discarded { bytes: 2 * FRAME_BYTES });
        assert_eq!(assembler.push(&stream, true), Progress::Complete);
        assert_eq!(luma.as_slice(), expected());
    }

    #[test]
    fn one_lost_byte_discards_the_frame() {
        let mut luma = [0; PIXELS];
        let mut assembler = Assembler::new(&mut luma);
        assert_eq!(assembler.push(&stream()[1..], true), Progress::Discarded { bytes: FRAME_BYTES - 1 });
    }
}
