//! Values as Python writes them: `str()` of scalars and text, `repr()` of what is in containers.

use super::super::value::Value;
use super::bind::Slot;
use std::fmt::Write as _;

/// What a parameter was given, as text. The error names what has none.
pub(super) fn write_slot(out: &mut String, slot: &Slot<'_>) -> Result<(), &'static str> {
    match slot {
        Slot::One(Value::Str(text)) => {
            out.push_str(text);
            Ok(())
        }
        Slot::One(value) => repr(out, value),
        Slot::Rest(values) => tuple(out, values),
        Slot::Others(entries) => map(out, entries.iter().copied()),
    }
}

fn repr(out: &mut String, value: &Value) -> Result<(), &'static str> {
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(value) => display(out, value),
        Value::Float(value) => float(out, *value),
        Value::Str(text) => quoted(out, text),
        Value::Bytes(bytes) => quoted_bytes(out, bytes),
        Value::List(items) => {
            out.push('[');
            items_of(out, items)?;
            out.push(']');
        }
        Value::Tuple(items) => tuple(out, items)?,
        Value::Map(entries) => {
            map(out, entries.iter().map(|(name, item)| (name.as_str(), item)))?;
        }
        Value::Tensor(_) | Value::Bundle(_) | Value::Opaque(_) => return Err(value.kind()),
    }
    Ok(())
}

fn tuple(out: &mut String, items: &[Value]) -> Result<(), &'static str> {
    out.push('(');
    items_of(out, items)?;
    out.push_str(if items.len() == 1 { ",)" } else { ")" });
    Ok(())
}

fn items_of(out: &mut String, items: &[Value]) -> Result<(), &'static str> {
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        repr(out, item)?;
    }
    Ok(())
}

fn map<'a>(
    out: &mut String,
    entries: impl Iterator<Item = (&'a str, &'a Value)>,
) -> Result<(), &'static str> {
    out.push('{');
    for (index, (name, item)) in entries.enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        quoted(out, name);
        out.push_str(": ");
        repr(out, item)?;
    }
    out.push('}');
    Ok(())
}

/// The shortest digits that read back as the same number; an exponent below 1e-4 and from 1e16.
fn float(out: &mut String, value: f64) {
    if value.is_nan() {
        return out.push_str("nan");
    }
    if value.is_infinite() {
        return out.push_str(if value < 0.0 { "-inf" } else { "inf" });
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        // Rust's plain form has the same digits; it leaves out the point of a whole number.
        let whole = if value.fract() == 0.0 { ".0" } else { "" };
        return display(out, format_args!("{value}{whole}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    display(out, format_args!("{digits}e{sign}{:02}", exponent.unsigned_abs()));
}

/// In single quotes, or in double ones where that saves an escape. Of what Python escapes as unprintable,
/// this escapes all up to U+00FF; above it letters stand as they are.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '\x7f'..='\u{a0}' | '\u{ad}' => {
                display(out, format_args!("\\x{:02x}", u32::from(letter)));
            }
            _ if letter == quote => out.extend(['\\', quote]),
            _ => out.push(letter),
        }
    }
    out.push(quote);
}

fn quoted_bytes(out: &mut String, bytes: &[u8]) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    out.push('b');
    out.push(quote.into());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ if *byte == quote => out.extend(['\\', quote.into()]),
            b' '..=b'~' => out.push((*byte).into()),
            _ => display(out, format_args!("\\x{byte:02x}")),
        }
    }
    out.push(quote.into());
}

fn display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a String does not fail");
}
