//! Reads the tensors of a `torch.save` file without running the code its pickle may name.
//!
//! Such a file is a zip archive: `NAME/data.pkl` describes dictionaries of tensors, `NAME/data/KEY` holds the
//! numbers. A pickle is a program for a small stack machine; only the part of it that data needs is understood,
//! and whatever it calls becomes an opaque value, except `torch._utils._rebuild_tensor_v2`.

mod machine;

use crate::error::{Error, Result};
use machine::{Layout, Machine, Value};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use tch::Tensor;
use zip::ZipArchive;

/// Names that are looked at, at most, and dictionaries in each other: a small file can stand for endless ones.
const MOST_NAMES: usize = 1 << 20;
const DEEPEST: usize = 32;
/// A description of tensors is no longer than this: 256 MiB.
const LONGEST: u64 = 256 << 20;

/// All tensors of the file; keys of nested dictionaries are joined by dots.
///
/// Tensors of types that tch does not know are left out.
///
/// Errors: not a zip file of `torch.save`, a whole module, TorchScript, numbers missing or cut off.
pub fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let broken = |what: String| {
        let hint = "a file of torch.save (PyTorch 1.6 or later) was expected; older ones: load and save them again";
        Error::checkpoint(what, path.display().to_string(), hint)
    };
    let file = File::open(path).map_err(|e| broken(e.to_string()))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| broken(format!("not a zip file: {e}")))?;
    let names: Vec<String> =
        archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    if names.iter().any(|name| name.ends_with("/constants.pkl") || name.contains("/code/__torch__"))
    {
        let hint = state_dict_of(path, "torch.jit.load", "");
        return Err(Error::checkpoint(
            "TorchScript, not tensors",
            path.display().to_string(),
            hint,
        ));
    }
    let program = names.into_iter().find(|name| name.ends_with("data.pkl"));
    let program = program.ok_or_else(|| broken("no `data.pkl` inside".into()))?;
    let folder = program.trim_end_matches("data.pkl").to_string();
    let bytes = entry(&mut archive, &program, LONGEST).map_err(&broken)?;
    let value = Machine::new(&bytes).run().map_err(|what| broken(format!("`data.pkl`: {what}")))?;
    let mut found = Found::default();
    found.look("", &value, 0);
    if let (true, Some(class)) = (found.tensors.is_empty(), found.object) {
        let what = format!("a whole `{}`, not its tensors", class.replace(' ', "."));
        let hint = state_dict_of(path, "torch.load", ", weights_only=False");
        return Err(Error::checkpoint(what, path.display().to_string(), hint));
    }
    let mut storages: HashMap<Rc<str>, Vec<u8>> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, layout) in found.tensors {
        if !storages.contains_key(&layout.key) {
            let numbers = entry(&mut archive, &format!("{folder}data/{}", layout.key), u64::MAX)
                .map_err(&broken)?;
            storages.insert(layout.key.clone(), numbers);
        }
        let tensor = layout
            .build(&storages[&layout.key])
            .map_err(|what| broken(format!("`{name}`: {what}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

/// The line of Python that makes a file of tensors of it.
fn state_dict_of(path: &Path, load: &str, how: &str) -> String {
    let (path, new) = (path.display(), path.with_extension("state.pt"));
    format!(
        "in Python, where its classes are: torch.save({load}({:?}{how}).state_dict(), {:?})",
        path.to_string(),
        new.display().to_string()
    )
}

fn entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    most: u64,
) -> std::result::Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
    // unpacked, the numbers are no longer than noted; `most` bounds what is not numbers
    let size = entry.size();
    if size > most {
        return Err(format!("`{name}` has {size} bytes, at most {most} are read"));
    }
    let mut bytes = Vec::new();
    entry.take(size).read_to_end(&mut bytes).map_err(|e| format!("`{name}`: {e}"))?;
    Ok(bytes)
}

/// What lies in the value of a whole file.
#[derive(Default)]
struct Found {
    /// Keys of nested dictionaries, joined by dots.
    tensors: Vec<(String, Rc<Layout>)>,
    /// The first object that is no plain data.
    object: Option<Rc<str>>,
    names: usize,
}

impl Found {
    fn look(&mut self, prefix: &str, value: &Value, depth: usize) {
        match value {
            Value::Tensor(layout) => self.tensors.push((prefix.to_string(), layout.clone())),
            Value::Object(class) => {
                self.object.get_or_insert_with(|| class.clone());
            }
            Value::Dict(entries) if depth < DEEPEST => {
                for (key, value) in entries.borrow().iter() {
                    self.names += 1;
                    let Value::Text(key) = key else { continue };
                    if self.names > MOST_NAMES {
                        return;
                    }
                    let dot = if prefix.is_empty() { "" } else { "." };
                    self.look(&format!("{prefix}{dot}{key}"), value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

impl Layout {
    fn build(&self, storage: &[u8]) -> std::result::Result<Tensor, String> {
        let width = self.kind.elt_size_in_bytes();
        let reach: i64 = self
            .size
            .iter()
            .zip(&self.stride)
            .map(|(n, s)| (n - 1).max(0).saturating_mul(*s))
            .sum();
        let (count, sane) = ((storage.len() / width) as i64, |n: &i64| *n >= 0);
        if self.size.len() != self.stride.len() || !self.size.iter().chain(&self.stride).all(sane) {
            return Err(format!("impossible shape {:?}, strides {:?}", self.size, self.stride));
        }
        if self.offset < 0
            || self.offset.saturating_add(reach) >= count && self.size.iter().all(|&n| n > 0)
        {
            return Err(format!(
                "needs {} numbers, stored are {count}",
                self.offset.saturating_add(reach) + 1
            ));
        }
        let flat =
            Tensor::f_from_data_size(&storage[..count as usize * width], &[count], self.kind);
        let view = flat.and_then(|flat| flat.f_as_strided(&self.size, &self.stride, self.offset));
        view.and_then(|view| view.f_contiguous()).map(|xs| xs.copy()).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_calls_the_system_is_only_data() {
        // os.system("true") in protocol 0 style with protocol 2 codes
        let program = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        assert!(matches!(Machine::new(program).run(), Ok(Value::Object(_))));
    }

    #[test]
    fn numbers_of_any_length_and_bytes_are_data() {
        // LONG1 of 9 and of 8 bytes, LONG4, bytes, a set, a text of Python 2
        let programs: [&[u8]; 6] = [
            b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.",
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.",
            b"\x8b\x01\x00\x00\x00\x05.",
            b"C\x03abc.",
            b"\x8f(K\x01K\x02\x90.",
            b"U\x03abc.",
        ];
        for program in programs {
            assert!(Machine::new(program).run().is_ok(), "{program:?}");
        }
    }

    #[test]
    fn what_has_two_names_is_one_thing_even_inside_itself() {
        // d = {}; e = {"a": d, "b": d}; d["c"] = e
        let program = b"}q\x00}q\x01(X\x01\0\0\0ah\x00X\x01\0\0\0bh\x00uh\x00X\x01\0\0\0ch\x01s0.";
        let value = Machine::new(program).run().expect("data");
        let mut found = Found::default();
        found.look("", &value, 0);
        assert!(found.names > 2 && found.names <= MOST_NAMES + DEEPEST, "{}", found.names);
    }

    #[test]
    fn nonsense_is_refused() {
        for program in
            [&b""[..], b"\x80", b"R.", b"X\xff\xff\xff\xff.", b"u.", b"\xff.", b"h\x00.", b"\x87."]
        {
            assert!(Machine::new(program).run().is_err(), "{program:?}");
        }
    }
}
