//! Where in a file the bytes of an array lie, and how they are read: in order, from the file itself, never
//! all at once. Upholds invariant 2: lengths were compared with the file before, and whoever reads past what
//! there is gets an error.

use flate2::bufread::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Error, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes of a file that make up something.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    /// Bytes in the file.
    pub(super) stored: u64,
    /// Bytes when unpacked.
    pub(super) len: u64,
    pub(super) deflated: bool,
    /// What the bytes must add up to.
    pub(super) crc: Option<u32>,
}

impl Extent {
    /// Bytes that lie in the file as they are.
    pub(super) fn plain(file: &Arc<File>, at: u64, len: u64) -> Extent {
        Extent { file: file.clone(), at, stored: len, len, deflated: false, crc: None }
    }

    /// Reads it from the beginning.
    pub(super) fn open(&self) -> Box<dyn Read> {
        let window = Window::new(self.file.clone(), self.at, self.stored);
        let source: Box<dyn Read> = match self.deflated {
            true => Box::new(DeflateDecoder::new(BufReader::with_capacity(1 << 16, window))),
            false => Box::new(window),
        };
        match self.crc {
            Some(crc) => Box::new(Checked::new(source, self.len, crc)),
            None => source,
        }
    }
}

/// A part of a file, whatever others do with the file's position.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Window {
    pub(super) fn new(file: Arc<File>, at: u64, len: u64) -> Window {
        Window { file, at, left: len }
    }
}

impl Read for Window {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.file.read_at(&mut out[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Bytes that must have a length and a checksum; the last of them are not given out otherwise.
struct Checked<R> {
    source: R,
    left: u64,
    crc: u32,
    seen: crc32fast::Hasher,
}

impl<R: Read> Checked<R> {
    fn new(source: R, len: u64, crc: u32) -> Checked<R> {
        Checked { source, left: len, crc, seen: crc32fast::Hasher::new() }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.source.read(&mut out[..most])?;
        self.seen.update(&out[..read]);
        self.left -= read as u64;
        if read > 0 && self.left == 0 && self.seen.clone().finalize() != self.crc {
            return Err(Error::new(ErrorKind::InvalidData, "its checksum does not match"));
        }
        Ok(read)
    }
}
