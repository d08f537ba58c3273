//! Push and pull between two stores over a registry of ours, on good lines and bad.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{Heard, Home, foreign_layer, line, new_client, noise, reference, registry, serve};
use teu_oci::{Descriptor, Digest, ImageConfig, Manifest, RootFs, media_type};
use teu_registry::client::{Client, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_built_image_comes_back_the_same() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let name = format!("{address}/team/app:v1");
    let manifest = here.build(&[("lower", b"one"), ("upper", b"two")]);
    let heard = Arc::new(Heard::default());
    let (pushing, said, to) = (Arc::new(here), heard.clone(), name.clone());
    let of = manifest.clone();
    // On a task of its own, as the engine does it.
    let task = tokio::spawn(async move { pushing.push(&new_client(), &to, &of, &said).await });
    let pushed = task.await.unwrap().unwrap();
    assert_ne!(pushed.digest, manifest.digest, "the pushed manifest lists compressed layers");
    assert_eq!((heard.count("Preparing"), heard.count("Pushed")), (2, 2));
    let last = format!("v1: digest: {} size: {}", pushed.digest, pushed.size);
    assert_eq!(heard.lines().last(), Some(&last));

    let heard = Arc::new(Heard::default());
    let pulled = there.pull(&new_client(), &name, &heard).await.unwrap();
    assert_eq!(pulled.manifest, pushed);
    assert!(pulled.changed);
    assert_eq!((heard.count("Pulling fs layer"), heard.count("Pull complete")), (2, 2));
    assert_eq!(there.file(&pulled.chain_ids[0], "lower").as_deref(), Some(&b"one"[..]));
    assert_eq!(there.file(&pulled.chain_ids[1], "upper").as_deref(), Some(&b"two"[..]));
    assert!(pulled.layers.iter().all(|layer| layer.media_type == media_type::OCI_LAYER_GZIP));
}

#[tokio::test]
async fn what_exists_is_neither_sent_nor_fetched_nor_compressed_again() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let name = format!("{address}/app:v1");
    let manifest = here.build(&[("a", b"one"), ("b", b"two")]);
    let pushed = here.push(&new_client(), &name, &manifest, &Arc::default()).await.unwrap();
    let heard = Arc::new(Heard::default());
    let again = here.push(&new_client(), &name, &manifest, &heard).await.unwrap();
    assert_eq!(again, pushed);
    assert_eq!(heard.count("Layer already exists"), 2);

    there.pull(&new_client(), &name, &Arc::default()).await.unwrap();
    let heard = Arc::new(Heard::default());
    let pulled = there.pull(&new_client(), &name, &heard).await.unwrap();
    assert!(!pulled.changed);
    assert_eq!((heard.count("Already exists"), heard.count("Download complete")), (2, 0));
}

#[tokio::test]
async fn a_blob_next_door_is_mounted() {
    let (address, _registry) = registry().await;
    let here = Home::new();
    let manifest = here.build(&[("a", b"one")]);
    here.push(&new_client(), &format!("{address}/first:v1"), &manifest, &Arc::default()).await.unwrap();
    let heard = Arc::new(Heard::default());
    here.push(&new_client(), &format!("{address}/second:v1"), &manifest, &heard).await.unwrap();
    assert_eq!(heard.count("Mounted from first"), 1);
    Home::new().pull(&new_client(), &format!("{address}/second:v1"), &Arc::default()).await.unwrap();
}

#[tokio::test]
async fn docker_media_types_stay_what_they_are() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let (manifest, config, layer) = (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER);
    let manifest = here.build_as(&[("a", b"one")], manifest, config, layer);
    let name = format!("{address}/docker:v1");
    let pushed = here.push(&new_client(), &name, &manifest, &Arc::default()).await.unwrap();
    assert_eq!(pushed.media_type, media_type::DOCKER_MANIFEST);
    let pulled = there.pull(&new_client(), &name, &Arc::default()).await.unwrap();
    assert_eq!(pulled.manifest.media_type, media_type::DOCKER_MANIFEST);
    assert_eq!(pulled.config.media_type, media_type::DOCKER_CONFIG);
    assert_eq!(pulled.layers[0].media_type, media_type::DOCKER_LAYER_GZIP);
    // What was pulled is pushed elsewhere byte for byte.
    let other = there.push(&new_client(), &format!("{address}/copy:v1"), &pulled.manifest, &Arc::default()).await;
    assert_eq!(other.unwrap().digest, pulled.manifest.digest);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_was() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let content = noise(6 << 20, 7);
    let manifest = here.build(&[("big", &content)]);
    here.push(&new_client(), &format!("{address}/app:v1"), &manifest, &Arc::default()).await.unwrap();
    let line = line(address, 3, 1 << 20).await;
    let pulled = there.pull(&new_client(), &format!("{}/app:v1", line.address), &Arc::default()).await.unwrap();
    assert!(there.file(&pulled.chain_ids[0], "big").unwrap() == content);
    assert!(line.breaks_left.load(Ordering::SeqCst) <= 0, "the line did break");
    assert!(line.ranges_asked.load(Ordering::SeqCst) >= 3, "each new attempt asked for the rest");
}

#[tokio::test]
async fn the_next_pull_goes_on_where_the_last_one_ended() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let content = noise(4 << 20, 9);
    let manifest = here.build(&[("big", &content)]);
    here.push(&new_client(), &format!("{address}/app:v1"), &manifest, &Arc::default()).await.unwrap();
    let bad = line(address, 1, 2 << 20).await;
    let mut config = support::impatient();
    config.retry.attempts = 1;
    let client = Client::new(config);
    let error = there.pull(&client, &format!("{}/app:v1", bad.address), &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. } | Error::CutShort { .. }), "{error}");
    let good = line(address, 0, 0).await;
    let pulled = there.pull(&client, &format!("{}/app:v1", good.address), &Arc::default()).await.unwrap();
    assert_eq!(good.ranges_asked.load(Ordering::SeqCst), 1);
    assert!(there.file(&pulled.chain_ids[0], "big").unwrap() == content);
}

#[tokio::test]
async fn a_pull_may_follow_at_once_on_one_that_was_broken_off() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let content = noise(8 << 20, 5);
    let manifest = here.build(&[("big", &content)]);
    here.push(&new_client(), &format!("{address}/app:v1"), &manifest, &Arc::default()).await.unwrap();
    let mut config = support::impatient();
    config.retry.attempts = 1;
    let client = Client::new(config);
    for pieces in 1..=6 {
        let bad = line(address, 1, pieces << 18).await;
        let error = there.pull(&client, &format!("{}/app:v1", bad.address), &Arc::default()).await.unwrap_err();
        assert!(matches!(error, Error::Broken { .. } | Error::CutShort { .. }), "{error}");
    }
    let pulled = there.pull(&new_client(), &format!("{address}/app:v1"), &Arc::default()).await.unwrap();
    assert!(there.file(&pulled.chain_ids[0], "big").unwrap() == content);
}

#[tokio::test]
async fn a_broken_upload_is_sent_again() {
    let (address, _registry) = registry().await;
    let here = Home::new();
    let manifest = here.build(&[("big", &noise(2 << 20, 3))]);
    let line = line(address, 2, 200).await;
    here.push(&new_client(), &format!("{}/app:v1", line.address), &manifest, &Arc::default()).await.unwrap();
    Home::new().pull(&new_client(), &format!("{address}/app:v1"), &Arc::default()).await.unwrap();
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_digest_says_is_refused() {
    let (address, registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let manifest = here.build(&[("a", b"one")]);
    let name = format!("{address}/app:v1");
    let pushed = here.push(&new_client(), &name, &manifest, &Arc::default()).await.unwrap();
    let document: Manifest = serde_json::from_slice(&registry.store.blobs().read(&pushed.digest).unwrap()).unwrap();
    let layer = &document.layers[0];
    let path = registry.store.blobs().path(&layer.digest);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 5;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = there.pull(&new_client(), &name, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. } | Error::Store(_)), "{error}");
    assert!(there.store.blobs().stat(&layer.digest).is_none());
    assert!(there.store.snapshots().layers().unwrap().is_empty());
}

/// Puts an image of one gzip layer into a registry's store by hand, with any diff ID.
async fn publish(address: std::net::SocketAddr, home: &Home, layer: &[u8], diff_id: &Digest, name: &str) {
    let rootfs = RootFs { diff_ids: vec![diff_id.clone()], ..RootFs::default() };
    let image = ImageConfig { architecture: "amd64".into(), os: "linux".into(), rootfs, ..ImageConfig::default() };
    let config = home.put(media_type::OCI_CONFIG, &serde_json::to_vec(&image).unwrap());
    let layer = home.put(media_type::OCI_LAYER_GZIP, layer);
    let manifest =
        home.put(media_type::OCI_MANIFEST, &serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap());
    home.push(&new_client(), &format!("{address}/{name}"), &manifest, &Arc::default()).await.unwrap();
}

#[tokio::test]
async fn a_layer_of_other_tools_is_unpacked_and_kept_byte_for_byte() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let (layer, diff_id) = foreign_layer("dir/file", b"content");
    publish(address, &here, &layer, &diff_id, "foreign:v1").await;
    let pulled = there.pull(&new_client(), &format!("{address}/foreign:v1"), &Arc::default()).await.unwrap();
    assert_eq!(there.file(&pulled.chain_ids[0], "dir/file").as_deref(), Some(&b"content"[..]));
    assert!(std::fs::read(there.store.blobs().path(&pulled.layers[0].digest)).unwrap() == layer);
}

#[tokio::test]
async fn a_layer_whose_diff_id_is_wrong_is_refused() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let (layer, _) = foreign_layer("file", b"content");
    publish(address, &here, &layer, &Digest::sha256(b"other"), "foreign:v1").await;
    let error = there.pull(&new_client(), &format!("{address}/foreign:v1"), &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(there.store.snapshots().layers().unwrap().is_empty());
}

#[tokio::test]
async fn an_index_is_pulled_for_the_platform_and_pushed_whole() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Home::new());
    let mut entries = Vec::new();
    for (platform, content) in [("linux/arm64", &b"arm"[..]), ("linux/amd64", b"amd")] {
        let (layer, diff_id) = foreign_layer("file", content);
        let name = format!("multi:{}", platform.replace('/', "-"));
        publish(address, &here, &layer, &diff_id, &name).await;
        let mut entry = new_client().resolve(&reference(&format!("{address}/{name}"))).await.unwrap().descriptor;
        entry.platform = Some(platform.parse().unwrap());
        entries.push(entry);
    }
    let index = here.put(media_type::OCI_INDEX, &serde_json::to_vec(&teu_oci::Index::new(entries)).unwrap());
    let name = format!("{address}/multi:v1");
    assert_eq!(here.push(&new_client(), &name, &index, &Arc::default()).await.unwrap(), index);
    let pulled = there.pull(&new_client(), &name, &Arc::default()).await.unwrap();
    assert_eq!(pulled.target.digest, index.digest);
    assert_ne!(pulled.manifest.digest, index.digest);
    assert_eq!(there.file(&pulled.chain_ids[0], "file").as_deref(), Some(&b"amd"[..]));
    let wanted = "linux/s390x".parse().unwrap();
    let error = new_client().pull(&reference(&name), &wanted, &there.store, &there.lease, Arc::new(())).await;
    assert!(matches!(error, Err(Error::NoPlatform { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pulls_of_one_image_share_their_work() {
    let (address, _registry) = registry().await;
    let (here, there) = (Home::new(), Arc::new(Home::new()));
    let base = noise(1 << 20, 5);
    for tag in ["v1", "v2", "v3"] {
        let manifest = here.build(&[("base", &base), ("top", tag.as_bytes())]);
        here.push(&new_client(), &format!("{address}/app:{tag}"), &manifest, &Arc::default()).await.unwrap();
    }
    let heard = Arc::new(Heard::default());
    let pulls = (0..9).map(|number| {
        let (there, heard) = (there.clone(), heard.clone());
        let name = format!("{address}/app:v{}", number % 3 + 1);
        tokio::spawn(async move { there.pull(&new_client(), &name, &heard).await })
    });
    let mut layers = std::collections::BTreeSet::new();
    for pull in pulls.collect::<Vec<_>>() {
        let pulled = pull.await.unwrap().unwrap();
        assert!(there.file(&pulled.chain_ids[0], "base").unwrap() == base);
        layers.extend(pulled.layers.into_iter().map(|layer| layer.digest));
    }
    assert_eq!(heard.count("Download complete"), layers.len(), "each layer is fetched once");
}

#[tokio::test]
async fn an_unknown_image_is_not_found_in_dockers_words() {
    let (address, _registry) = registry().await;
    let error = new_client().resolve(&reference(&format!("{address}/none:v1"))).await.unwrap_err();
    let Error::NotFound { message, .. } = error else { panic!("{error}") };
    assert!(message.starts_with("name unknown: "), "{message}");
}

#[tokio::test]
async fn a_silent_registry_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).await.unwrap();
            // No TLS here; plain requests are heard and never answered.
            if buffer[..length].starts_with(b"GET") {
                open.push(stream);
            }
        }
    });
    let mut config = support::impatient();
    config.retry.stall = Duration::from_millis(100);
    let error = Client::new(config).resolve(&reference(&format!("{address}/x:y"))).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_larger_than_allowed_is_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).await.unwrap();
            if buffer[..length].starts_with(b"GET") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
                while stream.write_all(&[b' '; 65536]).await.is_ok() {}
            }
        }
    });
    let error = new_client().resolve(&reference(&format!("{address}/x:y"))).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn what_a_registry_has_survives_its_restart() {
    let (address, registry) = registry().await;
    let here = Home::new();
    let manifest = here.build(&[("a", b"one")]);
    here.push(&new_client(), &format!("{address}/app:v1"), &manifest, &Arc::default()).await.unwrap();
    registry.store.collect().unwrap();
    let again = serve(teu_registry::server::router(registry.store.clone()).unwrap()).await;
    let pulled = Home::new().pull(&new_client(), &format!("{again}/app:v1"), &Arc::default()).await.unwrap();
    assert_eq!(pulled.layers.len(), 1);
}

#[tokio::test]
async fn the_compressed_form_is_made_again_only_when_it_is_gone() {
    let (address, _registry) = registry().await;
    let mut here = Home::new();
    let manifest = here.build(&[("a", &noise(100_000, 1))]);
    let first = here.push(&new_client(), &format!("{address}/app:v1"), &manifest, &Arc::default()).await.unwrap();
    // Only the image as it was built is held from now on: what the push made may go.
    let lease = here.store.lease("the image");
    let document: Manifest = serde_json::from_slice(&here.store.blobs().read(&manifest.digest).unwrap()).unwrap();
    let held: [&Descriptor; 2] = [&manifest, &document.config];
    held.iter().for_each(|descriptor| lease.hold(&descriptor.digest));
    lease.hold(&here.store.snapshots().layers().unwrap()[0]);
    here.lease = lease;
    assert!(here.store.collect().unwrap().blobs >= 2);
    let second = here.push(&new_client(), &format!("{address}/app:v2"), &manifest, &Arc::default()).await.unwrap();
    assert_eq!(first, second, "the same layer becomes the same blob");
}
