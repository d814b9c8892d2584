//! What can be wrong with a dictionary, its files, or a request made of it.

use std::path::PathBuf;

use glassbox_kernels::KernelError;
use glassbox_model::site::{Site, SiteError};
use glassbox_tensors::TensorFileError;
use thiserror::Error;

/// A dictionary can't be read, doesn't fit, or was asked for something it doesn't have.
#[derive(Debug, Error)]
pub enum DictionaryError {
    /// A file or folder can't be read or written.
    #[error("{}: cannot {action}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb with its object.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// No format recognises the path.
    #[error("{}: no dictionary of a known format. The formats are: {formats}", path.display())]
    NoFormat {
        /// The path as given.
        path: PathBuf,
        /// Every format with the files it needs.
        formats: String,
    },
    /// A folder with several dictionaries, where one is asked for.
    #[error("{}: the folder holds several dictionaries; name one of its files: {members}", path.display())]
    SeveralDictionaries {
        /// The folder.
        path: PathBuf,
        /// Its dictionaries.
        members: String,
    },
    /// A configuration isn't valid JSON.
    #[error("{}: not valid JSON: {cause}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        cause: serde_json::Error,
    },
    /// Neither the files of a dictionary nor their path say something that it needs.
    #[error("{}: neither the file nor its path says {what}. Write it into {}: {example}", path.display(), file.display())]
    NotStated {
        /// The dictionary.
        path: PathBuf,
        /// What is not said, and how the published path would say it.
        what: &'static str,
        /// The file that would state it.
        file: PathBuf,
        /// What to write there.
        example: &'static str,
    },
    /// A configuration isn't valid YAML, or not a mapping.
    #[error("{}: not a YAML mapping: {cause}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        cause: String,
    },
    /// A key is missing.
    #[error("{}: key `{key}` is missing; expected {expected}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key, with its parents (`metadata.hook_name`).
        key: String,
        /// What it should hold.
        expected: String,
    },
    /// A key holds something that it can't hold.
    #[error("{}: key `{key}` is {found}; expected {expected}", path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The key, with its parents.
        key: String,
        /// The value found, as JSON.
        found: String,
        /// What it should hold: the valid choices, or the type and range.
        expected: String,
    },
    /// A key that is neither used nor known to leave the arithmetic unchanged.
    #[error(
        "{}: unknown key `{key}` (value {found}): it may change the arithmetic, so the dictionary is not read. \
         If it does not, remove the key from the file. Keys that are used: {used}", path.display()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key, with its parents.
        key: String,
        /// Its value, as JSON.
        found: String,
        /// The keys that the format uses.
        used: String,
    },
    /// Something that the format allows and this program doesn't support.
    #[error("{}: {what} is not supported; supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key and value, or the tensor.
        what: String,
        /// What would be.
        supported: String,
    },
    /// The weights' file can't be read.
    #[error(transparent)]
    TensorFile(#[from] TensorFileError),
    /// The weights aren't those that the configuration was written for.
    #[error(
        "{}: the weights' BLAKE3 checksum is {found}, {} states {expected}: the two files do not belong together \
         or one is damaged. Copy the whole folder again", path.display(), config.display()
    )]
    Checksum {
        /// The weights.
        path: PathBuf,
        /// The configuration.
        config: PathBuf,
        /// The checksum of the weights.
        found: String,
        /// The one stated.
        expected: String,
    },
    /// A tensor is missing.
    #[error("{}: tensor `{tensor}` {expected} is missing; the file holds: {present}", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape, in names.
        expected: String,
        /// The names in the file.
        present: String,
    },
    /// A tensor that the format doesn't have; leaving it out would change the arithmetic.
    #[error("{}: tensor `{tensor}` is not part of this format; expected only: {expected}", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The tensors of the format.
        expected: String,
    },
    /// A tensor of another shape.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?} {names}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// What the axes are.
        names: &'static str,
    },
    /// A tensor of a type that isn't read.
    #[error("{}: tensor `{tensor}` is {found}; expected F32, BF16 or F16 (or F64, rounded)", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type found.
        found: String,
    },
    /// A weight that is NaN or infinite, or a threshold below zero.
    #[error("{}: tensor `{tensor}` holds {value} at {index:?}; expected {expected}", path.display())]
    TensorValue {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where in the tensor.
        index: Vec<usize>,
        /// The value.
        value: f32,
        /// What it should be.
        expected: &'static str,
    },
    /// Parts that don't make a dictionary.
    #[error("the parts do not make a dictionary: {what}")]
    Parts {
        /// Which part, what was found, what was expected.
        what: String,
    },
    /// A key that should name a site and doesn't.
    #[error("{}: key `{key}`: {cause}", path.display())]
    SiteName {
        /// The file.
        path: PathBuf,
        /// The key, with its parents.
        key: String,
        /// What is wrong with the name, and the names nearest to it.
        cause: Box<SiteError>,
    },
    /// A layer that a cross-layer transcoder doesn't have, or a source after its target.
    #[error("{}: layer {layer} is outside of what is asked for: its layers are 0 to {last}", path.display())]
    LayerOutOfRange {
        /// The transcoder's folder.
        path: PathBuf,
        /// The layer asked for.
        layer: usize,
        /// The last valid one.
        last: usize,
    },
    /// A feature that the dictionary doesn't have.
    #[error("feature {feature} is outside the dictionary at {site}: its features are 0 to {last}")]
    FeatureOutOfRange {
        /// The feature asked for.
        feature: u32,
        /// The dictionary's site.
        site: Site,
        /// The last valid one.
        last: usize,
    },
    /// A feature value or strength that is NaN or infinite.
    #[error("feature {feature} at {site} cannot be set to {value}: the value must be finite")]
    ValueNotFinite {
        /// The feature.
        feature: u32,
        /// The dictionary's site.
        site: Site,
        /// The value asked for.
        value: f32,
    },
    /// An edit that needs one site, asked of a dictionary that reads one and writes another.
    #[error(
        "the dictionary reads {site} and writes {output_site} (a transcoder): its features cannot be edited at one \
         site. Use a dictionary whose input and output site are the same"
    )]
    EditOfTranscoder {
        /// The site that it reads.
        site: Site,
        /// The site that it writes.
        output_site: Site,
    },
    /// The dictionary's site isn't in the model.
    #[error("the dictionary does not fit the model: {cause}. Sites of the model with width {width}: {valid}")]
    SiteNotInModel {
        /// Which site, and why the model lacks it.
        cause: Box<SiteError>,
        /// The dictionary's width.
        width: usize,
        /// The sites where a dictionary of this width fits.
        valid: String,
    },
    /// The dictionary's width isn't its site's width in the model.
    #[error(
        "the dictionary for {site} has width {width}, but that site is {model_width} wide in the model. \
         Sites of the model with width {width}: {valid}"
    )]
    WidthMismatch {
        /// The dictionary's site.
        site: Site,
        /// The dictionary's width.
        width: usize,
        /// The site's width in the model.
        model_width: usize,
        /// The sites where a dictionary of this width fits.
        valid: String,
    },
    /// The dictionary states another model.
    #[error(
        "the dictionary for {site} was made for the model with hash {stated}, this model's hash is {found}"
    )]
    ModelMismatch {
        /// The dictionary's site.
        site: Site,
        /// The model's hash in the dictionary.
        stated: String,
        /// The hash of the model at hand.
        found: String,
    },
    /// The dictionary was made on activations that this model doesn't have.
    #[error(
        "the dictionary for {site} was made on a model loaded with TransformerLens's `{option}`, which changes the \
         values at that site; glassbox runs the model as its checkpoint states it. Use a dictionary that was made \
         without this option"
    )]
    ProcessedModel {
        /// The dictionary's site.
        site: Site,
        /// The option that was on.
        option: String,
    },
    /// A dictionary that the cache can't hold.
    #[error(
        "{}: the dictionary takes {needed} bytes; the cache's budget is {budget} bytes, of which {in_use} are held \
         by dictionaries in use. Raise the budget to at least {} bytes", path.display(), needed + in_use
    )]
    OverBudget {
        /// The dictionary.
        path: PathBuf,
        /// Bytes that it needs.
        needed: u64,
        /// The budget.
        budget: u64,
        /// Bytes that can't be freed now.
        in_use: u64,
    },
    /// Two dictionaries of a folder are for one site.
    #[error("two dictionaries are for {site}: {} and {}. Keep one of them", first.display(), second.display())]
    DuplicateSite {
        /// The site.
        site: Site,
        /// The one found first.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A folder without dictionaries.
    #[error(
        "{}: no dictionaries in this folder or in the folders directly below it. The formats are: {formats}",
        path.display()
    )]
    EmptySet {
        /// The folder.
        path: PathBuf,
        /// Every format with the files it needs.
        formats: String,
    },
    /// No dictionary for a site in a folder.
    #[error("{}: no dictionary for {site}; the folder has: {present}", path.display())]
    NotInSet {
        /// The folder.
        path: PathBuf,
        /// The site asked for.
        site: Site,
        /// The sites that it has.
        present: String,
    },
    /// An operation refused its operands.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Result of this crate's operations.
pub type Result<T, E = DictionaryError> = std::result::Result<T, E>;

impl DictionaryError {
    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |cause| Self::Io { action, path, cause }
    }
}
