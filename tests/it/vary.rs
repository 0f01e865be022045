//! Variations: CLIP vectors of pictures, and texts, mixed by their weights.

use super::lab::{lab, run};
use super::train::{exclusive, small_clip, smoke};
use paella::checkpoint::Phase;
use paella::config::{self, RunConfig};
use paella::lab::mix::{MixPart, MixSource};
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::Quiet;
use paella::lab::{Lab, Origin, SampleRequest};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;
use tch::{Device, Tensor};

/// The smoke config with a small CLIP, as a file.
pub fn config_with_clip(folder: &Path) -> PathBuf {
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    let file = folder.join("with-clip.ron");
    std::fs::write(&file, config::to_ron(&config)).unwrap();
    file
}

/// A session on a model with a CLIP.
pub fn lab_with_clip() -> (Lab, (tempfile::TempDir, MutexGuard<'static, ()>)) {
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    lab_of(&config)
}

/// A session on a model whose denoiser has random weights: a fresh one has no opinion on anything.
pub fn lab_of(config: &RunConfig) -> (Lab, (tempfile::TempDir, MutexGuard<'static, ()>)) {
    let turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.ron");
    std::fs::write(&file, config::to_ron(config)).unwrap();
    let mut lab = Lab::new(Origin::Config(file), Device::Cpu).unwrap();
    lab.runs_in(folder.path());
    lab.networks(|nets| {
        tch::manual_seed(3);
        tch::no_grad(|| {
            for (_, mut xs) in nets.denoiser_vars.variables() {
                let _ = xs.normal_(0.0, 0.3);
            }
        });
    })
    .unwrap();
    (lab, (folder, turn))
}

/// Two files with pictures of one colour each.
pub fn pictures(folder: &Path) -> [PathBuf; 2] {
    [("red.png", [220u8, 20, 20]), ("blue.png", [20, 20, 220])].map(|(name, colour)| {
        let file = folder.join(name);
        image::RgbImage::from_pixel(32, 32, image::Rgb(colour)).save(&file).unwrap();
        file
    })
}

fn tokens(lab: &Lab) -> Tensor {
    lab.workspace().tokens.as_ref().unwrap().copy()
}

fn caption(view: &View) -> String {
    let picture = view.blocks.iter().find_map(|block| match block {
        ViewBlock::Picture { caption, .. } => Some(caption.clone()),
        _ => None,
    });
    picture.unwrap_or_else(|| panic!("{view:?}"))
}

#[test]
fn pictures_and_texts_are_mixed_by_their_weights() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let [red, blue] = pictures(folder.path());
    let part = |source, weight| MixPart { source, weight };
    let text = |words: &str| MixSource::Text(words.into());
    let request = |mix| SampleRequest {
        mix,
        steps: Some(2),
        seed: Some(1),
        count: 2,
        ..SampleRequest::default()
    };
    let mix = vec![
        part(MixSource::File(red.clone()), 3.0),
        part(text("red apple"), 0.5),
        part(MixSource::File(blue), 1.0),
        part(text("a cat"), 1.5),
    ];
    let drawn = lab.walk(&request(mix), &mut Quiet).unwrap();
    lab.networks(|nets| {
        let _no_grad = tch::no_grad_guard();
        let cond = drawn.mix.as_ref().unwrap().condition(nets, 2);
        let clip = nets.clip.as_ref().unwrap();
        let plain = |rgb: [f32; 3]| {
            Tensor::from_slice(&rgb).view([1, 3, 1, 1]).expand([1, 3, 32, 32], false) / 255.0
        };
        let [a, b] =
            [[220.0, 20.0, 20.0], [20.0, 20.0, 220.0]].map(|rgb| clip.images(&plain(rgb)).unwrap());
        let near = |xs: Tensor, ys: Tensor| (xs - ys).abs().max().double_value(&[]) < 1e-5;
        assert_eq!(cond.clip_image.len(), 1);
        assert!(near(cond.clip_image[0].get(1), (a * 0.75 + b * 0.25).get(0)));
        let texts = nets.encode_text(&["red apple".into(), "a cat".into()]);
        let mean = |xs: &Tensor| xs.get(0) * 0.25 + xs.get(1) * 0.75;
        assert!(near(cond.byt5.get(0), mean(&texts.byt5)));
        assert!(near(cond.clip.as_ref().unwrap().get(0), mean(texts.clip.as_ref().unwrap())));
        // 4 for the pictures, 2 for the texts: half the attention to the texts' vectors
        let factors = cond.attn_weights.as_ref().unwrap();
        let seq = nets.config.model.clip_seq_len;
        let count = cond.byt5.size()[1] + 2 * seq;
        assert_eq!(factors.size(), [count]);
        let sum = factors.sum(tch::Kind::Float).double_value(&[]);
        assert!((sum - (0.5 * (count - seq) as f64 + seq as f64)).abs() < 1e-4, "{sum}");
    })
    .unwrap();
    // a picture alone stands beside the empty text, and attention is as ever
    let drawn = lab.walk(&request(vec![part(MixSource::File(red), 7.0)]), &mut Quiet).unwrap();
    lab.networks(|nets| {
        let cond = drawn.mix.as_ref().unwrap().condition(nets, 1);
        assert!(cond.attn_weights.is_none() && cond.byt5.equal(&nets.null(1).byt5));
    })
    .unwrap();
}

#[test]
fn another_picture_or_a_text_beside_it_makes_another_variation() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let [red, blue] = pictures(folder.path()).map(|file| file.display().to_string());
    let mut vary = |what: &str| {
        run(&mut lab, &format!("vary {what} steps=3 seed=4"));
        tokens(&lab)
    };
    let first = vary(&red);
    assert!(first.equal(&vary(&red)), "the same again");
    let others =
        [blue.clone(), format!("{red} a fox"), format!("{red} {blue}")].map(|what| vary(&what));
    assert!(others.iter().all(|other| !other.equal(&first)));
    // weights count
    assert!(!vary(&format!("{red}:9 {blue}")).equal(&others[2]));
}

#[test]
fn the_current_picture_is_varied_walked_and_undone() {
    let (mut lab, _folder) = lab_with_clip();
    assert!(lab.turn("vary", &mut Quiet).unwrap_err().to_string().contains("no picture yet"));
    run(&mut lab, "show 0");
    let named = lab.workspace().picture().unwrap().caption.clone();
    let view = run(&mut lab, "vary steps=3 seed=2");
    assert!(caption(&view).contains(&format!("picture of {named}")), "{}", caption(&view));
    assert_eq!(lab.workspace().picture().unwrap().caption, named, "of the picture that is varied");
    let varied = tokens(&lab);
    run(&mut lab, "undo");
    assert_eq!(lab.workspace().picture().unwrap().index, Some(0));
    run(&mut lab, "start picture=this steps=3 seed=2");
    run(&mut lab, "next");
    run(&mut lab, "back");
    run(&mut lab, "next 3");
    assert!(tokens(&lab).equal(&varied), "all at once and step by step");
    let view = run(&mut lab, "vary this:0.7 red apple:0.3 steps=2 seed=2 count=2");
    assert!(caption(&view).contains("and red apple"), "{}", caption(&view));
}

#[test]
fn a_morph_between_two_pictures_begins_with_one_and_ends_with_the_other() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let [red, blue] = pictures(folder.path());
    let request = SampleRequest { steps: Some(2), seed: Some(9), ..SampleRequest::default() };
    let from = vec![MixPart { source: MixSource::File(red.clone()), weight: 1.0 }];
    let to_picture = Some(MixSource::File(blue.clone()));
    let morph = SampleRequest { mix: from.clone(), to_picture, count: 5, ..request.clone() };
    let drawn = lab.walk(&morph, &mut Quiet).unwrap();
    assert_eq!(drawn.seeds(), [9; 5]);
    let last = |run: &paella::lab::workspace::Sampling| run.path.last().unwrap().copy();
    let frames = last(&drawn);
    let to = vec![MixPart { source: MixSource::File(blue.clone()), weight: 1.0 }];
    for (end, mix) in [(0, from), (4, to)] {
        let alone = lab.walk(&SampleRequest { mix, ..request.clone() }, &mut Quiet).unwrap();
        assert!(frames.narrow(0, end, 1).equal(&last(&alone)), "frame {end}");
    }
    assert!((1..5).any(|k| !frames.get(k).equal(&frames.get(0))), "the frames differ");
    let line = format!("morph {} to={} frames=3 steps=1", red.display(), blue.display());
    let view = run(&mut lab, &line);
    assert!(caption(&view).contains("picture of red to blue"), "{}", caption(&view));
    run(&mut lab, "show 0");
    run(&mut lab, &format!("morph this to={} frames=2 steps=1", blue.display()));
    for (line, what) in [
        (format!("morph {} to=\"a fox\"", red.display()), "is a picture, `a fox` is a text"),
        ("morph fox to=this".into(), "`this` is a picture, `fox` is a text"),
        ("morph this to=gone.png".into(), "there is no file"),
    ] {
        let error = lab.turn(&line, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("hint: "), "{line}: {error}");
    }
    run(&mut lab, &format!("load {}/configs/smoke.ron", env!("CARGO_MANIFEST_DIR")));
    let error = lab.turn(&line, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("has no CLIP"), "{error}");
}

#[test]
fn what_cannot_be_varied_is_said() {
    {
        let (mut lab, _folder) = lab();
        run(&mut lab, "show 0");
        for line in ["vary", "start picture=this"] {
            let error = lab.turn(line, &mut Quiet).unwrap_err().to_string();
            assert!(error.contains("has no CLIP") && error.contains("emoji-full.ron"), "{error}");
        }
    }
    let (mut lab, (folder, _turn)) = lab_with_clip();
    run(&mut lab, "show 0");
    for (line, what) in [
        ("vary nowhere.png", "there is no file"),
        ("vary this:0", "a weight of 0"),
        ("start picture=fox", "`fox` is no picture"),
        ("vary area=left", "unknown key"),
    ] {
        let error = lab.turn(line, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("hint: "), "{line}: {error}");
    }
    // vectors of pictures that training never used
    run(&mut lab, "vary steps=1");
    let (file, deaf) = (folder.path().join("deaf.ron"), {
        let mut config = smoke(1, 1);
        small_clip(&mut config);
        config.train.clip_image = 0.0;
        config::to_ron(&config)
    });
    std::fs::write(&file, deaf).unwrap();
    run(&mut lab, &format!("load {}", file.display()));
    run(&mut lab, "show 0");
    let said = format!("{:?}", run(&mut lab, "vary steps=1"));
    assert!(said.contains("without vectors of pictures"), "{said}");
    // a session trains no CLIP
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    config.stages.insert(1, Phase::Clip);
    std::fs::write(&file, config::to_ron(&config)).unwrap();
    let said = format!("{:?}", run(&mut lab, &format!("load {}", file.display())));
    assert!(said.contains("leaves CLIP and prior as they are"), "{said}");
}

#[test]
fn a_text_that_clip_does_not_read_to_its_end_is_said() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let mut config = smoke(1, 1);
    small_clip(&mut config);
    config.clip.as_mut().unwrap().model.text.context_length = 4;
    let file = folder.path().join("short.ron");
    std::fs::write(&file, config::to_ron(&config)).unwrap();
    run(&mut lab, &format!("load {}", file.display()));
    let said =
        |lab: &mut Lab, text: &str| format!("{:?}", run(lab, &format!("sample {text} steps=1")));
    let long = said(&mut lab, "\"a cat is here\"");
    assert!(long.contains("CLIP does not read the last 2 subwords"), "{long}");
    assert!(!said(&mut lab, "\"a cat\"").contains("CLIP does not read"));
}
