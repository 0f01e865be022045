"""Variables without a type: the kernel finds out what the standard library gives, from sources that it has trimmed."""

import pytest
from client import kernel

AT_ONCE = 40

NUMBERS = """
5{t} + 3{t}
&5{t} - 3{t}
5{t} * &3{t}
&5{t} / &3{t}
5{t} % 3{t}
5{t}.partial_cmp(&(3 as {t}))
5{t}.clone()
5{t}.to_string()
{t}::default()
"5".parse::<{t}>()
[5{t}].iter().sum::<{t}>()
[5{t}].iter().copied().product::<{t}>()
"""

INTEGERS = """
5{t} & 3{t}
&5{t} | 3{t}
5{t} ^ &3{t}
5{t} << 1u8
5{t} >> &1i64
!5{t}
!&5{t}
std::num::Wrapping(5{t}) + std::num::Wrapping(3{t})
std::num::Wrapping(5{t}) << 2
std::num::Wrapping(5{t}) & &std::num::Wrapping(3{t})
!std::num::Wrapping(5{t})
std::num::Saturating(5{t}) * std::num::Saturating(3{t})
std::num::NonZero::new(5{t})
std::num::NonZero::new(5{t}).map(|n| n.get())
std::num::NonZero::new(5{t}).map(|n| n.leading_zeros())
{t}::try_from(5i64)
{t}::try_from(5u8)
i128::try_from(5{t})
u8::try_from(5{t})
{t}::from_str_radix("5", 10)
5{t}.checked_add(1)
5{t}.pow(2)
5{t}.cmp(&3)
(0..5{t}).collect::<Vec<_>>()
(0..=5{t}).rev().next()
format!("{{:x}}", 5{t})
5{t}.ilog2()
5{t}.isqrt()
5{t}.abs_diff(3)
5{t}.leading_zeros()
std::sync::atomic::{atomic}::new(5)
std::sync::atomic::{atomic}::new(5).fetch_add(1, std::sync::atomic::Ordering::SeqCst)
std::sync::atomic::{atomic}::new(5).compare_exchange(1, 2, std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst)
"""

FLOATS = """
-5{t}
5{t}.total_cmp(&3.)
5{t}.sqrt()
5{t}.powi(3)
5{t}.max(3.)
{t}::from(5u8)
{t}::EPSILON
[1{t}, 2.].iter().cloned().fold({t}::NEG_INFINITY, {t}::max)
"""

TUPLES = """
{t} == {t}
{t}.cmp(&{t})
{t}.clone()
format!("{{:?}}", {t})
<[u8; {n}]>::from({t})
"""

OTHERS = """
vec![1] == [1]
&[1][..] == vec![1]
[1, 2].map(|x| x as f64)
<(u8, i32)>::default()
<[u8; 4]>::try_from(&[1u8, 2, 3, 4][..])
std::array::from_fn::<usize, 3, _>(|i| i)
"a" == String::from("a")
std::path::Path::new("a") == std::path::PathBuf::from("a")
std::ffi::OsStr::new("a") == "a"
true & false
true.then_some(3)
"true".parse::<bool>()
'a'.to_digit(16)
u32::from('a')
char::from(97u8)
char::try_from(97u32)
i32::from(true)
usize::from(5u8)
"5".parse::<f64>().unwrap_or(0.).to_string()
std::time::Duration::from_secs(1) * 3
std::time::Instant::now().elapsed()
std::net::IpAddr::from([1u8, 2, 3, 4])
std::net::Ipv4Addr::new(1, 2, 3, 4)
vec![3, 1].iter().zip(["a", "b"]).map(|(a, b)| (*a, b.len())).collect::<std::collections::HashMap<_, _>>()
"a,b".split(',').rev().collect::<Vec<_>>()
"a b".split_whitespace().map(|s| s.len()).max()
"ab".chars().rev().collect::<String>()
"a\\nb".lines().enumerate().last()
"ab".bytes().map(u32::from).sum::<u32>()
"ab".find("b")
"ab".trim_start_matches('a')
"é".chars().next().map(char::is_alphabetic)
[3, 1].windows(2).map(|w| w[0] - w[1]).collect::<Vec<i32>>()
[1, 2, 3].chunks(2).map(|c| c.len()).collect::<Vec<_>>()
vec![1, 2].into_iter().partition::<Vec<_>, _>(|x| x % 2 == 0)
std::collections::VecDeque::from(vec![1]) == vec![1]
std::collections::BTreeSet::from([1]).range(0..).next().copied()
std::collections::BTreeMap::from([(2, "b")]).into_values().collect::<Vec<_>>()
std::collections::HashSet::from([1]).contains(&1)
std::collections::BinaryHeap::from([1]).pop()
std::iter::successors(Some(1u32), |x| x.checked_mul(10)).take(3).collect::<Vec<_>>()
Some(1).zip(Some("a"))
Some(3).map(|x| x * 2).ok_or("no")
Ok::<i32, String>(1).and_then(|x| x.checked_add(1).ok_or_else(|| "no".to_string()))
(1..=2).step_by(2).collect::<Vec<_>>()
(1..3).chain(5..7).collect::<Vec<_>>()
std::rc::Rc::new(std::cell::RefCell::new(vec![1]))
std::borrow::Cow::from("a") + "b"
std::sync::Arc::new(std::sync::Mutex::new(1))
std::sync::mpsc::channel::<i32>()
std::sync::OnceLock::<i32>::new()
std::sync::atomic::AtomicBool::new(true).fetch_not(std::sync::atomic::Ordering::SeqCst)
std::fs::metadata("/").map(|data| data.is_dir())
std::fs::read_to_string("/dev/null")
std::process::Command::new("true").output()
std::env::args().collect::<Vec<String>>()
std::env::current_dir()
std::env::consts::OS
std::thread::available_parallelism().map(|n| n.get())
std::io::stdin()
std::os::unix::net::UnixStream::pair()
std::hash::DefaultHasher::new()
std::path::Path::new("a").join("b")
std::cmp::Reverse(3)
std::f64::consts::PI
Tensor::arange(3, (Kind::Int64, Device::Cpu)) + 1
1 - Tensor::arange(3, (Kind::Int64, Device::Cpu))
Vec::<f32>::try_from(Tensor::ones([3], (Kind::Float, Device::Cpu)))
Tensor::ones([3, 2], (Kind::Float, Device::Cpu)).i((.., 1))
"""


def expressions():
    found = []
    for t in ("u8", "i32", "usize"):
        atomic = "Atomic" + t.capitalize()
        for line in (NUMBERS + INTEGERS).strip().splitlines():
            found.append(line.format(t=t, atomic=atomic))
    for t in ("f32", "f64"):
        found += [line.format(t=t) for line in (NUMBERS + FLOATS).strip().splitlines()]
    for n in (1, 3, 12):
        t = "(" + "".join("%du8, " % i for i in range(n)) + ")"
        found += [line.format(t=t, n=n) for line in TUPLES.strip().splitlines()]
    return [line for line in found + OTHERS.strip().splitlines() if line]


@pytest.fixture(scope="module")
def k():
    with kernel() as k:
        yield k


def test_no_expression_needs_a_type(k):
    lines = ["let v%d = %s;" % both for both in enumerate(expressions())]
    for first in range(0, len(lines), AT_ONCE):
        k.ok("\n".join(lines[first : first + AT_ONCE]))  # an unknown type is an error that names the variable


def test_types_are_the_true_ones(k):
    k.ok("let sum = 250u8 as u64 + 6; let text = 5i32.to_string(); let number = \"2.5\".parse::<f64>();")
    k.ok("let most = [1u8, 3].iter().map(|b| b.count_ones()).max(); let full = std::num::Saturating(250u8) + std::num::Saturating(9);")
    assert k.value("(sum, text.clone(), number.clone(), most, full.0)") == '(256, "5", Ok(2.5), Some(2), 255)'


STANDARD = """let os = std::env::consts::OS;
let wrapped = std::num::Wrapping(3u8) + std::num::Wrapping(254u8);
let full = std::num::Saturating(250u8) + std::num::Saturating(9u8);
let some = std::num::NonZeroU32::new(3).map(|n| n.get());
let narrow = u8::try_from(300i64).is_err();
let ones = [1u8, 3].iter().map(|b| b.count_ones()).collect::<Vec<_>>();
let since = std::time::Instant::now().elapsed();
let file = std::fs::metadata("/").map(|data| data.is_dir());
let ran = std::process::Command::new("true").output();
let shared = std::sync::Arc::new(std::sync::Mutex::new(1));
let joined = std::path::Path::new("a").join("b");
let sorted = std::collections::BTreeMap::from([(2, "b"), (1, "a")]).into_values().collect::<Vec<_>>();
let address = std::net::Ipv4Addr::new(1, 2, 3, 4);
"""


def test_variables_of_the_standard_library_need_no_types(k):
    k.ok(STANDARD)
    values = k.value("(wrapped.0, full.0, some, narrow, ones.clone(), sorted.clone(), joined.clone())")
    assert values == '(1, 255, Some(3), true, [1, 2], ["a", "b"], "a/b")'


def test_a_trait_without_a_name_is_an_error(k):
    cell = "let shown = Box::new(1) as Box<dyn std::fmt::Debug>;"
    reply, _ = k.run(cell)
    assert "not imported" in reply["evalue"] and "use std::fmt::Debug;" in "".join(reply["traceback"])
    k.ok("use std::fmt::Debug;\n" + cell)
    reply, _ = k.run("let sink = Box::new(Vec::<u8>::new()) as Box<dyn std::io::Write>;")  # two traits have this name
    assert "not imported" in reply["evalue"]
