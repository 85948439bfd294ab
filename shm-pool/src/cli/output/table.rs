//! Columns that line up, and text from elsewhere made fit for a terminal.
//!
//! Upholds invariant 2 on the way out: names and process names are what somebody else wrote, so they are
//! shown without their control characters.

use std::fmt::{self, Write};

/// Longer cells are cut; JSON has them in full.
const WIDEST: usize = 64;

/// Rows under headings. Columns of numbers stand to the right.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows; a heading that begins with `>` is that of a column of numbers.
    pub(crate) fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Cells beyond the headings are left out, missing ones are empty.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> =
            cells.into_iter().map(|cell| cut(&printable(&cell.into()))).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    fn widths(&self) -> Vec<usize> {
        let title = |column: usize| self.headings[column].trim_start_matches('>').chars().count();
        let widest = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        (0..self.headings.len()).map(|at| title(at).max(widest(at).unwrap_or(0))).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let titles: Vec<String> =
            self.headings.iter().map(|title| title.trim_start_matches('>').to_owned()).collect();
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, heading), width) in row.iter().zip(&self.headings).zip(&widths) {
                match heading.starts_with('>') {
                    true => write!(line, "{cell:>width$}  ")?,
                    false => write!(line, "{cell:<width$}  ")?,
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The text without control characters, which a terminal might obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|one| {
            let escaped = one.is_control().then(|| one.escape_default());
            let plain = escaped.is_none().then_some(one);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

fn cut(text: &str) -> String {
    match text.chars().count() {
        long if long > WIDEST => text.chars().take(WIDEST - 1).chain(['…']).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", ">USES"]);
        table.row(["a", "12345"]);
        table.row(["größer", "7"]);
        table.row(["short"]);
        assert_eq!(table.to_string(), "NAME     USES\na       12345\ngrößer      7\nshort\n");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("é ✓"), "é ✓");
    }

    #[test]
    fn long_cells_are_cut() {
        let mut table = Table::new(&["NAME"]);
        table.row(["x".repeat(1000)]);
        let lines: Vec<String> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[1].chars().count(), WIDEST);
        assert!(lines[1].ends_with("x…"));
    }
}
