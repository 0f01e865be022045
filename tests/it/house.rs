//! The house rules that a test can check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code above the tests, without comments and blank lines.
pub fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let above = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    above.lines().filter(is_code).map(String::from).collect()
}

/// The modules in the table of `src/lib.rs`, in its order.
fn map() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("//! | ["));
    let names = |row: &str| -> Vec<String> {
        let first = row.trim_start_matches("//! | ").split(" | ").next().unwrap();
        let links = first.split('`').skip(1).step_by(2);
        links.map(String::from).collect()
    };
    rows.flat_map(names).collect()
}

#[test]
fn the_map_names_every_module_once() {
    let mut mapped = map();
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let mut declared: Vec<&str> = declared.collect();
    mapped.sort();
    declared.sort_unstable();
    assert_eq!(mapped, declared);
}

#[test]
fn imports_go_one_way() {
    let src = root().join("src");
    let map = map();
    let rank = |module: &str| map.iter().position(|known| known == module);
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = rank(module) else {
            assert!(["lib", "main"].contains(&module), "{} is not on the map", inside.display());
            continue;
        };
        // a list of imports may go over several lines
        for name in named_behind(&code(&path).join("\n"), "crate::") {
            let Some(other) = rank(&name) else { continue };
            assert!(other <= own, "{}: `{module}` uses `{name}`", inside.display());
        }
    }
}

/// The words directly after `prefix`: `use super::{a::B, c};` names `a` and `c`.
fn named_behind(text: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for (at, found) in text.match_indices(prefix) {
        let rest = &text[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut begins = true;
                for (i, c) in list.char_indices() {
                    if begins && depth == 0 && !c.is_whitespace() && c != ',' {
                        names.push(word(&list[i..]));
                        begins = false;
                    }
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        _ => {}
                    }
                }
            }
            None => names.push(word(rest)),
        }
    }
    names
}

/// For each file or folder directly in `folder`, the siblings it uses.
fn siblings(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_string();
    let parts: Vec<PathBuf> = entries
        .filter(|path| path.join("mod.rs").is_file() || path.extension().is_some_and(|e| e == "rs"))
        .filter(|path| name(path) != "mod")
        .collect();
    let names: BTreeSet<String> = parts.iter().map(|path| name(path)).collect();
    let heads = [folder.join("mod.rs"), folder.with_extension("rs")];
    let head = heads.iter().find(|file| file.is_file());
    let above = head.map_or_else(String::new, |file| code(file).join("\n"));
    let mut handed_on = BTreeMap::new();
    for file in &names {
        for name in named_behind(&above, &format!("use {file}::")) {
            handed_on.insert(name, file.clone());
        }
    }
    let inside = folder.strip_prefix(root().join("src")).unwrap();
    let whole = inside
        .iter()
        .fold("crate::".to_string(), |path, part| format!("{path}{}::", part.to_str().unwrap()));
    let uses = |path: &PathBuf| {
        let (files, above) = match path.is_dir() {
            true => (sources(path), "super::super::"),
            false => (vec![path.clone()], "super::"),
        };
        let text = files.iter().flat_map(|file| code(file)).collect::<Vec<_>>().join("\n");
        let own = name(path);
        let named = [above, whole.as_str()].map(|prefix| named_behind(&text, prefix)).concat();
        // a name that the folder's mod.rs hands on stands for the file it comes from
        let used = named.into_iter().map(|name| handed_on.get(&name).cloned().unwrap_or(name));
        let used = used.filter(|used| *used != own && names.contains(used)).collect();
        (own, used)
    };
    parts.iter().map(uses).collect()
}

/// Files that import themselves through others.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<&String> {
    let returns = |start: &&String| {
        let (mut todo, mut seen) = (vec![*start], BTreeSet::new());
        while let Some(at) = todo.pop() {
            for next in &uses[at] {
                if next == *start {
                    return true;
                }
                if seen.insert(next) {
                    todo.push(next);
                }
            }
        }
        false
    };
    uses.keys().filter(returns).collect()
}

#[test]
fn files_of_a_folder_use_each_other_one_way() {
    let src = root().join("src");
    let folders: BTreeSet<PathBuf> =
        sources(&src).iter().map(|file| file.parent().unwrap().to_path_buf()).collect();
    for folder in folders.iter().filter(|folder| **folder != src) {
        let uses = siblings(folder);
        let circles = circles(&uses);
        assert!(circles.is_empty(), "{}: a circle of {circles:?}", folder.display());
    }
    // the search works on a known case
    let known = siblings(&src.join("train"));
    assert!(known["run"].contains("begin") && known["denoiser"].contains("shell"));
    let ring = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")];
    let ring = ring.map(|(from, to)| (from.to_string(), BTreeSet::from([to.to_string()])));
    assert_eq!(circles(&BTreeMap::from(ring)), ["a", "b", "c"]);
}

/// Names that several packages have, and why.
const SHARED: [(&str, &str); 1] = [("Result", "each package's own, of its one error type")];

#[test]
fn a_public_name_means_one_type() {
    let packages =
        ["src", "crates/ron-faults/src", "kernel/src", "kernel/notebook/src", "kernel/wire/src"];
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let before = places.len();
        for path in sources(&root().join(package)) {
            if path.ends_with("tests.rs") {
                continue;
            }
            for line in code(&path) {
                let line =
                    line.trim_start().replace("pub(super) ", "pub ").replace("pub(crate) ", "pub ");
                let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
                let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else {
                    continue;
                };
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                places.entry(name).or_default().push(path.display().to_string());
            }
        }
        assert!(places.len() > before + if package == "src" { 150 } else { 1 }, "{package}");
    }
    places.retain(|_, places| places.len() > 1);
    for (name, why) in SHARED {
        assert!(places.remove(name).is_some(), "{name} ({why}) is not shared any more");
    }
    assert!(places.is_empty(), "{places:#?}");
}

/// Lines of code of all functions of these names in a file of `src/`, from signature to closing brace.
fn functions(file: &str, names: &[&str]) -> usize {
    let (mut count, mut open, mut missing) = (0, None, names.to_vec());
    for line in code(&root().join(file)) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        let rest = text.strip_prefix("pub ").unwrap_or(text).strip_prefix("fn ");
        let name = rest.and_then(|rest| rest.split(['(', '<']).next());
        if open.is_none() && name.is_some_and(|name| names.contains(&name)) {
            open = Some(indent);
            missing.retain(|known| Some(*known) != name);
        }
        count += usize::from(open.is_some());
        if open == Some(indent) && text == "}" {
            open = None;
        }
    }
    assert!(missing.is_empty(), "{file} lacks {missing:?}");
    count
}

/// The reading guide's table is the method: its counts are true, and it stays short.
#[test]
fn the_method_is_short() {
    let guide = std::fs::read_to_string(root().join("docs/reading.md")).unwrap();
    let mut counts: Vec<(String, usize)> = Vec::new();
    for row in guide.lines().filter(|line| line.starts_with("| [`src/")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let file = cells[1].split('`').nth(1).unwrap();
        let names: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        let lines = match cells[2] {
            "all" => code(&root().join(file)).len(),
            _ => functions(file, &names),
        };
        assert_eq!(cells[3].parse(), Ok(lines), "{file} in docs/reading.md");
        counts.push((file.to_string(), lines));
    }
    let needed = ["noise", "loss", "train/denoiser", "sample/mod", "model/mod", "model/blocks"];
    for file in needed.map(|name| format!("src/{name}.rs")) {
        assert!(counts.iter().any(|(named, _)| *named == file), "{file} is not in the guide");
    }
    let sum = |network: bool| -> usize {
        let part = counts.iter().filter(|(file, _)| file.starts_with("src/model/") == network);
        part.map(|(_, lines)| lines).sum()
    };
    let (core, network) = (sum(false), sum(true));
    assert!(core + network < 500, "{} lines of the method", core + network);
    for named in [core, network, core + network] {
        assert!(guide.contains(&format!(" {named} lines")), "{named} lines in docs/reading.md");
    }
    let step = functions("src/train/denoiser.rs", &["step"]);
    assert!(step <= 25, "{step} lines of one training step");
    // whole files stay short too: noise, loss, sampler and step; with forward and all of the blocks
    let files = ["noise", "loss", "sample/mod", "sample/chance"];
    let lines = |name: &str| code(&root().join(format!("src/{name}.rs"))).len();
    let method = files.into_iter().map(lines).sum::<usize>() + step;
    assert!(method < 200, "{method} lines of noise, loss, sampler and step");
    let forward = counts.iter().find(|(file, _)| file == "src/model/mod.rs").unwrap().1;
    let whole = method + forward + lines("model/blocks");
    assert!(whole < 500, "{whole} lines with forward and blocks");
}

/// `explain sample` prints the code that runs: only the sampler draws tokens and puts noise back.
#[test]
fn only_the_sampler_samples() {
    let src = root().join("src");
    let mut users = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let text = code(&path).join("\n");
        // the prior has its own sampler, for vectors; `networks.rs` runs it
        let prior = inside.ends_with("model/prior.rs") || inside.ends_with("networks.rs");
        if inside.starts_with("sample") || prior {
            continue;
        }
        for own in [".renoise(", ".draw(&", "sampler.guess(", ".denoise("] {
            assert!(!text.contains(own), "{}: `{own}` outside of the sampler", inside.display());
        }
        if text.contains("sampler.passes(") || text.contains("sampler.run(") {
            users.push(inside.display().to_string());
        }
    }
    users.sort();
    assert_eq!(users, ["bench.rs", "generate.rs", "lab/sampling.rs"]);
    let lessons = std::fs::read_dir(root().join("tutorials")).unwrap().map(|entry| entry.unwrap());
    for lesson in lessons.filter(|entry| entry.path().is_file()) {
        let text = std::fs::read_to_string(lesson.path()).unwrap();
        let own =
            [".renoise(", "sampler.guess(", ".denoise("].iter().find(|own| text.contains(**own));
        assert_eq!(own, None, "{}", lesson.path().display());
    }
}

/// The table of docs/kernel.md and the enum name the same tricks, so that each is documented with what it saves.
#[test]
fn every_trick_of_the_kernel_is_in_its_table() {
    let source = code(&root().join("kernel/src/prepare/trick.rs")).join("\n");
    let between = |from: &str, to: &str| {
        let rest = &source[source.find(from).unwrap() + from.len()..];
        rest[..rest.find(to).unwrap()].to_string()
    };
    let names = |list: String, prefix: &str| -> Vec<String> {
        let words =
            list.split(',').map(|word| word.trim().trim_start_matches(prefix).to_lowercase());
        words.filter(|word| !word.is_empty()).collect()
    };
    let declared = names(between("pub enum Trick {", "}"), "");
    assert_eq!(names(between("= [", "];"), "Self::"), declared, "Trick::ALL");
    let docs = std::fs::read_to_string(root().join("docs/kernel.md")).unwrap();
    let table = docs.split("| trick |").nth(1).unwrap().lines();
    let rows = table.take_while(|line| !line.is_empty());
    let rows: Vec<&str> =
        rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, declared);
}

/// Everybody turns captions into conditions by `Networks::condition`, so that all measure the same: with a prior, its image too.
#[test]
fn conditions_are_made_in_one_place() {
    let src = root().join("src");
    let users = |call: &str| -> Vec<String> {
        let found = |path: &PathBuf| code(path).join("\n").contains(call);
        let inside = |path: PathBuf| path.strip_prefix(&src).unwrap().display().to_string();
        let mut users: Vec<String> = sources(&src).into_iter().filter(found).map(inside).collect();
        users.sort();
        users
    };
    // without the prior's image: an empty or a negative text, `prior=off`, `vary`, whose pictures are its own, and a row of `eval`
    let without = ["eval/asked.rs", "lab/mix.rs", "lab/runner.rs", "networks.rs"];
    assert_eq!(users(".encode_text("), without);
    // the speed of the encoder alone needs no condition
    let readers = ["bench/pieces.rs", "tokens/text.rs", "train/denoiser.rs"];
    assert_eq!(users(".encode_ids("), readers);
    assert!(users(".condition(").len() >= 4, "{:?}", users(".condition("));
}

/// The names of all tests: of ours, and of those in Python.
fn tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            tests(&path, found);
        } else if ["rs", "py"].contains(&ending) {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut marked = ending == "py";
            for line in text.lines().map(str::trim_start) {
                let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("def test"));
                match name {
                    Some(name) if marked => {
                        let name: String =
                            name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                        found.insert(if ending == "py" { format!("test{name}") } else { name });
                        marked = ending == "py";
                    }
                    _ => marked |= line.starts_with("#[test]"),
                }
            }
        }
    }
}

#[test]
fn the_table_of_manners_names_tests_that_are_there() {
    let mut there = BTreeSet::new();
    for folder in ["src", "tests", "crates", "kernel"] {
        tests(&root().join(folder), &mut there);
    }
    let text = std::fs::read_to_string(root().join("docs/manners.md")).unwrap();
    let words = text.split('`').skip(1).step_by(2);
    let names: Vec<&str> = words.filter(|word| word.matches('_').count() >= 2).collect();
    let gone: Vec<_> = names.iter().filter(|name| !there.contains(**name)).collect();
    assert!(names.len() > 100 && gone.is_empty(), "{} names, no tests: {gone:?}", names.len());
}

#[test]
fn tracked_files_stay_small() {
    let output = std::process::Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    if !output.status.success() {
        return eprintln!("not a git checkout: nothing to weigh");
    }
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.split('\0').filter(|name| !name.is_empty());
    let total: u64 = files
        .filter_map(|name| std::fs::metadata(root().join(name)).ok())
        .map(|data| data.len())
        .sum();
    assert!(total < 45_000_000, "{total} bytes");
}
