//! Files that somebody damaged, or made to do harm: each is refused with its field, what was expected and
//! found, and what to do, within a bound on memory, and no stream is made of it.

use crate::programs::{Folder, run, unique};
use crate::replaying::saved;
use shm_core::OpenError;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// What the program may have, in KiB: far less than what the files promise.
const MEMORY: u64 = 800_000;

/// Writes an archive of arrays.
pub fn zip(path: &Path, arrays: &[(&str, &[u8])]) {
    packed(path, arrays, CompressionMethod::Stored);
}

fn packed(path: &Path, arrays: &[(&str, &[u8])], method: CompressionMethod) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// Replays a file with little memory; it ends with that code and those words.
fn refuse(file: &Path, code: i32, words: &str) {
    let name = unique("hostile");
    let script = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script, env!("CARGO_BIN_EXE_shm"), "replay"]).arg(file);
    let ended = run(limited.args([&name, "--rate", "1000"]));
    let label = file.file_name().unwrap();
    assert_eq!(ended.code, Some(code), "{label:?}: {ended:?}");
    assert!(ended.errors.starts_with("error: "), "{label:?}: {ended:?}");
    assert!(ended.errors.contains(words), "{label:?}: {words}: {ended:?}");
    assert!(ended.out.is_empty(), "{label:?}: {ended:?}");
    let there = shm_core::stat(&name);
    assert!(matches!(there, Err(OpenError::NotFound { .. })), "{label:?} left a stream");
}

#[test]
fn arrays() {
    let folder = Folder::new();
    let data = [0_u8; 64];
    let array = |descr: &str, shape: &str| saved(descr, shape, &data);
    let version = |version: u8| {
        let mut bytes = array("'<f4'", "(2, 2)");
        bytes[6] = version;
        bytes
    };
    let long = [&b"\x93NUMPY\x02\x00\xff\xff\xff\xff"[..], &data].concat();
    let text = |text: &str| {
        let len = (text.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &len, text.as_bytes(), &data].concat()
    };
    let nested = format!("{}{}", "(".repeat(30_000), ")".repeat(30_000));
    let many = format!("({})", "1, ".repeat(18));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "the header is cut off, expected complete"),
        (b"PK\x03\x04 and so on".to_vec(), "the magic is"),
        (version(9), "the format version is 9, expected 1, 2 or 3"),
        (long, "the length of the header is 4294967295, expected at most 65536"),
        (array("'<f4'", "(2, 2)")[..60].to_vec(), "the header is cut off"),
        (text(&nested), "the header is something else, expected a dict"),
        (text("__import__('os').abort()"), "the header is `__import__"),
        (text("{'descr': '<f4', 'shape': (2, 2)}"), "the header is one without fortran_order"),
        (text("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}"), "ascontiguousarray"),
        (text("{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 2)}"), "fortran_order is 0"),
        (text("{'descr': 7, 'fortran_order': False, 'shape': (2, 2)}"), "descr is 7"),
        (array("'>f4'", "(2, 2)"), "descr is '>f4', big-endian, expected little-endian"),
        (array("'|O'", "(2, 2)"), "object arrays are pickles, which are never loaded"),
        (array("'<U5'", "(2,)"), "descr is '<U5', expected a dtype that streams have"),
        (array("[('a', '<f4'), ('b', '|O')]", "(2,)"), "structured, with fields a, b"),
        (array("'<f4'", "(-2, 2)"), "shape is (-2, 2), expected a tuple of whole numbers"),
        (array("'<f4'", "(2.5,)"), "expected a tuple of whole numbers"),
        (array("'<f4'", "()"), "shape is (), expected at least one dimension"),
        (array("'<f4'", "(0, 2)"), "shape[0] is 0, expected at least one frame"),
        (array("'<f4'", "(2, 0)"), "dimension 0 is 0"),
        (array("'<f4'", &many), "shape has 17 dimensions"),
        (array("'<f4'", "(2, 9)"), "the number of bytes is 64, expected at least 72"),
        (array("'<f8'", "(9223372036854775808, 2)"), "more than any file has"),
        (array("'<f8'", "(2, 9223372036854775808, 4)"), "more bytes than this machine can address"),
        (array("'<f8'", "(2, 184467440737095516160)"), "expected a tuple of whole numbers"),
        (
            array("'|u1'", "(1, 8589934592)"),
            "the number of bytes is 64, expected at least 8589934592",
        ),
    ];
    for (number, (bytes, words)) in cases.into_iter().enumerate() {
        let file = folder.file(&format!("{number}.npy"));
        std::fs::write(&file, bytes).unwrap();
        refuse(&file, 4, words);
    }
}

#[test]
fn times_of_another_recording() {
    let folder = Folder::new();
    let file = folder.file("a.npy");
    std::fs::write(&file, saved("'|u1'", "(2,)", &[0; 2])).unwrap();
    let times = folder.file("a.times.npy");
    let fields =
        "[('counts', '<u8'), ('ids', '<u8'), ('published_ns', '<u8'), ('acquired_ns', '<u8')]";
    for (descr, shape, words) in [
        (fields, "(3,)", "a.times.npy: shape is [3], expected [2]"),
        (fields, "(2,)", "the number of bytes is 63"),
        ("'<u8'", "(2,)", "a.times.npy: descr is something else"),
    ] {
        let mut bytes = saved(descr, shape, &[]);
        bytes.resize(bytes.len() + 63, 0);
        std::fs::write(&times, bytes).unwrap();
        refuse(&file, 4, words);
    }
}

#[test]
fn archives() {
    let folder = Folder::new();
    let file = |name: &str| folder.file(name);
    let array = saved("'|u1'", "(2, 32)", &[9; 64]);

    std::fs::write(file("empty.npz"), []).unwrap();
    refuse(&file("empty.npz"), 4, "the archive is damaged");
    std::fs::write(file("npy.npz"), &array).unwrap();
    refuse(&file("npy.npz"), 4, "the archive is damaged");

    zip(&file("none.npz"), &[]);
    refuse(&file("none.npz"), 4, "the number of arrays is 0");
    zip(&file("cut.npz"), &[("frames", &array)]);
    let bytes = std::fs::read(file("cut.npz")).unwrap();
    std::fs::write(file("cut.npz"), &bytes[..bytes.len() - 30]).unwrap();
    refuse(&file("cut.npz"), 4, "the archive is damaged");

    // A record of the directory that promises everything.
    let mut bytes = Vec::from(b"PK\x06\x06");
    bytes.extend_from_slice(&44_u64.to_le_bytes());
    bytes.extend_from_slice(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for word in [1 << 40, 1 << 40, 1_u64 << 46, 1 << 41] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(b"PK\x06\x07\0\0\0\0");
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    bytes.extend_from_slice(&[1, 0, 0, 0]);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&[0xff; 12]);
    bytes.extend_from_slice(&[0; 2]);
    std::fs::write(file("directory.npz"), bytes).unwrap();
    refuse(&file("directory.npz"), 4, "the archive is damaged");

    zip(&file("object.npz"), &[("frames", &saved("'|O'", "(2,)", &[0; 64]))]);
    refuse(&file("object.npz"), 4, "frames.npy: descr is '|O'");
    zip(&file("short.npz"), &[("frames", &saved("'|u1'", "(2, 1099511627776)", &[0; 64]))]);
    refuse(&file("short.npz"), 4, "expected at least 2199023255552");
    for (name, descr, shape, words) in [
        ("ids", "'<u8'", "(3,)", "ids.npy: shape is [3], expected [2]"),
        ("published_ns", "'<i8'", "(2,)", "published_ns.npy: dtype is int64, expected uint64"),
        ("acquired_ns", "'<u8'", "(2, 1)", "acquired_ns.npy: shape is [2, 1], expected [2]"),
        (
            "metadata",
            "'|O'",
            "(70000,)",
            "metadata.npy: its length is more, expected at most 65536",
        ),
    ] {
        let other = saved(descr, shape, &[0; 70_000]);
        zip(&file("column.npz"), &[("frames", &array), (name, &other)]);
        refuse(&file("column.npz"), 4, words);
    }
}

#[test]
fn archives_that_promise_more_than_they_have() {
    let folder = Folder::new();
    let zeros = vec![0; 1 << 20];
    let array = saved("'|u1'", "(1, 1048576)", &zeros);

    // The unpacked size is a lie that no compression can make true.
    let bomb = folder.file("bomb.npz");
    let huge = saved("'|u1'", "(1, 3000000000)", &zeros);
    packed(&bomb, &[("frames", &huge)], CompressionMethod::Deflated);
    patch_sizes(&bomb, 3_100_000_000);
    refuse(&bomb, 4, "the unpacked size is 3100000000, expected at most");

    // A lie that compression could make true is found before anything is made of it.
    let lie = folder.file("lie.npz");
    let more = saved("'|u1'", "(1, 1100000)", &zeros);
    packed(&lie, &[("frames", &more)], CompressionMethod::Deflated);
    patch_sizes(&lie, 1_100_128);
    refuse(&lie, 4, "the first frame is cut off");

    // Stored bytes that were changed are noticed with the last frame, which is not published.
    let changed = folder.file("changed.npz");
    zip(&changed, &[("frames", &array)]);
    let mut bytes = std::fs::read(&changed).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&changed, bytes).unwrap();
    refuse(&changed, 4, "its checksum does not match");

    // Compressed data that is none.
    let noise = folder.file("noise.npz");
    packed(&noise, &[("frames", &array)], CompressionMethod::Deflated);
    let mut bytes = std::fs::read(&noise).unwrap();
    bytes[60..500].fill(0xff);
    std::fs::write(&noise, bytes).unwrap();
    refuse(&noise, 4, "damaged");
}

/// Sets the unpacked size of the only member, beside the data and in the directory.
fn patch_sizes(path: &Path, size: u32) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut archive = ZipArchive::new(&file).unwrap();
    let member = archive.by_index_raw(0).unwrap();
    for place in [member.header_start() + 22, member.central_header_start() + 24] {
        file.write_all_at(&size.to_le_bytes(), place).unwrap();
    }
}

#[test]
fn tensors() {
    let folder = Folder::new();
    let with = |text: &str, data: usize| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let tensor = |dtype: &str, shape: &str, end: u64| {
        format!(
            r#"{{"frames": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": [0, {end}]}}}}"#
        )
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "the header is cut off"),
        (u64::MAX.to_le_bytes().to_vec(), "the length of the header is 18446744073709551615"),
        (
            [&(1_u64 << 32).to_le_bytes()[..], &[b' '; 64]].concat(),
            "the length of the header is 4294967296",
        ),
        (with("{'frames'}", 8), "the header is damaged"),
        (with(&"[".repeat(100_000), 8), "the header is damaged"),
        (with("{}", 8), "the number of arrays is 0"),
        (with(&tensor("F32", "[2, 2]", 16), 8), "the length of the file is"),
        (with(&tensor("F32", "[2, 3]", 16), 16), "the header is damaged"),
        (with(&tensor("F32", "[4611686018427387904, 4]", 16), 16), "the header is damaged"),
        (with(&tensor("F32", "[-1]", 16), 16), "the header is damaged"),
        (
            with(&tensor("F8_E4M3", "[2, 2]", 4), 4),
            "dtype is F8_E4M3, expected a dtype that streams have",
        ),
        (with(&tensor("F128", "[2, 2]", 64), 64), "the header is damaged"),
        (with(&tensor("F32", "[0, 2]", 0), 0), "shape[0] is 0, expected at least one frame"),
        (with(&tensor("U8", "[]", 1), 1), "expected at least one dimension"),
        (with(&tensor("U8", "[1, 1099511627776]", 1 << 40), 16), "the length of the file is"),
    ];
    for (number, (bytes, words)) in cases.into_iter().enumerate() {
        let file = folder.file(&format!("{number}.safetensors"));
        std::fs::write(&file, bytes).unwrap();
        refuse(&file, 4, words);
    }
}

#[test]
fn things_that_are_no_files() {
    let folder = Folder::new();
    refuse(&folder.file("absent.npy"), 3, "there is no such file");
    std::fs::create_dir(folder.file("folder.npz")).unwrap();
    refuse(&folder.file("folder.npz"), 4, "expected a regular file");
    assert!(Command::new("mkfifo").arg(folder.file("pipe.npy")).status().unwrap().success());
    refuse(&folder.file("pipe.npy"), 4, "expected a regular file");
    std::fs::write(folder.file("data.pkl"), b"cos\nsystem\n").unwrap();
    refuse(&folder.file("data.pkl"), 2, "expected .npy, .npz or .safetensors");
}
