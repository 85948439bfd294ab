//! Views, frames and writers that outlive whatever they came from.

use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{Deadline, Reader, Stream, StreamConfig};

const ELEMENTS: usize = 3000;

fn create(name: &Name) -> Stream {
    Stream::create(name, &StreamConfig::of::<u64>(&[ELEMENTS]).unwrap()).unwrap()
}

fn mappings(name: &Name) -> usize {
    let path = name.path().to_string_lossy().into_owned();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains(&path)).count()
}

fn descriptors(name: &Name) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    links
        .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(name.path())))
        .count()
}

#[test]
fn a_view_outlives_everything() {
    let name = Name::new("view");
    let stream = create(&name);
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    writer.publish(&pattern::<u64>(ELEMENTS, 1)).unwrap();
    let mut reader = Reader::open(&name).unwrap();
    let view = reader.view().unwrap();
    let frame = reader.read::<u64>().unwrap();
    stream.unlink().unwrap();
    drop((stream, writer, reader));
    assert_same(&view.iter::<u64>().unwrap().collect::<Vec<_>>(), &pattern::<u64>(ELEMENTS, 1));
    assert_eq!(view.validate(), Ok(()));
    let other = view.clone();
    drop(view);
    let mut all = vec![0; ELEMENTS];
    other.copy_range(0, &mut all).unwrap();
    assert_same(&all, &frame.data);
}

#[test]
fn a_frame_in_place_outlives_the_name_and_its_handles() {
    let name = Name::new("loan");
    let stream = create(&name);
    let mut reader = Reader::open(&name).unwrap();
    let mut writer = stream.writer(Deadline::NOW).unwrap();
    drop(stream);
    let mut loan = writer.loan().unwrap();
    shm_core::unlink(&name).unwrap();
    loan.as_mut_slice::<u64>().unwrap().copy_from_slice(&pattern(ELEMENTS, 2));
    assert_eq!(loan.commit(), 1);
    assert_same(&reader.read::<u64>().unwrap().data, &pattern::<u64>(ELEMENTS, 2));
}

#[test]
fn the_last_one_out_unmaps_and_closes() {
    let name = Name::new("unmapped");
    let stream = create(&name);
    let writer = stream.writer(Deadline::NOW).unwrap();
    assert_eq!((mappings(&name), descriptors(&name)), (1, 1), "one mapping, one descriptor");
    let clone = stream.clone();
    drop(stream);
    let mut reader = clone.reader();
    drop((clone, writer));
    assert_eq!((mappings(&name), descriptors(&name)), (1, 1));
    let mut second = Stream::open(&name).unwrap().writer(Deadline::NOW).unwrap();
    second.publish(&pattern::<u64>(ELEMENTS, 3)).unwrap();
    drop(second);
    let view = reader.view().unwrap();
    drop(reader);
    assert_same(&view.iter::<u64>().unwrap().collect::<Vec<_>>(), &pattern::<u64>(ELEMENTS, 3));
    drop(view);
    assert_eq!((mappings(&name), descriptors(&name)), (0, 0));
    let opened = Reader::open(&name).unwrap();
    assert_eq!(descriptors(&name), 1);
    drop(opened.into_async());
    assert_eq!((mappings(&name), descriptors(&name)), (0, 0));
}
