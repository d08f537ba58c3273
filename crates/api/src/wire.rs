//! How a struct meets the wire: one macro gives every field its JSON name and Go's tolerance.

use serde::{Deserialize, Deserializer};

/// Reads a value, taking `null` for the default: Go marshals a nil slice, map or pointer as `null`.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a command line as the Engine API writes it: `null`, a list of words, or one string that is one word.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        One(String),
        Many(Vec<String>),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::One(word) => vec![word],
        Words::Many(words) => words,
    }))
}

/// Defines plain data structs: `field: Type = "JsonName"`. Every field may be missing or null. `=> "JsonName"` is a
/// command line: see [`words`]. What is written here is also what the type says of itself: see [`crate::shape`].
macro_rules! wire {
    ($(
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $meaning:literal])* $(#[serde $serde:tt])*
                pub $field:ident : $type:ty $(= $key:literal)? $(=> $words:literal)?
            ),* $(,)?
        }
    )*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            $(
                $(#[doc = $meaning])*
                $(#[serde $serde])*
                $(#[serde(rename = $key, default, deserialize_with = "crate::wire::or_default")])?
                $(#[serde(rename = $words, default, deserialize_with = "crate::wire::words")])?
                pub $field: $type,
            )*
        }

        impl crate::shape::Shaped for $name {
            fn shape() -> crate::shape::Shape {
                fn members() -> Vec<crate::shape::Member> {
                    vec![$(crate::shape::Member {
                        key: concat!($($key)? $($words)?),
                        about: &[$($meaning),*],
                        shape: wire!(@shape $type $(, $words)?),
                    }),*]
                }
                const OBJECT: &crate::shape::Object = &crate::shape::Object {
                    module: module_path!(),
                    name: stringify!($name),
                    about: &[$($about),*],
                    members,
                };
                crate::shape::Shape::Object(OBJECT)
            }
        }
    )*};
    (@shape $type:ty) => { <$type as crate::shape::Shaped>::shape };
    (@shape $type:ty, $words:literal) => { || crate::shape::Shape::Words };
}
