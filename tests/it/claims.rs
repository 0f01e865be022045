//! What the lessons say in numbers, held against the shipped models, the configs and the program. Each claim quotes its lesson, so
//! that a changed sentence is looked at again. Not held here: what only minutes of training show, and what only an eye sees.

use std::fmt::Debug;
use std::path::Path;

use paella::config::RunConfig;
use paella::cost;
use paella::course::measures::MEASURES;
use paella::data::scenes::ScenesConfig;
use paella::data::scenes::world::{Colour, Shape};
use paella::data::{Part, Source};
use paella::eval::scenes::questioned;
use paella::lab::seam::SeamLoss;
use paella::lab::watch::Quiet;
use paella::lab::{Lab, Origin};
use paella::loss::cross_entropy;
use paella::recipe::NoiseRatio;
use paella::tokens::text::byte_tokens;
use tch::{Device, Kind, Tensor};

use crate::train::exclusive;

/// One lesson, and its claims that do not hold.
struct Claims {
    text: String,
    faults: Vec<String>,
}

impl Claims {
    fn of(lesson: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tutorials/{lesson}.md"));
        let text = std::fs::read_to_string(file).unwrap();
        Self { text: text.split_whitespace().collect::<Vec<_>>().join(" "), faults: Vec::new() }
    }

    fn add(&mut self, words: &str, holds: bool, found: impl Debug) {
        if !self.text.contains(words) {
            self.faults.push(format!("the lesson no longer says: {words}"));
        }
        if !holds {
            self.faults.push(format!("{words}: {found:?}"));
        }
    }

    fn all_hold(self) {
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
    }
}

/// The same world, one object in each picture.
fn alone(world: &ScenesConfig) -> ScenesConfig {
    ScenesConfig { objects: vec![1.0], held_out_relations: Vec::new(), ..world.clone() }
}

/// A session on a shipped model or a config.
fn session(model: &str, folder: &tempfile::TempDir) -> Lab {
    let mut lab = Lab::new(Origin::find(model).unwrap(), Device::Cpu).unwrap();
    lab.runs_in(folder.path());
    lab
}

/// Runs a line; the first text that it answers.
fn run(lab: &mut Lab, line: &str) -> String {
    let reply = lab.turn(line, &mut Quiet).unwrap_or_else(|e| panic!("{line}: {e}")).unwrap();
    reply.view.first_text().unwrap_or_default().to_string()
}

/// A measure that exercises use, without an argument.
fn measure(lab: &mut Lab, name: &str) -> f64 {
    let found = MEASURES.iter().find(|measure| measure.name == name).unwrap();
    (found.take)(lab, "").unwrap()
}

/// Whether the picture in hand is nearest to real ones of this name.
fn shows(lab: &mut Lab, name: &str) -> bool {
    let found = MEASURES.iter().find(|measure| measure.name == "shows").unwrap();
    (found.take)(lab, name).unwrap() == 1.0
}

/// The share of the noised tokens that `predict` with these words guesses right.
fn guessed(lab: &mut Lab, words: &str) -> f64 {
    let answer = run(lab, &format!("predict {words}"));
    let share = answer.split("tokens, ").nth(1).and_then(|rest| rest.split('%').next());
    share.and_then(|share| share.parse::<f64>().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// Chance that at most `k` of `n` coins fall, each with chance `p`.
fn at_most(k: i32, n: i32, p: f64) -> f64 {
    let choose = |k: i32| (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product::<f64>();
    (0..=k).map(|k| choose(k) * p.powi(k) * (1.0 - p).powi(n - k)).sum()
}

fn config(name: &str) -> RunConfig {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/{name}.ron"));
    RunConfig::read(&file).unwrap_or_else(|e| panic!("{e}"))
}

/// The most frequent code of a region, and the colour it decodes to.
fn most_frequent(lab: &Lab, region: &Tensor) -> (i64, [u8; 3]) {
    let (codes, _, counts) = region.flatten(0, -1).unique_dim(0, true, false, true);
    let code = codes.get(counts.argmax(0, false).int64_value(&[]));
    let code = code.int64_value(&[]);
    let tokens = lab.workspace().tokens().unwrap();
    (code, lab.colors_of(&tokens).unwrap()[code as usize])
}

#[test]
fn claims_of_lesson_1_tokens() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("01-tokens");
    let mut lab = session("emoji-64", &folder);
    run(&mut lab, "show red apple, 3d emoji");
    run(&mut lab, "encode");
    let pixels = lab.workspace().picture().unwrap().images.size();
    claims.add("64 pixels wide and 64 high: 4,096 dots", pixels[2..] == [64, 64], &pixels);
    let tokens = lab.workspace().tokens().unwrap();
    let size = tokens.size();
    claims.add("Sixteen rows of sixteen numbers, 256 in all", size == [1, 16, 16], &size);
    claims.add("a patch of about 4 by 4 pixels", pixels[2] / size[1] == 4, &size);
    let labels = lab.settings().model.num_labels;
    claims.add("keeps a list of 512 patches", labels == 512, labels);
    let first_row = most_frequent(&lab, &tokens.get(0).get(0));
    let white = first_row.1.iter().all(|&channel| channel > 240);
    claims.add("174 on the white around the apple", first_row.0 == 174 && white, first_row);
    let middle = tokens.get(0).slice(0, 5, 13, 1).slice(1, 3, 13, 1);
    let (code, [r, g, b]) = most_frequent(&lab, &middle);
    let red = r > 150 && g.max(b) < r / 3 * 2;
    claims.add("474 on its even red", code == 474 && red, (code, r, g, b));
    run(&mut lab, "show 364");
    let caption = lab.workspace().picture().unwrap().caption.clone();
    claims.add("`show 364`, then `encode`", caption.contains("strawberry"), caption);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_2_noise() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("02-noise");
    let mut lab = session("emoji-64", &folder);
    run(&mut lab, "show red apple, 3d emoji");
    for (ratio, words, low, high) in [
        ("0.6", "Now more than half of the tokens are strangers", 0.5, 0.7),
        ("0.9", "One token in ten is true", 0.82, 0.97),
    ] {
        run(&mut lab, &format!("noise {ratio}"));
        let share = measure(&mut lab, "noised_share");
        claims.add(words, (low..high).contains(&share), share);
    }
    let hundredths: f64 = 100.0 * 5.0 / 256.0;
    let words = "Five of 256 tokens are about two in a hundred";
    claims.add(words, hundredths.round() == 2.0, hundredths);
    let few = at_most(6, 256, 0.01);
    claims.add("`noise 0.01` replaces between none and about six", few > 0.95, few);
    let unlucky = at_most((0.46f64 * 256.0) as i32, 256, 0.5);
    claims.add("about once in ten draws", (0.07..0.13).contains(&unlucky), unlucky);
    let lucky = 1.0 - (511f64 / 512.0).powi(256);
    claims.add("With `noise 1` it happens in two of five draws", (lucky - 0.4).abs() < 0.05, lucky);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_3_predict() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("03-predict");
    let mut lab = session("emoji-64", &folder);
    let smoothing = lab.settings().train.label_smoothing;
    claims.add(
        "one part in twenty of the truth is spread over all codes",
        smoothing == 0.05,
        smoothing,
    );
    // the best that a guess can be: the smoothed truth itself
    let target = Tensor::full([1, 512, 1, 1], smoothing / 512.0, (Kind::Float, Device::Cpu));
    let _ = target.get(0).get(3).fill_(1.0 - smoothing + smoothing / 512.0);
    let truth = Tensor::from_slice(&[3i64]).view([1, 1, 1]);
    let least = cross_entropy(&target.log(), &truth, smoothing).double_value(&[0, 0, 0]);
    claims.add("even a perfect guess costs half a nat", (least - 0.5).abs() < 0.05, least);
    let bits = [8f64.log2(), (lab.settings().model.num_labels as f64).log2()];
    claims.add("3 bits between eight, and 9 bits means that all 512", bits == [3.0, 9.0], bits);
    run(&mut lab, "show red apple, 3d emoji");
    for seed in 1..=3 {
        run(&mut lab, &format!("seed {seed}"));
        run(&mut lab, "noise 0.9");
        let (with, without) = (guessed(&mut lab, ""), guessed(&mut lab, "\"\""));
        let words = "Nine tokens of ten are wrong, and it restores nearly all";
        claims.add(words, with > 90.0, with);
        claims.add("Take the caption away, and it is on its own", without < 0.5 * with, without);
    }
    let mut clothes = session("fashion", &folder);
    run(&mut clothes, "show 0");
    run(&mut clothes, "noise 0.3");
    let (doubt, surely) = (measure(&mut clothes, "doubt"), guessed(&mut clothes, ""));
    claims.add("The guess is less exact", doubt > 1.0 && surely < 90.0, (doubt, surely));
    let (many, _) = clothes.levels(Some(16)).unwrap();
    let losses: Vec<f64> = many.iter().map(|level| level.loss).collect();
    claims.add("The loss rises with the noise", losses.is_sorted(), &losses);
    let places = grid(&clothes);
    let share = 10.0 / places as f64;
    claims.add(
        "Ten tokens of 64 are about one in six",
        places == 64 && (share - 1.0 / 6.0).abs() < 0.02,
        share,
    );
    claims.all_hold();
}

/// Tokens of one picture.
fn grid(lab: &Lab) -> i64 {
    lab.networks(|nets| nets.grid() * nets.grid()).unwrap()
}

#[test]
fn claims_of_lesson_4_train() {
    let mut claims = Claims::of("04-train");
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let config = config("emoji-32");
    let mut lab = session("configs/emoji-32.ron", &folder);
    run(&mut lab, "data emoji group=food-drink");
    let count = lab.data(Part::Train).unwrap().len();
    claims.add("An empty model learns 363 emoji of food and drink", count == 363, count);
    let first = config.tokenizer.train.optim.lr_at(0, 500);
    claims.add("The very first step has the learning rate 0", first == 0.0, first);
    let fifth = config.train.optim.lr / 5.0;
    claims.add("a fifth of what it was, 0.0004", (fifth - 0.0004).abs() < 1e-9, fifth);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_5_sample() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("05-sample");
    let mut lab = session("emoji-64", &folder);
    run(&mut lab, "start \"strawberry, 3d emoji\" steps=8 seed=1");
    let schedule = lab.workspace().sampling().unwrap().schedule.clone();
    let (first, last) = (schedule[0], schedule[7]);
    let ends = (first.t, last.t_next, first.temperature, last.temperature);
    claims.add(
        "T falls from 1 to 0, and the temperature from 1 to 0.1",
        ends == (1.0, 0.0, 1.0, f64::from(0.1f32)),
        ends,
    );
    claims.add("This model's own guidance is 1.25", first.cfg_scale == 1.25, first.cfg_scale);
    let named = |lab: &mut Lab, settings: &str| -> usize {
        let one = |seed: i32| {
            run(lab, &format!("sample \"strawberry, 3d emoji\" seed={seed} {settings}"));
            usize::from(shows(lab, "strawberry"))
        };
        (1..=4).map(one).sum()
    };
    let unheard = named(&mut lab, "cfg=0");
    claims.add("no strawberry among the four", unheard == 0, unheard);
    let loud = named(&mut lab, "cfg=3");
    claims.add("With 3 there are strawberries", loud >= 2, loud);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_6_condition() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("06-condition");
    let mut lab = session("emoji-64", &folder);
    let caption = "red apple, 3d emoji";
    let count = byte_tokens(caption).len();
    let words = "Each letter is one number, plus one number for the end";
    claims.add(words, count == caption.len() + 1, count);
    let dropped = lab.settings().train.cond_drop;
    claims.add("four captions in ten were thrown away", dropped == 0.4, dropped);
    let data = lab.data(Part::Train).unwrap();
    let count = data.len();
    claims.add("it has read eight hundred captions", (750..850).contains(&count), count);
    let there = |start: &str| data.records.iter().any(|record| record.caption.starts_with(start));
    let apples = ["apple,", "red apple,", "green apple,", "pineapple,"].map(there);
    claims.add(
        "No training picture was called just `apple`",
        apples == [false, true, true, true],
        apples,
    );
    let mut pineapples = 0;
    for seed in 1..=4 {
        run(&mut lab, &format!("sample \"apple, noto emoji\" seed={seed}"));
        pineapples += usize::from(shows(&mut lab, "pineapple"));
    }
    claims.add("Look at the first four: pineapples", pineapples == 4, pineapples);
    run(&mut lab, "load scenes");
    run(&mut lab, "show 4");
    // own caption, wrong one, none: means over five draws of noise
    let mut shares = |noise: &str| {
        let mut sums = [0.0; 3];
        for seed in 1..=5 {
            run(&mut lab, &format!("seed {seed}"));
            run(&mut lab, &format!("noise {noise}"));
            let wrong = "\"a large blue heart on snow\"";
            let guesses = ["", wrong, "\"\""].map(|words| guessed(&mut lab, words));
            sums.iter_mut().zip(guesses).for_each(|(sum, share)| *sum += share / 5.0);
        }
        sums
    };
    let ([own, wrong, none], [all_own, _, all_none]) = (shares("0.8"), shares("1"));
    let near = none < own && own - none < 8.0;
    claims.add("nearly as many are right as with the caption", near, (own, none));
    claims.add("The wrong caption is worse than none", wrong < none, (wrong, none));
    let more = all_own - all_none > 30.0;
    claims.add(
        "the more noise there is, the more the words have to carry",
        more,
        (all_own, all_none),
    );
    let own = lab.settings().sample.cfg_scale;
    claims.add("with this model's own (1.5)", own == (1.5, 1.5), own);
    let Source::Scenes(world) = lab.settings().data.source.clone() else { panic!("no scenes") };
    let held = |shape, colour| world.held_out.contains(&(shape, colour));
    claims.add(
        "a red star, a blue heart or a green ring",
        held(Shape::Star, Colour::Red)
            && held(Shape::Heart, Colour::Blue)
            && held(Shape::Ring, Colour::Green),
        &world.held_out,
    );
    let (sample, single) = (lab.settings().sample.clone(), alone(&world));
    let right = lab.networks(|nets| questioned(nets, &single, &sample, (15, 1), &mut |_, _| true));
    let right: Vec<f64> = right.unwrap().unwrap().iter().map(|score| score.whole).collect();
    // 15 captions: within three standard deviations
    claims.add("one object is right nine times in ten", right[0] > 0.6, &right);
    claims.add("eight times in ten", right[1] > 0.49, &right);
    let pairs = ScenesConfig { objects: vec![0.0, 1.0], held_out: Vec::new(), ..alone(&world) };
    let two = lab.networks(|nets| questioned(nets, &pairs, &sample, (15, 1), &mut |_, _| true));
    let two = two.unwrap().unwrap().remove(0);
    let words = "Of two objects each gets its own shape and colour";
    claims.add(words, two.shape > 0.6 && two.colour > 0.7, &two);
    let relation = two.relation.unwrap();
    claims.add("learned which of them is above or left", relation < 0.85, relation);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_7_scale() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("07-scale");
    let lab = session("configs/emoji-32.ron", &folder);
    let mut all = lab.networks(|nets| nets.parameters()).unwrap();
    all.sort_by_key(|(_, count)| *count);
    let millions = all.iter().map(|(_, count)| count).sum::<i64>() as f64 / 1e6;
    claims.add(
        "What you trained in lesson 4 has two million weights",
        millions.round() == 2.0,
        millions,
    );
    claims.add("Most of them are in the denoiser", all.last().unwrap().0 == "denoiser", &all);
    let published = config("paella-v3-1gpu").model;
    let billions = cost::denoiser(&published, (64, 64), 77).total().params as f64 / 1e9;
    claims.add("The published Paella has a billion", billions.round() == 1.0, billions);
    let mut model = config("emoji-32").model;
    let of_widest = |model: &paella::model::PaellaConfig| {
        let levels = cost::denoiser(model, (8, 8), 32).levels;
        levels.iter().map(|level| level.total().params).max().unwrap() as f64
    };
    let single = of_widest(&model);
    model.levels.last_mut().unwrap().c_hidden *= 2;
    let growth = of_widest(&model) / single;
    claims.add(
        "twice the channels are about four times the weights",
        (3.2..4.3).contains(&growth),
        growth,
    );
    let mut train = config("emoji-32").train;
    (train.global_batch, train.micro_batch) = (2048, Some(8));
    let split = train.split(128).unwrap();
    let both = (split.rows, split.passes);
    claims.add(
        "each of the 128 devices work through its 16 pictures in two passes",
        both == (16, 2),
        both,
    );
    claims.add("sixteen machines with eight each", 16 * 8 == 128, 16 * 8);
    claims.all_hold();
}

#[test]
fn claims_of_lesson_8_edit() {
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let mut claims = Claims::of("08-edit");
    let mut lab = session("emoji-64", &folder);
    let start = |lab: &mut Lab, edit: &str| {
        run(lab, "show red apple, 3d emoji");
        run(lab, &format!("start {edit} seed=1"));
    };
    let captions = lab.data(Part::Train).unwrap().len();
    claims.add("This model saw 807 pictures", captions == 807, captions);
    start(&mut lab, "area=left");
    let (sampled, places) = (measure(&mut lab, "sampled"), grid(&lab));
    let half = sampled * places as f64;
    claims.add("128 of 256 tokens are sampled", (half, places) == (128.0, 256), (half, places));
    start(&mut lab, "area=middle");
    let middle = measure(&mut lab, "sampled");
    claims.add("`area=middle` is a quarter of the picture", middle == 0.25, middle);
    start(&mut lab, "\"red apple, 3d emoji\" strength=0.6");
    let first = lab.workspace().sampling().unwrap().canvas.as_ref().unwrap().original.copy();
    run(&mut lab, "n 100");
    let kept = first.eq_tensor(&lab.workspace().tokens().unwrap()).to_kind(Kind::Float);
    let kept = kept.mean(Kind::Float).double_value(&[]);
    claims.add("the apple comes back, nearly every token as it was", kept > 0.9, kept);
    start(&mut lab, "\"green apple, 3d emoji\" strength=0.2");
    let noise = measure(&mut lab, "run_noise");
    let words = "four tokens in five are those of the red apple when the run begins";
    claims.add(words, (noise - 0.2).abs() < 1e-6, noise);
    run(&mut lab, "n 100");
    let green = shows(&mut lab, "green apple");
    claims.add("still the result is the green one", green, green);
    start(&mut lab, "side=right by=32");
    run(&mut lab, "n 100");
    let last = lab.workspace().sampling().unwrap();
    let (mask, tokens) = (&last.canvas.as_ref().unwrap().mask, last.path.last().unwrap());
    let caption = lab.workspace().picture().unwrap().caption.clone();
    let seam = lab.networks(|nets| SeamLoss::of(nets, tokens, mask, &nets.condition(&[caption])));
    let seam = seam.unwrap().unwrap();
    let words = "costs the model more than twice as much as one elsewhere in the apple";
    claims.add(words, seam.seam > 2.0 * seam.kept.unwrap(), seam);
    claims.add(
        "more than ten times as much as one that is new",
        seam.seam > 10.0 * seam.sampled.unwrap(),
        seam,
    );
    claims.all_hold();
}

#[test]
fn claims_of_the_research_notebooks() {
    let mut sampler = Claims::of("research-sampler");
    // of 100 pictures that are named right with chance p, the share has this deviation, in points; most at p = 1/2
    let points = 100.0 * (0.5f64 * 0.5 / 100.0).sqrt();
    sampler.add("chance alone moves a score by some five points", points == 5.0, points);
    sampler.all_hold();
    let mut schedule = Claims::of("research-schedule");
    let luck = 2.0 * 0.5f64.powi(3); // all three for one side or the other
    schedule.add("may still agree by luck, one time in four", luck == 0.25, luck);
    let (_turn, folder) = (exclusive(), tempfile::tempdir().unwrap());
    let lab = session("fashion", &folder);
    let ratio = &lab.settings().train.noise_ratio;
    schedule.add("`train.noise_ratio: Power(2.0)`", *ratio == NoiseRatio::Power(2.0), ratio);
    schedule.all_hold();
}
