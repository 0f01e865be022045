//! Streams of shards: the same batches for any number of ranks and threads, exact resume, and tolerance of broken
//! input.

pub mod both;
mod make;
mod pipe;
mod precompute;
mod tls;
pub mod training;
mod waits;

pub use pipe::gone;

use crate::parity::laion;
use make::{Manners, Ranks, all, config, open, png, serve, shard, tar, write};
use paella::data::laion::LaionFilter;
use paella::data::stream::{Crop, Mode, StreamConfig};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tempfile::tempdir;

#[test]
fn every_epoch_is_seen_once_by_any_number_of_ranks_and_threads() {
    let folder = tempdir().unwrap();
    let pattern = write(folder.path(), 8, 6);
    let mut seen: Option<Vec<_>> = None;
    for (ranks, threads) in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 4), (4, 2)] {
        let config = StreamConfig { threads, ..config(&pattern, 4) };
        let mut streams = Ranks::open(&config, ranks, 8);
        let batches: Vec<_> = (0..18).map(|_| streams.batch()).collect();
        for epoch in batches.chunks(6) {
            let captions: BTreeSet<_> =
                epoch.iter().flatten().map(|(caption, _)| caption).collect();
            assert_eq!(captions.len(), 48, "{ranks} ranks, {threads} threads");
        }
        assert_ne!(batches[..6], batches[6..12], "epochs differ");
        let before = seen.get_or_insert_with(|| batches.clone());
        assert_eq!(*before, batches, "{ranks} ranks, {threads} threads");
    }
}

#[test]
fn batches_smaller_than_the_lanes_take_turns() {
    let folder = tempdir().unwrap();
    let config = config(&write(folder.path(), 8, 6), 8);
    let batches = |ranks| {
        let mut streams = Ranks::open(&config, ranks, 4);
        (0..12).map(|_| streams.batch()).collect::<Vec<_>>()
    };
    let captions: BTreeSet<_> = batches(1).into_iter().flatten().map(|(c, _)| c).collect();
    assert_eq!(captions.len(), 48);
    assert_eq!(batches(1), batches(4));
}

#[test]
fn it_goes_on_exactly_wherever_it_stopped_and_with_other_ranks() {
    let folder = tempdir().unwrap();
    let pattern = write(folder.path(), 5, 7);
    // one shard is cut off, one has an invalid picture
    let path = folder.path().join("x-1.tar");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let broken = [("b.png".into(), b"no picture".to_vec()), ("b.txt".into(), b"b".to_vec())];
    std::fs::write(folder.path().join("x-3.tar"), tar(&broken)).unwrap();
    for mode in [Mode::Epochs, Mode::Resampled] {
        for shuffle in [0, 1, 3, 100] {
            let config = StreamConfig { mode, shuffle, ..config(&pattern, 4) };
            let mut whole = Ranks::open(&config, 1, 8);
            let batches: Vec<_> = (0..20).map(|_| whole.batch()).collect();
            let skipped = whole.streams[0].skipped();
            assert!(
                skipped["the shard ends early"] > 0 && skipped["the picture cannot be decoded"] > 0
            );
            for (stop, before, after) in [(0, 1, 2), (1, 2, 1), (5, 4, 2), (11, 1, 4), (19, 2, 2)] {
                let mut first = Ranks::open(&config, before, 8);
                (0..stop).for_each(|_| drop(first.batch()));
                let text = first.text();
                let mut second = Ranks::open(&config, after, 8);
                for stream in &mut second.streams {
                    stream.restore(&text, 8 * stop).unwrap();
                }
                for batch in &batches[stop as usize..] {
                    assert_eq!(second.batch(), *batch, "{mode:?}, {shuffle}, stopped at {stop}");
                }
                let text = |streams: &Ranks| {
                    let text = streams.text();
                    text.lines().map(String::from).collect::<BTreeSet<_>>()
                };
                if after == 1 {
                    assert_eq!(second.streams[0].skipped(), skipped);
                    assert_eq!(text(&second), text(&whole));
                }
            }
        }
    }
}

#[test]
fn a_position_of_another_stream_is_refused() {
    let folder = tempdir().unwrap();
    let config = config(&write(folder.path(), 4, 6), 4);
    let mut stream = open(&config);
    stream.next(all(4)).unwrap();
    let text = stream.text();
    let refused = |config: &StreamConfig, text: &str, position: u64| {
        open(config).restore(text, position).unwrap_err().to_string()
    };
    assert!(refused(&config, &text, 5).contains("accounts for 4 of 5"));
    let half: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    assert!(refused(&config, &half, 4).contains("accounts for 2 of 4"));
    let other = StreamConfig { lanes: 2, ..config.clone() };
    assert!(refused(&other, &text, 4).contains("4 lanes of 4 shards, now 2 of 4"));
    assert!(refused(&config, "{", 4).contains("not readable"));
    // a shard that has been deleted since costs its samples, not the run
    std::fs::remove_file(folder.path().join("x-2.tar")).unwrap();
    let mut stream = open(&config);
    stream.restore(&text, 4).unwrap();
    (0..10).for_each(|_| drop(stream.next(all(4)).unwrap()));
    assert!(stream.skipped()["gone since the checkpoint"] > 0, "{:?}", stream.skipped());
}

#[test]
fn resampled_lanes_draw_shards_again_and_again() {
    let folder = tempdir().unwrap();
    let pattern = write(folder.path(), 4, 3);
    let batches = |mode| {
        let mut streams = Ranks::open(&StreamConfig { mode, ..config(&pattern, 2) }, 1, 6);
        (0..20).flat_map(|_| streams.batch()).map(|(caption, _)| caption).collect::<Vec<_>>()
    };
    let (epochs, resampled) = (batches(Mode::Epochs), batches(Mode::Resampled));
    let count = |all: &[String], one: &str| all.iter().filter(|c| *c == one).count();
    assert!((0..12).all(|i| count(&epochs, &format!("s-{i:03}")) == 10));
    assert!((0..12).any(|i| count(&resampled, &format!("s-{i:03}")) != 10));
    assert_eq!(resampled, batches(Mode::Resampled));
}

#[test]
fn crops_are_drawn_for_each_sample() {
    let folder = tempdir().unwrap();
    let pattern = write(folder.path(), 1, 6);
    let pixels = |crop| {
        let mut streams = Ranks::open(&StreamConfig { crop, ..config(&pattern, 1) }, 1, 6);
        // the green value of the first pixel identifies the column
        let greens = (0..2).flat_map(|_| streams.batch()).map(|(_, pixels)| pixels[64]);
        greens.collect::<BTreeSet<u8>>()
    };
    assert_eq!(pixels(Crop::Center), BTreeSet::from([60]));
    assert!(pixels(Crop::Random).len() > 3, "{:?}", pixels(Crop::Random));
    assert_eq!(pixels(Crop::Resize).len(), 1);
}

#[test]
fn commands_and_web_servers_give_what_files_give() {
    let folder = tempdir().unwrap();
    let bytes = shard(0, 12);
    let file = folder.path().join("x.tar");
    std::fs::write(&file, &bytes).unwrap();
    let batches = |pattern: &str| {
        let config = StreamConfig { retries: 3, ..config(pattern, 1) };
        let mut streams = Ranks::open(&config, 1, 6);
        let batches: Vec<_> = (0..6).map(|_| streams.batch()).collect();
        assert_eq!(streams.streams[0].skipped().len(), 0, "{:?}", streams.streams[0].skipped());
        batches
    };
    let expected = batches(&file.display().to_string());
    assert_eq!(batches(&format!("pipe: gzip -c {} | cat", file.display())), expected);
    let plain = Manners::default();
    for manners in [
        plain,
        Manners { breaks: 2, ..plain },
        Manners { breaks: 1, no_ranges: true, ..plain },
        Manners { busy: 2, ..plain },
    ] {
        let (address, asked) = serve(bytes.clone(), manners);
        assert_eq!(batches(&format!("{address}x.tar")), expected);
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked >= 3 + manners.breaks + manners.busy, "{asked}");
    }
}

#[test]
fn what_is_broken_is_counted_by_reason() {
    let folder = tempdir().unwrap();
    write(folder.path(), 1, 6);
    let sample = |key: &str, files: &[(&str, &[u8])]| -> Vec<(String, Vec<u8>)> {
        files.iter().map(|(ending, bytes)| (format!("{key}.{ending}"), bytes.to_vec())).collect()
    };
    let png = png(1);
    let broken = [
        sample("a", &[("png", b"GIF89a"), ("txt", b"a")]),
        sample("b", &[("png", &png)]),
        sample("c", &[("png", &png), ("txt", b"c"), ("json", b"{\"a\": ")]),
        sample("d", &[("txt", b"d")]),
        sample("e", &[("png", &png), ("jpg", &png), ("txt", b"e")]),
        sample("f", &[("png", &png), ("txt", b"\xff\xfe")]),
        sample("g", &[("png", &png), ("txt", b"whole")]),
    ];
    let whole = tar(&broken.concat());
    std::fs::write(folder.path().join("x-1.tar"), &whole).unwrap();
    std::fs::write(folder.path().join("x-2.tar"), &whole[..whole.len() - 1024]).unwrap();
    std::fs::write(folder.path().join("x-3.tar"), "<html>not a tar</html>").unwrap();
    let pattern = format!("{}/x-{{0..4}}.tar", folder.path().display());
    let mut stream = open(&StreamConfig { threads: 1, shuffle: 0, ..config(&pattern, 1) });
    // an epoch and the first sample of the next one: by then everything in between is counted
    stream.next(all(8)).unwrap();
    stream.next(all(1)).unwrap();
    let skipped = stream.skipped();
    for (reason, least) in [
        ("the picture cannot be decoded", 2),
        ("no caption", 2),
        ("the json cannot be read", 2),
        ("no picture", 2),
        ("more than one picture", 2),
        ("the caption is not UTF-8", 2),
        ("the shard ends early", 1),
        ("a web page (HTML): the address asks for a login or is none of a file", 1),
        ("the shard cannot be opened", 1),
    ] {
        let count = skipped.get(reason).copied().unwrap_or(0);
        assert!((least..=2 * least).contains(&count), "{reason}: {skipped:?}");
    }
}

#[test]
fn a_source_without_samples_is_an_error_and_soon() {
    let folder = tempdir().unwrap();
    let pattern = write(folder.path(), 3, 4);
    let error = |config: StreamConfig| {
        let start = Instant::now();
        let error = open(&config).next(all(4)).unwrap_err().to_string();
        assert!(start.elapsed().as_secs_f64() < 20.0, "{error}");
        error
    };
    let filtered = StreamConfig { filter: Some(LaionFilter::default()), ..config(&pattern, 2) };
    let text = error(filtered);
    assert!(text.contains("no json") && text.contains("no shard holds a sample"), "{text}");
    let text = error(config("/nowhere/{0..3}.tar", 2));
    assert!(text.contains("the shard cannot be opened") && text.contains("/nowhere/"), "{text}");
    let (address, _) = serve(Vec::new(), Manners::default());
    let text = error(config(&format!("{address}other.tar"), 2));
    assert!(text.contains("the server answers 404"), "{text}");
    let idle = |pattern: &str| StreamConfig { max_idle_s: 0.5, ..config(pattern, 2) };
    assert!(error(idle("pipe:sleep 3")).contains("no sample came for 0.5 s"));
    // endless shards in which nothing can be decoded
    let text = error(idle("pipe:cat /dev/zero"));
    assert!(text.contains("no sample"), "{text}");
}

#[test]
fn the_filter_decides_as_the_original_does() {
    let path = crate::fixture::folder().join("laion_filter.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let records = fixture["records"].as_array().unwrap();
    let folder = tempdir().unwrap();
    for (number, value) in fixture["filters"].as_array().unwrap().iter().enumerate() {
        let filter = laion::filter_of(value);
        let own = records.iter().filter(|r| r["filter"].as_u64() == Some(number as u64));
        let (mut files, mut expected) = (Vec::new(), BTreeSet::new());
        for (i, record) in own.enumerate() {
            let key = format!("r{i:04}");
            files.push((format!("{key}.png"), png(i as u8)));
            for ending in ["json", "txt"] {
                let bytes = laion::member(record, ending);
                files.extend(bytes.map(|bytes| (format!("{key}.{ending}"), bytes)));
            }
            let caption = laion::member(record, "txt").unwrap_or_default();
            let has_words = std::str::from_utf8(&caption).is_ok_and(|text| !text.trim().is_empty());
            if record["accept"].as_bool().unwrap() && has_words {
                expected.insert(key);
            }
        }
        if expected.is_empty() {
            continue;
        }
        let path = folder.path().join(format!("{number}.tar"));
        std::fs::write(&path, tar(&files)).unwrap();
        let filter = Some(filter);
        let config = StreamConfig { filter, ..config(&path.display().to_string(), 1) };
        let samples = open(&config).next(all(expected.len())).unwrap();
        let keys: BTreeSet<String> = samples.into_iter().map(|sample| sample.key).collect();
        let more: Vec<_> = keys.symmetric_difference(&expected).collect();
        assert!(more.is_empty(), "filter {number}: {more:?}");
    }
}
