//! `NameError`, `TensorError`, `ConfigError`.

use shm_core::{Dtype, Reader, Stream, StreamConfig, TensorDesc};

#[test]
fn names() {
    let config = StreamConfig::of::<u8>(&[1]).unwrap();
    let long = "x".repeat(40_000);
    for (name, text) in [
        ("", "name is empty; give the segment a name of 1 to 32768 bytes"),
        (&*long, "name has 40000 bytes; at most 32768 are supported, so shorten it"),
    ] {
        assert_eq!(Stream::create(name, &config).unwrap_err().to_string(), text);
        assert_eq!(Stream::process_local(name, &config).unwrap_err().to_string(), text);
        assert_eq!(Reader::open(name).unwrap_err().to_string(), text);
        assert_eq!(Stream::open_portable(name).unwrap_err().to_string(), text);
        assert_eq!(shm_core::unlink(name).unwrap_err().to_string(), text);
        assert_eq!(shm_core::stat(name).unwrap_err().to_string(), text);
    }
}

#[test]
fn tensors() {
    for (dtype, shape, text) in [
        (
            Dtype::F32,
            &[3, 0, 0][..],
            "shape [3, 0, 0]: dimension 1 is 0; every dimension must be at least 1",
        ),
        (Dtype::U8, &[1; 20], "shape has 20 dimensions; at most 16 are supported, so merge some"),
        (
            Dtype::C128,
            &[1 << 40, 1 << 30],
            "shape [1099511627776, 1073741824] of complex128 needs more bytes than this machine can address; split the tensor",
        ),
    ] {
        assert_eq!(TensorDesc::new(dtype, shape).unwrap_err().to_string(), text);
        assert_eq!(StreamConfig::new(dtype, shape).unwrap_err().to_string(), text);
    }
}

#[test]
fn configurations() {
    let config = || StreamConfig::of::<u8>(&[1 << 50]).unwrap();
    let cells = |found| {
        format!(
            "cells is {found}; expected 2..=1048576 (1 only through `single_cell`, which gives up the crash guarantee)"
        )
    };
    assert_eq!(config().cells(0).unwrap_err().to_string(), cells(0));
    assert_eq!(config().cells(1).unwrap_err().to_string(), cells(1));
    let small = StreamConfig::of::<u8>(&[1]).unwrap();
    assert_eq!(small.clone().cells((1 << 20) + 1).unwrap_err().to_string(), cells((1 << 20) + 1));
    assert_eq!(small.clone().history(1 << 20).unwrap_err().to_string(), cells((1 << 20) + 1));
    assert_eq!(
        config().cells(1 << 20).unwrap_err().to_string(),
        "1048576 cells of 1125899906842624 bytes need more bytes than this machine can address; use fewer cells or smaller frames"
    );
    assert_eq!(
        small.metadata(&[0; 65_537]).unwrap_err().to_string(),
        "metadata has 65537 bytes; at most 65536 are supported, so publish larger data as a stream"
    );
}
