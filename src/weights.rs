//! Named tensors on disk: reads `.safetensors` and `torch.save` files, writes `.safetensors`.

use crate::error::{Error, Result};
use crate::files;
use crate::near;
use crate::pickle;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tch::{Kind, Tensor, nn};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Reads all tensors of a file to the CPU.
///
/// `.safetensors` and zip files of `torch.save` are recognised by content; `.index.json` names several `.safetensors`.
/// If a `torch.save` file holds a dictionary `state_dict`, only that is used. Tensors of types that tch does not have
/// are left out.
pub fn read(path: &Path) -> Result<Named> {
    let path = &crate::data::home(path);
    let tensors = match Format::of(path)? {
        Format::Index => return read_sharded(path),
        Format::Safetensors => return Ok(read_with_metadata(path)?.0),
        Format::Pickle => pickle::read(path)?,
    };
    let nested: Named = tensors
        .iter()
        .filter_map(|(name, xs)| {
            Some((name.strip_prefix("state_dict.")?.to_string(), xs.shallow_clone()))
        })
        .collect();
    Ok(if nested.is_empty() { tensors.into_iter().collect() } else { nested })
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
    /// Errors: no such file; one that is no weights but something that people get in their place.
    fn of(path: &Path) -> Result<Self> {
        near::there(path, "FILE")?;
        let refuse =
            |what: &str, hint: &str| Err(Error::checkpoint(what, path.display().to_string(), hint));
        let mut head = Vec::new();
        let file = File::open(path).and_then(|f| f.take(files::HEAD as u64).read_to_end(&mut head));
        if let Err(e) = file {
            return refuse(&e.to_string(), "");
        }
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
        Format::Index => Ok(()),
        Format::Safetensors => look(path),
        Format::Pickle => pickle::look(path).map(|_| ()),
    }
}

/// Reads all files that an index names. It gives for each tensor the file, in the index's own folder, that holds it.
fn read_sharded(path: &Path) -> Result<Named> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let refuse =
        |what: String, hint: &str| Error::checkpoint(what, path.display().to_string(), hint);
    let bytes = std::fs::read(path).map_err(|e| refuse(e.to_string(), ""))?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| {
        refuse(format!("no index of weights: {e}"), "it has a `weight_map`: tensor to file")
    })?;
    let files: BTreeSet<&String> = index.weight_map.values().collect();
    let mut all = Named::new();
    for file in files {
        // an index among the files could name itself
        let index = file.to_ascii_lowercase().ends_with(".index.json");
        if index || Path::new(file).components().count() != 1 {
            return Err(refuse(format!("`{file}` is no file's name"), "they lie beside the index"));
        }
        all.extend(read(&path.with_file_name(file))?);
    }
    match index.weight_map.iter().find(|(name, _)| !all.contains_key(*name)) {
        Some((name, file)) => Err(refuse(format!("`{name}` is not in `{file}`"), "")),
        None => Ok(all),
    }
}

/// Reads a `.safetensors` file and the strings of its header.
pub fn read_with_metadata(path: &Path) -> Result<(Named, HashMap<String, String>)> {
    let broken =
        |what: String, hint: &str| Error::checkpoint(what, path.display().to_string(), hint);
    let bytes = std::fs::read(path).map_err(|e| broken(e.to_string(), ""))?;
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
        named.insert(name, Tensor::f_from_data_size(view.data(), &size, kind)?);
    }
    Ok((named, header.metadata().clone().unwrap_or_default()))
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

/// Whether a file of `size` bytes begins as safetensors do and ends before its header, or before the last tensor that it
/// names. `bytes` are its first ones, header included.
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
    let raw: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, xs)| raw(xs).map(|(d, s, b)| (name, d, s, b)))
        .collect::<Result<_>>()?;
    let views = raw.iter().map(|(name, dtype, size, bytes)| {
        TensorView::new(*dtype, size.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views: Vec<_> =
        views.collect::<std::result::Result<_, _>>().map_err(|e| failed(e.to_string()))?;
    let header = HashMap::from([("format".to_string(), "pt".to_string())]);
    let bytes = safetensors::serialize(views, Some(header)).map_err(|e| failed(e.to_string()))?;
    files::write(path, &bytes).map_err(|e| failed(e.to_string()))
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
pub fn load(vars: &nn::VarStore, path: &Path, ignore: &[&str]) -> Result<()> {
    let place = path.display().to_string();
    fill(vars, &read(path)?, ignore, &place)?;
    finite(vars, &place)
}

/// Checks weights that were read from `place`.
///
/// Errors: numbers that are not finite.
pub fn finite(vars: &nn::VarStore, place: &str) -> Result<()> {
    let hint =
        "the training that made them has diverged, or the file is damaged: take earlier weights";
    broken(&named(vars, false)).map_or(Ok(()), |what| Err(Error::checkpoint(what, place, hint)))
}

/// Fills every variable of `vars` by name. Names that start with one of `ignore`, and tensors of whole numbers, may be
/// unused. Prefixes that wrappers add (`module.`, `_orig_mod.`, `model.`) are removed if all names fit without them.
///
/// Errors: lists all names that are missing, unused, or of another shape. No variable is then changed.
pub fn fill(vars: &nn::VarStore, tensors: &Named, ignore: &[&str], place: &str) -> Result<()> {
    fill_all_but(vars, tensors, (ignore, &[]), place).map(|_| ())
}

/// As [`load`], from weights that may lack all of a layer in `may_lack`. Returns the layers that are left as they are.
pub fn load_all_but<'a>(
    vars: &nn::VarStore,
    path: &Path,
    ignore: &[&str],
    may_lack: &[&'a str],
) -> Result<Vec<&'a str>> {
    let place = path.display().to_string();
    let lacking = fill_all_but(vars, &read(path)?, (ignore, may_lack), &place)?;
    finite(vars, &place).map(|()| lacking)
}

fn fill_all_but<'a>(
    vars: &nn::VarStore,
    tensors: &Named,
    (ignore, may_lack): (&[&str], &[&'a str]),
    place: &str,
) -> Result<Vec<&'a str>> {
    let all = vars.variables();
    let of = |name: &str, layer: &str| {
        name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
    };
    let lacks = |tensors: &Named, layer: &str| {
        all.keys().any(|name| of(name, layer)) && !tensors.keys().any(|name| of(name, layer))
    };
    // what the weights have to hold
    let wanted = |tensors: &Named| -> HashMap<String, Tensor> {
        let absent: Vec<&str> =
            may_lack.iter().copied().filter(|layer| lacks(tensors, layer)).collect();
        let there = |name: &String| !absent.iter().any(|layer| of(name, layer));
        let some = all.iter().filter(|(name, _)| there(name));
        some.map(|(name, xs)| (name.clone(), xs.shallow_clone())).collect()
    };
    let faults_of = |tensors: &Named| misfits(&wanted(tensors), tensors, ignore);
    let faults = faults_of(tensors);
    let unwrapped = match faults.is_empty() {
        true => None,
        false => unwrapped(tensors).find(|named| faults_of(named).is_empty()),
    };
    if !faults.is_empty() && unwrapped.is_none() {
        return Err(Error::checkpoint(
            listed(&faults),
            place,
            "do these weights belong to this config?",
        ));
    }
    let tensors = unwrapped.as_ref().unwrap_or(tensors);
    tch::no_grad(|| -> Result<()> {
        for (name, mut variable) in vars.variables() {
            if let Some(xs) = tensors.get(&name) {
                variable.f_copy_(xs)?;
            }
        }
        Ok(())
    })?;
    Ok(may_lack.iter().copied().filter(|layer| lacks(tensors, layer)).collect())
}

/// Names that are missing, of another shape or unused.
fn misfits(variables: &HashMap<String, Tensor>, tensors: &Named, ignore: &[&str]) -> Vec<String> {
    let given: HashSet<usize> = variables
        .iter()
        .filter(|(name, _)| tensors.contains_key(*name))
        .map(|(_, xs)| xs.data_ptr() as usize)
        .collect();
    let mut faults = Vec::new();
    for (name, variable) in variables.iter().collect::<BTreeMap<_, _>>() {
        match tensors.get(name) {
            Some(xs) if xs.size() != variable.size() => {
                faults.push(format!(
                    "`{name}`: expected {:?}, got {:?}",
                    variable.size(),
                    xs.size()
                ));
            }
            // the second name of a tensor whose first name is given
            None if !given.contains(&(variable.data_ptr() as usize)) => {
                faults.push(format!("`{name}` is missing"))
            }
            _ => {}
        }
    }
    // whole numbers are counters and notes of other programs, never weights
    let known = |name: &String, xs: &Tensor| {
        variables.contains_key(name)
            || ignore.iter().any(|prefix| name.starts_with(prefix))
            || !xs.is_floating_point()
    };
    let unused = tensors.iter().filter(|(name, xs)| !known(name, xs));
    faults.extend(unused.map(|(name, _)| format!("`{name}` is not of this network")));
    faults
}

/// The tensors under shorter names, without up to three prefixes that `DistributedDataParallel`, `torch.compile` or a
/// training script added. Tensors without the prefix are left out.
fn unwrapped(tensors: &Named) -> impl Iterator<Item = Named> {
    let renamed = |named: &Named, rename: &dyn Fn(&str) -> Option<String>| -> Named {
        let pairs = named.iter().filter_map(|(name, xs)| Some((rename(name)?, xs.shallow_clone())));
        pairs.collect()
    };
    let once = move |named: &Named| -> Vec<Named> {
        let compiled = |name: &str| Some(name.replace("_orig_mod.", ""));
        let mut ways = vec![renamed(named, &compiled)];
        for prefix in ["module.", "model.", "state_dict.", "model_state_dict."] {
            ways.push(renamed(named, &|name| Some(name.strip_prefix(prefix)?.to_string())));
        }
        ways.retain(|way| !way.is_empty() && way.keys().ne(named.keys()));
        ways
    };
    let first = once(tensors);
    let second: Vec<Named> = first.iter().flat_map(&once).collect();
    let third: Vec<Named> = second.iter().flat_map(&once).collect();
    first.into_iter().chain(second).chain(third)
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

/// Type, shape and bytes of a tensor, copied to the CPU.
fn raw(xs: &Tensor) -> Result<(Dtype, Vec<usize>, Vec<u8>)> {
    let xs = xs.detach().to_device(tch::Device::Cpu).contiguous();
    let dtype = KINDS.iter().find(|(_, kind)| *kind == xs.kind()).map(|&(dtype, _)| dtype);
    let dtype = dtype
        .ok_or_else(|| Error::checkpoint(format!("tensors of type {:?}", xs.kind()), "", ""))?;
    let mut bytes = vec![0u8; xs.numel() * xs.kind().elt_size_in_bytes()];
    xs.f_copy_data_u8(&mut bytes, xs.numel())?;
    Ok((dtype, xs.size().iter().map(|&n| n as usize).collect(), bytes))
}
