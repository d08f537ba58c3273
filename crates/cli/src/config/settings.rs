//! What `config.json` sets besides credentials: formats, keys, headers, proxies, aliases, the context in use.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ConfigFile;

/// The proxy variables by their members of `config.json`, in the order of their names.
const PROXIES: [(&str, &str); 5] = [
    ("ALL_PROXY", "allProxy"),
    ("FTP_PROXY", "ftpProxy"),
    ("HTTPS_PROXY", "httpsProxy"),
    ("HTTP_PROXY", "httpProxy"),
    ("NO_PROXY", "noProxy"),
];

impl ConfigFile {
    /// A member that is a text, unless it is empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.content.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Texts by name in a member.
    fn texts(&self, name: &str) -> impl Iterator<Item = (&String, &str)> {
        let members = self.content.get(name).and_then(Value::as_object);
        members.into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_str()?)))
    }

    /// The user's format of a list, as `psFormat`.
    pub(crate) fn format(&self, member: &str) -> Option<&str> {
        self.text(member)
    }

    /// The keys that detach.
    pub(crate) fn detach_keys(&self) -> Option<&str> {
        self.text("detachKeys")
    }

    /// The context in use.
    pub(crate) fn current_context(&self) -> Option<&str> {
        self.text("currentContext")
    }

    /// Puts a context in use; `None` goes back to the default. Tells whether anything changed.
    pub(crate) fn use_context(&mut self, name: Option<&str>) -> bool {
        if self.current_context() == name {
            return false;
        }
        match name {
            Some(name) => self.content.insert("currentContext".into(), json!(name)),
            None => self.content.shift_remove("currentContext"),
        };
        true
    }

    /// Headers that go along with every request.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        self.texts("HttpHeaders").map(|(name, value)| (name.clone(), value.to_owned())).collect()
    }

    /// Filters that every prune has.
    pub(crate) fn prune_filters(&self) -> Vec<String> {
        self.list("pruneFilters")
    }

    fn list(&self, name: &str) -> Vec<String> {
        let list = self.content.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Further folders of programs that add commands.
    pub(crate) fn plugin_folders(&self) -> Vec<String> {
        self.list("cliPluginsExtraDirs")
    }

    /// What a word stands for that is no command.
    pub(crate) fn alias(&self, word: &str) -> Option<&str> {
        self.texts("aliases").find_map(|(name, words)| (name == word).then_some(words))
    }

    /// The proxy variables of containers and builds at a daemon, in both spellings.
    pub(crate) fn proxies(&self, host: &str) -> BTreeMap<String, String> {
        let all = self.content.get("proxies").and_then(Value::as_object);
        let found = all.and_then(|all| all.get(host).or_else(|| all.get("default"))).and_then(Value::as_object);
        let value = |member: &str, found: &Map<String, Value>| {
            found.get(member).and_then(Value::as_str).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let mut variables = BTreeMap::new();
        for (name, member) in PROXIES {
            if let Some(value) = found.and_then(|found| value(member, found)) {
                variables.insert(name.to_ascii_lowercase(), value.clone());
                variables.insert(name.to_owned(), value);
            }
        }
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed;

    #[test]
    fn settings_are_found() {
        let mut file = parsed(
            r#"{"psFormat":"{{.ID}}","detachKeys":"","currentContext":"far","HttpHeaders":{"X-A":"b"},
                "aliases":{"c":"container ls"},"pruneFilters":["label=a"],
                "proxies":{"default":{"httpProxy":"http://p","noProxy":""},"tcp://a":{"httpsProxy":"http://q"}}}"#,
        );
        assert_eq!(file.format("psFormat"), Some("{{.ID}}"));
        assert_eq!(file.detach_keys(), None);
        assert_eq!(file.headers(), [("X-A".to_owned(), "b".to_owned())]);
        assert_eq!((file.alias("c"), file.alias("d")), (Some("container ls"), None));
        assert_eq!(file.prune_filters(), ["label=a"]);
        let shown = |host| file.proxies(host).into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
        assert_eq!(shown("unix:///x"), ["HTTP_PROXY=http://p", "http_proxy=http://p"]);
        assert_eq!(shown("tcp://a"), ["HTTPS_PROXY=http://q", "https_proxy=http://q"]);
        assert!(file.use_context(None) && !file.use_context(None));
        assert_eq!(file.current_context(), None);
    }
}
