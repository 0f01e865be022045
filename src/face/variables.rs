//! Environment variables with values that cannot be heeded.

use std::path::Path;

const PICTURES: [&str; 5] = ["kitty", "iterm", "sixel", "blocks", "files"];

/// A remark for each variable of this program whose value means nothing. `var` reads one.
pub fn remarks(var: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let given = |name: &str| var(name).filter(|value| !value.is_empty());
    let pictures = given("PAELLA_PICTURES")
        .filter(|value| !PICTURES.contains(&value.to_lowercase().as_str()))
        .map(|value| format!("PAELLA_PICTURES={value} is none of {}", PICTURES.join(", ")));
    let quick = given("PAELLA_QUICK")
        .filter(|value| !["0", "1"].contains(&value.as_str()))
        .map(|value| format!("PAELLA_QUICK={value} counts as 1; 0 turns it off"));
    let home = given("PAELLA_HOME")
        .filter(|value| !Path::new(value).is_dir())
        .map(|value| format!("PAELLA_HOME={value} is no folder"));
    let cuda = given("PAELLA_CUDA")
        .filter(|value| value.contains('/') && !Path::new(value).is_file()) // the loader finds a bare name
        .map(|value| format!("PAELLA_CUDA={value} is no file"));
    [pictures, quick, home, cuda].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_mean_nothing_are_told() {
        let of = |name: &'static str, value: &'static str| {
            remarks(move |asked| (asked == name).then(|| value.to_string()))
        };
        for (name, value) in [
            ("PAELLA_PICTURES", "ascii"),
            ("PAELLA_QUICK", "false"),
            ("PAELLA_HOME", "/no/folder"),
            ("PAELLA_CUDA", "/no/file.so"),
        ] {
            let told = of(name, value);
            assert!(
                told.len() == 1 && told[0].starts_with(&format!("{name}={value} ")),
                "{told:?}"
            );
            assert!(of(name, "").is_empty());
        }
        assert!(of("PAELLA_PICTURES", "Blocks").is_empty() && of("PAELLA_QUICK", "0").is_empty());
        assert!(of("PAELLA_HOME", "/").is_empty());
    }
}
