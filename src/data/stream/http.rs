//! Reads a file from a web server, starting at any byte.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::Bytes;

/// The HTTP client, which reuses connections, and the reason why certificates cannot be checked, if there is one.
static AGENT: LazyLock<(Agent, Option<String>)> = LazyLock::new(|| {
    let (roots, fault) = match roots() {
        Ok(roots) => (roots, None),
        Err(why) => (RootCerts::new_with_certs(&[]), Some(why)),
    };
    let config = Agent::config_builder()
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(15)))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("paella/", env!("CARGO_PKG_VERSION")));
    (config.build().into(), fault)
});

/// Trusted root certificates: those in the file that `SSL_CERT_FILE` names, as in OpenSSL, else Mozilla's.
fn roots() -> Result<RootCerts, String> {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return Ok(RootCerts::WebPki);
    };
    let refused = |why: String| format!("SSL_CERT_FILE, {}: {why}", path.display());
    let text = std::fs::read(&path).map_err(|e| refused(e.to_string()))?;
    let mut all = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(one) = item.map_err(|e| refused(e.to_string()))? {
            all.push(one);
        }
    }
    match all.is_empty() {
        true => Err(refused("no certificate".into())),
        false => Ok(RootCerts::new_with_certs(&all)),
    }
}

/// Requests the body from byte `from` on. Returns the bytes and true, or the whole body and false if the server does
/// not support ranges. `token` is shown to this host only, not to one that it refers to.
///
/// Errors: no answer; no byte for `silence`; an unsuccessful status. The kind is `NotFound`, `PermissionDenied` or
///         `InvalidInput` if a retry cannot help.
pub fn get(
    address: &str,
    from: u64,
    silence: Duration,
    token: Option<&str>,
) -> io::Result<(Bytes, bool)> {
    let (agent, fault) = &*AGENT;
    if let Some(why) = fault.as_ref().filter(|_| address.starts_with("https://")) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why.clone()));
    }
    let request = agent.get(address).config().timeout_per_read(Some(silence)).build();
    let request =
        if from > 0 { request.header("Range", format!("bytes={from}-")) } else { request };
    let request = match token {
        Some(token) => request.header("Authorization", format!("Bearer {token}")),
        None => request,
    };
    let response = request.call().map_err(ureq::Error::into_io)?;
    let status = response.status().as_u16();
    let body: Bytes = Box::new(response.into_body().into_reader());
    match status {
        200 => Ok((body, from == 0)),
        206 => Ok((body, true)),
        416 if from > 0 => Ok((Box::new(io::empty()), true)), // the shard ended at this position
        404 | 410 => Err(failed(io::ErrorKind::NotFound, status)),
        401 | 403 => Err(failed(io::ErrorKind::PermissionDenied, status)),
        408 | 425 | 429 | 500.. => Err(failed(io::ErrorKind::Other, status)),
        _ => Err(failed(io::ErrorKind::InvalidInput, status)),
    }
}

fn failed(kind: io::ErrorKind, status: u16) -> io::Error {
    io::Error::new(kind, format!("the server answers {status}"))
}
