//! Lines out of what is read from a pipe: whole ones are passed on, the beginning of one is kept until its end comes.
//!
//! A line longer than [`LONGEST`] is several pieces, of which only the last ends with a newline. A block that is passed on
//! always begins where a piece begins, so that whoever has a block finds its pieces again by [`Pieces`].

/// The longest piece of a line, Docker's.
pub(crate) const LONGEST: usize = 16 << 10;

/// What is unfinished of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes what was read, and passes on blocks of whole lines, or of whole pieces of a line that is not finished.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], pass: &mut dyn FnMut(&[u8])) {
        if !self.unfinished.is_empty()
            && let Some(end) = memchr::memchr(b'\n', bytes)
        {
            let (line, rest) = bytes.split_at(end + 1);
            self.unfinished.extend(line);
            pass(&self.unfinished);
            self.unfinished = Vec::new();
            bytes = rest;
        }
        if let Some(end) = memchr::memrchr(b'\n', bytes) {
            let (lines, rest) = bytes.split_at(end + 1);
            pass(lines);
            bytes = rest;
        }
        if bytes.is_empty() {
            return;
        }
        self.unfinished.extend(bytes);
        let mut whole = 0;
        while self.unfinished.len() - whole > LONGEST {
            whole += piece(&self.unfinished[whole..]);
        }
        if whole > 0 {
            pass(&self.unfinished[..whole]);
            self.unfinished.drain(..whole);
        }
    }

    /// Passes on what was kept: the stream has ended without a newline.
    pub(crate) fn end(&mut self, pass: &mut dyn FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.unfinished);
        if !rest.is_empty() {
            pass(&rest);
        }
    }
}

/// The pieces of a block: lines with their newlines, long ones cut.
pub(crate) struct Pieces<'b>(pub(crate) &'b [u8]);

impl<'b> Iterator for Pieces<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let line = memchr::memchr(b'\n', self.0).map_or(self.0.len(), |end| end + 1);
        let (one, rest) = self.0.split_at(piece(&self.0[..line]));
        self.0 = rest;
        Some(one)
    }
}

/// How long the first piece of a line is.
fn piece(line: &[u8]) -> usize {
    if line.len() > LONGEST { whole_characters(&line[..LONGEST]) } else { line.len() }
}

/// How many of `bytes` can be cut off without cutting a character.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    let starts = |at: &usize| bytes[*at] >= 0xC0;
    match (tail..bytes.len()).rev().find(starts) {
        Some(at) if std::str::from_utf8(&bytes[at..]).is_err_and(|e| e.error_len().is_none()) && at > 0 => at,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(feeds: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut blocks) = (Lines::default(), Vec::new());
        for feed in feeds {
            lines.feed(feed, &mut |block| blocks.push(block.to_vec()));
        }
        lines.end(&mut |block| blocks.push(block.to_vec()));
        blocks
    }

    #[test]
    fn whole_lines_are_passed_on_and_beginnings_kept() {
        assert_eq!(blocks(&[b"a\nb\nc", b"d\ne\n", b"f"]), [&b"a\nb\n"[..], b"cd\n", b"e\n", b"f"]);
        assert_eq!(blocks(&[b"a", b"b", b"\n"]), [b"ab\n"]);
        assert!(blocks(&[b""]).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_the_same_however_it_came() {
        let line = [&"€".repeat(20_000).into_bytes()[..], b"\nshort\n"].concat();
        let whole: Vec<_> = Pieces(&line).map(<[u8]>::to_vec).collect();
        assert!(whole.iter().all(|piece| piece.len() <= LONGEST && std::str::from_utf8(piece).is_ok()));
        for size in [1000, 4099, 65536, 100_000] {
            let feeds: Vec<_> = line.chunks(size).collect();
            let blocks = blocks(&feeds);
            let pieces: Vec<_> = blocks.iter().flat_map(|block| Pieces(block).map(<[u8]>::to_vec)).collect();
            assert!(pieces == whole, "chunks of {size}");
        }
    }

    #[test]
    fn a_character_is_never_cut_in_two() {
        assert_eq!(whole_characters("aé".as_bytes()), 3);
        assert_eq!(whole_characters(&"aé".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"a€".as_bytes()[..3]), 1);
        assert_eq!(whole_characters(&"a😀".as_bytes()[..4]), 1);
        assert_eq!(whole_characters(b"a\xff"), 2);
        assert_eq!(whole_characters(b"plain"), 5);
    }
}
