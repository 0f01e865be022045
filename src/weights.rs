//! Named tensors on disk: `.safetensors` and `torch.save` files in, `.safetensors` out.

use crate::error::{Error, Result};
use crate::files;
use crate::pickle;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tch::{Kind, Tensor, nn};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Read every tensor of a file, onto the CPU.
///
/// `.safetensors` and zip files of `torch.save`, told apart by content, or the `.index.json` of several `.safetensors`.
/// In a `torch.save` file a dictionary under `state_dict` stands for the whole file. Tensors of types that tch does not
/// know are left out.
pub fn read(path: &Path) -> Result<Named> {
    let path = &crate::data::home(path);
    if !path.is_file() {
        return Err(Error::checkpoint(
            "no such file",
            path.display().to_string(),
            "check the path of the weights",
        ));
    }
    let mut head = Vec::new();
    let file = File::open(path).and_then(|file| file.take(9).read_to_end(&mut head));
    file.map_err(|e| Error::checkpoint(e.to_string(), path.display().to_string(), ""))?;
    let name = path.to_string_lossy().to_lowercase();
    if name.ends_with(".index.json") {
        return read_sharded(path);
    }
    let is_zip = head.starts_with(b"PK");
    if !is_zip && (name.ends_with(".safetensors") || head.get(8) == Some(&b'{')) {
        return Ok(read_with_metadata(path)?.0);
    }
    let tensors = pickle::read(path)?;
    let nested: Named = tensors
        .iter()
        .filter_map(|(name, xs)| {
            Some((name.strip_prefix("state_dict.")?.to_string(), xs.shallow_clone()))
        })
        .collect();
    Ok(if nested.is_empty() { tensors.into_iter().collect() } else { nested })
}

/// An index names the file, in its own folder, in which each tensor lies.
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
        if Path::new(file).components().count() != 1 {
            return Err(refuse(format!("`{file}` is no file's name"), "they lie beside the index"));
        }
        all.extend(read(&path.with_file_name(file))?);
    }
    match index.weight_map.iter().find(|(name, _)| !all.contains_key(*name)) {
        Some((name, file)) => Err(refuse(format!("`{name}` is not in `{file}`"), "")),
        None => Ok(all),
    }
}

/// Read a `.safetensors` file with the strings of its header.
pub fn read_with_metadata(path: &Path) -> Result<(Named, HashMap<String, String>)> {
    let broken =
        |what: String, hint: &str| Error::checkpoint(what, path.display().to_string(), hint);
    let bytes = std::fs::read(path).map_err(|e| broken(e.to_string(), ""))?;
    let hint = match is_cut(&bytes) {
        true => "the file is cut off: get it again",
        false => "a file in the safetensors format was expected",
    };
    let unreadable =
        |e: safetensors::SafeTensorError| broken(format!("not readable as safetensors: {e}"), hint);
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

/// Whether a file begins as safetensors do and ends before its header, or before the last tensor that it names.
fn is_cut(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return true };
    let Ok(length) = usize::try_from(u64::from_le_bytes(*length)) else { return false };
    if length > 100_000_000 || rest.first().is_some_and(|&byte| byte != b'{') {
        return false; // no header is so long, or begins so
    }
    let Some(header) = rest.get(..length) else { return true };
    let Ok(Value::Object(header)) = serde_json::from_slice(header) else { return false };
    let end = |about: &Value| about.get("data_offsets")?.get(1)?.as_u64();
    let last = header.values().filter_map(end).max().unwrap_or_default();
    last > (rest.len() - length) as u64
}

/// Write tensors as `.safetensors`, whole or not at all: into a file beside it, synced, then renamed.
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

/// Fill every variable of `vars` by name. Names that start with one of `ignore` may be left over. What a wrapper put in
/// front of the names (`module.`, `_orig_mod.`, `model.`) is taken off if all names fit then.
///
/// Errors: lists all names that are missing, left over, of another shape, or hold what is no number. Then nothing was
/// changed.
pub fn fill(vars: &nn::VarStore, tensors: &Named, ignore: &[&str], place: &str) -> Result<()> {
    let variables = vars.variables();
    let mut faults = misfits(&variables, tensors, ignore);
    let unwrapped = match faults.is_empty() {
        true => None,
        false => unwrapped(tensors).find(|named| misfits(&variables, named, ignore).is_empty()),
    };
    let tensors = unwrapped.as_ref().unwrap_or(tensors);
    if unwrapped.is_some() {
        faults.clear();
    }
    let mut hint = "do these weights belong to this config?";
    if faults.is_empty() {
        faults =
            variables.keys().filter_map(|name| not_numbers(name, tensors.get(name)?)).collect();
        hint = "a training that failed wrote them: take an earlier checkpoint";
    }
    if !faults.is_empty() {
        return Err(Error::checkpoint(listed(&faults), place, hint));
    }
    tch::no_grad(|| {
        for (name, mut variable) in variables {
            if let Some(xs) = tensors.get(&name) {
                variable.f_copy_(xs)?;
            }
        }
        Ok(())
    })
}

/// What is missing, of another shape or left over.
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
            // a second name of a tensor that is given under its first
            None if !given.contains(&(variable.data_ptr() as usize)) => {
                faults.push(format!("`{name}` is missing"))
            }
            _ => {}
        }
    }
    let known = |name: &String| {
        variables.contains_key(name) || ignore.iter().any(|prefix| name.starts_with(prefix))
    };
    let left_over = tensors.keys().filter(|name| !known(name));
    faults.extend(left_over.map(|name| format!("`{name}` is not of this network")));
    faults
}

/// The names as they may have been before `DistributedDataParallel`, `torch.compile` or a script of training wrapped
/// them: up to three times.
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

/// How much of a tensor is NaN or infinite, if any.
fn not_numbers(name: &str, xs: &Tensor) -> Option<String> {
    let odd = xs.f_isfinite().and_then(|fine| fine.f_logical_not()).ok()?;
    let count = odd.f_sum(Kind::Int64).ok()?.int64_value(&[]);
    (count > 0).then(|| format!("`{name}`: {count} of {} numbers are NaN or infinite", xs.numel()))
}

/// The variables of a network by name; `half` stores floats in 16 bits.
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
