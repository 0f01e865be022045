//! Shards made for a test, and a web server with configurable failures.

use image::{ImageFormat, Rgb, RgbImage};
use paella::data::stream::{Rows, ShardSample, Stream, StreamConfig, Want};
use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A picture wider than high. Each column has its own colour.
pub fn png(value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let img = RgbImage::from_fn(20, 8, |x, _| Rgb([value, 10 * x as u8, 255]));
    img.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut shard = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        shard.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    shard.into_inner().unwrap()
}

/// Samples `FIRST..FIRST+COUNT` of a shard. Caption and key are `s-NUMBER`.
pub fn shard(first: usize, count: usize) -> Vec<u8> {
    let files = |i: usize| {
        let caption = format!("s-{i:03}");
        [(format!("{caption}.png"), png(i as u8)), (format!("{caption}.txt"), caption.into_bytes())]
    };
    tar(&(first..first + count).flat_map(files).collect::<Vec<_>>())
}

/// Writes `x-0.tar` and so on, with `per` samples each.
pub fn write(folder: &Path, shards: usize, per: usize) -> String {
    for i in 0..shards {
        std::fs::write(folder.join(format!("x-{i}.tar")), shard(i * per, per)).unwrap();
    }
    format!("{}/x-{{0..{}}}.tar", folder.display(), shards - 1)
}

pub fn config(pattern: &str, lanes: usize) -> StreamConfig {
    let shards = vec![pattern.into()];
    StreamConfig { shards, lanes, shuffle: 5, threads: 2, retries: 1, ..StreamConfig::default() }
}

pub fn open(config: &StreamConfig) -> Stream {
    Stream::open(config, 7, 8, Want::Tokens).unwrap_or_else(|e| panic!("{e}"))
}

/// All `of` rows, as seen by a single rank.
pub fn all(of: usize) -> Rows {
    Rows { first: 0, count: of, of }
}

/// The streams of all ranks, combined.
pub struct Ranks {
    pub streams: Vec<Stream>,
    of: usize,
}

impl Ranks {
    pub fn open(config: &StreamConfig, ranks: usize, of: usize) -> Self {
        Self { streams: (0..ranks).map(|_| open(config)).collect(), of }
    }

    /// A global batch: (caption, pixels) of each row.
    pub fn batch(&mut self) -> Vec<(String, Vec<u8>)> {
        let count = self.of / self.streams.len();
        let rows = |r: usize| Rows { first: r * count, count, of: self.of };
        let ranks = self.streams.iter_mut().enumerate();
        ranks
            .flat_map(|(r, stream)| stream.next(rows(r)).unwrap())
            .map(caption_and_pixels)
            .collect()
    }

    pub fn text(&self) -> String {
        self.streams.iter().map(Stream::text).collect()
    }
}

fn caption_and_pixels(sample: ShardSample) -> (String, Vec<u8>) {
    match sample.content {
        paella::data::stream::Decoded::Pixels(pixels) => (sample.caption, pixels),
        other => panic!("{other:?}"),
    }
}

/// How a server misbehaves.
#[derive(Clone, Copy, Default)]
pub struct Manners {
    /// Number of initial answers that break off after 3,000 bytes.
    pub breaks: usize,
    /// Number of initial answers that are 503.
    pub busy: usize,
    /// Send the whole file whatever range is requested.
    pub no_ranges: bool,
}

/// A connection between server and client.
pub trait Talk: Read + Write {}

impl<T: Read + Write> Talk for T {}

/// Serves `bytes` under `/x.tar`; anything else is 404. Also returns the request counter.
pub fn serve(bytes: Vec<u8>, manners: Manners) -> (String, Arc<AtomicUsize>) {
    let (port, asked) = serve_over(bytes, manners, |stream| Some(Box::new(stream)));
    (format!("http://127.0.0.1:{port}/"), asked)
}

/// As `serve`, over the connection that `wrap` returns. Returns the port.
pub fn serve_over(
    bytes: Vec<u8>,
    manners: Manners,
    wrap: impl Fn(TcpStream) -> Option<Box<dyn Talk>> + Send + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut talk in listener.incoming().flatten().filter_map(wrap) {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let _ = answer(&mut talk, &bytes, manners, number);
        }
    });
    (port, asked)
}

fn answer(
    stream: &mut dyn Talk,
    bytes: &[u8],
    manners: Manners,
    number: usize,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut *stream).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let head: Vec<String> =
        lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
    let range = head.iter().find_map(|line| {
        let line = line.to_lowercase();
        line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    if !first.starts_with("GET /x.tar ") {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    if number < manners.busy {
        return write!(
            stream,
            "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let from = range.filter(|_| !manners.no_ranges);
    let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
    let body = &bytes[from.unwrap_or(0).min(bytes.len())..];
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    let breaks = number < manners.busy + manners.breaks;
    stream.write_all(if breaks { &body[..body.len().min(3000)] } else { body })
}
