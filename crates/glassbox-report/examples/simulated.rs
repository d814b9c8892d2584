//! Writes a run directory with simulated trials and its report, to look at the page without a model.
//!
//! `cargo run -p glassbox-report --example simulated -- FOLDER`

#[path = "../tests/simulated/mod.rs"]
mod simulated;

use std::path::PathBuf;

fn main() {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give a new folder for the run");
        return;
    };
    simulated::write_run(&folder, simulated::Size::DEMO, simulated::Until::Words);
    match glassbox_report::write_report(&folder) {
        Ok(summary) => {
            println!(
                "{}\n{}\n{}",
                summary.path.display(),
                summary.headline,
                summary.details.join("\n")
            );
            println!("{} bytes", summary.bytes);
        }
        Err(error) => eprintln!("{error}"),
    }
}
