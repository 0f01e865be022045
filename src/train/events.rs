//! Writes TensorBoard event files: framed records, each a small protocol buffer.
//!
//! Format:  length u64, its checksum u32, the bytes, their checksum u32, all little-endian.
//! Source:  tensorflow/core/lib/io/record_writer.cc for the framing; tensorflow/core/util/event.proto and
//!          tensorflow/core/framework/summary.proto for the field numbers.

use crate::checkpoint::unwritable;
use crate::error::{Error, Result};
use crate::metrics::StepRecord;
use image::{ImageFormat, RgbImage};
use std::fs::{File, OpenOptions};
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The event file of one stage.
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Creates a file in `folder` that begins at step `first`. TensorBoard then hides steps from `first` on in older
    /// files; they were lost when a run was killed.
    pub fn open(folder: &Path, first: u64) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let id = std::process::id();
        // TensorBoard reads the files of a folder in the order of their names
        let name = format!("events.out.tfevents.{}.{:09}.{id}", now.as_secs(), now.subsec_nanos());
        let path = folder.join(name);
        let file = OpenOptions::new().create_new(true).append(true).open(&path);
        let mut events = Self { file: file.map_err(|e| unwritable(&path, &e))?, path };
        events.write(0, &bytes(3, b"brain.Event:2"))?; // every file begins with the version of its format
        const START: u64 = 1; // SessionLog.START
        events.write(first, &bytes(7, &varint(1, START)))?;
        Ok(events)
    }

    /// Writes the numbers of one step.
    pub fn record(&mut self, record: &StepRecord) -> Result<()> {
        let values: Vec<u8> = scalars(record)
            .into_iter()
            .flat_map(|(tag, value)| {
                bytes(1, &[bytes(1, tag.as_bytes()), float(2, value as f32)].concat())
            })
            .collect();
        self.write(record.step, &bytes(5, &values))
    }

    /// Writes a picture as PNG.
    pub fn picture(&mut self, tag: &str, step: u64, picture: &RgbImage) -> Result<()> {
        let mut png = Cursor::new(Vec::new());
        let place = || self.path.display().to_string();
        picture
            .write_to(&mut png, ImageFormat::Png)
            .map_err(|e| Error::data(e.to_string(), place(), ""))?;
        let (w, h) = picture.dimensions(); // the message Image has the height first
        const RGB: u64 = 3;
        let picture = [
            varint(1, u64::from(h)),
            varint(2, u64::from(w)),
            varint(3, RGB),
            bytes(4, png.get_ref()),
        ];
        let value = [bytes(1, tag.as_bytes()), bytes(4, &picture.concat())];
        self.write(step, &bytes(5, &bytes(1, &value.concat())))
    }

    /// Writes one event: time, step and content.
    fn write(&mut self, step: u64, what: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // field 1 is the time, 2 the step; the content brings its own field number
        let event = [&double(1, now.as_secs_f64()), &varint(2, step), what].concat();
        self.file.write_all(&framed(&event)).map_err(|e| unwritable(&self.path, &e))
    }
}

/// The values of a record by tag. Values that were not measured are left out.
fn scalars(record: &StepRecord) -> Vec<(String, f64)> {
    // a slash groups the plots of a page
    let always = [
        ("loss", record.loss),
        ("accuracy", record.accuracy),
        ("grad_norm", record.grad_norm),
        ("lr", record.lr),
        ("speed/images_per_s", record.images_per_s),
        ("speed/step_s", record.took),
        ("speed/data_wait_s", record.wait),
    ];
    let sometimes = [
        ("adversary", record.adversary),
        ("speed/mfu", record.mfu),
        ("memory_gib", record.memory.map(|bytes| bytes as f64 / (1u64 << 30) as f64)),
    ];
    let parts = record.accuracy_by_t.len() as f64; // of equal width over the noise ratios 0..=1
    let by_t = record.accuracy_by_t.iter().enumerate().filter_map(|(i, share)| {
        let (from, to) = (i as f64 / parts, (i + 1) as f64 / parts);
        share.map(|share| (format!("accuracy_by_t/{from:.1}-{to:.1}"), share))
    });
    let sometimes = sometimes.into_iter().filter_map(|(tag, value)| value.map(|v| (tag, v)));
    let plain = always.into_iter().chain(sometimes).map(|(tag, value)| (tag.to_string(), value));
    plain.chain(by_t).collect()
}

/// A framed record of the file.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    // The length has its own checksum: a reader must trust it before it knows where the data end.
    let (before, after) = (masked(&length).to_le_bytes(), masked(data).to_le_bytes());
    [&length[..], &before, data, &after].concat()
}

/// The masked checksum, rotated and offset so that checksums of data containing checksums stay reliable.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bits in reversed order.
fn crc32c(data: &[u8]) -> u32 {
    // starts and ends inverted, so that leading and trailing zeros count
    !data.iter().fold(!0, |crc, &byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

/// Table of the checksum's update for each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            // the polynomial, its bits reversed: the lowest bit comes first
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// A varint: seven bits per byte, lowest first. The high bit marks that more bytes follow.
fn number(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The key of a field: its number and wire type.
fn key(field: u64, kind: u64) -> Vec<u8> {
    number(field << 3 | kind) // 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [key(field, 0), number(value)].concat()
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [key(field, 1), value.to_le_bytes().to_vec()].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [key(field, 2), number(value.len() as u64), value.to_vec()].concat()
}

fn float(field: u64, value: f32) -> Vec<u8> {
    [key(field, 5), value.to_le_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 zeros, 32 ones; and the usual nine digits
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        assert_eq!(number(0), [0]);
        assert_eq!(number(300), [0xac, 2]);
        assert_eq!(number(u64::MAX).len(), 10);
    }
}
