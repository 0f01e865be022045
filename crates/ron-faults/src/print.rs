//! Prints a config as text.

use serde::Serialize;

pub(super) fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}

/// The whole config as RON, including all defaults. Reading it back gives exactly the same config.
pub fn to_ron<T: Serialize>(config: &T) -> String {
    let layout =
        ron::ser::PrettyConfig::new().struct_names(false).compact_arrays(true).new_line("\n");
    options().to_string_pretty(config, layout).unwrap_or_default()
}
