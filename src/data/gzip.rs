//! Unpacks gzip, with a bound on what comes out: a few bytes can stand for endlessly many.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use super::members::Bytes;
use crate::files::{TRAP, is_trap};

/// The unpacked bytes of one or several gzip streams, one after the other.
///
/// Errors: what is packed is damaged, or a trap.
pub(super) fn unpacked(bytes: impl Read + Send + 'static) -> Bytes {
    let packed = Counted { bytes, count: 0 };
    Box::new(Unpacked { decoder: MultiGzDecoder::new(packed), count: 0 })
}

struct Unpacked<R> {
    decoder: MultiGzDecoder<Counted<R>>,
    count: u64,
}

/// Counts the bytes that are read.
struct Counted<R> {
    bytes: R,
    count: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.decoder.read(buffer)?;
        self.count += got as u64;
        match is_trap(self.count, self.decoder.get_ref().count) {
            true => Err(io::Error::other(TRAP)),
            false => Ok(got),
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        self.count += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &mut dyn Read) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(bytes, &mut packer).expect("memory takes it");
        packer.finish().expect("memory takes it")
    }

    #[test]
    fn a_gzip_bomb_ends_with_an_error_and_other_files_are_read() {
        let bomb = packed(&mut io::repeat(0).take(300 << 20));
        let mut bytes = unpacked(io::Cursor::new(bomb));
        let error = io::copy(&mut bytes, &mut io::sink()).expect_err("refused").to_string();
        assert_eq!(error, TRAP);
        // small ones may repeat as they like, and several may follow each other
        let twice = [packed(&mut io::repeat(7).take(9 << 20)), packed(&mut &b"end"[..])].concat();
        let mut all = Vec::new();
        unpacked(io::Cursor::new(twice)).read_to_end(&mut all).expect("read");
        assert!(all.len() == (9 << 20) + 3 && all.ends_with(b"end"));
        let mut none = Vec::new();
        none.write_all(b"no gzip").expect("memory takes it");
        assert!(unpacked(io::Cursor::new(none)).read_to_end(&mut all).is_err());
    }
}
