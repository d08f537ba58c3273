//! Tests of [`super`].

use super::*;

fn settled(flags: &Value, environment: &[(&str, &str)], file: &str) -> Result<Config, Error> {
    let file = parse(Path::new("/daemon.json"), file)?;
    let get = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
    settle(flags.as_object().expect("an object"), get, file)
}

fn from_file(file: &str) -> Config {
    settled(&serde_json::json!({}), &[], file).expect("settled")
}

fn sentence(file: &str) -> String {
    settled(&serde_json::json!({}), &[], file).expect_err("refused").to_string()
}

#[test]
fn without_a_word_everything_has_a_default() {
    let config = from_file("");
    assert_eq!(config.data_root, Path::new("/var/lib/teu"));
    assert_eq!(config.exec_root, Path::new("/run/teu"));
    assert_eq!(config.pid_file, Path::new("/run/teu/teu.pid"));
    assert_eq!(config.hosts, [Host::Unix("/run/teu.sock".into(), Group::Default("teu"))]);
    assert_eq!(config.live.log_level, tracing::Level::INFO);
    assert!(!config.log_json && config.tls.is_none() && config.metrics.is_none());
}

#[test]
fn what_waits_for_the_next_start_is_named() {
    let before = from_file("");
    assert!(from_file("").waiting(&before).is_empty());
    let now = from_file(
        r#"{"debug":true,"data-root":"/x","init":true,"default-ulimits":{"nofile":{"Name":"nofile","Hard":9,"Soft":9}}}"#,
    );
    assert_eq!(now.waiting(&before), ["data-root", "default-ulimits", "init"]);
    let now = from_file(r#"{"mtu":1400,"hosts":["unix:///y"],"log-driver":"none","dns":["10.0.0.1"],"debug":true}"#);
    assert_eq!(now.waiting(&before), ["hosts", "icc, ip, ip-masq or mtu", "dns", "log-driver or log-opts"]);
}

#[test]
fn flag_beats_environment_beats_file() {
    let file = r#"{"data-root":"/file","exec-root":"/file","hosts":["unix:///file"]}"#;
    let environment = [("TEU_DATA_ROOT", "/env"), ("TEU_HOST", "unix:///env"), ("TEU_EXEC_ROOT", "")];
    let config = settled(&serde_json::json!({"data-root": "/flag"}), &environment, file).expect("settled");
    assert_eq!(config.data_root, Path::new("/flag"));
    assert_eq!(config.hosts, [Host::Unix("/file".into(), Group::Default("teu"))], "a client's variable comes last");
    assert_eq!(config.exec_root, Path::new("/file"));
    let config = settled(&serde_json::json!({}), &environment, "{}").expect("settled");
    assert_eq!(config.hosts, [Host::Unix("/env".into(), Group::Default("teu"))]);
}

#[test]
fn the_sentence_names_the_wrong_key() {
    assert!(sentence(r#"{"data-rot":"/x"}"#).contains("unknown key \"data-rot\""));
    assert!(sentence(r#"{"debug":"yes"}"#).contains("key \"debug\" holds \"yes\""));
    assert!(sentence("{").starts_with("configuration file /daemon.json: "));
    assert!(sentence(r#"{"data-root":"here"}"#).contains("absolute"));
    assert!(sentence(r#"{"log-level":"loud"}"#).contains("loud"));
    assert!(sentence(r#"{"log-format":"xml"}"#).contains("xml"));
    assert!(sentence(r#"{"dns":["dns.example"]}"#).contains("dns.example"));
    for url in ["mirror.example", "ftp://mirror.example", "https://", "https://u:p@mirror.example", "https://m/path"] {
        assert!(sentence(&serde_json::json!({"registry-mirrors": [url]}).to_string()).contains(url));
    }
    assert!(sentence(r#"{"default-shm-size":"much"}"#).contains("default-shm-size"));
}

#[test]
fn dockers_keys_act_or_are_so_anyway_or_are_refused_by_name() {
    let config = from_file(
        r#"{"live-restore":true,"storage-driver":"overlay2","default-runtime":"runc","log-opts":{"max-size":"10m"},
            "default-shm-size":"128M","default-ulimits":{"nofile":{"Name":"nofile","Hard":64,"Soft":32}},
            "bip":"172.30.0.1/16","no-new-privileges":true}"#,
    );
    assert_eq!(config.defaults.shm_size, 128 << 20);
    let gateways = |file| from_file(file).defaults.host_gateway;
    assert_eq!(gateways(r#"{"host-gateway-ip":"6.7.8.9"}"#), ["6.7.8.9".parse::<IpAddr>().expect("address")]);
    assert_eq!(gateways(r#"{"host-gateway-ips":["6.7.8.9","fd00::1"]}"#).len(), 2);
    assert!(sentence(r#"{"host-gateway-ip":"router"}"#).contains("host gateway \"router\""));
    assert_eq!(config.defaults.ulimits[0].hard, 64);
    assert_eq!(config.subnets[0].subnet.to_string(), "172.30.0.0/16");
    let named = r#"{"bip":"10.9.0.5/16","fixed-cidr":"10.9.8.0/24","fixed-cidr-v6":"fd00:9::/64"}"#;
    let named = from_file(named).subnets;
    assert_eq!((named[0].gateway, named.len()), ("10.9.0.5".parse().ok(), 2));
    assert_eq!(named[0].range, "10.9.8.0/24".parse().ok());
    assert_eq!((named[1].gateway, named[1].range), ("fd00:9::1".parse().ok(), None));
    assert!(sentence(r#"{"bip":"10.9.0.1/16","fixed-cidr":"10.8.0.0/24"}"#).contains("not in the subnet 10.9.0.0/16"));
    assert!(sentence(r#"{"bip6":"10.9.0.1/16"}"#).contains("write an IPv6 network"));
    let named = from_file(r#"{"bip":"10.9.0.5/16","default-gateway":"10.9.1.1"}"#).subnets.remove(0);
    assert_eq!((named.way_out, named.gateway), ("10.9.1.1".parse().ok(), "10.9.0.5".parse().ok()));
    for file in [r#"{"default-gateway":"10.9.0.1"}"#, r#"{"bip":"10.9.0.1/16","default-gateway":"10.8.0.1"}"#] {
        assert!(sentence(file).contains("write an IPv4 address in the subnet that bip names"), "{file}");
    }
    assert!(
        sentence(r#"{"bip":"10.9.0.1/16","default-gateway-v6":"fd00::1"}"#).contains("in the subnet that bip6 names")
    );
    assert!(sentence(r#"{"ip":"::1"}"#).contains("write an IPv4 address"));
    let bridge = from_file(r#"{"mtu":1400,"icc":false,"ip-masq":true}"#).bridge_options;
    let bridge: Vec<_> = bridge.values().map(String::as_str).collect();
    assert_eq!(bridge, ["false", "true", "1400"]);
    assert!(sentence(r#"{"bridge":"none"}"#).contains("the default network is always there"));
    assert_eq!(from_file(r#"{"bridge":""}"#).bridge, None);
    assert!(sentence(r#"{"mtu":9}"#).contains("mtu 9: write a number between"));
    let pools = from_file(r#"{"default-address-pools":[{"base":"10.9.0.0/16","size":24}]}"#).address_pools;
    assert_eq!((pools.len(), pools[0].size), (1, 24));
    assert!(sentence(r#"{"default-address-pools":[{"base":"10.9.0.0/16","size":8}]}"#).contains("address pool"));
    for (file, word) in [
        (r#"{"live-restore":false}"#, "live-restore"),
        (r#"{"storage-driver":"btrfs"}"#, "storage-driver"),
        (r#"{"rootless":true}"#, "rootless"),
        (r#"{"authorization-plugins":["a"]}"#, "authorization-plugins"),
    ] {
        assert!(sentence(file).contains(&format!("key \"{word}\" of Docker's is not supported")), "{file}");
    }
}

#[test]
fn tcp_takes_mutual_tls_and_nothing_less() {
    assert!(sentence(r#"{"hosts":["tcp://0.0.0.0:2375"]}"#).contains("mutual TLS"));
    assert!(sentence(r#"{"hosts":["tcp://0.0.0.0:2375"],"tls":true}"#).contains("tlsverify"));
    assert!(sentence(r#"{"tlsverify":true,"tlscacert":"/a"}"#).contains("tlscert"));
    assert!(sentence(r#"{"hosts":["ssh://x"]}"#).contains("unix://"));
    let config =
        from_file(r#"{"hosts":["tcp://127.0.0.1"],"tlsverify":true,"tlscacert":"/a","tlscert":"/b","tlskey":"/c"}"#);
    assert_eq!(config.hosts, [Host::Tcp("127.0.0.1:2376".parse().expect("address"))]);
}

#[test]
fn dockers_socket_is_there_when_it_is_asked_for() {
    let config = from_file(r#"{"docker-socket":true,"group":"staff"}"#);
    let docker = Host::Unix("/var/run/docker.sock".into(), Group::Default("docker"));
    assert_eq!(config.hosts, [Host::Unix("/run/teu.sock".into(), Group::Named("staff".into())), docker]);
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let args = DaemonArgs { config_file: Some("/nowhere/daemon.json".into()), ..DaemonArgs::default() };
    assert!(load(&args, |_| None).expect_err("refused").to_string().contains("/nowhere/daemon.json"));
}

#[test]
fn debug_is_a_log_level_too() {
    let config = from_file(r#"{"log-level":"debug"}"#);
    assert!(config.live.debug && config.live.log_level == tracing::Level::DEBUG);
}

#[test]
fn proxies_are_named_by_flag_file_and_environment_each_for_itself() {
    let file = r#"{"proxies":{"http-proxy":"http://file:1","no-proxy":"file"}}"#;
    let environment = [("HTTP_PROXY", "http://env:1"), ("https_proxy", "http://env:2")];
    let flags = serde_json::json!({"proxies": {"no-proxy": "flag"}});
    let proxies = settled(&flags, &environment, file).expect("settled").live.registries.proxies;
    assert_eq!(
        (proxies.http.as_str(), proxies.https.as_str(), proxies.none.as_str()),
        ("http://file:1", "http://env:2", "flag")
    );
    assert!(sentence(r#"{"proxies":{"https-proxy":"socks5://x"}}"#).contains("proxy \"socks5://x\": write http://"));
    assert!(sentence(r#"{"proxies":7}"#).contains("key \"proxies\""));
}

#[test]
fn where_devices_are_described_can_be_said_and_turned_off() {
    let dirs = |file: &str| from_file(file).cdi_spec_dirs;
    assert_eq!(dirs(""), [Path::new("/etc/cdi"), Path::new("/var/run/cdi")]);
    assert_eq!(dirs(r#"{"cdi-spec-dirs":["/a",""],"features":{"cdi":true}}"#), [Path::new("/a")]);
    assert!(dirs(r#"{"features":{"cdi":false}}"#).is_empty() && dirs(r#"{"cdi-spec-dirs":[]}"#).is_empty());
    assert!(sentence(r#"{"features":{"time-travel":true}}"#).contains("no feature \"time-travel\""));
}

#[test]
fn how_much_moves_at_once_and_what_looks_after_the_others_can_be_said() {
    let config =
        from_file(r#"{"init":true,"max-concurrent-downloads":1,"max-concurrent-uploads":2,"max-download-attempts":9}"#);
    let registries = &config.live.registries;
    assert_eq!((registries.downloads, registries.uploads, registries.attempts), (1, 2, 9));
    assert!(config.defaults.init && !from_file("").defaults.init);
    assert!(sentence(r#"{"max-download-attempts":0}"#).contains("at least 1"));
    assert!(sentence(r#"{"max-concurrent-downloads":-1}"#).contains("max-concurrent-downloads"));
}
