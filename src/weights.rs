//! Named tensors on disk: reads `.safetensors` and `torch.save` files, writes `.safetensors`.

pub mod fit;
pub mod small;

use crate::error::{Error, Result};
use crate::files;
use crate::near;
use crate::pickle::{self, Besides};
use crate::torch::mapped::FileBytes;
use fit::{Fit, Rules};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor, nn};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Reads all tensors of a file to the CPU.
///
/// `.safetensors` and zip files of `torch.save` are recognised by content; `.index.json` names several `.safetensors`.
/// If a `torch.save` file holds a dictionary `state_dict`, only that is used. Tensors of types that tch does not have
/// are left out.
pub fn read(path: &Path) -> Result<Named> {
    Ok(map(path)?.into_iter().map(|(name, xs)| (name, xs.copy())).collect())
}

/// As [`read`], but the numbers stay in the file until they are used: for a file that is larger than the memory. The
/// file must not be written to while a tensor of it lives; replacing it is fine.
pub fn map(path: &Path) -> Result<Named> {
    let mut tensors = map_all(path)?;
    let nested: Vec<String> =
        tensors.keys().filter(|name| name.starts_with(STATE)).cloned().collect();
    let inner = |name: String| Some((name[STATE.len()..].to_string(), tensors.remove(&name)?));
    let inner: Named = nested.into_iter().filter_map(inner).collect();
    Ok(if inner.is_empty() { tensors } else { inner })
}

/// The dictionary of a checkpoint that has the weights; an optimiser's state may lie beside it.
const STATE: &str = "state_dict.";

/// As [`map`], with all that lies beside a dictionary `state_dict`.
pub fn map_all(path: &Path) -> Result<Named> {
    Ok(map_with_rest(path)?.0)
}

/// As [`map_all`], and what it leaves out. Tensors of a `torch.save` file are told by name, others also by type.
pub fn map_with_rest(path: &Path) -> Result<(Named, Besides)> {
    let path = &crate::data::home(path);
    let (tensors, files) = match Format::of(path)? {
        Format::Index => (map_sharded(path)?, Index::read(path)?.files(path)?),
        Format::Safetensors => (read_with_metadata(path)?.0, BTreeSet::from([path.to_path_buf()])),
        Format::Pickle => {
            let (tensors, rest) = pickle::read(path)?;
            return Ok((tensors.into_iter().collect(), rest));
        }
    };
    Ok((tensors, Besides { unkept: unkept(&files)?, listed: Vec::new() }))
}

/// Names and types of the tensors of safetensors files that tch does not have.
fn unkept(files: &BTreeSet<PathBuf>) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let broken = |e: String| Error::checkpoint(e, file.display().to_string(), "");
        let bytes = FileBytes::open(file).map_err(|e| broken(e.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
        let of = |(name, about): (String, &safetensors::tensor::TensorInfo)| {
            kind_of(about.dtype).is_none().then(|| format!("`{name}` ({:?})", about.dtype))
        };
        all.extend(header.tensors().into_iter().filter_map(of));
    }
    all.sort();
    Ok(all)
}

/// What a file of weights is.
enum Format {
    Index,
    Safetensors,
    Pickle,
}

impl Format {
    /// By the name of the file and its first bytes.
    ///
    /// Errors: no such file; another kind of file, such as a web page.
    fn of(path: &Path) -> Result<Self> {
        near::there(path, "FILE")?;
        let refuse =
            |what: &str, hint: &str| Err(Error::checkpoint(what, path.display().to_string(), hint));
        let head = match files::head(path) {
            Ok(head) => head,
            Err(e) => return refuse(&e.to_string(), ""),
        };
        let name = path.to_string_lossy().to_lowercase();
        if name.ends_with(".index.json") {
            return Ok(Self::Index);
        }
        // a safetensors file begins with the length of its header, which may look like letters
        let braced = head.get(8) == Some(&b'{');
        let is_zip = head.starts_with(b"PK") && !braced;
        match files::foreign(&head).filter(|_| !braced && !is_zip) {
            Some((what, hint)) => refuse(
                &format!("{what}, no weights"),
                hint.unwrap_or("unpack it; .safetensors and files of torch.save are read"),
            ),
            None if head.is_empty() => refuse("an empty file", "get it again"),
            None if !is_zip && (braced || name.ends_with(".safetensors")) => Ok(Self::Safetensors),
            None => Ok(Self::Pickle),
        }
    }
}

/// Checks that a file of any format holds weights, from how it begins and what it says is in it. Reads no weights.
///
/// Errors: no such file; another kind of file; one that is cut off.
pub fn glance(path: &Path) -> Result<()> {
    match Format::of(path)? {
        Format::Index => Index::read(path)?.files(path)?.iter().try_for_each(|file| glance(file)),
        Format::Safetensors => look(path),
        Format::Pickle => pickle::look(path).map(|_| ()),
    }
}

/// Weights in several files: tensor to file.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        let refuse =
            |what: String, hint: &str| Error::checkpoint(what, path.display().to_string(), hint);
        let bytes = std::fs::read(path).map_err(|e| refuse(e.to_string(), ""))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            refuse(format!("no index of weights: {e}"), "it has a `weight_map`: tensor to file")
        })
    }

    /// The files, which lie in the index's own folder.
    fn files(&self, path: &Path) -> Result<BTreeSet<PathBuf>> {
        let place = |file: &String| {
            // an index among the files could name itself
            let index = file.to_ascii_lowercase().ends_with(".index.json");
            if index || Path::new(file).components().count() != 1 {
                let what = format!("`{file}` is no file's name");
                let hint = "they lie beside the index";
                return Err(Error::checkpoint(what, path.display().to_string(), hint));
            }
            Ok(path.with_file_name(file))
        };
        self.weight_map.values().map(place).collect()
    }
}

/// The tensors of all files that an index names.
fn map_sharded(path: &Path) -> Result<Named> {
    let index = Index::read(path)?;
    let mut all = Named::new();
    for file in index.files(path)? {
        all.extend(map(&file)?);
    }
    match index.weight_map.iter().find(|(name, _)| !all.contains_key(*name)) {
        Some((name, file)) => {
            let what = format!("`{name}` is not in `{file}`");
            Err(Error::checkpoint(what, path.display().to_string(), ""))
        }
        None => Ok(all),
    }
}

/// The tensors of a `.safetensors` file, mapped as by [`map`], and the strings of its header. Weights in 8 bits come as
/// f32.
pub fn read_with_metadata(path: &Path) -> Result<(Named, HashMap<String, String>)> {
    let broken =
        |what: String, hint: &str| Error::checkpoint(what, path.display().to_string(), hint);
    let bytes = FileBytes::open(path).map_err(|e| broken(e.to_string(), ""))?;
    let hint = match is_cut(&bytes, bytes.len() as u64) {
        true => "the file is cut off: get it again",
        false => "a file in the safetensors format was expected",
    };
    let unreadable = |e: SafeTensorError| broken(format!("not readable as safetensors: {e}"), hint);
    let tensors = SafeTensors::deserialize(&bytes).map_err(unreadable)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(unreadable)?;
    let mut named = Named::new();
    for (name, view) in tensors.tensors() {
        let Some(kind) = kind_of(view.dtype()) else { continue };
        let size: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        // every tensor's bytes are a part of the file's
        let from = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
        named.insert(name, bytes.view(from as u64, view.data().len() as u64, &size, kind)?);
    }
    Ok((small::unpack(named), header.metadata().clone().unwrap_or_default()))
}

/// Checks that a `.safetensors` file is whole, from its header and its length. Reads no weights.
///
/// Errors: there is no such file; it is cut off; it is another kind of file.
pub fn look(path: &Path) -> Result<()> {
    let broken = |what: String| {
        Error::checkpoint(
            what,
            path.display().to_string(),
            "a file in the safetensors format was expected",
        )
    };
    let unreadable = |e: std::io::Error| broken(e.to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut head = Vec::new();
    (&mut file).take(8).read_to_end(&mut head).map_err(unreadable)?;
    let length = head.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    file.take(length.min(LONGEST_HEADER)).read_to_end(&mut head).map_err(unreadable)?;
    if is_cut(&head, size) {
        return Err(broken("the file is cut off".into()));
    }
    match SafeTensors::read_metadata(&head) {
        // the header is fine, and the tensors behind it are not read
        Ok(_) | Err(SafeTensorError::MetadataIncompleteBuffer) => Ok(()),
        Err(e) => Err(broken(format!("not readable as safetensors: {e}"))),
    }
}

/// The longest header of a `.safetensors` file, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Whether a file of `size` bytes begins as safetensors do and ends before its header, or before the last tensor that
/// it names. `bytes` are its first ones, header included.
fn is_cut(bytes: &[u8], size: u64) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return true };
    let length = u64::from_le_bytes(*length);
    if length > LONGEST_HEADER || rest.first().is_some_and(|&byte| byte != b'{') {
        return false; // no header is so long, or begins so
    }
    let Some(header) = rest.get(..length as usize) else { return true };
    let Ok(Value::Object(header)) = serde_json::from_slice(header) else { return false };
    let end = |about: &Value| about.get("data_offsets")?.get(1)?.as_u64();
    let last = header.values().filter_map(end).max().unwrap_or_default();
    last > size - 8 - length
}

/// Writes tensors as `.safetensors`, complete or not at all: to a temporary file beside it, synced, then renamed.
pub fn write(path: &Path, tensors: &Named) -> Result<()> {
    let failed = |what: String| {
        Error::checkpoint(
            what,
            path.display().to_string(),
            "is the folder writable, and is there room on the disk?",
        )
    };
    let (header, order) = header(tensors)?;
    let length = (header.len() as u64).to_le_bytes();
    files::write_with(path, |file| {
        let mut file = BufWriter::new(file);
        file.write_all(&length)?;
        file.write_all(header.as_bytes())?;
        for xs in order {
            file.write_all(&raw(xs).map_err(std::io::Error::other)?)?; // one at a time in memory
        }
        file.flush()
    })
    .map_err(|e| failed(e.to_string()))
}

/// The header of a `.safetensors` file, and the tensors in the order of their bytes: the widest types first, so that
/// each number lies at a multiple of its width.
///
/// Source: huggingface/safetensors, `prepare`.
fn header(tensors: &Named) -> Result<(String, Vec<&Tensor>)> {
    let typed = tensors.iter().map(|(name, xs)| Ok((Reverse(dtype_of(xs)?), name, xs)));
    let mut typed: Vec<(Reverse<Dtype>, &String, &Tensor)> = typed.collect::<Result<_>>()?;
    typed.sort_by_key(|(dtype, name, _)| (*dtype, *name));
    let mut about = serde_json::Map::new();
    about.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut end = 0;
    for (Reverse(dtype), name, xs) in &typed {
        let start = end;
        end += xs.numel() * xs.kind().elt_size_in_bytes();
        let entry = json!({ "dtype": dtype, "shape": xs.size(), "data_offsets": [start, end] });
        about.insert(name.to_string(), entry);
    }
    let mut text = Value::Object(about).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    Ok((text, typed.into_iter().map(|(_, _, xs)| xs).collect()))
}

/// Says which tensor holds numbers that are NaN or infinite, and how many. None if all are finite.
pub fn broken(tensors: &Named) -> Option<String> {
    let _no_grad = tch::no_grad_guard();
    tensors.iter().filter(|(_, xs)| xs.is_floating_point()).find_map(|(name, xs)| {
        let finite = xs.isfinite();
        let all = bool::try_from(finite.all()).unwrap_or(true);
        let count = || finite.logical_not().sum(Kind::Int64).int64_value(&[]);
        (!all).then(|| format!("{} of {} numbers of `{name}` are not finite", count(), xs.numel()))
    })
}

/// Fills every variable of `vars` from a file, as `fill` does.
///
/// Errors: those of `read` and `fill`; numbers that are not finite.
pub fn load(vars: &nn::VarStore, path: &Path, rules: &Rules) -> Result<Fit> {
    let place = path.display().to_string();
    let fit = fill(vars, &map(path)?, rules, &place)?;
    let mut read = named(vars, false);
    // a layer that the file lacks is drawn later, and holds anything until then
    read.retain(|name, _| fit.taken.contains_key(name));
    are_finite(&read, &place).map(|()| fit)
}

/// Checks weights that were read from `place`.
///
/// Errors: numbers that are not finite.
pub fn finite(vars: &nn::VarStore, place: &str) -> Result<()> {
    are_finite(&named(vars, false), place)
}

fn are_finite(tensors: &Named, place: &str) -> Result<()> {
    let hint =
        "the training that made them has diverged, or the file is damaged: take earlier weights";
    broken(tensors).map_or(Ok(()), |what| Err(Error::checkpoint(what, place, hint)))
}

/// Fills every variable of `vars` by name; see [`fit::fit`] for the names. Tensors of whole numbers may be unused.
/// Returns what was found; its `lacking` are the layers that are left as they are.
///
/// Errors: lists all names that are missing, unused, or of another shape. No variable is then changed.
pub fn fill(vars: &nn::VarStore, tensors: &Named, rules: &Rules, place: &str) -> Result<Fit> {
    let fit = fit::fit(vars, tensors, rules);
    if !fit.is_exact() {
        let hint = "do these weights belong to this config?";
        return Err(Error::checkpoint(listed(&fit.faults()), place, hint));
    }
    tch::no_grad(|| -> Result<()> {
        for (name, mut variable) in vars.variables() {
            if let Some(old) = fit.taken.get(&name) {
                variable.f_copy_(&tensors[old])?;
            }
        }
        Ok(())
    })?;
    Ok(fit)
}

/// The variables of a network by name. `half` converts f32 to 16 bits.
pub fn named(vars: &nn::VarStore, half: bool) -> Named {
    let narrow =
        |xs: Tensor| if half && xs.kind() == Kind::Float { xs.to_kind(Kind::Half) } else { xs };
    vars.variables().into_iter().map(|(name, xs)| (name, narrow(xs.detach()))).collect()
}

fn listed(faults: &[String]) -> String {
    let first = faults.iter().take(8).map(String::as_str).collect::<Vec<_>>().join("; ");
    if faults.len() > 8 { format!("{first}; and {} more", faults.len() - 8) } else { first }
}

const KINDS: [(Dtype, Kind); 10] = [
    (Dtype::F32, Kind::Float),
    (Dtype::F64, Kind::Double),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
    (Dtype::I16, Kind::Int16),
    (Dtype::I8, Kind::Int8),
    (Dtype::U8, Kind::Uint8),
    (Dtype::BOOL, Kind::Bool),
];

fn kind_of(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(d, _)| *d == dtype).map(|&(_, kind)| kind)
}

fn dtype_of(xs: &Tensor) -> Result<Dtype> {
    let dtype = KINDS.iter().find(|(_, kind)| *kind == xs.kind()).map(|&(dtype, _)| dtype);
    dtype.ok_or_else(|| Error::checkpoint(format!("tensors of type {:?}", xs.kind()), "", ""))
}

/// The bytes of a tensor, copied to the CPU.
fn raw(xs: &Tensor) -> Result<Vec<u8>> {
    let xs = xs.detach().to_device(tch::Device::Cpu).contiguous();
    let mut bytes = vec![0u8; xs.numel() * xs.kind().elt_size_in_bytes()];
    xs.f_copy_data_u8(&mut bytes, xs.numel())?;
    Ok(bytes)
}
