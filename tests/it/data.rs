//! Data sets from end to end: shipped ones, and broken ones made by the tests.

mod counted;
pub mod odd;
mod random;

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use paella::data::shards::ShardReader;
use paella::data::{DataConfig, Dataset, Part, Source, idx};
use tch::Kind;
use tempfile::TempDir;

fn config(source: Source, size: i64) -> DataConfig {
    DataConfig { source, size, ..DataConfig::default() }
}

fn open(source: Source, size: i64, part: Part) -> Dataset {
    Dataset::open(&config(source, size), part).expect("opens")
}

fn error(source: Source, part: Part) -> String {
    Dataset::open(&config(source, 8), part).expect_err("refused").to_string()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub fn png(value: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let img = RgbImage::from_pixel(8, 8, Rgb([value, 0, 255]));
    img.write_to(&mut bytes, ImageFormat::Png).expect("memory takes it");
    bytes.into_inner()
}

pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut shard = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        shard.append_data(&mut header, name, *data).expect("memory takes it");
    }
    shard.into_inner().expect("memory takes it")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).expect("memory takes it");
    packer.finish().expect("memory takes it")
}

/// Ten complete samples, `0.png` `0.txt` to `9.png` `9.txt`.
fn ten() -> Vec<u8> {
    let files: Vec<_> = (0..10)
        .flat_map(|i| [(format!("{i}.png"), png(i)), (format!("{i}.txt"), b"a cat".to_vec())])
        .collect();
    tar(&files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect::<Vec<_>>())
}

/// The training part of a shard made of these bytes.
fn shard(bytes: &[u8]) -> paella::Result<Dataset> {
    let folder = folder();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, bytes).expect("written");
    let train = vec![path.display().to_string()];
    Dataset::open(&config(Source::Shards { train, val: vec![] }, 8), Part::Train)
}

fn mean(dataset: &Dataset, channel: i64, row: i64, column: i64) -> f64 {
    let pixels = dataset.images.select(1, channel).select(1, row).select(1, column);
    pixels.to_kind(Kind::Float).mean(Kind::Float).double_value(&[])
}

#[test]
fn shipped_emoji() {
    let start = std::time::Instant::now();
    let train = open(Source::Emoji, 64, Part::Train);
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds < 20.0, "{seconds} s for 4,020 pictures");
    assert_eq!((train.len(), train.images.size()), (4020, vec![4020, 3, 64, 64]));
    assert!(train.records.iter().all(|r| r.split == "train") && train.skipped.total() == 0);
    let val = open(Source::Emoji, 64, Part::Val);
    let split = |name: &str| val.records.iter().filter(|r| r.split == name).count();
    assert_eq!((val.len(), split("val-style"), split("val-concept")), (338, 218, 120));
    assert!((0..3).all(|channel| mean(&train, channel, 0, 0) == 255.0), "the corner is white");

    let apple = train.find("Red apple, 3d emoji").expect("in training");
    let record = &train.records[apple];
    assert_eq!((record.name.as_str(), record.style.as_str()), ("red apple", "3d"));
    assert_eq!((record.key.as_str(), record.group.as_str()), ("1f34e_3d", "food-drink"));
    let images = train.images(&[apple as i64, 0]);
    assert_eq!((images.size(), images.kind()), (vec![2, 3, 64, 64], Kind::Float));
    assert!(images.min().double_value(&[]) >= 0.0 && images.max().double_value(&[]) == 1.0);
    let middle = |channel| images.double_value(&[0, channel, 36, 32]);
    assert!(middle(0) > 2.0 * middle(2), "an apple is red");
    assert_eq!(train.captions(&[apple as i64]), ["red apple, 3d emoji"]);
    assert!(train.find("red appl").is_some() && train.find("no such thing").is_none());
    assert!(train.find(" ").is_none());
}

#[test]
fn shipped_fashion() {
    let train = open(Source::Fashion, 32, Part::Train);
    let val = open(Source::Fashion, 32, Part::Val);
    assert_eq!((train.len(), val.len()), (5000, 1000));
    for name in idx::CLASSES {
        let count = |set: &Dataset| set.records.iter().filter(|r| r.name == name).count();
        assert_eq!((count(&train), count(&val)), (500, 100), "{name}");
        assert!(train.find(&format!("{name}, fashion photo")).is_some());
    }
    let whole = |set: &Dataset| set.images.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
    let framed = train.images.narrow(2, 2, 28).narrow(3, 2, 28).to_kind(Kind::Float);
    assert!((framed.sum(Kind::Double) / train.images.sum(Kind::Double)).double_value(&[]) == 1.0);
    // Fashion-MNIST's mean is 0.286; the frame multiplies it by (28/32)^2
    let expected = 0.286 * 255.0;
    assert!((whole(&train) / (28.0f64 / 32.0).powi(2) - expected).abs() < 2.0);
    assert!((whole(&open(Source::Fashion, 14, Part::Train)) - expected).abs() < 2.0);
}

#[test]
fn filters_and_limits() {
    let mut food = config(Source::Emoji, 16);
    food.groups = vec!["food-drink".into()];
    food.styles = vec!["3d".into(), "flat".into()];
    let all = Dataset::open(&food, Part::Train).expect("some");
    assert!(all.records.iter().all(|r| r.group == "food-drink" && r.style != "noto"));
    food.limit = Some(7);
    let some = Dataset::open(&food, Part::Train).expect("seven");
    assert_eq!(some.records, all.records[..7]);
    assert_eq!(some.images, all.images.narrow(0, 0, 7));
    food.limit = None;
    let apple = Dataset::open_where(&food, Part::Train, |r| r.name == "red apple").expect("one");
    assert!(apple.len() <= 2 && apple.find("red apple").is_some());

    food.groups = vec!["fodo".into()];
    let error = Dataset::open(&food, Part::Train).expect_err("no such group").to_string();
    assert!(
        error.contains("fodo") && error.contains("food-drink") && error.contains("noto"),
        "{error}"
    );
    let odd = |size, limit| DataConfig { size, limit, ..food.clone() };
    for odd in [odd(0, None), odd(-3, None), odd(1 << 40, None), odd(8, Some(0))] {
        assert!(Dataset::open(&odd, Part::Train).is_err(), "{odd:?}");
    }
}

#[test]
fn configs_list_what_differs_and_refuse_the_unknown() {
    let text = r#"(source: Shards(train: ["a-*.tar"], val: []), limit: Some(3))"#;
    let config: DataConfig = ron::from_str(text).expect("parses");
    assert_eq!((config.size, config.limit), (64, Some(3)));
    let again = ron::from_str::<DataConfig>(&ron::to_string(&config).expect("writes"));
    assert_eq!(again.expect("parses"), config);
    assert!(ron::from_str::<DataConfig>("(sizes: 3)").is_err());
}

#[test]
fn broken_samples_are_counted_and_named() {
    let good = png(9);
    let bytes = tar(&[
        ("ok.png", &good),
        ("ok.txt", b"a  red\n cat "),
        (
            "ok.json",
            br#"{"name":"cat","style":"ink","group":"pets","caption":"not this","split":3}"#,
        ),
        ("badjson.png", &good),
        ("badjson.txt", b"a cat"),
        ("badjson.json", b"{\"name\":"),
        ("badpicture.png", b"\x89PNG\r\n\x1a\nrubbish"),
        ("badpicture.txt", b"a cat"),
        ("nocaption.png", &good),
        ("nopicture.txt", b"a cat"),
        ("README.md", b"hello"),
        ("dir/injson.png", &good),
        ("dir/injson.json", br#"{"caption":"from json"}"#),
        ("cut.png", &good[..good.len() - 20]),
        ("cut.txt", b"a cat"),
    ]);
    for bytes in [bytes.clone(), gzip(&bytes)] {
        let set = shard(&bytes).expect("two are whole");
        let captions: Vec<_> = set.records.iter().map(|r| r.caption.as_str()).collect();
        assert_eq!(captions, ["a red cat", "from json"]);
        assert_eq!((set.records[0].group.as_str(), set.records[0].split.as_str()), ("pets", ""));
        assert_eq!(set.images.size(), [2, 3, 8, 8]);
        assert_eq!((mean(&set, 0, 0, 0), mean(&set, 2, 7, 7)), (9.0, 255.0));
        assert_eq!(set.skipped.reasons["the json cannot be read"], 1);
        assert_eq!(set.skipped.reasons["the picture cannot be decoded"], 2);
        assert_eq!(set.skipped.reasons["no caption"], 1);
        assert_eq!(set.skipped.reasons["no picture"], 2);
        assert_eq!((set.skipped.total(), set.skipped.names.len()), (6, 6));
        assert!(set.skipped.names.iter().any(|(place, _)| place.ends_with("a.tar, `badjson`")));
        assert!(set.skipped.to_string().starts_with("6 skipped: "));
    }
}

#[test]
fn shards_that_end_early_give_what_they_have() {
    let whole = ten();
    assert_eq!(shard(&whole).expect("whole").skipped.total(), 0);
    assert_eq!(shard(&gzip(&whole)).expect("whole").skipped.total(), 0);
    for end in (0..whole.len() - 1024).step_by(256) {
        check_cut(&whole[..end], end);
    }
    let packed = gzip(&whole);
    for end in 0..packed.len() {
        check_cut(&packed[..end], end);
    }
    let mut damaged = whole.clone();
    damaged[4 * 1024 + 3] ^= 0x55; // in the header of the third sample's picture
    let set = shard(&damaged).expect("two");
    assert_eq!((set.len(), set.skipped.reasons["the shard ends early"]), (2, 1));
    let set =
        shard(&[gzip(&whole[..3072]), gzip(&whole[3072..])].concat()).expect("two gzip members");
    assert_eq!((set.len(), set.skipped.total()), (10, 0));
}

/// Checks that a truncated shard yields its first samples and reports that it ended early, or is refused.
fn check_cut(bytes: &[u8], end: usize) {
    match shard(bytes) {
        Ok(set) => {
            assert_eq!(set.skipped.reasons.get("the shard ends early"), Some(&1), "{end}");
            let keys: Vec<_> = set.records.iter().map(|r| r.key.clone()).collect();
            assert_eq!(keys, (0..keys.len()).map(|i| i.to_string()).collect::<Vec<_>>());
        }
        Err(e) => assert!(e.to_string().contains("no picture can be read"), "{end}: {e}"),
    }
}

#[test]
fn when_all_is_broken_the_error_says_so() {
    let files: Vec<_> = (0..5).map(|i| (format!("{i}.png"), png(i))).collect();
    let files: Vec<_> = files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
    let error = shard(&tar(&files)).expect_err("no captions").to_string();
    assert!(
        error.contains("5 no caption") && error.contains("`2`") && !error.contains("`3`"),
        "{error}"
    );
    let error = shard(&tar(&[])).expect_err("nothing").to_string();
    assert!(error.contains("there are no pictures"), "{error}");
}

#[test]
fn shards_that_are_not_there() {
    let shards = |pattern: &str| Source::Shards { train: vec![pattern.into()], val: vec![] };
    let message = error(shards("/no/such/folder/*.tar"), Part::Train);
    assert!(message.contains("no folder `/no`"), "{message}");
    assert!(error(shards("x.tar"), Part::Val).contains("no val shards"));
    assert!(ShardReader::open(Path::new("/no/such.tar")).is_err());
    let val = format!("{}/assets/emoji/emoji-v*.tar.gz", env!("CARGO_MANIFEST_DIR"));
    let reader = ShardReader::open(Path::new(&val.replace('*', "al-00000"))).expect("shipped");
    assert_eq!(reader.filter(|sample| sample.is_ok()).count(), 338);
    let set = open(Source::Shards { train: vec![], val: vec![val] }, 8, Part::Val);
    assert_eq!(set.len(), 338);
}

#[test]
fn folders() {
    let folder = folder();
    let source = || Source::Folder(folder.path().into());
    assert!(error(source(), Part::Train).contains("no pictures are in the folder"));
    assert!(error(Source::Folder("no/such".into()), Part::Train).contains("no such folder"));
    let write =
        |name: &str, data: &[u8]| std::fs::write(folder.path().join(name), data).expect("written");
    std::fs::create_dir(folder.path().join("sub")).expect("made");
    for i in 0..4 {
        write(&format!("{i}.v1.PNG"), &png(i));
        write(&format!("{i}.v1.txt"), format!("cat {i}\n").as_bytes());
    }
    write("sub/5.png", &png(5));
    write("sub/5.txt", b"cat 5");
    write("bare.png", &png(6));
    write("bad.png", b"rubbish");
    write("bad.txt", b"a cat");
    write("notes.md", b"hello");
    let train = open(source(), 8, Part::Train);
    let val = open(source(), 8, Part::Val);
    // The split depends on the name only; these names happen to put two of six into validation.
    let captions =
        |set: &Dataset| set.records.iter().map(|r| r.caption.clone()).collect::<Vec<_>>();
    assert_eq!(captions(&train), ["cat 1", "cat 2", "cat 3"]);
    assert_eq!(captions(&val), ["cat 0", "cat 5"]);
    assert_eq!((val.records[1].key.as_str(), val.records[1].split.as_str()), ("sub/5", "val"));
    assert_eq!(mean(&val, 0, 0, 0), 2.5);
    assert_eq!(train.skipped.reasons["no caption"], 1);
    assert_eq!(train.skipped.reasons["the picture cannot be decoded"], 1);
    assert!(train.skipped.names.iter().any(|(place, _)| place.ends_with("bad.png")));
}

#[test]
fn idx_files() {
    let folder = folder();
    let deep = folder.path().join("usr/share/datasets/fashion-mnist");
    std::fs::create_dir_all(&deep).expect("made");
    let source = || Source::Idx(folder.path().into());
    let write = |name: &str, data: &[u8]| std::fs::write(deep.join(name), data).expect("written");
    let header = |fields: &[u32]| fields.iter().flat_map(|f| f.to_be_bytes()).collect::<Vec<u8>>();
    let images = [header(&[0x803, 3, 28, 28]), vec![200; 3 * 784]].concat();
    assert!(error(source(), Part::Train).contains("train-images-idx3-ubyte"));
    assert!(error(Source::Idx("/no/such".into()), Part::Train).contains("no such folder"));
    write("train-images-idx3-ubyte.gz", &gzip(&images));
    write("train-labels-idx1-ubyte", &[header(&[0x801, 3]), vec![9, 10, 0]].concat());
    let set = open(source(), 32, Part::Train);
    assert_eq!(set.captions(&[0, 1]), ["ankle boot, fashion photo", "t-shirt, fashion photo"]);
    assert_eq!((mean(&set, 0, 1, 1), mean(&set, 2, 2, 2)), (0.0, 200.0));
    assert_eq!(set.skipped.reasons["the label is not in 0..=9"], 1);
    assert_eq!(mean(&open(source(), 16, Part::Train), 0, 0, 0), 200.0);

    let packed = gzip(&images);
    let broken = [
        (gzip(&images[..images.len() - 1]), "2351 are here"),
        ([&images[..], &[0]].concat(), "more are here"),
        (header(&[0x801, 3, 28, 28]), "expected magic 0x00000803, got 0x00000801"),
        (header(&[0x803, u32::MAX, u32::MAX, u32::MAX]), "the header says"),
        (header(&[0x803, 0, u32::MAX, u32::MAX]), "0 pictures, but 3 labels"),
        (header(&[0x803, 3, 0, 28]), "the header says"),
        (header(&[0x803, 3]), "cannot read the file"),
        (packed[..packed.len() / 2].to_vec(), "cannot read the file"),
        (vec![], "cannot read the file"),
        ([header(&[0x803, 2, 28, 28]), vec![0; 2 * 784]].concat(), "2 pictures, but 3 labels"),
    ];
    for (bytes, message) in broken {
        write("train-images-idx3-ubyte.gz", &bytes);
        let error = error(source(), Part::Train);
        assert!(error.contains(message), "{error}");
    }
}
