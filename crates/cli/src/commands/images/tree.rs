//! `teu image ls --tree`: images with what they hold for each platform.

use serde_json::Value;

use crate::failure::Failure;
use crate::output::colour::{self, Look, paint};
use crate::output::table::width;
use crate::output::{print, units};
use crate::terminal;

/// Spaces between columns.
const GAP: &str = "   ";
/// The columns after the name: heading and width; a negative width is flush right.
const COLUMNS: [(&str, isize); 4] = [("ID", 12), ("DISK USAGE", -10), ("CONTENT SIZE", -12), ("EXTRA", 5)];

/// An image, or what it holds for one platform.
struct Line {
    names: Vec<String>,
    cells: [String; 4],
    faint: bool,
}

/// Prints the images, newest first.
pub(super) fn show(images: &[Value], all: bool) -> Result<(), Failure> {
    let mut images: Vec<&Value> = images.iter().filter(|image| all || !names(image).is_empty()).collect();
    images.sort_by_key(|image| std::cmp::Reverse(image["Created"].as_i64()));
    let trees: Vec<(Line, Vec<Line>)> = images.into_iter().map(|image| (top(image), children(image))).collect();
    let columns = terminal::size().map_or(80, |(_, columns)| usize::from(columns).max(20));
    print(&draw(&trees, columns, colour::on_stdout()))
}

fn names(image: &Value) -> Vec<String> {
    let tags = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    tags.filter(|tag| *tag != "<none>:<none>").map(str::to_owned).collect()
}

fn top(image: &Value) -> Line {
    let manifests = image["Manifests"].as_array().map_or(&[][..], Vec::as_slice);
    let content: i64 = manifests.iter().filter_map(|manifest| manifest["Size"]["Content"].as_i64()).sum();
    let used = image["Containers"].as_i64().unwrap_or(0) > 0 || manifests.iter().any(in_use);
    let mut names = names(image);
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let faint = names.is_empty();
    if faint {
        names.push("<untagged>".into());
    }
    Line { names, cells: cells(&image["Id"], image["Size"].as_i64(), content, used), faint }
}

fn children(image: &Value) -> Vec<Line> {
    let manifests = image["Manifests"].as_array().into_iter().flatten();
    let images: Vec<&Value> = manifests.filter(|manifest| manifest["Kind"] == "image").collect();
    let count = images.len();
    let line = |(at, manifest): (usize, &Value)| {
        let platform = &manifest["ImageData"]["Platform"];
        let part = |name: &str| platform[name].as_str().filter(|text| !text.is_empty());
        let words: Vec<&str> = ["os", "architecture", "variant"].into_iter().filter_map(part).collect();
        let branch = if at + 1 < count { "├─ " } else { "└─ " };
        let size = &manifest["Size"];
        let content = size["Content"].as_i64().unwrap_or(0);
        Line {
            names: vec![format!("{branch}{}", words.join("/"))],
            cells: cells(&manifest["ID"], size["Total"].as_i64(), content, in_use(manifest)),
            faint: manifest["Available"] != true,
        }
    };
    images.into_iter().enumerate().map(line).collect()
}

fn in_use(manifest: &Value) -> bool {
    manifest["ImageData"]["Containers"].as_array().is_some_and(|containers| !containers.is_empty())
}

fn cells(id: &Value, usage: Option<i64>, content: i64, used: bool) -> [String; 4] {
    let id = units::short_id(id.as_str().unwrap_or_default()).to_owned();
    [id, units::size(usage.unwrap_or(0)), units::size(content), if used { "U" } else { " " }.to_owned()]
}

fn draw(trees: &[(Line, Vec<Line>)], columns: usize, colours: bool) -> String {
    // Columns that leave too little for names are left out, from the right.
    let mut kept = COLUMNS.len();
    let taken = |kept: usize| COLUMNS[..kept].iter().map(|(_, width)| width.unsigned_abs() + GAP.len()).sum::<usize>();
    while kept > 0 && columns < taken(kept) + 12 {
        kept -= 1;
    }
    let lines = trees.iter().flat_map(|(top, children)| std::iter::once(top).chain(children));
    let widest = lines.flat_map(|line| &line.names).map(|name| width(name)).max().unwrap_or(0).max("IMAGE".len());
    let name_width = widest.min(columns - taken(kept));
    let fit = |text: &str, width: usize| format!("{:<width$}", units::ellipsis(text, width));
    let rest = |cells: [&str; 4], look: Option<Look>| {
        let mut text = String::new();
        for ((_, column), cell) in COLUMNS[..kept].iter().zip(cells) {
            let width = column.unsigned_abs();
            let cell = if *column < 0 { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            text.push_str(GAP);
            text.push_str(&look.map_or(cell.clone(), |look| paint(&cell, look, colours)));
        }
        text
    };
    let mut text = String::new();
    let mut put = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let legend = "i Info → U In Use";
    put(format!("{legend:>columns$}"));
    put(String::new());
    put(paint(&fit("IMAGE", name_width), Look::Title, colours)
        + &rest(COLUMNS.map(|(title, _)| title), Some(Look::Title)));
    let spacious = trees.iter().any(|(_, children)| !children.is_empty());
    for (top, children) in trees {
        let look = if top.faint { Look::Faint } else { Look::Name };
        let (last, before) = top.names.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        for name in before {
            put(paint(&units::ellipsis(name, columns), look, colours));
        }
        let cells = top.cells.each_ref().map(String::as_str);
        put(paint(&fit(last, name_width), look, colours) + &rest(cells, None));
        for child in children {
            let look = child.faint.then_some(Look::Faint);
            let name = fit(child.names.first().map_or("", String::as_str), name_width);
            let name = look.map_or(name.clone(), |look| paint(&name, look, colours));
            put(name + &rest(child.cells.each_ref().map(String::as_str), look));
        }
        if spacious {
            put(String::new());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_stands_above_its_platforms() {
        let image = json!({"Id": "sha256:0123456789abcdef", "RepoTags": ["app:1", "app:latest"], "Size": 4_000_000,
            "Containers": 1, "Manifests": [
                {"ID": "sha256:fedcba9876543210", "Kind": "image", "Available": true, "Size": {"Total": 3000, "Content": 1000},
                 "ImageData": {"Platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}},
                {"ID": "sha256:a", "Kind": "attestation", "Size": {"Total": 5, "Content": 5}}]});
        let text = draw(&[(top(&image), children(&image))], 80, false);
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines[2], "IMAGE               ID             DISK USAGE   CONTENT SIZE   EXTRA");
        assert_eq!(lines[3], "app:latest");
        assert_eq!(lines[4], "app:1               0123456789ab          4MB            1kB   U");
        assert_eq!(lines[5], "└─ linux/arm64/v8   fedcba987654          3kB            1kB");
        assert!(!draw(&[(top(&image), children(&image))], 30, false).contains("EXTRA"));
    }
}
