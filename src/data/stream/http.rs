//! A shard from a web server, from any byte on.

use std::io;
use std::sync::LazyLock;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::Bytes;

/// Connections are kept for the next shard; and why certificates cannot be checked, if that is so.
static AGENT: LazyLock<(Agent, Option<String>)> = LazyLock::new(|| {
    let (roots, fault) = match roots() {
        Ok(roots) => (roots, None),
        Err(why) => (RootCerts::new_with_certs(&[]), Some(why)),
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(15)))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("paella/", env!("CARGO_PKG_VERSION")));
    (config.build().into(), fault)
});

/// Who is trusted to sign servers' certificates: those in the file that `SSL_CERT_FILE` names, as OpenSSL has it, else
/// those that Mozilla trusts.
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

/// The body from byte `from` on, and true; or the whole body and false where the server knows no ranges.
///
/// Errors: no answer, `silence` passed without a byte, or a status that is no success; `NotFound`, `PermissionDenied`
/// and `InvalidInput` where asking again does not help.
pub fn get(address: &str, from: u64, silence: Duration) -> io::Result<(Bytes, bool)> {
    let (agent, fault) = &*AGENT;
    if let Some(why) = fault.as_ref().filter(|_| address.starts_with("https://")) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why.clone()));
    }
    let request = agent.get(address).config().timeout_per_read(Some(silence)).build();
    let request =
        if from > 0 { request.header("Range", format!("bytes={from}-")) } else { request };
    let response = request.call().map_err(ureq::Error::into_io)?;
    let status = response.status().as_u16();
    let body: Bytes = Box::new(response.into_body().into_reader());
    match status {
        200 => Ok((body, from == 0)),
        206 => Ok((body, true)),
        416 if from > 0 => Ok((Box::new(io::empty()), true)), // it ended where we are
        404 | 410 => Err(failed(io::ErrorKind::NotFound, status)),
        401 | 403 => Err(failed(io::ErrorKind::PermissionDenied, status)),
        408 | 425 | 429 | 500.. => Err(failed(io::ErrorKind::Other, status)),
        _ => Err(failed(io::ErrorKind::InvalidInput, status)),
    }
}

fn failed(kind: io::ErrorKind, status: u16) -> io::Error {
    io::Error::new(kind, format!("the server answers {status}"))
}
