//! Named tensors on disk: reads `.safetensors` and `torch.save` files, writes `.safetensors`.

use crate::error::{Error, Result};
use crate::files;
use crate::pickle;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use tch::{Kind, Tensor, nn};

/// Tensors by name.
pub type Named = BTreeMap<String, Tensor>;

/// Reads all tensors of a file to the CPU.
///
/// A `.safetensors` file is recognised by its extension. Anything else is read as a zip file of `torch.save`; if it
/// holds a dictionary `state_dict`, only that is used.
pub fn read(path: &Path) -> Result<Named> {
    if !path.is_file() {
        return Err(Error::checkpoint(
            "no such file",
            path.display().to_string(),
            "check the path of the weights",
        ));
    }
    if path.extension().is_some_and(|ending| ending == "safetensors") {
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

/// Reads a `.safetensors` file and the strings of its header.
pub fn read_with_metadata(path: &Path) -> Result<(Named, HashMap<String, String>)> {
    let broken = |what: String| {
        Error::checkpoint(
            what,
            path.display().to_string(),
            "the file is cut off or not in this format: get it again",
        )
    };
    let bytes = std::fs::read(path).map_err(|e| broken(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| broken(format!("not readable as safetensors: {e}")))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
    let mut named = Named::new();
    for (name, view) in tensors.tensors() {
        let kind = kind_of(view.dtype())
            .ok_or_else(|| broken(format!("`{name}` has type {:?}", view.dtype())))?;
        let size: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        named.insert(name, Tensor::f_from_data_size(view.data(), &size, kind)?);
    }
    Ok((named, header.metadata().clone().unwrap_or_default()))
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

/// Fills every variable of `vars` by name. Names that start with one of `ignore` may be unused.
///
/// Errors: lists all names that are missing, unused, or of another shape. No variable is then changed.
pub fn fill(vars: &nn::VarStore, tensors: &Named, ignore: &[&str], place: &str) -> Result<()> {
    let variables = vars.variables();
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
    let known = |name: &String| {
        variables.contains_key(name) || ignore.iter().any(|prefix| name.starts_with(prefix))
    };
    faults.extend(
        tensors
            .keys()
            .filter(|name| !known(name))
            .map(|name| format!("`{name}` is not of this network")),
    );
    if !faults.is_empty() {
        return Err(Error::checkpoint(
            listed(&faults),
            place,
            "do these weights belong to this config?",
        ));
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

const KINDS: [(Dtype, Kind); 8] = [
    (Dtype::F32, Kind::Float),
    (Dtype::F64, Kind::Double),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
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
