//! The registry, endpoint by endpoint, as the distribution specification words them.

mod support;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::Home;
use teu_oci::{Digest, media_type};
use teu_registry::server;
use tower::ServiceExt;

struct Asked {
    home: Home,
    router: Router,
}

impl Asked {
    fn new() -> Self {
        let home = Home::new();
        Self { router: server::router(home.store.clone()).unwrap(), home }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], "").await
    }

    /// Pushes a blob in one request.
    async fn blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let created = self.send("POST", &path, &[], bytes.to_vec()).await;
        assert_eq!(created.status(), StatusCode::CREATED);
        digest
    }

    /// Begins an upload and says where it goes on.
    async fn upload(&self, name: &str) -> String {
        let begun = self.send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "").await;
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        header(&begun, "location").to_string()
    }

    /// Pushes an image without layers under a tag or digest; `extra` goes into its manifest.
    async fn image(&self, name: &str, reference: &str, extra: &[(&str, Value)]) -> (Digest, Response) {
        let config = self.blob(name, b"{}").await;
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": media_type::OCI_CONFIG, "digest": config, "size": 2},
            "layers": [],
        });
        for (field, value) in extra {
            manifest[*field] = value.clone();
        }
        let bytes = manifest.to_string();
        let kind = [("content-type", media_type::OCI_MANIFEST)];
        let path = format!("/v2/{name}/manifests/{reference}");
        (Digest::sha256(bytes.as_bytes()), self.send("PUT", &path, &kind, bytes).await)
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("{name} is missing")).to_str().unwrap()
}

async fn text(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().into()
}

async fn parsed(response: Response) -> Value {
    serde_json::from_slice(&text(response).await).unwrap()
}

async fn code(response: Response) -> String {
    parsed(response).await["errors"][0]["code"].as_str().unwrap().into()
}

#[tokio::test]
async fn the_base_says_which_protocol_it_speaks() {
    let asked = Asked::new();
    let base = asked.get("/v2/").await;
    assert_eq!(base.status(), StatusCode::OK);
    assert_eq!(header(&base, "docker-distribution-api-version"), "registry/2.0");
    assert_eq!(asked.send("PUT", "/v2/", &[], "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_blob_comes_in_pieces_in_order() {
    let asked = Asked::new();
    let place = asked.upload("a/b").await;
    let first = asked.send("PATCH", &place, &[("content-range", "0-3"), ("content-length", "4")], "abcd").await;
    assert_eq!((first.status(), header(&first, "range")), (StatusCode::ACCEPTED, "0-3"));
    for range in ["0-3", "5-8", "3-6"] {
        let refused = asked.send("PATCH", &place, &[("content-range", range)], "efgh").await;
        assert_eq!(
            (refused.status(), header(&refused, "range")),
            (StatusCode::RANGE_NOT_SATISFIABLE, "0-3"),
            "{range}"
        );
        assert_eq!(header(&refused, "location"), place);
    }
    let status = asked.get(&place).await;
    assert_eq!((status.status(), header(&status, "range")), (StatusCode::NO_CONTENT, "0-3"));
    asked.send("PATCH", &place, &[], "efgh").await;
    let digest = Digest::sha256(b"abcdefghij");
    let done = asked.send("PUT", &format!("{place}?digest={digest}"), &[("content-range", "8-9")], "ij").await;
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(header(&done, "docker-content-digest"), digest.as_str());
    let read = asked.get(header(&done, "location")).await;
    assert_eq!(header(&read, "content-length"), "10");
    assert_eq!(text(read).await, b"abcdefghij");
    assert_eq!(code(asked.get(&place).await).await, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_piece_that_is_not_as_long_as_it_says_is_refused() {
    let asked = Asked::new();
    let place = asked.upload("a").await;
    let headers = [("content-range", "0-9"), ("content-length", "4")];
    assert_eq!(code(asked.send("PATCH", &place, &headers, "abcd").await).await, "SIZE_INVALID");
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused_and_gone() {
    let asked = Asked::new();
    let wrong = Digest::sha256(b"other");
    let place = asked.upload("a").await;
    let refused = asked.send("PUT", &format!("{place}?digest={wrong}"), &[], "content").await;
    assert_eq!((refused.status(), code(refused).await), (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into()));
    assert_eq!(code(asked.get(&place).await).await, "BLOB_UPLOAD_UNKNOWN");
    let refused = asked.send("POST", &format!("/v2/a/blobs/uploads/?digest={wrong}"), &[], "content").await;
    assert_eq!(code(refused).await, "DIGEST_INVALID");
    assert_eq!(asked.get(&format!("/v2/a/blobs/{wrong}")).await.status(), StatusCode::NOT_FOUND);
    let place = asked.upload("a").await;
    for query in ["", "?digest=", "?digest=sha256:..%2f..", "?digest=md5:00"] {
        assert_eq!(code(asked.send("PUT", &format!("{place}{query}"), &[], "").await).await, "DIGEST_INVALID");
    }
    let refused = asked.send("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], "").await;
    assert_eq!(code(refused).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn sha512_names_a_blob_as_well() {
    let asked = Asked::new();
    // Of "abc", FIPS 180-2.
    let digest = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let created = asked.send("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], "abc").await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(text(asked.get(&format!("/v2/a/blobs/{digest}")).await).await, b"abc");
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_can_be_cancelled() {
    let asked = Asked::new();
    let place = asked.upload("mine").await;
    let other = place.replace("/mine/", "/yours/");
    let digest = Digest::sha256(b"x");
    for (method, path) in [
        ("GET", other.clone()),
        ("PATCH", other.clone()),
        ("PUT", format!("{other}?digest={digest}")),
        ("DELETE", other),
    ] {
        assert_eq!(code(asked.send(method, &path, &[], "x").await).await, "BLOB_UPLOAD_UNKNOWN", "{method}");
    }
    assert_eq!(asked.send("DELETE", &place, &[], "").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(asked.get(&place).await.status(), StatusCode::NOT_FOUND);
    assert!(asked.home.store.blobs().uploads().unwrap().is_empty());
    assert_ne!(asked.upload("mine").await, asked.upload("mine").await);
}

#[tokio::test]
async fn an_upload_survives_a_restart() {
    let mut asked = Asked::new();
    let place = asked.upload("a").await;
    asked.send("PATCH", &place, &[], "abc").await;
    asked.router = server::router(asked.home.store.clone()).unwrap();
    let digest = Digest::sha256(b"abcdef");
    let done = asked.send("PUT", &format!("{place}?digest={digest}"), &[], "def").await;
    assert_eq!(done.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_part_of_a_blob_can_be_read() {
    let asked = Asked::new();
    let path = format!("/v2/a/blobs/{}", asked.blob("a", b"0123456789").await);
    let part = asked.send("GET", &path, &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status(), header(&part, "content-range")), (StatusCode::PARTIAL_CONTENT, "bytes 2-4/10"));
    assert_eq!(text(part).await, b"234");
    let beyond = asked.send("GET", &path, &[("range", "bytes=10-")], "").await;
    assert_eq!((beyond.status(), header(&beyond, "content-range")), (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */10"));
    let head = asked.send("HEAD", &path, &[], "").await;
    assert_eq!((header(&head, "content-length"), header(&head, "accept-ranges")), ("10", "bytes"));
    assert!(text(head).await.is_empty());
}

#[tokio::test]
async fn a_blob_is_only_where_it_was_pushed_or_mounted() {
    let asked = Asked::new();
    let digest = asked.blob("a", b"shared").await;
    let elsewhere = format!("/v2/b/blobs/{digest}");
    assert_eq!(asked.get(&elsewhere).await.status(), StatusCode::NOT_FOUND);
    let private = asked.home.store.blobs().put(b"the engine's own").unwrap().0;
    assert_eq!(asked.get(&format!("/v2/a/blobs/{private}")).await.status(), StatusCode::NOT_FOUND);
    for from in ["&from=nowhere", "&from=..%2Fa", "&from=A"] {
        let begun = asked.send("POST", &format!("/v2/b/blobs/uploads/?mount={digest}{from}"), &[], "").await;
        assert_eq!(begun.status(), StatusCode::ACCEPTED, "{from}");
        assert!(header(&begun, "location").starts_with("/v2/b/blobs/uploads/"));
    }
    let begun = asked.send("POST", &format!("/v2/b/blobs/uploads/?mount={private}"), &[], "").await;
    assert_eq!(begun.status(), StatusCode::ACCEPTED, "what is in no repository cannot be mounted");
    let mounted = asked.send("POST", &format!("/v2/b/blobs/uploads/?mount={digest}&from=a"), &[], "").await;
    assert_eq!((mounted.status(), header(&mounted, "location")), (StatusCode::CREATED, elsewhere.as_str()));
    let found = asked.send("POST", &format!("/v2/c/blobs/uploads/?mount={digest}"), &[], "").await;
    assert_eq!(found.status(), StatusCode::CREATED, "without a source it is looked for");
    assert_eq!(text(asked.get(&elsewhere).await).await, b"shared");
}

#[tokio::test]
async fn a_manifest_is_kept_byte_for_byte_under_tag_and_digest() {
    let asked = Asked::new();
    let (digest, created) = asked.image("a/b", "v1", &[]).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(header(&created, "docker-content-digest"), digest.as_str());
    for reference in ["v1", digest.as_str()] {
        let read = asked.get(&format!("/v2/a/b/manifests/{reference}")).await;
        assert_eq!(header(&read, "content-type"), media_type::OCI_MANIFEST);
        assert_eq!(Digest::sha256(&text(read).await), digest);
        let head = asked.send("HEAD", &format!("/v2/a/b/manifests/{reference}"), &[], "").await;
        assert_eq!(header(&head, "docker-content-digest"), digest.as_str());
    }
    assert_eq!(code(asked.get("/v2/a/b/manifests/none").await).await, "MANIFEST_UNKNOWN");
    assert_eq!(code(asked.get("/v2/none/manifests/none").await).await, "NAME_UNKNOWN");
    let (_, wrong) = asked.image("a/b", Digest::sha256(b"other").as_str(), &[]).await;
    assert_eq!(code(wrong).await, "DIGEST_INVALID");
    let tagged = asked.image("a/b", &format!("{digest}?tag=v2&tag=v3"), &[]).await.1;
    assert_eq!(tagged.headers().get_all("oci-tag").iter().count(), 2);
    assert_eq!(parsed(asked.get("/v2/a/b/tags/list").await).await["tags"], json!(["v1", "v2", "v3"]));
}

#[tokio::test]
async fn a_manifest_whose_parts_are_missing_is_refused() {
    let asked = Asked::new();
    let layer = json!([{"mediaType": media_type::OCI_LAYER, "digest": Digest::sha256(b"none"), "size": 4}]);
    let (_, refused) = asked.image("a", "v1", &[("layers", layer.clone())]).await;
    assert_eq!((refused.status(), code(refused).await), (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".into()));
    let index = json!({"schemaVersion": 2, "manifests": layer}).to_string();
    let kind = [("content-type", media_type::OCI_INDEX)];
    assert_eq!(code(asked.send("PUT", "/v2/a/manifests/v1", &kind, index).await).await, "MANIFEST_BLOB_UNKNOWN");
    let (_, confused) = asked.image("a", "v1", &[("manifests", json!([]))]).await;
    assert_eq!(code(confused).await, "MANIFEST_INVALID");
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_not_read() {
    let asked = Asked::new();
    let announced = [("content-type", media_type::OCI_MANIFEST), ("content-length", "4194305")];
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let refused = asked.send("PUT", "/v2/a/manifests/v1", &announced, never).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
    let refused = asked.send("PUT", "/v2/a/manifests/v1", &announced[..1], Body::from_stream(endless)).await;
    assert_eq!((refused.status(), code(refused).await), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID".into()));
}

#[tokio::test]
async fn lists_are_sorted_bounded_and_continued() {
    let asked = Asked::new();
    for tag in ["b", "a", "C", "d"] {
        asked.image("x", tag, &[]).await;
    }
    asked.image("w/y", "v1", &[]).await;
    assert_eq!(parsed(asked.get("/v2/x/tags/list").await).await, json!({"name": "x", "tags": ["C", "a", "b", "d"]}));
    let page = asked.get("/v2/x/tags/list?n=2&last=C").await;
    assert_eq!(header(&page, "link"), r#"</v2/x/tags/list?n=2&last=b>; rel="next""#);
    assert_eq!(parsed(page).await["tags"], json!(["a", "b"]));
    let last = asked.get("/v2/x/tags/list?n=2&last=b").await;
    assert!(last.headers().get("link").is_none());
    assert_eq!(parsed(asked.get("/v2/x/tags/list?n=0").await).await["tags"], json!([]));
    assert_eq!(code(asked.get("/v2/none/tags/list").await).await, "NAME_UNKNOWN");
    for n in ["1000000000", "99999999999999999999999999"] {
        let all = asked.get(&format!("/v2/_catalog?n={n}")).await;
        assert_eq!(parsed(all).await["repositories"], json!(["w/y", "x"]));
    }
    let page = asked.get("/v2/_catalog?n=1").await;
    assert_eq!(header(&page, "link"), r#"</v2/_catalog?n=1&last=w/y>; rel="next""#);
    assert_eq!(asked.get("/v2/_catalog?n=-1").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn referrers_are_found_by_what_they_are_about() {
    let asked = Asked::new();
    let (subject, _) = asked.image("a", "v1", &[]).await;
    let about = json!({"mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 1});
    let extra = [("artifactType", json!("test/signature")), ("subject", about), ("annotations", json!({"k": "v"}))];
    let (signature, created) = asked.image("a", "signature", &extra).await;
    assert_eq!(header(&created, "oci-subject"), subject.as_str());
    let found = asked.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(header(&found, "content-type"), media_type::OCI_INDEX);
    let found = parsed(found).await;
    assert_eq!(found["manifests"][0]["digest"], signature.as_str());
    assert_eq!(found["manifests"][0]["artifactType"], "test/signature");
    assert_eq!(found["manifests"][0]["annotations"], json!({"k": "v"}));
    let other = asked.get(&format!("/v2/a/referrers/{subject}?artifactType=other")).await;
    assert_eq!(header(&other, "oci-filters-applied"), "artifactType");
    assert_eq!(parsed(other).await["manifests"], json!([]));
    let none = asked.get(&format!("/v2/none/referrers/{subject}")).await;
    assert_eq!((none.status(), parsed(none).await["manifests"].clone()), (StatusCode::OK, json!([])));
    assert_eq!(code(asked.get("/v2/a/referrers/sha256:x").await).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_collected() {
    let asked = Asked::new();
    let (digest, _) = asked.image("a", "v1", &[]).await;
    asked.image("a", "v2", &[]).await;
    let loose = asked.blob("a", b"loose").await;
    assert_eq!(asked.send("DELETE", "/v2/a/manifests/v1", &[], "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(asked.get("/v2/a/manifests/v1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(asked.get("/v2/a/manifests/v2").await.status(), StatusCode::OK, "the other tag stays");
    asked.home.store.collect().unwrap();
    assert!(asked.home.store.blobs().stat(&digest).is_some());
    let path = format!("/v2/a/manifests/{digest}");
    assert_eq!(asked.send("DELETE", &path, &[], "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(asked.send("DELETE", &path, &[], "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(asked.get("/v2/a/manifests/v2").await.status(), StatusCode::NOT_FOUND);
    let blob = format!("/v2/a/blobs/{loose}");
    assert_eq!(asked.send("DELETE", &blob, &[], "").await.status(), StatusCode::ACCEPTED);
    assert_eq!(asked.send("DELETE", &blob, &[], "").await.status(), StatusCode::NOT_FOUND);
    asked.home.store.collect().unwrap();
    assert!(asked.home.store.blobs().list().unwrap().is_empty(), "nothing refers to anything any more");
    assert_eq!(parsed(asked.get("/v2/_catalog").await).await["repositories"], json!([]));
}

#[tokio::test]
async fn hostile_names_leave_no_trace() {
    let asked = Asked::new();
    let files = || {
        let mut found = Vec::new();
        let mut dirs = vec![asked.home.store.root().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    };
    let before = files();
    let digest = Digest::sha256(b"x");
    for name in ["..", "a/../b", "a%2f..%2fb", "a%00b", "A", "a//b", "a/..", ".a", "%2e%2e", &"a/".repeat(200)] {
        for (method, rest) in [
            ("POST", "blobs/uploads/".to_string()),
            ("POST", format!("blobs/uploads/?digest={digest}")),
            ("PUT", "manifests/v1".into()),
            ("GET", "tags/list".into()),
        ] {
            let refused = asked.send(method, &format!("/v2/{name}/{rest}"), &[], "x").await;
            let status = refused.status();
            assert!(matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND), "{name} {rest}: {status}");
            assert!(matches!(code(refused).await.as_str(), "NAME_INVALID" | "NAME_UNKNOWN"), "{name} {rest}");
        }
    }
    assert_eq!(files(), before);
}

#[tokio::test]
async fn the_longest_name_works() {
    let asked = Asked::new();
    let name = vec!["abcdefg"; 32].join("/");
    assert_eq!(name.len(), 255);
    let (digest, created) = asked.image(&name, &"t".repeat(128), &[]).await;
    assert_eq!(created.status(), StatusCode::CREATED);
    let again = Asked { router: server::router(asked.home.store.clone()).unwrap(), home: asked.home };
    assert_eq!(again.get(&format!("/v2/{name}/manifests/{digest}")).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pushes_at_once_all_arrive() {
    let asked = std::sync::Arc::new(Asked::new());
    let pushes = (0..16).map(|number| {
        let asked = asked.clone();
        tokio::spawn(async move {
            let bytes = support::noise(300_000, number + 1);
            let digest = asked.blob("a", &bytes).await;
            asked.image("a", &format!("v{}", number % 4), &[]).await.1.status() == StatusCode::CREATED
                && text(asked.get(&format!("/v2/a/blobs/{digest}")).await).await == bytes
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        assert!(push.await.unwrap());
    }
}
