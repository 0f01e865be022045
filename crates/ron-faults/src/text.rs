//! The text of a file, or what the file is instead.

use crate::Fault;
use crate::position::position;
use crate::spans::located;
use std::path::Path;

/// The [`clean`] text of some bytes in UTF-8. `file` is where they come from.
///
/// Errors: they are text in another encoding (the hint is the line that converts it), or no text.
pub fn utf8(bytes: Vec<u8>, file: &str) -> Result<String, Fault> {
    if let Some(encoding) = wide(&bytes) {
        let quoted = |name: &str| format!("'{}'", name.replace('\'', r"'\''"));
        let (convert, copy) = (format!("iconv -f {encoding} -t UTF-8"), format!("{file}.utf8"));
        let hint = match Path::new(file).exists() {
            true => format!("convert it: `{convert} {} > {}`", quoted(file), quoted(&copy)),
            false => format!("convert it on its way: `.. | {convert} | ..`"),
        };
        return Err(Fault::new(format!("this is text in {encoding}, not in UTF-8"), file, hint));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
        let (line, column) = position(&before, before.len());
        let place = located(file, line, column, "");
        Fault::new("this is no text in UTF-8", place, "save it as UTF-8 in the editor")
    })?;
    Ok(clean(&text))
}

/// Whether a character is no part of any text: NUL, escape and other control characters, a byte order mark.
pub fn is_noise(c: char) -> bool {
    c == '\u{feff}' || (c.is_control() && !c.is_whitespace())
}

/// A text as an editor of today writes it: without byte order marks at its beginning, a blank in place of each other
/// character that is noise, one letter at the end of a line.
pub fn clean(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    if !text.contains(is_noise) {
        return text;
    }
    text.chars().map(|c| if is_noise(c) { ' ' } else { c }).collect()
}

/// The name that `iconv` has for an encoding of 16 or 32 bits a letter, known by its mark or by the zeros in it.
fn wide(bytes: &[u8]) -> Option<&'static str> {
    match *bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=255, 0, 1..=255, 0, ..] => Some("UTF-16LE"),
        [0, 1..=255, 0, 1..=255, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_encoding_is_named_with_the_line_that_converts_it() {
        let wide = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "(seed: 1)".encode_utf16().flat_map(unit).collect()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("it's.ron");
        std::fs::write(&file, "").expect("written");
        let file = file.display().to_string();
        let marked = |mark: &[u8], text: Vec<u8>| [mark.to_vec(), text].concat();
        for (bytes, name) in [
            (marked(&[0xff, 0xfe], wide(u16::to_le_bytes)), "UTF-16"),
            (marked(&[0xfe, 0xff], wide(u16::to_be_bytes)), "UTF-16"),
            (wide(u16::to_le_bytes), "UTF-16LE"),
            (wide(u16::to_be_bytes), "UTF-16BE"),
            (vec![0xff, 0xfe, 0, 0, b'a', 0, 0, 0], "UTF-32"),
        ] {
            let fault = utf8(bytes.clone(), &file).expect_err(name);
            assert!(fault.what.contains(&format!("in {name},")), "{fault:?}");
            let line = format!("iconv -f {name} -t UTF-8 '");
            assert!(
                fault.hint.contains(&line) && fault.hint.contains(r"/it'\''s.ron' > '"),
                "{fault:?}"
            );
            let fault = utf8(bytes, "standard input").expect_err(name);
            assert!(
                fault.hint.ends_with(&format!("| iconv -f {name} -t UTF-8 | ..`")),
                "{fault:?}"
            );
        }
        let fault = utf8(b"a\nb \xe9".to_vec(), "x").expect_err("Latin-1");
        assert_eq!(fault.place, "x:2:3");
        assert_eq!(utf8(b"\xef\xbb\xbfa".to_vec(), "x").as_deref(), Ok("a"));
        assert_eq!(utf8(Vec::new(), "x").as_deref(), Ok(""));
    }

    #[test]
    fn noise_becomes_blanks_and_line_ends_one_letter() {
        for (read, text) in [
            ("a\r\nb\r\n", "a\nb\n"),
            ("\u{feff}\u{feff}a", "a"),
            ("\u{feff}", ""),
            ("a\0\0", "a  "),
            ("a\u{feff}b\x1b[1m", "a b [1m"),
            ("\ta é 🍎\n", "\ta é 🍎\n"),
        ] {
            assert_eq!(clean(read), text, "{read:?}");
        }
    }
}
