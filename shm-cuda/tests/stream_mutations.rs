//! Each synchronisation of a device stream, left out once: a check that passes with all of them has to
//! fail without any one, or the suite would not notice its loss.

mod peer;
mod simulation;
mod stream;

use peer::{Peer, hear, role, say};
use shm_cuda::mutate::{Mutation, leave_out};
use shm_cuda::{DeviceReadError, DeviceStream, DeviceStreamConfig, Mirror};
use std::time::Duration;
use stream::frames::{frame, is_frame};
use stream::{Named, Rig, SOON, is_simulated, name, turn};

const LEN: usize = 64 * 1024;
/// How often a check may miss what is left out: it is a matter of time on a busy machine.
const ATTEMPTS: usize = 5;

/// Puts everything back, also when a test fails.
struct LeftOut;

impl LeftOut {
    fn new(mutation: Mutation) -> LeftOut {
        leave_out(Some(mutation));
        LeftOut
    }
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        leave_out(None);
    }
}

type Check = fn(&Rig, bool) -> Result<(), String>;

/// `check` passes, and notices that `mutation` is left out.
fn must_notice(mutation: Mutation, check: Check) {
    let Some(_turn) = turn() else { return };
    if !is_simulated() {
        eprintln!("SKIPPED: what is left out would be undefined on a device");
        return;
    }
    let rig = Rig::new();
    for via_host in [false, true] {
        for _ in 0..2 {
            check(&rig, via_host).unwrap_or_else(|error| panic!("with everything in: {error}"));
        }
        let noticed = (0..ATTEMPTS).find_map(|_| {
            let _left_out = LeftOut::new(mutation);
            check(&rig, via_host).err()
        });
        let noticed = noticed.unwrap_or_else(|| panic!("nobody noticed {mutation:?}"));
        println!("{mutation:?} left out (host functions: {via_host}): {noticed}");
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stream(rig: &Rig, cells: usize, via_host: bool) -> Named {
    simulation::delay_us(0, 0);
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    rig.stream_of("mutated", &config.cells(cells).unwrap().via_host_functions(via_host))
}

fn ensure(fine: bool, what: &str) -> Result<(), String> {
    if fine { Ok(()) } else { Err(what.to_owned()) }
}

/// What a view saw while its cell was being overwritten is not believed.
fn half_overwritten(rig: &Rig, via_host: bool) -> Result<(), String> {
    let stream = stream(rig, 2, via_host);
    let queue = rig.queue();
    let mut writer = stream.writer(SOON).unwrap();
    let sources: Vec<_> = (1..=4).map(|number| rig.upload(&frame(number, LEN))).collect();
    let publish = |writer: &mut shm_cuda::DeviceWriter, number: usize| {
        writer.publish(sources[number - 1].as_slice(), rig.queue.as_ref()).unwrap();
    };
    publish(&mut writer, 1);
    publish(&mut writer, 2);
    writer.settle().unwrap();
    let view = stream.reader().view().unwrap();
    publish(&mut writer, 3);
    writer.settle().unwrap();
    // One half of frame 4 lies over frame 2 after 100 ms, the other after 200.
    simulation::delay_us(200_000, 200_000);
    publish(&mut writer, 4);
    std::thread::sleep(ms(20));
    simulation::delay_us(0, 0);
    std::thread::sleep(ms(130));
    let seen = view.slice().to_vec(queue.as_ref()).unwrap();
    let believed = view.validate_after(queue.as_ref()).is_ok();
    writer.settle().unwrap();
    ensure(!believed || is_frame(&seen, 2), "half of another frame was believed")
}

#[test]
fn a_cell_is_marked_before_it_is_overwritten() {
    must_notice(Mutation::BeginBeforeCopy, half_overwritten);
}

/// The frame that is the newest is there.
fn newest_is_there(rig: &Rig, via_host: bool) -> Result<(), String> {
    let stream = stream(rig, 3, via_host);
    let mut writer = stream.writer(SOON).unwrap();
    let data = rig.upload(&frame(1, LEN));
    simulation::delay_us(100_000, 100_000);
    writer.publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    std::thread::sleep(ms(20));
    simulation::delay_us(0, 0);
    let (mut reader, mut out, queue) = (stream.reader(), vec![0; LEN], rig.queue());
    reader.wait_after(0, SOON).unwrap();
    reader.read_to_host(&mut out, queue.as_ref()).unwrap();
    rig.queue.synchronize().unwrap();
    ensure(is_frame(&out, 1), "the frame was the newest before its bytes were there")
}

#[test]
fn a_frame_is_the_newest_after_its_copy() {
    must_notice(Mutation::FinishAfterCopy, newest_is_there);
}

/// A slow queue and a quick one: the frame that was queued last is the newest in the end.
fn last_is_newest(rig: &Rig, via_host: bool) -> Result<(), String> {
    let stream = stream(rig, 3, via_host);
    let quick = rig.queue();
    let mut writer = stream.writer(SOON).unwrap();
    let sources = [rig.upload(&frame(1, LEN)), rig.upload(&frame(2, LEN))];
    simulation::delay_us(100_000, 100_000);
    writer.publish(sources[0].as_slice(), rig.queue.as_ref()).unwrap();
    std::thread::sleep(ms(20));
    simulation::delay_us(0, 0);
    writer.publish(sources[1].as_slice(), quick.as_ref()).unwrap();
    quick.synchronize().unwrap();
    rig.queue.synchronize().unwrap();
    ensure(stream.count() == 2, "an earlier frame became the newest after a later one")
}

#[test]
fn a_frame_waits_for_the_one_before_it_on_another_queue() {
    must_notice(Mutation::JoinQueues, last_is_newest);
}

/// When a read returns, its target holds the frame.
fn read_is_done(rig: &Rig, via_host: bool) -> Result<(), String> {
    let stream = stream(rig, 3, via_host);
    let data = rig.upload(&frame(1, LEN));
    stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    let (out, queue) = (rig.room(LEN), rig.queue());
    simulation::delay_us(200_000, 200_000);
    stream.reader().read_into(out.as_slice(), queue.as_ref()).unwrap();
    std::thread::sleep(ms(20));
    simulation::delay_us(0, 0);
    let found = rig.bytes(&out);
    queue.synchronize().unwrap();
    ensure(is_frame(&found, 1), "the read returned before its copy had ended")
}

#[test]
fn a_read_waits_for_its_copy() {
    must_notice(Mutation::AwaitCopy, read_is_done);
}

/// A reader that is lapped while it copies gives a whole frame all the same.
fn lapped_reader(rig: &Rig, via_host: bool) -> Result<(), String> {
    let stream = stream(rig, 3, via_host);
    let sources: Vec<_> = (1..=4).map(|number| rig.upload(&frame(number, LEN))).collect();
    let mut writer = stream.writer(SOON).unwrap();
    writer.publish(sources[0].as_slice(), rig.queue.as_ref()).unwrap();
    writer.settle().unwrap();
    let (out, queue) = (rig.room(LEN), rig.queue());
    simulation::delay_us(150_000, 150_000);
    let info = std::thread::scope(|scope| {
        let reading =
            scope.spawn(|| stream.reader().read_into(out.as_slice(), queue.as_ref()).unwrap());
        std::thread::sleep(ms(30));
        simulation::delay_us(0, 0);
        for source in &sources[1..] {
            writer.publish(source.as_slice(), rig.queue.as_ref()).unwrap();
        }
        writer.settle().unwrap();
        reading.join().unwrap()
    });
    ensure(is_frame(&rig.bytes(&out), info.count), "a frame came under another's number")
}

#[test]
fn a_read_is_validated() {
    must_notice(Mutation::Validate, lapped_reader);
}

/// A stream whose process was killed is said to be gone.
fn gone_is_gone(rig: &Rig, _via_host: bool) -> Result<(), String> {
    simulation::delay_us(0, 0);
    let name = name("orphan");
    let mut peer = Peer::new("create", &name);
    assert_eq!(peer.hear(), "ready");
    let stream = Named(DeviceStream::open(&name, &rig.device).unwrap());
    let mut out = vec![0; LEN];
    stream.reader().read_to_host(&mut out, rig.queue.as_ref()).unwrap();
    peer.kill();
    let outcome = stream.reader().read_to_host(&mut out, rig.queue.as_ref());
    ensure(
        matches!(outcome, Err(DeviceReadError::CreatorGone { .. })),
        "memory of a process that is gone was believed",
    )
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let (Some((_, name)), Some(_turn)) = (role(), turn()) else { return };
    let rig = Rig::new();
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None).unwrap();
    let stream = config.create(&name, &rig.device).unwrap();
    let data = rig.upload(&frame(1, LEN));
    stream.writer(SOON).unwrap().publish(data.as_slice(), rig.queue.as_ref()).unwrap();
    say("ready");
    hear();
}

#[test]
fn a_read_asks_whether_the_memorys_process_lives() {
    must_notice(Mutation::CreatorLives, gone_is_gone);
}
