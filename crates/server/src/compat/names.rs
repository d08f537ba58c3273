//! Names with slashes: an image's name may hold some, and so does a container's by way of a link; a segment of a path may
//! not.
//!
//! `/images/a/b/json` is seen by the routes as `/images/a%2Fb/json`, so that each operation has a route of its own.

use http::Method;

/// What has names of images in its path.
const ROOMS: &[&str] = &["/images/", "/distribution/", "/plugins/"];

/// What has names of containers in its path.
const CONTAINERS: &str = "/containers/";

/// The same path with the name in one segment; `None` when it is so already.
pub(super) fn folded(method: &Method, path: &str) -> Option<String> {
    if let Some(rest) = path.strip_prefix(CONTAINERS) {
        let (linker, rest) = rest.split_once('/')?;
        let (alias, verb) = rest.split_once('/').map_or((rest, ""), |(alias, verb)| (alias, verb));
        return match (method, verb) {
            (&Method::DELETE, "") => Some(format!("{CONTAINERS}{linker}%2F{alias}")),
            (_, "") | (&Method::GET, "ws") => None,
            (&Method::DELETE, _) if alias == "checkpoints" => None,
            _ => Some(format!("{CONTAINERS}{linker}%2F{alias}/{verb}")),
        };
    }
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
        assert_eq!(seen(Method::GET, "/containers/a/b/json").as_deref(), Some("/containers/a%2Fb/json"));
        assert_eq!(seen(Method::DELETE, "/containers/a/b").as_deref(), Some("/containers/a%2Fb"));
        assert_eq!(seen(Method::DELETE, "/containers/a/checkpoints/b"), None);
        for path in
            ["/images/json", "/images/a/json", "/containers/a/json", "/containers/a/attach/ws", "/images/a%2Fb/json"]
        {
            assert_eq!(seen(Method::GET, path), None, "{path}");
        }
    }
}
