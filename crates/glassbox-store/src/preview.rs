//! A look into any table without its row type: schema, row count and the first rows as JSON values.

use std::path::{Path, PathBuf};

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, BooleanArray, LargeStringArray, ListArray, PrimitiveArray, StringArray};
use arrow_schema::DataType;
use serde::Serialize;
use serde_json::{Number, Value};

use crate::StoreError;
use crate::table::{DESCRIPTION_KEY, TABLE_KEY, VERSION_KEY, guarded, metadata_value, open_parquet};

/// A column as found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewColumn {
    /// Name.
    pub name: String,
    /// Type of the values, such as `u32`, `text` or `list of f32`.
    pub r#type: String,
    /// Whether values may be missing.
    pub nullable: bool,
    /// What the values mean; empty if the file does not say.
    pub description: String,
}

/// What a Parquet file holds, with its first rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TablePreview {
    /// The file.
    pub path: PathBuf,
    /// Name of the table; `None` if another program wrote the file.
    pub table: Option<String>,
    /// Version of its schema.
    pub schema_version: Option<String>,
    /// What a row is.
    pub description: Option<String>,
    /// Number of rows in the file.
    pub total_rows: u64,
    /// Its columns in order.
    pub columns: Vec<PreviewColumn>,
    /// The first rows, one value per column. Missing values are null; floats that are not finite (other programs may write them) are the
    /// texts `NaN`, `inf` and `-inf`.
    pub rows: Vec<Vec<Value>>,
}

/// Reads the schema of a table and at most `limit` of its rows.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::NotParquet`], [`StoreError::UnknownType`].
pub fn preview_table(path: &Path, limit: usize) -> Result<TablePreview, StoreError> {
    let builder = open_parquet(path)?;
    let columns = builder
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let found = field.data_type();
            let unknown = || StoreError::UnknownType {
                path: path.to_path_buf(),
                column: field.name().clone(),
                found: found.to_string(),
            };
            Ok(PreviewColumn {
                name: field.name().clone(),
                r#type: type_name(found).ok_or_else(unknown)?,
                nullable: field.is_nullable(),
                description: field
                    .metadata()
                    .get(crate::column::DESCRIPTION_KEY)
                    .cloned()
                    .unwrap_or_default(),
            })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let mut preview = TablePreview {
        path: path.to_path_buf(),
        table: metadata_value(&builder, TABLE_KEY),
        schema_version: metadata_value(&builder, VERSION_KEY),
        description: metadata_value(&builder, DESCRIPTION_KEY),
        total_rows: u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0),
        columns,
        rows: Vec::new(),
    };
    let mut reader = guarded(path, || builder.with_limit(limit).build())?;
    while let Some(batch) = guarded(path, || reader.next().transpose())? {
        for row in 0..batch.num_rows() {
            preview.rows.push(
                batch
                    .columns()
                    .iter()
                    .map(|array| value(array.as_ref(), row))
                    .collect(),
            );
        }
    }
    Ok(preview)
}

/// A value as one would write it in a table cell: texts without quotes, missing values as `–`, lists in brackets.
pub fn display_cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn type_name(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "bool",
        DataType::Int8 => "i8",
        DataType::Int16 => "i16",
        DataType::Int32 => "i32",
        DataType::Int64 => "i64",
        DataType::UInt8 => "u8",
        DataType::UInt16 => "u16",
        DataType::UInt32 => "u32",
        DataType::UInt64 => "u64",
        DataType::Float32 => "f32",
        DataType::Float64 => "f64",
        DataType::Utf8 | DataType::LargeUtf8 => "text",
        DataType::List(element) => return Some(format!("list of {}", type_name(element.data_type())?)),
        _ => return None,
    };
    Some(name.to_string())
}

/// A value of a column whose type [`type_name`] knows.
fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let any = array.as_any();
    if let Some(array) = any.downcast_ref::<BooleanArray>() {
        return Value::Bool(array.value(row));
    }
    if let Some(array) = any.downcast_ref::<StringArray>() {
        return Value::String(array.value(row).to_string());
    }
    if let Some(array) = any.downcast_ref::<LargeStringArray>() {
        return Value::String(array.value(row).to_string());
    }
    if let Some(array) = any.downcast_ref::<ListArray>() {
        let elements = array.value(row);
        return Value::Array(
            (0..elements.len())
                .map(|index| value(elements.as_ref(), index))
                .collect(),
        );
    }
    match array.data_type() {
        DataType::Int8 => integer::<Int8Type>(array, row),
        DataType::Int16 => integer::<Int16Type>(array, row),
        DataType::Int32 => integer::<Int32Type>(array, row),
        DataType::Int64 => integer::<Int64Type>(array, row),
        DataType::UInt8 => integer::<UInt8Type>(array, row),
        DataType::UInt16 => integer::<UInt16Type>(array, row),
        DataType::UInt32 => integer::<UInt32Type>(array, row),
        DataType::UInt64 => integer::<UInt64Type>(array, row),
        // The shortest decimal that gives the same number, rather than the digits that widening to f64 would add.
        DataType::Float32 => float(primitive::<Float32Type>(array, row).map(|value| value.to_string())),
        _ => float(primitive::<Float64Type>(array, row).map(|value| value.to_string())),
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Option<T::Native> {
    array
        .as_any()
        .downcast_ref::<PrimitiveArray<T>>()
        .map(|array| array.value(row))
}

fn integer<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Value
where
    T::Native: Into<Number>,
{
    primitive::<T>(array, row).map_or(Value::Null, |value| Value::Number(value.into()))
}

fn float(text: Option<String>) -> Value {
    let Some(text) = text else { return Value::Null };
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text),
    }
}
