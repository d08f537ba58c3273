//! Columns, as Go's tabwriter aligns them for Docker: at least ten wide, three spaces between, the last one open.

/// Shortest column.
const MIN_WIDTH: usize = 10;
/// Spaces after the longest cell.
const PADDING: usize = 3;

/// Aligns rows of tab-separated cells.
pub(crate) fn align(rows: &[String]) -> String {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    // The last cell of a row ends it and so widens no column.
    let width = |column: usize| {
        let widths = cells.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].chars().count());
        widths.max().map_or(0, |widest| (widest + PADDING).max(MIN_WIDTH))
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_dockers() {
        let rows = [
            "CONTAINER ID\tIMAGE\tNAMES".to_owned(),
            "0123456789ab\tbusybox:latest\tgrün".to_owned(),
            "x\ty\tz".to_owned(),
        ];
        assert_eq!(
            align(&rows),
            "CONTAINER ID   IMAGE            NAMES\n\
             0123456789ab   busybox:latest   grün\n\
             x              y                z\n"
        );
        assert_eq!(align(&["ID\tOS".to_owned()]), "ID        OS\n");
        assert_eq!(align(&[]), "");
    }
}
