//! A full `/dev/shm`: an error with numbers, never a signal, nothing left behind.

use crate::support::child::alone;
use crate::support::pattern::{assert_same, pattern};
use crate::support::private_shm;
use shm_core::{CreateError, Deadline, Stream, StreamConfig};

const SIZE: u64 = 4 << 20;

fn config(frame: usize) -> StreamConfig {
    StreamConfig::of::<u8>(&[frame]).unwrap()
}

fn files() -> usize {
    std::fs::read_dir("/dev/shm").unwrap().count()
}

fn assert_no_space(name: &str, frame: usize) {
    let error = Stream::create(name, &config(frame)).unwrap_err();
    let CreateError::NoSpace { name: told, need, have } = error else { panic!("{error:?}") };
    let payload = 3 * frame as u64;
    assert_eq!(told, name);
    assert!((payload..payload + (64 << 10)).contains(&need), "need {need} for {payload}");
    assert!(have <= SIZE && have < need, "have {have}, need {need}");
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    alone!(what_does_not_fit_is_refused_and_leaves_nothing, || {
        if !private_shm::mount(SIZE) {
            return;
        }
        for _ in 0..20 {
            assert_no_space("large", 16 << 20);
        }
        assert_eq!(files(), 0);
        let stream = Stream::create("small", &config(100_000)).unwrap();
        let data = pattern::<u8>(100_000, 1);
        stream.writer(Deadline::NOW).unwrap().publish(&data).unwrap();
        assert_same(&stream.reader().read::<u8>().unwrap().data, &data);
        assert_eq!(files(), 1);
    });
}

#[test]
fn whoever_got_a_stream_can_fill_it() {
    alone!(whoever_got_a_stream_can_fill_it, || {
        if !private_shm::mount(SIZE) {
            return;
        }
        let frame = 150_000;
        let mut streams = Vec::new();
        loop {
            match Stream::create(&format!("fill-{}", streams.len()), &config(frame)) {
                Ok(stream) => streams.push(stream),
                Err(CreateError::NoSpace { have, need, .. }) => {
                    assert!(have < need && need < SIZE);
                    break;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(files(), streams.len());
        assert!(streams.len() >= 7, "{} of 0.45 MB fit 4 MB", streams.len());
        // Somebody else takes the rest: what was reserved is still there.
        let rest = std::fs::File::create("/dev/shm/rest").unwrap();
        let mut more = 64 << 10;
        let mut taken = 0;
        while more > 0 {
            use std::os::unix::fs::FileExt;
            match rest.write_at(&vec![1; more], taken) {
                Ok(written) if written > 0 => taken += written as u64,
                _ => more /= 2,
            }
        }
        for (seed, stream) in (0..).zip(&streams) {
            let mut writer = stream.writer(Deadline::NOW).unwrap();
            for round in 0..4 {
                writer.publish(&pattern::<u8>(frame, seed + round)).unwrap();
            }
        }
        for (seed, stream) in (0..).zip(&streams) {
            let frame_read = stream.reader().read::<u8>().unwrap();
            assert_same(&frame_read.data, &pattern::<u8>(frame, seed + 3));
        }
        assert_no_space("one-more", frame);
        streams.pop().unwrap().unlink().unwrap();
        Stream::create("one-more", &config(frame)).unwrap();
    });
}
