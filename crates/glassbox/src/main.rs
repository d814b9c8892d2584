//! The program `glassbox`: one file per verb in `commands`, no logic beyond wiring.

mod arguments;
mod assets;
mod audit_page;
mod commands;
mod corpus_arguments;
mod encoding_figures;
mod error;
mod exit_code;
mod feature_setting;
mod feature_view;
mod inspection;
mod interrupt;
mod log_arguments;
mod log_page;
mod log_progress;
mod model_tokens;
mod named_dictionaries;
mod named_model;
mod output;
mod plan_summary;
mod progress;
mod requirements;
mod run_summary;
mod shard_choice;
mod shell;
mod site_list;
mod table;
mod tensor_file;
mod train_input;
mod train_progress;
mod watching;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::error::CliError;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    interrupt::survive_file_size_limit();
    let code = match set_threads(arguments.threads).and_then(|()| commands::run(&arguments)) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => exit_code::DONE,
        Err(error) => {
            // Only the first line begins as a message does.
            output::tell(&format!("error: {}", error.message().replace('\n', "\n  ")));
            if let Some(hint) = error.hint() {
                output::tell(&format!("hint: {hint}"));
            }
            error.exit_code()
        }
    };
    ExitCode::from(code)
}

fn set_threads(threads: Option<u16>) -> Result<(), CliError> {
    let Some(threads) = threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new()
        .num_threads(usize::from(threads))
        .build_global()
        .map_err(|cause| {
            CliError::usage(format!(
                "cannot start {threads} threads: {cause}; give --threads a smaller number"
            ))
        })
}
