//! One entry per function of the driver, which the linker finds and which jumps to the real one.
//!
//! `cust` refers to the functions of `libcuda` by name. Here each name is an indirect jump through a
//! word of its own, which first leads to `bind`, and from then on to the function in the library that
//! was loaded, or to one that answers "no driver" or "not supported". Arguments are not touched, so
//! one form serves all signatures, and it costs one predictable jump.
//!
//! The names are hidden symbols: they are not exported from an executable or a library, so another
//! library's calls of the driver never arrive here, and ours never go to another library's.
//!
//! Upholds invariant 8: what is missing is an error with a name, never another path.

use super::library;
use super::symbols::with_driver_symbols;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicUsize, Ordering};

/// What every function answers where no driver was found: `CUDA_ERROR_STUB_LIBRARY`.
pub(crate) const NO_DRIVER: i32 = 34;
/// What a function answers that the driver found does not have: `CUDA_ERROR_NOT_SUPPORTED`.
pub(crate) const NOT_SUPPORTED: i32 = 801;

/// Keeps this module's object file in every link that uses the crate, whatever order its archives come
/// in: the forwarders below have no other reference before `cust_raw` asks for them.
#[inline(never)]
pub(super) fn keep() {
    // Read, so that the call is not left out.
    core::hint::black_box(NO_DRIVER);
}

extern "C" fn no_driver() -> i32 {
    NO_DRIVER
}

extern "C" fn not_supported() -> i32 {
    NOT_SUPPORTED
}

/// Finds the function that `name` stands for and remembers it in the name's word.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe extern "C" fn bind(name: *const c_char, word: *const AtomicUsize) -> usize {
    // SAFETY: both come from the tables below: a text that ends with 0, and an aligned, writable word,
    // each of the life of the program.
    let (name, word) = unsafe { (CStr::from_ptr(name), &*word) };
    let found = address_of(name);
    word.store(found, Ordering::Relaxed);
    found
}

/// Where a call of `name` shall arrive.
pub(super) fn address_of(name: &CStr) -> usize {
    match library::loaded() {
        None => no_driver as *const () as usize,
        Some(library) => library
            .address(name)
            .map_or(not_supported as *const () as usize, core::num::NonZeroUsize::get),
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
macro_rules! forward {
    ($($name:ident)*) => {
        // The words start out at the lines that bind them. `bind` may use every register that a call
        // may change, so those that carry arguments are put aside: six words, and of the eight for
        // floating-point numbers the two that any function of the driver has; rax and r11 carry none.
        core::arch::global_asm!(
            ".section .text.shm_cuda_forward,\"ax\",@progbits",
            "shm_cuda_bind:",
            "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "sub rsp, 24",
            "movsd qword ptr [rsp], xmm0", "movsd qword ptr [rsp + 8], xmm1",
            "mov rdi, rax", "mov rsi, r11",
            "call {bind}",
            "movsd xmm0, qword ptr [rsp]", "movsd xmm1, qword ptr [rsp + 8]",
            "add rsp, 24", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
            "jmp rax",
            $(
                concat!(
                    ".globl ", stringify!($name), "\n.hidden ", stringify!($name),
                    "\n.type ", stringify!($name), ",@function\n",
                    ".section .data.shm_cuda_forward,\"aw\",@progbits\n.balign 8\n",
                    ".Lshm_word_", stringify!($name), ": .quad .Lshm_bind_", stringify!($name), "\n",
                    ".section .rodata.shm_cuda_forward,\"a\",@progbits\n",
                    ".Lshm_name_", stringify!($name), ": .asciz \"", stringify!($name), "\"\n",
                    ".section .text.shm_cuda_forward,\"ax\",@progbits\n",
                    stringify!($name), ": jmp qword ptr [rip + .Lshm_word_", stringify!($name), "]\n",
                    ".Lshm_bind_", stringify!($name), ": lea rax, [rip + .Lshm_name_",
                    stringify!($name), "]\nlea r11, [rip + .Lshm_word_", stringify!($name),
                    "]\njmp shm_cuda_bind\n.size ", stringify!($name), ", . - ", stringify!($name)
                ),
            )*
            ".text",
            bind = sym bind,
        );
    };
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
macro_rules! forward {
    ($($name:ident)*) => {
        core::arch::global_asm!(
            ".section .text.shm_cuda_forward,\"ax\",@progbits",
            ".balign 4",
            "shm_cuda_bind:",
            "stp x29, x30, [sp, #-112]!", "stp x0, x1, [sp, #16]", "stp x2, x3, [sp, #32]",
            "stp x4, x5, [sp, #48]", "stp x6, x7, [sp, #64]", "str x8, [sp, #80]",
            "stp d0, d1, [sp, #96]",
            "mov x0, x16", "mov x1, x17",
            "bl {bind}",
            "mov x16, x0",
            "ldp x0, x1, [sp, #16]", "ldp x2, x3, [sp, #32]", "ldp x4, x5, [sp, #48]",
            "ldp x6, x7, [sp, #64]", "ldr x8, [sp, #80]",
            "ldp d0, d1, [sp, #96]", "ldp x29, x30, [sp], #112",
            "br x16",
            $(
                concat!(
                    ".globl ", stringify!($name), "\n.hidden ", stringify!($name),
                    "\n.type ", stringify!($name), ",@function\n",
                    ".section .data.shm_cuda_forward,\"aw\",@progbits\n.balign 8\n",
                    ".Lshm_word_", stringify!($name), ": .quad .Lshm_bind_", stringify!($name), "\n",
                    ".section .rodata.shm_cuda_forward,\"a\",@progbits\n",
                    ".Lshm_name_", stringify!($name), ": .asciz \"", stringify!($name), "\"\n",
                    ".section .text.shm_cuda_forward,\"ax\",@progbits\n.balign 4\n",
                    stringify!($name), ": adrp x16, .Lshm_word_", stringify!($name),
                    "\nldr x16, [x16, :lo12:.Lshm_word_", stringify!($name), "]\nbr x16\n",
                    ".Lshm_bind_", stringify!($name), ": adrp x16, .Lshm_name_", stringify!($name),
                    "\nadd x16, x16, :lo12:.Lshm_name_", stringify!($name),
                    "\nadrp x17, .Lshm_word_", stringify!($name),
                    "\nadd x17, x17, :lo12:.Lshm_word_", stringify!($name),
                    "\nb shm_cuda_bind\n.size ", stringify!($name), ", . - ", stringify!($name)
                ),
            )*
            ".text",
            bind = sym bind,
        );
    };
}

/// Where no CUDA exists, or none was tried: every function answers that there is no driver.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
macro_rules! forward {
    ($($name:ident)*) => {
        mod absent {
            $(
                #[allow(non_snake_case)]
                #[unsafe(no_mangle)]
                extern "C" fn $name() -> i32 {
                    super::NO_DRIVER
                }
            )*
        }
    };
}

with_driver_symbols!(forward);
