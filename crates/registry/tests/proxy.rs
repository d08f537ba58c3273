//! Registries behind a proxy: what it is asked, and by whom.

mod support;

use std::sync::{Arc, Mutex};

use support::{Home, registry};
use teu_registry::client::{Client, Config, Error, Proxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that passes plain requests on to `to`, whatever host they are for, and refuses to connect anybody.
async fn proxy(to: String) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap().to_string(), Asked::default());
    let told = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (to, told) = (to.clone(), told.clone());
            tokio::spawn(async move {
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                let first = text.lines().next().unwrap_or_default().to_owned();
                let known = text.to_lowercase().contains("proxy-authorization: basic dtpw");
                told.lock().unwrap().push(format!("{first} {known}"));
                if first.starts_with("CONNECT") {
                    return client.write_all(b"HTTP/1.1 403 Not by me\r\n\r\n").await;
                }
                let mut server = TcpStream::connect(to).await?;
                server.write_all(text.replacen("http://registry.test", "", 1).as_bytes()).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    (address, asked)
}

fn client(proxies: Proxies) -> Client {
    // A mirror decides the scheme by itself.
    Client::new(Config { mirror: Some("http://registry.test".into()), proxies, ..Config::default() })
}

#[tokio::test]
async fn plain_requests_and_tunnels_go_by_the_proxy() {
    let (address, _registry) = registry().await;
    let home = Home::new();
    let manifest = home.build(&[("a", b"one")]);
    let local = Client::new(Config::default());
    home.push(&local, &format!("{address}/library/app:v1"), &manifest, &Arc::default()).await.unwrap();
    let (proxy, asked) = proxy(address.to_string()).await;
    let proxies =
        Proxies { http: format!("http://u:p@{proxy}"), https: format!("http://u:p@{proxy}"), ..Proxies::default() };
    let found = client(proxies.clone()).resolve(&support::reference("docker.io/library/app:v1")).await.unwrap();
    assert!(found.descriptor.size > 0);
    let first = asked.lock().unwrap()[0].clone();
    assert_eq!(first, "GET http://registry.test/v2/library/app/manifests/v1 HTTP/1.1 true");
    // What is to be encrypted goes through a tunnel; the proxy's own words say why there is none.
    let refused = Client::new(Config { proxies, ..support::impatient() });
    let error = refused.resolve(&support::reference("far.test/app:v1")).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains("403 Not by me"), "{error}");
    let last = asked.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last, "CONNECT far.test:443 HTTP/1.1 true");
}
