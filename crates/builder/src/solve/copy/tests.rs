//! Sources gathered and placed, on real directories: what the language says about each form of COPY and ADD.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::dockerfile::ignore::Ignore;
use crate::plan::{Chmod, InlineFile};

struct Trees {
    folder: tempfile::TempDir,
    ignore: Ignore,
    keep_owner: bool,
}

impl Trees {
    /// A source tree with these files (a trailing slash makes a directory), and an empty target.
    fn new(files: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("target")).unwrap();
        let trees = Self { folder, ignore: Ignore::default(), keep_owner: false };
        fs::create_dir(trees.source("")).unwrap();
        for file in files {
            let path = trees.source(file);
            fs::create_dir_all(if file.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !file.ends_with('/') {
                fs::write(&path, format!("content of {file}")).unwrap();
            }
        }
        trees
    }

    fn source(&self, path: &str) -> PathBuf {
        self.folder.path().join("source").join(path)
    }

    fn target(&self, path: &str) -> PathBuf {
        self.folder.path().join("target").join(path)
    }

    fn copy_with(&self, step: &CopyStep) -> Result<(), Error> {
        let root = Root::open(&self.source("")).unwrap();
        let tree = Tree { root: &root, ignore: &self.ignore, keep_owner: self.keep_owner, known: None };
        let entries = tree.gather(step)?;
        place(&tree, &entries, &Root::open(&self.target("")).unwrap(), step)
    }

    fn copy(&self, sources: &[&str], destination: &str) -> Result<(), Error> {
        self.copy_with(&step(sources, destination))
    }

    fn digest(&self, step: &CopyStep) -> String {
        let root = Root::open(&self.source("")).unwrap();
        let tree = Tree { root: &root, ignore: &self.ignore, keep_owner: self.keep_owner, known: None };
        tree.digest(&tree.gather(step).unwrap()).unwrap().to_string()
    }

    /// Every file of the target that is no directory, sorted, links marked.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut pending = vec![self.target("")];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                let path = entry.path();
                let name = path.strip_prefix(self.target("")).unwrap().display().to_string();
                match kind.is_dir() {
                    true => pending.push(path),
                    false => found.push(if kind.is_symlink() { name + "@" } else { name }),
                }
            }
        }
        found.sort();
        found
    }
}

fn step(sources: &[&str], destination: &str) -> CopyStep {
    CopyStep {
        sources: sources.iter().map(ToString::to_string).collect(),
        destination: destination.into(),
        ..CopyStep::default()
    }
}

#[test]
fn files_and_directories_land_where_the_language_says() {
    let files = ["a", "b.md", "dir/x", "dir/sub/y", "dir/sub/z.md", "w1.c", "w2.c"];
    for (sources, destination, want) in [
        (&["a"][..], "/to", vec!["to"]),
        (&["a"], "/to/", vec!["to/a"]),
        (&["a"], "/deep/er/to", vec!["deep/er/to"]),
        (&["a", "b.md"], "/to/", vec!["to/a", "to/b.md"]),
        (&["dir"], "/to", vec!["to/sub/y", "to/sub/z.md", "to/x"]),
        (&["dir/"], "/to/", vec!["to/sub/y", "to/sub/z.md", "to/x"]),
        (&["dir/sub/y"], "/", vec!["y"]),
        (&["*.c"], "/to/", vec!["to/w1.c", "to/w2.c"]),
        (&["w?.c"], "/to/", vec!["to/w1.c", "to/w2.c"]),
        (&["w1.*"], "/to", vec!["to"]),
        (&["di*"], "/to/", vec!["to/sub/y", "to/sub/z.md", "to/x"]),
        (&["dir/*"], "/to/", vec!["to/x", "to/y", "to/z.md"]),
        (&["/a"], "/to/", vec!["to/a"]),
        (&["../../a"], "/to/", vec!["to/a"]),
        (&["./dir/../a"], "/to/", vec!["to/a"]),
        (&["dir/sub", "a"], "/to/", vec!["to/a", "to/y", "to/z.md"]),
    ] {
        let trees = Trees::new(&files);
        trees.copy(sources, destination).unwrap_or_else(|error| panic!("{sources:?} {destination}: {error}"));
        assert_eq!(trees.found(), want, "{sources:?} {destination}");
    }
    let trees = Trees::new(&files);
    trees.copy(&["."], "/all").unwrap();
    assert_eq!(trees.found().len(), files.len());
    assert_eq!(fs::read_to_string(trees.target("all/dir/sub/y")).unwrap(), "content of dir/sub/y");
}

#[test]
fn a_file_goes_into_a_directory_that_is_there() {
    let trees = Trees::new(&["a"]);
    fs::create_dir(trees.target("to")).unwrap();
    trees.copy(&["a"], "/to").unwrap();
    assert_eq!(trees.found(), ["to/a"]);
}

#[test]
fn directories_merge_and_files_replace() {
    let trees = Trees::new(&["dir/x", "dir/sub/y"]);
    fs::create_dir_all(trees.target("to/sub")).unwrap();
    fs::write(trees.target("to/x"), "old").unwrap();
    fs::write(trees.target("to/sub/kept"), "old").unwrap();
    fs::set_permissions(trees.target("to"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(trees.source("dir/sub"), fs::Permissions::from_mode(0o751)).unwrap();
    trees.copy(&["dir"], "/to").unwrap();
    assert_eq!(trees.found(), ["to/sub/kept", "to/sub/y", "to/x"]);
    assert_eq!(fs::read_to_string(trees.target("to/x")).unwrap(), "content of dir/x");
    assert_eq!(fs::metadata(trees.target("to")).unwrap().mode() & 0o7777, 0o700, "the destination keeps its mode");
    assert_eq!(
        fs::metadata(trees.target("to/sub")).unwrap().mode() & 0o7777,
        0o751,
        "what is below takes the source's"
    );
}

#[test]
fn modes_times_and_owners_are_kept_or_set() {
    let trees = Trees::new(&["dir/run"]);
    fs::set_permissions(trees.source("dir/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(trees.source("dir/run"), Some(5), Some(6)).unwrap();
    fs::set_permissions(trees.source("dir/run"), fs::Permissions::from_mode(0o4755)).unwrap();
    let time = fs::metadata(trees.source("dir/run")).unwrap().modified().unwrap();
    trees.copy(&["dir"], "/to").unwrap();
    let made = fs::metadata(trees.target("to/run")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid(), made.gid()), (0o4755, 0, 0), "a context's files are root's");
    assert_eq!(made.modified().unwrap(), time);

    let other = Trees { keep_owner: true, ..Trees::new(&["run"]) };
    std::os::unix::fs::chown(other.source("run"), Some(5), Some(6)).unwrap();
    other.copy(&["run"], "/run").unwrap();
    let made = fs::metadata(other.target("run")).unwrap();
    assert_eq!((made.uid(), made.gid()), (5, 6), "another stage's files keep their owner");

    let mut owned = step(&["dir"], "/new/to");
    (owned.chown, owned.chmod) = (Some("7:8".into()), Chmod::parse("640"));
    trees.copy_with(&owned).unwrap();
    for path in ["new", "new/to", "new/to/run"] {
        let made = fs::metadata(trees.target(path)).unwrap();
        assert_eq!((made.uid(), made.gid()), (7, 8), "{path}");
    }
    assert_eq!(fs::metadata(trees.target("new/to/run")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(trees.target("new")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn links_are_followed_when_named_and_kept_when_found() {
    let trees = Trees::new(&["dir/x", "real"]);
    symlink("/real", trees.source("dir/link")).unwrap();
    symlink("dir", trees.source("named")).unwrap();
    symlink("../../../../real", trees.source("file")).unwrap();
    trees.copy(&["named"], "/to").unwrap();
    assert_eq!(trees.found(), ["to/link@", "to/x"]);
    assert_eq!(fs::read_link(trees.target("to/link")).unwrap(), Path::new("/real"));
    trees.copy(&["file"], "/copied").unwrap();
    assert_eq!(fs::read_to_string(trees.target("copied")).unwrap(), "content of real");
}

#[test]
fn no_link_leads_out_of_a_tree() {
    let trees = Trees::new(&["a"]);
    let outside = trees.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, trees.source("out")).unwrap();
    assert!(trees.copy(&["out/secret"], "/x").unwrap_err().to_string().contains("file not found"));
    assert!(trees.copy(&["out"], "/x").is_err());
    symlink(&outside, trees.target("out")).unwrap();
    symlink("../../../outside", trees.target("up")).unwrap();
    trees.copy(&["a"], "/out/a").unwrap();
    trees.copy(&["a"], "/up/b").unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was written outside");
    assert!(trees.target(outside.strip_prefix("/").unwrap().to_str().unwrap()).join("a").exists());
    assert!(trees.target("outside/b").exists());
}

#[test]
fn a_link_at_the_destination_is_followed_to_a_directory_and_replaced_by_a_file() {
    let trees = Trees::new(&["lib/x", "a"]);
    fs::create_dir_all(trees.target("usr/lib")).unwrap();
    symlink("usr/lib", trees.target("lib")).unwrap();
    fs::write(trees.target("victim"), "old").unwrap();
    symlink("victim", trees.target("link")).unwrap();
    trees.copy(&["."], "/").unwrap();
    trees.copy(&["a"], "/link").unwrap();
    assert!(trees.target("usr/lib/x").exists());
    assert!(fs::symlink_metadata(trees.target("link")).unwrap().is_file());
    assert_eq!(fs::read_to_string(trees.target("victim")).unwrap(), "old");
}

#[test]
fn hard_links_stay_linked_and_special_files_come_along() {
    let trees = Trees { keep_owner: true, ..Trees::new(&["dir/a"]) };
    fs::hard_link(trees.source("dir/a"), trees.source("dir/b")).unwrap();
    let root = Root::open(&trees.source("dir")).unwrap();
    root.dir(".").unwrap().mknod("pipe", FileKind::Fifo, 0o600, (0, 0)).unwrap();
    trees.copy(&["dir"], "/to").unwrap();
    assert_eq!(fs::metadata(trees.target("to/a")).unwrap().ino(), fs::metadata(trees.target("to/b")).unwrap().ino());
    assert_eq!(trees.found(), ["to/a", "to/b", "to/pipe"]);
}

#[test]
fn what_is_ignored_is_not_there() {
    let mut trees = Trees::new(&["a", "b.md", "dir/x.md", "dir/y", "drop/deep/keep", "drop/deep/other", "drop/only"]);
    trees.ignore = Ignore::parse("**/*.md\ndrop\n!drop/deep/keep\n").unwrap();
    trees.copy(&["."], "/to").unwrap();
    assert_eq!(trees.found(), ["to/a", "to/dir/y", "to/drop/deep/keep"]);
    for (source, want) in
        [("b.md", "excluded by .dockerignore"), ("drop/only", "excluded"), ("*.md", "no source files")]
    {
        let error = trees.copy(&[source], "/x").unwrap_err().to_string();
        assert!(error.contains(want), "{source}: {error}");
    }
    let mut step = step(&["dir", "a"], "/ex/");
    step.exclude = vec!["y".into()];
    trees.ignore = Ignore::default();
    trees.copy_with(&step).unwrap();
    assert!(trees.target("ex/x.md").exists() && trees.target("ex/a").exists() && !trees.target("ex/y").exists());
}

#[test]
fn a_directory_whose_every_file_is_ignored_by_an_exception_rule_is_not_made() {
    let mut trees = Trees::new(&["drop/deep/other", "keep"]);
    trees.ignore = Ignore::parse("drop\n!drop/deep/none\n").unwrap();
    trees.copy(&["."], "/to").unwrap();
    assert!(!trees.target("to/drop").exists());
}

#[test]
fn what_cannot_be_copied_is_told_and_why() {
    let trees = Trees::new(&["a", "dir/x"]);
    fs::write(trees.target("file"), "").unwrap();
    fs::create_dir_all(trees.target("to/x/full")).unwrap();
    for (sources, destination, want) in [
        (
            &["none"][..],
            "/x",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist",
        ),
        (&["a/none"], "/x", "file not found"),
        (&["n*"], "/x", "no source files were specified"),
        (&["[x"], "/x", "syntax error in pattern"),
        (&["dir"], "/file", "cannot copy to non-directory: /file"),
        (&["a"], "/file/a", "cannot copy to non-directory"),
        (&["dir"], "/to", "cannot replace directory /to/x with a file"),
        (&["*"], "/x", "must be a directory and end with a /"),
    ] {
        let error = trees.copy(sources, destination).unwrap_err().to_string();
        assert!(error.contains(want), "{sources:?}: {error}");
    }
    let mut owned = step(&["a"], "/x");
    owned.chown = Some("nobody".into());
    assert!(trees.copy_with(&owned).unwrap_err().to_string().contains("unable to find user nobody"));
}

#[test]
fn files_of_the_dockerfile_are_written() {
    let trees = Trees::new(&["a"]);
    let mut both = step(&["a"], "/to/");
    both.files = vec![InlineFile { name: "inline".into(), content: "text\n".into() }];
    trees.copy_with(&both).unwrap();
    assert_eq!(trees.found(), ["to/a", "to/inline"]);
    let mut one = step(&[], "/script");
    one.files = vec![InlineFile { name: "EOF".into(), content: "#!/bin/sh\n".into() }];
    one.chmod = Chmod::parse("755");
    trees.copy_with(&one).unwrap();
    assert_eq!(fs::read_to_string(trees.target("script")).unwrap(), "#!/bin/sh\n");
    assert_eq!(fs::metadata(trees.target("script")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn sources_may_keep_the_directories_they_are_in() {
    let trees = Trees::new(&["a/b/one", "a/b/c/two", "a/d/three", "x/b/four"]);
    fs::set_permissions(trees.source("a/b"), fs::Permissions::from_mode(0o711)).unwrap();
    let copy = |sources: &[&str], destination| {
        trees.copy_with(&CopyStep { parents: true, ..step(sources, destination) }).unwrap();
    };
    copy(&["a/b/one", "x/b/four"], "/p/");
    copy(&["./a/./b", "a/./d/three"], "/q/");
    copy(&["*/./b/*"], "/r/");
    copy(&["a/b"], "/s/");
    let wanted = [
        "p/a/b/one",
        "p/x/b/four",
        "q/b/c/two",
        "q/b/one",
        "q/d/three",
        "r/b/c/two",
        "r/b/four",
        "r/b/one",
        "s/a/b/c/two",
        "s/a/b/one",
    ];
    assert_eq!(trees.found(), wanted);
    for made in ["p/a/b", "q/b", "s/a/b"] {
        assert_eq!(fs::metadata(trees.target(made)).unwrap().permissions().mode() & 0o7777, 0o711, "{made}");
    }
}

#[test]
fn modes_are_changed_by_what_each_file_has() {
    let trees = Trees::new(&["dir/plain", "dir/program"]);
    for (path, mode) in [("dir", 0o700), ("dir/plain", 0o600), ("dir/program", 0o700)] {
        fs::set_permissions(trees.source(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut step = step(&["dir"], "/d");
    step.chmod = Chmod::parse("u=rwX,go=rX");
    trees.copy_with(&step).unwrap();
    for (path, mode) in [("d", 0o755), ("d/plain", 0o644), ("d/program", 0o755)] {
        assert_eq!(fs::metadata(trees.target(path)).unwrap().permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn add_unpacks_what_is_an_archive_and_copies_the_rest() {
    let trees = Trees::new(&["plain.tar"]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    builder.append_data(&mut header, "in/side", &b"hi"[..]).unwrap();
    fs::write(trees.source("real.bin"), builder.into_inner().unwrap()).unwrap();
    let add = |sources: &[&str], destination| CopyStep { add: true, unpack: true, ..step(sources, destination) };
    trees.copy_with(&add(&["real.bin"], "/to")).unwrap();
    trees.copy_with(&add(&["plain.tar"], "/to/")).unwrap();
    assert_eq!(trees.found(), ["to/in/side", "to/plain.tar"]);
    trees.copy(&["real.bin"], "/copied").unwrap();
    assert!(trees.target("copied").is_file(), "COPY unpacks nothing");
}

#[test]
fn the_digest_is_of_content_and_not_of_time() {
    let trees = Trees::new(&["dir/x", "dir/y"]);
    let all = step(&["dir"], "/to");
    let first = trees.digest(&all);
    fs::File::options().write(true).open(trees.source("dir/x")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(trees.digest(&all), first, "time");
    std::os::unix::fs::chown(trees.source("dir/x"), Some(5), Some(5)).unwrap();
    assert_eq!(trees.digest(&all), first, "the owner of a context's file");
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(trees.source("dir/x"), "other").unwrap(),
        &|| fs::set_permissions(trees.source("dir/x"), fs::Permissions::from_mode(0o600)).unwrap(),
        &|| fs::rename(trees.source("dir/y"), trees.source("dir/z")).unwrap(),
        &|| symlink("x", trees.source("dir/link")).unwrap(),
        &|| fs::create_dir(trees.source("dir/empty")).unwrap(),
    ];
    let mut before = first;
    for (index, change) in changes.iter().enumerate() {
        change();
        let after = trees.digest(&all);
        assert_ne!(after, before, "change {index}");
        before = after;
    }
}
