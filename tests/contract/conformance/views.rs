//! Frames looked at where they lie.

use super::backing::{Backing, on_every_backing};
use crate::support::pattern::{assert_same, pattern};
use shm_core::{ReadError, StreamConfig};
use std::time::Duration;

on_every_backing!(
    a_view_shows_every_element,
    bounds_and_dtype_are_checked,
    a_view_knows_when_its_frame_is_gone,
    a_loan_takes_the_frame_of_an_old_view,
);

const NOW: Duration = Duration::from_secs(5);

fn a_view_shows_every_element(on: &impl Backing) {
    for elements in [1, 17, 5000] {
        let subject = on.create(&StreamConfig::of::<u64>(&[elements]).unwrap());
        let data = pattern::<u64>(elements, 6);
        subject.stream.writer(NOW).unwrap().publish(&data).unwrap();
        let mut reader = subject.reader();
        let view = reader.view().unwrap();
        assert_eq!((view.len(), view.byte_len()), (elements, elements * 8));
        assert!(!view.is_empty());
        assert_eq!(view.as_ptr().addr() % 64, 0);
        for (index, expected) in data.iter().enumerate() {
            assert_eq!(view.get::<u64>(index), Ok(*expected));
        }
        let all = view.iter::<u64>().unwrap();
        assert_eq!(all.len(), elements);
        assert_same(&all.collect::<Vec<_>>(), &data);
        let mut part = vec![0_u64; elements / 2];
        view.copy_range(elements - part.len(), &mut part).unwrap();
        assert_same(&part, &data[elements - part.len()..]);
        view.copy_range::<u64>(elements, &mut []).unwrap();
        assert_eq!(view.validate(), Ok(()));
        assert_eq!(reader.seen(), 1, "a view is a read");
    }
}

fn bounds_and_dtype_are_checked(on: &impl Backing) {
    let subject = on.create(&StreamConfig::of::<u16>(&[10]).unwrap());
    subject.stream.writer(NOW).unwrap().publish(&[7_u16; 10]).unwrap();
    let view = subject.reader().view().unwrap();
    let name = subject.stream.name().to_owned();
    let beyond = |index| ReadError::Index { name: name.clone(), index, elements: 10 };
    assert_eq!(view.get::<u16>(10), Err(beyond(10)));
    assert_eq!(view.get::<u16>(usize::MAX), Err(beyond(usize::MAX)));
    assert_eq!(view.copy_range(9, &mut [0_u16; 2]), Err(beyond(10)));
    assert_eq!(view.copy_range(usize::MAX, &mut [0_u16; 2]), Err(beyond(usize::MAX)));
    assert_eq!(view.copy_range(11, &mut [0_u16; 0]), Err(beyond(11)));
    assert!(matches!(view.get::<i16>(0), Err(ReadError::Dtype { .. })));
    assert!(matches!(view.iter::<u8>().map(drop), Err(ReadError::Dtype { .. })));
    assert!(matches!(view.copy_range(0, &mut [0_u8; 1]), Err(ReadError::Dtype { .. })));
}

fn a_view_knows_when_its_frame_is_gone(on: &impl Backing) {
    for cells in [2_usize, 3, 6] {
        let config = StreamConfig::of::<u32>(&[100]).unwrap().cells(cells).unwrap();
        let subject = on.create(&config);
        let mut writer = subject.stream.writer(NOW).unwrap();
        writer.publish(&pattern::<u32>(100, 1)).unwrap();
        let view = subject.reader().view().unwrap();
        for seed in 2..=cells as u64 {
            writer.publish(&pattern::<u32>(100, seed)).unwrap();
            assert_eq!(view.validate(), Ok(()), "{cells} cells keep {cells} frames");
            assert_same(&view.iter::<u32>().unwrap().collect::<Vec<_>>(), &pattern::<u32>(100, 1));
        }
        writer.publish(&pattern::<u32>(100, 99)).unwrap();
        let name = subject.stream.name().to_owned();
        assert_eq!(view.validate(), Err(ReadError::Overwritten { name, count: 1 }));
        assert_eq!(view.info().count, 1);
        assert_same(&view.iter::<u32>().unwrap().collect::<Vec<_>>(), &pattern::<u32>(100, 99));
    }
}

fn a_loan_takes_the_frame_of_an_old_view(on: &impl Backing) {
    let subject = on.create(&StreamConfig::of::<u32>(&[100]).unwrap().cells(2).unwrap());
    let mut writer = subject.stream.writer(NOW).unwrap();
    writer.publish(&pattern::<u32>(100, 1)).unwrap();
    let mut reader = subject.reader();
    let old = reader.view().unwrap();
    writer.publish(&pattern::<u32>(100, 2)).unwrap();
    let new = reader.view().unwrap();
    assert_eq!((old.validate(), new.validate()), (Ok(()), Ok(())));
    let loan = writer.loan().unwrap();
    assert!(old.validate().is_err(), "its cell is being written");
    assert_eq!(new.validate(), Ok(()));
    drop(loan);
    assert!(old.validate().is_err(), "given back is not given back unharmed");
    assert_eq!(new.clone().validate(), Ok(()));
}
