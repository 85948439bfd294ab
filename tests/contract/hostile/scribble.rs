//! A peer that scribbles over every mutable word all the time.

use super::subject::{ELEMENTS, Subject};
use crate::support::layout::{cell, header, hot};
use crate::support::limit::within;
use crate::support::pattern::pattern;
use shm_core::{Deadline, Reader, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const FOR: Duration = Duration::from_secs(3);

#[test]
fn nobody_panics_or_hangs_while_every_word_changes() {
    let subject = Subject::new("scribble");
    let done = Arc::new(AtomicBool::new(false));
    let running = || {
        let done = done.clone();
        move || !done.load(Ordering::Relaxed)
    };
    let name: String = subject.name.to_string();

    let reads = {
        let (run, name) = (running(), name.clone());
        thread::spawn(move || {
            let mut readers =
                [Reader::open(&name).unwrap(), Reader::open_read_only(&name).unwrap()];
            let mut calls = 0;
            while run() {
                for reader in &mut readers {
                    let _ = reader.read_into(&mut [0_u32; ELEMENTS]);
                    let _ = reader.history::<u32>(3);
                    let _ = reader.wait_after(calls, Duration::from_millis(1));
                    let _ = reader.view().map(|view| view.get::<u32>(ELEMENTS - 1));
                    let _ = (reader.age(), reader.writer_alive());
                    calls += 1;
                }
            }
            calls
        })
    };
    let writes = {
        let (run, stream) = (running(), subject.stream.clone());
        thread::spawn(move || {
            let (mut published, data) = (0, pattern::<u32>(ELEMENTS, 1));
            while run() {
                let Ok(mut writer) = stream.writer(Duration::from_millis(5)) else { continue };
                for _ in 0..10 {
                    published += u64::from(writer.publish(&data).is_ok());
                    drop(writer.loan());
                }
            }
            published
        })
    };
    let opens = {
        let (run, name) = (running(), name);
        thread::spawn(move || {
            while run() {
                let _ = shm_core::stat(&name);
                // `Err` while the retired flag happens to be set.
                if let Ok(stream) = Stream::open(&name) {
                    let _ = stream.writer(Deadline::NOW);
                }
            }
        })
    };

    let file = &subject.file;
    let hot_at = file.word(header::HOT_OFFSET);
    let control_at = file.word(header::CONTROL_OFFSET);
    let hot_words = (hot::CELLS + 3 * cell::LEN) / 8;
    let (mut state, until) = (1_u64, Instant::now() + FOR);
    while Instant::now() < until {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (pick, value) = (state >> 40, state.rotate_left(29));
        let value = [value, 0, 1, u64::MAX, value >> 40][(state >> 33) as usize % 5];
        let at = match pick % 3 {
            0 => control_at + pick / 3 % 512 * 8,
            _ => hot_at + pick / 3 % hot_words * 8,
        };
        // Retired most of the time would test little else.
        if at == hot_at + hot::RETIRED && !state.is_multiple_of(16) {
            file.set_word(at, 0);
            continue;
        }
        file.set_word(at, value);
    }
    file.set_word(hot_at + hot::RETIRED, 0);
    done.store(true, Ordering::Relaxed);
    let (calls, published) = within(Duration::from_secs(30), move || {
        opens.join().unwrap();
        (reads.join().unwrap(), writes.join().unwrap())
    });
    assert!(calls > 0 && published > 0, "{calls} readings, {published} frames");

    // A word that happens to name a handle that lives is a lock that is held, and stays so.
    file.set_word(hot_at + hot::LOCK, 0);
    // Once the scribbler is gone, the next frames heal the stream for whoever opens it.
    let mut writer = subject.stream.writer(Duration::from_secs(5)).unwrap();
    for seed in 1..=3 {
        writer.publish(&pattern::<u32>(ELEMENTS, seed)).unwrap();
    }
    let frame = Reader::open(&subject.name).unwrap().read::<u32>();
    assert_eq!(frame.unwrap().data, pattern::<u32>(ELEMENTS, 3));
}
