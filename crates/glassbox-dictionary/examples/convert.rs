//! Reads a dictionary of any format and writes it in another: `convert FROM saelens|glassbox TO`.

use std::path::Path;
use std::process::ExitCode;

use glassbox_dictionary::{Dictionary, Precision, formats};
use glassbox_kernels::CpuBackend;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, format, to] = arguments.as_slice() else {
        eprintln!("usage: convert FROM saelens|glassbox TO");
        return ExitCode::from(2);
    };
    let write = |dictionary: &Dictionary| match format.as_str() {
        "saelens" => formats::write_saelens(dictionary, Path::new(to), None),
        _ => formats::write_glassbox(dictionary, Path::new(to), Precision::F32, None),
    };
    match formats::load(Path::new(from), &CpuBackend).and_then(|dictionary| write(&dictionary)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
