//! What the kernel asks between cells: commands, configs, completions, help.

use crate::bus::emit;
use crate::live::Live;
use crate::output::result;
use crate::own;
use crate::session::between_cells;
use crate::views;
use paella::lab::Reply;
use paella::lab::watch::clear_stop;
use paella_wire::{Event, Request};
use std::path::PathBuf;

/// Do what the kernel wants.
pub(crate) fn answer(request: Request) {
    match request {
        Request::Begin => clear_stop(),
        Request::Command { line } => done(command(&line)),
        Request::Config { text, file } => done(config(&text, &file)),
        Request::Complete { line } => complete(&line),
        Request::Help { name } => help(&name),
        Request::Sync => emit(&Event::Synced),
        Request::Answer { .. } | Request::NoAnswer { .. } => {} // too late: its question was interrupted
        Request::Prompt
        | Request::RustRan { .. }
        | Request::Whole { .. }
        | Request::Words { .. } => {
            let text = format!("the evaluator has not asked for this\n  in: {request:?}");
            emit(&Event::Refused { text });
        }
    }
}

fn done(outcome: paella::Result<Option<Reply>>) {
    let error = match outcome {
        Ok(reply) => {
            reply.iter().for_each(|reply| result(&views::view(&reply.view)));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    emit(&Event::Done { error });
}

/// Run a command as the prompt does. Questions about the kernel's own commands are answered here.
fn command(line: &str) -> paella::Result<Option<Reply>> {
    if let Some(view) = own::answer(line)? {
        return Ok(Some(Reply { command: "help", view }));
    }
    own::no_flags(line)?;
    let mut reply = between_cells(|lab| {
        let reply = lab.turn(line, &mut Live::new());
        lab.stay(); // a notebook ends with its kernel, not with `quit`
        reply
    })?;
    if line.trim() == "help"
        && let Some(reply) = reply.as_mut()
    {
        reply.view = std::mem::take(&mut reply.view).note(own::listed());
    }
    Ok(reply)
}

/// Write a config to a file, then load it as `load FILE` does.
fn config(text: &str, file: &str) -> paella::Result<Option<Reply>> {
    let file = match file {
        "" => std::env::temp_dir().join(format!("paella-{}-notebook.ron", std::process::id())),
        file => PathBuf::from(file),
    };
    let place = file.display().to_string();
    paella::files::write(&file, text.as_bytes()).map_err(|e| {
        paella::Error::command(
            format!("could not write: {e}"),
            &place,
            "`%%ron FILE.ron` names another file",
        )
    })?;
    command(&format!("load \"{place}\""))
}

fn complete(line: &str) {
    let found = between_cells(|lab| Ok(lab.complete(line))).unwrap_or_default();
    let (start, mut words, files) = (found.start, found.words, found.files);
    let typed = line.get(start..).unwrap_or_default();
    if own::names_follow(&line[..start.min(line.len())]) {
        words.extend(
            own::names().filter(|name| name.starts_with(typed)).map(|name| format!("{name} ")),
        );
    }
    emit(&Event::Completions { start, words, files });
}

/// The help of one command, for the inspector.
fn help(name: &str) {
    let known = || {
        let found = between_cells(|lab| lab.help(Some(name)));
        found.ok().and_then(|view| view.first_text().map(String::from))
    };
    emit(&Event::Help { text: own::help(name).map(String::from).or_else(known) });
}
