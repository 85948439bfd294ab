//! The C entry points. Their parameters are the C ones: pointers that may be null are `Option`s,
//! and what such a pointer must point to is what the driver's documentation asks of the caller.

// The names are those that programs look up.
#![allow(non_snake_case)]

mod context;
mod control;
mod copy;
mod device;
mod event;
mod init;
mod ipc;
mod memop;
mod memory;
mod pointer;
mod stream;
mod vmm;

/// Exports functions that answer with a result code.
macro_rules! entries {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($argument: $kind),*) -> std::ffi::c_int {
                $crate::call::answer(stringify!($name), || -> $crate::status::Result {
                    $body
                })
            }
        )*
    };
}

use entries;
