//! `generate`: text from a model, with features set where asked.

use std::io::IsTerminal as _;

use glassbox_kernels::CpuBackend;
use glassbox_model::forward::{SiteView, SiteVisitor};
use glassbox_model::forward_error::VisitError;
use glassbox_model::generate::{
    ChosenToken, Generated, GenerationObserver, GenerationRequest, Prompts, StopReason,
};
use glassbox_model::random::RandomKey;
use glassbox_model::sampling::{RandomSampling, Sampling};
use glassbox_model::site::Site;
use glassbox_model::tokenizer::TextStream;
use serde_json::{Value, json};

use crate::arguments::GenerateArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::feature_setting;
use crate::named_model::NamedModel;
use crate::output::{print, print_json};

/// Trials of one batch.
const ROWS_AT_A_TIME: usize = 64;

/// Generates the trials that the flags ask for.
///
/// # Errors
/// A [`CliError`] if the model, the prompt, a flag or a feature cannot be used.
pub fn generate(arguments: &GenerateArguments) -> Result<u8, CliError> {
    let named = NamedModel::open(&arguments.model, arguments.weights)?;
    let model = &named.model;
    let tokenizer = named.tokenizer()?;
    let prompt = named.prompt_tokens(&arguments.prompt)?;
    let program = match &arguments.dictionaries {
        Some(folder) => Some(feature_setting::compile(&arguments.set, folder, &named)?),
        None => None,
    };
    let mut workspace = model.workspace();
    let streams = arguments.trials == 1 && !arguments.json && std::io::stdout().is_terminal();
    let mut trials = Vec::new();
    // Some trials at a time, so that memory does not grow with their number.
    for first in (0..arguments.trials).step_by(ROWS_AT_A_TIME) {
        let rows = (arguments.trials - first).min(ROWS_AT_A_TIME as u32);
        let prompts = vec![prompt.clone(); rows as usize];
        let keys: Vec<RandomKey> = (first..first + rows)
            .map(|trial| RandomKey {
                run_seed: arguments.seed,
                prompt: 0,
                trial: u64::from(trial),
            })
            .collect();
        let mut request = GenerationRequest::new(Prompts::Own(&prompts), arguments.max_new_tokens)
            .sampling(sampling(arguments), &keys)
            .text(tokenizer)
            .stop_strings(&arguments.stop);
        if let Some(program) = &program {
            request = request.program(program);
        }
        if streams {
            if arguments.echo {
                print(&arguments.prompt)?;
            }
            let mut printer = Printer {
                text: tokenizer.stream_after(&prompt)?,
            };
            model.generate(&mut workspace, request.observer(&mut printer))?;
            print(&format!("{}\n", printer.text.finish()))?;
            return Ok(exit_code::DONE);
        }
        for (trial, generated) in (first..).zip(model.generate(&mut workspace, request)?) {
            let text = tokenizer.continuation(&prompt, &generated.tokens)?;
            if arguments.json {
                trials.push(described(trial, &generated, &text, arguments));
            } else {
                let before = if arguments.echo {
                    arguments.prompt.as_str()
                } else {
                    ""
                };
                print(&format!("{before}{text}\n"))?;
            }
        }
    }
    if arguments.json {
        print_json(&json!({ "prompt": arguments.prompt, "prompt_token_ids": prompt, "trials": trials }))?;
    }
    Ok(exit_code::DONE)
}

fn sampling(arguments: &GenerateArguments) -> Sampling {
    if arguments.greedy || arguments.temperature == 0.0 {
        return Sampling::Greedy;
    }
    Sampling::Random(RandomSampling {
        temperature: arguments.temperature,
        top_k: (arguments.top_k > 0).then_some(arguments.top_k),
        top_p: (arguments.top_p < 1.0).then_some(arguments.top_p),
    })
}

fn described(trial: u32, generated: &Generated, text: &str, arguments: &GenerateArguments) -> Value {
    let stop_string = match generated.stop {
        StopReason::StopString(index) => arguments.stop.get(index),
        _ => None,
    };
    json!({
        "trial": trial,
        "token_ids": generated.tokens,
        "text": text,
        "stop_reason": generated.stop.name(),
        "stop_string": stop_string,
    })
}

/// Prints the text of a single row as it comes.
struct Printer<'a> {
    text: TextStream<'a>,
}

impl SiteVisitor<CpuBackend> for Printer<'_> {
    fn wants(&self, _site: Site) -> bool {
        false
    }

    fn visit(&mut self, _backend: &CpuBackend, _view: &SiteView<'_, CpuBackend>) -> Result<(), VisitError> {
        Ok(())
    }
}

impl GenerationObserver<CpuBackend> for Printer<'_> {
    fn chosen(&mut self, _step: usize, tokens: &[ChosenToken]) -> Result<(), VisitError> {
        for chosen in tokens {
            print(&self.text.push(chosen.token)?)?;
        }
        Ok(())
    }
}
