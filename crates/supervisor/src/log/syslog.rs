//! Messages for syslog: Docker's formats of RFC 3164 and RFC 5424. Pure.

use jiff::Timestamp;

use super::Stream;
use crate::protocol::{Syslog, SyslogFormat};

const INFO: u8 = 6;
const ERROR: u8 = 3;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// One message, with the newline that ends it on a stream. `offset` is the local time's, in seconds east of Greenwich.
pub(crate) fn message(config: &Syslog, pid: u32, stream: Stream, line: &[u8], time: Timestamp, offset: i32) -> Vec<u8> {
    let severity = if stream == Stream::Stderr { ERROR } else { INFO };
    let priority = (u32::from(config.facility) << 3) | u32::from(severity);
    let (host, tag) = (&config.hostname, &config.tag);
    let head = match config.format {
        SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(time, offset)),
        SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp(time, offset)),
        SyslogFormat::Rfc5424 => {
            format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", rfc3339(time, offset, false))
        }
        SyslogFormat::Rfc5424Micro => {
            format!("<{priority}>1 {} {host} {tag} {pid} {tag} - ", rfc3339(time, offset, true))
        }
    };
    let mut message = Vec::with_capacity(head.len() + line.len() + 1);
    message.extend_from_slice(head.as_bytes());
    message.extend_from_slice(line);
    message.push(b'\n');
    message
}

/// `Jan  2 15:04:05`.
fn stamp(time: Timestamp, offset: i32) -> String {
    let civil = local(time, offset);
    let month = usize::try_from(civil.month() - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or("Jan");
    format!("{month} {:2} {:02}:{:02}:{:02}", civil.day(), civil.hour(), civil.minute(), civil.second())
}

fn rfc3339(time: Timestamp, offset: i32, micro: bool) -> String {
    let civil = local(time, offset);
    let fraction = if micro { format!(".{:06}", civil.subsec_nanosecond() / 1000) } else { String::new() };
    let zone = match offset {
        0 => "Z".to_owned(),
        _ => {
            let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    format!("{}T{:02}:{:02}:{:02}{fraction}{zone}", civil.date(), civil.hour(), civil.minute(), civil.second())
}

fn local(time: Timestamp, offset: i32) -> jiff::civil::DateTime {
    let offset = jiff::tz::Offset::from_seconds(offset).unwrap_or(jiff::tz::Offset::UTC);
    offset.to_datetime(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_dockers() {
        let time = "2026-01-02T03:04:05.123456789Z".parse().expect("time");
        let text = |format, offset, stream| {
            let config =
                Syslog { facility: 3, format, tag: "tag".into(), hostname: "host".into(), ..Syslog::default() };
            String::from_utf8(message(&config, 7, stream, b"hello", time, offset)).expect("text")
        };
        let out = Stream::Stdout;
        assert_eq!(text(SyslogFormat::Unix, 0, out), "<30>Jan  2 03:04:05 tag[7]: hello\n");
        assert_eq!(text(SyslogFormat::Rfc3164, 3600, Stream::Stderr), "<27>Jan  2 04:04:05 host tag[7]: hello\n");
        assert_eq!(text(SyslogFormat::Rfc5424, 0, out), "<30>1 2026-01-02T03:04:05Z host tag 7 tag - hello\n");
        assert_eq!(
            text(SyslogFormat::Rfc5424Micro, -5400, out),
            "<30>1 2026-01-02T01:34:05.123456-01:30 host tag 7 tag - hello\n"
        );
    }
}
