//! OmniVision OV2640: configuration over SCCB, and gray frames of 160x120 pixels from its parallel port's stream.
//!
//! Works with any `embedded-hal` I2C bus, so all of it is tested on the host; the receiver of the parallel port is the
//! board's.
#![no_std]

mod frame;
mod registers;

use core::fmt;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

pub use frame::{Assembler, Progress};
pub use registers::Bank;
use registers::{BANK_SELECT, BASE, MIDH, MIDL, PID, RESET, VER, WINDOW, Write, YUV422};

/// Width of a frame, pixels.
pub const WIDTH: usize = 160;
/// Height of a frame, pixels.
pub const HEIGHT: usize = 120;
/// Pixels of a frame.
pub const PIXELS: usize = WIDTH * HEIGHT;
/// Bytes that the sensor sends for a frame: two a pixel, luma and chroma.
pub const FRAME_BYTES: usize = 2 * PIXELS;

/// The sensor's address on the bus, 7 bits.
pub const ADDRESS: u8 = 0x30;
/// `PID` of every OV2640.
const PRODUCT: u8 = 0x26;
/// What the sensor needs after a reset and between two formats, milliseconds (esp32-camera waits as long).
const SETTLE_MS: u32 = 10;

/// Who answers at the sensor's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// 0x26 for an OV2640.
    pub product: u8,
    /// 0x41 or 0x42 on the market.
    pub version: u8,
    /// 0x7fa2 for OmniVision.
    pub manufacturer: u16,
}

/// Why the sensor is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The bus failed at this register.
    Bus {
        /// The register's bank; `None` while the bank was being chosen.
        bank: Option<Bank>,
        /// The register.
        register: u8,
        /// What the bus said.
        source: E,
    },
    /// Something else answers.
    OtherSensor(Identity),
}

impl<E: embedded_hal::i2c::Error> core::error::Error for Error<E> {}

impl<E: embedded_hal::i2c::Error> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Bus { bank, register, source } => {
                write!(f, "OV2640 at SCCB address {ADDRESS:#04x}, register {register:#04x}")?;
                match bank {
                    Some(Bank::Dsp) => f.write_str(" (DSP)")?,
                    Some(Bank::Sensor) => f.write_str(" (sensor)")?,
                    None => {}
                }
                write!(f, ": {}", source.kind())
            }
            Error::OtherSensor(Identity { product, version, manufacturer }) => write!(
                f,
                "no OV2640 (product {PRODUCT:#04x}) but product {product:#04x}, version {version:#04x}, manufacturer \
                 {manufacturer:#06x} answers at SCCB address {ADDRESS:#04x}"
            ),
        }
    }
}

/// The sensor on its control bus.
#[derive(Debug)]
pub struct Ov2640<I2C, D> {
    bus: I2C,
    delay: D,
    bank: Option<Bank>, // the one that is chosen, where it is known
}

impl<I2C: I2c, D: DelayNs> Ov2640<I2C, D> {
    /// A sensor on `bus`, which must run at 100 to 400 kHz. Nothing is sent yet.
    ///
    /// The sensor answers only while its master clock (XCLK) runs.
    pub fn new(bus: I2C, delay: D) -> Self {
        Self { bus, delay, bank: None }
    }

    /// Who is there.
    ///
    /// # Errors
    ///
    /// [`Error::Bus`] where nobody answers.
    pub fn identity(&mut self) -> Result<Identity, Error<I2C::Error>> {
        Ok(Identity {
            product: self.read(Bank::Sensor, PID)?,
            version: self.read(Bank::Sensor, VER)?,
            manufacturer: u16::from_be_bytes([self.read(Bank::Sensor, MIDH)?, self.read(Bank::Sensor, MIDL)?]),
        })
    }

    /// Resets the sensor and sets it up for frames of 160x120 pixels, YUV 4:2:2. Takes about 100 ms at 100 kHz.
    ///
    /// Exposure and white balance need some frames to settle afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::OtherSensor`] before anything is written, [`Error::Bus`] at any register. It can be called again.
    pub fn configure(&mut self) -> Result<Identity, Error<I2C::Error>> {
        self.bank = None; // the sensor may have lost power since the last call
        let identity = self.identity()?;
        if identity.product != PRODUCT {
            return Err(Error::OtherSensor(identity));
        }
        self.write(RESET)?;
        self.bank = None;
        self.delay.delay_ms(SETTLE_MS);
        self.write_all(BASE)?;
        self.write_all(WINDOW)?;
        self.delay.delay_ms(SETTLE_MS);
        self.write_all(YUV422)?;
        self.delay.delay_ms(SETTLE_MS);
        Ok(identity)
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<(), Error<I2C::Error>> {
        writes.iter().try_for_each(|write| self.write(*write))
    }

    fn write(&mut self, (bank, register, value): Write) -> Result<(), Error<I2C::Error>> {
        self.choose(bank)?;
        self.bus.write(ADDRESS, &[register, value]).map_err(|source| self.lost(Some(bank), register, source))
    }

    fn read(&mut self, bank: Bank, register: u8) -> Result<u8, Error<I2C::Error>> {
        self.choose(bank)?;
        let mut value = [0];
        // Two transactions: SCCB has no repeated start (OmniVision, SCCB specification 2.2, section 3.3).
        self.bus
            .write(ADDRESS, &[register])
            .and_then(|()| self.bus.read(ADDRESS, &mut value))
            .map_err(|source| self.lost(Some(bank), register, source))?;
        Ok(value[0])
    }

    fn choose(&mut self, bank: Bank) -> Result<(), Error<I2C::Error>> {
        if self.bank != Some(bank) {
            self.bus
                .write(ADDRESS, &[BANK_SELECT, bank as u8])
                .map_err(|source| self.lost(None, BANK_SELECT, source))?;
            self.bank = Some(bank);
        }
        Ok(())
    }

    /// After a failure nobody knows which bank is chosen.
    fn lost(&mut self, bank: Option<Bank>, register: u8, source: I2C::Error) -> Error<I2C::Error> {
        self.bank = None;
        Error::Bus { bank, register, source }
    }
}
