//! Another library of the process that uses a driver of its own: its calls go there and ours to ours,
//! whichever was loaded first. The two are told apart by what they know: each has to be initialised for
//! itself.

use crate::{process, rust_library, simulation};
use core::ffi::c_int;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use shm_cuda::Device;
use std::path::{Path, PathBuf};

const NOT_INITIALIZED: c_int = 3;
const NO_DRIVER: c_int = 34;

unsafe extern "C" {
    // As in `cust::sys`, but with a result that may be any number.
    fn cuDeviceGetCount(count: *mut c_int) -> c_int;
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    OursFirst,
    TheirsFirst,
}

#[test]
fn a_library_that_links_its_driver_before_ours_is_loaded_keeps_it() {
    with_linked_user(
        "beside::a_library_that_links_its_driver_before_ours_is_loaded_keeps_it",
        Order::TheirsFirst,
    );
}

#[test]
fn a_library_that_links_its_driver_after_ours_is_loaded_keeps_it() {
    with_linked_user(
        "beside::a_library_that_links_its_driver_after_ours_is_loaded_keeps_it",
        Order::OursFirst,
    );
}

/// A library that refers to the functions of its driver as one does that was linked with `-lcuda`.
const USER: &str = r#"
use core::ffi::{c_int, c_uint};

unsafe extern "C" {
    fn cuInit(flags: c_uint) -> c_int;
    fn cuDeviceGetCount(count: *mut c_int) -> c_int;
}

#[unsafe(no_mangle)]
pub extern "C" fn user_init() -> c_int {
    unsafe { cuInit(0) }
}

#[unsafe(no_mangle)]
pub extern "C" fn user_count() -> c_int {
    let mut count = -1;
    match unsafe { cuDeviceGetCount(&mut count) } {
        0 => -count,
        refused => refused,
    }
}
"#;

fn with_linked_user(test: &str, order: Order) {
    process::alone(test, process::name_driver, || {
        let folder = tempfile::tempdir().unwrap();
        another_driver(folder.path());
        let Some(user) = rust_library::compile(folder.path(), "user", USER, &["another_driver"])
        else {
            return;
        };
        if order == Order::OursFirst && !ours() {
            return;
        }
        // SAFETY: it initialises nothing but what every Rust library does.
        let user = unsafe { libloading::Library::new(user) }.unwrap();
        // SAFETY: as declared in its source above.
        let [init, count] = unsafe {
            [b"user_init\0".as_slice(), b"user_count\0"]
                .map(|name| *user.get::<extern "C" fn() -> c_int>(name).unwrap())
        };
        assert_eq!(count(), NOT_INITIALIZED, "it reached our driver");
        assert_eq!(init(), 0);
        assert!(count() < 0, "no devices: {}", count());
        if order == Order::TheirsFirst && !(ours_is_new() && ours()) {
            return;
        }
        assert!(count() < 0);
    });
}

#[test]
fn names_looked_up_in_the_process_before_ours_is_loaded_are_theirs() {
    looked_up(
        "beside::names_looked_up_in_the_process_before_ours_is_loaded_are_theirs",
        Order::TheirsFirst,
    );
}

#[test]
fn names_looked_up_in_the_process_after_ours_is_loaded_are_theirs() {
    looked_up(
        "beside::names_looked_up_in_the_process_after_ours_is_loaded_are_theirs",
        Order::OursFirst,
    );
}

/// What `dlsym` finds in the process as a whole is what the dynamic linker binds a library to.
fn looked_up(test: &str, order: Order) {
    process::alone(test, process::name_driver, || {
        let folder = tempfile::tempdir().unwrap();
        let file = another_driver(folder.path());
        if order == Order::OursFirst && !ours() {
            return;
        }
        assert_eq!(address(&Library::this()), None, "the program, or our driver, shows its cuInit");
        // SAFETY: a copy of the simulated driver, whose start does nothing that could clash.
        let theirs = unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_GLOBAL) }.unwrap();
        let found = address(&Library::this());
        assert!(found.is_some() && found == address(&theirs), "{found:x?}");
        if order == Order::TheirsFirst && !(ours_is_new() && ours()) {
            return;
        }
        let driver = simulation::driver().unwrap();
        let ours = driver.symbol(c"cuInit").map(core::num::NonZeroUsize::get);
        assert!(ours.is_some() && ours != found, "both are at {found:x?}");
    });
}

/// Uses our driver by way of this program's forwarders; false, said aloud, where there is none.
fn ours() -> bool {
    let Some(driver) = simulation::driver() else { return false };
    assert!(Device::count().unwrap() > 0, "{}", driver.path().display());
    true
}

/// Whether ours, asked for the first time, has heard of nothing that was said to theirs; false, said
/// aloud, where there is none.
fn ours_is_new() -> bool {
    let mut count = 0;
    // SAFETY: `count` is a writable int.
    match unsafe { cuDeviceGetCount(&mut count) } {
        NO_DRIVER => {
            println!("SKIPPED: no driver is installed");
            false
        }
        answer => {
            assert_eq!(answer, NOT_INITIALIZED, "{count} devices of the other driver");
            true
        }
    }
}

fn another_driver(folder: &Path) -> PathBuf {
    let file = folder.join("libanother_driver.so");
    std::fs::copy(simulation::library(), &file).unwrap();
    file
}

fn address(library: &Library) -> Option<usize> {
    // SAFETY: only the address is looked at.
    let symbol = unsafe { library.get::<extern "C" fn()>(b"cuInit\0") };
    symbol.ok().map(|function| *function as *const () as usize)
}
