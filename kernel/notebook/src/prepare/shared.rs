//! Trick `shared`: generic code that every cell would compile. evcxr keeps a session's variables in a map and shows the
//! last value. rustc takes that code from this library, if both are compiled without optimisation. The kernel compiles the
//! library with `--cfg unshared` where the trick is left out (`kernel/src/prepare/library.rs`).
#![cfg_attr(unshared, allow(dead_code, unused_imports))]

use crate::session::Session;
use crate::show::Show;
use std::any::Any;
use std::collections::HashMap;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tch::Tensor;

/// As in evcxr's `VariableStore`.
type Variables = HashMap<String, Box<dyn Any + 'static>>;

/// Have it compiled, unless the trick is left out.
pub fn keep_compiled() {
    #[cfg(not(unshared))]
    black_box(code as fn(&str));
}

/// All that cells share. To be compiled, not to be called.
fn code(name: &str) {
    let mut variables = Box::new(Variables::new());
    macro_rules! of {
        ($($variable:ty),*) => {
            $(if let Some(value) = black_box(None::<$variable>) { keep(&mut variables, name, value) })*
        };
    }
    of!(bool, char, u8, u32, u64, usize, i32, i64, f32, f64, &'static str, String, Tensor, Session);
    of!(Vec<String>, Vec<Tensor>, Vec<u8>, Vec<usize>, Vec<i32>, Vec<i64>, Vec<f32>, Vec<f64>);
    drop(catch_unwind(AssertUnwindSafe(|| black_box(()))));
}

/// What evcxr does with one variable, and its display.
fn keep<T: Show + 'static>(variables: &mut Variables, name: &str, value: T) {
    value.evcxr_display();
    variables.insert(name.to_owned(), Box::new(value));
    black_box(variables.get(name).is_some_and(|value| value.downcast_ref::<T>().is_none()));
    if let Some(Ok(value)) = variables.remove(name).map(|value| value.downcast::<T>()) {
        black_box(*value);
    }
}
