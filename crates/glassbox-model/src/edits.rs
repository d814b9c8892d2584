//! The plain row edits: set, add, scale, zero.

use glassbox_kernels::{Backend, KernelError};

use crate::edit::RowEdit;

/// Values [k, width] on the device, for the edits that put given values in place of, or on top of, others.
#[derive(Debug)]
struct GivenRows<B: Backend> {
    values: B::Buffer,
    rows: usize,
    width: usize,
}

impl<B: Backend> GivenRows<B> {
    fn new(backend: &B, values: &[f32], width: usize) -> Result<Self, KernelError> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(KernelError::Parameter {
                op: "row edit",
                what: format!("{} values are not one or more rows of {width}", values.len()),
            });
        }
        Ok(Self {
            values: backend.upload(values),
            rows: values.len() / width,
            width,
        })
    }
}

/// x = v.
#[derive(Debug)]
pub struct Set<B: Backend>(GivenRows<B>);

impl<B: Backend> Set<B> {
    /// Sets every touched row to these values.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] if there are no values.
    pub fn new(backend: &B, values: &[f32]) -> Result<Self, KernelError> {
        Self::rows(backend, values, values.len())
    }

    /// Sets the i-th row that a pass touches to row i mod k of values [k, width]: a patch from another run. Rows
    /// count by batch row, then position, then head.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] if the values are not whole rows of `width`.
    pub fn rows(backend: &B, values: &[f32], width: usize) -> Result<Self, KernelError> {
        GivenRows::new(backend, values, width).map(Self)
    }
}

impl<B: Backend> RowEdit<B> for Set<B> {
    fn width(&self) -> Option<usize> {
        Some(self.0.width)
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        backend.set_rows(x, width, rows, &self.0.values, self.0.rows)
    }

    fn pull_back(
        &self,
        backend: &B,
        _x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        backend.scale_rows(gradient, width, rows, 0.0)
    }
}

/// x += v.
#[derive(Debug)]
pub struct Add<B: Backend>(GivenRows<B>);

impl<B: Backend> Add<B> {
    /// Adds these values to every touched row.
    ///
    /// # Errors
    /// [`KernelError::Parameter`] if there are no values.
    pub fn new(backend: &B, values: &[f32]) -> Result<Self, KernelError> {
        Self::rows(backend, values, values.len())
    }

    /// Adds row i mod k of values [k, width] to the i-th row that a pass touches; see [`Set::rows`].
    ///
    /// # Errors
    /// [`KernelError::Parameter`] if the values are not whole rows of `width`.
    pub fn rows(backend: &B, values: &[f32], width: usize) -> Result<Self, KernelError> {
        GivenRows::new(backend, values, width).map(Self)
    }
}

impl<B: Backend> RowEdit<B> for Add<B> {
    fn width(&self) -> Option<usize> {
        Some(self.0.width)
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        backend.add_rows(x, width, rows, &self.0.values, self.0.rows)
    }

    fn pull_back(
        &self,
        _backend: &B,
        _x_before: &B::Buffer,
        _gradient: &mut B::Buffer,
        _width: usize,
        _rows: &[u32],
    ) -> Result<(), KernelError> {
        Ok(())
    }
}

/// x *= factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(pub f32);

impl<B: Backend> RowEdit<B> for Scale {
    fn width(&self) -> Option<usize> {
        None
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        backend.scale_rows(x, width, rows, self.0)
    }

    fn pull_back(
        &self,
        backend: &B,
        _x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        backend.scale_rows(gradient, width, rows, self.0)
    }
}

/// x = 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zero;

impl<B: Backend> RowEdit<B> for Zero {
    fn width(&self) -> Option<usize> {
        None
    }

    fn apply(&self, backend: &B, x: &mut B::Buffer, width: usize, rows: &[u32]) -> Result<(), KernelError> {
        backend.scale_rows(x, width, rows, 0.0)
    }

    fn pull_back(
        &self,
        backend: &B,
        _x_before: &B::Buffer,
        gradient: &mut B::Buffer,
        width: usize,
        rows: &[u32],
    ) -> Result<(), KernelError> {
        backend.scale_rows(gradient, width, rows, 0.0)
    }
}
