//! Numbers and names in few columns.

use ratatui::text::Span;
use std::time::Duration;

/// At most six columns: `0`, `9.81`, `99.8`, `12.3k`, `1.20M`.
pub(crate) fn short(value: f64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    let (mut scaled, mut unit) = (value.clamp(0.0, 1e20), 0);
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    let digits = match scaled {
        0.0 => 0,
        small if small < 9.995 => 2,
        medium if medium < 99.95 => 1,
        _ if unit > 0 => 0,
        _ => 1,
    };
    format!("{scaled:.digits$}{}", units[unit])
}

/// At most five columns: `512`, `1.5K`, `976M`.
pub(crate) fn short_bytes(bytes: u64) -> String {
    let units = ["", "K", "M", "G", "T", "P", "E"];
    let (mut scaled, mut unit) = (bytes as f64, 0);
    while scaled >= 999.5 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => bytes.to_string(),
        _ if scaled < 9.95 => format!("{scaled:.1}{}", units[unit]),
        _ => format!("{scaled:.0}{}", units[unit]),
    }
}

/// At most four columns: `0s`, `59s`, `5m`, `28h`, `12d`.
pub(crate) fn short_age(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds < 100 => format!("{seconds}s"),
        seconds if seconds < 100 * 60 => format!("{}m", seconds / 60),
        seconds if seconds < 100 * 3600 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", (seconds / 86_400).min(999)),
    }
}

/// The text, or as much of it as fits with an ellipsis behind it.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for char in text.chars() {
        used += columns(char.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        kept.push(char);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_whatever_they_are() {
        let cases =
            [(0.0, "0"), (9.812, "9.81"), (99.84, "99.8"), (999.0, "999.0"), (12_345.0, "12.3k")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        for exponent in -10..30 {
            for mantissa in [1.0, 9.994, 9.996, 99.94, 99.96, 999.4, 999.6] {
                let text = short(mantissa * 10_f64.powi(exponent));
                assert!(text.len() <= 6, "{text}");
            }
        }
        assert!(short(f64::INFINITY).len() <= 6 && short(-1.0) == "0");
    }

    #[test]
    fn bytes_and_ages_are_short() {
        for (bytes, text) in
            [(0, "0"), (999, "999"), (1000, "1.0K"), (1536, "1.5K"), (3 << 30, "3.0G")]
        {
            assert_eq!(short_bytes(bytes), text);
        }
        for shift in 0..64 {
            assert!(short_bytes(u64::MAX >> shift).len() <= 5);
        }
        for (seconds, text) in [(0, "0s"), (99, "99s"), (100, "1m"), (6000, "1h"), (400_000, "4d")]
        {
            assert_eq!(short_age(Duration::from_secs(seconds)), text);
        }
        assert!(short_age(Duration::MAX).len() <= 4);
    }

    #[test]
    fn what_is_too_long_ends_in_an_ellipsis() {
        assert_eq!(cut("camera", 6), "camera");
        assert_eq!(cut("camera-left", 6), "camer…");
        assert_eq!((cut("camera", 1), cut("camera", 0)), ("…".to_owned(), String::new()));
        // Characters of two columns.
        assert_eq!(cut("画像画像", 5), "画像…");
        assert_eq!(cut("画像画像", 4), "画…");
    }
}
