//! One JSON object a line on the host's console, and the end of the emulation.

use core::fmt::{self, Write};

use cortex_m_semihosting::{debug, hio};

/// Text as a JSON string.
pub struct Quoted<T>(pub T);

impl<T: fmt::Display> fmt::Display for Quoted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaped<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    match c {
                        '"' | '\\' => write!(self.0, "\\{c}")?,
                        c if c.is_control() => self.0.write_char(' ')?,
                        c => self.0.write_char(c)?,
                    }
                }
                Ok(())
            }
        }
        f.write_char('"')?;
        write!(Escaped(f), "{}", self.0)?;
        f.write_char('"')
    }
}

/// A line that is written to the host at once: every semihosting call stops the emulator.
pub struct Line {
    bytes: [u8; 640],
    length: usize,
}

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self { bytes: [0; 640], length: 0 }
    }

    /// Sends it.
    pub fn send(&self) {
        if let (Ok(mut console), Some(bytes)) = (hio::hstdout(), self.bytes.get(..self.length)) {
            // Nobody is left to be told where the console itself fails; the host notices the missing line.
            let _ = console.write_all(bytes);
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(text.as_bytes()) {
            *to = *from;
            self.length += 1;
        }
        Ok(())
    }
}

/// One event as a line of JSON: `tell!("frame", "index": 3, "message": Quoted("..."))`.
macro_rules! tell {
    ($event:literal $(, $name:literal: $value:expr)* $(,)?) => {{
        use core::fmt::Write as _;
        let mut line = $crate::console::Line::new();
        // A line cannot fail to be written to: what is too long is cut.
        let _ = write!(line, concat!("{{\"event\":\"", $event, "\"", $(",\"", $name, "\":{}",)* "}}\n"), $($value),*);
        line.send();
    }};
}
pub(crate) use tell;

/// Says why and ends the emulation with a failure.
pub fn stop(reason: impl fmt::Display) -> ! {
    tell!("error", "message": Quoted(reason));
    exit(false)
}

/// Ends the emulation.
pub fn exit(success: bool) -> ! {
    debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}
