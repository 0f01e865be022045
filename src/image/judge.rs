//! Checks of a picture file before it is decoded: kinds without a decoder, truncated JPEGs.

/// The kind of a picture, if it is a known one that has no decoder here.
pub(super) fn kind_without_decoder(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..8).filter(|word| word == b"ftyp").and_then(|_| bytes.get(8..12));
    match (bytes, brand) {
        (_, Some(b"avif" | b"avis")) => Some("AVIF"),
        (_, Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1")) => Some("HEIC"),
        ([b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..], _) => Some("TIFF"),
        ([0xff, 0x0a, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..], _) => Some("JPEG XL"),
        ([0, 0, 0, 12, b'j', b'P', ..], _) => Some("JPEG 2000"),
        ([b'8', b'B', b'P', b'S', ..], _) => Some("Photoshop"),
        ([b'q', b'o', b'i', b'f', ..], _) => Some("QOI"),
        ([b'D', b'D', b'S', b' ', ..], _) => Some("DDS"),
        ([0, 0, 1, 0, ..], _) => Some("ICO"),
        _ if is_svg(bytes) => Some("SVG"),
        _ => None,
    }
}

fn is_svg(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).into_owned();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    head.starts_with("<svg") || (head.starts_with("<?xml") && head.contains("<svg"))
}

/// Whether a JPEG has its end mark. Segments are skipped by their lengths, so the end mark of a thumbnail inside a segment
/// does not count.
///
/// Source:  ITU-T T.81, annex B.
pub(super) fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    loop {
        let Some(mark) = bytes[at..].iter().position(|&byte| byte == 0xff) else { return false };
        at += mark + 1;
        let Some(&code) = bytes.get(at) else { return false };
        at += 1;
        match code {
            END => return true,
            0xff => at -= 1,          // filling
            0 | 1 | 0xd0..=0xd8 => {} // a byte of data, marks without a length
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else { return false };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
                if at > bytes.len() {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::super::tests::{encoded, ramp};
    use image::{ImageFormat, Rgb, RgbImage};

    #[test]
    fn half_a_picture_is_none_in_any_format() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, WebP};
        let noise = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * y * 37) as u8, (x * 91) as u8, 7]));
        for format in [Bmp, Gif, Jpeg, Png, Pnm, WebP] {
            let bytes = encoded(&noise.clone().into(), format);
            for share in [30, 60, 90] {
                let cut = &bytes[..bytes.len() * share / 100];
                assert!(decode(cut).is_err(), "{share} % of {format:?}");
            }
        }
    }

    #[test]
    fn a_jpeg_ends_where_its_own_end_mark_is() {
        let whole = encoded(&ramp(40, 30).into(), ImageFormat::Jpeg);
        let small = encoded(&ramp(4, 3).into(), ImageFormat::Jpeg);
        let mut with_thumbnail = vec![0xff, 0xd8, 0xff, 0xe1];
        with_thumbnail.extend(((small.len() + 2) as u16).to_be_bytes());
        with_thumbnail.extend(small.iter().chain(&whole[2..]));
        assert_eq!(decode(&with_thumbnail).expect("whole").dimensions(), (40, 30));
        let cut = &with_thumbnail[..with_thumbnail.len() - 40];
        assert!(decode(cut).expect_err("cut").to_string().contains("the JPEG ends early"));
        let followed = [&whole[..], b"\0\0something else"].concat();
        assert!(decode(&followed).is_ok());
    }

    #[test]
    fn the_turn_that_a_camera_noted_is_applied() {
        // EXIF: little endian, one entry: orientation (0x112), a short, 6 = turned by 90 degrees
        let note = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let plain = RgbImage::from_fn(40, 20, |x, _| Rgb([if x < 20 { 250 } else { 5 }; 3]));
        for (format, turned) in [
            (ImageFormat::Jpeg, jpeg_with_exif as fn(&[u8], &[u8]) -> Vec<u8>),
            (ImageFormat::Png, png_with_exif),
            (ImageFormat::WebP, webp_with_exif),
        ] {
            let bytes = encoded(&plain.clone().into(), format);
            assert_eq!(decode(&bytes).expect("whole").dimensions(), (40, 20), "{format:?}");
            let img = decode(&turned(&bytes, note)).unwrap_or_else(|e| panic!("{format:?}: {e}"));
            assert_eq!(img.dimensions(), (20, 40), "{format:?}");
            assert!(
                img.get_pixel(10, 5).0[0] > 200 && img.get_pixel(10, 35).0[0] < 50,
                "{format:?}"
            );
        }
    }

    fn jpeg_with_exif(bytes: &[u8], note: &[u8]) -> Vec<u8> {
        let exif = [&b"Exif\0\0"[..], note].concat();
        let head = [0xff, 0xd8, 0xff, 0xe1, 0, (exif.len() + 2) as u8];
        [&head, &exif[..], &bytes[2..]].concat()
    }

    /// A chunk `eXIf` behind the first one, which is as long in every PNG.
    fn png_with_exif(bytes: &[u8], note: &[u8]) -> Vec<u8> {
        let (head, rest) = bytes.split_at(8 + 12 + 13);
        let chunk = [&b"eXIf"[..], note].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&chunk);
        let length = (note.len() as u32).to_be_bytes();
        [head, &length, &chunk, &crc.sum().to_be_bytes(), rest].concat()
    }

    /// The chunk of the picture between `VP8X`, which says that there is EXIF and how large the picture is, and `EXIF`.
    fn webp_with_exif(bytes: &[u8], note: &[u8]) -> Vec<u8> {
        let chunk = |name: &[u8], data: &[u8]| {
            let padding = vec![0; data.len() % 2];
            [name, &(data.len() as u32).to_le_bytes(), data, &padding].concat()
        };
        let about = [8, 0, 0, 0, 39, 0, 0, 19, 0, 0];
        let all = [b"WEBP".to_vec(), chunk(b"VP8X", &about), bytes[12..].to_vec()];
        chunk(b"RIFF", &[all.concat(), chunk(b"EXIF", note)].concat())
    }

    /// A grey picture of 64 x 64 pixels in two scans: the means of its blocks, then one bit more of each.
    ///
    /// Source:  ITU-T T.81, annexes B, F.1.2.1 and G.1.2.1.
    fn progressive_jpeg() -> Vec<u8> {
        let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
        file.extend([8; 64]); // quantisation
        file.extend([0xff, 0xc2, 0, 11, 8, 0, 64, 0, 64, 1, 1, 0x11, 0]); // progressive, one component
        // twelve codes of four bits: code k says that k bits follow
        file.extend([0xff, 0xc4, 0, 31, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend(0..12);
        let values: Vec<i32> = (0..64).map(|i| (i * 37) % 101 - 50).collect();
        let mut bits = String::new();
        let mut before = 0;
        for value in values.iter().map(|value| value >> 1) {
            let step = value - std::mem::replace(&mut before, value);
            let count = 32 - step.unsigned_abs().leading_zeros() as usize;
            let coded = if step < 0 { step + (1 << count) - 1 } else { step };
            bits += &format!("{count:04b}");
            bits += &if count > 0 { format!("{coded:0count$b}") } else { String::new() };
        }
        let more: String =
            values.iter().map(|value| if value & 1 == 1 { '1' } else { '0' }).collect();
        for (scan, bits) in [(1, bits), (0x10, more)] {
            file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, scan]);
            for byte in bits.as_bytes().chunks(8) {
                let text = String::from_utf8_lossy(byte);
                let byte = u8::from_str_radix(&format!("{text:1<8}"), 2).expect("bits");
                file.push(byte);
                file.extend((byte == 0xff).then_some(0));
            }
        }
        file.extend([0xff, 0xd9]);
        file
    }

    #[test]
    fn a_progressive_jpeg_cut_anywhere_is_broken() {
        let whole = progressive_jpeg();
        let img = decode(&whole).expect("whole");
        assert_eq!(img.dimensions(), (64, 64));
        let greys: std::collections::BTreeSet<u8> = img.pixels().map(|p| p.0[0]).collect();
        assert!(greys.len() > 20, "the blocks differ: {greys:?}");
        // in the first scan, between both, in the second
        for end in 2..whole.len() - 1 {
            let error = decode(&whole[..end]).expect_err("cut").to_string();
            assert!(error.contains("the JPEG ends early"), "{end}: {error}");
        }
    }

    #[test]
    fn a_picture_that_unpacks_to_more_than_memory_is_refused_with_its_size() {
        let error = decode(b"P6\n20000 9000\n255\n\0\0\0").expect_err("too large").to_string();
        assert!(error.contains("20000 x 9000 pixels") && error.contains("512"), "{error}");
    }

    #[test]
    fn pictures_without_a_decoder_are_named() {
        let cases: [(&[u8], &str); 5] = [
            (b"II*\0\x08\0\0\0", "TIFF"),
            (b"MM\0*\0\0\0\x08", "TIFF"),
            (b"\0\0\0\x1cftypavif", "AVIF"),
            (b"\0\0\0\x18ftypheic", "HEIC"),
            (b"<?xml version=\"1.0\"?><svg/>", "SVG"),
        ];
        for (bytes, kind) in cases {
            let error = decode(bytes).expect_err("no decoder").to_string();
            assert!(error.contains(&format!("no decoder for {kind} pictures")), "{error}");
        }
    }
}
