//! Edits of a picture: what is not sampled stays bit for bit, at the prompt as in the library.

use super::lab::{lab, run};
use paella::lab::edit::{Area, Edit, Side};
use paella::lab::seam::SeamLoss;
use paella::lab::view::{View, ViewBlock};
use paella::lab::watch::{Quiet, Watch};
use paella::lab::{Lab, Origin, SampleRequest};
use paella::metrics::StepRecord;
use tch::{Device, Kind, Tensor};

fn request(edit: Edit) -> SampleRequest {
    SampleRequest {
        edit: Some(edit),
        steps: Some(3),
        seed: Some(5),
        count: 1,
        ..SampleRequest::default()
    }
}

/// Tokens of the current picture, and its pixels.
fn hand(lab: &Lab) -> (Tensor, Tensor) {
    let workspace = lab.workspace();
    (workspace.tokens.as_ref().unwrap().copy(), workspace.picture().unwrap().images.copy())
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.equal(b)
}

/// The sheet of three pictures (3, 3, H, W).
fn image_of(images: &Tensor) -> image::RgbImage {
    paella::image::square_grid(&paella::image::all_from_tensor(images), 2)
}

#[test]
fn inpainting_keeps_what_is_outside_of_the_area() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    run(&mut lab, "encode");
    let (tokens, images) = hand(&lab);
    let (w, f) = (tokens.size()[2], images.size()[3] / tokens.size()[2]);
    let request = SampleRequest { count: 3, ..request(Edit::Inpaint(Area::Half(Side::Right))) };
    let drawn = lab.walk(&request, &mut Quiet).unwrap();
    let last = drawn.path.last().unwrap();
    let left = |xs: &Tensor, size: i64| xs.narrow(-1, 0, size);
    for k in 0..3 {
        assert!(same(&left(&last.get(k), w / 2), &left(&tokens.get(0), w / 2)), "picture {k}");
        assert!(!same(&last.get(k), &tokens.get(0)), "picture {k} changed");
    }
    // pixels: the decoder looks beyond a token, so they stay only where that is asked for
    let kept = SampleRequest { keep_pixels: true, ..request.clone() };
    let drawn = lab.walk(&kept, &mut Quiet).unwrap();
    let made = lab.images(&drawn).unwrap();
    assert!(same(&left(&made.get(1), w / 2 * f), &left(&images.get(0), w / 2 * f)));
    assert!(!same(&made.get(1), &images.get(0)));
    let film = lab.frames(&drawn).unwrap();
    assert_eq!(film.last().unwrap(), &image_of(&made), "a film ends in the picture");
    // every pass keeps them, also the start
    assert!(
        drawn.path.iter().all(|xs| same(&left(&xs.get(0), w / 2), &left(&tokens.get(0), w / 2)))
    );
}

#[test]
fn a_mask_picture_and_a_circle_name_areas() {
    let (mut lab, (folder, _turn)) = lab();
    run(&mut lab, "show 0");
    let mask = folder.path().join("my mask.png");
    let white = |x: u32, y: u32| image::Luma([if x < 4 && y < 4 { 255u8 } else { 0 }]);
    image::GrayImage::from_fn(8, 8, white).save(&mask).unwrap();
    let view = run(&mut lab, &format!("inpaint area=\"{}\" steps=2 seed=1", mask.display()));
    let ViewBlock::Picture { caption, .. } = &view.blocks[0] else { panic!("{view:?}") };
    assert!(caption.starts_with("grey: 16 of 64 tokens"), "{caption}");
    let circle = run(&mut lab, "inpaint area=0,0,3 steps=2 seed=1");
    let ViewBlock::Picture { caption, .. } = &circle.blocks[0] else { panic!("{circle:?}") };
    assert!(caption.starts_with("grey: 1 of 64 tokens"), "{caption}");
    for (line, what) in [
        ("inpaint area=900,900,3", "is in the area"),
        ("inpaint area=nowhere.png", "there is no file"),
        ("inpaint area=sideways", "no area"),
        ("start x area=left strength=0.5", "one edit at a time"),
        ("inpaint keep=frame", "cannot keep"),
        ("start x by=16", "`by` without a side"),
        ("start x keep=pixels", "`keep` without an area"),
        ("start x strength=0.5 keep=pixels", "`keep` without an area"),
    ] {
        let error = lab.turn(line, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("hint: "), "{line}: {error}");
    }
}

#[test]
fn outpainting_again_and_again_makes_a_panorama() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    run(&mut lab, "encode");
    let (first, images) = hand(&lab);
    let (h, w) = (first.size()[1], first.size()[2]);
    run(&mut lab, "outpaint side=right by=16 steps=2 seed=1");
    let (second, wider) = hand(&lab);
    assert_eq!(wider.size()[3], images.size()[3] + 16);
    assert!(same(&second.narrow(2, 0, w), &first));
    run(&mut lab, "outpaint side=top by=16 steps=2 seed=1");
    let (third, higher) = hand(&lab);
    assert_eq!(higher.size()[2..], [images.size()[2] + 16, images.size()[3] + 16]);
    assert!(same(&third.narrow(1, third.size()[1] - h, h), &second));
    let error = lab.turn("outpaint by=7", &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("cannot grow by 7 pixels") && error.contains("by=8: "), "{error}");
    run(&mut lab, "undo");
    assert!(same(&hand(&lab).0, &second));
}

#[test]
fn an_edit_starts_from_the_picture_under_its_share_of_noise() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    run(&mut lab, "encode");
    let (tokens, _) = hand(&lab);
    let kept = |share: f64| {
        let run = lab.walk(&request(Edit::Renoise(share)), &mut Quiet);
        let run = run.unwrap();
        assert!(
            (run.schedule[0].t - share).abs() < 1e-6,
            "the schedule begins at the noise that is there"
        );
        run.path[0].eq_tensor(&tokens).to_kind(Kind::Float).mean(Kind::Float).double_value(&[])
    };
    let mut kept = kept;
    // 64 tokens: 5 sigma of a share of 0.2 or 0.8 are 0.25; a code may be drawn again
    assert!((kept(0.2) - 0.8).abs() < 0.25);
    assert!((kept(0.8) - 0.2).abs() < 0.25);
    assert!(kept(1.0) < 0.2);
    assert!(lab.walk(&request(Edit::Renoise(f64::NAN)), &mut Quiet).is_err());
}

#[test]
fn morphing_begins_with_one_text_and_ends_with_the_other() {
    let (mut lab, _folder) = lab();
    let way = lab.networks(|nets| {
        let texts = ["red fox".to_string(), "old cat".to_string()];
        let both = nets.encode_text(&texts);
        (both.byt5.copy(), both.between(5).byt5)
    });
    let (ends, all) = way.unwrap();
    assert_eq!(all.size()[0], 5);
    assert!(same(&all.get(0), &ends.get(0)));
    assert!((all.get(4) - ends.get(1)).abs().max().double_value(&[]) < 1e-6);
    let middle = (ends.get(0) + ends.get(1)) / 2.0;
    assert!((all.get(2) - middle).abs().max().double_value(&[]) < 1e-6);
    let to = Some("old cat".to_string());
    let request = SampleRequest {
        text: "red fox".into(),
        to,
        count: 5,
        seed: Some(9),
        steps: Some(2),
        ..SampleRequest::default()
    };
    let drawn = lab.walk(&request, &mut Quiet).unwrap();
    assert_eq!(drawn.seeds(), [9; 5]);
    assert!((1..5).all(|k| same(&drawn.noise.get(k), &drawn.noise.get(0))), "one noise for all");
    run(&mut lab, "morph \"red fox\" to=\"old cat\" frames=3 steps=2");
    assert!(lab.turn("morph \"red fox\"", &mut Quiet).is_err());
}

#[test]
fn pictures_of_another_size_and_the_nearest_where_there_is_none() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "sample \"a fox\" size=48x32 steps=2 seed=1");
    assert_eq!(hand(&lab).1.size(), [1, 3, 32, 48]);
    for (size, what) in [
        ("50x32", "the nearest is 48x32"),
        ("0x32", "the nearest is"),
        ("9999999x32", "the nearest is 2048x32"),
        ("wide", "no size"),
    ] {
        let error =
            lab.turn(&format!("sample \"a fox\" size={size}"), &mut Quiet).unwrap_err().to_string();
        assert!(error.contains(what), "{size}: {error}");
    }
}

#[test]
fn an_edit_can_be_walked_step_by_step() {
    let (mut lab, _folder) = lab();
    run(&mut lab, "show 0");
    run(&mut lab, "encode");
    let (tokens, _) = hand(&lab);
    run(&mut lab, "start \"a fox\" area=left steps=3 seed=2");
    run(&mut lab, "next");
    run(&mut lab, "back");
    run(&mut lab, "next 3");
    let walked = hand(&lab).0;
    run(&mut lab, "show 0");
    run(&mut lab, "inpaint \"a fox\" area=left steps=3 seed=2");
    assert!(same(&hand(&lab).0, &walked), "all at once and step by step");
    let w = tokens.size()[2];
    assert!(same(&walked.narrow(2, w / 2, w / 2), &tokens.narrow(2, w / 2, w / 2)));
}

#[test]
fn a_seam_costs_more_where_two_pictures_meet() {
    let (_lab, (_folder, _turn)) = lab();
    let mut lab = Lab::new(Origin::find("emoji-64").unwrap(), Device::Cpu).unwrap();
    run(&mut lab, "show red apple");
    run(&mut lab, "encode");
    let apple = hand(&lab).0;
    run(&mut lab, "show tiger face");
    run(&mut lab, "encode");
    let tiger = hand(&lab).0;
    let (h, w) = (apple.size()[1], apple.size()[2]);
    let right = Tensor::arange(w, (Kind::Int64, Device::Cpu)).ge(w / 2).expand([1, h, w], false);
    let cut = tiger.where_self(&right, &apple); // (1, h, w)
    let cost = |tokens: &Tensor, mask: &Tensor| {
        lab.networks(|nets| SeamLoss::of(nets, tokens, mask, &nets.null(1))).unwrap()
    };
    let (whole, seen) = (cost(&apple, &right).unwrap(), cost(&cut, &right).unwrap());
    assert!(seen.seam > whole.seam + 1.0, "{whole:?}, {seen:?}");
    assert!(seen.seam > seen.kept.unwrap() + 1.0, "{seen:?}");
    // a mask whose edge lies away from the cut does not find it
    let quarter = Tensor::arange(w, (Kind::Int64, Device::Cpu)).lt(w / 4).expand([1, h, w], false);
    assert!(cost(&cut, &quarter).unwrap().seam < seen.seam - 0.5);
    assert_eq!(cost(&apple, &right), Some(whole), "the same draws every time");
    let corner = Tensor::zeros_like(&right);
    let _ = corner.narrow(1, 0, 1).narrow(2, 0, 1).fill_(1);
    let corner = cost(&apple, &corner).unwrap();
    assert_eq!(
        (corner.sampled, corner.kept.is_some()),
        (None, true),
        "one token touches the others"
    );
    assert_eq!(cost(&apple, &Tensor::ones_like(&right)), None, "nothing is kept");
    // it is said once a run is at its end, at once or step by step
    run(&mut lab, "show red apple");
    let said = |view: &View| {
        let notes = view.blocks.iter().cloned().filter_map(ViewBlock::into_note);
        notes.filter(|note| note.contains("nats at the seam")).count() == 1
    };
    assert!(said(&run(&mut lab, "outpaint right by=16 steps=2 seed=1")));
    run(&mut lab, "show red apple");
    assert!(!said(&run(&mut lab, "start \"red apple\" area=left steps=2 seed=1")));
    assert!(!said(&run(&mut lab, "next")));
    assert!(said(&run(&mut lab, "next")));
    assert!(!said(&run(&mut lab, "edit strength=0.5 steps=2 seed=1")), "all of it is sampled");
}

/// Notes what comes first, and shows what an edit begins with if it is told to.
#[derive(Default)]
struct Onlooker {
    shows: bool,
    seen: Vec<String>,
}

impl Watch for Onlooker {
    fn record(&mut self, _record: &StepRecord, _progress: Option<(u64, u64)>) {}
    fn begins(&mut self, view: &View) -> bool {
        let ViewBlock::Picture { caption, .. } = &view.blocks[0] else { panic!("{view:?}") };
        self.seen.push(caption.clone());
        self.shows
    }
    fn pass(&mut self, done: usize, _total: usize) {
        self.seen.push(format!("pass {done}"));
    }
    fn note(&mut self, _text: &str) {}
    fn stop(&self) -> bool {
        false
    }
}

#[test]
fn what_is_sampled_is_shown_before_the_first_pass_and_once() {
    let (mut lab, _folder) = lab();
    for shows in [true, false] {
        run(&mut lab, "show 0");
        let mut onlooker = Onlooker { shows, ..Onlooker::default() };
        let reply = lab.turn("inpaint area=left steps=2 seed=1", &mut onlooker).unwrap().unwrap();
        assert!(onlooker.seen[0].starts_with("grey: 32 of 64 tokens"), "{:?}", onlooker.seen);
        assert_eq!(onlooker.seen[1..], ["pass 1", "pass 2"]);
        let new = |block: &&ViewBlock| matches!(block, ViewBlock::Picture { shown: false, .. });
        let pictures = reply.view.blocks.iter().filter(new);
        assert_eq!(
            pictures.count(),
            if shows { 1 } else { 2 },
            "a face that shows nothing gets it in the end"
        );
    }
    let mut onlooker = Onlooker::default();
    lab.turn("sample a fox steps=1 seed=1", &mut onlooker).unwrap();
    assert_eq!(onlooker.seen, ["pass 1"], "no edit");
}

#[test]
fn the_film_of_a_way_is_its_pictures() {
    let (mut lab, _folder) = lab();
    let request = SampleRequest {
        text: "a fox".into(),
        to: Some("a cat".into()),
        count: 5,
        edit: None,
        ..request(Edit::Renoise(0.5))
    };
    let way = lab.walk(&request, &mut Quiet).unwrap();
    let pictures = paella::image::all_from_tensor(&lab.images(&way).unwrap());
    assert!(lab.frames(&way).unwrap() == pictures && pictures.len() == 5);
    let long = "b".repeat(300);
    let notes = run(&mut lab, &format!("morph \"a fox\" to=\"{long}\" frames=2 steps=1 seed=1"));
    let notes: Vec<String> = notes.blocks.into_iter().filter_map(ViewBlock::into_note).collect();
    assert!(notes.iter().any(|note| note.contains("bytes")), "the second text is cut: {notes:?}");
}
