//! What is in a recording, read without the code under test.

use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zip::ZipArchive;

/// An array: what its header says, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub header: String,
    pub data: Vec<u8>,
}

impl Stored {
    fn of(bytes: &[u8]) -> Stored {
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert!((10 + len).is_multiple_of(64));
        let header = String::from_utf8(bytes[10..10 + len].to_vec()).unwrap();
        assert!(header.ends_with('\n'));
        Stored { header: header.trim_end().to_owned(), data: bytes[10 + len..].to_vec() }
    }

    pub fn words(&self) -> Vec<u64> {
        self.data.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }
}

/// The header of an array.
pub fn header(descr: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}")
}

/// What a recording has, whatever its format.
#[derive(Debug)]
pub struct Contents {
    /// The arrays of a `.npy` or `.npz`; of safetensors, dtype and shape stand for the header.
    pub arrays: BTreeMap<String, Stored>,
    pub facts: BTreeMap<String, String>,
}

impl Contents {
    pub fn of(path: &Path) -> Contents {
        match path.extension().unwrap().to_str().unwrap() {
            "npy" => npy(path),
            "npz" => npz(path),
            _ => tensors(path),
        }
    }

    pub fn frames(&self) -> &[u8] {
        &self.arrays["frames"].data
    }

    pub fn words(&self, name: &str) -> Vec<u64> {
        self.arrays[name].words()
    }
}

fn npy(path: &Path) -> Contents {
    let frames = Stored::of(&std::fs::read(path).unwrap());
    let times = Stored::of(&std::fs::read(path.with_extension("times.npy")).unwrap());
    let stride = if times.header.contains("'dtype'") { 40 } else { 32 };
    let names = ["counts", "ids", "published_ns", "acquired_ns"];
    let mut arrays = BTreeMap::from([("frames".to_owned(), frames)]);
    for (at, name) in names.into_iter().enumerate() {
        let rows = times.data.chunks(stride);
        let data = rows.flat_map(|row| row[at * 8..][..8].to_vec()).collect();
        arrays.insert(name.to_owned(), Stored { header: String::new(), data });
    }
    if stride == 40 {
        assert!(times.data.chunks(40).all(|row| &row[32..] == b"bfloat16"));
    }
    Contents { arrays, facts: BTreeMap::new() }
}

fn npz(path: &Path) -> Contents {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let mut member = archive.by_index(index).unwrap();
        let name = member.name().unwrap().strip_suffix(".npy").unwrap().to_owned();
        let mut bytes = Vec::new();
        // The archive compares the checksum here.
        member.read_to_end(&mut bytes).unwrap();
        arrays.insert(name, Stored::of(&bytes));
    }
    Contents { arrays, facts: BTreeMap::new() }
}

fn tensors(path: &Path) -> Contents {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let arrays = tensors.iter().map(|(name, view)| {
        let header = format!("{:?} {:?}", view.dtype(), view.shape());
        (name.to_owned(), Stored { header, data: view.data().to_vec() })
    });
    let arrays = arrays.collect();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let facts = header.metadata().clone().unwrap().into_iter().collect();
    Contents { arrays, facts }
}
