//! Text in columns, with nothing but space between them.

use std::ops::Range;

use comfy_table::{CellAlignment, Table, presets};

/// Rows below their names. The columns `figures` are aligned to the right.
pub fn columns<const N: usize>(
    names: [&str; N],
    figures: Range<usize>,
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(names);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if figures.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_end_and_words_begin_in_the_same_place() {
        let rows = [["copy", "9.5", "x"], ["publication", "1250", "y"]];
        let text = columns(["row", "ns", ""], 1..2, rows.map(|row| row.map(str::to_owned)));
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["row            ns", "copy          9.5  x", "publication  1250  y"]);
    }
}
