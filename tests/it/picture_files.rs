//! Pictures from files: which part is read, at which size, and that it is said; and pictures written at the prompt.

use crate::cli::{Workspace, smoke, text};
use crate::lab::{lab, run};
use crate::vary::lab_with_clip;
use image::{Rgb, RgbImage};
use paella::lab::Lab;
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::Quiet;
use std::path::{Path, PathBuf};

/// A picture whose left third is red, whose right third is blue, and whose middle is white.
fn striped(folder: &Path, w: u32, h: u32) -> PathBuf {
    let file = folder.join(format!("{w}x{h}.png"));
    let colour = |x: u32| [[220, 20, 20], [255; 3], [20, 20, 220]][(3 * x / w) as usize];
    RgbImage::from_fn(w, h, |x, _| Rgb(colour(x))).save(&file).unwrap();
    file
}

fn notes(view: &View) -> String {
    let note = |block: &ViewBlock| block.clone().into_note();
    view.blocks.iter().filter_map(note).collect::<Vec<_>>().join("\n")
}

/// Height and width of the picture in hand.
fn sides(lab: &Lab) -> (i64, i64) {
    let size = lab.workspace().picture().unwrap().images.size();
    (size[2], size[3])
}

#[test]
fn a_picture_of_the_models_size_is_read_whole_and_others_in_part() {
    let (mut lab, (folder, _turn)) = lab();
    let mut show = |file: &Path, more: &str| {
        let view = run(&mut lab, &format!("show \"{}\"{more}", file.display()));
        (sides(&lab), notes(&view))
    };
    let file = |w: u32, h: u32| striped(folder.path(), w, h);
    // the smoke model makes pictures of 32 pixels, in steps of 8
    for (w, h) in [(32, 32), (48, 32), (32, 72)] {
        assert_eq!(show(&file(w, h), ""), ((h.into(), w.into()), String::new()));
    }
    let (size, said) = show(&file(96, 96), "");
    assert!(
        size == (32, 32) && said == "96x96.png, of 96 x 96 pixels, is read as 32 x 32",
        "{said}"
    );
    for (w, h) in [(96, 48), (50, 32)] {
        let (size, said) = show(&file(w, h), "");
        let wanted = format!("{w}x{h}.png: the middle of {w} x {h} pixels is read, as 32 x 32");
        assert!(size == (32, 32) && said == wanted, "{said}");
    }
    let (size, said) = show(&file(96, 48), " size=48x24");
    assert!(
        size == (24, 48) && said == "96x48.png, of 96 x 48 pixels, is read as 48 x 24",
        "{said}"
    );
    for (line, what) in [
        (format!("show \"{}\" size=50x32", file(96, 48).display()), "the nearest is 48x32"),
        ("show nowhere.png size=48x32".into(), "there is no file"),
        ("show 0 size=48x32".into(), "for a picture in a file"),
        ("show size=48x32".into(), "for a picture in a file"),
    ] {
        let error = lab.turn(&line, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(what), "{line}: {error}");
    }
}

#[test]
fn a_mask_lies_where_it_lies_on_the_file_it_was_drawn_for() {
    let (mut lab, (folder, _turn)) = lab();
    let mask = |w: u32, h: u32, white: fn(u32) -> bool| {
        let file = folder.path().join(format!("mask-{w}x{h}.png"));
        let pixel = |x: u32, _| image::Luma([if white(x) { 255u8 } else { 0 }]);
        image::GrayImage::from_fn(w, h, pixel).save(&file).unwrap();
        file.display().to_string()
    };
    // the middle of 64 x 32 is read, pixels 16 to 48: white from 40 on are the last 8 of 32, 2 of 8 columns of tokens
    run(&mut lab, &format!("show \"{}\"", striped(folder.path(), 64, 32).display()));
    assert_eq!(sides(&lab), (32, 64), "its shorter side fits: it is read whole");
    run(&mut lab, &format!("show \"{}\" size=32x32", striped(folder.path(), 64, 32).display()));
    let view =
        run(&mut lab, &format!("inpaint area=\"{}\" steps=1 seed=1", mask(64, 32, |x| x >= 40)));
    let ViewBlock::Picture { caption, .. } = &view.blocks[0] else { panic!("{view:?}") };
    assert!(caption.starts_with("grey: 16 of 64 tokens"), "{caption}");
    assert!(notes(&view).contains("of the mask's 64 x 32 pixels the middle 32 x 32 are used"));
    // what is cut off is not stretched over the rest
    let all_cut = format!("inpaint area=\"{}\" steps=1", mask(80, 32, |x| x >= 60));
    let error = lab.turn(&all_cut, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("no pixel of the picture"), "{error}");
    std::fs::write(folder.path().join("empty.pgm"), "P2 0 4 255 ").unwrap();
    let empty = format!("inpaint area=\"{}\"", folder.path().join("empty.pgm").display());
    assert!(lab.turn(&empty, &mut Quiet).is_err(), "a mask without a pixel");
    let view = run(&mut lab, &format!("inpaint area=\"{}\" steps=1", mask(8, 8, |x| x < 4)));
    assert!(!notes(&view).contains("of the mask's"), "nothing of it is cut: {view:?}");
}

#[test]
fn the_program_continues_a_wide_picture_and_says_what_it_reads() {
    let workspace = Workspace::new();
    let smoke = smoke();
    let file = striped(workspace.file("").as_path(), 48, 32).display().to_string();
    let big = striped(workspace.file("").as_path(), 96, 64).display().to_string();
    let wider = |image: &str, more: &[&str]| {
        let args = ["sample", "a fox", "--steps", "1", "--model", &smoke, "--outpaint", "right"];
        let all = [&args[..], &["--out", "wider.png", "--image", image], more].concat();
        let output = workspace.run(&all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let size = image::image_dimensions(workspace.file("wider.png")).unwrap();
        (size, text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(wider(&file, &[]).0, (64, 32));
    let (size, said) = wider(&big, &[]);
    assert!(size == (48, 32) && said.contains("the middle of 96 x 64 pixels"), "{said}");
    let (size, said) = wider(&big, &["--size", "48x32"]);
    assert!(size == (64, 32) && said.contains("of 96 x 64 pixels, is read as 48 x 32"), "{said}");
}

#[test]
fn clip_reads_the_middle_square_of_a_wide_picture_and_says_so() {
    let (mut lab, (folder, _turn)) = lab_with_clip();
    let wide = striped(folder.path(), 64, 32);
    let view = run(&mut lab, &format!("vary \"{}\" steps=1", wide.display()));
    assert!(notes(&view).contains("of 64 x 32 pixels the middle square is read"), "{view:?}");
}

#[test]
fn the_prompt_writes_the_picture_its_film_and_a_list() {
    let (mut lab, (folder, _turn)) = lab();
    let file = |name: &str| folder.path().join(name);
    let line = |name: &str| format!("save \"{}\"", file(name).display());
    // neither a picture of the data set, nor a run without a step, nor another picture than that of the run
    for before in ["show 0", "start a fox steps=2", "next", "show 1"] {
        run(&mut lab, before);
        let saved = lab.turn(&line("film.gif"), &mut Quiet);
        let error = saved.err().map_or(String::new(), |error| error.to_string());
        assert_eq!(error.contains("no film of it"), before != "next", "{before}: {error}");
    }
    run(&mut lab, "sample a fox steps=3 seed=1");
    run(&mut lab, &line("fox.png"));
    let picture = &lab.workspace().picture().unwrap().images.get(0);
    assert!(paella::image::load(&file("fox.png")).unwrap() == paella::image::from_tensor(picture));
    let view = run(&mut lab, &line("film.gif"));
    assert!(view.first_text().unwrap().starts_with("film of 4 frames"), "{view:?}");
    assert!(std::fs::read(file("film.gif")).unwrap().starts_with(b"GIF89a"));
    std::fs::write(file("captions.txt"), "a fox\n# none\na cat\n").unwrap();
    let list = format!("list \"{}\" steps=1 seed=4", file("captions.txt").display());
    for odd in [list.clone(), format!("{list} out=\"\"")] {
        let missing = lab.turn(&odd, &mut Quiet).unwrap_err().to_string();
        assert!(missing.contains("out=DIR"), "{missing}");
    }
    let folder = lab.turn("list . out=made", &mut Quiet).unwrap_err().to_string();
    assert!(folder.contains("`list ./FILE out=DIR`"), "{folder}");
    let view = run(&mut lab, &format!("{list} out=\"{}\"", file("made").display()));
    assert!(view.first_text().unwrap().contains("2 made"), "{view:?}");
    assert!(file("made/00001.png").is_file() && file("made/00002.png").is_file());
}

#[test]
fn a_way_between_texts_is_walked_step_by_step() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "morph \"a fox\" to=\"a cat\" frames=3 steps=2 seed=1");
    let whole = lab.workspace().run().unwrap().path.last().unwrap().copy();
    run(&mut lab, "start a fox to=\"a cat\" frames=3 steps=2 seed=1");
    let view = run(&mut lab, "next 2");
    assert!(notes(&view).contains("last step"), "{view:?}");
    let stepped = lab.workspace().sampling().unwrap().path.last().unwrap().copy();
    assert_eq!(stepped.size()[0], 3);
    assert!(stepped.equal(&whole), "all at once and step by step");
    assert_eq!(lab.workspace().picture().unwrap().images.size()[0], 1, "the first is in hand");
    for line in ["start a fox frames=3", "start a fox to=\"a cat\" area=left"] {
        assert!(lab.turn(line, &mut Quiet).is_err(), "{line}");
    }
}
