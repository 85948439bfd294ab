//! What the demo proved, or what went wrong.

use std::os::unix::process::ExitStatusExt;

use super::record::{PublisherRecord, Record};
use super::scoreboard::{gigabytes, viewer_name};
use crate::demo::VERIFIED;

/// One thing that the demo sets out to prove.
pub struct Claim {
    pub holds: bool,
    pub text: String,
}

/// Compares what the children said with what should have happened.
pub fn claims(record: &Record) -> Vec<Claim> {
    let [first, second] = record.publishers.as_slice() else {
        return vec![Claim {
            holds: false,
            text: format!(
                "two publishers ran, one after the other (there were {})",
                record.publishers.len()
            ),
        }];
    };
    vec![
        every_frame_whole(record),
        killed_in_the_middle(first),
        last_frame_readable(record, first),
        taken_over(first, second),
        everybody_saw_both(record, first, second),
        nobody_disturbed(record),
    ]
}

/// The numbers: a table of the processes, and what lay between the publishers.
pub fn summary(record: &Record) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<12} {:>8} {:>9} {:>9} {:>6} {:>9} {:>5} {:>7} {:>8} {:>7} {:>7} {:>6}",
        "process",
        "pid",
        "frames",
        "frames/s",
        "GB/s",
        "missed",
        "torn",
        "p50 us",
        "p99 us",
        "max ms",
        "gap ms",
        "CPU %"
    )];
    for (index, publisher) in (1..).zip(&record.publishers) {
        let name = format!("publisher {index}");
        let per_second = publisher.published() as f64 / publisher.seconds().max(1e-9);
        lines.push(format!(
            "{name:<12} {:>8} {:>9} {per_second:>9.0} {:>6.2}",
            publisher.pid,
            publisher.published(),
            gigabytes(per_second)
        ));
    }
    for (index, viewer) in (1..).zip(&record.viewers) {
        let name = viewer_name(index, viewer);
        let Some(totals) = &viewer.done else {
            lines.push(format!("{name:<12} {:>8} gave no report", viewer.pid));
            continue;
        };
        let per_second = totals.verified as f64 / totals.seconds.max(1e-9);
        lines.push(format!(
            "{name:<12} {:>8} {:>9} {per_second:>9.0} {:>6.2} {:>9} {:>5} {:>7.1} {:>8.1} {:>7.2} \
             {:>7.0} {:>6.0}",
            viewer.pid,
            totals.verified,
            gigabytes(per_second),
            totals.missed,
            totals.torn,
            totals.p50_ns as f64 / 1e3,
            totals.p99_ns as f64 / 1e3,
            totals.max_ns as f64 / 1e6,
            totals.longest_gap_ns as f64 / 1e6,
            totals.cpu_percent
        ));
    }
    lines.push(
        "missed: passed over, because a newer frame was there; gap: longest time without a frame"
            .to_owned(),
    );
    let overrun: u64 = totals(record).map(|totals| totals.overrun).sum();
    if overrun > 0 {
        lines.push(format!(
            "{overrun} reads were overtaken by the publisher too often and tried again"
        ));
    }
    if let [first, second] = record.publishers.as_slice()
        && let Some(begun) = second.first
    {
        lines.push(format!(
            "nobody published for {:.0} ms; publisher 2 published {:.1} ms after its process was \
             started",
            milliseconds(begun.at_mono_ns, first.ended_mono_ns),
            milliseconds(begun.at_mono_ns, second.spawned_mono_ns)
        ));
    }
    let (read, verified) = frames(record);
    lines.push(format!("{VERIFIED} {} of {}", grouped(verified), grouped(read)));
    lines
}

fn every_frame_whole(record: &Record) -> Claim {
    let (read, verified) = frames(record);
    let backwards: u64 = totals(record).map(|totals| totals.backwards).sum();
    Claim {
        holds: verified > 0 && read == verified && backwards == 0,
        text: format!(
            "every frame that was read was whole and newer than the one before: {} torn and \
             {backwards} out of order among {}",
            read - verified,
            grouped(read)
        ),
    }
}

fn killed_in_the_middle(first: &PublisherRecord) -> Claim {
    let signal = first.ended.and_then(|status| status.signal());
    let text = match (first.dying, signal) {
        (Some(dying), Some(signal)) => format!(
            "the first publisher was ended by signal {signal} with {} of {} bytes of frame {} \
             written",
            grouped(dying.bytes_written),
            grouped(super::frame::BYTES as u64),
            grouped(dying.half_written)
        ),
        _ => "the first publisher was killed in the middle of a frame (it was not)".to_owned(),
    };
    Claim { holds: signal == Some(9) && first.dying.is_some(), text }
}

fn last_frame_readable(record: &Record, first: &PublisherRecord) -> Claim {
    let last = first.dying.map(|dying| dying.half_written - 1);
    let probes: Vec<_> = record.viewers.iter().map(|viewer| viewer.probe.as_ref()).collect();
    let readable = probes
        .iter()
        .filter(|probe| probe.is_some_and(|probe| probe.number.is_some() && probe.number == last))
        .count();
    let mut text = format!(
        "while nobody published, {readable} of {} viewers could read the last complete frame{}",
        probes.len(),
        last.map_or(String::new(), |number| format!(", {}", grouped(number)))
    );
    if let Some(oldest) = probes.iter().flatten().map(|probe| probe.age_ns).max() {
        text.push_str(&format!(", {:.0} ms old by then", oldest as f64 / 1e6));
    }
    for problem in probes.iter().flatten().filter_map(|probe| probe.problem.as_ref()) {
        text.push_str(&format!(" ({problem})"));
    }
    Claim { holds: !probes.is_empty() && readable == probes.len(), text }
}

fn taken_over(first: &PublisherRecord, second: &PublisherRecord) -> Claim {
    let expected = first.dying.map(|dying| dying.half_written);
    let begun = second.first.map(|first| first.number);
    let clean = second.ended.is_some_and(|status| status.success());
    let number = |number: Option<u64>| number.map_or("none".to_owned(), grouped);
    Claim {
        holds: begun.is_some() && begun == expected && clean && second.done.is_some(),
        text: format!(
            "a second publisher took the stream over and went on with the half-written number, {} \
             (it was {})",
            number(begun),
            number(expected)
        ),
    }
}

fn everybody_saw_both(record: &Record, first: &PublisherRecord, second: &PublisherRecord) -> Claim {
    let both = record
        .viewers
        .iter()
        .filter(|viewer| {
            viewer.verified_from(first.pid) > 0 && viewer.verified_from(second.pid) > 0
        })
        .count();
    Claim {
        holds: both > 0 && both == record.viewers.len(),
        text: format!(
            "{both} of {} viewers read frames of both publishers, without opening the stream again",
            record.viewers.len()
        ),
    }
}

fn nobody_disturbed(record: &Record) -> Claim {
    let orderly = record
        .viewers
        .iter()
        .filter(|viewer| {
            viewer.done.is_some() && viewer.ended.is_some_and(|status| status.success())
        })
        .count();
    let rate = |slow: bool| {
        record
            .viewers
            .iter()
            .filter(|viewer| viewer.slow == slow)
            .filter_map(|viewer| viewer.done.as_ref())
            .map(|totals| totals.verified)
            .max()
            .unwrap_or(0)
    };
    Claim {
        holds: orderly == record.viewers.len() && rate(false) > rate(true),
        text: format!(
            "the slow viewer held nobody up: it took {} frames while another took {}, and all {} \
             viewers ended in good order",
            grouped(rate(true)),
            grouped(rate(false)),
            orderly
        ),
    }
}

/// Frames read, and verified among them, by all viewers.
fn frames(record: &Record) -> (u64, u64) {
    let verified: u64 = totals(record).map(|totals| totals.verified).sum();
    let torn: u64 = totals(record).map(|totals| totals.torn).sum();
    (verified + torn, verified)
}

fn totals(record: &Record) -> impl Iterator<Item = &super::message::ViewerTotals> {
    record.viewers.iter().filter_map(|viewer| viewer.done.as_ref())
}

fn milliseconds(later_ns: u64, earlier_ns: u64) -> f64 {
    later_ns.saturating_sub(earlier_ns) as f64 / 1e6
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::super::message::{Probe, ViewerTotals};
    use super::super::record::{Dying, First, ViewerRecord};
    use super::*;

    fn success() -> Option<ExitStatus> {
        Some(ExitStatus::from_raw(0))
    }

    fn viewer(slow: bool, verified: u64) -> ViewerRecord {
        ViewerRecord {
            slow,
            probe: Some(Probe { number: Some(100), age_ns: 3_000_000, problem: None }),
            done: Some(ViewerTotals {
                verified,
                by_publisher: vec![(11, verified / 2), (12, verified - verified / 2)],
                ..ViewerTotals::default()
            }),
            ended: success(),
            ..ViewerRecord::default()
        }
    }

    fn good() -> Record {
        Record {
            publishers: vec![
                PublisherRecord {
                    pid: 11,
                    first: Some(First { number: 1, at_mono_ns: 1 }),
                    dying: Some(Dying {
                        half_written: 101,
                        bytes_written: 460_800,
                        published: 100,
                    }),
                    ended: Some(ExitStatus::from_raw(9)),
                    ..PublisherRecord::default()
                },
                PublisherRecord {
                    pid: 12,
                    first: Some(First { number: 101, at_mono_ns: 2 }),
                    done: Some(50),
                    ended: success(),
                    ..PublisherRecord::default()
                },
            ],
            viewers: vec![viewer(false, 90), viewer(true, 8)],
        }
    }

    fn broken(record: &Record) -> Vec<String> {
        claims(record).into_iter().filter(|claim| !claim.holds).map(|claim| claim.text).collect()
    }

    /// Breaks a good record and expects exactly one claim to fall, with these words.
    fn falls(words: &str, spoil: impl FnOnce(&mut Record)) {
        let mut record = good();
        spoil(&mut record);
        let broken = broken(&record);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].contains(words), "{broken:?}");
    }

    #[test]
    fn a_good_run_proves_everything() {
        assert!(broken(&good()).is_empty(), "{:?}", broken(&good()));
        let summary = summary(&good());
        let verified = summary.iter().find_map(|line| crate::demo::verified_frames(line));
        assert_eq!(verified, Some(98));
    }

    #[test]
    fn one_torn_frame_is_enough_to_fail() {
        falls("1 torn", |record| {
            record.viewers[1].done.as_mut().unwrap().torn = 1;
        });
    }

    #[test]
    fn a_frame_out_of_order_fails() {
        falls("1 out of order", |record| {
            record.viewers[0].done.as_mut().unwrap().backwards = 1;
        });
    }

    #[test]
    fn a_publisher_that_ended_otherwise_was_not_killed() {
        falls("the first publisher", |record| {
            record.publishers[0].ended = success();
        });
        falls("signal 15", |record| {
            record.publishers[0].ended = Some(ExitStatus::from_raw(15));
        });
    }

    #[test]
    fn a_viewer_without_the_last_frame_fails() {
        for number in [None, Some(99), Some(101)] {
            falls("1 of 2 viewers could read", |record| {
                record.viewers[0].probe.as_mut().unwrap().number = number;
            });
        }
        falls("1 of 2 viewers could read", |record| {
            record.viewers[1].probe = None;
        });
    }

    #[test]
    fn a_gap_in_the_numbers_fails() {
        falls("went on with the half-written number", |record| {
            record.publishers[1].first = Some(First { number: 1, at_mono_ns: 2 });
        });
    }

    #[test]
    fn a_viewer_that_missed_a_publisher_fails() {
        falls("1 of 2 viewers read frames of both", |record| {
            record.viewers[1].done.as_mut().unwrap().by_publisher = vec![(11, 8)];
        });
    }

    #[test]
    fn a_viewer_that_crashed_fails() {
        falls("held nobody up", |record| {
            record.viewers[1].ended = Some(ExitStatus::from_raw(11));
        });
    }

    #[test]
    fn one_publisher_proves_nothing() {
        let mut record = good();
        record.publishers.pop();
        assert_eq!(broken(&record).len(), 1);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234), "1,234");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
