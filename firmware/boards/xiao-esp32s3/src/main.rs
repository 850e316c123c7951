//! The firmware on a Seeed XIAO ESP32-S3 Sense: camera frames in, one line of JSON a frame out.
//!
//! What it does is in the crate `app`, what the sensor is told in the crate `ov2640`; both are tested on the host. Here
//! is the hardware: pins, DMA, memories, watchdog, console.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)] // the processor's special registers

mod camera;
mod clock;
mod halt;
mod memory;
mod network;
mod processor;
mod watchdog;

use app::{Quoted, Watch};
use camera::{Receiver, Wiring};
use esp_backtrace as _; // the panic handler
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_println::println;
use model::{ARENA_BYTES, DECISION, GEOMETRY, MODEL_SHA256};
use network::Network;
use ov2640::{HEIGHT, WIDTH};
use watchdog::Watchdog;

esp_bootloader_esp_idf::esp_app_desc!();

const _: () = assert!(
    GEOMETRY.camera_width == WIDTH && GEOMETRY.camera_height == HEIGHT,
    "this board's camera gives 160x120 pixels: make the contract with that camera size"
);

/// How long the loop rests where it must wait for the camera, milliseconds.
const REST_MS: u32 = 20;

#[esp_hal::main]
fn main() -> ! {
    processor::enable_coprocessors();
    let peripherals = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let mut watchdog = Watchdog::start(peripherals.RTC_TIMER);
    // The LED is wired to the supply: low is on.
    let mut led = Output::new(peripherals.GPIO21, Level::High, OutputConfig::default());
    println!(
        "{{\"event\":\"start\",\"model\":{},\"revision\":{},\"kernels\":{},\"sources\":{},\"arena_bytes\":{ARENA_BYTES},\
         \"arena_in\":{},\"reset\":{}}}",
        Quoted(MODEL_SHA256),
        Quoted(tflm::REVISION),
        Quoted(tflm::KERNELS),
        Quoted(tflm::SOURCES_SHA256),
        Quoted(memory::PLACE),
        Quoted(halt::reset_reason())
    );

    let arena = match memory::arena(peripherals.PSRAM) {
        Ok(arena) => arena,
        Err(error) => halt::stop(&mut watchdog, error),
    };
    let network = match Network::new(arena) {
        Ok(network) => network,
        Err(error) => halt::stop(&mut watchdog, error),
    };
    println!("{{\"event\":\"ready\",\"ms\":{},\"arena_used\":{}}}", clock::micros() / 1_000, network.arena_used());
    let receiver = Receiver::new(Wiring {
        lcd_cam: peripherals.LCD_CAM,
        dma: peripherals.DMA_CH0,
        i2c: peripherals.I2C0,
        xclk: peripherals.GPIO10,
        siod: peripherals.GPIO40,
        sioc: peripherals.GPIO39,
        vsync: peripherals.GPIO38,
        href: peripherals.GPIO47,
        pclk: peripherals.GPIO13,
        d0: peripherals.GPIO15,
        d1: peripherals.GPIO17,
        d2: peripherals.GPIO18,
        d3: peripherals.GPIO16,
        d4: peripherals.GPIO14,
        d5: peripherals.GPIO12,
        d6: peripherals.GPIO11,
        d7: peripherals.GPIO48,
    });
    let receiver = match receiver {
        Ok(receiver) => receiver,
        Err(error) => halt::stop(&mut watchdog, error),
    };
    let Some(frame) = memory::frame() else { halt::stop(&mut watchdog, "the frame's memory is in use") };

    let mut watch = Watch::new(receiver, network, frame, DECISION);
    loop {
        watchdog.feed();
        let report = watch.step(clock::micros);
        led.set_level(if report.person() { Level::Low } else { Level::High });
        if report.speaks() {
            println!("{report}");
        } else {
            Delay::new().delay_millis(REST_MS);
        }
    }
}
