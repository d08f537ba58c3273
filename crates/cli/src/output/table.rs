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
    let lines: Vec<&str> = lines.iter().flat_map(|text| text.split('\n')).collect();
    let columns = lines.iter().map(|line| line.bytes().filter(|byte| *byte == b'\t').count()).max().unwrap_or(0);
    // Each cell but the last of its line, and its width; a line's cells lie side by side.
    let mut cells: Vec<Option<(&str, usize)>> = vec![None; columns * lines.len()];
    let mut lasts = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let mut rest = *line;
        let mut column = number * columns;
        while let Some((cell, after)) = rest.split_once('\t') {
            cells[column] = Some((cell, width(cell)));
            (rest, column) = (after, column + 1);
        }
        lasts.push(rest);
    }
    let mut widths = vec![0; cells.len()];
    for column in 0..columns {
        let place = |line: usize| line * columns + column;
        let mut first = 0;
        while first < lines.len() {
            let block = (first..lines.len()).map_while(|line| cells[place(line)]);
            let (end, widest) = block.fold((first, 0), |(end, widest), (_, width)| (end + 1, widest.max(width)));
            (first..end).for_each(|line| widths[place(line)] = (widest + PADDING).max(least));
            first = end + 1;
        }
    }
    let mut text = String::with_capacity(widths.iter().sum::<usize>() + lines.len() * 32);
    for (line, last) in lasts.iter().enumerate() {
        for place in line * columns..(line + 1) * columns {
            let Some((cell, taken)) = cells[place] else { break };
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', widths[place] - taken));
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

/// How many places of a terminal a text takes: two for the wide letters of East Asia.
pub(crate) fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
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
