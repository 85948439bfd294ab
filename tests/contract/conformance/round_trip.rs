//! What is published is what is read: every dtype, every rank, sizes from one byte to odd
//! megabytes.

use super::backing::{Backing, on_every_backing};
use crate::support::pattern::{assert_same, pattern};
use half::{bf16, f16};
use num_complex::Complex;
use shm_core::{Bool, Dtype, Element, FrameTag, PublishError, ReadError, StreamConfig};
use std::time::Duration;

on_every_backing!(
    every_dtype_and_shape,
    every_size,
    values_of_special_types_survive,
    bytes_without_a_type,
    metadata_and_description,
);

const NOW: Duration = Duration::from_secs(5);

fn shapes() -> [Vec<usize>; 6] {
    let mut sixteen = vec![1; 16];
    (sixteen[0], sixteen[7], sixteen[15]) = (2, 3, 5);
    [vec![], vec![1], vec![7], vec![3, 5, 7], vec![2, 1, 3, 1, 2, 1, 2, 2], sixteen]
}

fn every_dtype_and_shape(on: &impl Backing) {
    fn check<T: Element>(on: &impl Backing, seen: &mut Vec<Dtype>) {
        for shape in shapes() {
            let subject = on.create(&StreamConfig::of::<T>(&shape).unwrap());
            assert_eq!(subject.stream.desc().shape(), shape);
            assert_eq!(subject.stream.desc().dtype(), T::DTYPE);
            let elements = shape.iter().product();
            let mut writer = subject.stream.writer(NOW).unwrap();
            let mut reader = subject.reader();
            for seed in 1..=4 {
                let data = pattern::<T>(elements, seed);
                assert_eq!(writer.publish(&data), Ok(seed));
                let frame = reader.read::<T>().unwrap();
                assert_same(&frame.data, &data);
                assert_eq!(frame.info.byte_len, elements * T::DTYPE.size());
                let mut out = pattern::<T>(elements, 99);
                reader.read_into(&mut out).unwrap();
                assert_same(&out, &data);
            }
        }
        seen.push(T::DTYPE);
    }
    let mut seen = Vec::new();
    check::<Bool>(on, &mut seen);
    check::<i8>(on, &mut seen);
    check::<i16>(on, &mut seen);
    check::<i32>(on, &mut seen);
    check::<i64>(on, &mut seen);
    check::<u8>(on, &mut seen);
    check::<u16>(on, &mut seen);
    check::<u32>(on, &mut seen);
    check::<u64>(on, &mut seen);
    check::<f16>(on, &mut seen);
    check::<bf16>(on, &mut seen);
    check::<f32>(on, &mut seen);
    check::<f64>(on, &mut seen);
    check::<Complex<f32>>(on, &mut seen);
    check::<Complex<f64>>(on, &mut seen);
    assert_eq!(seen, Dtype::ALL, "a dtype without a round trip");
}

fn every_size(on: &impl Backing) {
    let around = |size: usize| [size - 1, size, size + 1];
    let sizes = [1, 2, 3, 7, 8, 9, 5_000_011].into_iter().chain(
        [64, 256, 512, 832, 1024, 3072, 4096, 8192, 65_536, 1 << 20].into_iter().flat_map(around),
    );
    for size in sizes {
        for cells in [2, 3, 5] {
            let config = StreamConfig::of::<u8>(&[size]).unwrap().cells(cells).unwrap();
            let subject = on.create(&config);
            let mut writer = subject.stream.writer(NOW).unwrap();
            let mut reader = subject.reader();
            for seed in 1..=cells as u64 + 1 {
                let data = pattern::<u8>(size, seed);
                writer.publish(&data).unwrap();
                assert_same(&reader.read::<u8>().unwrap().data, &data);
            }
            // Neighbours did not spill into each other.
            for (frame, seed) in reader.history::<u8>(cells).unwrap().iter().zip(2..) {
                assert_same(&frame.data, &pattern::<u8>(size, seed));
            }
        }
    }
}

fn values_of_special_types_survive(on: &impl Backing) {
    fn check<T: Element + PartialEq + std::fmt::Debug>(on: &impl Backing, values: &[T]) {
        let subject = on.create(&StreamConfig::of::<T>(&[values.len()]).unwrap());
        subject.stream.writer(NOW).unwrap().publish(values).unwrap();
        assert_eq!(subject.reader().read::<T>().unwrap().data, values);
        let view = subject.reader().view().unwrap();
        let seen: Vec<T> = view.iter().unwrap().collect();
        assert_eq!(seen, values);
    }
    check(on, &[Bool::from(true), Bool::from(false), bytemuck::cast(0xfe_u8)]);
    check(on, &[f16::from_f32(1.5), f16::MAX, f16::NEG_INFINITY, f16::MIN_POSITIVE_SUBNORMAL]);
    check(on, &[bf16::from_f32(-2.0), bf16::MAX, bf16::INFINITY]);
    check(on, &[Complex::new(1.5_f32, -0.25), Complex::new(f32::MAX, f32::MIN_POSITIVE)]);
    check(on, &[Complex::new(1e300_f64, -1e-300), Complex::new(0.0, f64::NEG_INFINITY)]);
    check(on, &[i64::MIN, -1, 0, i64::MAX]);
}

fn bytes_without_a_type(on: &impl Backing) {
    let subject = on.create(&StreamConfig::new(Dtype::F32, &[3]).unwrap());
    let mut writer = subject.stream.writer(NOW).unwrap();
    let mut reader = subject.reader();
    let bytes = pattern::<u8>(12, 5);
    let count = writer.publish_bytes(&bytes, FrameTag::id(77)).unwrap();
    let mut out = [0; 12];
    let info = reader.read_bytes_into(&mut out).unwrap();
    assert_eq!((info.count, info.frame_id), (count, 77));
    assert_same(&out, &bytes);
    let short = writer.publish_bytes(&bytes[1..], FrameTag::default());
    assert!(matches!(
        short,
        Err(PublishError::Length { unit: "bytes", expected: 12, found: 11, .. })
    ));
    let long = reader.read_bytes_into(&mut [0; 13]);
    assert!(matches!(long, Err(ReadError::Length { unit: "bytes", expected: 12, found: 13, .. })));
    assert_eq!(reader.count(), 1, "a refused frame counts for nothing");
}

fn metadata_and_description(on: &impl Backing) {
    let metadata = pattern::<u8>(64 * 1024, 3);
    let config =
        StreamConfig::of::<u16>(&[4, 5]).unwrap().history(6).unwrap().metadata(&metadata).unwrap();
    let subject = on.create(&config);
    let second = subject.second();
    for stream in [&subject.stream, &second, subject.reader().stream()] {
        assert_eq!(stream.metadata(), metadata);
        assert_eq!(stream.cells(), 7);
        assert_eq!(stream.desc().to_string(), "uint16 [4, 5]");
        assert_eq!(stream.name(), subject.stream.name());
        assert_eq!(stream.instance(), subject.stream.instance());
        assert_eq!(stream.count(), 0);
    }
    let other = on.create(&config);
    assert_ne!(other.stream.instance(), subject.stream.instance());
}
