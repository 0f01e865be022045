//! Texts, names and paths that users give: how they are read, and what is said of those that fit nothing.

use paella::data::{Part, Source};
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::{Quiet, Watch};
use paella::lab::{Lab, Origin};
use paella::metrics::StepRecord;
use paella::train::{self, RunOptions};
use std::path::Path;
use tch::Device;

use crate::lab::{lab, run};
use crate::train::exclusive;

fn notes(view: &View) -> Vec<&str> {
    let blocks = view.blocks.iter();
    blocks
        .filter_map(|block| match block {
            ViewBlock::Note(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

/// A session on a shipped model.
fn shipped() -> Lab {
    Lab::new(Origin::find("emoji-64").unwrap(), Device::Cpu).unwrap()
}

#[test]
fn a_text_is_read_as_the_training_captions_are_written() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let mut lab = shipped();
    lab.runs_in(folder.path());
    for (typed, read) in [
        ("Red APPLE, 3D emoji", "red apple, 3d emoji"),
        ("\"  red \t apple,  3d emoji \"", "red apple, 3d emoji"),
        ("\"red\x1b[31m apple\"", "red [31m apple"),
        ("\"\"", ""),
    ] {
        let view = run(&mut lab, &format!("start {typed}"));
        assert_eq!(lab.workspace().sampling().unwrap().text, read);
        let unknown = notes(&view).iter().any(|note| note.contains("is none of the"));
        assert_eq!(unknown, read.contains("31m"), "{typed}: {:?}", notes(&view));
    }
    let view = run(&mut lab, "start \"tiger fase, 3d emoji\"");
    let said = notes(&view).join("\n");
    assert!(said.contains("\"tiger fase, 3d emoji\" is none of the"), "{said}");
    assert!(said.contains("nearest: \"tiger, 3d emoji\", \"tiger, "), "{said}");
    run(&mut lab, "show red apple");
    run(&mut lab, "noise 0.5");
    let view = run(&mut lab, "predict TIGER");
    assert!(notes(&view).join("\n").contains("\"tiger\" is none of the"), "{:?}", notes(&view));
}

#[test]
fn a_model_of_own_pictures_knows_its_captions() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    crate::resume::pictures(&pictures);
    let mut config = crate::train::smoke(1, 1);
    (config.data.source, config.data.groups) = (Source::Folder(pictures.clone()), Vec::new());
    let out = Some(folder.path().join("out"));
    let options = RunOptions { out, ..RunOptions::default() };
    let model = train::run(&config, &options, &mut |_| true).unwrap().model.unwrap();
    std::fs::remove_dir_all(pictures).unwrap(); // the model alone knows
    let check = |model: &Path| {
        let captions = std::fs::read_to_string(model.join("learned-captions.txt")).unwrap();
        let known = captions.lines().next().unwrap().to_uppercase();
        let mut lab = Lab::new(Origin::Folder(model.into()), Device::Cpu).unwrap();
        lab.runs_in(folder.path());
        let view = run(&mut lab, &format!("sample {known} steps=1"));
        assert!(!notes(&view).iter().any(|note| note.contains("is none of")), "{view:?}");
        let view = run(&mut lab, "sample \"Picture x\" steps=1");
        let said = notes(&view).join("\n");
        assert!(said.contains("\"picture x\" is none of the"), "{said}");
        assert!(said.contains("nearest: \"picture "), "{said}");
        lab
    };
    let lab = check(&model);
    let copy = folder.path().join("copy");
    lab.save(&copy).unwrap();
    check(&copy);
}

#[test]
fn pictures_that_are_held_back_are_counted_and_shown() {
    let (mut lab, (folder, _turn)) = lab();
    let pictures = folder.path().join("my pics");
    crate::resume::pictures(&pictures);
    let view = run(&mut lab, &format!("data \"{}\" size=32", pictures.display()));
    let said = view.first_text().unwrap().to_string();
    let held = lab.data(Part::Val).unwrap().records.clone();
    let (trained, held_back) = (lab.data(Part::Train).unwrap().len(), held.len());
    let both = format!("{trained} pictures of 32 x 32 to train on, {held_back} held back");
    assert!(said.ends_with(&both), "{said}");
    let view = run(&mut lab, &format!("show {}", held[0].caption));
    assert!(notes(&view)[0].contains("held back"), "{:?}", notes(&view));
    assert_eq!(lab.workspace().picture().unwrap().caption, held[0].caption);
    let error = lab.turn("show nothing like it", &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("no caption begins with"), "{error}");
}

#[test]
fn an_untrained_model_knows_no_captions() {
    let (mut lab, _folder) = lab();
    let view = run(&mut lab, "start Anything");
    assert_eq!(lab.workspace().sampling().unwrap().text, "Anything");
    assert_eq!(notes(&view), ["`next` takes the first step"]);
}

#[test]
fn what_of_a_request_has_no_effect_is_said() {
    let (mut lab, _folder) = lab();
    let mut said = |line: &str| notes(&run(&mut lab, line)).join("\n");
    assert!(said("start x cfg=1 negative=y").contains("without guidance; `cfg=3`"));
    assert!(!said("start x cfg=2 negative=y").contains("effect"));
    assert!(said("set weights.clip Some(\"clip.pt\")").contains("without a CLIP"));
    said("undo");
    said("set sample.guided_steps 0");
    assert!(said("start x").contains("`set sample.guided_steps 12`"));
}

#[test]
fn near_misses_are_answered_with_what_was_meant() {
    let (mut lab, _folder) = lab();
    paella::course::join(&mut lab);
    run(&mut lab, "set data.limit None"); // all food and drink
    for (line, hint) in [
        ("sample x sedd=3", "did you mean `seed=3`?"),
        ("sample x tempreature=0.7..0.3", "did you mean `temperature=0.7..0.3`?"),
        ("load emoji64", "did you mean `emoji-64`?"),
        ("load configs/smok.ron", "did you mean `configs/smoke.ron`?"),
        ("load nowhere/smoke.ron", "there is no folder `nowhere`"),
        ("load asets/models/mine", "did you mean `assets`?"),
        ("load assets/model", "did you mean `assets/models`?"),
        ("explain nose", "did you mean `noise`?"),
        ("explain renose", "did you mean `renoise`?"),
        ("help smaple", "did you mean `sample`?"),
        ("set train.lr 1", "did you mean `train.optim.lr`?"),
        ("config sample.stpes", "did you mean `sample.steps`?"),
        ("set sample.steps=5", "`set sample.steps 5`"),
        ("set sample.steps = 5", "`set sample.steps 5`"),
        ("plot lss", "did you mean `loss`?"),
        ("data emojy", "did you mean `emoji`?"),
        ("data README.md", "`data .`"),
        ("data asets/emoji", "did you mean `assets`?"),
        ("data a.tar b.tar", "`data a.tar,b.tar`"),
        ("sample e=mc2 steps=1", "`sample \"e=mc2\" steps=1`"),
        ("show strawbery", "did you mean `strawberry`?"),
        ("show asets/none.png", "there is no folder `asets`"),
        ("show none.png", "no file of this name"),
        ("show assets/emoji", "name a file in it: `show \"assets/emoji/"),
        ("check hlaf", "did you mean `half`?"),
        ("save my model", "a name with blanks goes in quotes: `save \"my model\"`"),
    ] {
        let error = lab.turn(line, &mut Quiet).err().unwrap_or_else(|| panic!("{line} is taken"));
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
    // a text takes every word, so a remark is all there can be
    for line in ["sample a fox steps = 1 steps=1", "sample a fox steps:1 steps=1"] {
        let typed = line.trim_start_matches("sample a fox ").trim_end_matches(" steps=1");
        let said = format!("`{typed}` is part of the text; `steps=1` sets it");
        let view = run(&mut lab, line);
        assert!(notes(&view).contains(&said.as_str()), "{line}: {:?}", notes(&view));
    }
}

#[test]
fn a_setting_is_read_without_its_comment() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "set sample.steps 5  # five");
    assert_eq!(lab.settings().sample.steps, 5);
    run(&mut lab, "  set   sample.steps\t 4");
    assert_eq!(lab.settings().sample.steps, 4);
    run(&mut lab, "set name \"a  # b\"");
    assert_eq!(lab.settings().name, "a  # b");
    let said = format!("{:?}", run(&mut lab, "help"));
    assert!(said.contains("a line that begins with # is a comment"), "{said}");
}

#[test]
fn undo_takes_several_changes_back() {
    let (mut lab, _folder) = lab();
    for steps in [3, 4, 5] {
        run(&mut lab, &format!("set sample.steps {steps}"));
    }
    run(&mut lab, "undo 2");
    assert_eq!(lab.settings().sample.steps, 3);
    let view = run(&mut lab, "undo 5");
    assert_eq!(lab.settings().sample.steps, 12);
    assert!(notes(&view)[0].starts_with("1 of 5: "), "{:?}", notes(&view));
    assert!(lab.turn("undo 2", &mut Quiet).is_err());
}

/// Says no.
struct Unwilling(Vec<String>);

impl Watch for Unwilling {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn note(&mut self, _text: &str) {}
    fn confirm(&mut self, question: &str) -> bool {
        self.0.push(question.into());
        false
    }
    fn stop(&self) -> bool {
        false
    }
}

#[test]
fn what_save_and_export_replace_is_asked_and_said() {
    let (mut lab, (folder, _turn)) = lab();
    for (command, file) in [("save", "model"), ("export", "mine.ron")] {
        let line = format!("{command} \"{}\"", folder.path().join(file).display());
        assert!(!run(&mut lab, &line).first_text().unwrap().contains("in place of"));
        assert!(run(&mut lab, &line).first_text().unwrap().contains("in place of"));
        let mut unwilling = Unwilling(Vec::new());
        run(&mut lab, &format!("set name after-{command}"));
        let view = lab.turn(&line, &mut unwilling).unwrap().unwrap().view;
        assert!(view.first_text().unwrap().starts_with("not "), "{command}");
        assert!(unwilling.0[0].contains(file), "{:?}", unwilling.0);
    }
    let text = std::fs::read_to_string(folder.path().join("mine.ron")).unwrap();
    assert!(text.contains("after-save") && !text.contains("after-export"), "{text}");
    // single files of a model, whatever they are
    let ff = folder.path().join("ff");
    std::fs::create_dir(&ff).unwrap();
    std::fs::write(ff.join("tokenizer.safetensors"), "mine").unwrap();
    let mut unwilling = Unwilling(Vec::new());
    let line = format!("save \"{}\"", ff.display());
    let view = lab.turn(&line, &mut unwilling).unwrap().unwrap().view;
    assert!(view.first_text().unwrap().starts_with("not saved"), "{:?}", view.first_text());
    let asked = format!("tokenizer.safetensors in {} is there already", ff.display());
    assert!(unwilling.0[0].contains(&asked), "{:?}", unwilling.0);
    assert_eq!(std::fs::read(ff.join("tokenizer.safetensors")).unwrap(), b"mine");
    assert!(!ff.join("config.ron").exists());
    let said = run(&mut lab, &line);
    assert!(
        said.first_text().unwrap().contains("in place of tokenizer.safetensors that was there")
    );
}

#[test]
fn the_step_that_changes_nothing_says_so() {
    let (mut lab, _folder) = lab();
    let view = run(&mut lab, "step 2");
    assert!(notes(&view)[0].contains("step 1 has the learning rate 0"), "{:?}", notes(&view));
    assert!(notes(&run(&mut lab, "step 2")).is_empty());
}

#[test]
fn a_kept_training_goes_on_as_if_nothing_had_been() {
    let (mut lab, (folder, _turn)) = lab();
    let kept = folder.path().join("kept.of/04-train");
    run(&mut lab, "set tokenizer.train.steps 4");
    for steps in [3, 4] {
        run(&mut lab, &format!("train {steps}")); // within the tokenizer, then within the denoiser
        lab.keep_training(&kept).unwrap();
        run(&mut lab, "train 3");
        let mut other = Lab::new(Origin::find("configs/smoke.ron").unwrap(), Device::Cpu).unwrap();
        assert!(other.resume_training(&folder.path().join("nothing")).is_err());
        assert_eq!(other.resume_training(&kept).unwrap(), lab.status().1 - 3);
        run(&mut other, "train 3");
        let losses =
            |lab: &Lab| lab.log().iter().map(|r| (r.phase.clone(), r.loss)).collect::<Vec<_>>();
        assert_eq!(losses(&other), losses(&lab));
        assert_eq!((other.status(), other.settings()), (lab.status(), lab.settings()));
    }
    let beside = std::fs::read_dir(kept.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "nothing half-written stays");
}
