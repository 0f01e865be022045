//! What can be wrong with a config though it is well formed: everything is looked at before anything runs.

use super::run::{PriorStageConfig, RunConfig};
use crate::checkpoint::Phase;
use crate::model::Block;
use crate::optim::OptimConfig;
use crate::recipe::NoiseRatio;
use crate::tokens::pieces::VOCABULARY;

/// A fault of a value that is well formed: field, what is wrong, what to do.
type Finding = (String, String, String);

impl RunConfig {
    /// Everything that is wrong though well formed. Empty for a config that can run.
    pub fn check(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        self.check_data(&mut found);
        self.check_tokenizer(&mut found);
        self.check_text(&mut found);
        self.check_clip(&mut found);
        self.check_prior(&mut found);
        self.check_model(&mut found);
        self.check_train(&mut found);
        self.check_sample(&mut found);
        self.check_stages(&mut found);
        found.0
    }

    fn check_data(&self, found: &mut Findings) {
        let factor = self.tokenizer.model.factor().max(1);
        let size = self.data.size;
        found.unless(
            (1..=4096).contains(&size),
            "data.size",
            format!("{size} pixels"),
            "1 to 4096",
        );
        let grid = size / factor;
        let needs =
            self.model.patch_size.max(1) << self.model.levels.len().saturating_sub(1).min(16);
        let unit = factor * needs;
        let above = (size / unit + 1) * unit;
        let fits = match size / unit * unit {
            0 => format!("{above} pixels"),
            below => format!("{below} or {above} pixels"),
        };
        found.unless(
            size % factor == 0 && grid % needs == 0,
            "data.size",
            format!("{size} pixels are {grid} tokens a side, which {needs} (patch_size x 2 per level) does not divide"),
            &format!("{fits}, or fewer levels"),
        );
        for (field, what, hint) in
            self.data.stream.iter().flat_map(|s| s.check(self.train.global_batch))
        {
            found.unless(false, &format!("data.stream.{field}"), what, &hint);
        }
    }

    fn check_tokenizer(&self, found: &mut Findings) {
        let (m, t) = (&self.tokenizer.model, &self.tokenizer.train);
        found.within("tokenizer.model.levels", m.levels, 1, 8);
        found.within("tokenizer.model.bottleneck_blocks", m.bottleneck_blocks, 0, 100);
        found.within("tokenizer.model.c_latent", m.c_latent, 1, 4096);
        found.within("tokenizer.model.codebook_size", m.codebook_size, 2, 1 << 20);
        found.within("tokenizer.model.c_hidden", m.c_hidden, 1, 1 << 16);
        let halves = 1i64 << m.levels.clamp(1, 8).saturating_sub(1);
        found.unless(
            m.c_hidden % halves == 0,
            "tokenizer.model.c_hidden",
            format!("{} channels cannot be halved for {} levels", m.c_hidden, m.levels),
            &format!("a multiple of {halves}"),
        );
        found.positive("tokenizer.model.scale_factor", m.scale_factor);
        found.within("tokenizer.train.batch", t.batch as i64, 2, 1 << 20);
        found.within("tokenizer.train.steps", t.steps as i64, 1, i64::MAX);
        found.positive("tokenizer.train.reconstruction", t.reconstruction);
        found.optim("tokenizer.train.optim", &t.optim);
        found.unless(
            m.codebook_size == self.model.num_labels,
            "model.num_labels",
            format!("{} labels for a codebook of {}", self.model.num_labels, m.codebook_size),
            "make both the same",
        );
    }

    fn check_text(&self, found: &mut Findings) {
        let t = &self.text;
        found.within("text.vocab_size", t.vocab_size, 259, 1 << 20);
        for (name, value) in
            [("d_model", t.d_model), ("d_kv", t.d_kv), ("d_ff", t.d_ff), ("num_heads", t.num_heads)]
        {
            found.within(&format!("text.{name}"), value, 1, 1 << 16);
        }
        found.within("text.num_layers", t.num_layers, 1, 1000);
        found.within(
            "text.relative_attention_num_buckets",
            t.relative_attention_num_buckets,
            4,
            1 << 12,
        );
        let nearest = t.relative_attention_num_buckets / 4;
        found.within(
            "text.relative_attention_max_distance",
            t.relative_attention_max_distance,
            nearest + 1,
            1 << 16,
        );
        found.within("text.length", t.length.unwrap_or(1), 1, 768);
        found.unless(
            t.d_model == self.model.byt5_embd,
            "model.byt5_embd",
            format!("{} for text vectors of width {}", self.model.byt5_embd, t.d_model),
            "make it `text.d_model`",
        );
    }

    fn check_clip(&self, found: &mut Findings) {
        let t = &self.train;
        found.share("train.clip_text", t.clip_text);
        found.share("train.clip_image", t.clip_image);
        let Some(clip) = &self.clip else {
            let asked = t.clip_text > 0.0 || t.clip_image > 0.0 || self.weights.clip.is_some();
            let what = "`train.clip_text`, `train.clip_image` or `weights.clip` without a CLIP";
            found.unless(!asked, "clip", what.into(), "`clip: ()` is CLIP ViT-H-14");
            return;
        };
        let (text, vision) = (&clip.text, &clip.vision);
        for (name, value, low, high) in [
            ("text.context_length", text.context_length, 2, 1 << 12),
            ("text.vocab_size", text.vocab_size, VOCABULARY, 1 << 20),
            ("text.width", text.width, 1, 1 << 16),
            ("text.heads", text.heads, 1, 1 << 10),
            ("text.layers", text.layers, 1, 1000),
            ("vision.image_size", vision.image_size, 1, 4096),
            ("vision.patch_size", vision.patch_size, 1, vision.image_size.max(1)),
            ("vision.width", vision.width, 1, 1 << 16),
            ("vision.head_width", vision.head_width, 1, 1 << 16),
            ("vision.layers", vision.layers, 1, 1000),
        ] {
            found.within(&format!("clip.{name}"), value, low, high);
        }
        for (name, width, unit) in [
            ("text.heads", text.width, text.heads),
            ("vision.head_width", vision.width, vision.head_width),
        ] {
            let what = format!("{unit} does not divide a width of {width}");
            found.unless(width % unit.max(1) == 0, &format!("clip.{name}"), what, "a divisor");
        }
        found.positive("clip.text.mlp_ratio", text.mlp_ratio);
        found.positive("clip.vision.mlp_ratio", vision.mlp_ratio);
        let width = self.model.clip_embd;
        let what = format!("{width} for CLIP vectors of width {}", clip.embed_dim);
        found.unless(
            clip.embed_dim == width && width > 0,
            "model.clip_embd",
            what,
            "make it `clip.embed_dim`",
        );
    }

    fn check_prior(&self, found: &mut Findings) {
        let trained = self.stages.contains(&Phase::Prior);
        let given = self.weights.prior.is_some();
        let Some(PriorStageConfig { model, train, sample }) = &self.prior else {
            let what = "a prior is to be trained or given, but there is none".into();
            found.unless(!trained && !given, "prior", what, "`prior: ()` is the published one");
            return;
        };
        let what = "a prior that is neither trained nor given".into();
        found.unless(trained || given, "stages", what, "add Prior, or set `weights.prior`");
        let width = self.clip.as_ref().map_or(0, |clip| clip.embed_dim);
        let what = format!("{} for CLIP vectors of width {width}", model.clip_r);
        found.unless(model.clip_r == width, "prior.model.clip_r", what, "make it `clip.embed_dim`");
        for (name, value, low, high) in [
            ("model.c_hidden", model.c_hidden, 1, 1 << 16),
            ("model.c_r", model.c_r, 4, 1 << 16),
            ("model.num_blocks", model.num_blocks, 1, 1000),
            ("train.steps", train.steps as i64, 1, i64::MAX),
            ("train.batch", train.batch as i64, 1, 1 << 24),
            ("sample.steps", sample.steps, 1, 1000),
        ] {
            found.within(&format!("prior.{name}"), value, low, high);
        }
        if let Err(fault) = train.split(1) {
            found.unless(false, "prior.train.micro_batch", fault.what, &fault.hint);
        }
        found.share("prior.train.cond_drop", train.cond_drop);
        found.share("prior.train.ema_decay", train.ema_decay);
        found.share("prior.sample.t_start", sample.t_start);
        found.share("prior.sample.t_end", sample.t_end);
        found.optim("prior.train.optim", &train.optim);
    }

    fn check_model(&self, found: &mut Findings) {
        let m = &self.model;
        for (name, value, low, high) in [
            ("c_in", m.c_in, 1, 1 << 16),
            ("num_labels", m.num_labels, 2, 1 << 20),
            ("c_r", m.c_r, 4, 1 << 16),
            ("patch_size", m.patch_size, 1, 64),
            ("c_cond", m.c_cond, 1, 1 << 16),
            ("clip_embd", m.clip_embd, 0, 1 << 16),
            ("clip_seq_len", m.clip_seq_len, 1, 1 << 10),
            ("kernel_size", m.kernel_size, 1, 31),
        ] {
            found.within(&format!("model.{name}"), value, low, high);
        }
        found.unless(
            m.kernel_size % 2 == 1,
            "model.kernel_size",
            format!("{} is even", m.kernel_size),
            "an odd number",
        );
        found.unless(
            (1..=8).contains(&m.levels.len()),
            "model.levels",
            format!("{} levels", m.levels.len()),
            "1 to 8 levels",
        );
        for (i, level) in m.levels.iter().enumerate() {
            let at = |name: &str| format!("model.levels.{i}.{name}");
            found.within(&at("c_hidden"), level.c_hidden, 1, 1 << 16);
            found.within(&at("blocks"), level.blocks, 1, 1000);
            found.share(&at("dropout"), level.dropout);
            found.unless(
                !level.layout.is_empty(),
                &at("layout"),
                "no blocks".into(),
                "such as [C, T] or [C, T, A]",
            );
            let divides = level.nhead > 0 && level.c_hidden % level.nhead == 0;
            found.unless(
                divides || !level.layout.contains(&Block::A),
                &at("nhead"),
                format!("{} heads do not divide {} channels", level.nhead, level.c_hidden),
                "a divisor of c_hidden",
            );
        }
    }

    fn check_train(&self, found: &mut Findings) {
        let t = &self.train;
        found.within("train.steps", t.steps as i64, 1, i64::MAX);
        found.within("train.global_batch", t.global_batch as i64, 1, 1 << 24);
        if let Err(fault) = t.split(1) {
            found.unless(false, "train.micro_batch", fault.what, &fault.hint);
        }
        found.within("train.save.every", t.save.every as i64, 1, i64::MAX);
        found.within("train.save.keep", t.save.keep as i64, 1, 1 << 20);
        found.unless(
            t.save.minutes >= 0.0 && t.save.minutes.is_finite(),
            "train.save.minutes",
            format!("{}", t.save.minutes),
            "0 (off) or above",
        );
        found.within("train.log.samples", t.log.samples as i64, 1, 64);
        found.within("train.max_bad", t.max_bad as i64, 1, i64::MAX);
        for &level in &t.precision.recompute {
            found.unless(
                level < self.model.levels.len(),
                "train.precision.recompute",
                format!("there is no level {level}"),
                "levels count from 0, the finest",
            );
        }
        found.share("train.label_smoothing", t.label_smoothing);
        found.share("train.min_val", t.min_val);
        found.share("train.cond_drop", t.cond_drop);
        found.share("train.ema_decay", t.ema_decay);
        if let NoiseRatio::Power(p) = t.noise_ratio {
            found.positive("train.noise_ratio", p);
        }
        found.optim("train.optim", &t.optim);
        found.within("dist.timeout_s", self.dist.timeout_s as i64, 1, 1 << 20);
        found.within("dist.bucket_mb", self.dist.bucket_mb as i64, 1, 1 << 16);
        found.within("eval.captions", self.eval.captions as i64, 1, 1 << 20);
        found.within("eval.batch", self.eval.batch as i64, 1, 1 << 16);
        found.within("eval.feature_size", self.eval.feature_size, 1, self.data.size.max(1));
    }

    fn check_stages(&self, found: &mut Findings) {
        let rising = self.stages.windows(2).all(|pair| pair[0] < pair[1]);
        found.unless(
            !self.stages.is_empty() && rising,
            "stages",
            "nothing to train, or not in order".into(),
            "some of [Tokenizer, Prior, Denoiser], in this order",
        );
    }

    fn check_sample(&self, found: &mut Findings) {
        let s = &self.sample;
        found.within("sample.steps", s.steps, 1, 1000);
        found.within("sample.renoise_steps", s.renoise_steps, 0, s.steps);
        found.within("sample.guided_steps", s.guided_steps, 0, s.steps);
        found.positive("sample.temperature", s.temperature.0.min(s.temperature.1));
        found.positive("sample.cfg_scale", s.cfg_scale.0.min(s.cfg_scale.1) + f64::MIN_POSITIVE);
        found.share("sample.t_start", s.t_start);
        found.share("sample.t_end", s.t_end);
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn unless(&mut self, fine: bool, field: &str, what: String, hint: &str) {
        if !fine {
            self.0.push((field.to_string(), what, hint.to_string()));
        }
    }

    fn within(&mut self, field: &str, value: i64, low: i64, high: i64) {
        let hint =
            if high == i64::MAX { format!("at least {low}") } else { format!("{low} to {high}") };
        self.unless(
            (low..=high).contains(&value),
            field,
            format!("{value} is out of range"),
            &hint,
        );
    }

    fn share(&mut self, field: &str, value: f64) {
        self.unless(
            (0.0..=1.0).contains(&value),
            field,
            format!("{value} is not a share"),
            "0 to 1",
        );
    }

    fn positive(&mut self, field: &str, value: f64) {
        self.unless(
            value > 0.0 && value.is_finite(),
            field,
            format!("{value} is not positive"),
            "a number above 0",
        );
    }

    fn optim(&mut self, field: &str, optim: &OptimConfig) {
        let at = |name: &str| format!("{field}.{name}");
        self.positive(&at("lr"), optim.lr);
        self.positive(&at("eps"), optim.eps);
        self.share(&at("betas"), optim.betas.0.max(optim.betas.1));
        self.share(&at("weight_decay"), optim.weight_decay);
        self.unless(
            optim.max_norm >= 0.0,
            &at("max_norm"),
            format!("{}", optim.max_norm),
            "0 (off) or above",
        );
    }
}
