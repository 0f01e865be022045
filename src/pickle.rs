//! Reads the tensors of a `torch.save` file without executing code from its pickle.
//!
//! The file is a zip archive: `NAME/data.pkl` describes dictionaries of tensors, `NAME/data/KEY` holds the numbers. Before
//! PyTorch 1.6 it was another one, see [`old`]. A pickle is a program for a stack machine. This reader implements only the
//! instructions for plain data. Every call gives an opaque value, except `torch._utils._rebuild_tensor_v2` and a few
//! others that build tensors and dictionaries.

mod machine;
mod old;

use crate::error::{Error, Result};
use crate::files::{TRAP, is_trap};
use crate::torch::mapped::FileBytes;
use machine::{Layout, Machine, Value};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::rc::Rc;
use tch::{Kind, Tensor};
use zip::{CompressionMethod, ZipArchive};

/// Limits on names and on nested dictionaries: a small file can describe endlessly many.
const MOST_NAMES: usize = 1 << 20;
const DEEPEST: usize = 32;
/// Size limit of the description of the tensors: 256 MiB.
const LONGEST: u64 = 256 << 20;
/// Most numbers of a tensor that repeats fewer stored ones.
const MOST_REPEATED: i64 = 1 << 28;

/// What a file holds besides its weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Tensors of types that tch does not have.
    pub unkept: Vec<String>,
    /// Names of tensors in lists and under numbers, such as an optimiser's state.
    pub listed: Vec<String>,
}

/// All tensors of a file. Keys of nested dictionaries are joined by dots. The numbers are read from the disk as they are
/// used, see [`FileBytes`].
///
/// Beside them, what is left out.
///
/// Errors: not a file of `torch.save`; a whole module; TorchScript; numbers missing or truncated; two tensors of one name.
pub fn read(path: &Path) -> Result<(Vec<(String, Tensor)>, Besides)> {
    let broken = |what: String| broken(what, path);
    let file = FileBytes::open(path).map_err(|e| broken(e.to_string()))?;
    if file.starts_with(old::BEGINNING) {
        let (whole, storages) = old::read(&file).map_err(|what| cut_or_broken(what, path))?;
        let stored = |key: &str| {
            let numbers = storages.get(key).map(Tensor::shallow_clone);
            numbers.ok_or_else(|| format!("no numbers of storage {key}"))
        };
        return built(&whole.value, path, stored);
    }
    let mut archive = archive(path)?;
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
    let whole = Machine::new(&bytes).run().map_err(|what| broken(format!("`data.pkl`: {what}")))?;
    built(&whole.value, path, |key| storage(&mut archive, &format!("{folder}data/{key}"), &file))
}

/// The tensors in the value of a whole file. `stored` gives the bytes (n,) u8 of a storage by its key; each is asked for once.
fn built(
    value: &Value,
    path: &Path,
    mut stored: impl FnMut(&str) -> std::result::Result<Tensor, String>,
) -> Result<(Vec<(String, Tensor)>, Besides)> {
    let broken = |what: String| broken(what, path);
    let mut found = Found::default();
    found.look("", value, 0, false);
    if let (true, Some(class)) = (found.tensors.is_empty(), &found.object) {
        let what = format!("a whole `{}`, not its tensors", class.replace(' ', "."));
        let hint = state_dict_of(path, "torch.load", ", weights_only=False");
        return Err(Error::checkpoint(what, path.display().to_string(), hint));
    }
    if found.names > MOST_NAMES {
        return Err(broken(format!("more than {MOST_NAMES} names")));
    }
    if let Some(name) = found.ambiguous() {
        return Err(broken(format!("two tensors have the name `{name}`")));
    }
    let mut storages: HashMap<Rc<str>, Tensor> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, layout) in found.tensors {
        if !storages.contains_key(&layout.key) {
            storages.insert(layout.key.clone(), stored(&layout.key).map_err(&broken)?);
        }
        let tensor = layout
            .build(&storages[&layout.key])
            .map_err(|what| broken(format!("`{name}`: {what}")))?;
        tensors.push((name, tensor));
    }
    Ok((tensors, Besides { unkept: found.unkept, listed: found.listed }))
}

/// Checks that a file is one of `torch.save` and whole. Reads what it says is in it, and no numbers.
///
/// Errors: another kind of file, or one that is cut off.
pub fn look(path: &Path) -> Result<()> {
    let file = FileBytes::open(path).map_err(|e| broken(e.to_string(), path))?;
    match file.starts_with(old::BEGINNING) {
        true => old::read(&file).map(|_| ()).map_err(|what| cut_or_broken(what, path)),
        false => archive(path).map(|_| ()),
    }
}

/// Opens a zip file. Reads the list of what is in it, and no more.
///
/// Errors: not a zip file, or one that is cut off.
fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let mut file = File::open(path).map_err(|e| broken(e.to_string(), path))?;
    let mut head = Vec::new();
    let begun = Read::by_ref(&mut file).take(4).read_to_end(&mut head);
    begun.and_then(|_| file.rewind()).map_err(|e| broken(e.to_string(), path))?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| match head.starts_with(b"PK\x03\x04") {
        true => cut(path),
        false => broken(format!("not a zip file: {e}"), path),
    })
}

fn cut(path: &Path) -> Error {
    Error::checkpoint("the file is cut off", path.display().to_string(), "get it again")
}

/// The error of an old file, which has no list of what is in it.
fn cut_or_broken(what: String, path: &Path) -> Error {
    let ends = what == "cut off" || what == old::ENDS;
    if ends { cut(path) } else { broken(what, path) }
}

fn broken(what: String, path: &Path) -> Error {
    let hint = "a file of torch.save was expected";
    Error::checkpoint(what, path.display().to_string(), hint)
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

/// The bytes of stored numbers (n,) u8: where they lie in the file, or unpacked.
fn storage(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    file: &FileBytes,
) -> std::result::Result<Tensor, String> {
    let place = archive.by_name(name).map_err(|e| format!("`{name}`: {e}")).map(|entry| {
        let plain = entry.compression() == CompressionMethod::Stored && !entry.encrypted();
        let whole = entry.size() == entry.compressed_size();
        entry.data_start().filter(|_| plain && whole).map(|start| (start, entry.size()))
    })?;
    match place {
        Some((start, size)) => file
            .view(start, size, &[-1], Kind::Uint8)
            .map_err(|_| format!("`{name}`: {}", old::ENDS)),
        None => entry(archive, name, u64::MAX).map(|bytes| Tensor::from_slice(&bytes)),
    }
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
    if is_trap(size, entry.compressed_size()) {
        return Err(format!("`{name}`: {TRAP}"));
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
    /// Names of tensors of types that tch does not have.
    unkept: Vec<String>,
    /// Names of tensors in lists and under numbers.
    listed: Vec<String>,
    /// The first object that is no plain data.
    object: Option<Rc<str>>,
    names: usize,
}

impl Found {
    /// `aside`: within a list or under a number, as an optimiser's state is. Its tensors are named, and are no weights.
    fn look(&mut self, prefix: &str, value: &Value, depth: usize, aside: bool) {
        match value {
            Value::Tensor(_) | Value::Unkept if aside => self.listed.push(prefix.to_string()),
            Value::Tensor(layout) => self.tensors.push((prefix.to_string(), layout.clone())),
            Value::Unkept => self.unkept.push(format!("`{prefix}`")),
            Value::Object(class) if !aside => {
                self.object.get_or_insert_with(|| class.clone());
            }
            Value::Dict(entries) if depth < DEEPEST => {
                for (key, value) in entries.borrow().iter() {
                    match key {
                        Value::Text(key) => self.below(prefix, key, value, depth, aside),
                        Value::Int(key) => self.below(prefix, key, value, depth, true),
                        _ => {}
                    }
                }
            }
            Value::Items(items) if depth < DEEPEST => {
                for (at, value) in items.borrow().iter().enumerate() {
                    self.below(prefix, at, value, depth, true);
                }
            }
            _ => {}
        }
    }

    fn below(&mut self, prefix: &str, key: impl Display, value: &Value, depth: usize, aside: bool) {
        let holds = matches!(
            value,
            Value::Tensor(_) | Value::Unkept | Value::Object(_) | Value::Dict(_) | Value::Items(_)
        );
        self.names += usize::from(holds);
        if holds && self.names <= MOST_NAMES {
            let dot = if prefix.is_empty() { "" } else { "." };
            self.look(&format!("{prefix}{dot}{key}"), value, depth + 1, aside);
        }
    }

    /// A name that two tensors have.
    fn ambiguous(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.tensors.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

impl Layout {
    /// The tensor, of a storage's bytes (n,) u8. It shares them where its numbers lie in one row.
    fn build(&self, storage: &Tensor) -> std::result::Result<Tensor, String> {
        let width = self.kind.elt_size_in_bytes();
        let (count, sane) = ((storage.numel() / width) as i64, |n: &i64| *n >= 0);
        let product = |all: i64, &n: &i64| all.saturating_mul(n);
        let numel = self.size.iter().fold(1, product);
        let is_sound = self.size.len() == self.stride.len()
            && self.size.iter().chain(&self.stride).all(sane)
            && numel <= count.max(MOST_REPEATED);
        if !is_sound {
            return Err(format!("impossible shape {:?}, strides {:?}", self.size, self.stride));
        }
        let steps = self.size.iter().zip(&self.stride);
        let last = steps.fold(self.offset, |at, (n, stride)| {
            at.saturating_add((n - 1).max(0).saturating_mul(*stride))
        });
        if self.offset < 0 || self.offset > count || (last >= count && numel > 0) {
            let needed = last.saturating_add(1);
            return Err(format!("needs {needed} numbers, stored are {count}"));
        }
        let flat = || -> std::result::Result<Tensor, tch::TchError> {
            let bytes = storage.f_narrow(0, 0, count * width as i64)?;
            // numbers of several bytes are read only where their kind may begin
            let aligned = (bytes.data_ptr() as usize).is_multiple_of(width);
            let bytes = if aligned { bytes } else { bytes.copy() };
            let numbers = bytes.f_view_dtype(self.kind)?;
            let numbers = numbers.f_narrow(0, self.offset, count - self.offset)?;
            numbers.f_as_strided(&self.size, &self.stride, None)?.f_contiguous()
        };
        flat().map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_calls_the_system_is_only_data() {
        // os.system("true") in protocol 0 style with protocol 2 codes
        let program = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        let whole = Machine::new(program).run().expect("data");
        assert!(matches!(whole.value, Value::Object(_)));
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
        let whole = Machine::new(program).run().expect("data");
        let mut found = Found::default();
        found.look("", &whole.value, 0, false);
        assert!(found.names > 2 && found.names <= MOST_NAMES + DEEPEST, "{}", found.names);
    }

    #[test]
    fn tensors_of_other_types_are_named() {
        // {"a": {"b": a quantized tensor}}, and a tensor of complex numbers on its own
        let quantized = b"\x80\x02}X\x01\0\0\0a}X\x01\0\0\0bctorch._utils\n_rebuild_qtensor\n)Rss.";
        let id =
            b"(X\x07\0\0\0storagectorch\nComplexFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
        let complex =
            [b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(", &id[..], b"K\0K\x01\x85K\x01\x85tR."];
        for (program, name) in [(&quantized[..], "a.b"), (&complex.concat(), "")] {
            let whole = Machine::new(program).run().expect("data");
            let mut found = Found::default();
            found.look("", &whole.value, 0, false);
            assert_eq!(found.unkept, [format!("`{name}`")]);
        }
    }

    #[test]
    fn tensors_in_lists_and_under_numbers_are_named_and_no_two_have_one_name() {
        let id = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ";
        let tensor =
            [b"ctorch._utils\n_rebuild_tensor_v2\n(", &id[..], b"K\0K\x01\x85K\x01\x85tR"].concat();
        let a: &[u8] = b"X\x01\0\0\0a";
        let named = |parts: &[&[u8]]| {
            let program = [b"\x80\x02}", &parts.concat()[..], b"."].concat();
            let whole = Machine::new(&program).run().expect("data");
            let mut found = Found::default();
            found.look("", &whole.value, 0, false);
            (found.listed.clone(), found.ambiguous().map(str::to_string))
        };
        // {"a": [tensor, tensor]}, {"a": {7: tensor}}, {"a": {"b": tensor}, "a.b": tensor}
        let list = named(&[a, b"](", &tensor, &tensor, b"es"]);
        assert_eq!(list, (vec!["a.0".into(), "a.1".into()], None));
        let number = named(&[a, b"}K\x07", &tensor, b"ss"]);
        assert_eq!(number, (vec!["a.7".into()], None));
        let b: &[u8] = b"X\x01\0\0\0b";
        let twice = named(&[a, b"}", b, &tensor, b"ss", b"X\x03\0\0\0a.b", &tensor, b"s"]);
        assert_eq!(twice, (vec![], Some("a.b".into())));
        // a subclass of tensors: its class and state are nothing to us
        let kind: &[u8] = b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\ncmine\nKind\n(";
        let program = [b"\x80\x02", kind, &id[..], b"K\0K\x01\x85K\x01\x85t}tR."].concat();
        let whole = Machine::new(&program).run().expect("data");
        assert!(matches!(whole.value, Value::Tensor(_)), "{:?}", whole.value);
    }

    #[test]
    fn a_deep_chain_of_objects_is_freed_without_recursion() {
        let program = [&b"]"[..], &[0x85].repeat(1_000_000), b"."].concat();
        assert!(Machine::new(&program).run().is_ok());
        let cut = &program[..program.len() - 1];
        assert!(Machine::new(cut).run().is_err());
    }

    #[test]
    fn layouts_that_no_storage_has_are_refused() {
        let build = |size: &[i64], stride: &[i64], offset| {
            let (size, stride) = (size.to_vec(), stride.to_vec());
            let layout = Layout { kind: tch::Kind::Float, key: "0".into(), offset, size, stride };
            layout.build(&Tensor::from_slice(&[0u8; 24])).map(|xs| xs.size())
        };
        assert_eq!(build(&[2, 3], &[3, 1], 0), Ok(vec![2, 3]));
        assert_eq!(build(&[100, 3], &[0, 1], 3), Ok(vec![100, 3]));
        assert_eq!(build(&[0, 3], &[3, 1], 0), Ok(vec![0, 3]));
        let (most, least) = (i64::MAX, i64::MIN);
        let refused: [(&[i64], &[i64], i64); 7] = [
            (&[2, 3], &[3, 1], 1),
            (&[2], &[most], 0),
            (&[2, 2], &[most, most], most),
            (&[most, most], &[0, 0], 0),
            (&[least], &[1], 0),
            (&[1], &[1], least),
            (&[1], &[1, 1], 0),
        ];
        for (size, stride, offset) in refused {
            assert!(build(size, stride, offset).is_err(), "{size:?} {stride:?} {offset}");
        }
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
