//! Checks that concern several parts of a config together. Checks of a single part are in that part's module.

use super::run::{ClipStageConfig, PriorStageConfig, RunConfig, STAGES};
use crate::checkpoint::Phase;
use crate::error::counted;
use crate::tokens::lpips;
use ron_faults::{Checks, Fault};

/// The longest name of a run, in bytes. Folders may have 255, and some add to the name while they write.
const LONGEST_NAME: usize = 200;

const IN_16_BITS: &str = "weights in 16 bits cannot be trained";
const FROZEN: &str = "`false`, or no such stage; `train.precision.bf16` computes in 16 bits";

/// The fault of weights that are kept in 16 bits, but are to be trained.
pub fn frozen(place: &str) -> Fault {
    Fault { what: IN_16_BITS.into(), place: place.into(), hint: FROZEN.into() }
}

/// Whether a text is the name of one folder, without a path to another place. Blanks at its ends and control characters are
/// not seen where it is printed.
pub fn is_name(name: &str) -> bool {
    let mut parts = std::path::Path::new(name).components();
    let plain = matches!(parts.next(), Some(std::path::Component::Normal(_)));
    let seen = name.trim() == name && !name.contains(char::is_control);
    plain && parts.next().is_none() && !name.contains('/') && seen && name.len() <= LONGEST_NAME
}

impl RunConfig {
    /// Checks the values. Returns all faults, each with its field as the place. Empty if it can be used.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        let hint = "one folder below runs/, such as emoji-32";
        match self.name.len() {
            n if n > LONGEST_NAME => {
                let what = format!("the name has {n} bytes, at most {LONGEST_NAME} are possible");
                found.unless(false, "name", what, hint);
            }
            n => {
                let what = format!("`{}` is a path, or no name", self.name.escape_debug());
                found.unless(n == 0 || is_name(&self.name), "name", what, hint);
            }
        }
        self.check_data(&mut found);
        self.check_tokenizer(&mut found);
        self.check_text(&mut found);
        self.check_clip(&mut found);
        self.check_prior(&mut found);
        found.part("model", self.model.check());
        found.part("train", self.train.check(self.model.levels.len()));
        found.part("dist", self.dist.check());
        found.part("eval", self.eval.check(self.data.size));
        found.part("sample", self.sample.check());
        self.check_stages(&mut found);
        found.faults()
    }

    /// Checks that picture size, token grid and patches divide each other.
    fn check_data(&self, found: &mut Checks) {
        let (factor, size) = (self.tokenizer.model.factor(), self.data.size);
        found.part("data", self.data.check());
        let grid = size / factor;
        let needs =
            self.model.patch_size.clamp(1, 64) << self.model.levels.len().saturating_sub(1).min(16);
        let unit = factor * needs;
        // `factor` is clamped: with levels that are refused it says nothing of the size
        let possible = (1..=8).contains(&self.tokenizer.model.levels);
        let above = (size.clamp(0, 4096) / unit + 1) * unit;
        let fits = match above - unit {
            0 => format!("{above} pixels"),
            below => format!("{below} or {above} pixels"),
        };
        found.unless(
            !possible || (size % factor == 0 && grid % needs == 0),
            "data.size",
            format!("{size} pixels are {grid} tokens a side, which {needs} (patch_size x 2 per level) does not divide"),
            &format!("{fits}, or fewer levels"),
        );
        if let Some(stream) = &self.data.stream {
            found.part("data.stream", stream.check(self.train.global_batch));
        }
    }

    fn check_tokenizer(&self, found: &mut Checks) {
        let model = &self.tokenizer.model;
        found.part("tokenizer.model", model.check());
        found.part("tokenizer.train", self.tokenizer.train.check());
        if let Some(adversary) = &self.tokenizer.train.adversary {
            found.part("tokenizer.train.adversary", adversary.check(self.data.size));
        }
        self.check_perceptual(found);
        found.unless(
            model.codebook_size == self.model.num_labels,
            "model.num_labels",
            format!(
                "{} for a codebook of {}",
                counted(self.model.num_labels, "label"),
                model.codebook_size
            ),
            "make both the same",
        );
    }

    /// Checks that LPIPS has its weights where the tokenizer's training asks for it, and only there.
    fn check_perceptual(&self, found: &mut Checks) {
        if !self.to_train().contains(&Phase::Tokenizer) {
            return;
        }
        let (asked, weights) = (self.tokenizer.train.perceptual > 0.0, &self.weights);
        let (what, hint) = match asked {
            true => {
                ("no file, but `tokenizer.train.perceptual` needs it", "a file, or `perceptual: 0`")
            }
            false => {
                ("a file, but `tokenizer.train.perceptual` is 0", "`perceptual: 1`, or no file")
            }
        };
        for (field, given) in [("weights.vgg", &weights.vgg), ("weights.lpips", &weights.lpips)] {
            found.unless(asked == given.is_some(), field, what, hint);
        }
        let what = format!("pictures of {} pixels are too small for VGG", self.data.size);
        let fits = !asked || self.data.size >= lpips::SMALLEST;
        found.unless(fits, "data.size", what, &format!("at least {}", lpips::SMALLEST));
    }

    fn check_text(&self, found: &mut Checks) {
        found.part("text", self.text.check());
        found.unless(
            self.text.d_model == self.model.byt5_embd,
            "model.byt5_embd",
            format!("{} for text vectors of width {}", self.model.byt5_embd, self.text.d_model),
            "make it `text.d_model`",
        );
        let trained = self.train.train_text && !self.stages.is_empty();
        found.unless(!(self.text.bf16 && trained), "text.bf16", IN_16_BITS, FROZEN);
    }

    fn check_clip(&self, found: &mut Checks) {
        let Some(ClipStageConfig { model, train }) = &self.clip else {
            let shares = self.train.clip_text > 0.0 || self.train.clip_image > 0.0;
            let what = "`train.clip_text`, `train.clip_image`, `weights.clip` or a stage `Clip` without a CLIP";
            let fine = !shares && self.weights.clip.is_none();
            let fine = fine && !self.stages.contains(&Phase::Clip);
            found.unless(fine, "clip", what, "`clip: ()` is CLIP ViT-H-14");
            return;
        };
        found.part("clip.model", model.check());
        found.part("clip.train", train.check());
        let trained = self.to_train().contains(&Phase::Clip);
        found.unless(!trained || !model.bf16, "clip.model.bf16", IN_16_BITS, FROZEN);
        let width = self.model.clip_embd;
        let what = format!("{width} for CLIP vectors of width {}", model.embed_dim);
        let fine = model.embed_dim == width && width > 0;
        found.unless(fine, "model.clip_embd", what, "make it `clip.model.embed_dim`");
    }

    fn check_prior(&self, found: &mut Checks) {
        let trained = self.stages.contains(&Phase::Prior);
        let given = self.weights.prior.is_some();
        let Some(PriorStageConfig { model, train, sample }) = &self.prior else {
            let what = "a prior is to be trained or given, but there is none";
            found.unless(!trained && !given, "prior", what, "`prior: ()` is the published one");
            return;
        };
        let what = "a prior that is neither trained nor given";
        // without stages it is a model, whose folder has its prior
        let there = trained || given || self.stages.is_empty();
        found.unless(there, "stages", what, "add Prior, or set `weights.prior`");
        let width = self.clip.as_ref().map_or(0, |clip| clip.model.embed_dim);
        let what = format!("{} for CLIP vectors of width {width}", model.clip_r);
        found.unless(
            model.clip_r == width,
            "prior.model.clip_r",
            what,
            "make it `clip.model.embed_dim`",
        );
        let trains = self.to_train().contains(&Phase::Prior);
        found.unless(!trains || !model.bf16, "prior.model.bf16", IN_16_BITS, FROZEN);
        found.part("prior.model", model.check());
        found.part("prior.train", train.check());
        found.part("prior.sample", sample.check());
    }

    fn check_stages(&self, found: &mut Checks) {
        let rising = self.stages.windows(2).all(|pair| pair[0] < pair[1]);
        found.unless(rising, "stages", "not in order", STAGES);
        let trained = self.stages.contains(&Phase::Denoiser);
        found.unless(!trained || !self.model.bf16, "model.bf16", IN_16_BITS, FROZEN);
    }
}
