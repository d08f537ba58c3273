//! One specification file: what it says, and whether that is sound. As the specification has it, versions 0.1 to 1.1.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The versions there are; one that is not among them is refused.
const VERSIONS: &[(u32, u32)] = &[(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (1, 0), (1, 1)];

/// The devices of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    cdi_version: String,
    /// `vendor.com/class`.
    pub(super) kind: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    /// What goes with any of the devices.
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// One device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: Edits,
}

/// What is done to a container that gets the device.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Edits {
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    pub(super) net_devices: Vec<NetDevice>,
    pub(super) hooks: Vec<Hook>,
    pub(super) mounts: Vec<Mount>,
    pub(super) intel_rdt: Option<Value>,
    pub(super) additional_gids: Vec<Number>,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Node {
    pub(super) path: String,
    pub(super) host_path: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) major: Number,
    pub(super) minor: Number,
    pub(super) file_mode: Option<Number>,
    pub(super) permissions: String,
    pub(super) uid: Option<Number>,
    pub(super) gid: Option<Number>,
}

/// A network interface of the host's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct NetDevice {
    pub(super) host_interface_name: String,
    pub(super) name: String,
}

/// A program of the host's that is run for the container.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Hook {
    pub(super) hook_name: String,
    pub(super) path: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<Number>,
}

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// A number, in JSON's form or in YAML's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(i64);

impl Number {
    /// The number as that type, if it fits.
    pub(super) fn get<T: TryFrom<i64>>(self) -> Result<T, String> {
        T::try_from(self.0).map_err(|_| format!("the number {} is out of range", self.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => number(text),
            _ => None,
        };
        number.map(Number).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a number")))
    }
}

/// Decimal, `0x1f`, `0o17` or `017`.
fn number(text: &str) -> Option<i64> {
    let (digits, radix) = match text.strip_prefix('0') {
        Some(rest) if rest.starts_with('x') => (&rest[1..], 16),
        Some(rest) if rest.starts_with('o') => (&rest[1..], 8),
        Some(rest) if !rest.is_empty() => (rest, 8),
        _ => (text, 10),
    };
    i64::from_str_radix(digits, radix).ok()
}

/// Reads a file by its name's ending: JSON or YAML.
pub(super) fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let json = path.extension().is_some_and(|extension| extension == "json");
    parse(&text, json)
}

fn parse(text: &str, json: bool) -> Result<File, String> {
    let value =
        if json { serde_json::from_str(text).map_err(|error| error.to_string())? } else { super::yaml::parse(text)? };
    let file: File = serde_json::from_value(without_nulls(value)).map_err(|error| error.to_string())?;
    file.check()?;
    Ok(file)
}

/// A null is a field that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

impl File {
    fn check(&self) -> Result<(), String> {
        let wrong = || format!("invalid version \"{}\"", self.cdi_version);
        let mut numbers = self.cdi_version.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().ok());
        let (Some(Some(major)), Some(Some(minor)), Some(Some(0)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(wrong());
        };
        if !VERSIONS.contains(&(major, minor)) {
            return Err(wrong());
        }
        let least = self.least_version();
        if (major, minor) < least {
            return Err(format!("the spec version must be at least v{}.{}.0", least.0, least.1));
        }
        let (vendor, class) = self.kind.split_once('/').unwrap_or(("", &self.kind));
        check_word(vendor).map_err(|why| format!("invalid vendor. {why}"))?;
        check_word(class).map_err(|why| format!("invalid class. {why}"))?;
        self.container_edits.check()?;
        for (index, device) in self.devices.iter().enumerate() {
            let fail = |why: String| format!("add device \"{}\": {why}", device.name);
            check_name(&device.name).map_err(fail)?;
            if device.container_edits == Edits::default() {
                return Err(fail("invalid device, empty device edits".into()));
            }
            device.container_edits.check().map_err(fail)?;
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                return Err(format!("invalid spec, multiple device \"{}\"", device.name));
            }
        }
        if self.devices.is_empty() { Err("invalid spec, no devices".into()) } else { Ok(()) }
    }

    /// The first version that has all that the file uses.
    fn least_version(&self) -> (u32, u32) {
        let edits = || self.devices.iter().map(|device| &device.container_edits).chain([&self.container_edits]);
        let starts_with_digit = |device: &Device| device.name.starts_with(|char: char| char.is_ascii_digit());
        let annotated = !self.annotations.is_empty() || self.devices.iter().any(|one| !one.annotations.is_empty());
        let dotted = self.kind.split_once('/').is_some_and(|(_, class)| class.contains('.'));
        let newer = |rdt: &Value| rdt.get("schemata").is_some() || rdt.get("enableMonitoring").is_some();
        let uses = [
            ((0, 4), edits().any(|edits| edits.mounts.iter().any(|mount| !mount.kind.is_empty()))),
            ((0, 5), self.devices.iter().any(starts_with_digit)),
            ((0, 5), edits().any(|edits| edits.device_nodes.iter().any(|node| !node.host_path.is_empty()))),
            ((0, 6), annotated || dotted),
            ((0, 7), edits().any(|edits| edits.intel_rdt.is_some() || !edits.additional_gids.is_empty())),
            ((1, 1), edits().any(|edits| !edits.net_devices.is_empty())),
            ((1, 1), edits().any(|edits| edits.intel_rdt.as_ref().is_some_and(newer))),
        ];
        uses.into_iter().filter(|(_, used)| *used).map(|(version, _)| version).fold((0, 3), Ord::max)
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        check_env(&self.env).map_err(|why| format!("invalid container edits: {why}"))?;
        for node in &self.device_nodes {
            let Node { path, kind, permissions, .. } = node;
            if path.is_empty() {
                return Err("invalid (empty) device path".into());
            }
            if !matches!(kind.as_str(), "" | "b" | "c" | "u" | "p") {
                return Err(format!("device \"{path}\": invalid type \"{kind}\""));
            }
            if !permissions.bytes().all(|byte| b"rwm".contains(&byte)) {
                return Err(format!("device \"{path}\": invalid permissions \"{permissions}\""));
            }
        }
        for Hook { hook_name, path, env, .. } in &self.hooks {
            if super::edits::hooks_of(&mut teu_oci::runtime::Hooks::default(), hook_name).is_none() {
                return Err(format!("invalid hook name \"{hook_name}\""));
            }
            if path.is_empty() {
                return Err(format!("invalid hook \"{hook_name}\" with empty path"));
            }
            check_env(env).map_err(|why| format!("invalid hook \"{hook_name}\": {why}"))?;
        }
        if self.mounts.iter().any(|mount| mount.host_path.is_empty()) {
            return Err("invalid mount, empty host path".into());
        }
        if self.mounts.iter().any(|mount| mount.container_path.is_empty()) {
            return Err("invalid mount, empty container path".into());
        }
        for (index, device) in self.net_devices.iter().enumerate() {
            let NetDevice { host_interface_name: outside, name } = device;
            if outside.is_empty() || name.is_empty() {
                return Err("invalid linux net device, empty name".into());
            }
            let same = |other: &NetDevice| other.host_interface_name == *outside || other.name == *name;
            if self.net_devices[..index].iter().any(same) {
                return Err(format!("invalid linux net device, duplicate of \"{outside}\" or \"{name}\""));
            }
        }
        Ok(())
    }
}

fn check_env(env: &[String]) -> Result<(), String> {
    let wrong = env.iter().find(|entry| entry.split_once('=').is_none_or(|(name, _)| name.is_empty()));
    wrong.map_or(Ok(()), |entry| Err(format!("invalid environment variable \"{entry}\"")))
}

/// A vendor or a class: letters, digits and `_-.`, a letter first and no sign last.
fn check_word(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("empty name".into());
    }
    if !text.starts_with(|char: char| char.is_ascii_alphabetic()) {
        return Err(format!("\"{text}\", should start with letter"));
    }
    check_signs(text, "_-.")
}

fn check_name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("invalid (empty) device name".into());
    }
    if !text.starts_with(|char: char| char.is_ascii_alphanumeric()) {
        return Err(format!("invalid name \"{text}\", should start with a letter or digit"));
    }
    check_signs(text, "_-.:")
}

fn check_signs(text: &str, signs: &str) -> Result<(), String> {
    if let Some(wrong) = text.chars().find(|char| !char.is_ascii_alphanumeric() && !signs.contains(*char)) {
        return Err(format!("invalid character '{wrong}' in name \"{text}\""));
    }
    if text.ends_with(|char: char| char.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(format!("\"{text}\", should end with a letter or digit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "\nkind: vendor.com/net.x\ndevices:\n- name: 0\n  containerEdits:\n    deviceNodes:\n    - path: /dev/x\n      fileMode: 0660\n      major: 0x1f\n      uid:\n";

    #[test]
    fn a_file_is_read_in_either_form() {
        let file = parse(&format!("cdiVersion: 0.6.0{DEVICE}"), false).unwrap();
        let node = &file.devices[0].container_edits.device_nodes[0];
        assert_eq!((file.devices[0].name.as_str(), node.path.as_str()), ("0", "/dev/x"));
        assert_eq!((node.file_mode, node.major, node.uid), (Some(Number(0o660)), Number(31), None));
        let json = r#"{"cdiVersion":"0.3.0","kind":"a.b/c","devices":[{"name":"d","containerEdits":{"env":["A=1"]}}]}"#;
        assert_eq!(parse(json, true).unwrap().devices[0].container_edits.env, ["A=1"]);
    }

    #[test]
    fn what_is_unsound_is_refused_with_its_reason() {
        let with = |edits: &str| {
            let text = format!("cdiVersion: 1.1.0\nkind: a.b/c\ndevices:\n- name: d\n  containerEdits: {edits}\n");
            parse(&text, false).unwrap_err()
        };
        for (edits, why) in [
            ("{}", "empty device edits"),
            ("{env: [A]}", "invalid environment variable \"A\""),
            ("{deviceNodes: [{path: /dev/x, type: z}]}", "invalid type \"z\""),
            ("{deviceNodes: [{path: /dev/x, permissions: x}]}", "invalid permissions"),
            ("{hooks: [{hookName: sometimes, path: /x}]}", "invalid hook name \"sometimes\""),
            ("{mounts: [{hostPath: /x}]}", "empty container path"),
            ("{colour: red}", "unknown field `colour`"),
        ] {
            assert!(with(edits).contains(why), "{edits}: {}", with(edits));
        }
        assert!(parse(&format!("cdiVersion: 0.3.0{DEVICE}"), false).unwrap_err().contains("at least v0.6.0"));
        assert!(parse(&format!("cdiVersion: 9.0.0{DEVICE}"), false).unwrap_err().contains("invalid version"));
        assert!(parse("cdiVersion: 1.0.0\nkind: a.b/c\ndevices: []\n", false).unwrap_err().contains("no devices"));
        assert!(parse("cdiVersion: 1.0.0\nkind: c\ndevices: []\n", false).unwrap_err().contains("invalid vendor"));
    }
}
