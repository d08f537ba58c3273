//! Parameters in the query, read as Docker reads them.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;
use teu_api::Filters;

use crate::failure::{Answer, Failure};

/// The query's parameters in their order; a name may come more than once.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        Self::parse(&parts.uri)
    }
}

impl Query {
    pub(crate) fn parse(uri: &http::Uri) -> Answer<Self> {
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map(|query| Self(query.0))
            .map_err(|error| Failure::bad(format!("read the query: {error}")))
    }

    /// The first value of that name; empty is as good as none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The first value of that name, owned; empty text when there is none.
    pub(crate) fn string(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    /// A parameter without which the request means nothing.
    pub(crate) fn required(&self, name: &str) -> Answer<&str> {
        self.text(name).ok_or_else(|| Failure::bad(format!("parameter \"{name}\" is missing")))
    }

    /// All values of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone()).collect()
    }

    /// Whether it is on; like Docker, whatever does not say no says yes.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    /// Whether it is on, with a default for when it is not there.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        let Some((_, value)) = self.0.iter().find(|(key, _)| key == name) else { return default };
        !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Answer<Option<T>> {
        let Some(value) = self.text(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| Failure::bad(format!("parameter \"{name}\": \"{value}\" is not a number")))
    }

    /// A value written as JSON; the type's default when there is none.
    pub(crate) fn json<T: DeserializeOwned + Default>(&self, name: &str) -> Answer<T> {
        let Some(value) = self.text(name) else { return Ok(T::default()) };
        serde_json::from_str(value).map_err(|error| Failure::bad(format!("parameter \"{name}\": {error}")))
    }

    /// The `filters`.
    pub(crate) fn filters(&self) -> Answer<Filters> {
        let text = self.text("filters").unwrap_or_default();
        Filters::parse(text).map_err(|error| Failure::bad(format!("invalid filter: {error}")))
    }

    /// The `filters`, all of which must be among `known`.
    pub(crate) fn filters_among(&self, known: &[&str]) -> Answer<Filters> {
        let filters = self.filters()?;
        match filters.unknown(known) {
            Some(name) => Err(Failure::bad(format!("invalid filter '{name}'"))),
            None => Ok(filters),
        }
    }

    /// A moment, in nanoseconds since 1970, written as seconds with or without a fraction; 0 is none.
    pub(crate) fn moment(&self, name: &str) -> Answer<Option<i64>> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let moment = nanoseconds(value)
            .ok_or_else(|| Failure::bad(format!("parameter \"{name}\": \"{value}\" is not a Unix time")))?;
        Ok((moment != 0).then_some(moment))
    }
}

fn nanoseconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(&format!("/x?{text}").parse().expect("uri")).expect("query")
    }

    #[test]
    fn whatever_does_not_say_no_says_yes() {
        let query = query("a=1&b=true&c=True&d=0&e=false&f=&g=yes");
        let on: Vec<bool> = ["a", "b", "c", "d", "e", "f", "g", "h"].iter().map(|name| query.flag(name)).collect();
        assert_eq!(on, [true, true, true, false, false, false, true, false]);
        assert!(query.flag_or("h", true) && !query.flag_or("d", true));
    }

    #[test]
    fn a_name_may_come_more_than_once() {
        assert_eq!(query("t=a%3A1&t=b").all("t"), ["a:1", "b"]);
    }

    #[test]
    fn a_moment_has_a_fraction_or_none() {
        assert_eq!(query("since=1.5").moment("since").expect("moment"), Some(1_500_000_000));
        assert_eq!(
            query("since=1700000000.000000001").moment("since").expect("moment"),
            Some(1_700_000_000_000_000_001)
        );
        assert_eq!(query("since=0").moment("since").expect("moment"), None);
        assert!(query("since=yesterday").moment("since").is_err());
        assert!(query("since=9223372036854775807").moment("since").is_err());
    }

    #[test]
    fn wrong_filters_are_a_bad_request() {
        assert_eq!(query("filters=%5B1").filters().expect_err("refused").status, http::StatusCode::BAD_REQUEST);
        let unknown = query("filters=%7B%22colour%22%3A%5B%22red%22%5D%7D").filters_among(&["id"]);
        assert_eq!(unknown.expect_err("refused").message, "invalid filter 'colour'");
    }
}
