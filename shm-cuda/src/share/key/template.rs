//! Text with arguments by name in braces.

use super::super::failure::{Failure, FailureKind};
use super::bind::Bound;
use super::text;

/// A key format, understood once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

impl Template {
    /// Understands `{name}`, `{{` and `}}`, and refuses everything else that Python's `str.format` knows.
    pub(in super::super) fn parse(endpoint: &str, format: &str) -> Result<Template, Failure> {
        let refuse = |what: String| {
            let message = format!(
                "the key format {format:?} of endpoint `{endpoint}` {what}; write {{name}}, {{{{ or }}}}"
            );
            Failure::new(FailureKind::Configuration, message)
                .with("endpoint", endpoint)
                .with("field", "key")
                .with("found", format)
        };
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut left = format.chars();
        while let Some(letter) = left.next() {
            let doubled = left.as_str().starts_with(letter);
            match letter {
                '{' | '}' if doubled => {
                    left.next();
                    plain.push(letter);
                }
                '}' => return Err(refuse("has a single }".into())),
                '{' => {
                    let Some((field, after)) = left.as_str().split_once('}') else {
                        return Err(refuse("has a { without a }".into()));
                    };
                    check(field).map_err(refuse)?;
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Field(field.to_owned()));
                    left = after.chars();
                }
                _ => plain.push(letter),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Template { pieces })
    }

    /// The text for these arguments.
    pub(in super::super) fn fill(
        &self,
        endpoint: &str,
        bound: &Bound<'_>,
    ) -> Result<String, Failure> {
        let mut out = String::new();
        for piece in &self.pieces {
            let field = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Field(field) => field,
            };
            let Some((_, slot)) = bound.named.iter().find(|(name, _)| name == field) else {
                return Err(unknown(endpoint, field, bound));
            };
            text::write_slot(&mut out, slot).map_err(|found| {
                let message = format!(
                    "argument `{field}` of endpoint `{endpoint}` holds a {found}, which has no text \
                     for its key format; leave it out of the format, or use a key function"
                );
                Failure::new(FailureKind::Configuration, message)
                    .with("endpoint", endpoint)
                    .with("argument", field)
                    .with("expected", "plain data")
                    .with("found", found)
            })?;
        }
        Ok(out)
    }
}

fn unknown(endpoint: &str, field: &str, bound: &Bound<'_>) -> Failure {
    let known: Vec<&str> = bound.named.iter().map(|(name, _)| *name).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let message = format!(
        "the key format of endpoint `{endpoint}` names `{field}`, which is no argument by name of this \
         call; known are: {known}"
    );
    Failure::new(FailureKind::Configuration, message)
        .of_type("KeyError")
        .with("endpoint", endpoint)
        .with("field", field)
        .with("expected", known)
}

fn check(field: &str) -> Result<(), String> {
    let advice = "only plain names are known here, use a key function for more";
    let mut letters = field.chars();
    match letters.next() {
        None => return Err(format!("has an empty field; {advice}")),
        Some(first) if first.is_ascii_digit() => {
            return Err(format!("names an argument by position, {{{field}}}; {advice}"));
        }
        Some(_) => {}
    }
    for (sign, what) in [
        ('!', "a conversion"),
        (':', "a format specification"),
        ('.', "an attribute"),
        ('[', "an index"),
    ] {
        if field.contains(sign) {
            return Err(format!("has {what} in {{{field}}}; {advice}"));
        }
    }
    let plain = |letter: char| letter.is_alphanumeric() || letter == '_';
    if field.chars().all(plain) {
        Ok(())
    } else {
        Err(format!("has {{{field}}}, which is not a name; {advice}"))
    }
}
