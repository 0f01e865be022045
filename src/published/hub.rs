//! Files of the Hugging Face hub, in the cache that Python's `huggingface_hub` uses too.
//!
//! ```text
//! CACHE/models--ORG--NAME/
//!   blobs/HASH              a file's content; HASH.incomplete while it is on its way
//!   snapshots/COMMIT/FILE   a link to the content
//!   refs/main               the newest commit that was asked for
//! CACHE/.locks/models--ORG--NAME/HASH.lock   held by the program that downloads
//! ```
//!
//! Source: huggingface.co/docs/hub/local-cache. An own client, since the `hf-hub` crate brings a second HTTP client.

use super::download::{Download, Remote, lock};
use crate::data::home;
use crate::data::stream::http;
use crate::error::{Error, Result, size};
use crate::files;
use serde::Deserialize;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server that sends nothing for so long has gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Attempts in a row that bring no byte before a download is given up.
const ATTEMPTS: u32 = 4;

/// The hub, and where its files are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    cache: PathBuf,
    /// Ask nothing, take what is in the cache.
    offline: bool,
}

/// A file that lies in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub path: PathBuf,
    pub bytes: u64,
    /// Bytes that came over the network now.
    pub downloaded: u64,
    /// The licence as the hub tells it.
    pub licence: Option<String>,
    /// Why the hub was not asked whether there is a newer one.
    pub unasked: Option<String>,
}

/// What the hub tells about a repository.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(rename = "cardData")]
    card: Option<Card>,
}

#[derive(Deserialize)]
struct Card {
    license: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Hub {
    /// The hub and the cache that the environment names, as Python's `huggingface_hub` reads it: HF_ENDPOINT, HF_TOKEN,
    /// HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE. Else huggingface.co and ~/.cache/huggingface.
    ///
    /// Errors: there is no home folder, and no variable names another one.
    pub fn from_env() -> Result<Self> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let path = |name: &str| text(name).map(|value| home(Path::new(&value)));
        let own = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| dirs::home_dir().map(|home| home.join(".cache/huggingface")));
        let own = own.ok_or_else(|| {
            Error::data(
                "no place for the cache",
                "HF_HOME",
                "HF_HOME=/a/folder paella pull paella-v3",
            )
        })?;
        let written = || fs::read_to_string(own.join("token")).ok();
        let token = text("HF_TOKEN").or_else(written).map(|token| token.trim().to_string());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let yes =
            |value: String| matches!(value.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            token: token.filter(|token| !token.is_empty()),
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| own.join("hub")),
            offline: text("HF_HUB_OFFLINE").is_some_and(yes),
        })
    }

    /// The folder in which files are kept.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// A file of a repository's newest commit, downloaded if the cache does not have it. If the hub cannot be asked,
    /// what the cache has is taken. A download that was cut goes on where it stopped. `watch` gets bytes done and in
    /// all.
    ///
    /// Errors: no such file; not allowed; no answer, and nothing in the cache; a content with another checksum.
    pub fn fetch(
        &self,
        repo: &str,
        file: &str,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<Fetched> {
        let cached = self.cached(repo, file);
        let unasked = |why: String| {
            let (path, bytes) = cached.clone()?;
            Some(Fetched { path, bytes, downloaded: 0, licence: None, unasked: Some(why) })
        };
        if self.offline {
            let hint = "unset HF_HUB_OFFLINE, or bring the file where there is a network";
            let what = format!("`{file}` of {repo} is not in the cache");
            let place = self.folder(repo).display().to_string();
            return unasked("HF_HUB_OFFLINE is set".into())
                .ok_or_else(|| Error::data(what, place, hint));
        }
        let listing = match self.list(repo) {
            Ok(listing) => listing,
            Err(e) if !is_final(&e) => {
                return unasked(format!("the hub does not answer: {e}"))
                    .ok_or_else(|| self.failed(repo, file, &e));
            }
            Err(e) => return Err(self.failed(repo, file, &e)),
        };
        let licence = listing.card.as_ref().and_then(|card| card.license.as_ref());
        let licence = licence.map(|it| it.as_str().map_or_else(|| it.to_string(), String::from));
        let remote = self.remote(&listing, repo, file)?;
        let blob = self.folder(repo).join("blobs").join(&remote.hash);
        let there = fs::metadata(&blob).is_ok_and(|about| about.len() == remote.bytes);
        let downloaded = if there { 0 } else { self.download(repo, file, &remote, watch)? };
        let path = self.link(repo, file, &remote).map_err(|e| self.unwritable(&e))?;
        Ok(Fetched { path, bytes: remote.bytes, downloaded, licence, unasked: None })
    }

    fn folder(&self, repo: &str) -> PathBuf {
        self.cache.join(format!("models--{}", repo.replace('/', "--")))
    }

    /// A file of the commit that was asked for last, and its size. None if the cache lacks it.
    fn cached(&self, repo: &str, file: &str) -> Option<(PathBuf, u64)> {
        let folder = self.folder(repo);
        let commit = fs::read_to_string(folder.join("refs/main")).ok()?;
        let path = folder.join("snapshots").join(commit.trim()).join(file);
        let about = fs::metadata(&path).ok()?;
        about.is_file().then_some((path, about.len()))
    }

    fn list(&self, repo: &str) -> io::Result<Listing> {
        let address = format!("{}/api/models/{repo}/revision/main?blobs=true", self.endpoint);
        let (body, _) = http::get(&address, 0, SILENCE, self.token.as_deref())?;
        let mut text = Vec::new();
        body.take(64 << 20).read_to_end(&mut text)?;
        let odd = |e: serde_json::Error| {
            io::Error::new(ErrorKind::InvalidData, format!("no listing: {e}"))
        };
        serde_json::from_slice(&text).map_err(odd)
    }

    fn remote(&self, listing: &Listing, repo: &str, file: &str) -> Result<Remote> {
        let place = format!("{}/{repo}", self.endpoint);
        let Some(own) = listing.siblings.iter().find(|it| it.rfilename == file) else {
            let what = format!("the repository has no file `{file}`");
            let names: Vec<&str> =
                listing.siblings.iter().map(|it| it.rfilename.as_str()).take(20).collect();
            return Err(Error::data(what, place, format!("it has: {}", names.join(", "))));
        };
        let about = match (&own.lfs, &own.blob_id) {
            (Some(lfs), _) => Some((lfs.sha256.clone(), lfs.size)),
            (None, Some(id)) => own.size.map(|bytes| (id.clone(), bytes)),
            _ => None,
        };
        let is_hash = |text: &str, digits: &[usize]| {
            digits.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        match about {
            // both become names of files
            Some((hash, bytes)) if is_hash(&hash, &[40, 64]) && is_hash(&listing.sha, &[40]) => {
                Ok(Remote { commit: listing.sha.clone(), hash, bytes })
            }
            _ => {
                let what = format!("the hub tells no size and checksum of `{file}`");
                Err(Error::data(what, place, "is HF_ENDPOINT a hub?"))
            }
        }
    }

    /// Downloads a file's content into `blobs`. Returns the bytes that came over the network.
    fn download(
        &self,
        repo: &str,
        file: &str,
        remote: &Remote,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let unwritable = |e: io::Error| self.unwritable(&e);
        let name = format!("models--{}", repo.replace('/', "--"));
        let _lock =
            lock(&self.cache.join(".locks").join(name).join(format!("{}.lock", remote.hash)))
                .map_err(unwritable)?;
        let blob = self.folder(repo).join("blobs").join(&remote.hash);
        if fs::metadata(&blob).is_ok_and(|about| about.len() == remote.bytes) {
            return Ok(0); // another program has brought it while this one waited
        }
        let partial = blob.with_file_name(format!("{}.incomplete", remote.hash));
        let mut part = Download::open(&partial, remote).map_err(unwritable)?;
        let missing = remote.bytes - part.done;
        if let Some(free) = files::free_space(&self.cache).filter(|free| *free < missing) {
            let what =
                format!("`{file}` needs {}, free are {}", size(missing as f64), size(free as f64));
            let hint = "HF_HOME=/a/larger/disk paella pull paella-v3 keeps it elsewhere";
            return Err(Error::data(what, self.cache.display().to_string(), hint));
        }
        let address = format!("{}/{repo}/resolve/{}/{file}", self.endpoint, remote.commit);
        let (mut came, mut idle) = (0, 0);
        while part.done < remote.bytes {
            let before = part.done;
            let read = http::get(&address, part.done, SILENCE, self.token.as_deref());
            let read = read.and_then(|(body, goes_on)| {
                if !goes_on {
                    part.begin_again(remote)?;
                }
                part.take(body, remote, watch, &mut came)
            });
            let Err(e) = read else { continue };
            if is_final(&e) {
                return Err(self.failed(repo, file, &e));
            }
            idle = if part.done > before { 0 } else { idle + 1 };
            if idle == ATTEMPTS {
                let what = format!("the download stopped: {e}");
                let hint = format!(
                    "the same command goes on from {} of {}",
                    size(part.done as f64),
                    size(remote.bytes as f64)
                );
                return Err(Error::data(what, address, hint));
            }
            std::thread::sleep(Duration::from_millis(300 * u64::from(idle)));
        }
        let found = part.hash();
        if found != remote.hash {
            let _ = fs::remove_file(&partial);
            let what = format!("the checksum is wrong: expected {}, got {found}", remote.hash);
            let hint = "the download is removed: the same command begins it again";
            return Err(Error::data(what, address, hint));
        }
        part.file.sync_all().and_then(|()| fs::rename(&partial, &blob)).map_err(unwritable)?;
        Ok(came)
    }

    /// Names the content in the snapshot of its commit, and makes that the newest.
    fn link(&self, repo: &str, file: &str, remote: &Remote) -> io::Result<PathBuf> {
        let folder = self.folder(repo);
        let path = folder.join("snapshots").join(&remote.commit).join(file);
        let up = "../".repeat(1 + Path::new(file).components().count());
        let target = PathBuf::from(format!("{up}blobs/{}", remote.hash));
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        if fs::read_link(&path).ok() != Some(target.clone()) {
            let _ = fs::remove_file(&path);
            symlink(target, &path)?;
        }
        files::write(&folder.join("refs/main"), remote.commit.as_bytes())?;
        Ok(path)
    }

    fn failed(&self, repo: &str, file: &str, e: &io::Error) -> Error {
        let hint = match e.kind() {
            ErrorKind::PermissionDenied => {
                "HF_TOKEN=hf_.. paella pull paella-v3: a token that may read it, from huggingface.co/settings/tokens"
            }
            ErrorKind::NotFound => "is HF_ENDPOINT right?",
            _ => "is there a network? without one, files that are in the cache are taken",
        };
        let what = format!("`{file}` of {repo} cannot be brought: {e}");
        Error::data(what, &self.endpoint, hint)
    }

    fn unwritable(&self, e: &io::Error) -> Error {
        let hint = "HF_HOME=/a/folder paella pull paella-v3 keeps the files elsewhere";
        Error::data(
            format!("the cache cannot be written: {e}"),
            self.cache.display().to_string(),
            hint,
        )
    }
}

/// Whether asking again cannot help.
fn is_final(e: &io::Error) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, NotFound, PermissionDenied, StorageFull};
    matches!(e.kind(), InvalidData | InvalidInput | NotFound | PermissionDenied | StorageFull)
}
