//! The values that a column may hold, and the passage of a column between rows and Arrow arrays.

use std::path::Path;

use arrow_array::builder::{
    ArrayBuilder, BooleanBuilder, Float32Builder, Float64Builder, Int64Builder, ListBuilder, StringBuilder,
    UInt32Builder, UInt64Builder,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::{DataType, Field};

use crate::StoreError;

/// Key of the field metadata that holds a column's description.
pub(crate) const DESCRIPTION_KEY: &str = "description";

/// Bytes of a text, or elements of a list, that one cell may hold. With it a batch of rows stays far below the 2 GiB of one array.
const CELL_LIMIT: usize = 1 << 20;

/// A column of a table: its name, its type, whether values may be missing, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name, with the unit where there is one.
    pub name: String,
    /// What the values mean.
    pub description: String,
    /// Arrow type of the values.
    pub data_type: DataType,
    /// Whether values may be missing.
    pub nullable: bool,
}

impl Column {
    /// A column for the type `C`. `name` is a Rust identifier as written (`r#` is taken off); the lines of `description` are joined.
    pub fn of<C: Cell>(name: &str, description: &str) -> Self {
        Self {
            name: name.trim_start_matches("r#").to_string(),
            description: description.split_whitespace().collect::<Vec<_>>().join(" "),
            data_type: C::data_type(),
            nullable: C::NULLABLE,
        }
    }

    pub(crate) fn field(&self) -> Field {
        let metadata = [(DESCRIPTION_KEY.to_string(), self.description.clone())];
        Field::new(&self.name, self.data_type.clone(), self.nullable).with_metadata(metadata.into())
    }
}

/// A single value: `u32`, `u64`, `i64`, `f32`, `f64`, `bool` or `String`.
pub trait Scalar: Sized {
    /// Arrow array of such values.
    type Array: Array + 'static;
    /// Builder of that array.
    type Builder: ArrayBuilder + Default;

    /// Arrow type.
    fn data_type() -> DataType;
    /// Adds a value, or a missing one, to an array.
    fn append(value: Option<&Self>, builder: &mut Self::Builder);
    /// The value at a place of an array that is not null there.
    fn value(array: &Self::Array, index: usize) -> Self;
    /// The value as text if it is a float that is not finite.
    fn non_finite(&self) -> Option<String> {
        None
    }
    /// Bytes, for texts.
    fn length(&self) -> usize {
        0
    }
}

/// A value of a column: a [`Scalar`], an `Option` of one, or a `Vec` of them.
pub trait Cell: Sized {
    /// Whether values may be missing.
    const NULLABLE: bool;

    /// Arrow type.
    fn data_type() -> DataType;
    /// Makes an array of values.
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// Takes an array apart.
    ///
    /// # Errors
    /// The row within the array and what is wrong: a missing value in a column without missing values.
    fn decode(array: &dyn Array) -> Result<Vec<Self>, (usize, String)>;
    /// The value as text if it is, or has within it, a float that is not finite.
    fn non_finite(&self) -> Option<String>;
    /// Bytes of a text, or elements (bytes, for texts) of a list.
    fn length(&self) -> usize;
}

fn typed<A: Array + 'static>(array: &dyn Array) -> Result<&A, (usize, String)> {
    array
        .as_any()
        .downcast_ref::<A>()
        .ok_or_else(|| (0, format!("unexpected type {}", array.data_type())))
}

macro_rules! scalars {
    ($($type:ty: $data_type:ident, $array:ty, $builder:ty
        $(, non_finite: $non_finite:expr)? $(, length: $length:expr)?;)*) => { $(
        impl Scalar for $type {
            type Array = $array;
            type Builder = $builder;

            fn data_type() -> DataType {
                DataType::$data_type
            }
            fn append(value: Option<&Self>, builder: &mut Self::Builder) {
                builder.append_option(value.cloned());
            }
            fn value(array: &Self::Array, index: usize) -> Self {
                array.value(index).into()
            }
            $(fn non_finite(&self) -> Option<String> {
                $non_finite(*self)
            })?
            $(fn length(&self) -> usize {
                $length(self)
            })?
        }

        impl Cell for $type {
            const NULLABLE: bool = false;

            fn data_type() -> DataType {
                <Self as Scalar>::data_type()
            }
            fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                let mut builder = <Self as Scalar>::Builder::default();
                values.for_each(|value| Self::append(Some(value), &mut builder));
                ArrayBuilder::finish(&mut builder)
            }
            fn decode(array: &dyn Array) -> Result<Vec<Self>, (usize, String)> {
                let array = typed::<<Self as Scalar>::Array>(array)?;
                (0..array.len())
                    .map(|index| if array.is_null(index) { Err((index, missing())) } else { Ok(Self::value(array, index)) })
                    .collect()
            }
            fn non_finite(&self) -> Option<String> {
                Scalar::non_finite(self)
            }
            fn length(&self) -> usize {
                Scalar::length(self)
            }
        }
    )* };
}

fn missing() -> String {
    "the value is missing".to_string()
}

scalars! {
    u32: UInt32, UInt32Array, UInt32Builder;
    u64: UInt64, UInt64Array, UInt64Builder;
    i64: Int64, Int64Array, Int64Builder;
    f32: Float32, Float32Array, Float32Builder, non_finite: |value: f32| (!value.is_finite()).then(|| value.to_string());
    f64: Float64, Float64Array, Float64Builder, non_finite: |value: f64| (!value.is_finite()).then(|| value.to_string());
    bool: Boolean, BooleanArray, BooleanBuilder;
    String: Utf8, StringArray, StringBuilder, length: String::len;
}

impl<S: Scalar> Cell for Option<S> {
    const NULLABLE: bool = true;

    fn data_type() -> DataType {
        S::data_type()
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        S: 'a,
    {
        let mut builder = S::Builder::default();
        values.for_each(|value| S::append(value.as_ref(), &mut builder));
        ArrayBuilder::finish(&mut builder)
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>, (usize, String)> {
        let array = typed::<S::Array>(array)?;
        Ok((0..array.len())
            .map(|index| (!array.is_null(index)).then(|| S::value(array, index)))
            .collect())
    }
    fn non_finite(&self) -> Option<String> {
        self.as_ref().and_then(S::non_finite)
    }
    fn length(&self) -> usize {
        self.as_ref().map_or(0, S::length)
    }
}

impl<S: Scalar> Cell for Vec<S> {
    const NULLABLE: bool = false;

    fn data_type() -> DataType {
        // The Parquet format names the elements of a list so.
        DataType::List(Field::new("element", S::data_type(), false).into())
    }
    fn encode<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        S: 'a,
    {
        let element = Field::new("element", S::data_type(), false);
        let mut builder = ListBuilder::new(S::Builder::default()).with_field(element);
        for list in values {
            list.iter()
                .for_each(|value| S::append(Some(value), builder.values()));
            builder.append(true);
        }
        ArrayBuilder::finish(&mut builder)
    }
    fn decode(array: &dyn Array) -> Result<Vec<Self>, (usize, String)> {
        let lists = typed::<ListArray>(array)?;
        let mut rows = Vec::with_capacity(lists.len());
        for row in 0..lists.len() {
            if lists.is_null(row) {
                return Err((row, missing()));
            }
            let elements = lists.value(row);
            let elements = typed::<S::Array>(&elements).map_err(|(_, problem)| (row, problem))?;
            if elements.null_count() > 0 {
                return Err((row, "an element of the list is missing".to_string()));
            }
            rows.push(
                (0..elements.len())
                    .map(|index| S::value(elements, index))
                    .collect(),
            );
        }
        Ok(rows)
    }
    fn non_finite(&self) -> Option<String> {
        self.iter().find_map(S::non_finite)
    }
    fn length(&self) -> usize {
        self.len().max(self.iter().map(S::length).sum())
    }
}

/// Collects the columns of a batch of rows; used by the code that [`table!`](crate::table!) makes.
pub struct ColumnWriter<'a> {
    table: &'static str,
    columns: &'a [Column],
    first_row: u64,
    arrays: Vec<ArrayRef>,
}

impl<'a> ColumnWriter<'a> {
    pub(crate) fn new(table: &'static str, columns: &'a [Column], first_row: u64) -> Self {
        Self {
            table,
            columns,
            first_row,
            arrays: Vec::with_capacity(columns.len()),
        }
    }

    /// Adds the next column.
    ///
    /// # Errors
    /// [`StoreError::NonFinite`] and [`StoreError::CellTooLarge`] with the row.
    pub fn push<'v, C: Cell + 'v>(
        &mut self,
        values: impl Iterator<Item = &'v C> + Clone,
    ) -> Result<(), StoreError> {
        let table = self.table;
        for (index, value) in values.clone().enumerate() {
            let column = || {
                self.columns
                    .get(self.arrays.len())
                    .map_or_else(String::new, |column| column.name.clone())
            };
            let row = self.first_row + index as u64;
            if let Some(value) = value.non_finite() {
                return Err(StoreError::NonFinite {
                    table,
                    column: column(),
                    row,
                    value,
                });
            }
            let elements = value.length();
            if elements > CELL_LIMIT {
                return Err(StoreError::CellTooLarge {
                    table,
                    column: column(),
                    row,
                    elements,
                    limit: CELL_LIMIT,
                });
            }
        }
        self.arrays.push(C::encode(values));
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<ArrayRef> {
        self.arrays
    }
}

/// Hands out the columns of a batch read from a file; used by the code that [`table!`](crate::table!) makes.
pub struct ColumnReader<'a> {
    path: &'a Path,
    table: &'static str,
    columns: std::slice::Iter<'a, Column>,
    batch: &'a RecordBatch,
    first_row: u64,
}

impl<'a> ColumnReader<'a> {
    pub(crate) fn new(
        path: &'a Path,
        table: &'static str,
        columns: &'a [Column],
        batch: &'a RecordBatch,
        first_row: u64,
    ) -> Self {
        Self {
            path,
            table,
            columns: columns.iter(),
            batch,
            first_row,
        }
    }

    /// The values of the next column.
    ///
    /// # Errors
    /// [`StoreError::WrongColumn`] and [`StoreError::WrongValue`].
    pub fn take<C: Cell>(&mut self) -> Result<Vec<C>, StoreError> {
        let name = self.columns.next().map_or("", |column| column.name.as_str());
        let array = self
            .batch
            .column_by_name(name)
            .ok_or_else(|| StoreError::WrongColumn {
                path: self.path.to_path_buf(),
                table: self.table,
                column: name.to_string(),
                expected: C::data_type().to_string(),
                found: "no such column".to_string(),
            })?;
        let wrong = |(row, problem): (usize, String)| StoreError::WrongValue {
            path: self.path.to_path_buf(),
            table: self.table,
            column: name.to_string(),
            row: self.first_row + row as u64,
            problem,
        };
        let values = C::decode(array).map_err(wrong)?;
        let bad = values
            .iter()
            .enumerate()
            .find_map(|(row, value)| value.non_finite().map(|value| (row, value)));
        match bad {
            Some((row, value)) => Err(wrong((row, format!("{value} is not a finite number")))),
            None => Ok(values),
        }
    }
}

/// Whether a file's type is the expected one. Names and nullability of list elements do not matter, since other writers choose their own.
pub(crate) fn same_type(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(expected), DataType::List(found)) => {
            same_type(expected.data_type(), found.data_type())
        }
        _ => expected == found,
    }
}
