//! Questions and answers (RFC 1035, RFC 6891) as a server of a few names needs them; hickory-proto reads and writes their
//! bytes. Pure.
//!
//! A question is passed on, and an answer passed back, as the bytes they came in: what we do not know of is not our affair.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::PTR as Pointer;
use hickory_proto::rr::{Name, RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// Type of an IPv4 address.
pub const A: u16 = 1;
/// Type of a name for an address.
pub const PTR: u16 = 12;
/// Type of an IPv6 address.
pub const AAAA: u16 = 28;
/// Every type.
pub const ANY: u16 = 255;

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

impl Outcome {
    fn code(self) -> ResponseCode {
        ResponseCode::from_low(self as u8)
    }
}

/// How many bytes an answer by UDP may have when the question does not say.
const PLAIN_SIZE: u16 = 512;
/// The largest answer by UDP that we say we take.
const OUR_SIZE: u16 = 1232;

/// A question, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    metadata: Metadata,
    query: Query,
    /// Whether it speaks of extensions (RFC 6891), so that its answer must.
    extended: bool,
    /// Lower case, without the final dot.
    pub name: String,
    /// What is asked for.
    pub kind: u16,
    /// How many bytes the answer may have by UDP.
    pub room: u16,
}

/// Reads a question. The error is the answer that a mistake deserves; none at all when it is no question.
pub fn question(bytes: &[u8]) -> Result<Question, Option<Vec<u8>>> {
    let mut decoder = BinDecoder::new(bytes);
    let Header { metadata, counts } = Header::read(&mut decoder).map_err(|_| None)?;
    if metadata.message_type == MessageType::Response {
        return Err(None);
    }
    let wrong = |outcome: Outcome| Some(written(&Message::error_msg(metadata.id, metadata.op_code, outcome.code())));
    if metadata.op_code != OpCode::Query {
        return Err(wrong(Outcome::NotImplemented));
    }
    if counts.queries != 1 {
        return Err(wrong(Outcome::Malformed));
    }
    let query = Query::read(&mut decoder).map_err(|_| wrong(Outcome::Malformed))?;
    let edns = Message::from_vec(bytes).ok().and_then(|message| message.edns);
    let room = edns.as_ref().map_or(PLAIN_SIZE, Edns::max_payload).max(PLAIN_SIZE);
    let name = query.name.to_lowercase().to_ascii().trim_end_matches('.').to_owned();
    let kind = query.query_type.into();
    Ok(Question { metadata, query, extended: edns.is_some(), name, kind, room })
}

impl Question {
    /// An answer without records.
    #[must_use]
    pub fn outcome(&self, outcome: Outcome) -> Vec<u8> {
        written(&self.answer(outcome.code()))
    }

    /// An answer with addresses.
    #[must_use]
    pub fn addresses(&self, addresses: &[IpAddr], seconds: u32) -> Vec<u8> {
        let record = |address: &IpAddr| {
            let data = match *address {
                IpAddr::V4(address) => RData::A(address.into()),
                IpAddr::V6(address) => RData::AAAA(address.into()),
            };
            Record::from_rdata(self.query.name.clone(), seconds, data)
        };
        let mut answer = self.answer(ResponseCode::NoError);
        answer.add_answers(addresses.iter().map(record));
        written(&answer)
    }

    /// An answer with a name. One that cannot be a name (labels beyond 63 bytes) is as if there were none.
    #[must_use]
    pub fn pointer(&self, name: &str, seconds: u32) -> Vec<u8> {
        let labels = name.split('.').filter(|label| !label.is_empty()).map(str::as_bytes);
        let Ok(name) = Name::from_labels(labels) else { return self.outcome(Outcome::NoSuchName) };
        let mut answer = self.answer(ResponseCode::NoError);
        answer.add_answer(Record::from_rdata(self.query.name.clone(), seconds, RData::PTR(Pointer(name))));
        written(&answer)
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
        let code = Header::read(&mut BinDecoder::new(&answer)).map(|header| header.metadata.response_code);
        written(&self.answer(code.unwrap_or(ResponseCode::ServFail)).truncate())
    }

    fn answer(&self, code: ResponseCode) -> Message {
        let mut answer = Message::response(self.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = self.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = code;
        answer.add_query(self.query.clone());
        if self.extended {
            answer.edns = Some(Edns::new());
            answer.edns.get_or_insert_default().set_max_payload(OUR_SIZE);
        }
        answer
    }
}

/// The bytes of a message; of one that has none (it would be longer than 64 KiB), those of a failure.
fn written(message: &Message) -> Vec<u8> {
    let failed = || Message::error_msg(message.metadata.id, OpCode::Query, ResponseCode::ServFail).to_vec();
    message.to_vec().or_else(|_| failed()).unwrap_or_default()
}

/// The outcome an answer tells, if it is one to that question.
#[must_use]
pub fn outcome(answer: &[u8], question: &[u8]) -> Option<u8> {
    let head = |bytes| {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        Some((header.metadata, header.counts.queries, Query::read(&mut decoder).ok()?))
    };
    let (told, told_count, told_query) = head(answer)?;
    let (asked, asked_count, asked_query) = head(question)?;
    let same = told.message_type == MessageType::Response
        && (told.id, told_count) == (asked.id, asked_count)
        && told_query == asked_query;
    same.then_some(told.response_code.low())
}

/// For how many seconds an answer that says "there is none" may be repeated (RFC 2308); none when it says something else.
#[must_use]
pub fn negative_ttl(answer: &[u8]) -> Option<u32> {
    let message = Message::from_vec(answer).ok()?;
    let none = match message.metadata.response_code {
        ResponseCode::NXDomain => true,
        ResponseCode::NoError => message.answers.is_empty(),
        _ => false,
    };
    if !none || message.metadata.truncation {
        return None;
    }
    message.answers.iter().chain(&message.authorities).find_map(|record| match &record.data {
        RData::SOA(start) => Some(record.ttl.min(start.minimum)),
        _ => None,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use hickory_proto::rr::rdata::SOA;

    use super::*;

    /// A question as a resolver sends it.
    pub(crate) fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut message = Message::new(0xabcd, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), kind.into()));
        message.to_vec().expect("bytes")
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let bytes = ask("WEB.Net1", A);
        let question = question(&bytes).expect("a question");
        assert_eq!((question.name.as_str(), question.kind, question.room), ("web.net1", A, 512));
        let answer = question.addresses(&["10.0.0.2".parse().expect("an address")], 5);
        assert_eq!(answer[..8], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(answer[12..bytes.len()], bytes[12..], "the question in its own case");
        assert_eq!(answer[answer.len() - 4..], [10, 0, 0, 2]);
        assert_eq!(outcome(&answer, &bytes), Some(0));
        assert_eq!(outcome(&answer, &ask("web.NET1", A)), Some(0));
        assert_eq!(outcome(&answer, &ask("other", A)), None);
        assert_eq!(outcome(&bytes, &bytes), None);
    }

    #[test]
    fn a_question_with_extensions_has_an_answer_with_extensions() {
        let mut message = Message::from_vec(&ask("web", A)).expect("a message");
        message.edns = Some(Edns::new());
        message.edns.get_or_insert_default().set_max_payload(4096);
        let question = question(&message.to_vec().expect("bytes")).expect("a question");
        assert_eq!(question.room, 4096);
        let answer = Message::from_vec(&question.outcome(Outcome::NoSuchName)).expect("an answer");
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert!(answer.edns.is_some());
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
        let mut update = ask("a", A);
        update[2] |= 5 << 3;
        assert!(matches!(question(&update), Err(Some(reply)) if reply[3] & 0xf == 4));
        let mut endless = ask("", A);
        endless.truncate(12);
        endless.extend_from_slice(&[0xc0, 12, 0, 1, 0]);
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
        assert_eq!(outcome(&cut, &bytes), Some(0));
    }

    #[test]
    fn a_denial_is_remembered_as_long_as_it_says() {
        let bytes = ask("gone.example", A);
        let question = question(&bytes).expect("a question");
        let denial = question.outcome(Outcome::NoSuchName);
        assert_eq!(negative_ttl(&denial), None);
        let mut message = Message::from_vec(&denial).expect("a message");
        let start = SOA::new(Name::root(), Name::root(), 0, 0, 0, 0, 60);
        message.add_authority(Record::from_rdata(Name::root(), 300, RData::SOA(start)));
        assert_eq!(negative_ttl(&message.to_vec().expect("bytes")), Some(60));
        message.metadata.response_code = ResponseCode::Refused;
        assert_eq!(negative_ttl(&message.to_vec().expect("bytes")), None);
    }
}
