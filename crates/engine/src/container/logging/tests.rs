//! Tests of the log drivers' options.

use super::*;

fn asked(kind: &str, options: &[(&str, &str)]) -> Asked {
    let config = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Asked { kind: kind.into(), config }
}

fn completed(kind: &str, options: &[(&str, &str)], default: &Asked) -> Asked {
    let mut log = asked(kind, options);
    complete(&mut log, default).expect("sound");
    log
}

#[test]
fn who_says_nothing_gets_the_daemons_driver_with_its_options() {
    let none = Asked::default();
    assert_eq!(completed("", &[], &none).kind, "local");
    assert_eq!(completed("", &[("max-file", "7")], &none).kind, "json-file");
    let default = asked("json-file", &[("max-size", "1m"), ("max-file", "2")]);
    let log = completed("", &[("max-size", "5m")], &default);
    assert_eq!((log.kind.as_str(), &log.config["max-size"][..], &log.config["max-file"][..]), ("json-file", "5m", "2"));
    assert!(completed("local", &[], &default).config.is_empty());
}

#[test]
fn options_that_mean_nothing_are_refused_in_dockers_words() {
    for (kind, options, why) in [
        ("wat", &[][..], "logger: no log driver named 'wat' is registered"),
        ("splunk", &[], "--log-driver splunk is not supported"),
        ("gelf", &[], "gelf-address is a required parameter"),
        ("gelf", &[("gelf-address", "http://x:1")], "endpoint needs to be UDP or TCP"),
        ("gelf", &[("gelf-address", "udp://x")], "please provide gelf-address as proto://host:port"),
        ("gelf", &[("gelf-address", "tcp://x:1"), ("gelf-compression-type", "gzip")], "only supported on UDP"),
        ("gelf", &[("gelf-address", "udp://x:1"), ("gelf-compression-level", "10")], "unknown value \"10\""),
        ("gelf", &[("gelf-address", "udp://x:1"), ("gelf-tcp-max-reconnect", "1")], "only supported for TCP"),
        ("fluentd", &[("fluentd-address", "http://x:1")], "invalid fluentd-address (http://x:1)"),
        ("fluentd", &[("fluentd-address", "tls://x:1")], "with tls is not supported"),
        ("fluentd", &[("fluentd-request-ack", "true")], "fluentd-request-ack is not supported"),
        ("fluentd", &[("fluentd-async", "perhaps")], "invalid value for fluentd-async"),
        ("fluentd", &[("fluentd-async-connect", "true")], "unknown log opt 'fluentd-async-connect'"),
        ("local", &[("tag", "x")], "unknown log opt 'tag' for local log driver"),
        ("json-file", &[("colour", "red")], "unknown log opt 'colour' for json-file log driver"),
        ("json-file", &[("max-size", "0")], "max-size must be a positive number"),
        ("json-file", &[("max-size", "many")], "invalid size: 'many'"),
        ("json-file", &[("max-file", "0")], "max-file cannot be less than 1"),
        ("json-file", &[("max-file", "x")], "strconv.Atoi"),
        ("json-file", &[("compress", "true"), ("max-file", "1")], "compress cannot be true"),
        ("json-file", &[("labels-regex", "(")], "invalid regular expression"),
        ("local", &[("max-file", "1")], "compression cannot be enabled when max file count is 1"),
        ("local", &[("mode", "fast")], "logger: logging mode not supported: fast"),
        ("local", &[("max-buffer-size", "1m")], "only supported with 'mode=non-blocking'"),
        ("local", &[("cache-disabled", "maybe")], "invalid value for option cache-disabled: maybe"),
        ("syslog", &[("syslog-facility", "x")], "invalid syslog facility"),
        ("syslog", &[("syslog-format", "x")], "Invalid syslog format"),
        ("syslog", &[("syslog-address", "http://x")], "unsupported scheme: 'http'"),
        ("syslog", &[("syslog-address", "unix:///no/such/socket")], "stat /no/such/socket: no such file or directory"),
        ("syslog", &[("syslog-address", "tcp+tls://x:1")], "tcp+tls is not supported"),
    ] {
        let error = check(&asked(kind, options)).expect_err(why).message;
        assert!(error.contains(why), "{kind} {options:?}: {error}");
    }
    for (kind, options) in [
        ("none", &[("anything", "goes")][..]),
        ("local", &[("max-size", "10m"), ("max-file", "1"), ("compress", "false"), ("mode", "non-blocking")]),
        ("json-file", &[("max-size", "-1"), ("env", "A,B"), ("tag", "{{.Name}}"), ("labels-regex", "^a")]),
        ("gelf", &[("gelf-address", "udp://127.0.0.1:12201"), ("gelf-compression-type", "zlib"), ("tag", "x")]),
        ("gelf", &[("gelf-address", "tcp://graylog:12201"), ("gelf-tcp-max-reconnect", "3")]),
        ("fluentd", &[("fluentd-address", "fluent:24224"), ("fluentd-async", "true"), ("mode", "non-blocking")]),
        ("fluentd", &[("fluentd-address", "unix:///run/fluent.sock"), ("fluentd-buffer-limit", "8m")]),
        (
            "syslog",
            &[("syslog-address", "udp://127.0.0.1:1514"), ("syslog-facility", "local7"), ("cache-max-size", "1m")],
        ),
        ("journald", &[("tag", "x"), ("cache-disabled", "true")]),
    ] {
        check(&asked(kind, options)).unwrap_or_else(|error| panic!("{kind} {options:?}: {error}"));
    }
}

#[test]
fn files_are_bounded_unless_the_user_wants_otherwise() {
    let file = |options: &[(&str, &str)]| {
        let LogFile { max_size, max_files, compress, .. } =
            json_file(&asked("", options).config, PathBuf::new()).expect("sound");
        (max_size, max_files, compress)
    };
    assert_eq!(file(&[]), (32 << 20, 3, false));
    assert_eq!(file(&[("max-size", "10m")]), (10_000_000, 1, false));
    assert_eq!(file(&[("max-size", "-1")]), (0, 1, false));
    assert_eq!(file(&[("max-file", "5"), ("compress", "true")]), (32 << 20, 5, true));
    let local = local(&BTreeMap::new(), "cache-", PathBuf::new()).expect("sound");
    assert_eq!((local.max_size, local.max_files, local.compress), (32 << 20, 3, true));
}

#[test]
fn addresses_are_read() {
    let address = |text| syslog_address(text).expect(text);
    assert_eq!(address(""), Endpoint::Local);
    assert_eq!(address("udp://10.0.0.1"), Endpoint::Known(LogAddress::Udp("10.0.0.1:514".parse().unwrap())));
    assert_eq!(address("tcp://[::1]:99"), Endpoint::Known(LogAddress::Tcp("[::1]:99".parse().unwrap())));
    let named = Endpoint::Named { tcp: true, host: "logs".into(), port: 514 };
    assert_eq!(address("tcp://logs"), named);
    assert!(syslog_address("tcp://").is_err() && syslog_address("udp://a:b").is_err());
}

#[test]
fn details_are_chosen_by_name_and_by_pattern() {
    let config = asked("", &[("labels", "a"), ("env-regex", "^O"), ("env", "X")]).config;
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let env = ["OS=linux".to_owned(), "PATH=/bin".to_owned(), "X=y=z".to_owned()];
    let all = details(&config, &labels, &env, |name| name.into()).expect("sound");
    let pairs: Vec<_> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(pairs, ["OS=linux", "X=y=z", "a=1"]);
    assert_eq!(field_name("_com.example-1"), "COM_EXAMPLE_1");
}
