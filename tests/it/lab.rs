//! The session as a library: values in, views out, undo, and the same numbers from the same seed.

use std::cell::RefCell;
use std::path::Path;
use std::sync::MutexGuard;

use paella::data::Part;
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::{Preview, Quiet, Watch};
use paella::lab::{Lab, Origin, Pick, SampleRequest};
use paella::metrics::StepRecord;
use paella::model::{Cond, Denoiser};
use paella::sample::{PictureSeeds, Sampler};
use tch::{Device, Kind, Tensor};

use crate::train::exclusive;

/// A session on the untrained smoke model, and its folder. Only one at a time, because libtorch has one generator per
/// process.
pub fn lab() -> (Lab, (tempfile::TempDir, MutexGuard<'static, ()>)) {
    let turn = exclusive();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/smoke.ron");
    let folder = tempfile::tempdir().unwrap();
    let mut lab = Lab::new(Origin::Config(config), Device::Cpu).unwrap();
    lab.runs_in(folder.path());
    (lab, (folder, turn))
}

pub fn run(lab: &mut Lab, line: &str) -> View {
    lab.turn(line, &mut Quiet).unwrap_or_else(|e| panic!("{line}: {e}")).unwrap().view
}

pub fn tokens(lab: &Lab) -> Tensor {
    lab.workspace().tokens.as_ref().unwrap().copy()
}

#[test]
fn noise_keeps_its_share_and_predict_needs_it() {
    let (mut lab, _folder) = lab();
    lab.show(&Pick::Index(0)).unwrap();
    assert!(lab.predict(None).is_err());
    lab.noise(0.0).unwrap();
    let noised = lab.workspace().noised.clone().unwrap();
    assert_eq!(noised.tokens, tokens(&lab));
    lab.noise(1.0).unwrap();
    let all = lab.workspace().noised.clone().unwrap().mask.all().int64_value(&[]);
    assert_eq!(all, 1);
    lab.predict(Some("a fox")).unwrap();
}

#[test]
fn undo_walks_back_through_pictures_settings_and_training() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 1");
    run(&mut lab, "encode");
    let before = tokens(&lab);
    run(&mut lab, "show 2");
    run(&mut lab, "set sample.steps 3");
    run(&mut lab, "step 2"); // trains the tokenizer: codes change their meaning
    assert!(lab.workspace().tokens.is_none() && lab.status().1 == 2);
    run(&mut lab, "undo");
    assert_eq!((lab.status().1, lab.log().len()), (0, 0));
    run(&mut lab, "undo");
    assert_eq!(lab.settings().sample.steps, 12);
    run(&mut lab, "undo");
    assert_eq!(lab.workspace().picture().unwrap().index, Some(1));
    assert_eq!(tokens(&lab), before);
    run(&mut lab, "undo"); // encode
    run(&mut lab, "encode");
    assert_eq!(tokens(&lab), before, "the weights are back too");
}

#[test]
fn training_after_undo_repeats_itself() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "train 65"); // 60 steps of the tokenizer, 5 of the denoiser
    run(&mut lab, "train 3");
    let first: Vec<f64> = lab.log().iter().map(|r| r.loss).collect();
    run(&mut lab, "undo");
    run(&mut lab, "train 3");
    let second: Vec<f64> = lab.log().iter().map(|r| r.loss).collect();
    assert_eq!(first, second);
}

#[test]
fn undo_finds_its_way_back_into_the_tokenizers_training() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "set tokenizer.train.steps 5");
    for before in ["train 3", "train 2"] {
        run(&mut lab, before);
        run(&mut lab, "train 6"); // the rest of the tokenizer, then the denoiser
        let first = lab.log().to_vec();
        run(&mut lab, "undo");
        run(&mut lab, "train 6");
        let same = |a: &StepRecord, b: &StepRecord| {
            (&a.phase, a.step, a.loss) == (&b.phase, b.step, b.loss)
        };
        assert!(first.iter().zip(lab.log()).all(|(a, b)| same(a, b)), "after {before}");
        assert_eq!(first.len(), lab.log().len());
        run(&mut lab, "undo");
    }
}

#[test]
fn steps_one_by_one_are_the_run_in_one_go() {
    let (mut lab, _folder) = lab();
    let request = SampleRequest {
        text: "apple".into(),
        steps: Some(4),
        seed: Some(3),
        ..SampleRequest::default()
    };
    lab.sample(&request, &mut Quiet).unwrap();
    let at_once = tokens(&lab);
    lab.start(&request).unwrap();
    lab.next(3, &mut Quiet).unwrap();
    lab.back(2).unwrap();
    lab.next(3, &mut Quiet).unwrap();
    assert_eq!(tokens(&lab), at_once);
    assert!(lab.next(1, &mut Quiet).is_err(), "the run is at its end");
}

#[test]
fn a_seed_repeats_the_session() {
    let (mut lab, _folder) = lab();
    let mut once = |seed: u64| {
        run(&mut lab, "show 0");
        run(&mut lab, &format!("seed {seed}"));
        run(&mut lab, "noise 0.5");
        lab.workspace().noised.as_ref().unwrap().tokens.copy()
    };
    let (a, b, c) = (once(1), once(1), once(2));
    assert!(a == b && a != c);
}

/// Stops after this many steps.
struct Impatient(usize);

impl Watch for Impatient {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {
        self.0 -= 1;
    }
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_stopped_training_keeps_its_steps() {
    let (mut lab, _folder) = lab();
    let view = lab.turn("train 1000", &mut Impatient(3)).unwrap().unwrap().view;
    assert_eq!((lab.status().1, lab.log().len()), (3, 3));
    assert!(
        view.blocks
            .iter()
            .any(|b| matches!(b, ViewBlock::Note(n) if n.contains("stopped after 3")))
    );
}

/// Requests a picture after every step.
#[derive(Default)]
struct Curious(Vec<Preview>);

impl Watch for Curious {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn wants_preview(&mut self, _last: bool) -> bool {
        true
    }
    fn preview(&mut self, preview: Preview) {
        self.0.push(preview);
    }
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

/// Weights by name, losses, and libtorch's next draw.
type Trained = (Vec<(String, Tensor)>, Vec<f64>, Tensor);

fn trained(watch: &mut dyn Watch) -> Trained {
    let (mut lab, _folder) = lab();
    run(&mut lab, "set tokenizer.train.quantize_after 2");
    run(&mut lab, "set tokenizer.train.steps 4");
    run(&mut lab, "show 1");
    lab.turn("train 8", watch).unwrap();
    let drawn = Tensor::rand([4], (Kind::Float, Device::Cpu));
    let named = |nets: &paella::networks::Networks| {
        let mut all: Vec<(String, Tensor)> = nets
            .all_vars()
            .into_iter()
            .flat_map(|(network, vars)| {
                vars.variables()
                    .into_iter()
                    .map(move |(name, xs)| (format!("{network}.{name}"), xs.copy()))
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let losses = lab.log().iter().map(|record| record.loss).collect();
    (lab.networks(named).unwrap(), losses, drawn)
}

#[test]
fn looking_on_changes_no_bit_of_what_is_trained() {
    let mut curious = Curious::default();
    let (with, without) = (trained(&mut curious), trained(&mut Quiet));
    assert_eq!(curious.0.len(), 8, "a picture after each step");
    assert!(curious.0[3].caption.contains("rebuilt after step 4"), "{}", curious.0[3].caption);
    assert!(curious.0[7].caption.contains("sampled after step 4"), "{}", curious.0[7].caption);
    let size = |i: usize| curious.0[i].image.dimensions();
    assert_eq!((size(3), size(7)), ((134, 66), (134, 32)), "two rows of four pictures, then one");
    assert_eq!(with.0.len(), without.0.len());
    for ((name, a), (other, b)) in with.0.iter().zip(&without.0) {
        assert!(name == other && a == b, "{name}");
    }
    assert_eq!((with.1, with.2), (without.1, without.2));
}

/// Requests a picture, and stops at the second check, while that picture is made.
#[derive(Default)]
struct Hasty {
    asked: std::cell::Cell<usize>,
    seen: usize,
}

impl Watch for Hasty {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn wants_preview(&mut self, _last: bool) -> bool {
        true
    }
    fn preview(&mut self, _preview: Preview) {
        self.seen += 1;
    }
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.asked.get() > 1
    }
}

#[test]
fn a_request_to_stop_ends_a_picture_too() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "train 61"); // 60 steps of the tokenizer
    let mut hasty = Hasty::default();
    lab.turn("train 9", &mut hasty).unwrap();
    assert_eq!((lab.log().len(), hasty.seen), (62, 0));
}

#[test]
fn a_token_grid_has_the_colours_of_its_codebook() {
    let (mut lab, _folder) = lab();
    let tokens = Tensor::zeros([1, 8, 8], (Kind::Int64, Device::Cpu));
    assert!(lab.colors_of(&tokens).is_none(), "no weights are read yet");
    run(&mut lab, "show 0");
    run(&mut lab, "encode");
    let size = lab.workspace().tokens.as_ref().unwrap().size();
    let tokens = Tensor::zeros(&size, (Kind::Int64, Device::Cpu));
    let codes = lab.settings().model.num_labels;
    assert_eq!(lab.colors_of(&tokens).unwrap().len() as i64, codes);
    assert!(lab.colors_of(&(&tokens + codes)).is_none() && lab.colors_of(&(&tokens - 1)).is_none());
    assert!(lab.colors_of(&tokens.narrow(1, 0, 2)).is_none(), "half a grid");
}

#[test]
fn a_failed_command_changes_nothing() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 1");
    for line in [
        "data emoji group=nothing",
        "set data.size 33",
        "load nowhere",
        "noise 2",
        "data emoji size=33",
    ] {
        assert!(lab.turn(line, &mut Quiet).is_err(), "{line}");
        assert_eq!(lab.settings().data.size, 32);
        assert_eq!(lab.workspace().picture().unwrap().index, Some(1));
    }
    assert!(run(&mut lab, "last_error").first_text().unwrap().contains("data.size"));
}

#[test]
fn completion_knows_commands_keys_settings_and_captions() {
    let (mut lab, _folder) = lab();
    assert_eq!(lab.complete("enc").words, ["encode "]);
    assert_eq!(lab.complete("sample x st").words, ["steps="]);
    assert_eq!(lab.complete("plot sch").words, ["schedule"]);
    assert!(lab.complete("set sample.te").words.contains(&"sample.temperature".to_string()));
    assert_eq!(lab.complete("set sample.steps ").words, ["12"]);
    assert_eq!(lab.complete("set sample.greedy t").words, ["true"]);
    assert_eq!(lab.complete("sample x greedy=f").words, ["greedy=false"]);
    let style = lab.data(Part::Train).unwrap().records[0].style.clone();
    let found = lab.complete(&format!("data emoji style=x,{}", &style[..1])).words;
    assert!(found.contains(&format!("style=x,{style}")), "{found:?}");
    assert!(lab.complete("save x").files && !lab.complete("noise ").files);
    let caption = lab.data(Part::Train).unwrap().captions(&[0]).remove(0);
    let half = caption.char_indices().nth(caption.chars().count() / 2).unwrap().0;
    let found = lab.complete(&format!("show \"{}", &caption[..half]));
    assert!(found.start == 5 && found.words.contains(&format!("\"{caption}\"")));
    for odd in ["", " ", "\"", "show \"", "show é", "=", "sample \u{1F363}", "set ", "help x y"] {
        let found = lab.complete(odd);
        assert!(odd.is_char_boundary(found.start), "{odd}");
    }
}

#[test]
fn a_model_survives_save_and_load() {
    let (mut lab, (folder, _turn)) = lab();
    run(&mut lab, "train 62");
    run(&mut lab, "sample apple steps=2 seed=5");
    let before = tokens(&lab);
    let model = folder.path().join("model").display().to_string();
    run(&mut lab, &format!("save \"{model}\""));
    run(&mut lab, &format!("load \"{model}\""));
    run(&mut lab, "sample apple steps=2 seed=5");
    assert_eq!(tokens(&lab), before);
    run(&mut lab, "undo");
    run(&mut lab, "undo"); // load
    assert_eq!(lab.status().0, "smoke");
}

#[test]
fn what_would_be_lost_or_not_read_is_known() {
    let (mut lab, (folder, _turn)) = lab();
    assert_eq!(lab.unsaved_steps(), 0);
    run(&mut lab, "train 2");
    assert_eq!(lab.unsaved_steps(), 2);
    run(&mut lab, &format!("save \"{}\"", folder.path().join("kept").display()));
    assert_eq!(lab.unsaved_steps(), 0);
    run(&mut lab, "train 1");
    assert_eq!(lab.unsaved_steps(), 3);
    let notes = |view: View| {
        let note = |block: &ViewBlock| match block {
            ViewBlock::Note(text) => {
                text.contains("the model reads the first 47 of the text's 60 bytes")
            }
            _ => false,
        };
        view.blocks.iter().filter(|block| note(block)).count()
    };
    assert_eq!(notes(run(&mut lab, &format!("sample {} steps=1", "a".repeat(60)))), 1);
    assert_eq!(notes(run(&mut lab, &format!("sample {} steps=1", "a".repeat(47)))), 0);
}

#[test]
fn bad_lines_are_errors_and_nothing_worse() {
    for line in crate::cli::BAD_LINES {
        let (mut lab, _folder) = lab();
        let result = lab.turn(line, &mut Quiet);
        let error = result.err().unwrap_or_else(|| panic!("{line} is taken"));
        assert!(!error.to_string().contains("internal error"), "{line}: {error}");
        assert!(error.faults().iter().all(|f| !f.what.is_empty()), "{line}");
    }
}

/// Panics at the second step.
struct Broken(usize);

impl Watch for Broken {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {
        self.0 += 1;
        assert!(self.0 < 2, "a fault of ours");
    }
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

#[test]
fn a_panic_is_an_error_and_the_session_goes_on() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 1");
    let error = lab.turn("train 3", &mut Broken(0)).err().unwrap();
    assert!(error.to_string().contains("internal error"), "{error}");
    assert_eq!((lab.status().1, lab.log().len()), (0, 0));
    assert_eq!(lab.workspace().picture().unwrap().index, Some(1));
    run(&mut lab, "train 2");
    assert_eq!(lab.status().1, 2);
}

/// A denoiser that records its inputs.
struct Recorder<'a> {
    model: &'a dyn Denoiser,
    asked: RefCell<Vec<(f64, usize)>>,
}

impl Denoiser for Recorder<'_> {
    fn logits(&self, tokens: &Tensor, t: &Tensor, cond: &Cond) -> Tensor {
        self.asked.borrow_mut().push((t.double_value(&[0]), tokens.size()[0] as usize));
        self.model.logits(tokens, t, cond)
    }
}

#[test]
fn sample_and_next_run_the_sampler_that_explain_shows() {
    let (mut lab, _folder) = lab();
    let request = SampleRequest {
        text: "a fox".into(),
        cfg_scale: Some((2.0, 1.0)),
        seed: Some(3),
        count: 2,
        ..SampleRequest::default()
    };
    let run = lab.walk(&request, &mut Quiet).unwrap();
    let (asked, path) = lab
        .networks(|nets| {
            let texts = vec!["a fox".to_string(); 2];
            let (cond, null) = (nets.condition(&texts), nets.null(2));
            let model = Recorder { model: &nets.denoiser, asked: RefCell::default() };
            let sampler = Sampler {
                model: &model,
                cond: &cond,
                null: &null,
                noise: &run.noise,
                chance: &PictureSeeds::new(&[3, 4], 0, false), // seed 3 and the next one
                region: None,
            };
            let path: Vec<Tensor> =
                sampler.passes(&run.noise, &run.schedule).map(|pass| pass.after).collect();
            (model.asked.take(), path)
        })
        .unwrap();
    assert_eq!(run.path.len(), path.len() + 1);
    assert!(run.path[1..].iter().zip(&path).all(|(lab, own)| **lab == *own));
    // the model was asked at the schedule's ratios, twice where guidance needs the empty text's guess too
    let guesses = run.schedule.iter().flat_map(|step| {
        let times = if step.cfg_scale == 1.0 { 1 } else { 2 };
        std::iter::repeat_n(step.t, times)
    });
    let guesses: Vec<f64> = guesses.collect();
    let ratios: Vec<f64> = asked.iter().map(|(t, _)| *t).collect();
    assert_eq!(ratios, guesses);
    // two evaluations per pass, with text and without; one if guidance is 1, as in the last pass
    assert_eq!(asked.len(), 2 * run.schedule.len() - 1);
    assert!(asked.iter().all(|(_, pictures)| *pictures == 2));
    lab.start(&request).unwrap();
    lab.next(100, &mut Quiet).unwrap();
    let walked = lab.workspace().sampling().unwrap();
    assert!(walked.path.iter().zip(&run.path).all(|(a, b)| **a == **b));
    let shown = run_explain(&lab);
    assert!(
        ["fn passes", "fn denoise", "fn guess", "fn draw", "fn renoise"]
            .iter()
            .all(|f| shown.contains(f))
    );
}

fn run_explain(lab: &Lab) -> String {
    format!("{:?}", lab.explain("sample").unwrap())
}
