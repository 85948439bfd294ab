//! Figures as a table shows them.

use anyhow::Result;

use crate::stored::Field;

/// Three significant digits or whole numbers, thousands apart.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{:.0}", value.abs());
            let first = (digits.len() - 1) % 3 + 1;
            let rest = digits.as_bytes()[first..].chunks(3);
            let rest = rest.map(|three| String::from_utf8_lossy(three).into_owned());
            let sign = if value < 0.0 { "-" } else { "" };
            let first = format!("{sign}{}", &digits[..first]);
            std::iter::once(first).chain(rest).collect::<Vec<_>>().join(",")
        }
    }
}

/// A figure, or nothing.
pub(super) fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

/// The figure of a field, or nothing.
pub(super) fn cell_of(row: &Field<'_>, name: &str) -> Result<String> {
    Ok(cell(row.maybe_number(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0.0, 9.994, 57.4, 1000.0, 2_650_484.7, -22_995.0, -999.6].map(number);
        assert_eq!(shown, ["0.00", "9.99", "57", "1,000", "2,650,485", "-22,995", "-1000"]);
    }
}
