//! Shards over https, from a server whose certificate is trusted only through `SSL_CERT_FILE`.

use super::make::{Manners, Talk, all, config, open, serve_over, shard};
use paella::data::stream::StreamConfig;
use rcgen::generate_simple_self_signed;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tempfile::tempdir;

const ADDRESS: &str = "PAELLA_TEST_ADDRESS";

#[test]
#[ignore = "the process that `https_is_read_if_the_certificate_can_be_checked` starts"]
fn child_reads_from_a_server() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let config = StreamConfig { retries: 1, shuffle: 0, ..config(&address, 1) };
    match open(&config).next(all(12)) {
        Ok(samples) => {
            let captions: Vec<String> = samples.into_iter().map(|s| s.caption).collect();
            eprintln!("read: {}", captions.join(" "));
        }
        Err(error) => eprintln!("refused: {error}"),
    }
}

/// The output of another process that reads the address. A new process is needed because libraries read the variable
/// once.
fn child(address: &str, certificates: Option<&Path>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "stream::tls::child_reads_from_a_server", "--ignored", "--nocapture"])
        .env(ADDRESS, address)
        .env_remove("SSL_CERT_FILE");
    if let Some(path) = certificates {
        command.env("SSL_CERT_FILE", path);
    }
    String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned()
}

#[test]
fn https_is_read_if_the_certificate_can_be_checked() {
    let own = generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![own.cert.der().clone()], key).unwrap());
    let wrap = move |stream: TcpStream| -> Option<Box<dyn Talk>> {
        let connection = ServerConnection::new(server.clone()).ok()?;
        Some(Box::new(StreamOwned::new(connection, stream)))
    };
    // the first answer breaks off in the middle
    let manners = Manners { breaks: 1, ..Manners::default() };
    let (port, asked) = serve_over(shard(0, 12), manners, wrap);
    let address = format!("https://localhost:{port}/x.tar");
    let folder = tempdir().unwrap();
    let certificates = folder.path().join("certificates.pem");
    std::fs::write(&certificates, own.cert.pem()).unwrap();

    let said = child(&address, Some(&certificates));
    let captions: Vec<String> = (0..12).map(|i| format!("s-{i:03}")).collect();
    assert!(said.contains(&format!("read: {}", captions.join(" "))), "{said}");
    assert!(asked.load(Ordering::Relaxed) >= 2);
    // not trusted; another host name; a missing file, or a file without a certificate
    let said = child(&address, None);
    assert!(said.contains("refused: ") && said.contains("UnknownIssuer"), "{said}");
    let said = child(&address.replace("localhost", "127.0.0.1"), Some(&certificates));
    assert!(said.contains("refused: ") && said.contains("certificate"), "{said}");
    let said = child(&address, Some(&folder.path().join("none.pem")));
    assert!(said.contains("refused: ") && said.contains("SSL_CERT_FILE, "), "{said}");
    std::fs::write(&certificates, "").unwrap();
    let said = child(&address, Some(&certificates));
    assert!(said.contains("no certificate"), "{said}");
}
