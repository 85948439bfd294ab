//! `CreateError`.

use super::chain;
use crate::support::child::alone;
use crate::support::name::Name;
use crate::support::private_shm;
use crate::support::raw_file::RawFile;
use shm_core::{CreateError, Stream, StreamConfig};

fn config() -> StreamConfig {
    StreamConfig::of::<u8>(&[1000]).unwrap()
}

#[test]
fn exists() {
    let name = Name::new("exists");
    let _stream = Stream::create(&name, &config()).unwrap();
    let text = format!(
        "segment '{}' already exists; open it, unlink it, or ask for it to be replaced",
        &*name
    );
    assert_eq!(Stream::create(&name, &config()).unwrap_err().to_string(), text);
    assert_eq!(Stream::create_portable(&name, &config()).unwrap_err().to_string(), text);
}

#[test]
fn not_replaceable() {
    let name = Name::new("not-replaceable");
    RawFile::create(&name.path(), b"\x01\x02\x03\x04\x05\x06\x07\x08 notes");
    let error = Stream::create(&name, &config().replace_existing(true)).unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "cannot replace segment '{0}': file of segment '{0}' begins with 0x0807060504030201, \
             which no segment does; move that file away",
            &*name
        )
    );
}

#[test]
fn no_space() {
    let name = Name::new("no-space");
    for frame in [1 << 38, 1 << 40] {
        let error = Stream::create(&name, &StreamConfig::of::<u8>(&[frame]).unwrap()).unwrap_err();
        let CreateError::NoSpace { need, have, .. } = &error else { panic!("{error:?}") };
        assert!(*need >= 3 * frame as u64 && have < need);
        let text = format!(
            "segment '{}' needs {need} bytes of shared memory and {have} are free; \
             unlink segments that are no longer used, or enlarge /dev/shm",
            &*name
        );
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn no_space_for_what_not_even_the_address_space_holds() {
    let name = Name::new("no-address-space");
    let error = Stream::create(&name, &StreamConfig::of::<u8>(&[1 << 60]).unwrap()).unwrap_err();
    let told = matches!(error, CreateError::NoSpace { .. } | CreateError::TooLarge { .. });
    assert!(told, "{error:?}");
    assert!(!name.path().exists());
}

#[test]
fn a_process_local_stream_that_does_not_fit_is_an_error() {
    alone!(a_process_local_stream_that_does_not_fit_is_an_error, || {
        let config = StreamConfig::of::<u8>(&[1 << 50]).unwrap();
        let error = Stream::process_local("huge", &config).unwrap_err();
        let told = matches!(error, CreateError::NoSpace { .. } | CreateError::TooLarge { .. });
        assert!(told, "{error:?}");
    });
}

#[test]
fn refused_by_the_system() {
    alone!(refused_by_the_system, || {
        if !private_shm::mount(1 << 20) {
            return;
        }
        private_shm::remount_read_only();
        let error = Stream::create("read-only", &config()).unwrap_err();
        assert_eq!(
            chain(&error),
            "cannot create the file for segment 'read-only': Read-only file system (os error 30)"
        );
    });
}
