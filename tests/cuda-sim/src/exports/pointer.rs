//! Attributes of addresses.

use std::ffi::{c_int, c_void};
use std::slice;

use super::entries;
use crate::driver::driver;
use crate::pointer::{self, Answer};
use crate::status::{Result, Status};

entries! {
    fn cuPointerGetAttribute(out: *mut c_void, attribute: c_int, address: u64) {
        write(out, pointer::attribute(attribute, address)?)
    }

    fn cuPointerGetAttributes(
        count: u32,
        attributes: *const c_int,
        outs: *const *mut c_void,
        address: u64,
    ) {
        driver()?;
        if count == 0 || count > 64 || attributes.is_null() || outs.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the C caller says that both arrays have `count` elements.
        let (attributes, outs) = unsafe {
            let count = count as usize;
            (slice::from_raw_parts(attributes, count), slice::from_raw_parts(outs, count))
        };
        for (attribute, out) in attributes.iter().zip(outs) {
            let answer = match pointer::attribute(*attribute, address) {
                Ok(answer) => answer,
                Err(_) => pointer::nothing(*attribute).ok_or(Status::INVALID_VALUE)?,
            };
            write(*out, answer)?;
        }
        Ok(())
    }

    fn cuPointerSetAttribute(_value: *const c_void, attribute: c_int, address: u64) {
        pointer::set(attribute, address)
    }
}

fn write(out: *mut c_void, answer: Answer) -> Result {
    if out.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    match answer {
        // SAFETY: the C caller gives room for what the attribute it asks for is: here a word.
        Answer::Word(word) => unsafe { out.cast::<u64>().write_unaligned(word) },
        // SAFETY: as above: here an int.
        Answer::Int(int) => unsafe { out.cast::<u32>().write_unaligned(int) },
        // SAFETY: as above: here a bool.
        Answer::Bool(yes) => unsafe { out.cast::<bool>().write(yes) },
    }
    Ok(())
}
