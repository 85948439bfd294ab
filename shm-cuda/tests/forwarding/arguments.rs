//! Every argument arrives, at the first call of a function, which finds it, as at the later ones.

use crate::{process, rust_library};
use core::ffi::{c_int, c_uint, c_void};
use std::sync::Barrier;

/// A driver with few functions, which answer with a number to which each argument adds, by its place.
const DRIVER: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn cuLaunchKernel(
    a: usize, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32, i: usize, j: usize, k: usize,
) -> i32 {
    let all = [a, b as usize, c as usize, d as usize, e as usize, f as usize, g as usize, h as usize, i, j, k];
    let mut sum: u64 = 7;
    for word in all {
        sum = sum.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(word as u64);
    }
    (sum >> 33) as i32
}

#[unsafe(no_mangle)]
pub extern "C" fn cuTexRefSetMipmapLevelClamp(_: usize, low: f32, high: f32) -> i32 {
    (low * 1000.0 + high) as i32
}
"#;

unsafe extern "C" {
    // As in `cust::sys`, but with a result that may be any number.
    fn cuLaunchKernel(
        function: *mut c_void,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared: c_uint,
        stream: *mut c_void,
        parameters: *mut c_void,
        extra: *mut c_void,
    ) -> c_int;
    fn cuTexRefSetMipmapLevelClamp(texture: *mut c_void, low: f32, high: f32) -> c_int;
    fn cuMemFree_v2(address: u64) -> c_int;
}

#[test]
fn arguments_in_registers_and_on_the_stack_survive_the_first_call() {
    on_the_small_driver(
        "arguments::arguments_in_registers_and_on_the_stack_survive_the_first_call",
        || {
            for call in 0..3 {
                let words = words(call);
                assert_eq!(launch(&words), expected(&words), "call {call}");
            }
        },
    );
}

#[test]
fn floating_point_arguments_survive_the_first_call() {
    on_the_small_driver("arguments::floating_point_arguments_survive_the_first_call", || {
        for call in 0..3 {
            // SAFETY: the small driver takes numbers and follows no pointer.
            let answer = unsafe {
                cuTexRefSetMipmapLevelClamp(core::ptr::null_mut(), 3.0 + call as f32, 41.0)
            };
            assert_eq!(answer, 3041 + 1000 * call, "call {call}");
        }
    });
}

#[test]
fn several_threads_may_make_the_first_call_at_once() {
    on_the_small_driver("arguments::several_threads_may_make_the_first_call_at_once", || {
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let barrier = &barrier;
                scope.spawn(move || {
                    let words = words(thread);
                    barrier.wait();
                    assert_eq!(launch(&words), expected(&words), "thread {thread}");
                });
            }
        });
    });
}

#[test]
fn what_a_driver_lacks_is_not_supported() {
    const NOT_SUPPORTED: c_int = 801;
    on_the_small_driver("arguments::what_a_driver_lacks_is_not_supported", || {
        for _ in 0..2 {
            // SAFETY: no memory is at stake: the driver has no such function, and nothing is freed.
            assert_eq!(unsafe { cuMemFree_v2(0) }, NOT_SUPPORTED);
        }
    });
}

fn on_the_small_driver(test: &str, body: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = rust_library::compile(folder.path(), "small_driver", DRIVER, &[]) else {
        return;
    };
    process::alone(
        test,
        |command| {
            command.env("SHM_CUDA_DRIVER", library);
        },
        body,
    );
}

/// Eleven words, all different; those that go as 32 bits fit into them.
fn words(seed: usize) -> [usize; 11] {
    core::array::from_fn(|place| match place {
        0 | 8 | 9 | 10 => 0x7EDC_BA98_0000_0000 + place * 0x1_0001 + seed,
        _ => 0x8000_0000 + place * 0x1_0001 + seed,
    })
}

fn launch(words: &[usize; 11]) -> c_int {
    let pointer = |place: usize| words[place] as *mut c_void;
    let word = |place: usize| words[place] as c_uint;
    // SAFETY: the small driver takes the words for numbers and follows none.
    unsafe {
        cuLaunchKernel(
            pointer(0),
            word(1),
            word(2),
            word(3),
            word(4),
            word(5),
            word(6),
            word(7),
            pointer(8),
            pointer(9),
            pointer(10),
        )
    }
}

fn expected(words: &[usize; 11]) -> c_int {
    let sum = words
        .iter()
        .fold(7u64, |sum, word| sum.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(*word as u64));
    (sum >> 33) as c_int
}
