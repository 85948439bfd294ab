//! Without a driver: every function that `cust_raw` declares is there and says so.

use crate::{declared, process};
use core::ffi::c_int;
use object::elf::STV_HIDDEN;
use object::{Object, ObjectSymbol, SymbolFlags};
use std::collections::BTreeMap;

const STUB_LIBRARY: c_int = 34;

#[test]
fn every_declared_function_has_a_forwarder_that_answers_without_a_driver() {
    process::alone(
        "absent::every_declared_function_has_a_forwarder_that_answers_without_a_driver",
        |command| {
            command.env("SHM_CUDA_DRIVER", "/nonexistent");
        },
        || {
            let Some(declared) = declared::symbols() else { return };
            assert!(shm_cuda::Driver::load().is_err());
            let forwarders = forwarders();
            for name in &declared {
                let address = *forwarders.get(name).unwrap_or_else(|| panic!("no {name}"));
                // The first call looks for the driver, the second goes where that led.
                for _ in 0..2 {
                    // SAFETY: it is the address of a forwarder, which changes no argument and leads to
                    // a function without any that answers a number.
                    let forwarder: Forwarder = unsafe { core::mem::transmute(address) };
                    assert_eq!(forwarder(0, 0, 0, 0, 0, 0), STUB_LIBRARY, "{name}");
                }
            }
        },
    );
}

type Forwarder = extern "C" fn(usize, usize, usize, usize, usize, usize) -> c_int;

unsafe extern "C" {
    /// One of the forwarders: where it lies tells where all of them do.
    fn cuInit(flags: u32) -> c_int;
}

/// The address of each `cu...` function that this program defines, all of which must be hidden.
fn forwarders() -> BTreeMap<String, usize> {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = object::File::parse(&*bytes).unwrap();
    let mark = program.symbol_by_name("cuInit").expect("the table of symbols");
    let mark_here = cuInit as *const () as usize;
    let loaded_at = mark_here - usize::try_from(mark.address()).unwrap();
    let functions = program.symbols().filter(|symbol| symbol.is_definition());
    let mut found = BTreeMap::new();
    for function in functions {
        let Ok(name) = function.name() else { continue };
        if !name.starts_with("cu") {
            continue;
        }
        let SymbolFlags::Elf { st_other, .. } = function.flags() else { panic!("no ELF symbol") };
        if st_other & 3 == STV_HIDDEN || !function.is_global() {
            let address = loaded_at + usize::try_from(function.address()).unwrap();
            found.insert(name.to_owned(), address);
        }
    }
    found
}
