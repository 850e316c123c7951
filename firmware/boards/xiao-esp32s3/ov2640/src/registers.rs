//! Registers and what is written to them.
//!
//! The values are those of Espressif's esp32-camera (`sensors/private_include/ov2640_settings.h`, Apache-2.0) for
//! `FRAMESIZE_QQVGA` and `PIXFORMAT_GRAYSCALE` on an ESP32-S3, so that the network sees on the device what the frames
//! it was trained on look like. OmniVision documents about half of these registers; the rest keep their numbers.

/// The sensor has two sets of registers behind the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bank {
    /// Image processing: scaling, formats, the parallel port.
    Dsp = 0,
    /// The image array: window, exposure, gain, clock.
    Sensor = 1,
}

use Bank::{Dsp, Sensor};

/// One register write.
pub(crate) type Write = (Bank, u8, u8);

/// Chooses the bank; the same in both.
pub(crate) const BANK_SELECT: u8 = 0xff;

const R_BYPASS: u8 = 0x05;
const CTRLI: u8 = 0x50;
const HSIZE: u8 = 0x51;
const VSIZE: u8 = 0x52;
const XOFFL: u8 = 0x53;
const YOFFL: u8 = 0x54;
const VHYX: u8 = 0x55;
const TEST: u8 = 0x57;
const ZMOW: u8 = 0x5a;
const ZMOH: u8 = 0x5b;
const ZMHH: u8 = 0x5c;
const BPADDR: u8 = 0x7c;
const BPDATA: u8 = 0x7d;
const CTRL2: u8 = 0x86;
const CTRL3: u8 = 0x87;
const SIZEL: u8 = 0x8c;
const HSIZE8: u8 = 0xc0;
const VSIZE8: u8 = 0xc1;
const CTRL1: u8 = 0xc3;
const R_DVP_SP: u8 = 0xd3;
const IMAGE_MODE: u8 = 0xda;
const RESET_CTRL: u8 = 0xe0;
const MC_BIST: u8 = 0xf9;

const COM1: u8 = 0x03;
const REG04: u8 = 0x04;
const COM2: u8 = 0x09;
pub(crate) const PID: u8 = 0x0a;
pub(crate) const VER: u8 = 0x0b;
const COM4: u8 = 0x0d;
const CLKRC: u8 = 0x11;
const COM7: u8 = 0x12;
const COM8: u8 = 0x13;
const COM9: u8 = 0x14;
const HSTART: u8 = 0x17;
const HSTOP: u8 = 0x18;
const VSTART: u8 = 0x19;
const VSTOP: u8 = 0x1a;
pub(crate) const MIDH: u8 = 0x1c;
pub(crate) const MIDL: u8 = 0x1d;
const AEW: u8 = 0x24;
const AEB: u8 = 0x25;
const VV: u8 = 0x26;
const REG32: u8 = 0x32;
const ARCOM2: u8 = 0x34;
const BD50: u8 = 0x4f;
const BD60: u8 = 0x50;
const HISTO_LOW: u8 = 0x61;
const HISTO_HIGH: u8 = 0x62;

/// All registers to their power-on values. The sensor needs 10 ms afterwards.
pub(crate) const RESET: Write = (Sensor, COM7, 0x80);

/// The sensor's array in CIF mode (400x296), automatic exposure (at most 8x gain), gamma, white balance and lens
/// correction.
pub(crate) const BASE: &[Write] = &[
    (Dsp, 0x2c, 0xff),
    (Dsp, 0x2e, 0xdf),
    (Sensor, 0x3c, 0x32),
    (Sensor, CLKRC, 0x01),
    (Sensor, COM2, 0x02),
    (Sensor, REG04, 0x28),
    (Sensor, COM8, 0xe5),
    (Sensor, COM9, 0x48),
    (Sensor, 0x2c, 0x0c),
    (Sensor, 0x33, 0x78),
    (Sensor, 0x3a, 0x33),
    (Sensor, 0x3b, 0xfb),
    (Sensor, 0x3e, 0x00),
    (Sensor, 0x43, 0x11),
    (Sensor, 0x16, 0x10),
    (Sensor, 0x39, 0x92),
    (Sensor, 0x35, 0xda),
    (Sensor, 0x22, 0x1a),
    (Sensor, 0x37, 0xc3),
    (Sensor, 0x23, 0x00),
    (Sensor, ARCOM2, 0xc0),
    (Sensor, 0x06, 0x88),
    (Sensor, 0x07, 0xc0),
    (Sensor, COM4, 0x87),
    (Sensor, 0x0e, 0x41),
    (Sensor, 0x4c, 0x00),
    (Sensor, 0x4a, 0x81),
    (Sensor, 0x21, 0x99),
    (Sensor, AEW, 0x40),
    (Sensor, AEB, 0x38),
    (Sensor, VV, 0x82),
    (Sensor, 0x5c, 0x00),
    (Sensor, 0x63, 0x00),
    (Sensor, HISTO_LOW, 0x70),
    (Sensor, HISTO_HIGH, 0x80),
    (Sensor, 0x7c, 0x05),
    (Sensor, 0x20, 0x80),
    (Sensor, 0x28, 0x30),
    (Sensor, 0x6c, 0x00),
    (Sensor, 0x6d, 0x80),
    (Sensor, 0x6e, 0x00),
    (Sensor, 0x70, 0x02),
    (Sensor, 0x71, 0x94),
    (Sensor, 0x73, 0xc1),
    (Sensor, 0x3d, 0x34),
    (Sensor, 0x5a, 0x57),
    (Sensor, BD50, 0xbb),
    (Sensor, BD60, 0x9c),
    (Sensor, COM7, 0x20),
    (Sensor, HSTART, 0x11),
    (Sensor, HSTOP, 0x43),
    (Sensor, VSTART, 0x00),
    (Sensor, VSTOP, 0x25),
    (Sensor, REG32, 0x89),
    (Sensor, 0x37, 0xc0),
    (Sensor, BD50, 0xca),
    (Sensor, BD60, 0xa8),
    (Sensor, 0x6d, 0x00),
    (Sensor, 0x3d, 0x38),
    (Dsp, 0xe5, 0x7f),
    (Dsp, MC_BIST, 0xc0),
    (Dsp, 0x41, 0x24),
    (Dsp, RESET_CTRL, 0x14),
    (Dsp, 0x76, 0xff),
    (Dsp, 0x33, 0xa0),
    (Dsp, 0x42, 0x20),
    (Dsp, 0x43, 0x18),
    (Dsp, 0x4c, 0x00),
    (Dsp, CTRL3, 0x50),
    (Dsp, 0x88, 0x3f),
    (Dsp, 0xd7, 0x03),
    (Dsp, 0xd9, 0x10),
    (Dsp, R_DVP_SP, 0x82),
    (Dsp, 0xc8, 0x08),
    (Dsp, 0xc9, 0x80),
    (Dsp, BPADDR, 0x00),
    (Dsp, BPDATA, 0x00),
    (Dsp, BPADDR, 0x03),
    (Dsp, BPDATA, 0x48),
    (Dsp, BPDATA, 0x48),
    (Dsp, BPADDR, 0x08),
    (Dsp, BPDATA, 0x20),
    (Dsp, BPDATA, 0x10),
    (Dsp, BPDATA, 0x0e),
    (Dsp, 0x90, 0x00),
    (Dsp, 0x91, 0x0e),
    (Dsp, 0x91, 0x1a),
    (Dsp, 0x91, 0x31),
    (Dsp, 0x91, 0x5a),
    (Dsp, 0x91, 0x69),
    (Dsp, 0x91, 0x75),
    (Dsp, 0x91, 0x7e),
    (Dsp, 0x91, 0x88),
    (Dsp, 0x91, 0x8f),
    (Dsp, 0x91, 0x96),
    (Dsp, 0x91, 0xa3),
    (Dsp, 0x91, 0xaf),
    (Dsp, 0x91, 0xc4),
    (Dsp, 0x91, 0xd7),
    (Dsp, 0x91, 0xe8),
    (Dsp, 0x91, 0x20),
    (Dsp, 0x92, 0x00),
    (Dsp, 0x93, 0x06),
    (Dsp, 0x93, 0xe3),
    (Dsp, 0x93, 0x05),
    (Dsp, 0x93, 0x05),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x04),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x93, 0x00),
    (Dsp, 0x96, 0x00),
    (Dsp, 0x97, 0x08),
    (Dsp, 0x97, 0x19),
    (Dsp, 0x97, 0x02),
    (Dsp, 0x97, 0x0c),
    (Dsp, 0x97, 0x24),
    (Dsp, 0x97, 0x30),
    (Dsp, 0x97, 0x28),
    (Dsp, 0x97, 0x26),
    (Dsp, 0x97, 0x02),
    (Dsp, 0x97, 0x98),
    (Dsp, 0x97, 0x80),
    (Dsp, 0x97, 0x00),
    (Dsp, 0x97, 0x00),
    (Dsp, 0xa4, 0x00),
    (Dsp, 0xa8, 0x00),
    (Dsp, 0xc5, 0x11),
    (Dsp, 0xc6, 0x51),
    (Dsp, 0xbf, 0x80),
    (Dsp, 0xc7, 0x10),
    (Dsp, 0xb6, 0x66),
    (Dsp, 0xb8, 0xa5),
    (Dsp, 0xb7, 0x64),
    (Dsp, 0xb9, 0x7c),
    (Dsp, 0xb3, 0xaf),
    (Dsp, 0xb4, 0x97),
    (Dsp, 0xb5, 0xff),
    (Dsp, 0xb0, 0xc5),
    (Dsp, 0xb1, 0x94),
    (Dsp, 0xb2, 0x0f),
    (Dsp, 0xc4, 0x5c),
    (Dsp, CTRL1, 0xfd),
    (Dsp, 0x7f, 0x00),
    (Dsp, 0xe5, 0x1f),
    (Dsp, 0xe1, 0x67),
    (Dsp, 0xdd, 0x7f),
    (Dsp, IMAGE_MODE, 0x00),
    (Dsp, RESET_CTRL, 0x00),
    (Dsp, R_BYPASS, 0x00),
];

/// The whole array, scaled by the DSP to 160x120.
///
/// In units of 4 pixels: window 100x74 (`HSIZE`, `VSIZE`; 400x296 from the array), output 40x30 (`ZMOW`, `ZMOH`).
/// `CLKRC` 0x83 doubles the 20 MHz of XCLK and divides by 4; `R_DVP_SP` 0x88 leaves the pixel clock to the sensor.
/// The DSP is bypassed while its window changes.
pub(crate) const WINDOW: &[Write] = &[
    (Dsp, R_BYPASS, 0x01),
    (Sensor, COM7, 0x20),
    (Sensor, COM1, 0x0a),
    (Sensor, REG32, 0x89),
    (Sensor, HSTART, 0x11),
    (Sensor, HSTOP, 0x43),
    (Sensor, VSTART, 0x00),
    (Sensor, VSTOP, 0x25),
    (Sensor, BD50, 0xca),
    (Sensor, BD60, 0xa8),
    (Sensor, 0x5a, 0x23),
    (Sensor, 0x6d, 0x00),
    (Sensor, 0x3d, 0x38),
    (Sensor, 0x39, 0x92),
    (Sensor, 0x35, 0xda),
    (Sensor, 0x22, 0x1a),
    (Sensor, 0x37, 0xc3),
    (Sensor, 0x23, 0x00),
    (Sensor, ARCOM2, 0xc0),
    (Sensor, 0x06, 0x88),
    (Sensor, 0x07, 0xc0),
    (Sensor, COM4, 0x87),
    (Sensor, 0x0e, 0x41),
    (Sensor, 0x4c, 0x00),
    (Dsp, RESET_CTRL, 0x04),
    (Dsp, HSIZE8, 0x32),
    (Dsp, VSIZE8, 0x25),
    (Dsp, SIZEL, 0x00),
    (Dsp, HSIZE, 0x64),
    (Dsp, VSIZE, 0x4a),
    (Dsp, XOFFL, 0x00),
    (Dsp, YOFFL, 0x00),
    (Dsp, VHYX, 0x00),
    (Dsp, TEST, 0x00),
    (Dsp, CTRL2, 0x3d),
    (Dsp, CTRLI, 0x80),
    (Dsp, HSIZE, 0x64),
    (Dsp, VSIZE, 0x4a),
    (Dsp, XOFFL, 0x00),
    (Dsp, YOFFL, 0x00),
    (Dsp, VHYX, 0x00),
    (Dsp, TEST, 0x00),
    (Dsp, ZMOW, 0x28),
    (Dsp, ZMOH, 0x1e),
    (Dsp, ZMHH, 0x00),
    (Sensor, CLKRC, 0x83),
    (Dsp, R_DVP_SP, 0x88),
    (Dsp, R_BYPASS, 0x00),
];

/// YUV 4:2:2, luma first: Y U Y V. The DSP's port is held in reset meanwhile.
pub(crate) const YUV422: &[Write] =
    &[(Dsp, RESET_CTRL, 0x04), (Dsp, IMAGE_MODE, 0x00), (Dsp, 0xd7, 0x01), (Dsp, 0xe1, 0x67), (Dsp, RESET_CTRL, 0x00)];
