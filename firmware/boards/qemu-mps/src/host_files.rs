//! Files and command line of the host, by semihosting (Arm "Semihosting for AArch32 and AArch64", 2.0).

use core::ffi::CStr;

use cortex_m_semihosting::{nr, syscall};

use crate::console::stop;

/// A file in the emulator's working directory.
pub struct HostFile {
    handle: usize,
}

impl HostFile {
    /// Mode `rb`.
    pub const READ: usize = 1;
    /// Mode `wb`.
    pub const WRITE: usize = 5;

    /// Opens it, or ends the emulation.
    pub fn open(name: &CStr, mode: usize) -> Self {
        // SAFETY: SYS_OPEN reads the name, whose length is given without its zero.
        let handle = unsafe { syscall!(OPEN, name.as_ptr(), mode, name.count_bytes()) };
        if handle == usize::MAX {
            stop(format_args!("cannot open {}", name.to_str().unwrap_or("a file")));
        }
        Self { handle }
    }

    /// Fills `buffer`; false at the end of the file. A file that ends within `buffer` ends the emulation.
    pub fn read(&mut self, buffer: &mut [u8]) -> bool {
        // SAFETY: SYS_READ writes at most as many bytes as it is told.
        let missing = unsafe { syscall!(READ, self.handle, buffer.as_mut_ptr(), buffer.len()) };
        match missing {
            0 => true,
            n if n == buffer.len() => false,
            n => stop(format_args!("the frames end {n} B before the end of a frame of {} B", buffer.len())),
        }
    }

    /// Writes all of `bytes`, or ends the emulation.
    pub fn write(&mut self, bytes: &[u8]) {
        // SAFETY: SYS_WRITE reads as many bytes as it is told.
        let left = unsafe { syscall!(WRITE, self.handle, bytes.as_ptr(), bytes.len()) };
        if left != 0 {
            stop("the host did not take the outputs: is its disk full?");
        }
    }

    /// Closes it, so that the host has every byte.
    pub fn close(self) {
        // SAFETY: the handle is open and not used again.
        unsafe { syscall!(CLOSE, self.handle) };
    }
}

/// What stood behind `-semihosting-config arg=`.
pub struct CommandLine {
    bytes: [u8; 128],
    length: usize,
}

impl CommandLine {
    /// Asks the host.
    pub fn read() -> Self {
        let mut bytes = [0_u8; 128];
        let mut block = [bytes.as_mut_ptr().addr(), bytes.len()];
        // SAFETY: SYS_GET_CMDLINE writes at most as many bytes as the block says, and the length into the block.
        let status = unsafe { cortex_m_semihosting::syscall1(nr::GET_CMDLINE, block.as_mut_ptr().addr()) };
        if status != 0 {
            stop("the host gives no command line");
        }
        // The host wrote through the addresses in the block, which the compiler cannot see.
        core::hint::black_box((&mut bytes, &mut block));
        Self { bytes, length: block[1].min(128) }
    }

    /// Its words, the program's name first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.bytes.get(..self.length).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default().split(' ')
    }

    /// The number behind `name=`.
    pub fn number(&self, name: &str) -> Option<usize> {
        let value = self.words().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        match value.trim_end_matches('\0').parse() {
            Ok(number) => Some(number),
            Err(_) => stop(format_args!("{name}={value} is no number")),
        }
    }
}
