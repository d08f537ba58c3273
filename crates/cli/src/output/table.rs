//! Columns, as Go's tabwriter aligns them for Docker: at least ten wide, three spaces between, the last one open.
//!
//! A column is as wide as its widest cell in the lines that follow each other and have it; what ends a line widens
//! nothing.

/// Shortest column.
const MIN_WIDTH: usize = 10;
/// Spaces after the longest cell.
const PADDING: usize = 3;

/// Aligns lines of tab-separated cells.
pub(crate) fn align(lines: &[String]) -> String {
    align_from(lines, MIN_WIDTH)
}

/// The same with columns of at least this width.
pub(crate) fn align_from(lines: &[String], least: usize) -> String {
    let cells: Vec<Vec<&str>> =
        lines.iter().flat_map(|text| text.split('\n')).map(|line| line.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![vec![0; columns]; cells.len()];
    for column in 0..columns {
        let has = |line: usize| column + 1 < cells[line].len();
        let mut first = 0;
        while first < cells.len() {
            let end = (first..cells.len()).find(|line| !has(*line)).unwrap_or(cells.len());
            let widest = (first..end).map(|line| width(cells[line][column])).max().unwrap_or(0);
            widths[first..end].iter_mut().for_each(|line| line[column] = (widest + PADDING).max(least));
            first = end + 1;
        }
    }
    let mut text = String::new();
    for (line, row) in cells.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[line][column] - width(cell)));
            }
        }
        text.push('\n');
    }
    text
}

/// How many places of a terminal a text takes: two for the wide letters of East Asia.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(|char| if is_wide(char) { 2 } else { 1 }).sum()
}

fn is_wide(char: char) -> bool {
    matches!(char,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{303e}' | '\u{3041}'..='\u{33ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{a000}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f900}'..='\u{1f9ff}' | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(lines: &[&str]) -> String {
        align(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn columns_are_aligned_as_dockers() {
        assert_eq!(
            aligned(&["CONTAINER ID\tIMAGE\tNAMES", "0123456789ab\tbusybox:latest\tgrün", "x\ty\tz"]),
            "CONTAINER ID   IMAGE            NAMES\n\
             0123456789ab   busybox:latest   grün\n\
             x              y                z\n"
        );
        assert_eq!(aligned(&["ID\tOS"]), "ID        OS\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn a_column_ends_where_a_line_does_not_have_it() {
        assert_eq!(
            aligned(&["a long cell here\tx", "alone", "b\ty\nc\tz"]),
            "a long cell here   x\nalone\nb         y\nc         z\n"
        );
        assert_eq!(aligned(&["海海海海海\tx", "b\ty"]), "海海海海海   x\nb            y\n");
    }
}
