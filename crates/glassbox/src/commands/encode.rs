//! `encode`: feature values and reconstructions of given activations.

use glassbox_dictionary::{Dictionary, formats};
use glassbox_kernels::{Backend as _, CpuBackend};
use glassbox_store::Storage;
use safetensors::Dtype;
use serde::Serialize;

use crate::arguments::EncodeArguments;
use crate::encoding_figures::{EncodingFigures, Figures};
use crate::error::CliError;
use crate::exit_code;
use crate::interrupt::Interrupt;
use crate::output::{print, print_json, refuse_input_as_output, refuse_special_files};
use crate::table::facts;
use crate::tensor_file::{MatrixReader, Spool, TensorFile, TensorFileError, TensorWriter};

/// Rows read and encoded at a time, at most.
const CHUNK_ROWS: usize = 4096;

#[derive(Serialize)]
struct Summary<'a> {
    out: &'a std::path::Path,
    rows: usize,
    width: usize,
    output_width: usize,
    features: usize,
    #[serde(flatten)]
    figures: Figures,
}

/// Encodes the file that the flags name.
///
/// # Errors
/// A [`CliError`] if a file, its tensor or the dictionary cannot be used.
pub fn encode(arguments: &EncodeArguments) -> Result<u8, CliError> {
    let interrupt = Interrupt::listen()?;
    refuse_special_files([arguments.input.as_path()])?;
    refuse_input_as_output(&arguments.out, &[&arguments.input, &arguments.dictionary])?;
    let dictionary = formats::load(&arguments.dictionary, &CpuBackend)?;
    let x = TensorFile::open(&arguments.input)?.matrix("x")?;
    let [rows, width] = x.shape();
    if width != dictionary.width() {
        let expected = format!(
            "[n, {}]: the dictionary in {} reads {}, which is that wide",
            dictionary.width(),
            arguments.dictionary.display(),
            dictionary.description().site
        );
        let (path, tensor) = (arguments.input.clone(), "x".to_owned());
        return Err(TensorFileError::Shape {
            path,
            tensor,
            found: vec![rows, width],
            expected,
        }
        .into());
    }
    let figures = encode_rows(&dictionary, x, arguments, &interrupt)?;
    let summary = Summary {
        out: &arguments.out,
        rows,
        width,
        output_width: dictionary.output_width(),
        features: dictionary.features(),
        figures,
    };
    if arguments.json {
        print_json(&summary)?;
    } else {
        print(&text(&summary))?;
    }
    Ok(exit_code::DONE)
}

/// Writes features and reconstructions, some rows at a time, so that memory does not grow with the file.
fn encode_rows(
    dictionary: &Dictionary,
    mut x: MatrixReader,
    arguments: &EncodeArguments,
    interrupt: &Interrupt,
) -> Result<Figures, CliError> {
    let backend = dictionary.backend();
    let ([rows, width], features, output_width) =
        (x.shape(), dictionary.features(), dictionary.output_width());
    let tensors: [(&str, Dtype, &[usize]); 2] = [
        ("features", Dtype::F32, &[rows, features]),
        ("reconstruction", Dtype::F32, &[rows, output_width]),
    ];
    let mut file = TensorWriter::create(&Storage::new(), &arguments.out, &tensors)?;
    // Reconstructions follow the features of every row, so they wait until those are written.
    let mut reconstructions = Spool::create(&arguments.out)?;
    let mut gathered = EncodingFigures::new(width);
    let chunk = dictionary.rows_at_a_time().min(CHUNK_ROWS);
    let (mut values, mut active, mut reconstructed) = (Vec::new(), Vec::new(), Vec::new());
    for first in (0..rows).step_by(chunk) {
        if interrupt.came() {
            return Err(CliError::Stopped {
                path: arguments.out.clone(),
            });
        }
        let count = chunk.min(rows - first);
        x.read(first, count, &mut values)?;
        let of_rows = |cause| CliError::Rows {
            path: arguments.input.clone(),
            first,
            last: first + count - 1,
            cause,
        };
        let encoded = dictionary
            .encode(&backend.upload(&values), count)
            .map_err(of_rows)?;
        let decoded = dictionary
            .decode(&encoded.features, count, &encoded.statistics)
            .map_err(of_rows)?;
        active.resize(count * features, 0.0);
        reconstructed.resize(count * output_width, 0.0);
        for (what, values, columns) in [
            ("the features", &encoded.features, features),
            ("the reconstruction", &decoded, output_width),
        ] {
            if let Some((row, column)) = backend.first_non_finite(values, count, columns)? {
                return Err(CliError::NotFinite {
                    what,
                    path: arguments.input.clone(),
                    row: first + row,
                    column,
                });
            }
        }
        backend.read(&encoded.features, 0, &mut active)?;
        backend.read(&decoded, 0, &mut reconstructed)?;
        let rows = values
            .chunks_exact(width)
            .zip(active.chunks_exact(features))
            .zip(reconstructed.chunks_exact(output_width));
        rows.for_each(|((x, features), reconstruction)| gathered.push(x, features, reconstruction));
        file.floats(&active)?;
        reconstructions.floats(&reconstructed)?;
    }
    file.spooled(reconstructions)?;
    file.commit()?;
    Ok(gathered.figures(!dictionary.description().is_transcoder()))
}

fn text(summary: &Summary<'_>) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let shape = |columns| format!("[{}, {columns}]", summary.rows);
    let figures = &summary.figures;
    let largest = figures
        .largest_error
        .map_or("–".to_owned(), |error| format!("{error:.3e}"));
    facts(&[
        ("features", shape(summary.features)),
        ("reconstruction", shape(summary.output_width)),
        ("mean L0", number(figures.mean_l0, 2)),
        ("explained variance", number(figures.explained_variance, 4)),
        ("largest |x - reconstruction|", largest),
        ("written to", summary.out.display().to_string()),
    ])
}
