//! Names with slashes: an image's name may hold some, a segment of a path may not.
//!
//! `/images/a/b/json` is seen by the routes as `/images/a%2Fb/json`, so that each operation has a route of its own.

use http::Method;

/// What has names of images in its path.
const ROOMS: &[&str] = &["/images/", "/distribution/", "/plugins/"];

/// The same path with the name in one segment; `None` when it is so already.
pub(super) fn folded(method: &Method, path: &str) -> Option<String> {
    let room = ROOMS.iter().find(|room| path.starts_with(**room))?;
    let rest = &path[room.len()..];
    if method == Method::DELETE {
        return rest.contains('/').then(|| format!("{room}{}", rest.replace('/', "%2F")));
    }
    let (name, verb) = rest.rsplit_once('/')?;
    name.contains('/').then(|| format!("{room}{}/{verb}", name.replace('/', "%2F")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        let seen = |method, path| folded(&method, path);
        assert_eq!(seen(Method::GET, "/images/a/b:1/json").as_deref(), Some("/images/a%2Fb:1/json"));
        assert_eq!(seen(Method::POST, "/images/h:5000/a/b/push").as_deref(), Some("/images/h:5000%2Fa%2Fb/push"));
        assert_eq!(seen(Method::DELETE, "/images/a/json").as_deref(), Some("/images/a%2Fjson"));
        assert_eq!(seen(Method::GET, "/distribution/a/b/json").as_deref(), Some("/distribution/a%2Fb/json"));
        for path in ["/images/json", "/images/a/json", "/containers/a/b/json", "/images/a%2Fb/json"] {
            assert_eq!(seen(Method::GET, path), None, "{path}");
        }
    }
}
