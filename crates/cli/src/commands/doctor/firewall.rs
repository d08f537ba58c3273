//! The firewall: would it let the packets of containers through?

use serde_json::Value;

use super::{Finding, output, text};

const AREA: &str = "Firewall and forwarding";

pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![forwarding(&text("/proc/sys/net/ipv4/ip_forward"))];
    let root = rustix::process::geteuid().is_root();
    let chains = output("nft", &["-j", "list", "chains"]);
    let legacy = output("iptables-legacy", &["-S", "FORWARD"]);
    let found = chains.as_deref().map(dropping_chains).unwrap_or_default();
    let old = legacy.as_deref().is_some_and(drops);
    findings.push(match (&chains, found.first()) {
        (_, Some(chain)) => dropping(chain),
        _ if old => dropping("FORWARD of iptables (legacy)"),
        (Some(_), None) => Finding::good(AREA, "no firewall drops forwarded packets by its policy"),
        (None, None) if !root => {
            Finding::warning(AREA, "only root may read the firewall's rules").mend("sudo teu doctor")
        }
        (None, None) => {
            Finding::warning(AREA, "the rules cannot be read: the program nft is missing").mend("apt install nftables")
        }
    });
    findings
}

fn forwarding(setting: &str) -> Finding {
    match setting.trim() {
        "1" => Finding::good(AREA, "IPv4 is forwarded"),
        // The daemon switches it on when its first network needs it.
        _ => Finding::warning(AREA, "IPv4 is not forwarded yet; the daemon switches it on")
            .mend("sysctl -w net.ipv4.ip_forward=1"),
    }
}

/// Chains at the forward hook whose policy is to drop, of the families that containers' packets are in.
fn dropping_chains(json: &str) -> Vec<String> {
    let parsed: Value = serde_json::from_str(json).unwrap_or_default();
    let chains = parsed["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("chain"));
    let drops = |chain: &&Value| {
        chain["hook"] == "forward"
            && chain["policy"] == "drop"
            && ["ip", "inet"].iter().any(|family| chain["family"] == *family)
    };
    let name = |chain: &Value| {
        let part = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", part("family"), part("table"), part("name"))
    };
    chains.filter(drops).map(name).collect()
}

/// Whether `iptables -S FORWARD` says that what no rule accepts is dropped.
fn drops(rules: &str) -> bool {
    rules.lines().any(|line| line.trim() == "-P FORWARD DROP")
}

fn dropping(chain: &str) -> Finding {
    let mend = match chain.split(' ').collect::<Vec<_>>()[..] {
        ["ip", "filter", "FORWARD"] => {
            "iptables -I FORWARD -i teu+ -j ACCEPT && iptables -I FORWARD -o teu+ -j ACCEPT".to_owned()
        }
        [family @ ("ip" | "inet"), table, name] => {
            format!(
                "nft insert rule {family} {table} {name} iifname 'teu*' accept && nft insert rule {family} {table} {name} oifname 'teu*' accept"
            )
        }
        _ => "iptables-legacy -I FORWARD -i teu+ -j ACCEPT && iptables-legacy -I FORWARD -o teu+ -j ACCEPT".to_owned(),
    };
    Finding::warning(
        AREA,
        format!("the chain '{chain}' drops what no rule of it accepts, and so may stop the packets of containers"),
    )
    .mend(mend)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_policy_that_drops_is_found() {
        let chain = |family, policy| {
            format!(
                r#"{{"nftables":[{{"metainfo":{{}}}},{{"chain":{{"family":"{family}","table":"filter","name":"FORWARD",
                    "hook":"forward","policy":"{policy}"}}}},{{"chain":{{"family":"ip","table":"x","name":"y"}}}}]}}"#
            )
        };
        assert_eq!(dropping_chains(&chain("ip", "drop")), ["ip filter FORWARD"]);
        assert_eq!(dropping_chains(&chain("ip", "accept")), [""; 0]);
        assert_eq!(dropping_chains(&chain("arp", "drop")), [""; 0]);
        assert!(dropping("ip filter FORWARD").mend.unwrap().contains("iptables -I FORWARD"));
        assert!(dropping("inet fw forward").mend.unwrap().contains("nft insert rule inet fw forward"));
        assert!(drops("-P FORWARD DROP\n-A FORWARD -j X\n") && !drops("-P FORWARD ACCEPT\n"));
    }

    #[test]
    fn forwarding_is_looked_at() {
        assert_eq!((forwarding("1\n").state, forwarding("0\n").state), (State::Good, State::Warning));
    }
}
