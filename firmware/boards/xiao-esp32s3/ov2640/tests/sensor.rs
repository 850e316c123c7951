//! The driver against a sensor that exists in memory only. Not touched: electrical timing, the parallel port.
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error as _, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use ov2640::{ADDRESS, Bank, Error, FRAME_BYTES, Identity, Ov2640};
use std::cell::RefCell;
use std::rc::Rc;

/// What the sensor saw, as lines of the golden file.
type Log = Rc<RefCell<Vec<String>>>;

/// Two banks of registers behind an SCCB bus.
struct Sensor {
    log: Log,
    bank: u8,
    register: u8,
    banks: [[u8; 256]; 2],
    transactions: usize,
    fails_at: Option<usize>,
}

impl Sensor {
    fn new(log: &Log) -> Self {
        let mut banks = [[0; 256]; 2];
        for (register, value) in [(0x0a, 0x26), (0x0b, 0x42), (0x1c, 0x7f), (0x1d, 0xa2)] {
            banks[1][register] = value;
        }
        // A reset leaves either bank chosen: the driver must choose before it writes.
        Self { log: log.clone(), bank: 0, register: 0, banks, transactions: 0, fails_at: None }
    }

    fn took(&mut self, bytes: &[u8]) {
        match *bytes {
            [0xff, bank] => self.bank = bank,
            [register, value] => {
                self.log.borrow_mut().push(format!("{} {register:02x} {value:02x}", self.bank));
                if (self.bank, register, value) == (1, 0x12, 0x80) {
                    self.bank = 0;
                }
            }
            [register] => self.register = register,
            _ => panic!("not SCCB: {bytes:x?}"),
        }
    }
}

impl ErrorType for Sensor {
    type Error = ErrorKind;
}

impl I2c for Sensor {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        assert_eq!(address, ADDRESS);
        let [operation] = operations else { panic!("SCCB has no repeated start") };
        self.transactions += 1;
        if self.fails_at == Some(self.transactions) {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        match operation {
            Operation::Write(bytes) => self.took(bytes),
            Operation::Read(bytes) => {
                let [value] = &mut **bytes else { panic!("SCCB reads one byte") };
                *value = self.banks[usize::from(self.bank)][usize::from(self.register)];
            }
        }
        Ok(())
    }
}

struct Clock(Log);

impl DelayNs for Clock {
    fn delay_ns(&mut self, ns: u32) {
        self.0.borrow_mut().push(format!("delay {}", ns / 1_000_000));
    }
}

/// Espressif's sequence, without its comment.
fn golden() -> Vec<&'static str> {
    let text = include_str!("esp32-camera-qqvga-gray.txt");
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_sensor_gets_what_esp32_camera_sends_it() {
    let log = Log::default();
    let identity = Ov2640::new(Sensor::new(&log), Clock(log.clone())).configure();
    assert_eq!(identity, Ok(Identity { product: 0x26, version: 0x42, manufacturer: 0x7fa2 }));
    let sent = log.borrow();
    // esp32-camera sets the pixel format twice; the second time changes nothing and is left out here.
    let format = &sent[sent.len() - 6..];
    let twice: Vec<&String> = sent.iter().chain(format).collect();
    assert_eq!(twice, golden());
}

#[test]
fn the_window_is_the_one_whose_bytes_the_assembler_counts() {
    let log = Log::default();
    Ov2640::new(Sensor::new(&log), Clock(log.clone())).configure().expect("a sensor that answers");
    let last = |register: &str| {
        let sent = log.borrow();
        let line = sent.iter().rev().find_map(|line| line.strip_prefix(&format!("0 {register} ")));
        usize::from_str_radix(line.expect("written"), 16).expect("hexadecimal")
    };
    // ZMOW, ZMOH: output size in units of 4 pixels; ZMHH has their upper bits.
    assert_eq!(2 * (4 * last("5a")) * (4 * last("5b")), FRAME_BYTES);
    assert_eq!(last("5c"), 0);
}

#[test]
fn another_sensor_is_named_and_left_alone() {
    let log = Log::default();
    let mut sensor = Sensor::new(&log);
    sensor.banks[1][0x0a] = 0x36;
    let error = Ov2640::new(sensor, Clock(log.clone())).configure().expect_err("another sensor");
    assert_eq!(error, Error::OtherSensor(Identity { product: 0x36, version: 0x42, manufacturer: 0x7fa2 }));
    assert_eq!(
        error.to_string(),
        "no OV2640 (product 0x26) but product 0x36, version 0x42, manufacturer 0x7fa2 answers at SCCB address 0x30"
    );
    assert!(log.borrow().is_empty());
}

#[test]
fn a_bus_error_names_the_register_and_the_next_try_starts_over() {
    let log = Log::default();
    let mut sensor = Sensor::new(&log);
    sensor.fails_at = Some(10); // bank, then four times register and value; then the reset
    let mut driver = Ov2640::new(sensor, Clock(log.clone()));
    let error = driver.configure().expect_err("a bus that fails");
    let Error::Bus { bank: Some(Bank::Sensor), register: 0x12, source } = error else { panic!("{error:?}") };
    assert_eq!(source.kind(), ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
    assert!(error.to_string().starts_with("OV2640 at SCCB address 0x30, register 0x12 (sensor): "), "{error}");
    log.borrow_mut().clear();
    driver.configure().expect("the bus works again");
    assert!(golden().iter().zip(log.borrow().iter()).all(|(golden, sent)| golden == sent));
}

#[test]
fn a_failure_at_any_transaction_is_an_error_and_no_panic() {
    let log = Log::default();
    for at in 1.. {
        let mut sensor = Sensor::new(&log);
        sensor.fails_at = Some(at);
        match Ov2640::new(sensor, Clock(log.clone())).configure() {
            Err(Error::Bus { .. }) => {}
            Ok(_) => {
                assert!(at > golden().len(), "after {at} transactions");
                break;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}
