//! The URLs by which repositories are named, and what else stands in them.
//!
//! ```text
//! https://host/path.git#<ref>:<subdir>          the fragment
//! https://host/path.git?branch=<name>&subdir=…  the query; both may be there as long as they agree
//! git://host/path   ssh://user@host/path   user@host:path   github.com/user/repository (a context only)
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A repository, and what is wanted of it.
#[derive(Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// What git is given, without name and password where [`GitUrl::login`] has them.
    pub(crate) remote: String,
    /// `user:password` or `user`, of HTTP and HTTPS.
    pub(crate) login: Option<String>,
    /// Scheme, host and port of HTTP and HTTPS, with a slash at the end: where the login is for.
    pub(crate) scope: Option<String>,
    /// A branch, a tag, a full name below `refs/`, or a commit; the default branch when absent.
    pub reference: Option<String>,
    /// How the commit's id begins, in lower case.
    pub checksum: Option<String>,
    /// The folder that is wanted, relative and clean; empty is the whole.
    pub subdir: String,
    /// Whether `.git` stays; nothing said is no.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// The commit is fetched by its id, and the reference is a mere name.
    pub fetch_by_commit: bool,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UrlError {}

/// What a reading comes to: nothing where it is no repository's URL.
type Reading = Option<Result<GitUrl, UrlError>>;

impl GitUrl {
    /// Reads the URL of a build context, where `github.com/…` needs no scheme.
    #[must_use]
    pub fn context(text: &str) -> Reading {
        match text.strip_prefix("github.com/") {
            Some(_) => Some(by_scheme("https", &format!("https://{text}"))),
            None => Self::source(text),
        }
    }

    /// Reads a source of ADD: HTTP and HTTPS count when the path ends with `.git`.
    #[must_use]
    pub fn source(text: &str) -> Reading {
        let Some((scheme, rest)) = text.split_once("://") else {
            return is_scp(text).then(|| by_ssh(text));
        };
        let scheme = scheme.to_ascii_lowercase();
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        match scheme.as_str() {
            "http" | "https" if path.ends_with(".git") && path.contains('/') => Some(by_scheme(&scheme, text)),
            "git" | "ssh" => Some(by_scheme(&scheme, text)),
            _ => None,
        }
    }

    /// The repository's URL without password.
    #[must_use]
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// The host with its port, if HTTP or HTTPS leads there.
    #[must_use]
    pub fn http_host(&self) -> Option<&str> {
        self.scope.as_deref()?.split_once("://").map(|(_, host)| host.trim_end_matches('/'))
    }

    /// The secrets that [`GitUrl::authorization`] looks for.
    #[must_use]
    pub fn secret_ids(&self) -> Vec<String> {
        let of = |end: &str| ["HEADER", "TOKEN"].map(|kind| format!("GIT_AUTH_{kind}{end}"));
        self.http_host().map(|host| [of(&format!(".{host}")), of("")].concat()).unwrap_or_default()
    }

    /// What an Authorization header for its host says, by the secrets that BuildKit knows for it: `GIT_AUTH_HEADER`, else
    /// `GIT_AUTH_TOKEN`, those of the host alone first.
    #[must_use]
    pub fn authorization(&self, secret: impl Fn(&str) -> Option<Vec<u8>>) -> Option<String> {
        let text = |id: String| secret(&id).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        let token = |text: String| format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}")));
        let of = |end: &str| {
            let header = text(format!("GIT_AUTH_HEADER{end}"));
            header.or_else(|| text(format!("GIT_AUTH_TOKEN{end}")).map(token))
        };
        self.http_host().and_then(|host| of(&format!(".{host}")).or_else(|| of("")))
    }

    /// What the reference says is a commit's whole id.
    pub(crate) fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|text| is_commit(text))
    }
}

/// Without password, as messages and histories show it.
impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.remote)?;
        match (&self.reference, self.subdir.as_str()) {
            (None, "") => Ok(()),
            (reference, "") => write!(f, "#{}", reference.as_deref().unwrap_or_default()),
            (reference, subdir) => write!(f, "#{}:{subdir}", reference.as_deref().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitUrl")
            .field("url", &self.to_string())
            .field("checksum", &self.checksum)
            .finish_non_exhaustive()
    }
}

/// A commit's whole id: SHA-1 or SHA-256.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let of = |text: &str, more: char| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == more)
    };
    of(user, '_') && of(host, '.')
}

fn by_ssh(text: &str) -> Result<GitUrl, UrlError> {
    let (place, query, fragment) = cut(text);
    let (user, rest) = place.split_once('@').unwrap_or_default();
    let (host, path) = rest.split_once(':').unwrap_or_default();
    checked(&[user, host, path])?;
    furnished(GitUrl::bare(place.to_owned()), query, fragment)
}

fn by_scheme(scheme: &str, text: &str) -> Result<GitUrl, UrlError> {
    let (place, query, fragment) = cut(text);
    let (_, rest) = place.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    checked(&[login.unwrap_or("user"), host, path])?;
    let url = match (scheme, login) {
        ("http" | "https", login) => GitUrl {
            login: login.map(decoded).filter(|login| !login.is_empty()),
            scope: Some(format!("{scheme}://{host}/")),
            ..GitUrl::bare(format!("{scheme}://{host}/{path}"))
        },
        // SSH takes no password from a URL, and git's own protocol knows no users.
        ("ssh", Some(login)) => {
            let user = login.split(':').next().unwrap_or_default();
            GitUrl::bare(format!("ssh://{user}@{host}/{path}"))
        }
        _ => GitUrl::bare(format!("{scheme}://{host}/{path}")),
    };
    furnished(url, query, fragment)
}

/// Place, query and fragment.
fn cut(text: &str) -> (&str, &str, &str) {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    (place, query, fragment)
}

/// Nothing of a place is empty, could be an option, or breaks a line.
fn checked(parts: &[&str]) -> Result<(), UrlError> {
    let bad =
        |part: &&&str| part.is_empty() || part.starts_with('-') || part.chars().any(|c| c.is_control() || c == ' ');
    match parts.iter().find(bad) {
        Some(_) => Err(UrlError("invalid URL of a git repository: it takes a host and a path".into())),
        None => Ok(()),
    }
}

impl GitUrl {
    fn bare(remote: String) -> Self {
        Self {
            remote,
            login: None,
            scope: None,
            reference: None,
            checksum: None,
            subdir: String::new(),
            keep_git_dir: false,
            submodules: true,
            fetch_by_commit: false,
        }
    }
}

/// The URL with what fragment and query say.
fn furnished(mut url: GitUrl, query: &str, fragment: &str) -> Result<GitUrl, UrlError> {
    let fragment = decoded(fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut reference = Some(reference.to_owned()).filter(|text| !text.is_empty());
    let mut subdir = Some(clean(subdir)?).filter(|text| !text.is_empty());
    let mut named: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(&value.replace('+', " ")));
        if named.contains(&name) {
            return Err(UrlError(format!("query {name:?} has multiple values")));
        }
        let switch = || flag(&name, &value);
        match name.as_str() {
            "submodules" => url.submodules = switch()?,
            "keep-git-dir" => url.keep_git_dir = switch()?,
            "fetch-by-commit" => url.fetch_by_commit = switch()?,
            _ if value.is_empty() => return Err(UrlError(format!("query {name:?} has no value"))),
            "ref" => agree("ref", &mut reference, value)?,
            "branch" | "tag" if named.iter().any(|name| name == "branch" || name == "tag") => {
                return Err(UrlError("branch conflicts with tag".into()));
            }
            "branch" => agree("ref", &mut reference, below("refs/heads/", value))?,
            "tag" => agree("ref", &mut reference, below("refs/tags/", value))?,
            "subdir" => agree("subdir", &mut subdir, clean(&value)?)?,
            "commit" | "checksum" => agree("checksum", &mut url.checksum, hexadecimal(&value)?)?,
            "mtime" if value == "checkout" => {}
            "mtime" => return Err(UrlError(format!("mtime value {value:?} is not supported: only \"checkout\""))),
            _ => return Err(UrlError(format!("unexpected query {name:?}"))),
        }
        named.push(name);
    }
    url.reference = reference.map(name_of).transpose()?;
    url.subdir = subdir.unwrap_or_default();
    Ok(url)
}

/// Sets what is not set, or holds it against what is.
fn agree(what: &str, have: &mut Option<String>, value: String) -> Result<(), UrlError> {
    match have {
        Some(have) if *have != value => Err(UrlError(format!("{what} conflicts: {have:?} vs {value:?}"))),
        _ => {
            *have = Some(value);
            Ok(())
        }
    }
}

fn below(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

fn flag(name: &str, value: &str) -> Result<bool, UrlError> {
    match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(UrlError(format!("invalid {name} value: {value:?}"))),
    }
}

/// A commit's id, or its beginning.
pub(crate) fn hexadecimal(text: &str) -> Result<String, UrlError> {
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(UrlError(format!("invalid checksum {text} for Git URL, expected hex commit hash"))),
    }
}

/// A name that git could give to a reference (git-check-ref-format(1)), so none with a meaning of its own.
fn name_of(text: String) -> Result<String, UrlError> {
    if is_commit(&text) {
        return Ok(text.to_ascii_lowercase());
    }
    let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad = text.starts_with(['-', '/', '+']) || text.contains("..") || text.contains("@{") || text.chars().any(odd);
    match bad || text.ends_with(['/', '.']) || text.ends_with(".lock") {
        true => Err(UrlError(format!("invalid ref {text:?} for Git URL"))),
        false => Ok(text),
    }
}

/// A path relative and clean; one that climbs out is none.
fn clean(path: &str) -> Result<String, UrlError> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.pop().is_none() => {
                return Err(UrlError(format!("the folder {path:?} is outside of the git repository")));
            }
            ".." => {}
            part if part.contains('\0') => return Err(UrlError(format!("invalid folder {path:?} for Git URL"))),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// RFC 3986 section 2.1; what is no such code stays.
fn decoded(text: &str) -> String {
    let (bytes, mut out) = (text.as_bytes(), Vec::with_capacity(text.len()));
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
