//! What people bring and break: bombs, weights that are no numbers, places elsewhere. Each is counted, or refused with its
//! reason.

use crate::cli::{Workspace, assert_refused, text};
use crate::data::odd::{read as both_readers, tar};
use crate::data::{gzip, png};
use crate::lab::{lab, run};
use crate::train::{exclusive, small_clip, small_prior, smoke as small};
use crate::weights::Pt;
use paella::config::{RunConfig, to_ron};
use paella::lab::watch::Quiet;
use paella::networks::Networks;
use paella::weights;
use paella::weights::fit::Rules;
use std::collections::BTreeMap;
use tch::{Device, nn};
use zip::write::SimpleFileOptions;

/// A PNG of a few bytes that claims so many pixels a side.
fn png_bomb(side: u32) -> Vec<u8> {
    let mut bytes = png(0);
    // behind the signature: length and name of the first chunk, then width and height
    bytes[16..20].copy_from_slice(&side.to_be_bytes());
    bytes[20..24].copy_from_slice(&side.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    bytes
}

#[test]
fn a_picture_bomb_is_counted_with_its_size_by_every_reader() {
    let bomb = png_bomb(60_000);
    let why = paella::image::decode(&bomb).expect_err("too large").to_string();
    assert!(why.contains("60000 x 60000 pixels") && why.contains("at most 512"), "{why}");
    let (samples, reasons) = both_readers(&tar(&[
        ("0.png", &bomb),
        ("0.txt", b"a"),
        ("1.png", &png(1)),
        ("1.txt", b"b"),
    ]));
    assert_eq!(samples.len(), 1);
    assert_eq!(reasons, BTreeMap::from([("the picture cannot be decoded".into(), 1)]));
    let (mut lab, (folder, _turn)) = lab();
    let path = folder.path().join("bomb.png");
    std::fs::write(&path, &bomb).unwrap();
    let error = lab.turn(&format!("show \"{}\"", path.display()), &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("60000 x 60000 pixels"), "{error}");
}

#[test]
fn a_caption_of_many_megabytes_is_counted_by_every_reader() {
    let (long, picture) = (vec![b'a'; 3 << 20], png(1));
    let json = serde_json::json!({ "caption": "a".repeat(3 << 20) }).to_string();
    let shard = |name: &str, caption: &[u8]| {
        both_readers(&tar(&[
            ("0.png", &picture),
            (name, caption),
            ("1.png", &picture),
            ("1.txt", b"b"),
        ]))
    };
    let reason = "the caption is longer than 1 MiB".to_string();
    for (samples, reasons) in [shard("0.txt", &long), shard("0.json", json.as_bytes())] {
        assert_eq!((samples.len(), &reasons), (1, &BTreeMap::from([(reason.clone(), 1)])));
    }
    let (mut lab, _folder) = lab();
    // a folder of its own: among the session's own pictures the name would decide which one is held back
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("red_apple.png"), &picture).unwrap();
    std::fs::write(at("red_apple.txt"), &long).unwrap();
    let view = run(&mut lab, &format!("show \"{}\"", at("red_apple.png").display()));
    let said = format!("{view:?}");
    assert!(said.contains("is longer than 1 MiB") && said.contains("red apple"), "{said}");
    let error = lab.turn(&format!("data \"{}\"", folder.path().display()), &mut Quiet).unwrap_err();
    assert!(error.to_string().contains(&reason), "{error}");
}

#[test]
fn a_shard_that_is_a_gzip_bomb_is_counted_as_such_by_both_readers() {
    let mut bytes = tar(&[("0.png", &png(0)), ("0.txt", b"a")]);
    bytes.resize(300 << 20, 0); // what follows the end mark is empty without end
    let (samples, reasons) = both_readers(&gzip(&bytes));
    assert_eq!(samples.len(), 1);
    let reason = "it unpacks to more than 200 times its size".to_string();
    assert_eq!(reasons, BTreeMap::from([(reason, 1)]));
}

#[test]
fn weights_that_are_a_zip_bomb_are_refused() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    let mut pt = Pt::default();
    let program = pt.tensors("");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let packed = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    zip.start_file("x/data.pkl", packed).unwrap();
    zip.write_all(&[b"\x80\x02", &program[..], b"."].concat()).unwrap();
    for i in 0..2 {
        zip.start_file(format!("x/data/{i}"), packed).unwrap();
        (0..300).for_each(|_| zip.write_all(&[0; 1 << 20]).unwrap());
    }
    zip.finish().unwrap();
    let error = weights::read(&path).unwrap_err().to_string();
    assert!(error.contains("it unpacks to more than 200 times its size"), "{error}");
    assert!(error.contains("w.pt"), "{error}");
}

#[test]
fn weights_with_infinite_numbers_are_refused_in_every_format_and_network() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    // a file of torch.save
    let mut pt = Pt::default();
    let program = pt.tensors("");
    pt.stored[1][..4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let path = folder.path().join("inf.pt");
    pt.write(&path, &program, &[]);
    let vars = nn::VarStore::new(Device::Cpu);
    let root = vars.root();
    let _ = ((&root / "a").zeros("weight", &[2, 3]), (&root / "b").zeros("bias", &[2]));
    let error = weights::load(&vars, &path, &Rules::default()).unwrap_err().to_string();
    assert!(error.contains("1 of 2 numbers of `b.bias` are not finite"), "{error}");
    assert!(error.contains("inf.pt"), "{error}");
    // each network of a model folder, and each file that a config names
    let mut config: RunConfig = small(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 1);
    config.stages = vec![paella::checkpoint::Phase::Prior];
    let model = folder.path().join("model");
    let nets = Networks::new(&config, Device::Cpu).unwrap_or_else(|e| panic!("{e}"));
    nets.save(&model, false).unwrap();
    for name in ["tokenizer", "text", "denoiser", "clip", "prior"] {
        let file = model.join(format!("{name}.safetensors"));
        let whole = weights::read(&file).unwrap();
        let mut spoiled: weights::Named =
            whole.iter().map(|(name, xs)| (name.clone(), xs.copy())).collect();
        let first = spoiled.values_mut().find(|xs| xs.is_floating_point()).unwrap();
        let _ = first.flatten(0, -1).get(0).fill_(f64::INFINITY);
        weights::write(&file, &spoiled).unwrap();
        let refused = |error: paella::Error| {
            let error = error.to_string();
            assert!(error.contains("are not finite"), "{name}: {error}");
            assert!(error.contains(&format!("{name}.safetensors")), "{error}");
        };
        refused(Networks::load(&model, Device::Cpu).expect_err(name));
        let mut given = config.clone();
        let weights = &mut given.weights;
        *(match name {
            "tokenizer" => &mut weights.tokenizer,
            "text" => &mut weights.text,
            "denoiser" => &mut weights.denoiser,
            "clip" => &mut weights.clip,
            _ => &mut weights.prior,
        }) = Some(file.clone());
        refused(Networks::new(&given, Device::Cpu).expect_err(name));
        paella::weights::write(&file, &whole).unwrap();
    }
    assert!(Networks::load(&model, Device::Cpu).is_ok());
}

#[test]
fn addresses_and_commands_where_only_paths_stand_say_where_they_work() {
    let workspace = Workspace::new();
    for (source, weights, kind) in [
        ("Folder(\"https://host/pictures\")", "None", "https:"),
        ("Idx(\"https://host/mnist\")", "None", "https:"),
        ("Folder(\"pipe:cat x\")", "None", "pipe:"),
        ("Emoji", "Some(\"https://host/tokenizer.safetensors\")", "https:"),
    ] {
        let mut config = small(1, 1);
        config.name = "mine".into();
        let ron = to_ron(&config).replace("source: Emoji", &format!("source: {source}"));
        let ron = ron.replacen("tokenizer: None", &format!("tokenizer: {weights}"), 1);
        std::fs::write(workspace.file("x.ron"), ron).unwrap();
        for args in [&["config", "check", "x.ron"][..], &["train", "x.ron"]] {
            let output = workspace.run(args);
            assert_refused(source, &output);
            let said = text(&output.stderr);
            let hint = format!("`{kind}` names shards (tar), in `data.stream.shards`");
            assert!(said.contains(&hint), "{args:?} {source}: {said}");
        }
        assert!(!workspace.file("runs").exists());
    }
}

#[test]
fn config_check_finds_groups_styles_folders_and_files_that_do_not_exist() {
    let workspace = Workspace::new();
    let faults = |ron: &str| {
        std::fs::write(workspace.file("x.ron"), ron).unwrap();
        let output = workspace.run(&["config", "check", "x.ron"]);
        assert_refused(ron, &output);
        text(&output.stderr)
    };
    let names = "(\n data: (size: 256, groups: [\"fodo\"], styles: [\"oil\"]),\n weights: (tokenizer: Some(\"t.pt\")))";
    let said = faults(names);
    for part in [
        "no picture is of `fodo`",
        "no picture is of `oil`",
        "there are: ",
        "there is no file `t.pt`",
        "x.ron:2:28, `data.groups`",
        "x.ron:3:23, `weights.tokenizer`",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let said = faults("(data: (size: 256, source: Folder(\"pictures\")))");
    assert!(said.contains("no such folder") && said.contains("`data.source`"), "{said}");
    let said = faults("(data: (size: 256, source: Shards(train: [\"x-{0..2}.tar\"], val: [])))");
    assert!(said.contains("no shard is there") || said.contains("not there"), "{said}");
    let said = faults("(data: (size: 256, stream: Some((shards: [\"x-{0..2}.tar\"]))))");
    assert!(said.contains("3 of 3 shards are not there, first x-0.tar"), "{said}");
    // a folder in place of a shard
    std::fs::create_dir(workspace.file("folder")).unwrap();
    for ron in [
        "(data: (size: 256, stream: Some((shards: [\"folder\"]))))",
        "(data: (size: 256, source: Shards(train: [\"folder\"], val: [])))",
    ] {
        let said = faults(ron);
        assert!(said.contains("a folder stands where a shard should"), "{said}");
        assert!(said.contains("name its files: `folder/*.tar`"), "{said}");
    }
    std::fs::write(workspace.file("x.ron"), "(data: (size: 256))").unwrap();
    let output = workspace.run(&["config", "check", "x.ron"]);
    assert!(output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("it has no `name`") && said.contains("train x.ron --out"), "{said}");
}

#[test]
fn pipes_and_devices_are_not_waited_for_and_told_as_such() {
    let workspace = Workspace::new();
    for name in ["a", "b"] {
        std::fs::write(workspace.file(&format!("{name}.png")), png(1)).unwrap();
    }
    std::fs::write(workspace.file("a.txt"), "a fox").unwrap();
    for name in ["b.txt", "c.png"] {
        let made = std::process::Command::new("mkfifo").arg(workspace.file(name)).status();
        assert!(made.unwrap().success());
    }
    let said = text(&workspace.pipe("data .").stdout);
    let reasons = ["1 left out: the caption is no plain file", "1 left out: no plain file"];
    assert!(reasons.iter().all(|reason| said.contains(reason)), "{said}");
    let device = workspace.run(&["sample", "x", "--picture", "/dev/null", "--steps", "1"]);
    assert_refused("a device", &device);
    let said = text(&device.stderr);
    assert!(said.contains("is a pipe or a device") && !said.contains("did you mean"), "{said}");
    let endless = workspace.run(&["sample", "x", "--image", "/dev/zero", "--steps", "1"]);
    assert_refused("without end", &endless);
    assert!(text(&endless.stderr).contains("longer than 256 MiB"), "{}", text(&endless.stderr));
}

#[test]
fn a_run_and_a_checkpoint_are_told_from_a_model() {
    let workspace = Workspace::new();
    let out = workspace.file("run").display().to_string();
    let trained = workspace.run(&["train", &crate::cli::smoke(), "--out", &out, "--steps", "3"]);
    assert!(trained.status.success(), "{}", text(&trained.stderr));
    let said = |folder: &str| {
        let refused = workspace.run(&["sample", "x", "--model", folder, "--steps", "1"]);
        assert_refused(folder, &refused);
        text(&refused.stderr)
    };
    let run = said(&out);
    assert!(run.contains("the folder of a run") && run.contains("no model yet"), "{run}");
    let checkpoints = std::fs::read_dir(workspace.file("run/checkpoints")).unwrap();
    let newest = checkpoints.flatten().next().unwrap().path().display().to_string();
    assert!(said(&newest).contains("a checkpoint of a run"), "{}", said(&newest));
    std::fs::create_dir(workspace.file("run/model")).unwrap();
    std::fs::copy(workspace.file("run/config.ron"), workspace.file("run/model/config.ron"))
        .unwrap();
    assert!(said(&out).contains("its model is `"), "{}", said(&out));
}

#[test]
fn config_check_reads_how_files_begin() {
    let workspace = Workspace::new();
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    let shard = crate::data::tar(&[("0.png", &crate::data::png(0)), ("0.txt", b"a")]);
    std::fs::create_dir(workspace.file("bare")).unwrap();
    let sound = "(name: \"x\", data: (size: 256))";
    let files: [(&str, &[u8]); 11] = [
        ("lfs", lfs.as_bytes()),
        ("page.html", b"<!DOCTYPE html><title>Sign in</title>"),
        ("s.ron", sound.as_bytes()),
        ("cut.tar", &shard[..700]),
        ("whole.tar", &shard),
        ("bare/a.png", &crate::data::png(0)),
        ("empty", b""),
        ("w.pt.gz", &crate::data::gzip(b"weights")),
        ("cut.pt", b"PK\x03\x04 and then nothing"),
        ("m.index.json", br#"{"weight_map": {"a": "gone.safetensors"}}"#),
        ("cut.safetensors", &[200, 0, 0, 0, 0, 0, 0, 0, b'{', b'"']),
    ];
    files.iter().for_each(|(name, data)| std::fs::write(workspace.file(name), data).unwrap());
    let check = |data: &str, weights: &str| {
        let ron = format!("(name: \"x\", data: (size: 256{data}), weights: ({weights}))");
        std::fs::write(workspace.file("x.ron"), ron).unwrap();
        workspace.run(&["config", "check", "x.ron"])
    };
    let weights = [
        ("lfs", "a git-lfs pointer, no weights", "`git lfs pull` gets the file"),
        ("page.html", "a web page (HTML), no weights", "asks for a login"),
        ("s.ron", "not a zip file", "torch.save"),
        ("empty", "an empty file", "get it again"),
        ("w.pt.gz", "a gzip file, no weights", "unpack it"),
        ("cut.pt", "the file is cut off", "get it again"),
        ("m.index.json", "there is no file", "gone.safetensors"),
        ("cut.safetensors", "the file is cut off", "safetensors"),
    ];
    for (name, what, hint) in weights {
        let output = check("", &format!("tokenizer: Some(\"{name}\")"));
        assert_refused(name, &output);
        let said = text(&output.stderr);
        assert!(said.contains(&format!("{name}: {what}")) && said.contains(hint), "{name}: {said}");
        assert!(said.contains("`weights.tokenizer`"), "{name}: {said}");
        // where they are used, it is the same
        let error = paella::weights::read(&workspace.file(name)).unwrap_err().to_string();
        assert!(name.starts_with("cut") || error.contains(what), "{name}: {error}");
    }
    let shards = [
        ("lfs", "a git-lfs pointer: `git lfs pull` gets the file"),
        ("page.html", "a web page (HTML): "),
        ("s.ron", "no tar archive"),
        ("cut.tar", "the shard ends early"),
        ("empty", "an empty file"),
    ];
    for (name, what) in shards {
        for data in [
            format!(", stream: Some((shards: [\"{name}\"]))"),
            format!(", source: Shards(train: [\"{name}\"], val: [])"),
        ] {
            let output = check(&data, "");
            assert_refused(name, &output);
            let said = text(&output.stderr);
            assert!(said.contains(&format!("{name}: {what}")), "{data}: {said}");
        }
    }
    let output = check(", source: Folder(\"bare\")", "");
    assert_refused("a folder without captions", &output);
    let said = text(&output.stderr);
    assert!(
        said.contains("bare: no picture has a caption, first bare/a.png: no caption"),
        "{said}"
    );
    let data = ", stream: Some((shards: [\"whole.tar\"])), source: Shards(train: [\"whole.tar\"], val: [])";
    let output = check(data, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_name_that_is_a_path_is_refused_at_the_prompt_too() {
    let (mut lab, _folder) = lab();
    for name in ["../x", "/abs", "a/b", ".."] {
        let error = lab.turn(&format!("set name {name}"), &mut Quiet).unwrap_err().to_string();
        assert!(error.contains("is a path, or no name"), "{name}: {error}");
        assert_eq!(lab.settings().name, "smoke");
    }
    run(&mut lab, "set name mine");
    assert_eq!(lab.settings().name, "mine");
}
