//! The name under which a step's result is remembered: a digest over everything that decides the result.
//!
//! The parent is the chain ID of the layers below, so an instruction that only describes (LABEL, EXPOSE, CMD) never makes
//! the steps behind it run again, and nothing that an image claims about its own history can be mistaken for a result.
//! Every field is written with its length, so that no two different steps write the same bytes.

use teu_git::GitUrl;
use teu_oci::{Digest, DigestHasher};

use super::{CopyStep, RunStep};
use crate::dockerfile::instruction::RunNetwork;

/// Raised when what a step does changes, so that results of an older builder are not taken for it.
const VERSION: &str = "1";

/// The key of a RUN on top of `parent`; `trees` say what is in the other trees that its mounts show.
#[must_use]
pub fn run(parent: Option<&Digest>, step: &RunStep, trees: &[String]) -> Digest {
    let mut key = Fields::new("run", parent);
    key.list(&step.args);
    key.list(&step.env);
    key.field(&step.cwd);
    key.field(&step.user);
    key.field(match step.network {
        RunNetwork::Default => "network",
        RunNetwork::None => "no network",
        RunNetwork::Host => "host network",
    });
    if step.insecure {
        key.field("insecure");
    }
    if let Some(script) = &step.script {
        key.field(&script.path);
        key.field(&script.content);
    }
    for mount in &step.mounts {
        key.list(&mount.fields());
    }
    if !trees.is_empty() {
        key.list(trees);
    }
    key.finish()
}

/// The key of a COPY or ADD on top of `parent`; `content` is the digest of what it brings.
#[must_use]
pub fn copy(parent: Option<&Digest>, step: &CopyStep, content: &Digest) -> Digest {
    let mut key = Fields::new("copy", parent);
    key.settings(step);
    key.field(content.as_str());
    key.finish()
}

/// The key of an ADD of a file that is known by its checksum, which spares fetching it when nothing has changed.
#[must_use]
pub fn add_checked(parent: Option<&Digest>, step: &CopyStep, name: &str, checksum: &Digest) -> Digest {
    let mut key = Fields::new("add checked", parent);
    key.settings(step);
    key.field(name);
    key.field(checksum.as_str());
    key.finish()
}

/// The key of an ADD of a repository, known by its commit.
#[must_use]
pub fn add_repository(parent: Option<&Digest>, step: &CopyStep, repository: &GitUrl, commit: &str) -> Digest {
    let mut key = Fields::new("add repository", parent);
    key.settings(step);
    key.list(&step.exclude);
    key.field(repository.remote());
    key.field(&repository.subdir);
    key.field(if repository.submodules { "submodules" } else { "" });
    if repository.keep_git_dir {
        key.field("keep .git");
        key.field(repository.reference.as_deref().unwrap_or(""));
    }
    key.field(commit);
    key.finish()
}

/// The key of a COPY from another tree known by its chain ID, which spares looking into it when nothing has changed.
#[must_use]
pub fn copy_from(parent: Option<&Digest>, step: &CopyStep, source: Option<&Digest>) -> Digest {
    let mut key = Fields::new("copy from", parent);
    key.settings(step);
    key.list(&step.sources);
    key.list(&step.exclude);
    key.field(source.map_or("", Digest::as_str));
    key.finish()
}

/// The key of all layers from `base` up to `chain` as one.
#[must_use]
pub fn squash(base: Option<&Digest>, chain: &Digest) -> Digest {
    let mut key = Fields::new("squash", base);
    key.field(chain.as_str());
    key.finish()
}

/// The key of a WORKDIR on top of `parent`.
#[must_use]
pub fn workdir(parent: Option<&Digest>, path: &str, user: &str) -> Digest {
    let mut key = Fields::new("workdir", parent);
    key.field(path);
    key.field(user);
    key.finish()
}

struct Fields(DigestHasher);

impl Fields {
    fn new(kind: &str, parent: Option<&Digest>) -> Self {
        let mut fields = Self(DigestHasher::new());
        fields.field(VERSION);
        fields.field(kind);
        fields.field(parent.map_or("", Digest::as_str));
        fields
    }

    fn field(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn list(&mut self, texts: &[String]) {
        self.0.update(&(texts.len() as u64).to_le_bytes());
        texts.iter().for_each(|text| self.field(text));
    }

    fn settings(&mut self, step: &CopyStep) {
        self.field(if step.unpack { "unpack" } else { "" });
        self.field(&step.destination);
        self.field(step.chown.as_deref().unwrap_or(""));
        self.field(&step.chmod.as_ref().map(ToString::to_string).unwrap_or_default());
        if step.parents {
            self.field("parents");
        }
        if step.remotes.iter().any(|remote| remote.unpack) {
            self.field("unpack what is fetched");
        }
        self.list(&step.files.iter().flat_map(|file| [file.name.clone(), file.content.clone()]).collect::<Vec<_>>());
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> RunStep {
        RunStep {
            args: vec!["/bin/sh".into(), "-c".into(), "true".into()],
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            ..RunStep::default()
        }
    }

    #[test]
    fn whatever_decides_a_run_changes_its_key() {
        let base = run(None, &step(), &[]);
        assert_eq!(base, run(None, &step(), &[]));
        let changes: [fn(&mut RunStep); 8] = [
            |s| s.insecure = true,
            |s| s.args[2] = "false".into(),
            |s| s.args = vec!["/bin/sh".into(), "-ctrue".into()],
            |s| s.env.push("A=1".into()),
            |s| s.cwd = "/x".into(),
            |s| s.user = "me".into(),
            |s| s.network = RunNetwork::None,
            |s| s.script = Some(super::super::Script { path: "/p".into(), content: "#!/x".into() }),
        ];
        for change in changes {
            let mut other = step();
            change(&mut other);
            assert_ne!(run(None, &other, &[]), base, "{other:?}");
        }
        assert_ne!(run(Some(&Digest::sha256(b"parent")), &step(), &[]), base);
        assert_ne!(run(None, &step(), &["content".into()]), base);
    }

    #[test]
    fn proxies_and_history_decide_nothing() {
        let mut other = step();
        other.proxies.push("http_proxy=http://p".into());
        other.created_by = "RUN something".into();
        other.shown = "something".into();
        assert_eq!(run(None, &other, &[]), run(None, &step(), &[]));
    }

    #[test]
    fn words_that_join_to_the_same_text_have_different_keys() {
        let split = |args: [&str; 2]| run(None, &RunStep { args: args.map(String::from).to_vec(), ..step() }, &[]);
        assert_ne!(split(["ab", "c"]), split(["a", "bc"]));
        let moved = RunStep { args: vec!["a".into()], env: vec!["b".into()], ..RunStep::default() };
        let other = RunStep { args: vec!["a".into(), "b".into()], env: vec![], ..RunStep::default() };
        assert_ne!(run(None, &moved, &[]), run(None, &other, &[]));
    }

    #[test]
    fn whatever_decides_a_copy_changes_its_key() {
        let step = || CopyStep { sources: vec!["a".into()], destination: "/b".into(), ..CopyStep::default() };
        let content = Digest::sha256(b"content");
        let base = copy(None, &step(), &content);
        assert_ne!(base, copy(None, &step(), &Digest::sha256(b"other")));
        let changes: [fn(&mut CopyStep); 7] = [
            |s| s.destination = "/b/".into(),
            |s| s.chown = Some("1".into()),
            |s| s.chmod = super::super::Chmod::parse("700"),
            |s| s.chmod = super::super::Chmod::parse("u+x"),
            |s| s.parents = true,
            |s| s.unpack = true,
            |s| s.files.push(super::super::InlineFile { name: "f".into(), content: "x".into() }),
        ];
        for change in changes {
            let mut other = step();
            change(&mut other);
            assert_ne!(copy(None, &other, &content), base, "{other:?}");
        }
        let mut renamed = step();
        renamed.sources = vec!["c".into()];
        assert_eq!(copy(None, &renamed, &content), base, "the same files under another name give the same layer");
        assert_ne!(copy_from(None, &renamed, None), copy_from(None, &step(), None));
        assert_ne!(workdir(None, "/a", ""), workdir(None, "/b", ""));
        assert_ne!(workdir(None, "/a", ""), workdir(None, "/a", "me"));
    }
}
