//! What serves speed alone, and works only if it is compiled into this library. All else that serves speed alone is in
//! `kernel/src/prepare/`. Both are one room: docs/kernel.md lists its tricks under "What serves speed alone", with the
//! seconds that each saves, and `PAELLA_KERNEL_WITHOUT` leaves out each of them.

pub(crate) mod shared;
