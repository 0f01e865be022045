//! Files of weights as other programs write them: wrapped, shared out, with more in them than is asked for.

use paella::weights::fit::Rules;
use paella::weights::{Named, fill, read, write};
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor, nn};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

fn network() -> nn::VarStore {
    let vars = nn::VarStore::new(Device::Cpu);
    let p = vars.root();
    let _ = ((&p / "a").zeros("weight", &[2, 3]), (&p / "b").zeros("bias", &[2]));
    vars
}

pub fn named(rename: impl Fn(&str) -> String) -> Named {
    let a = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
    let b = Tensor::from_slice(&[7f32, 8.0]);
    [(rename("a.weight"), a), (rename("b.bias"), b)].into_iter().collect()
}

/// The network's numbers after it was filled.
fn filled(path: &Path) -> Vec<f32> {
    let vars = network();
    fill(&vars, &read(path).unwrap_or_else(|e| panic!("{e}")), &Rules::default(), "here")
        .unwrap_or_else(|e| panic!("{e}"));
    let all = vars.variables();
    let flat = ["a.weight", "b.bias"].map(|name| all[name].flatten(0, -1));
    Vec::try_from(Tensor::cat(&flat, 0)).unwrap()
}

pub const NUMBERS: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0];

fn folder() -> (TempDir, impl Fn(&str) -> PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    (folder, move |name| path.join(name))
}

/// A `torch.save` file, protocol 2, without torch.
#[derive(Default)]
pub struct Pt {
    /// The bytes of each storage.
    pub stored: Vec<Vec<u8>>,
}

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

pub fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()]);
    [b"}(".to_vec(), pairs.collect::<Vec<_>>().concat(), b"u".to_vec()].concat()
}

impl Pt {
    pub fn tensor(&mut self, class: &str, shape: &[i64], raw: Vec<u8>) -> Vec<u8> {
        let key = self.stored.len().to_string();
        self.stored.push(raw);
        let int = |n: &i64| [&b"J"[..], &(*n as i32).to_le_bytes()].concat();
        let ints =
            |ns: &[i64]| [&b"("[..], &ns.iter().flat_map(int).collect::<Vec<_>>(), b"t"].concat();
        let strides: Vec<i64> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            format!("ctorch\n{class}Storage\n").into_bytes(),
            text(&key),
            text("cpu"),
            b"K\x08tQK\x00".to_vec(),
            ints(shape),
            ints(&strides),
            b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
        ]
        .concat()
    }

    /// The two tensors of the network.
    pub fn tensors(&mut self, prefix: &str) -> Vec<u8> {
        let raw = |ns: &[f32]| ns.iter().flat_map(|n| n.to_le_bytes()).collect();
        let a = self.tensor("Float", &[2, 3], raw(&NUMBERS[..6]));
        let b = self.tensor("Float", &[2], raw(&NUMBERS[6..]));
        dict(&[(&format!("{prefix}a.weight"), a), (&format!("{prefix}b.bias"), b)])
    }

    pub fn write(&self, path: &Path, program: &[u8], more: &[&str]) {
        let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
        let mut add = |name: String, bytes: &[u8]| {
            let stored =
                SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            zip.start_file(name, stored).unwrap();
            zip.write_all(bytes).unwrap();
        };
        add("x/data.pkl".into(), &[b"\x80\x02", program, b"."].concat());
        self.stored.iter().enumerate().for_each(|(i, raw)| add(format!("x/data/{i}"), raw));
        more.iter().for_each(|name| add(format!("x/{name}"), b""));
        zip.finish().unwrap();
    }
}

#[test]
fn what_a_wrapper_put_in_front_of_names_is_taken_off() {
    let (_folder, at) = folder();
    let prefixes = [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "state_dict.module.",
    ];
    for prefix in prefixes {
        let path = at("w.safetensors");
        write(&path, &named(|name| format!("{prefix}{name}"))).unwrap();
        assert_eq!(filled(&path), NUMBERS, "{prefix}");
        let mut pt = Pt::default();
        let program = pt.tensors(prefix);
        pt.write(&at("w.pt"), &program, &[]);
        assert_eq!(filled(&at("w.pt")), NUMBERS, "{prefix}");
    }
    // compiled parts of a network
    write(&at("w.safetensors"), &named(|name| name.replace("a.", "a._orig_mod."))).unwrap();
    assert_eq!(filled(&at("w.safetensors")), NUMBERS);
    // what does not fit even so is told by its own names
    write(&at("w.safetensors"), &named(|name| format!("module.other.{name}"))).unwrap();
    let error = fill(&network(), &read(&at("w.safetensors")).unwrap(), &Rules::default(), "here")
        .unwrap_err();
    assert!(error.to_string().contains("`module.other.a.weight`"), "{error}");
}

#[test]
fn one_dictionary_under_two_names_is_read_under_both() {
    let (_folder, at) = folder();
    let mut pt = Pt::default();
    let inner = pt.tensors("");
    // the dictionary is remembered while it is still empty, as pickle does
    let remembered = [b"}q\x01", &inner[1..]].concat();
    let program = dict(&[("model", remembered), ("state_dict", b"h\x01".to_vec())]);
    pt.write(&at("w.pt"), &program, &[]);
    assert_eq!(filled(&at("w.pt")), NUMBERS);
    let names: Vec<String> = read(&at("w.pt")).unwrap().into_keys().collect();
    assert_eq!(names, ["a.weight", "b.bias"]);
}

#[test]
fn a_whole_module_and_torchscript_are_named_as_such() {
    let (_folder, at) = folder();
    let mut pt = Pt::default();
    let state = dict(&[("training", b"\x89".to_vec()), ("_parameters", pt.tensors(""))]);
    let program = [&b"ctaming.models\nVQModel\n)\x81"[..], &state, b"b"].concat();
    pt.write(&at("whole.pt"), &program, &[]);
    let error = read(&at("whole.pt")).unwrap_err().to_string();
    assert!(error.contains("whole `taming.models.VQModel`"), "{error}");
    assert!(error.contains(".state_dict()") && !error.contains("again"), "{error}");
    pt.write(&at("script.pt"), &program, &["constants.pkl", "code/__torch__/x.py"]);
    let error = read(&at("script.pt")).unwrap_err().to_string();
    assert!(error.contains("TorchScript") && error.contains("torch.jit.load"), "{error}");
}

/// `tests/fixtures/inception.py` has written the file.
#[test]
fn files_from_before_pytorch_1_6_are_read_and_told_when_they_are_cut() {
    let path = crate::fixture::folder().join("legacy.pt");
    let tensors = read(&path).unwrap_or_else(|e| panic!("{e}"));
    let flat = |name: &str| -> Vec<f32> {
        Vec::try_from(tensors[name].to_kind(Kind::Float).flatten(0, -1)).unwrap()
    };
    assert_eq!((flat("a.weight"), flat("b.bias")), (NUMBERS[..6].to_vec(), vec![7.0, 8.0]));
    assert_eq!((tensors["b.bias"].kind(), tensors["b.count"].int64_value(&[])), (Kind::Half, 3));
    // a view of the numbers of another tensor, turned
    assert_eq!(tensors["a.turned"].size(), [3, 2]);
    assert_eq!(flat("a.turned"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    paella::weights::glance(&path).unwrap_or_else(|e| panic!("{e}"));
    let (_folder, at) = folder();
    let whole = std::fs::read(&path).unwrap();
    for end in 15..whole.len() {
        std::fs::write(at("cut.pt"), &whole[..end]).unwrap();
        for error in [read(&at("cut.pt")).err(), paella::weights::glance(&at("cut.pt")).err()] {
            let error = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains("the file is cut off"), "{end}: {error}");
        }
    }
    // a count that no file can have, in front of the last storage
    let mut odd = whole.clone();
    let at_count = odd.len() - 16;
    odd[at_count..at_count + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(at("odd.pt"), &odd).unwrap();
    assert!(read(&at("odd.pt")).is_err());
}

#[test]
fn what_is_not_asked_for_refuses_no_file() {
    let (_folder, at) = folder();
    let mut pt = Pt::default();
    let odd = pt.tensor("ComplexFloat", &[1], vec![0; 8]);
    let program = dict(&[
        ("state_dict", pt.tensors("")),
        ("seed", b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00".to_vec()),
        ("odd", odd),
    ]);
    pt.write(&at("w.pt"), &program, &[]);
    assert_eq!(filled(&at("w.pt")), NUMBERS);
    let mut more = named(|name| name.to_string());
    more.insert("notes".into(), Tensor::from_slice(&[1i16, 2]));
    write(&at("more.safetensors"), &more).unwrap();
    assert_eq!(filled(&at("more.safetensors")), NUMBERS);
    // U16 has no type in tch; the ending is in capitals, the content tells
    let mut header =
        serde_json::json!({ "notes": { "dtype": "U16", "shape": [2], "data_offsets": [32, 36] } });
    header["a.weight"] =
        serde_json::json!({ "dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24] });
    header["b.bias"] =
        serde_json::json!({ "dtype": "F32", "shape": [2], "data_offsets": [24, 32] });
    let header = header.to_string().into_bytes();
    let numbers: Vec<u8> = NUMBERS.iter().flat_map(|n| n.to_le_bytes()).collect();
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length[..], &header, &numbers, &[1, 0, 2, 0]].concat();
    for name in ["W.SAFETENSORS", "w.bin"] {
        std::fs::write(at(name), &bytes).unwrap();
        assert_eq!(filled(&at(name)), NUMBERS);
    }
    let error = |bytes: &[u8]| {
        std::fs::write(at("w.safetensors"), bytes).unwrap();
        read(&at("w.safetensors")).unwrap_err().to_string()
    };
    for end in [0, 5, 20, bytes.len() - 1] {
        assert!(error(&bytes[..end]).contains("get it again"), "{end}");
    }
    assert!(!error(b"<html>a page of words, all of it here</html>").contains("get it again"));
}

#[test]
fn an_index_joins_the_files_it_names() {
    let (_folder, at) = folder();
    let all = named(|name| name.to_string());
    let mut map = serde_json::Map::new();
    for (i, (name, xs)) in all.iter().enumerate() {
        let file = format!("m-0000{}-of-00002.safetensors", i + 1);
        write(&at(&file), &[(name.clone(), xs.shallow_clone())].into()).unwrap();
        map.insert(name.clone(), file.into());
    }
    let index = at("m.safetensors.index.json");
    let save = |map: &serde_json::Map<String, serde_json::Value>| {
        let text = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        std::fs::write(&index, text).unwrap();
    };
    save(&map);
    assert_eq!(filled(&index), NUMBERS);
    map.insert("c".into(), "m-00001-of-00002.safetensors".into());
    save(&map);
    assert!(read(&index).unwrap_err().to_string().contains("`c` is not in"));
    map.insert("c".into(), "../m.safetensors".into());
    save(&map);
    assert!(read(&index).unwrap_err().to_string().contains("no file's name"));
    map.insert("c".into(), "m.safetensors.index.json".into());
    save(&map);
    assert!(read(&index).unwrap_err().to_string().contains("no file's name"), "itself");
}

#[test]
fn a_header_may_be_as_long_as_the_letters_of_a_zip_file_say() {
    let (_folder, at) = folder();
    let (short, long) = (at("short.safetensors"), at("long.safetensors"));
    write(&short, &named(|name| name.to_string())).unwrap();
    let bytes = std::fs::read(&short).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let want = u16::from_le_bytes(*b"PK") as usize; // 19280, a multiple of 8
    let blanks = vec![b' '; want - header.len()];
    let padded = [&(want as u64).to_le_bytes()[..], header, &blanks, data].concat();
    std::fs::write(&long, padded).unwrap();
    assert_eq!(filled(&long), NUMBERS);
}

#[test]
fn weights_of_a_failed_training_are_still_read() {
    let (_folder, at) = folder();
    let mut odd = named(|name| name.to_string());
    odd.insert("b.bias".into(), Tensor::from_slice(&[f32::NAN, f32::INFINITY]));
    write(&at("w.safetensors"), &odd).unwrap();
    let numbers = filled(&at("w.safetensors"));
    assert_eq!(numbers[..6], NUMBERS[..6]);
    assert!(numbers[6].is_nan() && numbers[7] == f32::INFINITY);
}
