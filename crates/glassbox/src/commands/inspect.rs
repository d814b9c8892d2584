//! `inspect`: what a path holds, and whether it is usable.

use crate::arguments::InspectArguments;
use crate::error::CliError;
use crate::exit_code;
use crate::inspection;
use crate::output::{print, print_json};

/// Looks at a path and prints what it holds.
///
/// # Errors
/// A [`CliError`] if it holds nothing that is known, or is not usable.
pub fn inspect(arguments: &InspectArguments) -> Result<u8, CliError> {
    let inspection = inspection::inspect(&arguments.path, arguments.rows, arguments.features)?;
    if arguments.json {
        print_json(&inspection.json)?;
    } else {
        print(&inspection.text)?;
    }
    inspection.damage.map_or(Ok(exit_code::DONE), Err)
}
