//! Paella: text to image by un-noising tokens.
//!
//! A VQGAN turns a picture into a grid of tokens. Training replaces a random share `t` of them by random tokens and
//! asks the denoiser for the originals. Sampling starts from random tokens, guesses, puts a little less noise back,
//! a dozen times.
//!
//! Open these first, in this order: [`noise`], [`loss`], [`sample`], [`train::denoiser::Trainer::step`], then
//! [`model::Paella::forward`] and [`model::blocks`]. That is the whole method, in under 500 lines.
//!
//! The map: a module uses only modules that stand above it. A test reads this table and the imports.
//!
//! | module | what it does | gives |
//! | --- | --- | --- |
//! | [`error`], [`files`], [`torch`], [`device`] | one error for all; whole files; what tch lacks; CPU or GPU | |
//! | [`dist`] | the other processes of a run: gradients averaged, failures named | nothing when alone |
//! | [`image`], [`sheet`] | files and tensors into pictures and back; rows of pictures with captions | `RgbImage` |
//! | [`data`] | captioned pictures from shards, IDX files or a folder; [`data::stream`]: never all in memory | images (B, 3, H, W), captions |
//! | [`pickle`], [`weights`] | `torch.save` files; named tensors on disk | tensors by name |
//! | [`model`] | noised tokens, t and text to scores over codes; beside it [`model::clip`] and [`model::prior`] | logits (B, K, h, w) |
//! | [`tokens`] | pictures and words into numbers and back | tokens (B, h, w), text vectors (B, S, D) |
//! | [`noise`] | which tokens are replaced, by what, how much each counts | `Noised` { tokens, mask, t } |
//! | [`loss`] | the objective: label-smoothed cross entropy, weighted | a number, token accuracy |
//! | [`optim`] | AdamW, warm-up, moving average of the weights | new weights |
//! | [`checkpoint`] | all that a run needs to go on exactly, in one folder | a folder, whole or not there |
//! | [`sample`] | the table of passes, and the dozen lines that follow it | passes { drawn, after } |
//! | [`metrics`], [`recipe`], [`config`] | the record of a step; every number of a run, read from RON | `RunConfig` |
//! | [`cost`] | parameters, work, memory, traffic and time of a run, before it is started | `Budget` |
//! | [`networks`] | the three networks, CLIP and prior as one model folder | encode, decode, conditions |
//! | [`precompute`] | tokens and text vectors of a stream, made before training | shards |
//! | [`generate`] | whole batches of pictures, for scores and previews | tokens |
//! | [`train`] | a whole run that stops and goes on exactly | a model folder |
//! | [`bench`] | speed and memory of a denoiser on a device, with random weights | times, kernels |
//! | [`eval`] | PSNR, guesses per noise ratio, concept accuracy | `Scores` |
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
