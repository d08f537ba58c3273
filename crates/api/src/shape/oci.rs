//! The nouns of the OCI specifications as they appear in the Engine API. Their own crate knows nothing of this one, so
//! they are described here; a test holds the descriptions to the types.

use std::collections::BTreeMap;

use teu_oci::{ContainerConfig, Descriptor, Digest, Empty, Healthcheck, Platform};

use super::{Member, Object, Shape, Shaped};

macro_rules! described {
    ($($type:ident, $about:literal { $($key:literal: $member:ty, $meaning:literal;)* })*) => {
        $(impl Shaped for $type {
            fn shape() -> Shape {
                fn members() -> Vec<Member> {
                    vec![$(Member { key: $key, about: &[$meaning], shape: <$member as Shaped>::shape }),*]
                }
                const OBJECT: &Object =
                    &Object { module: "teu_oci::oci", name: stringify!($type), about: &[$about], members };
                Shape::Object(OBJECT)
            }
        })*
    };
}

impl Shaped for Digest {
    fn shape() -> Shape {
        Shape::Text
    }
}

described! {
    Empty, "The value of a set that is written as an object." {}

    Platform, "For which machine an image is." {
        "architecture": String, "`amd64`, `arm64`, ….";
        "os": String, "`linux`.";
        "variant": Option<String>, "`v8`, … where the architecture has variants.";
        "os.version": Option<String>, "Version of the operating system, which only Windows images carry.";
    }

    Descriptor, "Names one blob." {
        "mediaType": String, "What the blob is.";
        "digest": Digest, "Its digest.";
        "size": u64, "Its size in bytes.";
        "urls": Vec<String>, "Other places to fetch it from.";
        "annotations": BTreeMap<String, String>, "Free-form facts about it.";
        "platform": Option<Platform>, "For which machine it is.";
        "artifactType": Option<String>, "What kind of artifact a manifest holds.";
    }

    Healthcheck, "How to see whether the program is well; durations in nanoseconds, zero is the default." {
        "Test": Vec<String>, "`NONE`, `CMD` and a program with its arguments, or `CMD-SHELL` and a line.";
        "Interval": i64, "Between two looks.";
        "Timeout": i64, "How long a look may take.";
        "Retries": i64, "Looks that may fail in a row.";
        "StartPeriod": i64, "How long after the start failures do not count.";
        "StartInterval": i64, "Between two looks while that lasts.";
    }

    ContainerConfig, "How a container of an image runs unless told otherwise." {
        "User": String, "`user[:group]`, by name or number.";
        "ExposedPorts": BTreeMap<String, Empty>, "Ports the program listens on, `80/tcp`.";
        "Env": Vec<String>, "Environment, `NAME=value`.";
        "Entrypoint": Option<Vec<String>>, "The program and the arguments always given to it.";
        "Cmd": Option<Vec<String>>, "Arguments, or program and arguments, that the command line replaces.";
        "Volumes": BTreeMap<String, Empty>, "Paths that get a volume.";
        "WorkingDir": String, "Working directory.";
        "Labels": BTreeMap<String, String>, "Free-form facts.";
        "StopSignal": Option<String>, "The signal that asks the program to end.";
        "Healthcheck": Option<Healthcheck>, "How to see whether the program is well.";
        "Shell": Option<Vec<String>>, "The shell of shell-form instructions.";
        "OnBuild": Vec<String>, "Instructions for builds on top of this image.";
        "ArgsEscaped": bool, "Windows only; kept as it came.";
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value, json};

    use super::*;

    /// A value of that shape in which every member says something.
    fn example(shape: Shape) -> Value {
        match shape {
            Shape::Text => "sha256:0000000000000000000000000000000000000000000000000000000000000001".into(),
            Shape::Flag => true.into(),
            Shape::Integer(..) => 7.into(),
            Shape::Any => json!(null),
            Shape::List(inner) => json!([example(inner())]),
            Shape::Map(inner) => json!({"a": example(inner())}),
            Shape::Optional(inner) => example(inner()),
            Shape::Words => json!(["a"]),
            Shape::Object(object) => {
                let members = (object.members)();
                members
                    .into_iter()
                    .map(|member| (member.key.to_owned(), example((member.shape)())))
                    .collect::<Map<_, _>>()
                    .into()
            }
        }
    }

    fn holds<T: Shaped + Serialize + DeserializeOwned>() {
        let written = example(T::shape());
        let read: T = serde_json::from_value(written.clone()).expect("read");
        assert_eq!(serde_json::to_value(read).expect("written"), written);
    }

    #[test]
    fn descriptions_are_those_of_the_types() {
        holds::<Platform>();
        holds::<Descriptor>();
        holds::<Healthcheck>();
        holds::<ContainerConfig>();
    }
}
