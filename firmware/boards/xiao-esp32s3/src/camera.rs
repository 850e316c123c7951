//! The OV2640 on the chip's camera receiver: LCD_CAM takes the parallel port, DMA brings it to memory.

use core::fmt;

use app::Camera;
use esp_hal::Blocking;
use esp_hal::delay::Delay;
use esp_hal::dma::{DmaError, DmaRxStreamBuf};
use esp_hal::dma_rx_stream_buffer;
use esp_hal::i2c::master::{self as i2c, I2c, SoftwareTimeout};
use esp_hal::lcd_cam::LcdCam;
use esp_hal::lcd_cam::cam::{self, EofMode, VhdeMode, VsyncFilterThreshold};
use esp_hal::peripherals::{
    DMA_CH0, GPIO10, GPIO11, GPIO12, GPIO13, GPIO14, GPIO15, GPIO16, GPIO17, GPIO18, GPIO38, GPIO39, GPIO40, GPIO47,
    GPIO48, I2C0, LCD_CAM,
};
use esp_hal::time::{Duration, Instant, Rate};
use ov2640::{Assembler, FRAME_BYTES, Ov2640, PIXELS, Progress};

/// The sensor's master clock. The registers are for 30 frames a second at 24 MHz, so for 25 at 20 MHz.
const XCLK: Rate = Rate::from_mhz(20);
/// From the start of the master clock to the first word on the bus, milliseconds.
const WAKE_MS: u32 = 10;
/// The control bus: SCCB's slowest rate, for the board's weak pull-ups.
const SCCB: Rate = Rate::from_khz(100);
/// Longest time of one transaction on the control bus (three bytes take 0.3 ms).
const SCCB_TIMEOUT: Duration = Duration::from_millis(20);

/// Longest time of a capture: a frame that has begun and the next one take 80 ms.
const CAPTURE_TIMEOUT: Duration = Duration::from_millis(500);

/// DMA buffer, bytes: 16 ms of the stream at 25 frames a second, so that polling is never too slow.
const BUFFER_BYTES: usize = 16 * CHUNK_BYTES;
/// Bytes of one DMA descriptor. No divisor of a frame: then the end of a frame always comes with the frame's last
/// bytes, in a descriptor that is not full.
const CHUNK_BYTES: usize = 1024;
const _: () = assert!(!FRAME_BYTES.is_multiple_of(CHUNK_BYTES));

/// What the camera is wired to: Seeed's schematic of the XIAO ESP32-S3 Sense, and `BOARD_ESP32S3_XIAO` in esp32-camera.
/// The sensor has neither a reset nor a power-down pin there.
pub struct Wiring {
    pub lcd_cam: LCD_CAM<'static>,
    pub dma: DMA_CH0<'static>,
    pub i2c: I2C0<'static>,
    pub xclk: GPIO10<'static>,
    pub siod: GPIO40<'static>,
    pub sioc: GPIO39<'static>,
    pub vsync: GPIO38<'static>,
    pub href: GPIO47<'static>,
    pub pclk: GPIO13<'static>,
    pub d0: GPIO15<'static>,
    pub d1: GPIO17<'static>,
    pub d2: GPIO18<'static>,
    pub d3: GPIO16<'static>,
    pub d4: GPIO14<'static>,
    pub d5: GPIO12<'static>,
    pub d6: GPIO11<'static>,
    pub d7: GPIO48<'static>,
}

/// What is wrong with the camera.
pub enum Error {
    /// The receiver cannot make the master clock.
    Clock(cam::ConfigError),
    /// The control bus cannot run as asked.
    Bus(i2c::ConfigError),
    /// The sensor is not configured.
    Sensor(ov2640::Error<i2c::Error>),
    /// DMA did not start.
    Dma(DmaError),
    /// DMA ran out of memory in the middle of a frame: the loop did not fetch the bytes in time.
    Overrun,
    /// No complete frame came in time.
    Timeout {
        /// Frames of another size that came instead.
        discarded: u32,
        /// Bytes of the frame that was coming in.
        bytes: usize,
    },
    /// An earlier capture never gave the receiver back.
    Gone,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Clock(error) => write!(f, "LCD_CAM cannot run the sensor at {XCLK}: {error:?}"),
            Error::Bus(error) => write!(f, "I2C cannot run at {SCCB}: {error}"),
            Error::Sensor(error) => error.fmt(f),
            Error::Dma(error) => write!(f, "DMA: {error:?}"),
            Error::Overrun => write!(f, "the DMA buffer of {BUFFER_BYTES} B ran over"),
            Error::Timeout { discarded, bytes } => write!(
                f,
                "no complete frame within {} ms ({discarded} of another size than {FRAME_BYTES} B, then {bytes} B)",
                CAPTURE_TIMEOUT.as_millis()
            ),
            Error::Gone => f.write_str("the receiver was lost"),
        }
    }
}

/// The sensor and the receiver of its frames.
pub struct Receiver {
    sensor: Ov2640<I2c<'static, Blocking>, Delay>,
    /// At rest between two captures.
    idle: Option<(cam::Camera<'static>, DmaRxStreamBuf)>,
}

impl Receiver {
    /// Wires everything up and starts the sensor's master clock.
    ///
    /// # Errors
    ///
    /// Where a clock cannot run at the rate that is asked for.
    ///
    /// # Panics
    ///
    /// Where it is called again: the DMA buffer is a static.
    pub fn new(wiring: Wiring) -> Result<Self, Error> {
        let config = cam::Config::default()
            .with_frequency(XCLK)
            .with_vh_de_mode(VhdeMode::De) // HREF says which bytes are pixels
            .with_eof_mode(EofMode::VsyncSignal)
            .with_vsync_filter_threshold(VsyncFilterThreshold::Five); // as esp32-camera (register value 4)
        let camera = cam::Camera::new(LcdCam::new(wiring.lcd_cam).cam, wiring.dma, config)
            .map_err(Error::Clock)?
            .with_master_clock(wiring.xclk)
            .with_pixel_clock(wiring.pclk)
            .with_vsync(wiring.vsync)
            .with_h_enable(wiring.href)
            .with_data0(wiring.d0)
            .with_data1(wiring.d1)
            .with_data2(wiring.d2)
            .with_data3(wiring.d3)
            .with_data4(wiring.d4)
            .with_data5(wiring.d5)
            .with_data6(wiring.d6)
            .with_data7(wiring.d7);
        let config = i2c::Config::default()
            .with_frequency(SCCB)
            .with_software_timeout(SoftwareTimeout::Transaction(SCCB_TIMEOUT));
        let bus = I2c::new(wiring.i2c, config).map_err(Error::Bus)?.with_sda(wiring.siod).with_scl(wiring.sioc);
        let delay = Delay::new();
        delay.delay_millis(WAKE_MS);
        let buffer = dma_rx_stream_buffer!(BUFFER_BYTES, CHUNK_BYTES);
        Ok(Self { sensor: Ov2640::new(bus, delay), idle: Some((camera, buffer)) })
    }
}

impl Camera<PIXELS> for Receiver {
    type Error = Error;

    fn configure(&mut self) -> Result<(), Error> {
        self.sensor.configure().map(|_| ()).map_err(Error::Sensor)
    }

    fn capture(&mut self, frame: &mut [u8; PIXELS]) -> Result<(), Error> {
        let deadline = Instant::now() + CAPTURE_TIMEOUT;
        let (camera, buffer) = self.idle.take().ok_or(Error::Gone)?;
        let mut transfer = match camera.receive(buffer) {
            Ok(transfer) => transfer,
            Err((error, camera, buffer)) => {
                self.idle = Some((camera, buffer));
                return Err(Error::Dma(error));
            }
        };
        let mut assembler = Assembler::new(frame);
        let mut discarded = 0;
        let result = loop {
            let (piece, ends_frame) = transfer.peek_until_eof();
            let length = piece.len();
            if length > 0 || ends_frame {
                let progress = assembler.push(piece, ends_frame);
                transfer.consume(length);
                match progress {
                    Progress::Complete => break Ok(()),
                    Progress::Discarded { bytes } => discarded += u32::from(bytes > 0),
                    Progress::Partial => {}
                }
            } else if transfer.is_done() {
                break Err(Error::Overrun);
            }
            if Instant::now() > deadline {
                break Err(Error::Timeout { discarded, bytes: assembler.bytes() });
            }
        };
        self.idle = Some(transfer.stop());
        result
    }
}
