//! For which machine an image is: Go's names for operating systems and architectures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and architecture, for example `linux/arm64/v8`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v8`, … where the architecture has variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system's version, which only Windows images carry.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.into(), os: "linux".into(), variant: None, os_version: None }
    }

    /// Whether an image for `self` runs on a machine that asks for `wanted`; a variant counts only if both name one.
    #[must_use]
    pub fn serves(&self, wanted: &Self) -> bool {
        let (have, want) = (self.names(), wanted.names());
        have.0 == want.0
            && have.1 == want.1
            && match (&have.2, &want.2) {
                (Some(have), Some(want)) => have == want,
                _ => true,
            }
    }

    /// Operating system, architecture and variant by their usual names.
    fn names(&self) -> (String, String, Option<String>) {
        let (architecture, variant) = usual(&self.architecture, self.variant.as_deref().unwrap_or_default());
        (self.os.to_ascii_lowercase(), architecture, variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = String;

    /// Reads `os/architecture[/variant]`, or an operating system or an architecture alone, as containerd does.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(4, '/').collect();
        let sound = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        let (os, os_version) = system(parts[0])
            .ok_or_else(|| format!("{:?} is an invalid OS component of {text:?}: want os[(version)]", parts[0]))?;
        if let Some(wrong) = parts[1..].iter().find(|part| !sound(part)) {
            return Err(format!("{wrong:?} is an invalid component of {text:?}: want os/architecture[/variant]"));
        }
        let (os, (architecture, variant)) = match parts[1..] {
            [] if SYSTEMS.contains(&os.as_str()) => (os, (Self::host().architecture, None)),
            [] => ("linux".into(), usual(parts[0], "")),
            [architecture] => (os, usual(architecture, "")),
            [architecture, variant] => (os, usual(architecture, variant)),
            _ => return Err(format!("{text:?}: cannot parse platform specifier: want os/architecture[/variant]")),
        };
        if parts.len() == 1 && !ARCHITECTURES.contains(&architecture.as_str()) {
            return Err(format!("{text:?}: unknown operating system or architecture"));
        }
        Ok(Self { architecture, os, variant, os_version })
    }
}

/// Go's names of operating systems.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// Go's names of architectures.
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// `linux`, or `windows(10.0.17763)`: the operating system's usual name, and its version.
fn system(text: &str) -> Option<(String, Option<String>)> {
    let (name, version) = match text.strip_suffix(')').map(|text| text.split_once('(')) {
        Some(parts) => parts.map(|(name, version)| (name, Some(version)))?,
        None => (text, None),
    };
    let word = |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    if name.is_empty() || !word(name, b"_-") || !word(version.unwrap_or_default(), b"_.-") {
        return None;
    }
    let name = match name.to_ascii_lowercase().as_str() {
        "macos" => "darwin".into(),
        other => other.to_owned(),
    };
    Some((name, version.filter(|version| !version.is_empty()).map(Into::into)))
}

/// An architecture and its variant by their usual names; the variant that goes without saying is none.
fn usual(architecture: &str, variant: &str) -> (String, Option<String>) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8.0") => ("arm64", "v8"),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), (!variant.is_empty()).then(|| variant.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        text.parse::<Platform>().map(|platform| platform.to_string())
    }

    #[test]
    fn a_system_or_an_architecture_alone_is_a_platform() {
        let host = Platform::host().architecture;
        assert_eq!(parsed("LINUX"), Ok(format!("linux/{host}")));
        assert_eq!(parsed("aarch64"), Ok("linux/arm64".into()));
        assert_eq!(parsed("armhf"), Ok("linux/arm/v7".into()));
        assert_eq!(parsed("macos/x86_64"), Ok("darwin/amd64".into()));
        assert_eq!(parsed("linux/arm64/v8"), Ok("linux/arm64/v8".into()));
        assert_eq!("windows(10.0.1)/amd64".parse::<Platform>().unwrap().os_version.as_deref(), Some("10.0.1"));
    }

    #[test]
    fn what_is_no_platform_is_told_apart() {
        for wrong in ["", "/", "   ", "linux(", "linux()x/amd64"] {
            assert!(parsed(wrong).unwrap_err().contains("is an invalid OS component"), "{wrong}");
        }
        assert!(parsed("linux/").unwrap_err().contains("is an invalid component"));
        assert!(parsed("foobar").unwrap_err().contains("unknown operating system or architecture"));
        assert!(parsed("a/b/c/d").is_err());
    }

    #[test]
    fn an_image_serves_by_whichever_name_its_architecture_has() {
        let odd = Platform { architecture: "x86_64".into(), ..Platform::host() };
        let amd64 = Platform { architecture: "amd64".into(), ..Platform::host() };
        assert!(odd.serves(&amd64) && amd64.serves(&odd));
        let v8 = "linux/arm64/v8".parse::<Platform>().unwrap();
        assert!("linux/arm64".parse::<Platform>().unwrap().serves(&v8));
        assert!(!"linux/arm/v6".parse::<Platform>().unwrap().serves(&"linux/arm/v7".parse().unwrap()));
    }
}
