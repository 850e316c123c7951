//! A camera frame as the network wants it: size, value range, channels.

use core::fmt;

/// Widest network input, pixels: the resizer keeps two rows of it on the stack.
pub const MAX_WIDTH: usize = 320;
/// Largest camera frame, bytes: 255 times as much still fits 32 bits.
pub const MAX_FRAME_BYTES: usize = 4096 * 4096;

/// How gray levels 0..255 become input bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feeding {
    /// `x ^ 0x80`: an int8 input with scale 1 and zero point -128.
    Flip,
    /// As they are: a uint8 input with scale 1 and zero point 0.
    Same,
    /// By table, for any other quantization of the input.
    Table(&'static [u8; 256]),
}

impl Feeding {
    /// The input byte of gray level `level`.
    #[inline]
    pub fn byte(&self, level: u8) -> u8 {
        match self {
            Feeding::Flip => level ^ 0x80,
            Feeding::Same => level,
            // An index of 8 bits cannot leave a table of 256.
            Feeding::Table(table) => table.get(usize::from(level)).copied().unwrap_or_default(),
        }
    }
}

/// Sizes of the camera's frame and of the network's input, pixels, and how many channels repeat the gray level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Width of a camera frame.
    pub camera_width: usize,
    /// Height of a camera frame.
    pub camera_height: usize,
    /// Width of the network's input, at most 320.
    pub width: usize,
    /// Height of the network's input.
    pub height: usize,
    /// Channels of the network's input.
    pub channels: usize,
}

impl Geometry {
    /// Bytes of a camera frame; where they do not fit, the most that do.
    pub const fn frame_bytes(&self) -> usize {
        self.camera_width.saturating_mul(self.camera_height)
    }

    /// Bytes of the network's input; where they do not fit, the most that do.
    pub const fn input_bytes(&self) -> usize {
        self.width.saturating_mul(self.height).saturating_mul(self.channels)
    }
}

/// A frame or an input that has not the size that the geometry says, an input that is too wide or a frame too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongSize {
    /// Bytes of the frame that was given.
    pub frame: usize,
    /// Bytes of the input that was given.
    pub input: usize,
    /// What they should be.
    pub geometry: Geometry,
}

impl core::error::Error for WrongSize {}

impl fmt::Display for WrongSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { camera_width, camera_height, width, height, channels } = self.geometry;
        write!(
            f,
            "a frame of {} B for an input of {} B, wanted {camera_width}x{camera_height} and \
             {width}x{height}x{channels} (at most {MAX_WIDTH} wide, of at most {MAX_FRAME_BYTES} B)",
            self.frame, self.input
        )
    }
}

/// Fills the network's input from a gray frame, row by row, 8 bits a pixel.
///
/// Where the sizes differ each input pixel is the mean of the frame's area below it, in integers, halves rounded up:
/// the definition that training and evaluation use (`tasks/resize.py`), so that they saw what the device sees.
///
/// # Errors
///
/// [`WrongSize`]; then the input is as it was.
pub fn fill_input(frame: &[u8], geometry: &Geometry, feeding: &Feeding, input: &mut [u8]) -> Result<(), WrongSize> {
    let right = frame.len() == geometry.frame_bytes()
        && input.len() == geometry.input_bytes()
        && geometry.width <= MAX_WIDTH
        && frame.len() <= MAX_FRAME_BYTES
        && !frame.is_empty()
        && !input.is_empty();
    if !right {
        return Err(WrongSize { frame: frame.len(), input: input.len(), geometry: *geometry });
    }
    let channels = geometry.channels;
    if (geometry.camera_width, geometry.camera_height) == (geometry.width, geometry.height) {
        for (pixel, level) in input.chunks_exact_mut(channels).zip(frame) {
            pixel.fill(feeding.byte(*level));
        }
    } else {
        shrink(frame, geometry, feeding, input);
    }
    Ok(())
}

/// Area filter, one camera row at a time.
///
/// In units of 1/`width` of a camera pixel an input pixel is `camera_width` long and a camera pixel `width`; the same
/// upright. So all weights are whole numbers and a pixel's weights sum to `camera_width * camera_height` (less with
/// the common factors taken out).
fn shrink(frame: &[u8], geometry: &Geometry, feeding: &Feeding, input: &mut [u8]) {
    let across = Axis::new(geometry.camera_width, geometry.width);
    let down = Axis::new(geometry.camera_height, geometry.height);
    let area = across.target_length * down.target_length;
    let mut row = [0_u32; MAX_WIDTH];
    let mut sums = [0_u32; MAX_WIDTH];
    let mut lines = input.chunks_exact_mut(geometry.width * geometry.channels);
    let mut line = lines.next();
    let mut filled = 0; // of the current line's height
    for source in frame.chunks_exact(geometry.camera_width) {
        across.weighted(source, &mut row);
        let mut left = down.source_length;
        while left > 0 {
            let part = left.min(down.target_length - filled);
            for (sum, value) in sums.iter_mut().zip(&row).take(geometry.width) {
                *sum += part * value;
            }
            left -= part;
            filled += part;
            if filled == down.target_length {
                if let Some(pixels) = line.take() {
                    for (pixel, sum) in pixels.chunks_exact_mut(geometry.channels).zip(&sums) {
                        // The same as (2 sum + area) / (2 area), which a large frame would not fit 32 bits with.
                        let level = (sum + area / 2) / area;
                        pixel.fill(feeding.byte(u8::try_from(level).unwrap_or(u8::MAX)));
                    }
                }
                line = lines.next();
                sums.fill(0);
                filled = 0;
            }
        }
    }
}

/// One direction of the filter: lengths of a camera pixel and of an input pixel in common units.
struct Axis {
    source_length: u32,
    target_length: u32,
}

impl Axis {
    fn new(source: usize, target: usize) -> Self {
        let (mut a, mut b) = (source, target);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let units = |n: usize| u32::try_from(n / a).unwrap_or(u32::MAX);
        Self { source_length: units(target), target_length: units(source) }
    }

    /// The weighted sum of `source` for every input pixel of a row.
    fn weighted(&self, source: &[u8], row: &mut [u32; MAX_WIDTH]) {
        let mut targets = row.iter_mut();
        let mut sum = 0;
        let mut filled = 0;
        for level in source {
            let mut left = self.source_length;
            while left > 0 {
                let part = left.min(self.target_length - filled);
                sum += part * u32::from(*level);
                left -= part;
                filled += part;
                if filled == self.target_length {
                    if let Some(target) = targets.next() {
                        *target = sum;
                    }
                    sum = 0;
                    filled = 0;
                }
            }
        }
    }
}
