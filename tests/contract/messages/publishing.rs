//! `PublishError`.

use crate::support::child::alone;
use crate::support::name::Name;
use shm_core::{Deadline, FrameTag, PublishError, Stream, StreamConfig};

fn create(name: &Name) -> Stream {
    Stream::create(name, &StreamConfig::of::<f32>(&[2, 3]).unwrap()).unwrap()
}

#[test]
fn dtype() {
    let name = Name::new("dtype");
    let mut writer = create(&name).writer(Deadline::NOW).unwrap();
    let text = format!("data has dtype int32, stream '{}' has float32; convert it first", &*name);
    assert_eq!(writer.publish(&[1_i32; 6]).unwrap_err().to_string(), text);
    let mut loan = writer.loan().unwrap();
    assert_eq!(loan.as_mut_slice::<i32>().unwrap_err().to_string(), text);
}

#[test]
fn length() {
    let name = Name::new("length");
    let mut writer = create(&name).writer(Deadline::NOW).unwrap();
    assert_eq!(
        writer.publish(&[1_f32; 7]).unwrap_err().to_string(),
        format!(
            "data has 7 elements, a frame of stream '{}' has 6 (shape [2, 3]); publish whole frames",
            &*name
        )
    );
    assert_eq!(
        writer.publish_bytes(&[], FrameTag::default()).unwrap_err().to_string(),
        format!(
            "data has 0 bytes, a frame of stream '{}' has 24 (shape [2, 3]); publish whole frames",
            &*name
        )
    );
}

#[test]
fn stale() {
    let name = Name::new("stale");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    shm_core::unlink(&name).unwrap();
    assert_eq!(
        writer.publish(&[1_f32; 6]).unwrap_err().to_string(),
        format!("stream '{}' was unlinked or replaced; open the name again", &*name)
    );
}

#[test]
fn forked() {
    alone!(forked, || {
        let name = Name::new("forked");
        let mut writer = create(&name).writer(Deadline::NOW).unwrap();
        let expected = PublishError::Forked { name: name.to_string() };
        assert_eq!(
            expected.to_string(),
            format!(
                "writer of stream '{}' was made before fork(); its lock belongs to the parent, take one in this process",
                &*name
            )
        );
        // SAFETY: the child only compares, and ends without running anything else.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            let refused = writer.publish(&[1_f32; 6]) == Err(expected);
            // SAFETY: ends this process at once, without handlers.
            unsafe { libc::_exit(if refused { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: a child of this process and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child could publish");
        assert_eq!(writer.publish(&[1_f32; 6]), Ok(1), "the parent's lock is untouched");
    });
}
