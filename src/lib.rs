//! Paella: text to image by un-noising tokens.
//!
//! A VQGAN turns a picture into a grid of tokens. Training replaces a random fraction `t` of them by random tokens and
//! asks the denoiser for the originals. Sampling starts from random tokens, predicts the originals, puts back a little
//! less noise, and repeats this a dozen times.
//!
//! Read these first, in this order: [`noise`], [`loss`], [`sample`], [`train::denoiser::DenoiserTrainer::step`],
//! [`model::Paella::forward`], [`model::blocks`]. They hold the whole method. `docs/reading.md` is a guide to them: it
//! names the parts to read, under 500 lines.
//!
//! The modules. Each uses only modules above it. A test checks the imports against this table.
//!
//! | module | what it does | gives |
//! | --- | --- | --- |
//! | [`error`], [`near`], [`files`], [`torch`], [`device`] | the error type; hints for near misses; atomic file writes; calls that tch lacks; CPU or GPU | |
//! | [`dist`] | distributed training: gradients averaged over processes, failures attributed | mean gradients |
//! | [`image`], [`sheet`] | conversion between files, pictures and tensors; rows of pictures with captions | `RgbImage` |
//! | [`data`] | captioned pictures from shards, IDX files or a folder, in memory; [`data::stream`]: from shards, not in memory; [`data::scenes`]: shapes drawn by number | images (B, 3, H, W), captions |
//! | [`pickle`], [`weights`] | reads `torch.save` files; named tensors on disk | tensors by name |
//! | [`model`] | the denoiser: noised tokens, t and text to scores over codes; also [`model::clip`] and [`model::prior`] | logits (B, K, h, w) |
//! | [`tokens`] | pictures to tokens and back; text to vectors | tokens (B, h, w), text vectors (B, S, D) |
//! | [`noise`] | which tokens are replaced, by what, and their loss weights | `Noised` { tokens, mask, t } |
//! | [`loss`] | the objective: label-smoothed cross entropy, weighted | a number, token accuracy |
//! | [`optim`] | AdamW, warm-up, moving average of the weights | new weights |
//! | [`checkpoint`] | the state a run needs to resume exactly | a folder, complete or absent |
//! | [`sample`] | the schedule of passes, and the dozen lines that run it | passes { drawn, after } |
//! | [`metrics`], [`recipe`], [`config`] | the record of a step; the numbers of training and scoring; the config of a run, read from RON | `RunConfig` |
//! | [`cost`] | parameters, operations, memory, traffic and time of a run before it starts | `Budget` |
//! | [`networks`] | the three networks, CLIP and prior as one model folder | encode, decode, conditions |
//! | [`published`] | the released weights: brought from the hub, looked at, converted | files |
//! | [`precompute`] | tokens and text vectors of a stream, computed before training | shards |
//! | [`generate`] | whole batches of pictures, for scores and previews | tokens |
//! | [`train`] | a whole training run, with exact resume | a model folder |
//! | [`bench`] | speed and memory of a denoiser on a device, with random weights | times, kernels |
//! | [`eval`] | PSNR, guesses per noise ratio, concepts, recitation, scenes read by rule, CLIP's view of pictures, FID | `Scores` |
//! | [`lab`] | the session: one method per command, plain values in and out | `View` |
//! | [`course`] | lessons and exercises from `tutorials/`, at the prompt and as notebooks | `Lesson` |
//! | [`face`] | command line, prompt, terminal pictures; the only code that prints | |

pub mod bench;
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
pub mod near;
pub mod networks;
pub mod noise;
pub mod optim;
pub mod pickle;
pub mod precompute;
pub mod published;
pub mod recipe;
pub mod sample;
pub mod sheet;
pub mod tokens;
pub mod torch;
pub mod train;
pub mod weights;

pub use error::{Error, Fault, Result};
