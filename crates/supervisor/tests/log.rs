//! The log as its two sides see it: what the writer keeps, the reader finds, also across rotations and while it grows.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use teu_supervisor::log::{Log, Query, Reader, Stream};
use teu_supervisor::protocol::{LogConfig, LogFile, LogFormat};

const BOTH: [LogFormat; 2] = [LogFormat::JsonFile, LogFormat::Local];

struct Kept {
    dir: tempfile::TempDir,
    config: LogConfig,
    log: Log,
}

impl Kept {
    fn new(format: LogFormat, max_size: u64, max_files: u32, compress: bool) -> Kept {
        let dir = tempfile::tempdir().expect("directory");
        let path = path(format, dir.path());
        let attributes = Default::default();
        let file = LogFile { format, path, max_size, max_files, compress, attributes };
        let config = LogConfig { file: Some(file), ..LogConfig::default() };
        let log = Log::open(&config).expect("opened").expect("a log");
        Kept { dir, config, log }
    }

    fn file(&self) -> &LogFile {
        self.config.file.as_ref().expect("a file")
    }

    fn read(&self, query: &Query) -> Vec<String> {
        read(&mut self.reader(query))
    }

    fn reader(&self, query: &Query) -> Reader {
        Reader::open(self.file().format, &self.file().path, query).expect("opened")
    }

    fn all(&self) -> Vec<String> {
        self.read(&Query::default())
    }

    fn tail(&self, lines: usize) -> Vec<String> {
        self.read(&Query { tail: Some(lines), ..Query::default() })
    }

    /// Writes the lines `from` to `to`, with their number as their time in seconds.
    fn lines(&mut self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let time = Timestamp::from_second(number).expect("time");
            self.log.append(Stream::Stdout, format!("line {number}\n").as_bytes(), time);
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).expect("list").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    /// Waits until files of that kind are there.
    fn until(&self, suffix: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.names().iter().any(|name| name.ends_with(suffix)) {
            assert!(Instant::now() < deadline, "no {suffix}: {:?}", self.names());
            std::thread::yield_now();
        }
    }
}

fn path(format: LogFormat, dir: &Path) -> PathBuf {
    if format == LogFormat::JsonFile { dir.join("log") } else { dir.to_owned() }
}

fn read(reader: &mut Reader) -> Vec<String> {
    let mut found = Vec::new();
    while reader.advance().expect("read") {
        found.push(String::from_utf8_lossy(reader.line().bytes).into_owned());
    }
    found
}

#[test]
fn who_keeps_up_reads_what_was_removed_meanwhile() {
    for (format, compress) in
        [(LogFormat::Local, false), (LogFormat::Local, true), (LogFormat::JsonFile, false), (LogFormat::JsonFile, true)]
    {
        let mut kept = Kept::new(format, 1 << 10, 2, compress);
        kept.lines(0..10);
        let mut reader = kept.reader(&Query::default());
        for from in (10..800).step_by(10) {
            kept.lines(from..from + 10);
            reader.keep_up().expect("keep up");
        }
        let expected: Vec<_> = (0..800).map(|number| format!("line {number}\n")).collect();
        assert!(kept.all().len() < expected.len(), "some was removed");
        same(&read(&mut reader), &expected, "what was written");
        // Whoever reads nothing at all does not keep everything.
        let mut idle = kept.reader(&Query::default());
        for from in (800..16000).step_by(10) {
            kept.lines(from..from + 10);
            idle.keep_up().expect("keep up");
        }
        let found = read(&mut idle);
        assert!(found.len() < 12000 && found.last().is_some_and(|last| last == "line 15999\n"), "{}", found.len());
    }
}

/// Compares without printing thousands of lines.
#[track_caller]
fn same(found: &[String], expected: &[String], what: &str) {
    let differs = found.iter().zip(expected).position(|(one, other)| one != other);
    let ends = |lines: &[String]| (lines.len(), lines.first().cloned(), lines.last().cloned());
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{what}: at {differs:?}, {:?} {:?}",
        ends(found),
        ends(expected)
    );
}

fn expected(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}\n")).collect()
}

#[test]
fn each_line_is_one_record_as_docker_writes_it() {
    let mut kept = Kept::new(LogFormat::JsonFile, 0, 1, false);
    let time = "2026-01-02T03:04:05.123456789Z".parse().expect("time");
    kept.log.append(Stream::Stdout, b"hello \"world\"\nhalf", time);
    kept.log.append(Stream::Stderr, b"other\n", time);
    kept.log.append(Stream::Stdout, b" a line\nno end", time);
    kept.log.end(Stream::Stdout, time);
    let text = std::fs::read_to_string(&kept.file().path).expect("read");
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
fn details_stand_in_each_line() {
    let mut kept = Kept::new(LogFormat::JsonFile, 0, 1, false);
    let file = kept.config.file.as_mut().expect("a file");
    file.attributes = [("tag".to_owned(), "a \"b\"".to_owned())].into();
    kept.log = Log::open(&kept.config).expect("opened").expect("a log");
    kept.lines(0..1);
    let text = std::fs::read_to_string(&kept.file().path).expect("read");
    assert!(text.contains(r#""stream":"stdout","attrs":{"tag":"a \"b\""},"time":"#), "{text}");
    let mut reader = kept.reader(&Query::default());
    assert!(reader.advance().expect("read"));
    assert_eq!(reader.line().attributes.and_then(|all| all.get("tag")).map(String::as_str), Some("a \"b\""));
}

#[test]
fn streams_times_and_bytes_are_what_was_written() {
    for format in BOTH {
        let mut kept = Kept::new(format, 0, 1, false);
        let (early, late) =
            ("2026-01-02T03:04:05.1Z".parse().expect("time"), "2026-01-02T03:04:06.2Z".parse().expect("time"));
        kept.log.append(Stream::Stdout, b"one\ntwo\nthr", early);
        kept.log.append(Stream::Stderr, b"err\n", early);
        kept.log.append(Stream::Stdout, b"ee\n\nlast", late);
        kept.log.end(Stream::Stdout, late);
        let mut reader = kept.reader(&Query::default());
        let mut found = Vec::new();
        while reader.advance().expect("read") {
            let line = reader.line();
            found.push((line.stream, line.time, String::from_utf8_lossy(line.bytes).into_owned()));
        }
        let of = |stream, time, text: &str| (stream, time, text.to_owned());
        let expected = [
            of(Stream::Stdout, early, "one\n"),
            of(Stream::Stdout, early, "two\n"),
            of(Stream::Stderr, early, "err\n"),
            of(Stream::Stdout, late, "three\n"),
            of(Stream::Stdout, late, "\n"),
            of(Stream::Stdout, late, "last"),
        ];
        assert_eq!(found, expected, "{format:?}");
    }
}

#[test]
fn bytes_that_are_no_text_are_kept_where_the_form_has_room_for_them() {
    let mut kept = Kept::new(LogFormat::Local, 0, 1, false);
    let bytes: Vec<u8> = (0..=255).collect();
    kept.log.append(Stream::Stdout, &bytes, Timestamp::UNIX_EPOCH);
    kept.log.end(Stream::Stdout, Timestamp::UNIX_EPOCH);
    let mut reader = kept.reader(&Query::default());
    let mut found = Vec::new();
    while reader.advance().expect("read") {
        found.extend_from_slice(reader.line().bytes);
    }
    assert_eq!(found, bytes);
}

#[test]
fn a_long_line_is_several_records_that_join_to_it() {
    for format in BOTH {
        let mut kept = Kept::new(format, 0, 1, false);
        let line = "héllo wörld €".repeat(10_000) + "\n";
        for chunk in line.as_bytes().chunks(4099) {
            kept.log.append(Stream::Stdout, chunk, Timestamp::UNIX_EPOCH);
        }
        let records = kept.all();
        assert!(records.len() > 10 && records.iter().all(|record| record.len() <= 16 << 10), "{format:?}");
        assert!(records.concat() == line, "{format:?}");
        assert_eq!(kept.tail(3), records[records.len() - 3..], "{format:?}");
    }
}

#[test]
fn old_files_are_rotated_away_and_the_rest_is_read_in_order() {
    for (format, compress) in [(LogFormat::JsonFile, false), (LogFormat::Local, false), (LogFormat::Local, true)] {
        let mut kept = Kept::new(format, 4096, 3, compress);
        kept.lines(0..1000);
        let files: Vec<_> = kept.names().into_iter().filter(|name| !name.ends_with("index")).collect();
        assert!(files.len() <= 4, "{files:?}");
        for name in &files {
            // One that was compressed meanwhile has another name.
            let length = kept.dir.path().join(name).metadata().map_or(0, |metadata| metadata.len());
            assert!(length <= 4096, "{name}");
        }
        let found = kept.all();
        assert!(found.len() > 80, "{}", found.len());
        assert_eq!(found, expected(1000 - i64::try_from(found.len()).expect("few")..1000), "{format:?}");
    }
}

#[test]
fn in_the_middle_of_a_rotation_every_file_is_found() {
    let mut kept = Kept::new(LogFormat::JsonFile, 1 << 10, 6, false);
    let mut reader = kept.reader(&Query::default());
    kept.lines(0..50);
    assert_eq!(kept.names(), ["log", "log.1", "log.2", "log.3"]);
    let all = expected(0..50);
    assert!(reader.advance().expect("read"));
    // The oldest was renamed first; the newest comes last.
    let path = |age: u32| kept.dir.path().join(format!("log.{age}"));
    for age in (0..4).rev() {
        let from = if age == 0 { kept.dir.path().join("log") } else { path(age) };
        std::fs::rename(from, path(age + 1)).expect("renamed");
        same(&kept.all(), &all, "all");
        same(&kept.tail(45), &all[5..], "the tail");
    }
    same(&read(&mut reader), &all[1..], "the rest");
}

#[test]
fn whoever_reads_beside_rotations_misses_nothing() {
    let mut kept = Kept::new(LogFormat::JsonFile, 1 << 10, 400, false);
    let path = kept.file().path.clone();
    kept.lines(0..10);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = scope.spawn(|| {
            let mut longest = 0;
            let mut follower = Reader::open(LogFormat::JsonFile, &path, &Query::default()).expect("opened");
            let mut followed = read(&mut follower);
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let found = read(&mut Reader::open(LogFormat::JsonFile, &path, &Query::default()).expect("opened"));
                longest = longest.max(found.len());
                same(&found, &expected(0..i64::try_from(found.len()).expect("a number")), "what there was");
                followed.extend(read(&mut follower));
            }
            followed.extend(read(&mut follower));
            (longest, followed)
        });
        for from in (10..3000).step_by(10) {
            kept.lines(from..from + 10);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let (longest, followed) = readers.join().expect("read");
        same(&followed, &expected(0..3000), "what was followed");
        assert!(longest >= 10, "{longest}");
    });
}

#[test]
fn full_files_are_compressed_and_read_all_the_same() {
    for (format, suffix) in [(LogFormat::JsonFile, ".gz"), (LogFormat::Local, ".zst")] {
        let mut kept = Kept::new(format, 100_000, 5, true);
        // The first rotation starts the compression, and one more takes what was not done by then.
        let mut end = 0;
        while !kept.names().iter().any(|name| name.ends_with(suffix)) || kept.names().len() < 4 {
            kept.lines(end..end + 1000);
            end += 1000;
            assert!(end < 1_000_000, "{:?}", kept.names());
        }
        kept.until(suffix);
        let found = kept.all();
        let first = end - i64::try_from(found.len()).expect("few");
        same(&found, &expected(first..end), &format!("{format:?}"));
        for lines in [1, 10, 2500, found.len() - 1, found.len(), found.len() + 5] {
            let begin = end - i64::try_from(lines.min(found.len())).expect("few");
            same(&kept.tail(lines), &expected(begin..end), &format!("{format:?} tail {lines}"));
        }
        for second in [first, first + 1, first + 777, end - 5] {
            let since = Some(Timestamp::from_second(second).expect("time"));
            let found = kept.read(&Query { since, ..Query::default() });
            same(&found, &expected(second..end), &format!("{format:?} since {second}"));
        }
    }
}

#[test]
fn a_single_file_is_begun_again_when_it_is_full() {
    for format in BOTH {
        let mut kept = Kept::new(format, 1024, 1, false);
        kept.lines(0..1000);
        let files: Vec<_> = kept.names().into_iter().filter(|name| !name.ends_with("index")).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert!(kept.dir.path().join(&files[0]).metadata().expect("file").len() <= 1024);
        assert_eq!(kept.tail(2), expected(998..1000), "{format:?}");
    }
}

#[test]
fn the_tail_begins_so_many_lines_before_the_end_in_whichever_file_that_is() {
    for format in BOTH {
        let mut kept = Kept::new(format, 4096, 50, false);
        kept.lines(0..200);
        for lines in [0, 1, 2, 50, 51, 100, 150] {
            let first = 200 - i64::try_from(lines).expect("few");
            assert_eq!(kept.tail(lines), expected(first..200), "{format:?} tail {lines}");
        }
        assert_eq!(kept.tail(100_000), kept.all());
    }
}

#[test]
fn the_tail_may_begin_in_the_middle_of_what_was_read_at_once() {
    let mut kept = Kept::new(LogFormat::Local, 0, 1, false);
    let block = expected(0..100).concat();
    kept.log.append(Stream::Stdout, block.as_bytes(), Timestamp::UNIX_EPOCH);
    kept.log.append(Stream::Stdout, b"more\n", Timestamp::UNIX_EPOCH);
    assert_eq!(kept.tail(3), ["line 98\n", "line 99\n", "more\n"]);
    assert_eq!(kept.tail(101).len(), 101);
}

#[test]
fn since_and_until_bound_what_is_returned() {
    for format in BOTH {
        let mut kept = Kept::new(format, 4096, 50, false);
        kept.lines(0..100);
        let second = |second| Some(Timestamp::from_second(second).expect("time"));
        let query = Query { since: second(90), until: second(95), ..Query::default() };
        let mut reader = kept.reader(&query);
        assert_eq!(read(&mut reader), expected(90..96), "{format:?}");
        assert!(reader.finished());
        assert_eq!(kept.read(&Query { tail: Some(20), since: second(90), until: None }), expected(90..100));
        assert!(kept.read(&Query { since: second(1000), ..Query::default() }).is_empty());
    }
}

#[test]
fn since_finds_its_place_by_the_index_also_after_the_clock_was_set_back() {
    let mut kept = Kept::new(LogFormat::Local, 0, 1, false);
    let text = "x".repeat(1000) + "\n";
    for number in 0..3000 {
        // From the thousandth on an hour earlier.
        let second = if number < 1000 { number } else { number - 3600 };
        kept.log.append(
            Stream::Stdout,
            format!("{number} {text}").as_bytes(),
            Timestamp::from_second(second).expect("time"),
        );
    }
    let since = Some(Timestamp::from_second(900).expect("time"));
    let found = kept.read(&Query { since, ..Query::default() });
    assert_eq!(found.len(), 100);
    assert!(found[0].starts_with("900 "));
    let index = kept.names().into_iter().find(|name| name.ends_with("index")).expect("an index");
    assert!(kept.dir.path().join(&index).metadata().expect("file").len() >= 16 * 10);
    // Without the index it takes longer, and finds the same.
    std::fs::write(kept.dir.path().join(index), b"").expect("emptied");
    assert_eq!(kept.read(&Query { since, ..Query::default() }), found);
}

#[test]
fn a_reader_at_the_end_goes_on_when_more_is_written_also_across_rotations() {
    for (format, compress) in [(LogFormat::JsonFile, false), (LogFormat::JsonFile, true), (LogFormat::Local, true)] {
        let mut kept = Kept::new(format, 2048, 40, compress);
        let mut reader = kept.reader(&Query { tail: Some(0), ..Query::default() });
        let mut found = Vec::new();
        for step in 0..100 {
            kept.lines(step * 7..step * 7 + 7);
            if step % 3 == 0 {
                found.extend(read(&mut reader));
            }
        }
        found.extend(read(&mut reader));
        same(&found, &expected(0..700), &format!("{format:?} {compress}"));
    }
}

#[test]
fn a_reader_that_was_left_behind_goes_on_with_the_oldest_there_is() {
    for format in BOTH {
        let mut kept = Kept::new(format, 1024, 2, false);
        kept.lines(0..5);
        let mut reader = kept.reader(&Query::default());
        assert!(reader.advance().expect("read"));
        assert_eq!(reader.line().bytes, b"line 0\n");
        kept.lines(5..500);
        let found = read(&mut reader);
        assert_eq!(found[..4], expected(1..5), "{format:?}");
        assert_eq!(found.last(), expected(499..500).last());
    }
}

#[test]
fn a_line_that_is_only_half_written_is_returned_when_it_is_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("log");
    let line = r#"{"log":"whole\n","stream":"stderr","time":"2026-01-02T03:04:05Z"}"#;
    let mut reader = Reader::open(LogFormat::JsonFile, &path, &Query::default()).expect("opened");
    assert!(!reader.advance().expect("read"));
    std::fs::write(&path, &line[..20]).expect("write");
    assert!(!reader.advance().expect("read"));
    std::fs::write(&path, format!("{line}\n")).expect("write");
    assert!(reader.advance().expect("read"));
    assert_eq!((reader.line().stream, reader.line().bytes), (Stream::Stderr, &b"whole\n"[..]));
}

#[test]
fn what_a_crash_left_half_written_costs_no_other_line() {
    let mut kept = Kept::new(LogFormat::JsonFile, 0, 1, false);
    std::fs::write(&kept.file().path, b"{\"log\":\"torn").expect("write");
    kept.log = Log::open(&kept.config).expect("opened").expect("a log");
    kept.lines(0..1);
    assert_eq!(kept.all(), expected(0..1));
    for torn in [1, 10, 30, 45] {
        let mut kept = Kept::new(LogFormat::Local, 0, 1, false);
        kept.lines(0..3);
        let path = kept.dir.path().join(&kept.names()[0]);
        assert!(path.extension().is_some_and(|suffix| suffix == "log"));
        let length = path.metadata().expect("file").len();
        std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(length - torn)).expect("torn");
        let before = kept.all();
        assert!(before.len() < 3);
        assert_eq!(kept.tail(1), before[before.len() - 1..]);
        kept.log = Log::open(&kept.config).expect("opened").expect("a log");
        kept.lines(7..8);
        assert_eq!(kept.all(), [before, expected(7..8)].concat(), "torn {torn}");
    }
}

#[test]
fn a_log_that_is_opened_again_goes_on_where_it_was() {
    for format in BOTH {
        let mut kept = Kept::new(format, 4096, 50, true);
        for step in 0..10 {
            kept.log = Log::open(&kept.config).expect("opened").expect("a log");
            kept.lines(step * 100..step * 100 + 100);
        }
        same(&kept.all(), &expected(0..1000), &format!("{format:?}"));
    }
}

#[test]
fn a_watched_log_says_when_there_is_more() {
    for format in BOTH {
        let mut kept = Kept::new(format, 0, 1, false);
        let mut reader = kept.reader(&Query::default());
        let changes = reader.changes().expect("watch");
        assert!(read(&mut reader).is_empty());
        changes.take(|_| true).expect("take");
        kept.lines(0..1);
        assert!(changes.take(|_| true).expect("take"));
        assert_eq!(read(&mut reader), expected(0..1));
    }
}

#[test]
fn damage_in_the_middle_of_a_file_does_not_reach_the_next_one() {
    let mut kept = Kept::new(LogFormat::Local, 4096, 50, false);
    kept.lines(0..300);
    let first = kept.names().into_iter().find(|name| name.ends_with(".log")).expect("a file");
    let path = kept.dir.path().join(first);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[1000..1100].fill(0xff);
    std::fs::write(&path, bytes).expect("written");
    let found = kept.all();
    assert_eq!(found.last(), expected(299..300).last());
    assert!(found.len() > 150 && found.len() < 300, "{}", found.len());
}
