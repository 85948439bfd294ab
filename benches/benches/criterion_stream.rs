//! `cargo bench -p shm-benches --bench criterion_stream`: the single calls of a stream under
//! criterion, to compare one commit with another. What it compares with limits and peers, between
//! processes, is the suite `stream`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use shm_benches::scratch::{ScratchStream, Sweeper};
use shm_core::{Reader, StreamConfig, Writer};

const LENGTHS: [usize; 4] = [64, 4096, 40_000, 4_000_000];

fn main() {
    let _sweeper = Sweeper::stand_by().expect("signals can be caught");
    let mut criterion = Criterion::default().configure_from_args();
    publish(&mut criterion);
    read(&mut criterion);
    view(&mut criterion);
    roundtrip(&mut criterion);
    criterion.final_summary();
}

fn publish(criterion: &mut Criterion) {
    each_length(criterion, "publish", |ends| {
        ends.writer.publish(&ends.source).expect("the writer holds its lock");
    });
}

fn read(criterion: &mut Criterion) {
    each_length(criterion, "read", |ends| {
        ends.reader.read_into(&mut ends.target).expect("a frame is there");
    });
}

fn view(criterion: &mut Criterion) {
    each_length(criterion, "view", |ends| {
        let view = ends.reader.view().expect("a frame is there");
        black_box(view.get::<u8>(0).expect("the stream is one of bytes"));
        view.validate().expect("nobody publishes meanwhile");
    });
}

fn roundtrip(criterion: &mut Criterion) {
    each_length(criterion, "roundtrip", |ends| {
        ends.writer.publish(&ends.source).expect("the writer holds its lock");
        ends.reader.read_into(&mut ends.target).expect("a frame is there");
    });
}

/// A stream with both its ends in this process.
struct Ends {
    source: Vec<u8>,
    target: Vec<u8>,
    writer: Writer,
    reader: Reader,
    _stream: ScratchStream,
}

impl Ends {
    fn new(len: usize) -> Ends {
        let config = StreamConfig::of::<u8>(&[len]).expect("the shape is valid");
        let stream = ScratchStream::create("criterion", &config).expect("shared memory has room");
        let mut writer = stream.writer(Duration::from_secs(1)).expect("nobody else writes");
        let source = vec![7; len];
        writer.publish(&source).expect("the frame fits");
        Ends { source, target: vec![0; len], writer, reader: stream.reader(), _stream: stream }
    }
}

fn each_length(criterion: &mut Criterion, name: &str, mut once: impl FnMut(&mut Ends)) {
    let mut group = criterion.benchmark_group(name);
    for len in LENGTHS {
        group.bench_with_input(BenchmarkId::from_parameter(len), &len, |bencher, len| {
            let mut ends = Ends::new(*len);
            bencher.iter(|| once(&mut ends));
        });
    }
    group.finish();
}
