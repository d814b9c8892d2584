//! One file per verb.

mod audit;
mod causal;
mod demo;
mod dictionary_job;
mod encode;
mod evaluate;
mod extract;
mod features;
mod generate;
mod import;
mod inspect;
mod merge;
mod patch;
mod report;
mod run;
mod screen;
mod sweep;
mod trace;
mod train;
mod words;

use crate::arguments::{Arguments, Verb};
use crate::error::CliError;

/// Does what was asked for, and returns the exit code.
///
/// # Errors
/// Whatever kept it from being done.
pub fn run(arguments: &Arguments) -> Result<u8, CliError> {
    match &arguments.verb {
        Verb::Demo(verb) => demo::demo(verb, arguments.quiet),
        Verb::Run(verb) => run::run(verb, arguments.quiet),
        Verb::Sweep(verb) => sweep::sweep(verb, arguments.quiet),
        Verb::Merge(verb) => merge::merge(verb, arguments.quiet),
        Verb::Inspect(verb) => inspect::inspect(verb),
        Verb::Generate(verb) => generate::generate(verb),
        Verb::Trace(verb) => trace::trace(verb),
        Verb::Extract(verb) => extract::extract(verb, arguments.quiet),
        Verb::Encode(verb) => encode::encode(verb),
        Verb::Train(verb) => train::train(verb, arguments.quiet),
        Verb::Patch(verb) => patch::patch(verb, arguments.quiet),
        Verb::Screen(verb) => screen::screen(verb, arguments.quiet),
        Verb::Evaluate(verb) => evaluate::evaluate(verb, arguments.quiet),
        Verb::Features(verb) => features::features(verb, arguments.quiet),
        Verb::Audit(verb) => audit::audit(verb, arguments.quiet),
        Verb::Import(verb) => import::import(verb, arguments.quiet),
        Verb::Causal(verb) => causal::causal(verb, arguments.quiet),
        Verb::Words(verb) => words::words(verb, arguments.quiet),
        Verb::Report(verb) => report::report(verb),
    }
}
