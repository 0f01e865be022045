//! Files of `torch.save` before PyTorch 1.6: pickles one behind the other, then the numbers of each storage behind their
//! count.
//!
//! Source: PyTorch, `torch/serialization.py` `_legacy_save`.

use super::LONGEST;
use super::machine::{Machine, Run, Unpickled, Value};
use crate::torch::mapped::FileBytes;
use std::collections::HashMap;
use std::rc::Rc;
use tch::{Kind, Tensor};

/// How such a file begins: a pickle of the number 0x1950a86a20f9469cfc6c.
pub(super) const BEGINNING: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// What is said of numbers that are not there.
pub(super) const ENDS: &str = "the file ends before its last number";

/// What the file describes, and the bytes of each storage (n,) u8 by key, where they lie in the file.
///
/// Errors: no such file; one that is cut off; numbers of a type that tch does not have.
pub(super) fn read(file: &FileBytes) -> Run<(Unpickled, HashMap<Rc<str>, Tensor>)> {
    let mut at = BEGINNING.len();
    let mut next = || -> Run<Unpickled> {
        let rest = file.get(at..).unwrap_or_default();
        let whole = Machine::new(&rest[..rest.len().min(LONGEST as usize)]).run()?;
        at += whole.length;
        Ok(whole)
    };
    let (_version, _machine) = (next()?, next()?);
    let (whole, keys) = (next()?, next()?);
    let Value::Items(keys) = &keys.value else {
        return Err("no list of storages".into());
    };
    let mut storages = HashMap::new();
    for key in keys.borrow().iter() {
        let Value::Text(key) = key else { return Err("a storage without a name".into()) };
        // where the next one begins depends on the width of this one's numbers
        let kind = whole.storages.get(key).copied().flatten();
        let width = kind.ok_or("numbers of an unknown type")?.elt_size_in_bytes() as u64;
        let end = || ENDS.to_string();
        let count = file.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(end)?;
        let size = u64::from_le_bytes(*count).saturating_mul(width);
        let size = i64::try_from(size).map_err(|_| end())?;
        let from = at as u64 + 8;
        let bytes = file.view(from, size as u64, &[size], Kind::Uint8).map_err(|_| end())?;
        storages.insert(key.clone(), bytes);
        at += 8 + size as usize; // within the file, since the view is
    }
    Ok((whole, storages))
}
