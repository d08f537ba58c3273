//! Paths as the API and its clients write them: text, whatever is on the disk.

/// A path without `.`, `..` and double slashes, by its text alone, as Go's `path.Clean`. A relative one stays relative.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (path, cleaned) in [
            ("/a//b/./c/", "/a/b/c"),
            ("/../../etc", "/etc"),
            ("/a/..", "/"),
            ("/", "/"),
            ("a/../../b", "../b"),
            ("./", "."),
            ("", "."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }
}
