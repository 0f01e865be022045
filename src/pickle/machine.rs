//! The stack machine of pickles, with the instructions that plain data needs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use tch::Kind;

/// A value on the machine's stack.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Opaque,
    Mark,
    Int(i64),
    Text(Rc<str>),
    /// `module name` of a GLOBAL instruction.
    Global(Rc<str>),
    /// A tuple or a list.
    Items(Shared<Value>),
    Dict(Shared<(Value, Value)>),
    /// The result of a call of this function or class, which is not made.
    Object(Rc<str>),
    /// A persistent ID: type and key of stored numbers. None: a type that tch does not have.
    Storage {
        kind: Option<Kind>,
        key: Rc<str>,
    },
    Tensor(Rc<Layout>),
    /// A tensor of a type that tch does not have.
    Unkept,
}

/// An object with two names is one object: filled under one name, it is full under the other.
pub(super) type Shared<T> = Rc<RefCell<Vec<T>>>;

/// All lists and dictionaries that a program made. They are emptied one by one in the end: objects that hold each other
/// in a chain or a circle would not be freed otherwise, or only by a recursion as deep as the chain.
#[derive(Debug, Default)]
struct Heap {
    lists: Vec<Shared<Value>>,
    dicts: Vec<Shared<(Value, Value)>>,
}

impl Heap {
    fn list(&mut self, items: Vec<Value>) -> Value {
        let list = Rc::new(RefCell::new(items));
        self.lists.push(list.clone());
        Value::Items(list)
    }

    fn dict(&mut self) -> Value {
        let dict = Shared::default();
        self.dicts.push(dict.clone());
        Value::Dict(dict)
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.lists.iter().for_each(|list| list.borrow_mut().clear());
        self.dicts.iter().for_each(|dict| dict.borrow_mut().clear());
    }
}

/// The value of a whole program.
#[derive(Debug)]
pub(super) struct Unpickled {
    pub value: Value,
    /// Bytes of the program.
    pub length: usize,
    /// The type of the numbers of each storage that the program names. None: one that tch does not have.
    pub storages: HashMap<Rc<str>, Option<Kind>>,
    _heap: Heap,
}

/// Layout of a tensor in its storage. All values count elements.
#[derive(Debug)]
pub(super) struct Layout {
    pub kind: Kind,
    pub key: Rc<str>,
    pub offset: i64,
    pub size: Vec<i64>,
    pub stride: Vec<i64>,
}

/// The stack machine of pickle protocols 2 to 5.
pub(super) struct Machine<'a> {
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    storages: HashMap<Rc<str>, Option<Kind>>,
    heap: Heap,
}

pub(super) type Run<T> = std::result::Result<T, String>;

impl<'a> Machine<'a> {
    pub(super) fn new(program: &'a [u8]) -> Self {
        let (memo, storages) = (HashMap::new(), HashMap::new());
        Self { program, at: 0, stack: Vec::new(), memo, storages, heap: Heap::default() }
    }

    pub(super) fn run(mut self) -> Run<Unpickled> {
        loop {
            let code = self.bytes(1)?[0];
            if code == b'.' {
                let value = self.pop()?;
                let (length, storages, heap) = (self.at, self.storages, self.heap);
                return Ok(Unpickled { value, length, storages, _heap: heap });
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
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.int(code)?,
            b'X' | 0x8c | 0x8d => self.text(code)?,
            b'C' | b'B' | 0x8e | 0x96 | b'U' | b'T' => self.blob(code)?,
            b'}' => self.stack.push(self.heap.dict()),
            b']' | b')' | 0x8f => self.stack.push(self.heap.list(Vec::new())),
            b't' | 0x85..=0x87 => self.tuple(code)?,
            b'q' | b'r' | 0x94 => self.remember(code)?,
            b'h' | b'j' => self.recall(code)?,
            b'c' | 0x93 => self.global(code)?,
            b'Q' => self.storage()?,
            b'R' | 0x81 => self.call()?,
            0x92 => {
                self.pop()?; // NEWOBJ_EX: the named arguments
                self.call()?;
            }
            b'b' => self.pop().map(drop)?, // BUILD: attributes of an object hold no tensors
            b's' | b'u' => self.set_items(code)?,
            b'a' | b'e' | 0x90 => self.append(code)?,
            0x91 => {
                let items = self.pop_to_mark()?; // FROZENSET
                self.stack.push(self.heap.list(items));
            }
            b'0' => self.pop().map(drop)?,
            b'1' => self.pop_to_mark().map(drop)?,
            b'2' => {
                let top = self.stack.last().cloned().ok_or("empty stack")?; // DUP
                self.stack.push(top);
            }
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
                let n = self.number(if code == 0x8a { 1 } else { 4 })? as usize; // LONG1, LONG4
                let bytes = self.bytes(n)?;
                if n > 8 {
                    self.stack.push(Value::Opaque); // such as the seed of a generator, never the size of a tensor
                    return Ok(());
                }
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let start = if negative { -1 } else { 0 };
                bytes.iter().rev().fold(start, |sum: i64, &byte| (sum << 8) | i64::from(byte))
            }
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// Reads a length of 1, 4 or 8 bytes, then that many bytes.
    fn counted(&mut self, width: usize) -> Run<&'a [u8]> {
        let n = self.bytes(width)?.iter().rev().fold(0u64, |n, &byte| (n << 8) | u64::from(byte));
        self.bytes(usize::try_from(n).map_err(|_| "cut off")?)
    }

    fn text(&mut self, code: u8) -> Run<()> {
        let bytes = self.counted(match code {
            b'X' => 4,
            0x8c => 1,
            _ => 8,
        })?;
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
        self.stack.push(Value::Text(text.into()));
        Ok(())
    }

    /// Bytes. Two of the instructions are texts of Python 2.
    fn blob(&mut self, code: u8) -> Run<()> {
        let bytes = self.counted(match code {
            b'C' | b'U' => 1,
            b'B' | b'T' => 4,
            _ => 8,
        })?;
        let text = std::str::from_utf8(bytes).ok().filter(|_| matches!(code, b'U' | b'T'));
        self.stack.push(text.map_or(Value::Opaque, |text| Value::Text(text.into())));
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
        self.stack.push(self.heap.list(items));
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
        let id = id.borrow();
        let (Some(Value::Global(class)), Some(Value::Text(key))) = (id.get(1), id.get(2)) else {
            return Err("a persistent id of unknown form".into());
        };
        if let Some(Value::Items(_)) = id.get(5) {
            return Err("a view of stored numbers; load and save the file again".into());
        }
        let kind = match class.rsplit(' ').next().unwrap_or_default() {
            "FloatStorage" => Some(Kind::Float),
            "DoubleStorage" => Some(Kind::Double),
            "HalfStorage" => Some(Kind::Half),
            "BFloat16Storage" => Some(Kind::BFloat16),
            "LongStorage" => Some(Kind::Int64),
            "IntStorage" => Some(Kind::Int),
            "ShortStorage" => Some(Kind::Int16),
            "CharStorage" => Some(Kind::Int8),
            "ByteStorage" => Some(Kind::Uint8),
            "BoolStorage" => Some(Kind::Bool),
            _ => None,
        };
        let key = key.clone();
        self.storages.insert(key.clone(), kind);
        self.stack.push(Value::Storage { kind, key });
        Ok(())
    }

    /// A call. Tensors and dictionaries are built, everything else becomes opaque.
    fn call(&mut self) -> Run<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let result = match (&function, arguments) {
            (Value::Global(name), Value::Items(items)) => match &**name {
                "torch._utils _rebuild_tensor_v2" | "torch._utils _rebuild_tensor" => {
                    rebuild_tensor(&items.borrow())?
                }
                "torch._utils _rebuild_parameter"
                | "torch._utils _rebuild_parameter_with_state"
                | "torch.nn.parameter Parameter" => {
                    items.borrow().first().cloned().unwrap_or(Value::Opaque)
                }
                "collections OrderedDict" => self.heap.dict(),
                "torch._tensor _rebuild_from_type_v2" => subclass(&items.borrow())?,
                // of other types, quantized, sparse, or without numbers
                name if name.starts_with("torch._utils _rebuild_") => Value::Unkept,
                _ => Value::Object(name.clone()),
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
            let pairs = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            entries.borrow_mut().extend(pairs);
        }
        Ok(())
    }

    fn append(&mut self, code: u8) -> Run<()> {
        let items = if code == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        if let Some(Value::Items(list)) = self.stack.last_mut() {
            list.borrow_mut().extend(items);
        }
        Ok(())
    }
}

/// (function, class, its arguments, state) -> the layout of a tensor of a subclass.
fn subclass(items: &[Value]) -> Run<Value> {
    match items {
        [Value::Global(name), _, Value::Items(arguments), ..]
            if &**name == "torch._utils _rebuild_tensor_v2" =>
        {
            rebuild_tensor(&arguments.borrow())
        }
        _ => Ok(Value::Unkept),
    }
}

/// (storage, offset, size, stride, ...) -> a tensor's layout.
fn rebuild_tensor(items: &[Value]) -> Run<Value> {
    let ints = |value: &Value| -> Run<Vec<i64>> {
        let Value::Items(items) = value else { return Err("a shape that is no tuple".into()) };
        let int = |item: &Value| {
            if let Value::Int(n) = item { Ok(*n) } else { Err("a shape of non-numbers".into()) }
        };
        items.borrow().iter().map(int).collect()
    };
    match items {
        [Value::Storage { kind: None, .. }, ..] => Ok(Value::Unkept),
        [Value::Storage { kind: Some(kind), key }, Value::Int(offset), size, stride, ..] => {
            let (kind, key) = (*kind, key.clone());
            let layout =
                Layout { kind, key, offset: *offset, size: ints(size)?, stride: ints(stride)? };
            Ok(Value::Tensor(Rc::new(layout)))
        }
        _ => Err("a tensor of unknown form".into()),
    }
}
