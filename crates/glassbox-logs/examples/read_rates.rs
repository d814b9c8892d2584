//! How fast logs are read: `cargo run --release -p glassbox-logs --example read_rates LOGS [PARSER]`.

use std::path::PathBuf;
use std::time::Instant;

use glassbox_logs::audit::Echo;
use glassbox_logs::{Batch, IndexPart, Logs, OutcomeSource, Unwatched, parser_named};

/// What is done with a batch; the number of its trials.
type Work<'a> = dyn Fn(&Batch<'_>) -> usize + Sync + 'a;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which logs?")?;
    let parser = parser_named(&arguments.next().unwrap_or_else(|| "b-complete".to_owned()))?;
    let echo = Echo::study()?;
    let parsed = [OutcomeSource::Parsed(Box::new(parser.clone()))];
    let recorded = [OutcomeSource::Recorded];
    let logs = Logs::find(&[PathBuf::from(path)])?;
    let works: [(&str, &Work<'_>); 5] = [
        ("rows alone", &|batch| batch.trials.len()),
        ("with an index", &|batch| {
            drop(IndexPart::new(batch, &recorded, |_| false));
            batch.trials.len()
        }),
        ("with an index and echoes", &|batch| {
            drop(IndexPart::new(batch, &recorded, |text| echo.is_in(text)));
            batch.trials.len()
        }),
        ("with an index and a parser", &|batch| {
            drop(IndexPart::new(batch, &parsed, |_| false));
            batch.trials.len()
        }),
        ("rows alone, again", &|batch| batch.trials.len()),
    ];
    for (name, work) in works {
        let since = Instant::now();
        let mut trials = 0;
        logs.read(
            work,
            |count| {
                trials += count;
                Ok(())
            },
            &Unwatched,
        )?;
        let seconds = since.elapsed().as_secs_f64();
        println!(
            "{name:<28} {seconds:6.2} s  {:7.1} MB/s  {:9.0} trials/s",
            logs.bytes() as f64 / 1e6 / seconds,
            trials as f64 / seconds
        );
    }
    Ok(())
}
