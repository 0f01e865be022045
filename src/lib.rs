//! Paella: text to image by un-noising tokens.
//!
//! A VQGAN turns a picture into a grid of tokens. Training replaces a random share `t` of them by random tokens and
//! asks the denoiser for the originals. Sampling starts from random tokens, guesses, puts a little less noise back,
//! a dozen times.
//!
//! Open these first: [`noise`], [`loss`], [`sample`] and [`train::denoiser::Trainer::step`]. That is the whole method.
//!
//! | module | what it does | gives |
//! | --- | --- | --- |
//! | [`data`] | captioned pictures from shards, IDX files or a folder | images (B, 3, H, W), captions |
//! | [`data::stream`] | the same from any number of shards, never all in memory | batches, a position |
//! | [`tokens`] | pictures and words into numbers and back | tokens (B, h, w), text vectors (B, S, D) |
//! | [`noise`] | which tokens are replaced, by what, how much each counts | noised tokens, mask, loss weight |
//! | [`model`] | noised tokens, t and text to scores over codes | logits (B, K, h, w) |
//! | [`model::clip`], [`model::prior`] | text and picture to CLIP vectors; the one into the other | vectors (B, e) |
//! | [`loss`] | label-smoothed cross entropy, weighted | a number, token accuracy |
//! | [`optim`] | AdamW, warm-up, moving average of the weights | new weights |
//! | [`plan`], [`sample`] | the table of passes, and the dozen lines that follow it | tokens |
//! | [`recipe`], [`config`] | every number of a run, read from RON with all faults at once | `RunConfig` |
//! | [`cost`] | parameters, work, memory, traffic and time of a run, before it is started | `Budget` |
//! | [`networks`] | the three networks, CLIP and prior as one model folder | encode, decode, cond |
//! | [`precompute`] | tokens and text vectors of a stream, made before training | shards |
//! | [`generate`] | whole batches of pictures, for scores and for looking on | tokens |
//! | [`dist`] | the other processes of a run: gradients averaged, failures named | nothing when alone |
//! | [`train`], [`checkpoint`] | a whole run that stops and goes on exactly | a model folder |
//! | [`eval`] | PSNR, guesses per noise ratio, concept accuracy | `Scores` |
//! | [`lab`] | the session: one method per command, plain values in and out | `View` |
//! | [`course`] | lessons and exercises from `tutorials/`, at the prompt and as notebooks | `Lesson` |
//! | [`face`] | command line, prompt, terminal pictures; the only code that prints | |
//!
//! A module uses only modules above it (a test reads the imports), apart from small shared parts: [`error`],
//! [`device`], [`image`], [`sheet`] (rows of pictures), [`weights`] (named tensors on disk), [`pickle`] (`torch.save` files), [`torch`] (what tch
//! lacks), [`metrics`].

pub mod checkpoint;
pub mod config;
pub mod cost;
pub mod course;
pub mod data;
pub mod device;
pub mod dist;
pub mod error;
pub mod eval;
pub mod face;
pub mod files;
pub mod generate;
pub mod image;
pub mod lab;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod networks;
pub mod noise;
pub mod optim;
pub mod pickle;
pub mod precompute;
pub mod recipe;
pub mod sample;
pub mod sheet;
pub mod tokens;
pub mod torch;
pub mod train;
pub mod weights;

pub use error::{Error, Fault, Result};
