//! Files as tensors whose numbers are read from the disk as they are used: a file of weights larger than the memory can
//! be looked at and copied.

use std::io;
use std::ops::Deref;
use std::path::Path;
use tch::{Device, Kind, TchError, Tensor};

/// The bytes of a file, (n,) u8 on the CPU.
///
/// The file is mapped: it must not be written to or cut while this or a view of it lives. Replacing it by another, as
/// `files::write` does, is fine. What cannot be mapped, such as a pipe, is read at once.
pub struct FileBytes(Tensor);

impl FileBytes {
    /// Errors: the file cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        let size = i64::try_from(about.len()).ok().filter(|&size| about.is_file() && size > 0);
        let on_cpu = (Kind::Uint8, Device::Cpu);
        let mapped = size.zip(path.to_str()).map(|(size, path)| {
            std::fs::File::open(path)?; // its error is the system's, with less words
            Tensor::f_from_file(path, false, size, on_cpu).map_err(io::Error::other)
        });
        match mapped {
            Some(bytes) => bytes.map(Self),
            None => Ok(Self(Tensor::from_slice(&std::fs::read(path)?))),
        }
    }

    /// Bytes `from..from + length` as a tensor of this shape and type, which shares them. Copied if they lie so that
    /// numbers of this type cannot be read in place, as in files whose header is not filled up to a multiple of their
    /// width.
    ///
    /// Errors: the shape has another length; the bytes are not all there.
    pub fn view(
        &self,
        from: u64,
        length: u64,
        size: &[i64],
        kind: Kind,
    ) -> Result<Tensor, TchError> {
        let (from, length) = (clamped(from), clamped(length));
        let bytes = self.0.f_narrow(0, from, length)?;
        let aligned = from % kind.elt_size_in_bytes() as i64 == 0;
        let bytes = if aligned { bytes } else { bytes.copy() };
        bytes.f_view_dtype(kind)?.f_view(size)
    }
}

/// A position in a file as libtorch counts; none is so large.
fn clamped(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.0.numel() == 0 {
            return &[];
        }
        // SAFETY: the tensor is contiguous, of bytes, on the CPU, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.0.data_ptr().cast(), self.0.numel()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_where_they_lie() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("numbers");
        let numbers: Vec<u8> = [1f32, 2.0, 3.0].iter().flat_map(|n| n.to_le_bytes()).collect();
        for before in [0, 1, 8] {
            std::fs::write(&path, [vec![9; before], numbers.clone()].concat()).expect("written");
            let bytes = FileBytes::open(&path).expect("mapped");
            assert_eq!(bytes.len(), before + 12);
            let xs = bytes.view(before as u64, 12, &[3], Kind::Float).expect("numbers");
            drop(bytes); // the view keeps the file
            assert_eq!(xs, Tensor::from_slice(&[1f32, 2.0, 3.0]));
            std::fs::remove_file(&path).expect("removed");
            assert_eq!(xs.double_value(&[2]), 3.0);
        }
        std::fs::write(&path, &numbers).expect("written");
        let bytes = FileBytes::open(&path).expect("mapped");
        for (from, length, size) in [(4, 12, 3), (0, 12, 4), (u64::MAX, 4, 1), (0, u64::MAX, 1)] {
            assert!(bytes.view(from, length, &[size], Kind::Float).is_err(), "{from} {length}");
        }
        std::fs::write(&path, "").expect("written");
        assert!(FileBytes::open(&path).expect("empty").is_empty());
        assert!(FileBytes::open(&folder.path().join("none")).is_err());
    }
}
