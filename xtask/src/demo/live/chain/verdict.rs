//! What the second act proved, or what went wrong.

use super::super::verdict::{Claim, grouped};
use super::answers::{Answers, Picture};

/// Compares what was answered with what should have been.
pub fn claims(answers: &Answers) -> Vec<Claim> {
    let mut claims = vec![every_answer_right(answers), every_picture(answers), in_place(answers)];
    claims.extend(answers.pictures.iter().find(|picture| picture.name == PAGE).map(text_found));
    claims.push(good_order(answers));
    claims
}

/// The numbers, and what was found in which picture.
pub fn summary(answers: &Answers) -> Vec<String> {
    let milliseconds = |ns: u64| ns as f64 / 1e6;
    let (age, run) = (&answers.age, &answers.run);
    let mut lines = vec![
        format!("{} pictures, {:.1} a second", grouped(answers.total), answers.rate()),
        format!(
            "from publication to answer p50 {:.1} ms, p99 {:.1} ms; of these the server took p50 \
             {:.1} ms, p99 {:.1} ms",
            milliseconds(age.value_at_quantile(0.5)),
            milliseconds(age.value_at_quantile(0.99)),
            milliseconds(run.value_at_quantile(0.5)),
            milliseconds(run.value_at_quantile(0.99))
        ),
    ];
    let with_text =
        |picture: &&Picture| picture.newest.as_ref().is_some_and(|answer| answer.text_pixels > 0);
    for picture in answers.pictures.iter().filter(with_text) {
        lines.push(format!("text in {}: {}", picture.name, found(picture)));
    }
    let without = answers.pictures.len() - answers.pictures.iter().filter(with_text).count();
    lines.push(format!("no text in {without} pictures"));
    lines
}

/// What was found in a picture.
pub fn found(picture: &Picture) -> String {
    match &picture.newest {
        None => "not looked at yet".to_owned(),
        Some(answer) => format!(
            "{} pixels in {} regions, {:.1} % of what was looked at",
            grouped(answer.text_pixels),
            answer.regions,
            100.0 * answer.text_pixels as f64 / super::input::PIXELS as f64
        ),
    }
}

/// The photograph of a printed page, which is among the downloaded ones.
const PAGE: &str = "page.png";

fn every_answer_right(answers: &Answers) -> Claim {
    let mut text = format!(
        "{} of {} answers {} what the detector says without server and shared memory",
        grouped(answers.right),
        grouped(answers.total),
        answers.likeness.words()
    );
    for picture in answers.pictures.iter().filter(|picture| picture.wrong > 0) {
        text.push_str(&format!(
            " ({}: {} wrong, {} text pixels expected, the last answer had {})",
            picture.name,
            picture.wrong,
            picture.expected.text_pixels,
            picture.newest.as_ref().map_or(0, |answer| answer.text_pixels)
        ));
    }
    Claim { holds: answers.total > 0 && answers.right == answers.total, text }
}

fn every_picture(answers: &Answers) -> Claim {
    let seen = answers.pictures.iter().filter(|picture| picture.answered > 0).count();
    let all = answers.pictures.len();
    Claim {
        holds: all > 0 && seen == all,
        text: format!("{seen} of {all} pictures were looked at"),
    }
}

fn in_place(answers: &Answers) -> Claim {
    let inputs = match answers.inline_calls {
        Some(0) => "every input was written",
        Some(_) => "NOT every input was written",
        None => "nobody knows whether inputs were written",
    };
    Claim {
        holds: answers.inline_calls == Some(0)
            && answers.total > 0
            && answers.in_place == answers.total,
        text: format!(
            "{inputs} where the server reads it, and {} of {} answers were read where it wrote them",
            grouped(answers.in_place),
            grouped(answers.total)
        ),
    }
}

fn text_found(page: &Picture) -> Claim {
    let pixels = page.newest.as_ref().map_or(0, |answer| answer.text_pixels);
    Claim {
        holds: pixels > 0,
        text: format!("text was found on the photograph of a page: {}", found(page)),
    }
}

fn good_order(answers: &Answers) -> Claim {
    let ended = |status: Option<std::process::ExitStatus>| match status {
        Some(status) if status.success() => "in good order".to_owned(),
        Some(status) => format!("with {status}"),
        None => "not at all".to_owned(),
    };
    let good = |status: Option<std::process::ExitStatus>| status.is_some_and(|end| end.success());
    Claim {
        holds: good(answers.publisher_ended) && good(answers.worker_ended) && answers.server_well,
        text: format!(
            "the publisher ended {}, the worker {}, the server {}",
            ended(answers.publisher_ended),
            ended(answers.worker_ended),
            if answers.server_well { "when it was told" } else { "otherwise than told" }
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::super::likeness::Likeness;
    use super::super::message::{Answer, WorkerSays};
    use super::super::reference::Expected;
    use super::*;

    const EXPECTED: [Expected; 2] =
        [Expected { text_pixels: 0, checksum: 5 }, Expected { text_pixels: 9000, checksum: 6 }];

    fn answer(picture: usize) -> Answer {
        let Expected { text_pixels, checksum } = EXPECTED[picture];
        Answer {
            picture,
            age_ns: 2_000_000,
            run_ns: 1_000_000,
            text_pixels,
            regions: 1,
            checksum,
            in_place: true,
        }
    }

    fn played(said: &[Answer]) -> Answers {
        let names = vec!["moon.png".to_owned(), PAGE.to_owned()];
        let mut answers = Answers::none(names, &EXPECTED, Likeness::EveryBit).unwrap();
        answers.hears(WorkerSays::Ready);
        for answer in said {
            answers.hears(WorkerSays::Answer(answer.clone()));
        }
        answers.hears(WorkerSays::Done { inline_calls: 0 });
        answers.publisher_ended = Some(ExitStatus::from_raw(0));
        answers.worker_ended = Some(ExitStatus::from_raw(0));
        answers.server_well = true;
        answers
    }

    fn broken(answers: &Answers) -> Vec<String> {
        claims(answers).into_iter().filter(|claim| !claim.holds).map(|claim| claim.text).collect()
    }

    /// Breaks a good act and expects exactly these claims to fall, by a word of each.
    fn falls(words: &[&str], answers: &Answers) {
        let broken = broken(answers);
        assert_eq!(broken.len(), words.len(), "{broken:?}");
        for (text, word) in broken.iter().zip(words) {
            assert!(text.contains(word), "{broken:?}");
        }
    }

    #[test]
    fn a_good_act_proves_everything() {
        let answers = played(&[answer(0), answer(1), answer(0)]);
        falls(&[], &answers);
        let summary = summary(&answers).join("\n");
        assert!(summary.contains("text in page.png: 9,000 pixels"), "{summary}");
        assert!(summary.contains("no text in 1 pictures"), "{summary}");
    }

    #[test]
    fn one_wrong_bit_is_enough_to_fail() {
        let mut wrong = answer(0);
        wrong.checksum ^= 1;
        falls(&["2 of 3 answers"], &played(&[answer(0), answer(1), wrong]));
    }

    #[test]
    fn a_picture_nobody_looked_at_fails() {
        falls(&["1 of 2 pictures", "not looked at"], &played(&[answer(0)]));
    }

    #[test]
    fn an_answer_in_a_message_fails() {
        let copied = Answer { in_place: false, ..answer(0) };
        falls(&["1 of 2 answers were read"], &played(&[copied, answer(1)]));
        let mut inline = played(&[answer(0), answer(1)]);
        inline.inline_calls = Some(1);
        falls(&["NOT every input"], &inline);
    }

    #[test]
    fn a_page_without_text_fails() {
        let mut answers = played(&[answer(0), answer(1)]);
        answers.pictures[1].newest = Some(Answer { text_pixels: 0, ..answer(1) });
        falls(&["photograph of a page"], &answers);
    }

    #[test]
    fn a_server_that_crashed_fails() {
        let mut answers = played(&[answer(0), answer(1)]);
        answers.server_well = false;
        falls(&["the server otherwise"], &answers);
    }
}
