//! The driver that tests run on: the simulated one, which cargo builds beside their programs, or, with
//! `SHM_CUDA_CONFORMANCE=real`, the machine's own; and the controls of the simulated one, which do nothing
//! on a real one.

#![allow(dead_code, reason = "each test program uses its part")]

use shm_cuda::{Device, Driver};
use std::ffi::{CStr, c_char};
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The driver to test on; `None`, said aloud, where the machine's own is asked for and there is none.
pub fn driver() -> Option<Driver> {
    if !is_real() {
        return Some(Driver::load_from(library()).unwrap());
    }
    match Driver::load() {
        Ok(driver) => Some(driver),
        Err(error) => {
            println!("SKIPPED: {error}");
            None
        }
    }
}

/// Its first device.
pub fn device() -> Option<Device> {
    driver().map(|_| Device::open(0).unwrap())
}

/// True if the tests are to run on the machine's own driver.
pub fn is_real() -> bool {
    std::env::var_os("SHM_CUDA_CONFORMANCE").is_some_and(|which| which == "real")
}

/// The simulated driver's library.
pub fn library() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let file = program.parent().unwrap().join("libshm_cuda_sim.so");
    assert!(file.is_file(), "no simulated driver at {}", file.display());
    file
}

/// What the simulation makes fail.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Failure {
    OutOfMemory = 1,
    Launch = 2,
    DeviceLost = 3,
    IpcOpen = 4,
    Registration = 5,
    MemOp = 6,
}

fn control(name: &CStr) -> Option<NonZeroUsize> {
    Driver::load().unwrap().symbol(name)
}

/// No failures, and copies that take as long as they do at first.
pub fn reset() {
    clear_failures();
    delay_us(0, 200);
}

/// How long copies take.
pub fn delay_us(lo: u64, hi: u64) {
    if let Some(address) = control(c"shm_cuda_sim_set_delay_us") {
        // SAFETY: the simulation's function of that name has this signature.
        let set =
            unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(u64, u64)>(address.get()) };
        // SAFETY: any numbers will do.
        unsafe { set(lo, hi) };
    }
}

/// No failures any more.
pub fn clear_failures() {
    fail(0, 0);
}

/// Makes the `after`-th call from now fail.
pub fn inject(failure: Failure, after: u64) {
    fail(failure as u32, after);
}

fn fail(kind: u32, after: u64) {
    if let Some(address) = control(c"shm_cuda_sim_inject") {
        // SAFETY: the simulation's function of that name has this signature.
        let inject =
            unsafe { core::mem::transmute::<usize, unsafe extern "C" fn(u32, u64)>(address.get()) };
        // SAFETY: any numbers will do.
        unsafe { inject(kind, after) };
    }
}

/// What the simulation counts; `None` with a real driver.
pub fn report() -> Option<serde_json::Value> {
    let address = control(c"shm_cuda_sim_report")?;
    // SAFETY: the simulation's function of that name has this signature.
    let ask = unsafe {
        core::mem::transmute::<usize, unsafe extern "C" fn(*mut c_char, usize) -> usize>(
            address.get(),
        )
    };
    let mut text = vec![0_u8; 1 << 20];
    // SAFETY: as many writable bytes as it is told.
    let len = unsafe { ask(text.as_mut_ptr().cast(), text.len()) };
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_else(|_| panic!("{len} bytes"));
    Some(serde_json::from_slice(text.to_bytes()).unwrap())
}

/// Fails if the simulation saw a use that would be undefined on a device.
pub fn assert_clean() {
    if let Some(report) = report() {
        assert_eq!(report["violations"], serde_json::json!([]), "{report}");
    }
}

/// One of the simulation's numbers; 0 with a real driver.
pub fn count(what: &str) -> u64 {
    report().map_or(0, |report| {
        report[what].as_u64().unwrap_or_else(|| panic!("no number {what} in {report}"))
    })
}
