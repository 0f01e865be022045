//! `paella sample`: seeds, files, films and JSON.

use paella::sample::{Chance, PictureSeeds};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::cli::{Workspace, smoke, text};
use crate::train::exclusive;
use crate::vary::config_with_clip;

/// Runs `paella sample` on the untrained smoke model, and reads its JSON.
fn sample(workspace: &Workspace, args: &[&str]) -> Value {
    let smoke = smoke();
    let all = ["sample", "an apple", "--steps", "2", "--json", "--model", &smoke];
    let output = workspace.run(&all.iter().chain(args).copied().collect::<Vec<_>>());
    let out = text(&output.stdout);
    serde_json::from_str(out.lines().last().unwrap_or_default())
        .unwrap_or_else(|e| panic!("{args:?}: {e}: {out}{}", text(&output.stderr)))
}

#[test]
fn each_picture_of_many_is_remade_alone_by_its_seed() {
    let workspace = Workspace::new();
    let files = ["--out", "a.png", "--sheet", "sheet.png", "--gif", "film.gif"];
    let json = sample(&workspace, &[&files[..], &["--seed", "7", "--count", "3"]].concat());
    let rows = json["pictures"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for (k, row) in rows.iter().enumerate() {
        assert_eq!(row["seed"], 7 + k);
        assert_eq!((&row["steps"], &row["caption"]), (&2.into(), &"an apple".into()));
        assert_eq!(row["file"], format!("a-{}.png", k + 1));
    }
    sample(&workspace, &["--out", "alone.png", "--seed", "8"]);
    let read = |name: &str| image::open(workspace.file(name)).unwrap().into_rgb8();
    assert_eq!(read("alone.png"), read("a-2.png"));
    for threads in ["1", "3"] {
        let smoke = smoke();
        let args = ["sample", "an apple", "--steps", "2", "--seed", "8", "--model", &smoke];
        let args = [&args[..], &["--out", "threads.png"]].concat();
        let output = workspace.command(&args).env("OMP_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(read("threads.png"), read("a-2.png"), "{threads} threads");
    }
    // the sheet and the film show all three: two rows of two, with a gap
    assert_eq!(read("sheet.png").dimensions(), (66, 66));
    assert_eq!(read("film.gif").dimensions(), (198, 198));
    assert!(!workspace.file("runs").exists(), "all files were named");
}

#[test]
fn without_a_seed_each_call_draws_another_and_says_it() {
    let workspace = Workspace::new();
    let [a, b] = [(), ()].map(|()| sample(&workspace, &["--count", "2"]));
    let seed = |json: &Value, k: usize| json["pictures"][k]["seed"].as_u64().unwrap();
    assert_ne!(seed(&a, 0), seed(&b, 0));
    assert_eq!(seed(&a, 1), seed(&a, 0) + 1);
    let caption = a["blocks"][0]["caption"].as_str().unwrap().to_string();
    assert!(caption.ends_with(&format!("seeds {} to {}", seed(&a, 0), seed(&a, 1))), "{caption}");
    // both pictures are on the sheet
    assert_eq!(a["pictures"][0]["file"], a["blocks"][0]["file"]);
    assert!(workspace.file(a["pictures"][1]["file"].as_str().unwrap()).is_file());
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_sampling() {
    let workspace = Workspace::new();
    for args in [
        &["--out", "a.xyz"][..],
        &["--out", "a"],
        &["--sheet", "a.txt"],
        &["--gif", "a.png"],
        &["--out", "a.gif", "--gif", "a.gif"],
        &["--count", "2", "--out", "a.png", "--sheet", "a-2.png"],
        &["--count", "2", "--out", "./a.png", "--sheet", "a-2.png"],
        &["--to", "b", "--out", "a.png"],
    ] {
        let json = sample(&workspace, args);
        assert!(json["errors"][0]["error"].is_string(), "{args:?}: {json}");
    }
    assert_eq!(std::fs::read_dir(workspace.file("")).unwrap().count(), 0);
}

#[test]
fn pictures_stand_beside_the_text_if_the_model_has_a_clip() {
    let workspace = Workspace::new();
    let red = image::RgbImage::from_pixel(32, 32, image::Rgb([200, 0, 0]));
    red.save(workspace.file("red.png")).unwrap();
    let model = config_with_clip(&workspace.file("")).display().to_string();
    let args = [
        "sample",
        "",
        "--picture",
        "red.png:2",
        "--picture",
        "red.png",
        "--steps",
        "2",
        "--json",
        "--model",
    ];
    let output = workspace.run(&[&args[..], &[&*model]].concat());
    let json: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(json["pictures"][0]["caption"], "red + red", "{json}");
    for (args, what) in [
        (["sample", "x", "--picture", "red.png", "--model", &smoke()], "has no CLIP"),
        (["sample", "x", "--picture", "gone.png", "--model", &model], "there is no file"),
        (["sample", "x", "--picture", "this", "--model", &model], "there is no picture yet"),
    ] {
        let output = workspace.run(&args);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(what), "{args:?}: {said}");
    }
}

#[test]
fn draws_of_a_picture_are_the_same_alone_and_among_others() {
    let _turn = exclusive();
    tch::manual_seed(0);
    let logits = Tensor::randn([3, 9, 4, 5], (Kind::Float, Device::Cpu));
    let seeds = [7, 8, 1 << 63];
    let many = PictureSeeds::new(&seeds, 2, false);
    let (tokens, u) = (many.draw(&logits, 1.0), many.uniform(&[3, 4, 5], Device::Cpu));
    let noise = PictureSeeds::start(&seeds, (4, 5), 9, Device::Cpu).0;
    for (i, seed) in seeds.iter().enumerate() {
        let (i, single) = (i as i64, PictureSeeds::new(&[*seed], 2, false));
        let row = |xs: &Tensor| xs.narrow(0, i, 1);
        assert_eq!(single.draw(&row(&logits), 1.0), row(&tokens));
        assert_eq!(single.uniform(&[1, 4, 5], Device::Cpu), row(&u));
        assert_eq!(PictureSeeds::start(&[*seed], (4, 5), 9, Device::Cpu).0, row(&noise));
    }
    // another pass, other draws
    assert_ne!(many.draw(&logits, 1.0), tokens);
}
