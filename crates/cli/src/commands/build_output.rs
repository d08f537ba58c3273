//! `teu build --output`: where the result goes, when it is not to be an image of the engine's.
//!
//! ```text
//! DIR | type=local,dest=DIR           the files of the last stage, in a folder
//! - | type=tar[,dest=FILE]            the same as a tar archive
//! type=docker|oci,dest=FILE           an image as `save` writes it
//! type=docker|image[,name=NAME]       an image of the engine's, as without the flag
//! ```
//!
//! The archive comes in pieces with the messages of the build. A folder is filled as they come; a file appears when it is
//! complete.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use teu_api::build::BuildOutput;
use teu_store::tar::{ExtractOptions, extract};
use teu_sys::fs::Root;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;

use super::cp::Pieces;
use super::save::Target;
use crate::failure::{Failure, Naming};
use crate::grammar;

/// What `--output` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Output {
    place: Place,
    /// Names for the image.
    pub(crate) names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Among the engine's images.
    #[default]
    Engine,
    /// Files in a folder.
    Folder(PathBuf),
    /// Files as an archive; standard output where no file is named.
    Tree(Option<String>),
    /// An image as an archive.
    Image(&'static str, Option<String>),
}

/// Reads it: fields as CSV, or a bare path.
pub(crate) fn parse(text: &str) -> Result<Output, String> {
    if text == "-" {
        return Ok(Output { place: Place::Tree(None), names: vec![] });
    }
    if !text.is_empty() && !text.contains('=') && !text.contains(',') {
        return Ok(Output { place: Place::Folder(text.into()), names: vec![] });
    }
    let (mut kind, mut dest, mut names) = (String::new(), None, Vec::new());
    for field in grammar::fields(text)? {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("invalid field '{field}': not key=value"))?;
        match (name.to_ascii_lowercase().as_str(), value) {
            ("type", value) => value.clone_into(&mut kind),
            ("dest", value) => dest = Some(value.to_owned()).filter(|value| !value.is_empty()),
            ("name", value) => names.extend(value.split(',').map(str::to_owned)),
            // What is so in any case.
            ("push", "false") | ("tar", "true") => {}
            (name, value) => return Err(format!("{name}={value} is not supported by this version of teu")),
        }
    }
    let file = dest.clone().filter(|dest| dest != "-");
    let place = match (kind.as_str(), dest) {
        ("", _) => return Err("it says no type".into()),
        ("local", None) => return Err("dest is required for local exporter".into()),
        ("local", Some(dest)) => Place::Folder(dest.into()),
        ("tar", _) => Place::Tree(file),
        ("docker", Some(_)) => Place::Image("docker", file),
        ("oci", _) => Place::Image("oci", file),
        ("docker" | "image", None) => Place::Engine,
        ("image", Some(_)) => return Err("an image of the engine's has no dest".into()),
        (kind, _) => return Err(format!("output of type {kind} is not supported by this version of teu")),
    };
    match &place {
        Place::Folder(_) | Place::Tree(_) if !names.is_empty() => Err("files have no name, only images do".into()),
        _ => Ok(Output { place, names }),
    }
}

impl Output {
    /// What the daemon is asked for in the place of an image.
    pub(crate) fn kind(&self) -> Option<BuildOutput> {
        let kind = match &self.place {
            Place::Engine => return None,
            Place::Folder(_) | Place::Tree(_) => "tar",
            Place::Image(kind, _) => kind,
        };
        Some(BuildOutput { kind: kind.into(), ..BuildOutput::default() })
    }

    /// Whether standard output is for an archive.
    pub(crate) fn takes_stdout(&self) -> bool {
        matches!(self.place, Place::Tree(None) | Place::Image(_, None))
    }
}

/// Where an archive goes while it comes.
pub(crate) enum Sink {
    /// A file.
    File(Target),
    /// A folder, once it has begun.
    Folder(PathBuf, Option<Extraction>),
}

/// A thread that extracts what it is sent.
pub(crate) struct Extraction {
    pieces: Sender<io::Result<Bytes>>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Sink {
    /// Opens it, before anything is built; none for an image of the engine's.
    pub(crate) fn open(output: &Output) -> Result<Option<Self>, Failure> {
        Ok(match &output.place {
            Place::Engine => None,
            Place::Folder(path) => Some(Self::Folder(path.clone(), None)),
            Place::Tree(file) | Place::Image(_, file) => Some(Self::File(Target::open(file.as_deref())?)),
        })
    }

    /// Takes a result if it is a piece of the archive.
    pub(crate) async fn take(&mut self, aux: &Value) -> Result<bool, Failure> {
        let Some(text) = aux.get("Output").and_then(Value::as_str) else { return Ok(false) };
        let piece = STANDARD.decode(text).map_err(|_| Failure::new("a piece of the output is not in base64"))?;
        match self {
            Self::File(target) => target.write_all(&piece).or_fail("write the archive")?,
            Self::Folder(path, extraction) => {
                let extraction = match extraction {
                    Some(extraction) => extraction,
                    none => none.insert(Extraction::begin(path)?),
                };
                // Why nobody takes it any more is told at the end.
                let gone = extraction.pieces.send(Ok(piece.into())).await.is_err();
                if gone {
                    return Err(Failure::silent(1));
                }
            }
        }
        Ok(true)
    }

    /// The end, or what went wrong before it.
    pub(crate) async fn finish(self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match self {
            Self::File(mut target) => {
                outcome?;
                target.flush().or_fail("write the archive")?;
                target.commit()
            }
            Self::Folder(path, None) => {
                outcome?;
                fs::create_dir_all(&path).or_fail(format!("make {}", path.display()))
            }
            Self::Folder(_, Some(extraction)) => {
                let told = outcome.as_ref().err().filter(|failure| !failure.message.is_empty());
                if told.is_some() {
                    let _ = extraction.pieces.send(Err(io::ErrorKind::BrokenPipe.into())).await;
                }
                drop(extraction.pieces);
                let extracted = extraction.thread.await.map_err(|error| Failure::new(error.to_string()))?;
                if told.is_some() { outcome } else { extracted.and(outcome) }
            }
        }
    }
}

impl Extraction {
    fn begin(path: &Path) -> Result<Self, Failure> {
        let what = format!("write to {}", path.display());
        fs::create_dir_all(path).or_fail(&what)?;
        let root = Root::open(path).or_fail(&what)?;
        // Only root can give files away.
        let options = ExtractOptions { own: !rustix::process::geteuid().is_root(), ..ExtractOptions::default() };
        let (pieces, receiver) = channel(16);
        let thread = tokio::task::spawn_blocking(move || {
            let extracted = extract(&root, Path::new("/"), Pieces::new(receiver), &options);
            extracted.map_err(|error| Failure::new(format!("{what}: {error}")))
        });
        Ok(Self { pieces, thread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read() {
        let place = |text: &str| parse(text).expect("an output").place;
        assert_eq!(place("-"), Place::Tree(None));
        assert_eq!(place("out"), Place::Folder("out".into()));
        assert_eq!(place("type=local,dest=a/b"), Place::Folder("a/b".into()));
        assert_eq!(place("type=tar"), Place::Tree(None));
        assert_eq!(place("type=tar,dest=-"), Place::Tree(None));
        assert_eq!(place("type=tar,dest=x.tar"), Place::Tree(Some("x.tar".into())));
        assert_eq!(place("type=docker,dest=-"), Place::Image("docker", None));
        assert_eq!(place("type=oci,dest=x.tar,tar=true"), Place::Image("oci", Some("x.tar".into())));
        assert_eq!(place("type=docker"), Place::Engine);
        assert_eq!(parse("type=image,\"name=a,b:1\",push=false").expect("an output").names, ["a", "b:1"]);
        for (text, why) in [
            ("", "not key=value"),
            ("dest=x", "it says no type"),
            ("type=local", "dest is required for local exporter"),
            ("type=registry", "output of type registry is not supported"),
            ("type=image,push=true", "push=true is not supported"),
            ("type=oci,tar=false,dest=x", "tar=false is not supported"),
            ("type=tar,name=x", "files have no name"),
            ("type=image,dest=x", "has no dest"),
            ("type=tar,x", "not key=value"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
