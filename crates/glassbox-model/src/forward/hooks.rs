//! What happens at a site: the program's edits first, then whoever wants to see the values.

use glassbox_kernels::Backend;

use crate::config::ModelConfig;
use crate::forward::layout::PassLayout;
use crate::forward_error::{ForwardError, VisitError};
use crate::gradient::EditLog;
use crate::program::ProgramRun;
use crate::site::{Site, SiteAxes};

/// One site's values in the course of a pass, after its edits.
#[derive(Debug)]
pub struct SiteView<'a, B: Backend> {
    /// The site.
    pub site: Site,
    /// How its values lie in the buffer.
    pub axes: SiteAxes,
    /// Rows, slots and positions of the pass.
    pub layout: &'a PassLayout,
    /// The values on the device, dense in the order of [`SiteView::shape`]; the buffer may be longer.
    pub buffer: &'a B::Buffer,
}

impl<B: Backend> SiteView<'_, B> {
    /// Shape of the values.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        self.axes
            .shape(self.layout.batch(), self.layout.queries(), self.layout.keys())
    }

    /// Number of the values.
    #[must_use]
    pub fn value_count(&self) -> usize {
        self.axes
            .len(self.layout.batch(), self.layout.queries(), self.layout.keys())
    }

    /// The site's values at the last slot of every row, [batch, width], in a buffer of exactly that length; for sites with
    /// a position axis. Rows are padded on the left, so that is where each row's next token is predicted.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub fn last_rows(&self, backend: &B) -> Result<B::Buffer, ForwardError> {
        let (rows, queries) = (self.layout.batch(), self.layout.queries());
        if rows == 0 || queries == 0 {
            return Ok(backend.zeros(0));
        }
        let width = self.value_count() / (rows * queries);
        let last: Vec<u32> = (1..=rows).map(|row| (row * queries) as u32 - 1).collect();
        let mut gathered = backend.zeros(rows * width);
        backend.gather_rows(self.buffer, width, &last, &mut gathered)?;
        Ok(gathered)
    }

    /// Copies the values to the host.
    ///
    /// # Errors
    /// [`ForwardError::Kernel`] if the backend refuses.
    pub fn read(&self, backend: &B) -> Result<Vec<f32>, ForwardError> {
        let mut values = Vec::new();
        self.read_into(backend, &mut values)?;
        Ok(values)
    }

    /// Copies the values to the host, into memory that is there already as far as it reaches.
    ///
    /// # Errors
    /// As [`SiteView::read`].
    pub fn read_into(&self, backend: &B, values: &mut Vec<f32>) -> Result<(), ForwardError> {
        let count = self.value_count();
        if values.capacity() < count {
            // Fresh zeros cost nothing until they are written.
            *values = vec![0.0; count];
        } else {
            values.resize(count, 0.0);
        }
        backend.read(self.buffer, 0, values)?;
        Ok(())
    }
}

/// Sees the values of chosen sites while a pass computes them.
///
/// Seeing a site changes no value, but scores and patterns are written out only in blocks where someone wants them
/// or edits them, and the two ways to compute attention may differ in the last bits.
pub trait SiteVisitor<B: Backend> {
    /// Whether [`SiteVisitor::visit`] is to be called for this site.
    fn wants(&self, site: Site) -> bool;

    /// Gets the values of a wanted site, after the program's edits there.
    ///
    /// # Errors
    /// Any error; it ends the pass as [`ForwardError::Visitor`].
    fn visit(&mut self, backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError>;
}

/// How many visitors a pass may have: the request's, the recorder, the tape.
pub(crate) const VISITORS: usize = 3;

/// Everything that acts at sites during one pass.
pub(crate) struct Hooks<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(crate) config: &'a ModelConfig,
    pub(crate) layout: &'a mut PassLayout,
    pub(crate) program: Option<&'a mut ProgramRun<B>>,
    pub(crate) visitors: [Option<&'a mut dyn SiteVisitor<B>>; VISITORS],
    pub(crate) edit_log: Option<&'a mut EditLog<B>>,
}

impl<B: Backend> Hooks<'_, B> {
    /// Whether the program edits the site.
    pub(crate) fn edits(&self, site: Site) -> bool {
        self.program.as_ref().is_some_and(|program| program.edits(site))
    }

    /// Whether anything acts at the site.
    pub(crate) fn wants(&self, site: Site) -> bool {
        self.edits(site) || self.visitors.iter().flatten().any(|visitor| visitor.wants(site))
    }

    /// Applies the site's edits, then shows the values.
    pub(crate) fn at(&mut self, site: Site, x: &mut B::Buffer) -> Result<(), ForwardError> {
        self.edit(site, x)?;
        self.visit(site, x)
    }

    pub(crate) fn edit(&mut self, site: Site, x: &mut B::Buffer) -> Result<(), ForwardError> {
        if let Some(program) = &mut self.program {
            let axes = site.axes(self.config);
            program.apply(
                self.backend,
                site,
                axes,
                self.layout,
                x,
                self.edit_log.as_deref_mut(),
            )?;
        }
        Ok(())
    }

    pub(crate) fn visit(&mut self, site: Site, x: &B::Buffer) -> Result<(), ForwardError> {
        for visitor in self.visitors.iter_mut().flatten() {
            if visitor.wants(site) {
                let view = SiteView {
                    site,
                    axes: site.axes(self.config),
                    layout: self.layout,
                    buffer: x,
                };
                visitor
                    .visit(self.backend, &view)
                    .map_err(|source| ForwardError::Visitor { site, source })?;
            }
        }
        Ok(())
    }
}
