//! Build arguments: what the user gave, what the Dockerfile declares before its first FROM, and what is always there.

use std::collections::{BTreeMap, BTreeSet};

use teu_oci::Platform;

use super::{Base, PlanError};
use crate::dockerfile::expand;
use crate::dockerfile::instruction::Arg;

/// Arguments every RUN may use undeclared; they are kept out of history and cache keys.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// What the caller decides about a build's plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The stage to stop at, by name or number.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The platform to build for; this machine's when absent.
    pub platform: Option<Platform>,
    /// What the request has for names of stages and images.
    pub contexts: BTreeMap<String, Base>,
}

/// The arguments in force before any stage begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The escape character.
    pub escape: char,
    given: BTreeMap<String, String>,
    automatic: BTreeMap<String, String>,
    globals: BTreeMap<String, String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self { escape: '\\', given: BTreeMap::new(), automatic: BTreeMap::new(), globals: BTreeMap::new() }
    }
}

impl Scope {
    /// From what the user gave and what stands before the first FROM.
    ///
    /// # Errors
    /// When a default cannot be expanded.
    pub fn new(inputs: &Inputs, declared: &[Arg], escape: char) -> Result<Self, PlanError> {
        let mut scope = Self { escape, given: inputs.build_args.clone(), ..Self::default() };
        let host = Platform::host();
        scope.automatic.extend(platform_args("BUILD", &host));
        scope.automatic.extend(platform_args("TARGET", inputs.platform.as_ref().unwrap_or(&host)));
        for arg in declared {
            let default = match &arg.default {
                Some(text) => Some(scope.expand_global(text)?),
                None => None,
            };
            if let Some(value) = scope.given.get(&arg.name).cloned().or(default) {
                scope.globals.insert(arg.name.clone(), value);
            }
        }
        Ok(scope)
    }

    /// Expands a text of a FROM line or a global ARG.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn expand_global(&self, text: &str) -> Result<String, PlanError> {
        let lookup = |name: &str| self.globals.get(name).or_else(|| self.automatic(name)).cloned();
        expand::word(text, self.escape, &lookup).map_err(|error| PlanError::new(error.to_string()))
    }

    /// The value of an argument that a stage declares: given, by default, from before the first FROM, or automatic.
    #[must_use]
    pub fn declared(&self, name: &str, default: Option<String>) -> Option<String> {
        let inherited = || self.globals.get(name).or_else(|| self.automatic.get(name)).cloned();
        self.given.get(name).cloned().or(default).or_else(inherited)
    }

    fn automatic(&self, name: &str) -> Option<&String> {
        self.automatic.get(name).map(|value| self.given.get(name).unwrap_or(value))
    }

    /// The proxy settings the user gave.
    #[must_use]
    pub fn proxies(&self) -> Vec<(String, String)> {
        let given = self.given.iter().filter(|(name, _)| is_proxy(name));
        given.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The arguments given that nothing in `declared` asks for, proxies and automatic ones aside.
    #[must_use]
    pub fn unused<'a>(&'a self, declared: &BTreeSet<&str>) -> Vec<&'a str> {
        let names = self.given.keys().map(String::as_str);
        let known = |name: &str| {
            declared.contains(name)
                || is_proxy(name)
                || self.automatic.contains_key(name)
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
        };
        names.filter(|name| !known(name)).collect()
    }
}

/// Whether an argument is one of the proxy settings, in either case.
#[must_use]
pub fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name) || PROXIES.iter().any(|proxy| proxy.to_ascii_uppercase() == name)
}

fn platform_args(prefix: &str, platform: &Platform) -> [(String, String); 4] {
    [
        (format!("{prefix}PLATFORM"), platform.to_string()),
        (format!("{prefix}OS"), platform.os.clone()),
        (format!("{prefix}ARCH"), platform.architecture.clone()),
        (format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default()),
    ]
}
