//! How much worse a row may be.

use std::str::FromStr;

use anyhow::{Error, Result, bail};

/// A share in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold(f64);

impl Threshold {
    /// In percent.
    pub fn percent(self) -> f64 {
        self.0
    }
}

/// `10%` or `10`.
impl FromStr for Threshold {
    type Err = Error;

    fn from_str(text: &str) -> Result<Threshold> {
        match text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>() {
            Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(Threshold(percent)),
            _ => bail!("expected a share such as 10%, found `{text}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_with_and_without_their_sign() {
        for (text, percent) in [("10%", 10.0), ("10", 10.0), ("2.5 %", 2.5), ("0%", 0.0)] {
            assert_eq!(text.parse::<Threshold>().unwrap().percent(), percent, "{text}");
        }
        for text in ["", "%", "ten", "-1%", "inf%", "NaN"] {
            let error = text.parse::<Threshold>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
