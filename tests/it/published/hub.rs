//! `paella pull`, from a server on this machine that speaks the hub's routes.

use crate::cli::{Workspace, assert_refused, text};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILES: [&str; 5] = [
    "vqgan_f4.pt",
    "paella_v3.pt",
    "prior_v1.pt",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
];

/// How the server behaves.
#[derive(Clone, Copy, Default)]
struct Manners {
    /// Each answer with a file's content breaks off after so many bytes, as long as there are `cuts`.
    cut_after: usize,
    cuts: usize,
    /// The content is another one than the listing tells.
    spoiled: bool,
    /// Only who shows this token is answered.
    token: Option<&'static str>,
}

/// A request: path, range and token as they came.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    range: Option<String>,
    token: Option<String>,
}

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

fn content(file: &str) -> Vec<u8> {
    (0..5000).flat_map(|i| format!("{file} {i}\n").into_bytes()).collect()
}

fn hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Server {
    fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, mut manners) = (asked.clone(), manners);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &mut manners, &log);
            }
        });
        Self { port, asked }
    }

    /// Requests for contents since the last call.
    fn contents(&self) -> Vec<Asked> {
        let all = std::mem::take(&mut *self.asked.lock().unwrap());
        all.into_iter().filter(|asked| asked.path.starts_with("/cdn/")).collect()
    }

    fn pull(&self, workspace: &Workspace, more: &[&str]) -> Output {
        pull(workspace, &format!("http://127.0.0.1:{}", self.port), more, &[])
    }
}

fn pull(workspace: &Workspace, endpoint: &str, more: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = workspace.command(&[&["pull", "paella-v3"], more].concat());
    for name in
        ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "http_proxy", "HTTP_PROXY"]
    {
        command.env_remove(name);
    }
    command
        .env("HF_HOME", workspace.file("hf"))
        .env("HF_ENDPOINT", endpoint)
        .envs(env.iter().copied());
    command.output().unwrap()
}

fn answer(
    mut stream: TcpStream,
    manners: &mut Manners,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let mut asked = Asked { path: path.clone(), range: None, token: None };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_lowercase().as_str() {
            "range" => asked.range = Some(value.to_string()),
            "authorization" => asked.token = Some(value.to_string()),
            _ => {}
        }
    }
    log.lock().unwrap().push(asked.clone());
    let mut send = |status: &str, headers: &str, body: &[u8], length: usize| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body)
    };
    if let Some(path) = path.strip_prefix("/cdn/") {
        let mut body = content(path);
        if manners.spoiled {
            body[7] ^= 1;
        }
        let from = asked.range.as_ref().map(|range| {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap()
        });
        let rest = body.split_off(from.unwrap_or(0));
        let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
        let mut end = rest.len();
        if manners.cuts > 0 {
            manners.cuts -= 1;
            end = end.min(manners.cut_after);
        }
        return send(status, "", &rest[..end], rest.len());
    }
    let wanted = manners.token.map(|token| format!("Bearer {token}"));
    if wanted.is_some() && asked.token != wanted {
        return send("401 Unauthorized", "", b"", 0);
    }
    if path.starts_with("/api/models/") {
        let files = FILES.map(|name| {
            let bytes = content(name);
            let lfs = json!({ "sha256": hash(&bytes), "size": bytes.len(), "pointerSize": 130 });
            json!({ "rfilename": name, "size": bytes.len(), "blobId": "0".repeat(40), "lfs": lfs })
        });
        let listing =
            json!({ "sha": COMMIT, "siblings": files, "cardData": { "license": "cc0-1.0" } });
        let body = listing.to_string();
        return send("200 OK", "", body.as_bytes(), body.len());
    }
    match path.split_once(&format!("/resolve/{COMMIT}/")) {
        // `localhost` is another host than the one that was asked
        Some((_, file)) => {
            let port = stream.local_addr()?.port();
            let place = format!("Location: http://localhost:{port}/cdn/{file}\r\n");
            let mut send = |status: &str, headers: &str| {
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: 0\r\n\r\n"
                )
            };
            send("302 Found", &place)
        }
        None => send("404 Not Found", "", b"", 0),
    }
}

fn repo(workspace: &Workspace) -> PathBuf {
    workspace.file("hf/hub/models--dome272--Paella")
}

fn assert_done(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn pull_brings_all_five_into_the_cache_that_python_shares() {
    let (workspace, server) = (Workspace::new(), Server::start(Manners::default()));
    let said = assert_done(&server.pull(&workspace, &[]));
    for part in [
        "licence mit",
        "another licence: cc0-1.0",
        "google/byt5-xl",
        "paella doctor --weights weights",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert_eq!(server.contents().len(), 5);
    // the layout of huggingface_hub
    let folder = repo(&workspace);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = fs::read_link(folder.join("snapshots").join(COMMIT).join("paella_v3.pt")).unwrap();
    let own = hash(&content("paella_v3.pt"));
    assert_eq!(link, Path::new("../../blobs").join(&own));
    assert_eq!(fs::read(folder.join("blobs").join(own)).unwrap(), content("paella_v3.pt"));
    assert_eq!(fs::read_dir(folder.join("blobs")).unwrap().count(), 3, "nothing half done is left");
    // the names that the configs use
    for (place, file) in
        [("paella_v3.pt", "paella_v3.pt"), ("byt5-xl/pytorch_model.bin", "pytorch_model.bin")]
    {
        assert_eq!(fs::read(workspace.file("weights").join(place)).unwrap(), content(file));
    }
    // a second time nothing comes; files of one's own stay
    let own = workspace.file("weights/vqgan_f4.pt");
    fs::remove_file(&own).unwrap();
    fs::write(&own, "mine").unwrap();
    let said = assert_done(&server.pull(&workspace, &[]));
    assert!(said.contains("from the cache") && said.contains("stays as it is"), "{said}");
    assert_eq!((server.contents().len(), fs::read(&own).unwrap()), (0, b"mine".to_vec()));
    let output = server.pull(&workspace, &["--only", "denoiser", "--json"]);
    let row: Value = serde_json::from_str(assert_done(&output).trim()).unwrap();
    assert_eq!((&row["file"], &row["downloaded"]), (&"paella_v3.pt".into(), &0.into()));
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let all = content("paella_v3.pt").len();
    let only = ["--only", "denoiser"];
    // within one call
    let manners = Manners { cut_after: 10_000, cuts: 2, ..Manners::default() };
    let (workspace, server) = (Workspace::new(), Server::start(manners));
    assert_done(&server.pull(&workspace, &only));
    let ranges: Vec<_> = server.contents().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some("bytes=10000-".into()), Some("bytes=20000-".into())]);
    assert_eq!(fs::read(workspace.file("weights/paella_v3.pt")).unwrap().len(), all);
    // from one call to the next
    let workspace = Workspace::new();
    let partial =
        repo(&workspace).join(format!("blobs/{}.incomplete", hash(&content("paella_v3.pt"))));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &content("paella_v3.pt")[..30_000]).unwrap();
    let silent = Server::start(Manners { cut_after: 0, cuts: usize::MAX, ..Manners::default() });
    let output = silent.pull(&workspace, &only);
    assert_refused("cut for ever", &output);
    let said = text(&output.stderr);
    assert!(said.contains("the same command goes on from 30.0 kB"), "{said}");
    assert_done(&server.pull(&workspace, &only));
    let ranges: Vec<_> = server.contents().into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [Some("bytes=30000-".to_string())]);
    assert_eq!(fs::read(workspace.file("weights/paella_v3.pt")).unwrap(), content("paella_v3.pt"));
    assert!(!partial.exists());
}

#[test]
fn a_wrong_checksum_is_refused_and_the_download_removed() {
    let (workspace, server) =
        (Workspace::new(), Server::start(Manners { spoiled: true, ..Manners::default() }));
    let output = server.pull(&workspace, &["--only", "tokenizer"]);
    assert_refused("spoiled", &output);
    let said = text(&output.stderr);
    assert!(
        said.contains("the checksum is wrong: expected ") && said.contains("begins it again"),
        "{said}"
    );
    assert_eq!(fs::read_dir(repo(&workspace).join("blobs")).unwrap().count(), 0);
    assert!(!workspace.file("weights/vqgan_f4.pt").exists());
}

#[test]
fn without_a_network_the_cache_is_taken() {
    let (workspace, server) = (Workspace::new(), Server::start(Manners::default()));
    let only = ["--only", "tokenizer"];
    assert_done(&server.pull(&workspace, &only));
    let nobody = "http://127.0.0.1:9";
    let said = assert_done(&pull(&workspace, nobody, &only, &[]));
    assert!(said.contains("from the cache") && said.contains("the hub does not answer"), "{said}");
    let offline = [("HF_HUB_OFFLINE", "1")];
    let said = assert_done(&pull(&workspace, nobody, &only, &offline));
    assert!(said.contains("HF_HUB_OFFLINE is set"), "{said}");
    // what is not there is said
    for env in [&offline[..], &[]] {
        let output = pull(&workspace, nobody, &["--only", "prior"], env);
        assert_refused("not in the cache", &output);
        assert!(text(&output.stderr).contains("prior_v1.pt"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_token_is_shown_to_the_hub_and_to_nobody_else() {
    let manners = Manners { token: Some("hf_mine"), ..Manners::default() };
    let (workspace, server) = (Workspace::new(), Server::start(manners));
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let only = ["--only", "tokenizer"];
    let output = pull(&workspace, &endpoint, &only, &[]);
    assert_refused("no token", &output);
    assert!(text(&output.stderr).contains("HF_TOKEN=hf_"), "{}", text(&output.stderr));
    assert_done(&pull(&workspace, &endpoint, &only, &[("HF_TOKEN", "hf_mine")]));
    assert!(server.contents().iter().all(|asked| asked.token.is_none()));
    // as `hf auth login` leaves it
    let workspace = Workspace::new();
    fs::create_dir_all(workspace.file("hf")).unwrap();
    fs::write(workspace.file("hf/token"), "hf_mine\n").unwrap();
    assert_done(&pull(&workspace, &endpoint, &only, &[]));
}
