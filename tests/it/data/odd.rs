//! Shards and folders of odd kinds that people bring: both readers read the same and leave out the same, for the same reason.

use super::{folder, gzip, open, png};
use crate::stream::both;
use paella::data::scenes::ScenesConfig;
use paella::data::stream::StreamConfig;
use paella::data::{DataConfig, Part, Source};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tar::{EntryType, Header};

/// What a reader made of a shard: captions by key in order, and counts by reason.
pub type Outcome = (Vec<(String, String)>, BTreeMap<String, u64>);

/// A shard through both readers, which have to agree.
pub fn read(bytes: &[u8]) -> Outcome {
    let folder = folder();
    let path = folder.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    let pattern = path.display().to_string();
    let stream = both::stream(&pattern);
    assert_eq!(both::memory(&pattern), stream, "memory and stream");
    stream
}

pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    super::tar(files)
}

fn keys(outcome: &Outcome) -> String {
    outcome.0.iter().map(|(key, caption)| format!("{key}={caption}")).collect::<Vec<_>>().join(" ")
}

fn none() -> BTreeMap<String, u64> {
    BTreeMap::new()
}

fn one(reason: &str, count: u64) -> BTreeMap<String, u64> {
    BTreeMap::from([(reason.to_string(), count)])
}

#[test]
fn archives_joined_by_cat_are_read_to_the_last_one() {
    let a = tar(&[("0.png", &png(0)), ("0.txt", b"a"), ("1.png", &png(1)), ("1.txt", b"b")]);
    // the same keys again are other samples, also where an archive ends and begins with one key
    let b = tar(&[("1.png", &png(2)), ("1.txt", b"c"), ("2.png", &png(3)), ("2.txt", b"d")]);
    let joined = [&a[..], &b].concat();
    let padded = [&a[..], &[0; 10240 - 1024], &b, &[0; 512]].concat();
    let halves = [gzip(&a), gzip(&b)].concat();
    for bytes in [joined.clone(), gzip(&joined), padded, halves] {
        let outcome = read(&bytes);
        assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 1=b 1=c 2=d", none()));
    }
    let followed = [&a[..], &[b'x'; 600]].concat();
    let outcome = read(&followed);
    assert_eq!(
        (keys(&outcome).as_str(), outcome.1),
        ("0=a 1=b", one("the bytes after the end mark are no tar", 1))
    );
}

#[test]
fn each_of_several_joined_archives_has_its_own_samples() {
    let (p, q) = (png(0), png(1));
    let first = tar(&[("0.png", &p)]);
    let second = tar(&[("0.png", &p), ("1.png", &q), ("0.txt", b"a"), ("1.txt", b"b")]);
    for bytes in [[&first[..], &second].concat(), [gzip(&first), gzip(&second)].concat()] {
        let outcome = read(&bytes);
        assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 1=b", one("no caption", 1)));
    }
}

#[test]
fn names_that_are_no_utf_8_stay_apart() {
    let (p, q) = (png(0), png(1));
    let mut shard = tar::Builder::new(Vec::new());
    let files: [(&[u8], &[u8]); 4] = [
        (b"caf\xe8.png", &p),
        (b"caf\xe9.png", &q),
        (b"caf\xe8.txt", b"grave"),
        (b"caf\xe9.txt", b"acute"),
    ];
    for (name, data) in files {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        shard.append_data(&mut header, Path::new(OsStr::from_bytes(name)), data).unwrap();
    }
    let outcome = read(&shard.into_inner().unwrap());
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("caf%E8=grave caf%E9=acute", none()));
    // such a name of a shard is found by a pattern
    let folder = folder();
    let path = folder.path().join(OsStr::from_bytes(b"caf\xe9.tar"));
    std::fs::write(&path, tar(&[("0.png", &p), ("0.txt", b"a")])).unwrap();
    assert_eq!(both::memory(&format!("{}/*.tar", folder.path().display())).0.len(), 1);
}

#[test]
fn files_of_a_sample_may_lie_apart() {
    let (p, q) = (png(0), png(1));
    let outcome = read(&tar(&[("0.png", &p), ("1.png", &q), ("0.txt", b"a"), ("1.txt", b"b")]));
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 1=b", none()));
    // what never comes is told by its own cause
    let outcome = read(&tar(&[("0.png", &p), ("1.txt", b"b"), ("2.png", &q), ("2.txt", b"c")]));
    let reasons = BTreeMap::from([("no caption".into(), 1), ("no picture".into(), 1)]);
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("2=c", reasons));
}

#[test]
fn what_lies_too_far_apart_is_counted_as_unsorted() {
    // 3 pictures of 40 MiB, a 64 MiB waiting room
    let mut large = png(7);
    large.resize(40 << 20, 0);
    let bytes = tar(&[
        ("0.png", &large),
        ("1.png", &large),
        ("2.png", &large),
        ("0.txt", b"a"),
        ("1.txt", b"b"),
        ("2.txt", b"c"),
    ]);
    let outcome = read(&bytes);
    let unsorted = "files of a sample that lie apart; `tar --sort=name` puts them together";
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("2=c", one(unsorted, 2)));
}

#[test]
fn keys_with_dots_are_keys() {
    let p = png(0);
    let outcome = read(&tar(&[
        ("img.0000.png", &p),
        ("img.0000.txt", b"a"),
        ("img.0001.PNG", &p),
        ("img.0001.txt", b"b"),
        ("v1.5.png", &p),
        ("v1.5.json", br#"{"caption": "c"}"#),
    ]));
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("img.0000=a img.0001=b v1.5=c", none()));
    // a name with a dot more belongs to the sample if there is one without, unless it is a whole sample itself
    let outcome = read(&tar(&[
        ("0.png", &p),
        ("0.seg.png", &p),
        ("0.txt", b"a"),
        ("1.jpg.png", &p),
        ("1.txt", b"b"),
        ("2.png", &p),
        ("2.txt", b"c"),
        ("2.5.png", &p),
        ("2.5.txt", b"d"),
    ]));
    let dotted = one("a picture whose name has a dot more than its caption's", 1);
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 2.5=d 2=c", dotted));
    // also one whose caption is in its JSON
    let outcome = read(&tar(&[
        ("2.png", &p),
        ("2.json", br#"{"caption": "a"}"#),
        ("2.5.png", &p),
        ("2.5.json", br#"{"caption": "b"}"#),
    ]));
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("2.5=b 2=a", none()));
}

#[test]
fn files_that_belong_to_no_sample_are_counted() {
    let p = png(0);
    let long = format!("{}.png", "d/".repeat(3000));
    let outcome = read(&tar(&[
        ("README", b"hello"),
        ("0.png", &p),
        ("0.txt", b"a"),
        ("dir/picture", &p),
        (".hidden", b"x"),
        (&long, &p),
    ]));
    let reasons = BTreeMap::from([
        ("a file whose name has no ending".into(), 2),
        ("a file with a name of more than 4,096 bytes".into(), 1),
    ]);
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a", reasons));
}

#[test]
fn links_and_sparse_files_are_counted_as_such() {
    let mut shard = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: EntryType, link: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        if link.is_empty() {
            shard.append_data(&mut header, name, data).unwrap();
        } else {
            shard.append_link(&mut header, name, link).unwrap();
        }
    };
    let p = png(0);
    add("0.png", EntryType::Regular, "", &p);
    add("0.txt", EntryType::Regular, "", b"a");
    add("1.png", EntryType::Link, "0.png", b"");
    add("1.txt", EntryType::Regular, "", b"b");
    add("2.png", EntryType::Symlink, "0.png", b"");
    add("2.txt", EntryType::Regular, "", b"c");
    add("3.png", EntryType::GNUSparse, "", &p);
    add("3.txt", EntryType::Regular, "", b"d");
    add("4.png", EntryType::Regular, "", &p);
    add("4.txt", EntryType::Regular, "", b"e");
    add("4.npy", EntryType::Link, "3.npy", b""); // nothing that a sample needs
    let outcome = read(&shard.into_inner().unwrap());
    let reasons =
        BTreeMap::from([("a link instead of a file".into(), 2), ("a sparse file".into(), 1)]);
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 4=e", reasons));
}

#[test]
fn long_names_of_both_kinds_are_read() {
    let long = "d".repeat(150);
    let p = png(0);
    let mut gnu = tar::Builder::new(Vec::new());
    let mut pax = tar::Builder::new(Vec::new());
    for (name, data) in [(format!("{long}/a.png"), &p[..]), (format!("{long}/a.txt"), b"a")] {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        gnu.append_data(&mut header, &name, data).unwrap();
        pax.append_pax_extensions([("path", name.as_bytes()), ("mtime", b"1.5")]).unwrap();
        let mut header = Header::new_ustar();
        header.set_size(data.len() as u64);
        pax.append_data(&mut header, "short", data).unwrap();
    }
    for bytes in [gnu.into_inner().unwrap(), pax.into_inner().unwrap()] {
        let outcome = read(&bytes);
        assert_eq!((keys(&outcome), outcome.1), (format!("{long}/a=a"), none()));
    }
}

#[test]
fn json_as_python_writes_it_is_read() {
    let p = png(0);
    let texts: [&[u8]; 4] = [
        br#"{"caption": "a", "similarity": NaN}"#,
        br#"{"caption": "a", "pwatermark": -Infinity, "x": 1e999}"#,
        b"\xef\xbb\xbf{\"caption\": \"a\"}",
        b"\xff\xfe{\0\"\0c\0a\0p\0t\0i\0o\0n\0\"\0:\0\"\0a\0\"\0}\0",
    ];
    for json in texts {
        let outcome = read(&tar(&[("0.png", &p), ("0.json", json)]));
        assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a", none()));
    }
}

#[test]
fn every_reader_tidies_every_text() {
    let p = png(0);
    let texts: [(&[u8], Result<&str, &str>); 8] = [
        (b"a  red\tfox", Ok("a red fox")),
        (b"\xef\xbb\xbfa red fox", Ok("a red fox")),
        (b"a red fox \r\n\r\n", Ok("a red fox")),
        (b"a red\0fox\0", Ok("a red fox")),
        (b"a \x1b[31mred fox", Ok("a [31mred fox")),
        (b"\xff\xfea\0 \0f\0o\0x\0", Ok("a fox")),
        (b"\xef\xbb\xbf", Err("no caption")),
        (b"a \xff fox", Err("the caption is not UTF-8")),
    ];
    let pictures = folder();
    let write = |name: &str, data: &[u8]| std::fs::write(pictures.path().join(name), data).unwrap();
    for i in 0..2 {
        write(&format!("other{i}.png"), &p);
        write(&format!("other{i}.txt"), b"another");
    }
    write("x.png", &p);
    for (text, expected) in texts {
        let by_txt = read(&tar(&[("0.png", &p), ("0.txt", text)]));
        write("x.txt", text);
        let source = || Source::Folder(pictures.path().into());
        let parts = [open(source(), 8, Part::Train), open(source(), 8, Part::Val)];
        let all = parts.iter().flat_map(|part| &part.records);
        let own = all.filter(|r| r.key == "x").map(|r| r.caption.as_str()).next();
        match expected {
            Ok(caption) => {
                assert_eq!((keys(&by_txt), own), (format!("0={caption}"), Some(caption)));
            }
            Err(reason) => {
                assert_eq!((by_txt, own), ((vec![], one(reason, 1)), None));
                assert!(parts.iter().any(|part| part.skipped.reasons.contains_key(reason)));
            }
        }
    }
    let json = br#"{"caption": "\ufeffa\u0000 red\r\n fox \u001b"}"#;
    assert_eq!(keys(&read(&tar(&[("0.png", &p), ("0.json", json)]))), "0=a red fox");
}

#[test]
fn further_endings_are_pictures_and_what_has_no_decoder_is_named() {
    let p = png(0);
    let tiff = b"II*\0\x08\0\0\0\0\0";
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0";
    let files: [(&str, &[u8]); 6] = [
        ("0.jfif", &p),
        ("1.JPE", &p),
        ("2.tif", &p),
        ("3.tiff", tiff),
        ("4.AVIF", avif),
        ("5.bin", &p),
    ];
    let texts: Vec<String> = (0..6).map(|i| format!("{i}.txt")).collect();
    let all: Vec<(&str, &[u8])> =
        files.into_iter().zip(&texts).flat_map(|(file, text)| [file, (text, b"a")]).collect();
    let outcome = read(&tar(&all));
    let reasons = ["no decoder for AVIF pictures", "no decoder for TIFF pictures", "no picture"];
    let reasons = reasons.into_iter().map(|reason| (reason.to_string(), 1)).collect();
    assert_eq!((keys(&outcome).as_str(), outcome.1), ("0=a 1=a 2=a", reasons));

    let pictures = folder();
    for (name, data) in &all {
        std::fs::write(pictures.path().join(name), data).unwrap();
    }
    std::fs::write(pictures.path().join("6.png"), &p).unwrap();
    std::fs::write(pictures.path().join("6.TXT"), "a").unwrap();
    std::fs::write(pictures.path().join("README"), "hello").unwrap();
    let source = || Source::Folder(pictures.path().into());
    let parts = [open(source(), 8, Part::Train), open(source(), 8, Part::Val)];
    assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), 4);
    let count = |reason: &str| {
        parts.iter().map(|part| part.skipped.reasons.get(reason).copied().unwrap_or(0)).max()
    };
    for (reason, times) in [
        ("no decoder for AVIF pictures", 1),
        ("no decoder for TIFF pictures", 1),
        ("no picture's ending: .bin", 1),
        ("no picture's ending: ", 1),
        ("a caption without a picture", 1),
    ] {
        assert_eq!(count(reason), Some(times), "{reason}: {:?}", parts[0].skipped);
    }
}

#[test]
fn cut_jpegs_are_left_out_by_both_readers() {
    let img = image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * y * 37) as u8, 9, y as u8]));
    let mut whole = std::io::Cursor::new(Vec::new());
    img.write_to(&mut whole, image::ImageFormat::Jpeg).unwrap();
    let whole = whole.into_inner();
    let part = |percent: usize| &whole[..whole.len() * percent / 100];
    let outcome = read(&tar(&[
        ("0.jpg", part(30)),
        ("0.txt", b"a"),
        ("1.jpg", part(90)),
        ("1.txt", b"b"),
        ("2.jpg", &whole),
        ("2.txt", b"c"),
    ]));
    assert_eq!(
        (keys(&outcome).as_str(), outcome.1),
        ("2=c", one("the picture cannot be decoded", 2))
    );
}

#[test]
fn braces_lists_and_commands_name_shards_in_a_data_set_too() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for i in 0..3 {
        let text = format!("{i}");
        let files: [(&str, &[u8]); 2] = [("0.png", &png(i)), ("0.txt", text.as_bytes())];
        std::fs::write(at(&format!("x-{i:03}.tar")), tar(&files)).unwrap();
    }
    let captions = |train: Vec<String>| {
        let set = open(Source::Shards { train, val: vec![] }, 8, Part::Train);
        set.records.iter().map(|r| r.caption.clone()).collect::<Vec<_>>()
    };
    assert_eq!(captions(vec![at("x-{000..002}.tar")]), ["0", "1", "2"]);
    assert_eq!(captions(vec![at("x-{002,000}.tar"), at("*1.tar")]), ["2", "0", "1"]);
    assert_eq!(captions(vec![format!("pipe: cat {}", at("x-001.tar"))]), ["1"]);
    let word = |text: &str| paella::data::shard_list(text);
    assert_eq!(word("a.tar,b-{0,1}.tar.gz"), Some(vec!["a.tar".into(), "b-{0,1}.tar.gz".into()]));
    assert_eq!(word("https://h/x?a,b"), Some(vec!["https://h/x?a,b".into()]));
    assert_eq!(word("photos,more"), None);
}

#[test]
fn a_look_finds_what_is_not_there() {
    let faults = |config: DataConfig| {
        let faults = config.look();
        faults.iter().map(|f| format!("{}: {} ({})", f.place, f.what, f.hint)).collect::<Vec<_>>()
    };
    let config = |source| DataConfig { source, ..DataConfig::default() };
    assert_eq!(faults(DataConfig::default()), Vec::<String>::new());
    let odd = DataConfig {
        groups: vec!["fodo".into(), "food-drink".into()],
        styles: vec!["oil".into()],
        ..DataConfig::default()
    };
    let found = faults(odd);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("groups: no picture is of `fodo`") && found[0].contains("food-drink")
    );
    assert!(found[1].starts_with("styles: no picture is of `oil`") && found[1].contains("noto"));
    let drawn = DataConfig {
        source: Source::Scenes(ScenesConfig::default()),
        groups: vec!["held-out pair".into(), "odd".into()],
        styles: vec!["1 object".into(), "3 objects".into()],
        ..DataConfig::default()
    };
    let found = faults(drawn);
    assert!(
        found.len() == 1 && found[0].starts_with("groups: no picture is of `odd`"),
        "{found:?}"
    );
    assert!(faults(config(Source::Folder("/no/such".into())))[0].contains("no such folder"));
    let shards = Source::Shards { train: vec!["/no/x-{0..3}.tar".into()], val: vec![] };
    assert!(faults(config(shards))[0].contains("no shard is there"));
    let stream =
        StreamConfig { shards: vec!["/no/x-{0..3}.tar".into()], ..StreamConfig::default() };
    let found = faults(DataConfig { stream: Some(stream), ..DataConfig::default() });
    assert!(found[0].contains("4 of 4 shards are not there, first /no/x-0.tar"), "{found:?}");
}
