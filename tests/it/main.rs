//! All integration tests in one binary: libtorch is linked once, and helpers and fixtures are shared.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // a test may panic

mod claims;
mod cli;
mod configs;
mod cost;
mod course;
mod data;
mod dist;
mod edit;
mod events;
mod fixture;
mod fuzz;
mod gpu;
mod house;
mod kit;
mod lab;
mod lost;
mod method;
mod numbers;
mod old_runs;
mod parity;
mod precision;
mod prompt;
mod ranks;
mod resume;
mod sampling;
mod scenes;
mod setup;
mod stream;
mod summary;
mod survive;
mod texts;
mod train;
mod weights;
