//! Who this kernel is.

use jupyter_protocol::{CodeMirrorMode, HelpLink, KernelInfoReply, LanguageInfo, ReplyStatus};

pub const DISPLAY_NAME: &str = "Paella (Rust)";
const BANNER: &str =
    "Paella (Rust): cells are Rust with `lab`, tch and paella at hand; `%help` lists the commands.";

pub fn reply() -> KernelInfoReply {
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: "5.3".into(),
        implementation: "paella-kernel".into(),
        implementation_version: env!("CARGO_PKG_VERSION").into(),
        language_info: language(),
        banner: BANNER.into(),
        help_links: vec![
            HelpLink {
                text: "Rust's standard library".into(),
                url: "https://doc.rust-lang.org/std/".into(),
            },
            HelpLink { text: "tch".into(), url: "https://docs.rs/tch/0.24.0/tch/".into() },
        ],
        debugger: false,
        error: None,
    }
}

/// The language of the cells, by its edition. Front ends write all of this into each notebook that they open, so
/// `src/course/notebook.rs` has the same: a rustc's version would change the notebooks with each rustc.
fn language() -> LanguageInfo {
    LanguageInfo {
        name: "rust".into(),
        version: "2024".into(),
        mimetype: Some("text/rust".into()),
        file_extension: Some(".rs".into()),
        pygments_lexer: Some("rust".into()),
        codemirror_mode: Some(CodeMirrorMode::Simple("rust".into())),
        nbconvert_exporter: None,
    }
}
