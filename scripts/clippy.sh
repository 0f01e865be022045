#!/bin/sh
# The compiler for `cargo --config build.rustc-workspace-wrapper=...`: clippy in its place, and a warning is an error.
exec clippy-driver "$@" -D warnings
