//! The backings, behind one trait that the bodies are written against.

use crate::support::name::Name;
use crate::support::portable_locks;
use shm_core::{Reader, Stream, StreamConfig};

/// A way to have streams.
pub(crate) trait Backing {
    fn create(&self, config: &StreamConfig) -> Subject;
}

/// A stream on some backing, removed when the value is dropped.
pub(crate) struct Subject {
    pub(crate) stream: Stream,
    reopen: fn(&Stream) -> Stream,
    read: fn(&Stream) -> Reader,
    unlink: fn(&Stream),
    name: Name,
}

impl Subject {
    /// Another handle, as another process would have.
    pub(crate) fn second(&self) -> Stream {
        (self.reopen)(&self.stream)
    }

    /// A reader, as another process would have.
    pub(crate) fn reader(&self) -> Reader {
        (self.read)(&self.stream)
    }

    pub(crate) fn unlink(&self) {
        (self.unlink)(&self.stream);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // After a panic the name alone cleans up, so that the panic's own message is seen.
        if !std::thread::panicking() && !self.stream.is_retired() {
            self.unlink();
        }
        portable_locks::remove(&self.name);
    }
}

/// Files in `/dev/shm`.
pub(crate) struct Posix;

impl Backing for Posix {
    fn create(&self, config: &StreamConfig) -> Subject {
        let name = Name::new("posix");
        Subject {
            stream: Stream::create(&name, config).unwrap(),
            reopen: |stream| Stream::open(stream.name()).unwrap(),
            read: |stream| Reader::open(stream.name()).unwrap(),
            unlink: |stream| stream.unlink().unwrap(),
            name,
        }
    }
}

/// Memory of this process.
pub(crate) struct ProcessLocal;

impl Backing for ProcessLocal {
    fn create(&self, config: &StreamConfig) -> Subject {
        let name = Name::new("local");
        Subject {
            stream: Stream::process_local(&name, config).unwrap(),
            reopen: Stream::clone,
            read: Stream::reader,
            unlink: |stream| stream.unlink().unwrap(),
            name,
        }
    }
}

/// `shared_memory`, `raw_sync` and file locks.
pub(crate) struct Portable;

impl Backing for Portable {
    fn create(&self, config: &StreamConfig) -> Subject {
        let name = Name::new("portable");
        Subject {
            stream: Stream::create_portable(&name, config).unwrap(),
            reopen: |stream| Stream::open_portable(stream.name()).unwrap(),
            read: |stream| Stream::open_portable(stream.name()).unwrap().reader(),
            unlink: |stream| stream.unlink_portable().unwrap(),
            name,
        }
    }
}

/// Makes each body a test of every backing.
macro_rules! on_every_backing {
    ($($body:ident),* $(,)?) => {
        mod posix {
            $(#[test] fn $body() { super::$body(&crate::conformance::backing::Posix) })*
        }
        mod process_local {
            $(#[test] fn $body() { super::$body(&crate::conformance::backing::ProcessLocal) })*
        }
        mod portable {
            $(#[test] fn $body() { super::$body(&crate::conformance::backing::Portable) })*
        }
    };
}
pub(crate) use on_every_backing;
