//! The bytes of DNS messages (RFC 1035), as much as a server of a few names needs. Pure.
//!
//! A question is read whole; of an answer only what decides how long it may be remembered. Everything is checked against
//! the message's end, and names may not be longer than 255 bytes nor point forwards.

use std::net::IpAddr;

/// Type of an IPv4 address.
pub const A: u16 = 1;
/// Type of a name for an address.
pub const PTR: u16 = 12;
/// Type of an IPv6 address.
pub const AAAA: u16 = 28;
/// Every type.
pub const ANY: u16 = 255;
const SOA: u16 = 6;
const OPT: u16 = 41;

/// The outcome of a question (RFC 1035, RCODE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is such a name.
    Found = 0,
    /// The question makes no sense.
    Malformed = 1,
    /// Nobody could be asked.
    Failed = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// That is not a question we take.
    NotImplemented = 4,
    /// The question is not answered here.
    Refused = 5,
}

const HEADER: usize = 12;
const LONGEST_NAME: usize = 255;
/// How many bytes an answer by UDP may have when the question does not say.
const PLAIN_SIZE: u16 = 512;

/// A question, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question<'a> {
    /// The bytes of header and question, which an answer begins with.
    head: &'a [u8],
    /// Lower case, without the final dot.
    pub name: String,
    /// What is asked for.
    pub kind: u16,
    /// How many bytes the answer may have by UDP.
    pub room: u16,
}

/// Reads a question. The error is the answer that a mistake deserves; none at all when it is no question.
pub fn question(bytes: &[u8]) -> Result<Question<'_>, Option<Vec<u8>>> {
    let header = bytes.get(..HEADER).ok_or(None)?;
    if header[2] & 0x80 != 0 {
        return Err(None);
    }
    let wrong = |outcome| Some(head_only(header, outcome));
    if header[2] >> 3 & 0xf != 0 {
        return Err(wrong(Outcome::NotImplemented));
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(4) != 1 {
        return Err(wrong(Outcome::Malformed));
    }
    let (name, end) = name(bytes, HEADER).ok_or_else(|| wrong(Outcome::Malformed))?;
    let kind = number(bytes, end).ok_or_else(|| wrong(Outcome::Malformed))?;
    number(bytes, end + 2).ok_or_else(|| wrong(Outcome::Malformed))?;
    let head = &bytes[..end + 4];
    let simple = count(6) == 0 && count(8) == 0 && count(10) > 0;
    // The root name, the type, and in place of a class the size (RFC 6891).
    let option =
        bytes.get(end + 4..end + 9).filter(|record| simple && record[0] == 0 && number(record, 1) == Some(OPT));
    let room = option.and_then(|record| number(record, 3)).unwrap_or(PLAIN_SIZE).max(PLAIN_SIZE);
    Ok(Question { head, name, kind, room })
}

impl Question<'_> {
    /// An answer without records.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Vec<u8> {
        let mut answer = self.head.to_vec();
        set_header(&mut answer, outcome);
        answer
    }

    /// An answer with addresses of the type asked for.
    #[must_use]
    pub fn addresses(&self, addresses: &[IpAddr], seconds: u32) -> Vec<u8> {
        let records = addresses.iter().map(|address| match address {
            IpAddr::V4(address) => (A, address.octets().to_vec()),
            IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
        });
        self.records(records, seconds)
    }

    /// An answer with a name.
    #[must_use]
    pub fn pointer(&self, name: &str, seconds: u32) -> Vec<u8> {
        let mut data = vec![];
        for label in name.split('.').filter(|label| !label.is_empty() && label.len() < 64) {
            data.push(u8::try_from(label.len()).unwrap_or(63));
            data.extend_from_slice(label.as_bytes());
        }
        data.push(0);
        self.records(std::iter::once((PTR, data)), seconds)
    }

    fn records(&self, records: impl Iterator<Item = (u16, Vec<u8>)>, seconds: u32) -> Vec<u8> {
        let mut answer = self.outcome(Outcome::Found);
        let mut count: u16 = 0;
        for (kind, data) in records {
            answer.extend_from_slice(&[0xc0, 12]); // the name of the question
            answer.extend_from_slice(&kind.to_be_bytes());
            answer.extend_from_slice(&1_u16.to_be_bytes());
            answer.extend_from_slice(&seconds.to_be_bytes());
            answer.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
            answer.extend_from_slice(&data);
            count = count.saturating_add(1);
        }
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer
    }

    /// What a question and its answer are remembered by.
    #[must_use]
    pub fn key(&self) -> (String, u16) {
        (self.name.clone(), self.kind)
    }

    /// An answer as it goes out by UDP: one that does not fit says so and comes again by TCP.
    #[must_use]
    pub fn fit(&self, answer: Vec<u8>) -> Vec<u8> {
        if answer.len() <= usize::from(self.room) {
            return answer;
        }
        let outcome = answer[3];
        let mut cut = self.head.to_vec();
        set_header(&mut cut, Outcome::Found);
        cut[2] |= 2;
        cut[3] = outcome;
        cut
    }
}

/// Makes a header that of an answer: recursion is available, no records yet.
fn set_header(answer: &mut [u8], outcome: Outcome) {
    answer[2] = 0x80 | answer[2] & 0x79;
    answer[3] = 0x80 | outcome as u8;
    answer[6..HEADER].fill(0);
}

fn head_only(header: &[u8], outcome: Outcome) -> Vec<u8> {
    let mut answer = header.to_vec();
    set_header(&mut answer, outcome);
    answer[4..6].fill(0);
    answer
}

/// The outcome an answer tells, if it is one to that question.
#[must_use]
pub fn outcome(answer: &[u8], question: &[u8]) -> Option<u8> {
    let header = answer.get(..HEADER)?;
    let same = header[2] & 0x80 != 0 && answer[..2] == question[..2] && answer[4..6] == question[4..6];
    let (asked, end) = name(question, HEADER)?;
    let (told, told_end) = name(answer, HEADER)?;
    let kind = question.get(end..end + 4)? == answer.get(told_end..told_end + 4)?;
    (same && asked == told && kind).then_some(header[3] & 0xf)
}

/// For how many seconds an answer that says "there is none" may be repeated; none when it says something else.
#[must_use]
pub fn negative_ttl(answer: &[u8]) -> Option<u32> {
    let header = answer.get(..HEADER)?;
    let records = u16::from_be_bytes([header[6], header[7]]);
    let authority = u16::from_be_bytes([header[8], header[9]]);
    let told = header[3] & 0xf;
    if told != Outcome::NoSuchName as u8 && (told != 0 || records != 0) || header[2] & 2 != 0 {
        return None;
    }
    let (_, end) = name(answer, HEADER)?;
    let mut at = end + 4;
    for _ in 0..records.saturating_add(authority) {
        let (_, end) = name(answer, at)?;
        let (kind, length) = (number(answer, end)?, usize::from(number(answer, end + 8)?));
        let data = end + 10;
        if kind == SOA {
            let word = |at: usize| Some(u32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
            return Some(word(end + 4)?.min(word(data + length.checked_sub(4)?)?));
        }
        at = data + length;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A name, lower case and without its final dot, and where it ends.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end, mut floor) = (String::new(), start, None, start);
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length)?;
                if !text.is_empty() {
                    text.push('.');
                }
                // What is no letter, digit or sign of ASCII is nobody's name here, and not looked at closer.
                text.extend(label.iter().map(|byte| match byte {
                    b'.' => '\u{fffd}',
                    byte => char::from(byte.to_ascii_lowercase()),
                }));
                if text.len() > LONGEST_NAME * 3 {
                    return None;
                }
                at += 1 + length;
            }
            192.. => {
                let target = usize::from(number(bytes, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                // Only ever backwards, so it ends.
                if target >= floor {
                    return None;
                }
                (at, floor) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A question as a resolver sends it.
    pub(crate) fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).expect("a label"));
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let bytes = ask("WEB.Net1", A);
        let question = question(&bytes).expect("a question");
        assert_eq!((question.name.as_str(), question.kind, question.room), ("web.net1", A, 512));
        let answer = question.addresses(&["10.0.0.2".parse().expect("an address")], 5);
        assert_eq!(answer[..8], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[answer.len() - 4..], [10, 0, 0, 2]);
        assert_eq!(outcome(&answer, &bytes), Some(0));
        assert_eq!(outcome(&answer, &ask("other", A)), None);
    }

    #[test]
    fn what_is_no_question_gets_no_answer_or_a_short_one() {
        assert_eq!(question(&[0; 5]), Err(None));
        let mut answer = ask("a", A);
        answer[2] |= 0x80;
        assert_eq!(question(&answer), Err(None));
        let mut two = ask("a", A);
        two[5] = 2;
        assert!(matches!(question(&two), Err(Some(reply)) if reply.len() == 12 && reply[3] & 0xf == 1));
        let mut endless = ask("", A);
        endless[12..].copy_from_slice(&[0xc0, 12, 0, 1, 0]);
        assert!(question(&endless).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1_u32;
        let whole = ask("some.name.of.a.host", AAAA);
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize % bytes.len();
                bytes[at] = (state >> 16) as u8;
            }
            bytes.truncate(state as usize % 40);
            let _ = question(&bytes);
            let _ = negative_ttl(&bytes);
            let _ = outcome(&bytes, &whole);
        }
    }

    #[test]
    fn an_answer_too_long_for_udp_says_so() {
        let bytes = ask("many", A);
        let question = question(&bytes).expect("a question");
        let addresses: Vec<IpAddr> = (0..40).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        let cut = question.fit(question.addresses(&addresses, 5));
        assert!(cut.len() < 512 && cut[2] & 2 != 0);
    }

    #[test]
    fn a_denial_is_remembered_as_long_as_it_says() {
        let bytes = ask("gone.example", A);
        let question = question(&bytes).expect("a question");
        let mut denial = question.outcome(Outcome::NoSuchName);
        assert_eq!(negative_ttl(&denial), None);
        denial[9] = 1;
        // example. SOA: name by pointer, type, class, ttl 300, length, two root names, four numbers, minimum 60
        denial.extend_from_slice(&[0xc0, 17, 0, 6, 0, 1, 0, 0, 1, 44, 0, 22, 0, 0]);
        denial.extend_from_slice(&[0; 16]);
        denial.extend_from_slice(&60_u32.to_be_bytes());
        assert_eq!(negative_ttl(&denial), Some(60));
    }
}
