//! Decodes and tidies the texts that come with pictures.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ron_faults::is_noise;

/// The longest caption, in bytes. A longer file is no caption.
const LONGEST: usize = 1 << 20;
/// Why a longer one is refused.
const TOO_LONG: &str = "the caption is longer than 1 MiB";

/// The words of a caption in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
///
/// Errors: no text, or one that is too long.
pub fn caption(bytes: &[u8]) -> Result<String, &'static str> {
    if bytes.len() > LONGEST {
        return Err(TOO_LONG);
    }
    decode(bytes).map(|text| tidy(&text)).ok_or("the caption is not UTF-8")
}

/// A caption that was tidied, such as that of a json.
///
/// Errors: it is too long.
pub(super) fn checked(caption: String) -> Result<String, &'static str> {
    if caption.len() > LONGEST { Err(TOO_LONG) } else { Ok(caption) }
}

/// The caption once with each of the picture's keywords in place of its name. None if it does not begin with the name.
pub(super) fn others(caption: &str, name: &str, tags: &[String]) -> Vec<String> {
    let ends = |rest: &&str| !name.is_empty() && !rest.starts_with(char::is_alphanumeric);
    let Some(rest) = caption.strip_prefix(name).filter(ends) else {
        return Vec::new();
    };
    tags.iter().filter(|tag| *tag != name).map(|tag| format!("{tag}{rest}")).collect()
}

/// The bytes of a caption's file; of one that is too long as many as it takes for [`caption`] to refuse it.
pub fn read_caption(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decodes UTF-8, or UTF-16 and UTF-32 with a byte order mark. The mark is removed. None if it is neither.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    match *bytes {
        [0xff, 0xfe, 0, 0, ..] => utf32(&bytes[4..], u32::from_le_bytes),
        [0, 0, 0xfe, 0xff, ..] => utf32(&bytes[4..], u32::from_be_bytes),
        [0xff, 0xfe, _, _, ..] => utf16(&bytes[2..], u16::from_le_bytes),
        [0xfe, 0xff, _, _, ..] => utf16(&bytes[2..], u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, ..] => utf8(&bytes[3..]),
        _ => utf8(bytes),
    }
}

/// The words of a text, joined by single blanks. White space, control characters (NUL, escape) and byte order marks
/// separate words.
pub fn tidy(text: &str) -> String {
    let between = |c: char| c.is_whitespace() || is_noise(c);
    let words = text.split(between).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

pub(super) fn utf8(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

pub(super) fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    String::from_utf16(&units.iter().map(|pair| unit(*pair)).collect::<Vec<_>>()).ok()
}

pub(super) fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Option<String> {
    let (units, []) = bytes.as_chunks::<4>() else { return None };
    units.iter().map(|four| char::from_u32(unit(*four))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_take_the_place_of_the_name() {
        let tags = ["puppy", "pet", "dog"].map(String::from);
        assert_eq!(others("dog, 3d emoji", "dog", &tags), ["puppy, 3d emoji", "pet, 3d emoji"]);
        assert!(others("my dog, 3d emoji", "dog", &tags).is_empty());
        assert!(others("dog, 3d emoji", "", &tags).is_empty());
        assert!(others("dogma in colours", "dog", &tags).is_empty());
    }

    #[test]
    fn a_caption_has_a_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        for (length, words) in [(LONGEST, Ok(LONGEST)), (LONGEST + 1, Err(())), (9 << 20, Err(()))]
        {
            std::fs::write(&path, vec![b'a'; length]).expect("written");
            let bytes = read_caption(&path).expect("read");
            assert!(bytes.len() <= LONGEST + 1);
            let read = caption(&bytes);
            assert_eq!(read.as_ref().map(String::len).map_err(|_| ()), words);
            assert!(read.map_or_else(|why| why.contains("longer than 1 MiB"), |_| true));
        }
        let endless = read_caption(Path::new("/dev/zero")).expect("read");
        assert!(caption(&endless).is_err());
    }

    #[test]
    fn words_are_the_same_however_an_editor_wrote_them() {
        let wide = |mark: &[u8], bytes: fn(u16) -> [u8; 2]| {
            [mark.to_vec(), "a fox\r\n".encode_utf16().flat_map(bytes).collect()].concat()
        };
        let ways = [
            b"a fox".to_vec(),
            b"\xef\xbb\xbfa fox".to_vec(),
            b" a\t\r\n fox \r\n\r\n  ".to_vec(),
            b"a fox\0\0".to_vec(),
            b"a\0fox\x1b".to_vec(),
            wide(&[0xff, 0xfe], u16::to_le_bytes),
            wide(&[0xfe, 0xff], u16::to_be_bytes),
        ];
        for bytes in ways {
            assert_eq!(
                decode(&bytes).map(|text| tidy(&text)).as_deref(),
                Some("a fox"),
                "{bytes:?}"
            );
        }
        for empty in [&b""[..], b"\xef\xbb\xbf", b" \r\n\0"] {
            assert_eq!(decode(empty).map(|text| tidy(&text)).as_deref(), Some(""));
        }
        assert_eq!(
            [decode(b"\xff\xfe"), decode(b"a \xff"), decode(b"\xff\xfea\0b")],
            [None, None, None]
        );
        assert_eq!(decode(b"\xff\xfe\0\0a\0\0\0").as_deref(), Some("a"));
        assert_eq!(tidy("caf\u{e9} 日本 \u{1f98a}"), "café 日本 🦊");
    }
}
