//! Tables as text.

use super::line;

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its heading.
    pub heading: String,
    /// Its minimum width.
    pub width: usize,
    /// True if it is aligned to the right.
    pub right: bool,
}

impl Column {
    /// A column without a minimum width, aligned to the left.
    #[must_use]
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), width: 0, right: false }
    }
}

/// Rows as text: with a heading in columns two spaces apart, or, for scripts, without one and with tabs.
#[must_use]
pub fn table(columns: &[Column], rows: &[Vec<String>], script: bool) -> String {
    let shown = |row: &Vec<String>| row.iter().map(line).collect::<Vec<_>>();
    let rows: &[Vec<String>] = &rows.iter().map(shown).collect::<Vec<_>>();
    let mut text = String::new();
    if script {
        for row in rows {
            text += &row.join("\t");
            text.push('\n');
        }
        return text;
    }
    if rows.is_empty() {
        return text;
    }
    let headings: Vec<String> = columns.iter().map(|column| column.heading.clone()).collect();
    let width = |at: usize, column: &Column| {
        let cells = rows.iter().chain([&headings]).filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(column.width)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, column)| width(at, column)).collect();
    for row in [&headings].into_iter().chain(rows) {
        for (at, ((cell, column), &width)) in row.iter().zip(columns).zip(&widths).enumerate() {
            if at > 0 {
                text += "  ";
            }
            if column.right {
                text += &format!("{cell:>width$}");
            } else if at + 1 < columns.len() {
                text += &format!("{cell:<width$}");
            } else {
                text += cell;
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last column is not padded, the widest cell or the minimum decides, and a tab in a cell forges no column.
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let column = |heading: &str, width, right| Column { heading: heading.to_owned(), width, right };
        let columns = [column("NAME", 6, false), column("USED", 0, true), column("MOUNTPOINT", 0, false)];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["tank", "12.5K", "/tank"]), row(["tank/a\tb", "1M", "-"])];
        let text = "NAME          USED  MOUNTPOINT\ntank         12.5K  /tank\ntank/a\\x09b     1M  -\n";
        assert_eq!(table(&columns, &rows, false), text);
        assert_eq!(table(&columns, &rows, true), "tank\t12.5K\t/tank\ntank/a\\x09b\t1M\t-\n");
        assert_eq!(table(&columns, &rows[..1], false), "NAME     USED  MOUNTPOINT\ntank    12.5K  /tank\n");
        assert_eq!(table(&columns, &[], false), "");
    }
}
