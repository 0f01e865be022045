//! The denoiser's sizes.

use ron_faults::{Checks, Fault};
use serde::{Deserialize, Serialize};

/// What kinds of block a level repeats; the reference writes them as a string, `CTA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// Convolution and channels (`ResBlock`).
    C,
    /// Noise ratio (`TimestepBlock`).
    T,
    /// Attention to the text (`AttnBlock`).
    A,
    /// Channels only (`FeedForwardBlock`).
    F,
}

/// One resolution of the U-Net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelConfig {
    /// Channels.
    pub c_hidden: i64,
    /// Attention heads; only A blocks read it.
    pub nhead: i64,
    /// How often `layout` is repeated, on the way down and on the way up.
    pub blocks: i64,
    pub layout: Vec<Block>,
    pub dropout: f64,
    /// Fresh weights only: factor of the queries and of the keys of A blocks. 1 as in the reference: every place begins by
    /// looking at all words alike. With more, each head begins with a few.
    pub attn_gain: f64,
    /// Positions of this level also look at each other. None: as [`PaellaConfig::self_attn`] says.
    pub self_attn: Option<bool>,
}

impl Default for LevelConfig {
    fn default() -> Self {
        Self {
            c_hidden: 640,
            nhead: 16,
            blocks: 6,
            layout: vec![Block::C, Block::T],
            dropout: 0.1,
            attn_gain: 1.0,
            self_attn: None,
        }
    }
}

/// The denoiser's sizes; the default is the published `paella_v3`, 1,008,350,592 parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaellaConfig {
    /// Channels of a token's embedding, in and out.
    pub c_in: i64,
    /// Codes to choose from, K.
    pub num_labels: i64,
    /// Fresh weights only: standard deviation of the token embeddings. None: sqrt(1 / K), as in the reference. With more
    /// the network can be sure of a code sooner.
    pub embed_std: Option<f64>,
    /// Width of the noise ratio's embedding.
    pub c_r: i64,
    /// p x p tokens become one position.
    pub patch_size: i64,
    /// Width of a condition vector.
    pub c_cond: i64,
    pub levels: Vec<LevelConfig>,
    /// Width of the text encoder's vectors.
    pub byt5_embd: i64,
    /// Width of a CLIP embedding; 0 leaves both CLIP branches out.
    pub clip_embd: i64,
    /// Condition vectors made from one CLIP embedding.
    pub clip_seq_len: i64,
    pub kernel_size: i64,
    /// Positions also look at each other, not only at the text; a level may say otherwise.
    pub self_attn: bool,
    /// Keep the weights of products in bf16: half the memory, for a denoiser that is not trained.
    pub bf16: bool,
}

impl Default for PaellaConfig {
    fn default() -> Self {
        use Block::{A, C, T};
        let level = |c_hidden, blocks, layout: &[Block]| LevelConfig {
            c_hidden,
            blocks,
            layout: layout.to_vec(),
            ..LevelConfig::default()
        };
        Self {
            c_in: 256,
            num_labels: 8192,
            embed_std: None,
            c_r: 64,
            patch_size: 2,
            c_cond: 1024,
            levels: vec![
                level(640, 6, &[C, T]),
                level(1280, 16, &[C, T, A]),
                level(1280, 6, &[C, T, A]),
            ],
            byt5_embd: 2560,
            clip_embd: 1024,
            clip_seq_len: 4,
            kernel_size: 3,
            self_attn: true,
            bf16: false,
        }
    }
}

impl PaellaConfig {
    /// Whether the positions of level `i` look at each other.
    pub fn self_attn_at(&self, i: usize) -> bool {
        self.levels[i].self_attn.unwrap_or(self.self_attn)
    }

    /// Whether any A block looks at the picture, not only at its conditions.
    pub fn looks_at_itself(&self) -> bool {
        let reads = |i: usize| self.levels[i].layout.contains(&Block::A);
        (0..self.levels.len()).any(|i| reads(i) && self.self_attn_at(i))
    }

    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("c_in", self.c_in, 1, 1 << 16);
        found.within("num_labels", self.num_labels, 2, 1 << 20);
        if let Some(std) = self.embed_std {
            found.number("embed_std", std, 1e-4, 10.0);
        }
        found.within("c_r", self.c_r, 4, 1 << 16);
        found.within("patch_size", self.patch_size, 1, 64);
        found.within("c_cond", self.c_cond, 1, 1 << 16);
        found.within("byt5_embd", self.byt5_embd, 1, 1 << 16);
        found.within("clip_embd", self.clip_embd, 0, 1 << 16);
        found.within("clip_seq_len", self.clip_seq_len, 1, 1 << 10);
        found.within("kernel_size", self.kernel_size, 1, 31);
        let what = format!("{} is even", self.kernel_size);
        // an even kernel has no middle: the picture would shift by half a token in each block
        found.unless(self.kernel_size % 2 == 1, "kernel_size", what, "an odd number");
        let count = self.levels.len();
        found.unless(
            (1..=8).contains(&count),
            "levels",
            format!("{count} levels"),
            "1 to 8 levels",
        );
        for (i, level) in self.levels.iter().enumerate() {
            found.part(&format!("levels.{i}"), level.check());
        }
        found.faults()
    }
}

impl LevelConfig {
    /// Everything that is wrong though well formed.
    pub fn check(&self) -> Vec<Fault> {
        let mut found = Checks::default();
        found.within("c_hidden", self.c_hidden, 1, 1 << 16);
        found.within("blocks", self.blocks, 1, 1000);
        found.share("dropout", self.dropout);
        found.number("attn_gain", self.attn_gain, 0.1, 10.0);
        let idle = self.self_attn.is_some() && !self.layout.contains(&Block::A);
        let what = "it does nothing: the layout has no A";
        found.unless(!idle, "self_attn", what, "leave it out");
        let hint = "such as [C, T] or [C, T, A]";
        found.unless(!self.layout.is_empty(), "layout", "no blocks", hint);
        let divides = self.nhead > 0 && self.c_hidden % self.nhead == 0;
        found.unless(
            divides || !self.layout.contains(&Block::A),
            "nhead",
            format!("{} heads do not divide {} channels", self.nhead, self.c_hidden),
            "a divisor of c_hidden",
        );
        found.faults()
    }
}
