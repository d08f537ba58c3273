//! Logs that are sent elsewhere: what arrives there, and that the container never waits for who is not there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use teu_supervisor::protocol::{
    CreateRequest, Fluentd, Gelf, GelfCompression, Journald, LogAddress, LogConfig, Remote, Syslog, SyslogFormat,
};

use crate::harness::Task;

/// A container whose output goes to a syslog and is kept nowhere.
fn to_syslog(task: &Task, script: &str, address: LogAddress, buffer: Option<u64>) -> CreateRequest {
    let mut request = task.request(script);
    let syslog = Syslog {
        addresses: vec![address],
        facility: 3,
        format: SyslogFormat::Rfc5424,
        tag: "box".into(),
        hostname: "host".into(),
    };
    request.log = LogConfig { file: None, remote: Some(Remote::Syslog(syslog)), buffer };
    request
}

#[test]
fn lines_arrive_at_a_syslog_over_tcp_with_their_severity() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let task = Task::new();
    let mut control = task.control();
    let address = LogAddress::Tcp(listener.local_addr().expect("address"));
    control.run(to_syslog(&task, "echo one; echo two >&2; printf three", address, None));
    assert_eq!(control.exited(None).code, 0);
    let lines = BufReader::new(listener.accept().expect("accepted").0).lines().map(|line| line.expect("text"));
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("<27>1 20") && lines[0].ends_with(" box - two"), "{lines:?}");
    assert!(lines[1].contains(" host box ") && lines[1].ends_with(" box - one"), "{lines:?}");
    assert!(lines[2].ends_with(" box - three"), "{lines:?}");
}

#[test]
fn lines_arrive_at_a_syslog_over_udp_and_a_socket_file() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let task = Task::new();
    let file = task.log_path();
    let unix = UnixDatagram::bind(&file).expect("bound");
    for address in [LogAddress::Udp(udp.local_addr().expect("address")), LogAddress::Unixgram(file)] {
        let task = Task::new();
        let mut control = task.control();
        control.run(to_syslog(&task, "echo hello", address.clone(), None));
        assert_eq!(control.exited(None).code, 0);
        let mut buffer = [0; 200];
        let count = match address {
            LogAddress::Udp(_) => udp.recv(&mut buffer),
            _ => unix.recv(&mut buffer),
        };
        let text = String::from_utf8_lossy(&buffer[..count.expect("received")]).into_owned();
        assert!(text.ends_with(" box - hello\n"), "{text}");
    }
}

#[test]
fn entries_arrive_at_the_journal_with_their_fields_also_of_lines_in_parts() {
    let task = Task::new();
    let path = task.log_path();
    let journal = UnixDatagram::bind(&path).expect("bound");
    let mut control = task.control();
    let mut request = task.request("echo hello; head -c 20000 /dev/zero | tr '\\0' x; echo");
    let fields = BTreeMap::from([("CONTAINER_NAME".to_owned(), "box".to_owned())]);
    let remote = Remote::Journald(Journald { socket: LogAddress::Unixgram(path), fields });
    request.log = LogConfig { file: None, remote: Some(remote), buffer: None };
    control.run(request);
    assert_eq!(control.exited(None).code, 0);
    let mut entries = Vec::new();
    for _ in 0..3 {
        let mut buffer = vec![0; 64 << 10];
        let count = journal.recv(&mut buffer).expect("received");
        entries.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    assert!(entries[0].starts_with("PRIORITY=6\nMESSAGE=hello\nCONTAINER_NAME=box\n"), "{}", entries[0]);
    assert!(entries[1].contains("CONTAINER_PARTIAL_ORDINAL=1\nCONTAINER_PARTIAL_LAST=false\n"));
    assert!(entries[2].contains("CONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=true\n"));
    assert!(entries[2].contains("CONTAINER_LOG_ORDINAL=3\n"));
}

#[test]
fn a_container_does_not_wait_for_a_syslog_that_is_not_there() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    for buffer in [None, Some(64 << 10)] {
        let task = Task::new();
        let mut control = task.control();
        let begin = Instant::now();
        control.run(to_syslog(&task, "seq 1 300000", LogAddress::Tcp(nobody), buffer));
        assert_eq!(control.exited(None).code, 0);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_container_waits_for_a_slow_syslog_only_in_blocking_mode_and_not_for_ever() {
    // Accepted by the kernel, and never read.
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = LogAddress::Tcp(listener.local_addr().expect("address"));
    let script = "head -c 30000000 /dev/zero | tr '\\0' '\\n' | sed s/^/line/ | head -n 2000000";
    let took = |buffer| {
        let task = Task::new();
        let mut control = task.control();
        let begin = Instant::now();
        control.run(to_syslog(&task, script, address.clone(), buffer));
        assert_eq!(control.exited(None).code, 0);
        begin.elapsed()
    };
    let (free, waiting) = (took(Some(1 << 20)), took(None));
    assert!(waiting > free && waiting >= Duration::from_secs(2), "{free:?} {waiting:?}");
    assert!(waiting < free + Duration::from_secs(20), "{free:?} {waiting:?}");
}

#[test]
fn nothing_is_lost_on_the_way_to_a_slow_syslog_that_reads_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let task = Task::new();
    let mut control = task.control();
    let address = LogAddress::Tcp(listener.local_addr().expect("address"));
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(listener.accept().expect("accepted").0).lines();
        lines.map(|line| line.expect("text")).map(|line| line.rsplit(' ').next().expect("a word").to_owned()).collect()
    });
    control.run(to_syslog(&task, "seq 1 200000", address, None));
    assert_eq!(control.exited(None).code, 0);
    let numbers: Vec<String> = reader.join().expect("reader");
    assert_eq!(numbers.len(), 200_000);
    assert!(numbers.iter().enumerate().all(|(place, number)| *number == (place + 1).to_string()));
}

/// Runs a script whose output goes to a collector alone.
fn run_for(remote: Remote, script: &str) {
    let task = Task::new();
    let mut control = task.control();
    let mut request = task.request(script);
    request.log = LogConfig { file: None, remote: Some(remote), buffer: None };
    control.run(request);
    assert_eq!(control.exited(None).code, 0);
}

#[test]
fn lines_arrive_at_a_graylog_over_udp_and_tcp() {
    let fields = BTreeMap::from([("container_name".to_owned(), "box".to_owned())]);
    let gelf = |address, compression| {
        Remote::Gelf(Gelf { addresses: vec![address], hostname: "host".into(), compression, fields: fields.clone() })
    };
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    run_for(gelf(LogAddress::Udp(udp.local_addr().expect("address")), Some(GelfCompression::Plain)), "echo hello >&2");
    let mut buffer = [0; 2000];
    let count = udp.recv(&mut buffer).expect("received");
    let message: serde_json::Value = serde_json::from_slice(&buffer[..count]).expect("JSON");
    assert_eq!((&message["short_message"], &message["level"]), (&"hello".into(), &3.into()));
    assert_eq!(message["_container_name"], "box");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    run_for(gelf(LogAddress::Tcp(listener.local_addr().expect("address")), None), "echo one; echo; echo two");
    let stream = BufReader::new(listener.accept().expect("accepted").0);
    let messages: Vec<_> = stream.split(0).map(|message| message.expect("bytes")).collect();
    let said = |message: &Vec<u8>| {
        let message: serde_json::Value = serde_json::from_slice(message).expect("JSON");
        message["short_message"].as_str().map(str::to_owned)
    };
    assert_eq!(messages.iter().map(said).collect::<Vec<_>>(), [Some("one".into()), Some("two".into())]);
}

#[test]
fn lines_arrive_at_a_fluentd() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addresses = vec![LogAddress::Tcp(listener.local_addr().expect("address"))];
    let fields = BTreeMap::from([("container_name".to_owned(), "/box".to_owned())]);
    run_for(
        Remote::Fluentd(Fluentd { addresses, tag: "tag".into(), fields, sub_second: true, limit: None }),
        "echo hello; printf rest",
    );
    let mut bytes = vec![];
    std::io::Read::read_to_end(&mut listener.accept().expect("accepted").0, &mut bytes).expect("read");
    let begin = bytes.windows(5).filter(|window| *window == b"\x94\xa3tag").count();
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    assert_eq!(begin, 2, "{bytes:?}");
    assert!(holds(b"\xa3log\xa5hello\x80") && holds(b"\xa3log\xa4rest") && holds(b"\xa6stdout"), "{bytes:?}");
}
