//! Reads the tensors of a `torch.save` file without executing code from its pickle.
//!
//! The file is a zip archive: `NAME/data.pkl` describes dictionaries of tensors, `NAME/data/KEY` holds the numbers. A
//! pickle is a program for a stack machine. This reader implements only the instructions for plain data. Every call
//! gives an opaque value, except `torch._utils._rebuild_tensor_v2` and a few others that build tensors and
//! dictionaries.

use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use tch::{Kind, Tensor};
use zip::ZipArchive;

/// A value on the machine's stack.
#[derive(Clone, Debug)]
enum Value {
    Opaque,
    Mark,
    Int(i64),
    Text(Rc<str>),
    /// `module name` of a GLOBAL instruction.
    Global(Rc<str>),
    /// A tuple or a list.
    Items(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A persistent ID: type and key of stored numbers.
    Storage {
        kind: Kind,
        key: Rc<str>,
    },
    Tensor(Rc<Layout>),
}

/// Layout of a tensor in its storage. All values count elements.
#[derive(Debug)]
struct Layout {
    kind: Kind,
    key: Rc<str>,
    offset: i64,
    size: Vec<i64>,
    stride: Vec<i64>,
}

/// Reads all tensors of a file. Keys of nested dictionaries are joined by dots.
///
/// Errors: not a zip file of `torch.save`; a pickle that is not plain data; numbers missing or truncated.
pub fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let broken = |what: String| {
        let hint = "a file of torch.save (PyTorch 1.6 or later) was expected; older ones: load and save them again";
        Error::checkpoint(what, path.display().to_string(), hint)
    };
    let file = File::open(path).map_err(|e| broken(e.to_string()))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .map_err(|e| broken(format!("not a zip file: {e}")))?;
    let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
    let program = names.find(|name| name.ends_with("/data.pkl"));
    drop(names);
    let program = program.ok_or_else(|| broken("no `data.pkl` inside".into()))?;
    let folder = program.trim_end_matches("data.pkl").to_string();
    let bytes = entry(&mut archive, &program).map_err(&broken)?;
    let value = Machine::new(&bytes).run().map_err(|what| broken(format!("`data.pkl`: {what}")))?;
    let mut layouts = Vec::new();
    flatten("", &value, &mut layouts);
    let mut storages: HashMap<Rc<str>, Vec<u8>> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, layout) in layouts {
        if !storages.contains_key(&layout.key) {
            let numbers =
                entry(&mut archive, &format!("{folder}data/{}", layout.key)).map_err(&broken)?;
            storages.insert(layout.key.clone(), numbers);
        }
        let tensor = layout
            .build(&storages[&layout.key])
            .map_err(|what| broken(format!("`{name}`: {what}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

fn entry(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
) -> std::result::Result<Vec<u8>, String> {
    let mut entry = archive.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|e| format!("`{name}`: {e}"))?;
    Ok(bytes)
}

fn flatten(prefix: &str, value: &Value, found: &mut Vec<(String, Rc<Layout>)>) {
    match value {
        Value::Tensor(layout) => found.push((prefix.to_string(), layout.clone())),
        Value::Dict(entries) => {
            for (key, value) in entries {
                if let Value::Text(key) = key {
                    let name =
                        if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
                    flatten(&name, value, found);
                }
            }
        }
        _ => {}
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

/// The stack machine of pickle protocols 2 to 5.
struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

type Run<T> = std::result::Result<T, String>;

impl<'a> Machine<'a> {
    fn new(program: &'a [u8]) -> Self {
        Self { program, at: 0, stack: Vec::new(), memo: HashMap::new() }
    }

    fn run(mut self) -> Run<Value> {
        loop {
            let code = self.bytes(1)?[0];
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    /// Executes one instruction. Names are those of CPython's Lib/pickle.py.
    fn step(&mut self, code: u8) -> Run<()> {
        match code {
            0x80 => self.bytes(1).map(drop)?, // PROTO
            0x95 => self.bytes(8).map(drop)?, // FRAME
            b'(' => self.stack.push(Value::Mark),
            b'N' | 0x89 | 0x88 => self.stack.push(Value::Opaque), // NONE, FALSE, TRUE
            b'G' => {
                self.bytes(8)?; // BINFLOAT
                self.stack.push(Value::Opaque);
            }
            b'K' | b'M' | b'J' | 0x8a => self.int(code)?,
            b'X' | 0x8c => self.text(code)?,
            b'}' => self.stack.push(Value::Dict(Vec::new())),
            b']' | b')' => self.stack.push(Value::Items(Vec::new())),
            b't' | 0x85..=0x87 => self.tuple(code)?,
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => self.recall(code)?,
            b'c' | 0x93 => self.global(code)?,
            b'Q' => self.storage()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.pop().map(drop)?, // BUILD: attributes of an object hold no tensors
            b's' | b'u' => self.set_items(code)?,
            b'a' | b'e' => self.append(code)?,
            b'0' => self.pop().map(drop)?,
            _ => return Err(format!("instruction 0x{code:02x} is not plain data")),
        }
        Ok(())
    }

    fn bytes(&mut self, n: usize) -> Run<&'a [u8]> {
        let end =
            self.at.checked_add(n).filter(|&end| end <= self.program.len()).ok_or("cut off")?;
        let slice = &self.program[self.at..end];
        self.at = end;
        Ok(slice)
    }

    /// A little-endian unsigned number of up to 4 bytes.
    fn number(&mut self, n: usize) -> Run<u32> {
        Ok(self.bytes(n)?.iter().rev().fold(0, |sum, &byte| (sum << 8) | u32::from(byte)))
    }

    fn pop(&mut self) -> Run<Value> {
        self.stack.pop().ok_or_else(|| "empty stack".into())
    }

    fn pop_to_mark(&mut self) -> Run<Vec<Value>> {
        let at =
            self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or("no mark")?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn int(&mut self, code: u8) -> Run<()> {
        let value = match code {
            b'K' => i64::from(self.number(1)?),
            b'M' => i64::from(self.number(2)?),
            b'J' => i64::from(self.number(4)? as i32),
            _ => {
                let n = self.number(1)? as usize; // LONG1
                let bytes = self.bytes(n)?;
                if n > 8 {
                    return Err("a number of more than 64 bits".into());
                }
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1 } else { 0 };
                bytes.iter().rev().fold(start, |sum: i64, &byte| (sum << 8) | i64::from(byte))
            }
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    fn text(&mut self, code: u8) -> Run<()> {
        let n = self.number(if code == b'X' { 4 } else { 1 })? as usize;
        let text = std::str::from_utf8(self.bytes(n)?).map_err(|e| e.to_string())?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    fn tuple(&mut self, code: u8) -> Run<()> {
        let items = if code == b't' {
            self.pop_to_mark()?
        } else {
            let n = usize::from(code - 0x84);
            let at = self.stack.len().checked_sub(n).ok_or("empty stack")?;
            self.stack.split_off(at)
        };
        self.stack.push(Value::Items(items));
        Ok(())
    }

    fn remember(&mut self, code: u8) -> Run<()> {
        let key = match code {
            b'q' => self.number(1)?,
            b'r' => self.number(4)?,
            _ => self.memo.len() as u32,
        };
        let value = self.stack.last().cloned().ok_or("empty stack")?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Run<()> {
        let key = self.number(if code == b'h' { 1 } else { 4 })?;
        self.stack.push(self.memo.get(&key).cloned().ok_or("unknown memo")?);
        Ok(())
    }

    fn global(&mut self, code: u8) -> Run<()> {
        let name = if code == b'c' {
            format!("{} {}", self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (module, name) {
                (Value::Text(module), Value::Text(name)) => format!("{module} {name}"),
                _ => return Err("a global without a name".into()),
            }
        };
        self.stack.push(Value::Global(name.into()));
        Ok(())
    }

    fn line(&mut self) -> Run<String> {
        let rest = &self.program[self.at..];
        let n = rest.iter().position(|&byte| byte == b'\n').ok_or("cut off")?;
        self.at += n + 1;
        Ok(String::from_utf8_lossy(&rest[..n]).into_owned())
    }

    /// Reads a persistent ID ("storage", type, key, device, count), which names a file of numbers.
    fn storage(&mut self) -> Run<()> {
        let Value::Items(id) = self.pop()? else {
            return Err("a persistent id that is no tuple".into());
        };
        let (Some(Value::Global(class)), Some(Value::Text(key))) = (id.get(1), id.get(2)) else {
            return Err("a persistent id of unknown form".into());
        };
        let kind = match class.rsplit(' ').next().unwrap_or_default() {
            "FloatStorage" => Kind::Float,
            "DoubleStorage" => Kind::Double,
            "HalfStorage" => Kind::Half,
            "BFloat16Storage" => Kind::BFloat16,
            "LongStorage" => Kind::Int64,
            "IntStorage" => Kind::Int,
            "ShortStorage" => Kind::Int16,
            "CharStorage" => Kind::Int8,
            "ByteStorage" => Kind::Uint8,
            "BoolStorage" => Kind::Bool,
            other => return Err(format!("storage type {other}")),
        };
        self.stack.push(Value::Storage { kind, key: key.clone() });
        Ok(())
    }

    /// A call. Tensors and dictionaries are built, everything else becomes opaque.
    fn call(&mut self) -> Run<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let result = match (&function, arguments) {
            (Value::Global(name), Value::Items(items)) => match &**name {
                "torch._utils _rebuild_tensor_v2" => rebuild_tensor(&items)?,
                "torch._utils _rebuild_parameter" => {
                    items.into_iter().next().unwrap_or(Value::Opaque)
                }
                "collections OrderedDict" => Value::Dict(Vec::new()),
                _ => Value::Opaque,
            },
            _ => Value::Opaque,
        };
        self.stack.push(result);
        Ok(())
    }

    fn set_items(&mut self, code: u8) -> Run<()> {
        let items = if code == b'u' {
            self.pop_to_mark()?
        } else {
            let (value, key) = (self.pop()?, self.pop()?);
            vec![key, value]
        };
        if let Some(Value::Dict(entries)) = self.stack.last_mut() {
            entries.extend(items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())));
        }
        Ok(())
    }

    fn append(&mut self, code: u8) -> Run<()> {
        let items = if code == b'e' { self.pop_to_mark()? } else { vec![self.pop()?] };
        if let Some(Value::Items(list)) = self.stack.last_mut() {
            list.extend(items);
        }
        Ok(())
    }
}

/// (storage, offset, size, stride, ...) -> a tensor's layout.
fn rebuild_tensor(items: &[Value]) -> Run<Value> {
    let ints = |value: &Value| -> Run<Vec<i64>> {
        let Value::Items(items) = value else { return Err("a shape that is no tuple".into()) };
        let int = |item: &Value| {
            if let Value::Int(n) = item { Ok(*n) } else { Err("a shape of non-numbers".into()) }
        };
        items.iter().map(int).collect()
    };
    match items {
        [Value::Storage { kind, key }, Value::Int(offset), size, stride, ..] => {
            let (kind, key) = (*kind, key.clone());
            let layout =
                Layout { kind, key, offset: *offset, size: ints(size)?, stride: ints(stride)? };
            Ok(Value::Tensor(Rc::new(layout)))
        }
        _ => Err("a tensor of unknown form".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_calls_the_system_is_only_data() {
        // os.system("true") in protocol 0 style with protocol 2 codes
        let program = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.";
        assert!(matches!(Machine::new(program).run(), Ok(Value::Opaque)));
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
