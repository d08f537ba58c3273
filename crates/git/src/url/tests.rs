//! What is a repository's URL, what it says, and what it must not say.

use super::*;

#[track_caller]
fn read(text: &str) -> GitUrl {
    GitUrl::context(text).expect("a repository").expect("a good URL")
}

#[track_caller]
fn refused(text: &str) -> String {
    GitUrl::context(text).expect("a repository").expect_err("a bad URL").to_string()
}

#[test]
fn repositories_are_told_from_other_places() {
    for text in [
        "https://example.com/a/b.git",
        "http://127.0.0.1:8000/b.git#main",
        "https://example.com/b.git?ref=v1#x",
        "git://example.com/b",
        "ssh://git@example.com/b",
        "SSH://git@example.com/b",
        "git@github.com:a/b.git",
        "some_one@host.example:b#v1",
    ] {
        assert!(GitUrl::source(text).is_some(), "{text}");
    }
    for text in [
        "https://example.com/a.tar.gz",
        "https://example.com/a#b.git",
        "https://example.com/a?x=b.git",
        "https://example.git",
        "ftp://example.com/b.git",
        "file:///b.git",
        "ext::sh -c true",
        "folder",
        "./a.git",
        "dir@x/y:z",
        "a@b",
        "github.com/a/b",
    ] {
        assert!(GitUrl::source(text).is_none(), "{text}");
    }
    assert_eq!(read("github.com/a/b#v1").remote, "https://github.com/a/b");
}

#[test]
fn a_fragment_names_reference_and_folder() {
    let parts = |text: &str| {
        let url = read(&format!("https://example.com/b.git{text}"));
        (url.reference.unwrap_or_default(), url.subdir)
    };
    let pair = |reference: &str, subdir: &str| (reference.to_owned(), subdir.to_owned());
    assert_eq!(parts(""), pair("", ""));
    assert_eq!(parts("#"), pair("", ""));
    assert_eq!(parts("#main"), pair("main", ""));
    assert_eq!(parts("#feature/x:docs/./a/"), pair("feature/x", "docs/a"));
    assert_eq!(parts("#:/docs/../src"), pair("", "src"));
    assert_eq!(parts("#refs/tags/v1%2E0"), pair("refs/tags/v1.0", ""));
    assert_eq!(parts("?branch=main&subdir=a%2Fb"), pair("refs/heads/main", "a/b"));
    assert_eq!(parts("?tag=v1"), pair("refs/tags/v1", ""));
    assert_eq!(parts("?ref=v1&subdir=a#v1:a"), pair("v1", "a"));
    let upper = "A".repeat(40);
    assert_eq!(parts(&format!("#{upper}")), pair(&upper.to_lowercase(), ""));
}

#[test]
fn a_query_says_the_rest() {
    let url =
        read("https://example.com/b.git?commit=ABCDEF1&keep-git-dir&submodules=0&fetch-by-commit=1&mtime=checkout");
    assert_eq!(url.checksum.as_deref(), Some("abcdef1"));
    assert!(url.keep_git_dir && !url.submodules && url.fetch_by_commit);
    assert!(read("git@host:b.git?keep-git-dir=true").keep_git_dir);
    assert_eq!(read("git@host:b.git?keep-git-dir=true").remote, "git@host:b.git");
    let of = |query: &str| refused(&format!("https://example.com/b.git?{query}"));
    assert_eq!(of("ref=a&ref=b"), "query \"ref\" has multiple values");
    assert_eq!(of("tag=a&branch=b"), "branch conflicts with tag");
    assert_eq!(of("ref=a#b"), "ref conflicts: \"b\" vs \"a\"");
    assert_eq!(of("subdir=a#:b"), "subdir conflicts: \"b\" vs \"a\"");
    assert_eq!(of("ref="), "query \"ref\" has no value");
    assert_eq!(of("commit=xyz"), "invalid checksum xyz for Git URL, expected hex commit hash");
    assert_eq!(of("keep-git-dir=maybe"), "invalid keep-git-dir value: \"maybe\"");
    assert_eq!(of("other=1"), "unexpected query \"other\"");
    assert!(of("mtime=commit").contains("not supported"));
}

#[test]
fn nothing_in_a_url_can_be_an_option_or_lead_out() {
    for text in [
        "git://-oProxyCommand=x/b",
        "ssh://-oProxyCommand=x/b",
        "ssh://-x@host/b",
        "-x@host:b.git",
        "git@-host:b.git",
        "git@host:-b.git",
        "git@host:",
        "git://host",
        "git:///b",
        "https://example.com/a b.git",
        "https://example.com/b.git#--upload-pack=x",
        "https://example.com/b.git#+main",
        "https://example.com/b.git#a..b",
        "https://example.com/b.git?ref=a%3Ab",
        "https://example.com/b.git?ref=a%00b",
        "https://example.com/b.git#main:..",
        "https://example.com/b.git#main:a/../../b",
        "https://example.com/b.git?subdir=..%2Fx",
    ] {
        assert!(GitUrl::context(text).is_none_or(|url| url.is_err()), "{text}");
    }
}

#[test]
fn a_hosts_own_secret_comes_first() {
    let secret = |id: &str| {
        let text = match id {
            "GIT_AUTH_TOKEN" => "t\n",
            "GIT_AUTH_HEADER.h:8" => "Bearer b",
            "GIT_AUTH_TOKEN.i" => "u",
            _ => return None,
        };
        Some(text.as_bytes().to_vec())
    };
    let of = |text: &str| read(text).authorization(secret);
    let token = |text: &str| Some(format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}"))));
    assert_eq!(of("http://h:8/b.git").as_deref(), Some("Bearer b"));
    assert_eq!(of("http://h/b.git"), token("t"));
    assert_eq!(of("http://i/b.git"), token("u"));
    assert_eq!(of("git://i/b"), None);
}

#[test]
fn passwords_are_kept_apart() {
    let url = read("https://me:p%40ss@example.com:8443/b.git#main:a");
    assert_eq!(url.login.as_deref(), Some("me:p@ss"));
    assert_eq!(url.scope.as_deref(), Some("https://example.com:8443/"));
    assert_eq!(url.http_host(), Some("example.com:8443"));
    assert_eq!(url.to_string(), "https://example.com:8443/b.git#main:a");
    assert!(!format!("{url:?}").contains("p@ss"));
    assert_eq!(read("ssh://me:secret@host:22/b").remote, "ssh://me@host:22/b");
    assert_eq!(read("git://me:secret@host/b").remote, "git://host/b");
}
