//! What is left out of a shard or a folder is counted under its own reason, by every reader.

use super::odd::{Outcome, read, tar};
use super::{folder, gzip, open, png};
use paella::data::{Part, Source};
use std::collections::BTreeMap;

/// What all parts of a folder with these files give, and another sample in either part.
fn in_a_folder(files: &[(&str, &[u8])]) -> Outcome {
    let folder = folder();
    let write = |name: &str, data: &[u8]| std::fs::write(folder.path().join(name), data).unwrap();
    files.iter().for_each(|(name, data)| write(name, data));
    for i in 0..2 {
        write(&format!("other{i}.png"), &png(i));
        write(&format!("other{i}.txt"), b"another");
    }
    let source = || Source::Folder(folder.path().into());
    let parts = [open(source(), 8, Part::Train), open(source(), 8, Part::Val)];
    let records = parts.iter().flat_map(|part| &part.records);
    let own = records.filter(|record| record.caption != "another");
    // what belongs to no sample is counted with either part
    let mut reasons = BTreeMap::new();
    for (reason, count) in parts.iter().flat_map(|part| &part.skipped.reasons) {
        let most = reasons.entry(reason.clone()).or_insert(0);
        *most = (*most).max(*count as u64);
    }
    (own.map(|record| (record.key.clone(), record.caption.clone())).collect(), reasons)
}

fn expected(samples: &[(&str, &str)], reasons: &[(&str, u64)]) -> Outcome {
    let samples = samples.iter().map(|(key, text)| (key.to_string(), text.to_string()));
    (samples.collect(), reasons.iter().map(|(reason, n)| (reason.to_string(), *n)).collect())
}

#[test]
fn two_captions_of_one_sample_are_counted() {
    let p = png(0);
    let two = expected(&[], &[("two captions", 1)]);
    assert_eq!(read(&tar(&[("0.txt", b"a"), ("0.txt", b"b"), ("0.png", &p)])), two);
    assert_eq!(read(&tar(&[("0.txt", b"a"), ("0.TXT", b"b"), ("0.png", &p)])), two);
    let json: &[u8] = br#"{"caption": "a"}"#;
    assert_eq!(read(&tar(&[("0.json", json), ("0.json", json), ("0.png", &p)])), two);
    assert_eq!(in_a_folder(&[("0.txt", b"a"), ("0.TXT", b"b"), ("0.png", &p)]), two);
    // behind a sample that is whole, which is passed on as it is read
    let second = expected(&[("0", "a")], &[("a second caption of a sample", 1)]);
    assert_eq!(read(&tar(&[("0.png", &p), ("0.txt", b"a"), ("0.txt", b"b")])), second);
    assert_eq!(read(&tar(&[("0.TXT", b"a"), ("0.png", &p), ("0.txt", b"b")])), second);
}

#[test]
fn a_picture_without_a_decoder_beside_another_is_counted() {
    let p = png(0);
    let files: [(&str, &[u8]); 3] =
        [("a.png", &p), ("a.tif", b"II*\0\x08\0\0\0\0\0"), ("a.txt", b"a")];
    let beside = "a picture of a kind without a decoder beside one that is read";
    assert_eq!(read(&tar(&files)), expected(&[("a", "a")], &[(beside, 1)]));
    // also where its files lie apart
    let apart = [files[1], files[0], ("b.cls", b"1"), files[2]];
    let reasons = [(beside, 1), ("no picture", 1)];
    assert_eq!(read(&tar(&apart)), expected(&[("a", "a")], &reasons));
    let tiff = "no decoder for TIFF pictures";
    assert_eq!(in_a_folder(&files), expected(&[("a", "a")], &[(tiff, 1)]));
}

#[test]
fn hidden_pictures_are_counted_and_notes_of_macos_are_not() {
    let p = png(0);
    let files: [(&str, &[u8]); 7] = [
        (".a.png", &p),
        (".b.PNG", &p),
        (".png", &p),
        ("._c.png", &p),
        (".DS_Store", b"x"),
        ("c.png", &p),
        ("c.txt", b"c"),
    ];
    let hidden = "a hidden file with a picture's ending";
    let all = expected(&[("c", "c")], &[(hidden, 3)]);
    assert_eq!(read(&tar(&files)), all);
    assert_eq!(in_a_folder(&files), all);
}

#[test]
fn shards_of_other_kinds_are_named() {
    let noise: Vec<u8> =
        (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sound = tar(&[("0.png", &png(0)), ("0.txt", b"a"), ("0.noise", &noise)]);
    let packed = gzip(&sound); // longer than a header
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let kinds: [(&[u8], &str); 14] = [
        (b"", "an empty file"),
        (&gzip(b""), "an empty file"),
        (b"BZh91AY&SY", "a bzip2 file: `bzip2 -dk` unpacks it"),
        (b"\xfd7zXZ\0\0\x04", "an xz file: `xz -dk` unpacks it"),
        (b"\x28\xb5\x2f\xfd\x04", "a zstd file: `zstd -dk` unpacks it"),
        (b"PK\x03\x04\x14\0", "a zip archive: tar and gzip are read"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive: tar and gzip are read"),
        (&gzip(&packed), "gzip within gzip: unpack it once"),
        (lfs, "a git-lfs pointer: `git lfs pull` gets the file"),
        (
            b"\n<!DOCTYPE html><html>",
            "a web page (HTML): the address asks for a login or is none of a file",
        ),
        (
            b"<?xml version='1.0'?><Error>",
            "an XML text as servers send it with an error: the address asks for a login or is none of a file",
        ),
        (&[b'x'; 600], "no tar archive"),
        (
            &[&sound[..], &packed].concat(),
            "a gzipped archive behind a plain one: join archives of one kind",
        ),
        (
            &[&packed[..], &sound].concat(),
            "plain bytes behind gzipped ones: join archives of one kind",
        ),
    ];
    for (bytes, reason) in kinds {
        let (samples, reasons) = read(bytes);
        assert_eq!(reasons, BTreeMap::from([(reason.to_string(), 1)]));
        assert_eq!(samples.len(), usize::from(reason.contains("behind")), "{reason}");
        // a long file of the kind is named as a short one
        let long = [bytes, &[0x55; 2048]].concat();
        if !bytes.is_empty() && !bytes.starts_with(&[0x1f, 0x8b]) && samples.is_empty() {
            assert_eq!(read(&long).1, BTreeMap::from([(reason.to_string(), 1)]));
        }
    }
}
