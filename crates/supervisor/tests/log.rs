//! The log as its two sides see it: what the writer keeps, the reader finds, also across rotations and while it grows.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use teu_supervisor::log::{Query, Reader, Stream, Writer};
use teu_supervisor::protocol::LogConfig;

struct Log {
    dir: tempfile::TempDir,
    writer: Writer,
}

impl Log {
    fn new(max_size: u64, max_files: u32) -> Log {
        let dir = tempfile::tempdir().expect("directory");
        let path = Some(dir.path().join("log"));
        let writer = Writer::open(&LogConfig { path, max_size, max_files }).expect("opened").expect("a log");
        Log { dir, writer }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Writes the lines `from` to `to`, with their number as their time in seconds.
    fn lines(&mut self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let time = Timestamp::from_second(number).expect("time");
            self.writer.append(Stream::Stdout, format!("line {number}\n").as_bytes(), time);
        }
    }
}

fn read(reader: &mut Reader) -> Vec<String> {
    let next = || reader.next().expect("read");
    std::iter::from_fn(next).map(|record| String::from_utf8(record.bytes).expect("text")).collect()
}

fn expected(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}\n")).collect()
}

fn open(path: &Path, tail: Option<usize>) -> Reader {
    Reader::open(path, &Query { tail, ..Query::default() }).expect("opened")
}

#[test]
fn each_line_is_one_record_as_docker_writes_it() {
    let mut log = Log::new(0, 1);
    let time = "2026-01-02T03:04:05.123456789Z".parse().expect("time");
    log.writer.append(Stream::Stdout, b"hello \"world\"\nhalf", time);
    log.writer.append(Stream::Stderr, b"other\n", time);
    log.writer.append(Stream::Stdout, b" a line\nno end", time);
    log.writer.end(Stream::Stdout, time);
    let text = std::fs::read_to_string(log.path()).expect("read");
    let time = r#""time":"2026-01-02T03:04:05.123456789Z"}"#;
    let expected = [
        format!(r#"{{"log":"hello \"world\"\n","stream":"stdout",{time}"#),
        format!(r#"{{"log":"other\n","stream":"stderr",{time}"#),
        format!(r#"{{"log":"half a line\n","stream":"stdout",{time}"#),
        format!(r#"{{"log":"no end","stream":"stdout",{time}"#),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_long_line_is_several_records_that_join_to_it() {
    let mut log = Log::new(0, 1);
    let line = "héllo wörld €".repeat(10_000) + "\n";
    for chunk in line.as_bytes().chunks(4099) {
        log.writer.append(Stream::Stdout, chunk, Timestamp::UNIX_EPOCH);
    }
    let records = read(&mut open(&log.path(), None));
    assert!(records.len() > 10 && records.iter().all(|record| record.len() <= 16 << 10));
    assert!(records.concat() == line);
}

#[test]
fn old_files_are_rotated_away_and_the_rest_is_read_in_order() {
    let mut log = Log::new(4096, 3);
    log.lines(0..1000);
    assert!(log.path().with_file_name("log.2").exists() && !log.path().with_file_name("log.3").exists());
    for name in ["log", "log.1", "log.2"] {
        assert!(log.path().with_file_name(name).metadata().expect("file").len() <= 4096);
    }
    let found = read(&mut open(&log.path(), None));
    assert!(found.len() > 80, "{}", found.len());
    assert_eq!(found, expected(1000 - i64::try_from(found.len()).expect("few")..1000));
}

#[test]
fn a_single_file_is_begun_again_when_it_is_full() {
    let mut log = Log::new(1024, 1);
    log.lines(0..1000);
    assert!(!log.path().with_file_name("log.1").exists());
    assert!(log.path().metadata().expect("file").len() <= 1024);
    assert_eq!(read(&mut open(&log.path(), Some(2))), expected(998..1000));
}

#[test]
fn the_tail_begins_so_many_lines_before_the_end_in_whichever_file_that_is() {
    let mut log = Log::new(4096, 5);
    log.lines(0..200);
    for lines in [0, 1, 2, 50, 51, 100, 150] {
        let first = 200 - i64::try_from(lines).expect("few");
        assert_eq!(read(&mut open(&log.path(), Some(lines))), expected(first..200), "tail {lines}");
    }
    assert_eq!(read(&mut open(&log.path(), Some(100_000))), read(&mut open(&log.path(), None)));
}

#[test]
fn since_and_until_bound_what_is_returned() {
    let mut log = Log::new(4096, 5);
    log.lines(0..100);
    let second = |second| Some(Timestamp::from_second(second).expect("time"));
    let query = Query { since: second(90), until: second(95), ..Query::default() };
    let mut reader = Reader::open(&log.path(), &query).expect("opened");
    assert_eq!(read(&mut reader), expected(90..96));
    assert!(reader.finished());
}

#[test]
fn a_reader_at_the_end_goes_on_when_more_is_written_also_across_rotations() {
    let mut log = Log::new(2048, 4);
    let mut reader = open(&log.path(), Some(0));
    let mut found = Vec::new();
    for step in 0..100 {
        log.lines(step * 7..step * 7 + 7);
        if step % 3 == 0 {
            found.extend(read(&mut reader));
        }
    }
    found.extend(read(&mut reader));
    assert_eq!(found, expected(0..700));
}

#[test]
fn a_reader_that_was_left_behind_goes_on_with_the_oldest_there_is() {
    let mut log = Log::new(1024, 2);
    log.lines(0..5);
    let mut reader = open(&log.path(), None);
    assert_eq!(reader.next().expect("read").expect("a record").bytes, b"line 0\n");
    log.lines(5..500);
    let found = read(&mut reader);
    assert_eq!(found[..4], expected(1..5));
    assert_eq!(found.last(), expected(499..500).last());
}

#[test]
fn a_line_that_is_only_half_written_is_returned_when_it_is_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("log");
    let line = r#"{"log":"whole\n","stream":"stderr","time":"2026-01-02T03:04:05Z"}"#;
    let mut reader = open(&path, None);
    assert!(reader.next().expect("read").is_none());
    std::fs::write(&path, &line[..20]).expect("write");
    assert!(reader.next().expect("read").is_none());
    std::fs::write(&path, format!("{line}\n")).expect("write");
    let record = reader.next().expect("read").expect("a record");
    assert_eq!((record.stream, &record.bytes[..]), (Stream::Stderr, &b"whole\n"[..]));
}

#[test]
fn what_a_crash_left_half_written_costs_no_other_line() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("log");
    std::fs::write(&path, b"{\"log\":\"torn").expect("write");
    let config = LogConfig { path: Some(path.clone()), ..LogConfig::default() };
    let mut writer = Writer::open(&config).expect("opened").expect("a log");
    writer.append(Stream::Stdout, b"next\n", Timestamp::UNIX_EPOCH);
    assert_eq!(read(&mut open(&path, None)), ["next\n"]);
}

#[test]
fn a_watched_log_says_when_there_is_more() {
    let mut log = Log::new(0, 1);
    let mut reader = open(&log.path(), None);
    let changes = reader.changes().expect("watch");
    assert!(read(&mut reader).is_empty());
    assert!(!changes.take(|_| true).expect("take"));
    log.lines(0..1);
    assert!(changes.take(|_| true).expect("take"));
    assert_eq!(read(&mut reader), expected(0..1));
}
