//! What a picture depends on: grids of settings, weights of parts, where the model looks.

use crate::cli::{Workspace, assert_refused, smoke as smoke_file, text};
use crate::lab::{run, tokens};
use crate::train::{exclusive, small_clip, small_prior, smoke};
use crate::vary::{lab_of, lab_with_clip, pictures};
use image::imageops::crop_imm;
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::Quiet;
use paella::lab::{Lab, SampleRequest};
use paella::model::init::VarBuilder;
use paella::model::{Cond, Denoiser, LevelConfig, Paella, PaellaConfig};
use paella::sample::{PictureSeeds, Sampler};
use tch::{Device, Kind, Tensor, nn};

/// Pictures of a view with their captions.
fn shown(view: &View) -> Vec<(image::RgbImage, String)> {
    let picture = |block: &ViewBlock| match block {
        ViewBlock::Picture { image, caption, .. } => Some((image.clone(), caption.clone())),
        _ => None,
    };
    view.blocks.iter().filter_map(picture).collect()
}

/// Weights that are the same every time, by name.
fn draw_all(vars: &nn::VarStore) {
    tch::manual_seed(1);
    let all: std::collections::BTreeMap<String, Tensor> = vars.variables().into_iter().collect();
    tch::no_grad(|| all.into_values().for_each(|mut xs| _ = xs.normal_(0.0, 0.5)));
}

fn refused(lab: &mut Lab, line: &str, what: &str) {
    let error = lab.turn(line, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains(what) && error.contains("hint: "), "{line}: {error}");
}

#[test]
fn each_cell_of_a_grid_is_the_picture_with_its_settings() {
    let (mut lab, _folder) = lab_of(&smoke(1, 1));
    run(&mut lab, "show 0");
    let view = run(&mut lab, "grid \"a fox\" steps=1,2,3 cfg=1,3..1 temperature=0.8 seed=5");
    let (sheet, caption) = shown(&view).remove(0);
    assert_eq!(caption, "\"a fox\": steps across, cfg down, seed 5");
    assert_eq!(lab.workspace().picture().unwrap().index, Some(0), "the picture in hand stays");
    let cell = 128 + 4; // pictures of 32 pixels, four times as large, and a gap
    let (left, top) = (sheet.width() - 3 * cell, sheet.height() - 2 * cell);
    for (i, steps) in (0u32..).zip([1, 2, 3]) {
        for (j, cfg) in (0u32..).zip(["1", "3..1"]) {
            let line = format!("sample a fox steps={steps} cfg={cfg} temperature=0.8 seed=5");
            let alone = paella::image::enlarge(&shown(&run(&mut lab, &line))[0].0, 4);
            let own = crop_imm(&sheet, left + i * cell, top + j * cell, 128, 128).to_image();
            assert!(own == alone, "{line}");
        }
    }
}

#[test]
fn a_grid_that_cannot_be_drawn_is_refused() {
    let (mut lab, _folder) = lab_of(&smoke(1, 1));
    refused(&mut lab, "grid a fox", "nothing to compare");
    refused(&mut lab, "grid a fox steps=1,2 cfg=1,2 seed=1,2", "two axes, not 3");
    refused(&mut lab, "grid a fox prior=on,off", "has no prior");
    refused(&mut lab, "grid a fox cfg=1,x", "`x` is no value for cfg");
    refused(&mut lab, "grid a fox count=1,2", "unknown key `count`");
}

#[test]
fn the_shell_draws_a_grid_into_a_file() {
    let workspace = Workspace::new();
    let smoke = smoke_file();
    let grid =
        |more: &[&str]| workspace.run(&[&["grid", "a fox", "--model", &smoke], more].concat());
    let output = grid(&["--steps", "1,2", "--seeds", "3,4", "--out", "grid.png", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(json["blocks"][0]["file"], "grid.png", "{json}");
    assert_eq!(json["blocks"][0]["caption"], "\"a fox\": steps across, seed down");
    assert!(image::open(workspace.file("grid.png")).unwrap().width() > 256);
    let film = ["--steps", "1,3", "--seed", "3", "--out", "steps.png", "--gif", "steps.gif"];
    assert!(grid(&film).status.success());
    let file = std::io::BufReader::new(std::fs::File::open(workspace.file("steps.gif")).unwrap());
    let frames = image::codecs::gif::GifDecoder::new(file).unwrap();
    let frames = image::AnimationDecoder::into_frames(frames).collect_frames().unwrap();
    assert_eq!(frames.len(), 4, "noise, and each step of the longest run");
    let sheet = image::open(workspace.file("steps.png")).unwrap();
    assert_eq!(frames[3].buffer().dimensions(), (sheet.width(), sheet.height()));
    // the picture of one step waits, that of three goes on; each frame has 256 colours of its own
    let cell = |i: usize, x: u32| crop_imm(frames[i].buffer(), x, 40, 128, 128).to_image();
    let moved = |x: u32| {
        let (a, b) = (cell(1, x).into_raw(), cell(3, x).into_raw());
        let sum: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        sum / a.len() as f64
    };
    let (waits, goes_on) = (moved(4), moved(sheet.width() - 132));
    assert!(goes_on > 5.0 * waits && waits < 2.0, "{waits}, {goes_on}");
    let twice = ["--steps", "1,2", "--out", "a.gif", "--gif", "a.gif"];
    assert_refused("two pictures", &grid(&twice));
    assert_refused("a film is written as GIF", &grid(&["--steps", "1,2", "--gif", "a.png"]));
    assert_refused("prior", &grid(&["--prior", "on,off"]));
    assert_refused("nothing", &grid(&["--steps", "4"]));
    assert_eq!(grid(&["--seeds", "1,2", "--seed", "3"]).status.code(), Some(2));
}

#[test]
fn the_prior_can_be_left_out_and_pictures_with_it_are_remade_alone() {
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    small_prior(&mut config, 1);
    let (mut lab, _folder) = lab_of(&config);
    let mut drawn = |more: &str| {
        run(&mut lab, &format!("sample a fox steps=2 seed=3 {more}"));
        tokens(&lab)
    };
    let (with, without) = (drawn(""), drawn("prior=off"));
    assert!(with.equal(&drawn("prior=on")) && !with.equal(&without));
    run(&mut lab, "grid a fox steps=1 prior=on,off");
    // the prior draws for each picture what it draws for one alone
    let request = SampleRequest {
        steps: Some(2),
        count: 3,
        seed: Some(3),
        text: "a fox".into(),
        ..Default::default()
    };
    let many = lab.walk(&request, &mut Quiet).unwrap();
    for (k, seed) in [3, 4, 5].into_iter().enumerate() {
        let alone = SampleRequest { count: 1, seed: Some(seed), ..request.clone() };
        let alone = lab.walk(&alone, &mut Quiet).unwrap();
        assert!(alone.path[2].get(0).equal(&many.path[2].get(k as i64)), "seed {seed}");
    }
}

#[test]
fn weights_scale_the_attention_to_the_parts_they_name() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let request = |weights: &str| SampleRequest {
        text: "a fox".into(),
        steps: Some(2),
        seed: Some(3),
        cfg_scale: Some((2.0, 2.0)),
        weights: Some(weights.parse().unwrap()),
        ..SampleRequest::default()
    };
    // the text has 48 vectors, CLIP's text 2
    let by_hand = [vec![0.2f32; 48], vec![3.0; 2]].concat();
    for weights in [
        "text=0.2 clip_text=3".to_string(),
        by_hand.iter().map(f32::to_string).collect::<Vec<_>>().join(","),
    ] {
        let drawn = lab.walk(&request(&weights), &mut Quiet).unwrap();
        let own = lab.networks(|nets| {
            let cond = nets.condition(&["a fox".to_string()]);
            let cond = Cond { attn_weights: Some(Tensor::from_slice(&by_hand)), ..cond };
            let null = nets.null(1);
            let chance = PictureSeeds::new(&[3], 0, false);
            let (model, noise) = (&nets.denoiser, &drawn.noise);
            Sampler { model, cond: &cond, null: &null, noise, chance: &chance, region: None }
                .run(noise, &drawn.schedule)
        });
        assert!(drawn.path[2].equal(&own.unwrap()), "{weights}");
    }
    let mut made = |line: &str| {
        let view = run(&mut lab, line);
        (tokens(&lab), format!("{view:?}"))
    };
    let plain = made("sample a fox steps=2 seed=3 cfg=2");
    assert!(
        plain.0.equal(&made("sample a fox steps=2 seed=3 cfg=2 weights=\"text=1 clip_text=1\"").0)
    );
    let (changed, said) = made("sample a fox steps=2 seed=3 cfg=2 weights=text=0,clip_image=0.4");
    assert!(!plain.0.equal(&changed));
    assert!(said.contains("`clip_image=0.4` has no effect: no picture conditions"), "{said}");
    // edits and mixtures take them too
    run(&mut lab, "show 0");
    for line in
        ["inpaint weights=text=0.5", "edit weights=1,1,1", "outpaint by=8 weights=clip_text=2"]
    {
        run(&mut lab, &format!("{line} steps=1"));
    }
    let [red, _] = pictures(folder.path());
    let said = format!(
        "{:?}",
        run(&mut lab, &format!("vary {} weights=clip_image=2 steps=1", red.display()))
    );
    assert!(!said.contains("has no effect"), "{said}");
    refused(&mut lab, "sample a fox weights=clip=2", "`clip` is no part");
    let many = vec!["1"; 51].join(",");
    refused(
        &mut lab,
        &format!("sample a fox weights={many}"),
        "51 weights for 50 condition vectors",
    );
}

#[test]
fn recorded_attention_is_what_the_blocks_attend_with() {
    let _turn = exclusive();
    let config = PaellaConfig { self_attn: false, ..smoke(1, 1).model };
    let vars = nn::VarStore::new(Device::Cpu);
    let model = Paella::new(&VarBuilder::root(&vars), &config);
    draw_all(&vars);
    let (tokens, t) =
        (Tensor::randint(32, [1, 8, 6], (Kind::Int64, Device::Cpu)), Tensor::from_slice(&[0.3f32]));
    let text =
        |s: i64| Cond::text(Tensor::randn([1, s, config.byt5_embd], (Kind::Float, Device::Cpu)));
    // nothing but one vector to look at
    let one = model.attention(&tokens, &t, &text(1));
    assert_eq!(
        one.iter().map(|block| (block.level, block.shares.size())).collect::<Vec<_>>(),
        vec![(0, vec![4, 3, 1]); 2]
    );
    assert!(
        one.iter()
            .all(|block| block.shares.equal(&Tensor::ones([4, 3, 1], (Kind::Float, Device::Cpu))))
    );
    // all shares are one attention, and equal vectors get equal ones
    let cond = text(5);
    cond.byt5.narrow(1, 4, 1).copy_(&cond.byt5.narrow(1, 0, 1));
    for block in model.attention(&tokens, &t, &cond) {
        let sum = block.shares.sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
        assert!((sum - 1.0).abs().max().double_value(&[]) < 1e-5);
        let apart = block.shares.select(2, 0) - block.shares.select(2, 4);
        let apart = apart.abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{apart}"); // some processors sum the columns of a product in different orders
        assert!(
            block.shares.std(true).double_value(&[]) > 1e-3,
            "some vectors get more than others"
        );
    }
    // a vector with the weight 0 gets nothing
    let silent = Cond { attn_weights: Some(Tensor::from_slice(&[0f32, 2.0])), ..cond };
    let all = model.attention(&tokens, &t, &silent);
    assert!(all.iter().all(|block| block.shares.select(2, 3).abs().max().double_value(&[]) == 0.0));
    let again = model.logits(&tokens, &t, &silent);
    assert!(again.equal(&model.logits(&tokens, &t, &silent)), "recording changes no pass");
}

#[test]
fn one_level_may_look_at_the_picture_alone() {
    let _turn = exclusive();
    let mut config = PaellaConfig { self_attn: false, ..smoke(1, 1).model };
    config.levels.push(LevelConfig { self_attn: Some(true), ..config.levels[0].clone() });
    let vars = nn::VarStore::new(Device::Cpu);
    let model = Paella::new(&VarBuilder::root(&vars), &config);
    draw_all(&vars);
    let tokens = Tensor::randint(32, [1, 8, 8], (Kind::Int64, Device::Cpu));
    let cond = Cond::text(Tensor::randn([1, 3, config.byt5_embd], (Kind::Float, Device::Cpu)));
    let blocks = model.attention(&tokens, &Tensor::from_slice(&[0.3f32]), &cond);
    assert_eq!(blocks.iter().map(|b| b.level).collect::<Vec<_>>(), [0, 1, 1, 0]);
    for block in blocks {
        let of_text = block.shares.sum_dim_intlist([2i64].as_slice(), false, Kind::Float);
        let rest: Tensor = 1.0 - of_text; // what the picture gets
        let most = rest.max().double_value(&[]);
        assert_eq!(most > 1e-3, block.level == 1, "level {}: {most}", block.level);
    }
    assert!(config.looks_at_itself());
    config.levels.pop();
    assert!(!config.looks_at_itself());
}

#[test]
fn attention_to_a_word_is_drawn_over_the_picture_of_the_last_run() {
    let mut config = smoke(1, 1);
    config.model.levels.push(config.model.levels[0].clone());
    let (mut lab, _folder) = lab_of(&config);
    refused(&mut lab, "attention fox", "there is no picture yet");
    let made = shown(&run(&mut lab, "sample a red fox steps=4 seed=1"))[0].0.clone();
    let drawn = shown(&run(&mut lab, "attention Fox levels=true"));
    assert_eq!(drawn.len(), 3, "all blocks, and two levels");
    assert!(drawn[0].1.starts_with("`Fox` of \"a red fox\", dark to bright: "), "{}", drawn[0].1);
    assert!(drawn[0].1.contains("T = 0.25, 4 blocks"), "the last pass of the run: {}", drawn[0].1);
    assert!(drawn[1].1.starts_with("level 0, 4 x 4") && drawn[2].1.starts_with("level 1, 2 x 2"));
    let (w, h) = made.dimensions();
    assert!(crop_imm(&drawn[0].0, 0, 0, w, h).to_image() == made, "beside the picture itself");
    let lit = crop_imm(&drawn[0].0, w + 2, 0, w, h).to_image();
    assert!(
        lit != made
            && lit.pixels().zip(made.pixels()).all(|(a, b)| (0..3).all(|c| a.0[c] <= b.0[c]))
    );
    let other = shown(&run(&mut lab, "attention red")).remove(0);
    assert!(other.0 != drawn[0].0, "another word, other places");
    assert!(tokens(&lab).numel() > 0 && lab.workspace().made.is_some(), "nothing in hand changes");
    // the shares of all parts and words, of the picture itself
    let table = format!("{:?}", run(&mut lab, "attention"));
    for row in ["the picture itself", "text", "`a`", "`red`", "`fox`"] {
        assert!(table.contains(row), "{row}: {table}");
    }
    run(&mut lab, "attention part=text");
    refused(&mut lab, "attention part=clip_image", "no clip_image conditions this picture");
    refused(&mut lab, "attention part=texts", "did you mean `text`?");
    refused(&mut lab, "attention cat", "the text has no `cat`");
    refused(&mut lab, "attention levels=true", "`levels` without a word");
    // a picture of the data set, with its caption; a run step by step
    run(&mut lab, "show 0");
    let named = lab.workspace().picture().unwrap().caption.clone();
    let word = named.split([' ', ',']).next().unwrap().to_string();
    assert!(shown(&run(&mut lab, &format!("attention {word}")))[0].1.contains(&named));
    run(&mut lab, "start a cat steps=4 seed=1");
    run(&mut lab, "next 2");
    assert!(shown(&run(&mut lab, "attention cat"))[0].1.contains("T = 0.75"));
}

#[test]
fn the_shell_draws_attention_beside_the_picture() {
    let workspace = Workspace::new();
    let smoke = smoke_file();
    let sample = |more: &[&str]| {
        let args = ["sample", "a red fox", "--steps", "2", "--model", &smoke];
        workspace.run(&[&args[..], more].concat())
    };
    let output = sample(&["--attention", "fox", "--out", "a.png"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(image::open(workspace.file("a-attention.png")).unwrap().width(), 66);
    assert!(text(&output.stdout).contains("a-attention.png"), "{}", text(&output.stdout));
    let output = sample(&["--attention", "cat", "--out", "b.png"]);
    assert_refused("cat", &output);
    assert!(text(&output.stderr).contains("has no `cat`") && !workspace.file("b.png").exists());
}
