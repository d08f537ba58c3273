//! `--secret` of a build: `id=ID`, and the file or variable that it is.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::failure::{Failure, Naming};

/// Bytes of all secrets together: they travel in a header.
const MOST: usize = 128 << 10;

/// A secret, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    id: String,
    place: Place,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// In a file.
    File(String),
    /// In a variable.
    Variable(String),
    /// In the variable of its name, or else in the file.
    Unsaid,
}

/// Reads `id=ID[,type=file|env][,src=FILE][,env=VARIABLE]`.
pub(crate) fn parse(text: &str) -> Result<Secret, String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in super::fields(text)? {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("invalid field '{field}': not key=value"))?;
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        match name.to_ascii_lowercase().as_str() {
            "id" => id = value,
            "src" | "source" => file = value,
            "env" => variable = value,
            "type" => kind = value,
            other => return Err(format!("unexpected key '{other}'")),
        }
    }
    let id = id.ok_or("it says no id")?;
    let place = match (kind.as_deref(), file, variable) {
        // Of this type, src is a variable's name too.
        (None | Some("env"), None, Some(variable)) | (Some("env"), Some(variable), None) => Place::Variable(variable),
        (None | Some("file"), Some(file), None) => Place::File(file),
        (None, None, None) => Place::Unsaid,
        (Some("file" | "env") | None, ..) => return Err("it wants either src or env".into()),
        (Some(other), ..) => return Err(format!("unsupported secret type '{other}'")),
    };
    Ok(Secret { id, place })
}

/// Reads them all, each into base64.
pub(crate) fn read(secrets: &[Secret]) -> Result<BTreeMap<String, String>, Failure> {
    encoded(contents(secrets)?)
}

/// Reads them all: each with its id.
pub(crate) fn contents(secrets: &[Secret]) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let read = |Secret { id, place }: &Secret| {
        let file = |path: &str| std::fs::read(path).or_fail(format!("read the secret {id}: {path}"));
        let variable = |name: &str| std::env::var_os(name).map(OsStringExt::into_vec);
        let content = match place {
            Place::File(path) => file(path)?,
            Place::Variable(name) => variable(name)
                .ok_or_else(|| Failure::new(format!("read the secret {id}: there is no variable {name}")))?,
            Place::Unsaid => variable(id).map_or_else(|| file(id), Ok)?,
        };
        Ok((id.clone(), content))
    };
    secrets.iter().map(read).collect()
}

fn encoded(secrets: Vec<(String, Vec<u8>)>) -> Result<BTreeMap<String, String>, Failure> {
    if secrets.iter().map(|(_, content)| content.len()).sum::<usize>() > MOST {
        return Err(Failure::new(format!("the secrets are larger than {} KiB together", MOST >> 10)));
    }
    Ok(secrets.into_iter().map(|(id, content)| (id, STANDARD.encode(content))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let read = |text| parse(text).map(|secret| secret.place);
        assert_eq!(read("id=a,src=/x"), Ok(Place::File("/x".into())));
        assert_eq!(read("id=a,type=file,source=x"), Ok(Place::File("x".into())));
        assert_eq!(read("id=a,env=X"), Ok(Place::Variable("X".into())));
        assert_eq!(read("type=env,id=a,src=X"), Ok(Place::Variable("X".into())));
        assert_eq!(read("id=a"), Ok(Place::Unsaid));
        for wrong in ["src=x", "id=a,src=x,env=Y", "id=a,type=vault", "id=a,colour=red", "id", "id=a,type=env"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_too_large_for_a_header_is_refused() {
        assert_eq!(encoded(vec![("a".into(), b"hi".to_vec())]).unwrap()["a"], "aGk=");
        let whole = |bytes| encoded(vec![("a".into(), vec![0; bytes]), ("b".into(), vec![0; 1])]);
        assert!(whole(MOST - 1).is_ok());
        assert!(whole(MOST).unwrap_err().message.contains("larger than 128 KiB"));
    }
}
