//! Scenes: the same on every machine, held out by rule, read back from words and from pixels, fresh at every step.

use crate::train::{exclusive, losses, same_weights, smoke};
use paella::config::RunConfig;
use paella::data::scenes::draw::draw;
use paella::data::scenes::words::{Claim, WORDINGS};
use paella::data::scenes::world::{Ground, Relation, Scene};
use paella::data::scenes::{SceneKind, ScenesConfig};
use paella::data::{DataConfig, Dataset, Part, Source};
use paella::eval::scene_reader::{Reading, SceneReader, Seen};
use paella::eval::scenes::verdict_on;
use paella::lab::{Lab, Origin};
use paella::networks::{Network, Networks};
use paella::train::Feed;
use paella::train::feed::Rows;
use std::path::Path;

fn world() -> ScenesConfig {
    ScenesConfig::default()
}

/// FNV-1a, to pin many bytes in one number.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn read_right(picture: &Scene) -> Reading {
    let seen = |o: &paella::data::scenes::world::Object| Seen {
        shape: Some(o.shape),
        colour: o.colour,
        size: o.size,
        x: o.x,
        y: o.y,
        likeness: 1.0,
    };
    Reading { ground: picture.ground, objects: picture.objects.iter().map(seen).collect() }
}

#[test]
fn pictures_are_pinned_for_good() {
    let captions: Vec<String> =
        (0..50).map(|i| world().picture(Part::Train, i).unwrap().caption).collect();
    let pixels: Vec<u8> = (0..50)
        .flat_map(|i| draw(&world().picture(Part::Train, i).unwrap().scene, 64).unwrap())
        .collect();
    assert_eq!(
        captions,
        (0..50).map(|i| world().picture(Part::Train, i).unwrap().caption).collect::<Vec<_>>()
    );
    assert_eq!((hash(captions.join("\n").as_bytes()), hash(&pixels)), PINNED);
    let other = ScenesConfig { seed: 1, ..world() };
    assert_ne!(other.picture(Part::Train, 0).unwrap(), world().picture(Part::Train, 0).unwrap());
}

/// Hashes of the first 50 captions and pictures of training, seed 0.
const PINNED: (u64, u64) = (0x6e27_0735_77eb_dcbf, 0xf49c_7086_f0e9_9a10);

#[test]
fn what_is_held_out_never_occurs_in_training() {
    let config = world();
    for i in 0..20_000 {
        let picture = config.picture(Part::Train, i).unwrap();
        let claim = Claim::parse(&picture.caption).unwrap_or_else(|e| panic!("{e}"));
        for said in &claim.objects {
            let pair = said.colour.map(|colour| (said.shape, colour));
            assert!(
                !pair.is_some_and(|pair| config.held_out.contains(&pair)),
                "{}",
                picture.caption
            );
        }
        for (said, relation) in claim.objects.iter().skip(1).zip(&claim.relations) {
            let Some(relation) = *relation else { continue };
            let relations = [
                (said.shape, relation, claim.objects[0].shape),
                (claim.objects[0].shape, relation.inverse(), said.shape),
            ];
            assert!(
                !relations.iter().any(|t| config.held_out_relations.contains(t)),
                "{}",
                picture.caption
            );
        }
        // what is drawn, too: captions leave parts out
        assert_eq!(config.kind(&picture.scene), Some(SceneKind::Ordinary), "{}", picture.caption);
    }
}

#[test]
fn questions_are_of_the_kind_that_was_asked_for() {
    for (kind, count) in [
        (SceneKind::Pair, 1),
        (SceneKind::Pair, 3),
        (SceneKind::Relation, 2),
        (SceneKind::Relation, 3),
    ] {
        for i in 0..200 {
            let picture = world().question(kind, count, i).unwrap();
            assert_eq!(picture.scene.objects.len(), count);
            assert_eq!(world().kind(&picture.scene), Some(kind), "{}", picture.caption);
        }
    }
    assert!(world().question(SceneKind::Relation, 1, 0).is_err());
}

#[test]
fn captions_say_their_scene_in_every_wording() {
    for i in 0..3_000 {
        let picture = world().picture(Part::Train, i).unwrap();
        assert_eq!(Claim::parse(&picture.caption).unwrap(), picture.claim, "{}", picture.caption);
        let whole = Claim::whole(&picture.scene);
        for claim in [&whole, &picture.claim] {
            for wording in 0..WORDINGS {
                let text = claim.text(wording);
                assert_eq!(&Claim::parse(&text).unwrap_or_else(|e| panic!("{e}")), claim, "{text}");
            }
            assert!(verdict_on(claim, &read_right(&picture.scene)).whole(), "{}", picture.caption);
        }
    }
}

#[test]
fn words_outside_the_grammar_are_named_with_those_inside() {
    let error = |text: &str| Claim::parse(text).unwrap_err().to_string();
    let unknown = error("a small red dragon above a ring");
    assert!(unknown.contains("dragon") && unknown.contains("triangle"), "{unknown}");
    for text in [
        "",
        "red",
        "a ring above",
        "above it",
        "a ring, a star left",
        "star star star star",
        "it",
        "on",
        "small small star",
    ] {
        error(text);
    }
    let claim = Claim::parse("A Small Red star, ABOVE a ring on Sky.").unwrap();
    assert_eq!((claim.ground, claim.relations), (Some(Ground::Sky), vec![Some(Relation::Below)]));
}

#[test]
fn a_wrong_picture_is_judged_part_by_part() {
    let picture = (0..)
        .map(|i| world().question(SceneKind::Ordinary, 2, i).unwrap())
        .find(|p| p.claim == Claim::whole(&p.scene));
    let picture = picture.unwrap();
    let right = read_right(&picture.scene);
    let wrong = |change: &dyn Fn(&mut Reading)| {
        let mut reading = right.clone();
        change(&mut reading);
        verdict_on(&picture.claim, &reading)
    };
    let all = verdict_on(&picture.claim, &right);
    assert!(all.whole());
    let verdict = wrong(&|reading| reading.objects[1].shape = None);
    assert!(!verdict.shape && verdict.colour && verdict.size && verdict.relation && verdict.count);
    let verdict = wrong(&|reading| {
        reading.ground = if reading.ground == Ground::Sky { Ground::Sand } else { Ground::Sky };
    });
    assert!(!verdict.ground && verdict.shape && !verdict.whole());
    let verdict = wrong(&|reading| {
        reading.objects.pop();
    });
    assert!(!verdict.count && !verdict.shape && !verdict.relation);
    let verdict = wrong(&|reading| {
        let (a, b) = (reading.objects[0], reading.objects[1]);
        (reading.objects[0].x, reading.objects[0].y) = (b.x, b.y);
        (reading.objects[1].x, reading.objects[1].y) = (a.x, a.y);
    });
    assert!(verdict.shape && (a_nest(&picture.scene) || !verdict.relation));
    // the order of the objects does not matter
    let verdict = wrong(&|reading| reading.objects.reverse());
    assert!(verdict.whole());
}

fn a_nest(scene: &Scene) -> bool {
    matches!(scene.relation(1), Some(Relation::Inside | Relation::Around))
}

#[test]
fn a_data_set_of_scenes_has_its_limit_and_tells_what_is_held_out() {
    let data = |limit, styles: &[&str]| DataConfig {
        source: Source::Scenes(world()),
        limit,
        styles: styles.iter().map(|s| s.to_string()).collect(),
        ..DataConfig::default()
    };
    let train = Dataset::open(&data(Some(40), &[]), Part::Train).unwrap();
    assert_eq!((train.len(), train.images.size()), (40, vec![40, 3, 64, 64]));
    assert!(train.records.iter().all(|record| record.split == "train"));
    let val = Dataset::open(&data(None, &["2 objects"]), Part::Val).unwrap();
    let count = |split: &str| val.records.iter().filter(|record| record.split == split).count();
    assert_eq!(count("val") + count("val-held-out"), val.len());
    assert!(count("val") > 100 && count("val-held-out") > 100);
    assert!(val.records.iter().all(|record| record.style == "2 objects"));
    assert!(Dataset::open(&data(None, &["9 objects"]), Part::Val).is_err());
}

#[test]
fn every_step_sees_fresh_pictures_and_ranks_share_them() {
    let feed = || Feed::fresh(&world(), 64);
    let rows = |first, count, of| Rows { first, count, of };
    let mut whole = feed();
    let (mut first, mut second) = (feed(), feed());
    let mut seen = std::collections::BTreeSet::new();
    for step in 0..3 {
        let (images, captions) = whole.images(rows(0, 8, 8)).unwrap();
        let (a, b) = (first.images(rows(0, 4, 8)).unwrap(), second.images(rows(4, 4, 8)).unwrap());
        assert_eq!(captions, [a.1, b.1].concat());
        assert_eq!(images, tch::Tensor::cat(&[a.0, b.0], 0));
        for i in 0..8 {
            let picture = world().picture(Part::Train, step * 8 + i).unwrap();
            assert_eq!(picture.caption, captions[i as usize]);
            seen.insert(format!("{:?}", picture.scene));
        }
        assert_eq!((whole.position(), whole.text()), (step * 8 + 8, None));
    }
    // scenes may come up twice by chance, batches not
    assert!(seen.len() > 20, "{} scenes of 24", seen.len());
    let mut resumed = feed();
    resumed.go_to(16, "").unwrap();
    first.go_to(16, "").unwrap();
    assert_eq!(
        resumed.images(rows(0, 8, 8)).unwrap().1[..4],
        first.images(rows(0, 4, 8)).unwrap().1
    );
}

#[test]
fn the_words_of_the_world_are_told_apart_and_fit() {
    let config =
        RunConfig::read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/configs/scenes.ron")))
            .unwrap();
    let Source::Scenes(world) = &config.data.source else { panic!("no scenes") };
    let mut words = std::collections::BTreeMap::new();
    let mut longest = 0;
    for i in 0..2_000 {
        let caption = world.picture(Part::Train, i).unwrap().caption;
        let ids = config.text.ids(&caption);
        longest = longest.max(ids.len());
        for (at, id) in config.text.tokens.spans(&caption).into_iter().zip(ids) {
            let word = caption[at].to_string();
            assert_eq!(words.entry(id).or_insert_with(|| word.clone()), &word, "one number");
        }
    }
    assert!(words.len() > 30, "{words:?}");
    assert!(longest <= config.text.room() + 1, "{longest} tokens, the end among them");
}

#[test]
fn a_fresh_network_begins_as_the_config_says() {
    let _turn = exclusive();
    let weights = |embed_std, gain| {
        let mut config = small();
        config.model.embed_std = embed_std;
        config.model.levels.iter_mut().for_each(|level| level.attn_gain = gain);
        let nets = Networks::new(&config, tch::Device::Cpu).unwrap();
        nets.vars(Network::Denoiser).unwrap().variables()
    };
    let (plain, own) = (weights(None, 1.0), weights(Some(0.5), 3.0));
    let deviation = own["in_mapper.0.weight"].std(false).double_value(&[]);
    assert!((deviation - 0.5).abs() < 0.05, "{deviation}");
    assert_eq!(own["in_mapper.0.weight"].view(-1), own["out_mapper.1.weight"].view(-1));
    let mut blocks = 0;
    for (name, xs) in &plain {
        if name.ends_with("in_proj_weight") {
            let c = xs.size()[1];
            let [before, after] = [xs, &own[name]];
            let scaled = before.narrow(0, 0, 2 * c) * 3.0;
            assert!(after.narrow(0, 0, 2 * c).allclose(&scaled, 1e-5, 1e-7, false), "{name}");
            assert_eq!(after.narrow(0, 2 * c, c), before.narrow(0, 2 * c, c), "{name}: values");
            blocks += 1;
        }
    }
    assert!(blocks > 0);
}

fn small() -> RunConfig {
    let mut config = smoke(6, 6);
    config.data = DataConfig { source: Source::Scenes(world()), size: 32, ..DataConfig::default() };
    config.tokenizer.model.patchwise = true;
    config.tokenizer.train.revive = paella::tokens::codebook::Revive::Far;
    config
}

#[test]
fn a_run_on_scenes_goes_on_exactly() {
    let _turn = exclusive();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at_once = losses(&small(), whole.path(), None);
    let in_parts: Vec<f64> = (0..3).flat_map(|_| losses(&small(), parts.path(), Some(4))).collect();
    assert_eq!(at_once.len(), 12);
    assert_eq!(at_once, in_parts, "every loss, bit for bit");
    same_weights(whole.path(), parts.path());
}

#[test]
fn a_patchwise_encoder_sees_one_token_at_a_time() {
    let _turn = exclusive();
    let nets = Networks::new(&small(), tch::Device::Cpu).unwrap();
    let images = tch::Tensor::rand([2, 3, 32, 32], (tch::Kind::Float, tch::Device::Cpu));
    let changed = images.copy();
    // the top left token's pixels, and none else
    let _ = changed.narrow(2, 0, 4).narrow(3, 0, 4).fill_(0.0);
    let (before, after) =
        (nets.tokenizer.latents(&images, false), nets.tokenizer.latents(&changed, false));
    let moved = (before - after).abs().amax([0i64, 1], false).gt(0.0);
    assert_eq!(moved.sum(tch::Kind::Int64).int64_value(&[]), 1);
    assert_eq!(moved.int64_value(&[0, 0]), 1);
}

/// A session on a small model that was trained for a moment on scenes of 64 pixels.
fn lab(folder: &Path) -> Lab {
    let mut config = small();
    config.data.size = 64;
    losses(&config, folder, None);
    let mut lab = Lab::new(Origin::Folder(folder.join("model")), tch::Device::Cpu).unwrap();
    lab.runs_in(folder);
    lab
}

#[test]
fn the_prompt_speaks_the_grammar() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lab(folder.path());
    assert_eq!(lab.complete("sample a small r").words, ["ring", "red", "right of"]);
    let at = lab.complete("sample \"a small star on sn");
    assert_eq!((at.start, at.words), ("sample \"a small star on ".len(), vec!["snow".to_string()]));
    assert!(lab.complete("sample a ").words.len() > 20, "all words");
    assert_eq!(lab.complete("sample \"a small star on snow\" st").words, ["steps="]);
    assert!(lab.complete("sample a star st").words.contains(&"steps=".to_string()));
    let said = |lab: &mut Lab, text: &str| {
        let view = crate::lab::run(lab, &format!("start \"{text}\""));
        view.blocks.iter().map(|block| format!("{block:?}\n")).collect::<String>()
    };
    let unknown = said(&mut lab, "a red dragon on sand");
    assert!(unknown.contains("`dragon` is not understood"), "{unknown}");
    assert!(unknown.contains("circle, square, triangle"), "{unknown}");
    let open = said(&mut lab, "a large red");
    assert!(open.contains("names no whole objects"), "{open}");
    for known in ["a red ring on sand", ""] {
        let view = said(&mut lab, known);
        assert!(!view.contains("understood") && !view.contains("whole objects"), "{view}");
    }
}

#[test]
fn the_prompt_reads_pictures_by_rule() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lab(folder.path());
    let run = |lab: &mut Lab, line: &str| format!("{:?}", crate::lab::run(lab, line));
    for number in 0..10 {
        crate::lab::run(&mut lab, &format!("show {number}"));
        let view = run(&mut lab, "read");
        assert!(view.contains("\": right"), "a drawn picture is what its caption says: {view}");
    }
    let near = run(&mut lab, "nearest 1");
    assert!(near.contains("sees new ones at every step") && !near.contains("19 of 20"), "{near}");
    // the same pixels under another caption
    let file = folder.path().join("a.png");
    let world = world();
    let picture = (0..).map(|i| world.picture(Part::Train, i).unwrap());
    let picture = picture.into_iter().find(|p| p.scene.objects.len() == 1).unwrap();
    let pixels = draw(&picture.scene, 64).unwrap();
    image::RgbImage::from_raw(64, 64, pixels).unwrap().save(&file).unwrap();
    let not = if picture.caption.contains("star") { "a ring" } else { "a star" };
    std::fs::write(folder.path().join("a.txt"), format!("{not}, a circle")).unwrap();
    crate::lab::run(&mut lab, &format!("show {}", file.display()));
    let view = run(&mut lab, "read");
    assert!(view.contains("wrong: the number of objects, shape"), "{view}");
    std::fs::write(folder.path().join("a.txt"), "my cat").unwrap();
    crate::lab::run(&mut lab, &format!("show {}", file.display()));
    assert!(run(&mut lab, "read").contains("is no caption of scenes"));
    let misread = lab.is_misread().unwrap_err().to_string();
    assert!(misread.contains("was not generated"), "{misread}");
    crate::lab::run(&mut lab, "sample \"a large red circle on snow\" steps=1 seed=1");
    assert!(lab.is_misread().unwrap(), "a model that has learned nothing");
    assert!(run(&mut lab, "read").contains("wrong: "));
    let view = crate::lab::run(&mut lab, "read 2 steps=1");
    let shown = format!("{view:?}");
    let rows = shown.matches("held-out").count();
    assert!(rows > 2 && shown.contains("ordinary"), "{shown}");
    let error = |lab: &mut Lab, line: &str| {
        lab.turn(line, &mut paella::lab::watch::Quiet).unwrap_err().to_string()
    };
    assert!(error(&mut lab, "read steps=1").contains("without a number of captions"));
    crate::lab::run(&mut lab, "data scenes size=32");
    crate::lab::run(&mut lab, "show 0");
    assert!(error(&mut lab, "read").contains("64 x 64 pixels, not 32 x 32"));
    crate::lab::run(&mut lab, "load configs/smoke.ron");
    assert!(error(&mut lab, "read 3").contains("did not learn from scenes"));
}

#[test]
fn faults_of_a_world_are_all_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.ron");
    let scenes = "objects: [1, 2, 3, 4], lattice: 40, left_out: 1.5, held_out_relations: [(Star, Inside, Heart)]";
    std::fs::write(&path, format!("(\n data: (source: Scenes(({scenes}))),\n)\n")).unwrap();
    let text = RunConfig::read(&path).unwrap_err().to_string();
    for part in ["objects", "lattice", "left_out", "held_out_relations"] {
        assert!(text.contains(&format!("data.source.{part}")), "{part} is not in\n{text}");
    }
    std::fs::write(&path, "(data: (source: Scenes((latice: 4))))").unwrap();
    let text = RunConfig::read(&path).unwrap_err().to_string();
    assert!(text.contains("latice") && text.contains("lattice"), "{text}");
}

#[test]
fn drawn_scenes_are_read_right() {
    let reader = SceneReader::new();
    // 98 of 100 asked for; figures of 1,000 pictures, three objects and rings with something inside among them
    let right = (0..1_000).filter(|&i| {
        let picture = world().picture(Part::Val, i).unwrap();
        let whole = Claim::whole(&picture.scene);
        verdict_on(&whole, &reader.read(&draw(&picture.scene, 64).unwrap())).whole()
    });
    let right = right.count();
    assert!(right >= 980, "{right} of 1000");
}
