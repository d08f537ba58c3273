//! The keys that let go of a terminal without ending what runs on it: `ctrl-p,ctrl-q` unless the client says otherwise.
//!
//! The client's bytes pass through [`Keys::feed`]. What could be the beginning of the sequence is held back until it is
//! clear that it is not.

use crate::failure::{Answer, Failure};

/// What Docker takes where nothing is said.
const DEFAULT: [u8; 2] = [16, 17];

/// A sequence of keys, and how much of it has been typed.
#[derive(Debug)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    typed: usize,
}

impl Keys {
    /// Parses `ctrl-a,b,ctrl-[`; empty text is the default.
    pub(crate) fn parse(text: &str) -> Answer<Self> {
        if text.is_empty() {
            return Ok(Self { sequence: DEFAULT.to_vec(), typed: 0 });
        }
        let wrong = || Failure::bad(format!("Invalid detach keys ({text}) provided"));
        let sequence = text.split(',').map(|key| key_code(key).ok_or_else(wrong)).collect::<Answer<_>>()?;
        Ok(Self { sequence, typed: 0 })
    }

    /// Passes on what is not part of the sequence; `true` when it is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut pass: impl FnMut(&[u8])) -> bool {
        let mut plain = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == self.sequence[self.typed] {
                self.typed += 1;
                if self.typed == self.sequence.len() {
                    pass(&plain);
                    return true;
                }
                continue;
            }
            plain.extend_from_slice(&self.sequence[..self.typed]);
            self.typed = usize::from(byte == self.sequence[0]);
            if self.typed == 0 {
                plain.push(byte);
            }
        }
        pass(&plain);
        false
    }
}

/// One letter, or `ctrl-` and one of `@ [ \ ] ^ _` or a letter.
fn key_code(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [sign @ b'['..=b'_'] => Some(sign - b'[' + 27),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, pieces: &[&str]) -> (String, bool) {
        let mut keys = Keys::parse(keys).expect("keys");
        let mut passed = Vec::new();
        let detached = pieces.iter().any(|piece| keys.feed(piece.as_bytes(), |bytes| passed.extend_from_slice(bytes)));
        (String::from_utf8(passed).expect("text"), detached)
    }

    #[test]
    fn the_sequence_detaches_and_is_not_passed_on() {
        assert_eq!(typed("", &["ab\x10\x11c"]), ("ab".into(), true));
        assert_eq!(typed("", &["ab\x10", "\x11"]), ("ab".into(), true));
        assert_eq!(typed("ctrl-p", &["x\x10"]), ("x".into(), true));
        assert_eq!(typed("a,ctrl-[", &["xa\x1b"]), ("x".into(), true));
    }

    #[test]
    fn what_only_begins_like_it_is_passed_on() {
        assert_eq!(typed("", &["\x10a\x11"]), ("\x10a\x11".into(), false));
        assert_eq!(typed("", &["\x10", "\x10\x11"]), ("\x10".into(), true));
    }

    #[test]
    fn wrong_keys_are_refused() {
        for wrong in ["ctrl-", "ctrl-1", "ab", "ctrl-a,,b"] {
            assert!(Keys::parse(wrong).is_err(), "{wrong}");
        }
    }
}
