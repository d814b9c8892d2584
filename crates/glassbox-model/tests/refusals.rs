//! Programs and requests that can't be met, and values that are not finite: each a clear error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::random_model::{self, FAMILIES};
use glassbox_kernels::{Backend, CpuBackend};
use glassbox_model::batch::TokenBatch;
use glassbox_model::cache::KvCache;
use glassbox_model::edit::{BatchRows, Positions, RowEdit, RowIntervention, RowProgram};
use glassbox_model::edits::{Add, Scale, Set, Zero};
use glassbox_model::forward::{
    ForwardRequest, LogitPosition, LogitPositions, Residual, SiteView, SiteVisitor, Start,
};
use glassbox_model::forward_error::{ForwardError, VisitError};
use glassbox_model::site::{Norm, Site};

type Edit = Arc<dyn RowEdit<CpuBackend>>;

fn one(site: Site, edit: Edit) -> RowIntervention<CpuBackend> {
    RowIntervention {
        rows: BatchRows::All,
        site,
        positions: Positions::All,
        heads: None,
        edit,
    }
}

fn only(intervention: RowIntervention<CpuBackend>) -> RowProgram<CpuBackend> {
    RowProgram {
        interventions: vec![intervention],
    }
}

#[test]
fn a_program_that_does_not_fit_is_refused_before_anything_is_computed() {
    let backend = CpuBackend;
    let model = random_model::model(&backend, FAMILIES[0], 9);
    let width = model.config().d_model;
    let batch = TokenBatch::from_rows(&[vec![4, 5, 6], vec![7]]).unwrap();
    let base = || one(Site::ResidPost(1), Arc::new(Zero) as Edit);
    let wide: Edit = Arc::new(Set::new(&backend, &vec![0.0; width + 1]).unwrap());
    let head: Edit = Arc::new(Set::new(&backend, &[0.0; 4]).unwrap());
    for (intervention, says) in [
        (
            RowIntervention {
                site: Site::ResidPost(3),
                ..base()
            },
            "its blocks are 0 to 2",
        ),
        (
            RowIntervention {
                site: Site::PosEmbed,
                ..base()
            },
            "positions are rotary",
        ),
        (
            RowIntervention {
                edit: Arc::clone(&wide),
                ..base()
            },
            "rows of 13 values, rows of this site have 12",
        ),
        (
            RowIntervention {
                site: Site::Query(0),
                edit: head,
                ..base()
            },
            "rows of this site have 16",
        ),
        (
            RowIntervention {
                heads: Some(vec![0]),
                ..base()
            },
            "no head axis",
        ),
        (
            RowIntervention {
                site: Site::Mixed(0),
                heads: Some(vec![4]),
                ..base()
            },
            "valid heads are 0 to 3",
        ),
        (
            RowIntervention {
                site: Site::Key(0),
                heads: Some(vec![2]),
                ..base()
            },
            "valid heads are 0 to 1",
        ),
        (
            RowIntervention {
                site: Site::Key(0),
                heads: Some(vec![1, 1]),
                ..base()
            },
            "listed twice",
        ),
        (
            RowIntervention {
                site: Site::Key(0),
                heads: Some(vec![]),
                ..base()
            },
            "empty",
        ),
        (
            RowIntervention {
                rows: BatchRows::One(2),
                ..base()
            },
            "rows 0 to 1",
        ),
        (
            RowIntervention {
                positions: Positions::Absolute(vec![0, 3]),
                ..base()
            },
            "position 3 is never computed",
        ),
        (
            RowIntervention {
                positions: Positions::Absolute(vec![]),
                ..base()
            },
            "empty list",
        ),
        (
            RowIntervention {
                positions: Positions::Generated,
                ..base()
            },
            "a generated position is never computed",
        ),
        (
            RowIntervention {
                rows: BatchRows::One(1),
                positions: Positions::Absolute(vec![1]),
                ..base()
            },
            "they compute positions 0 to 0",
        ),
    ] {
        let program = only(intervention);
        let request = ForwardRequest::new(&batch).program(&program);
        let error = model.forward(&mut model.workspace(), request).unwrap_err();
        assert!(matches!(error, ForwardError::Program(_)), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    for (site, start, stop) in [
        (Site::ResidPost(2), None, Some(1)),
        (Site::NormScale(Norm::Final), None, Some(2)),
        (Site::Embed, Some(0), None),
    ] {
        let residual = vec![0.1; 6 * width];
        let program = only(one(site, Arc::new(Scale(0.5))));
        let mut request = ForwardRequest::new(&batch).program(&program);
        if let Some(layer) = start {
            request = request.start(Start::Layer {
                layer,
                residual: Residual::Host(&residual),
            });
        }
        if let Some(layer) = stop {
            request = request.stop_after_layer(layer);
        }
        let error = model
            .forward(&mut model.workspace(), request)
            .unwrap_err()
            .to_string();
        assert!(error.contains("not computed"), "{error}");
    }
    // A fixed width at scores or patterns is found when the number of keys is known.
    let program = only(one(Site::AttentionPattern(0), wide));
    let request = ForwardRequest::new(&batch).program(&program);
    let error = model
        .forward(&mut model.workspace(), request)
        .unwrap_err()
        .to_string();
    assert!(error.contains("rows of this site have 3"), "{error}");
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let backend = CpuBackend;
    let model = random_model::model(&backend, FAMILIES[0], 9);
    let config = model.config();
    let batch = TokenBatch::from_rows(&[vec![4, 5, 6], vec![7]]).unwrap();
    let mut workspace = model.workspace();
    let mut refused = |request: ForwardRequest<'_, CpuBackend>, says: &str| {
        let error = model.forward(&mut workspace, request).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    let long = TokenBatch::from_rows(&[vec![1; 49]]).unwrap();
    refused(
        ForwardRequest::new(&long),
        "row 0 has 49 positions, the model's context holds 48",
    );
    let unknown = TokenBatch::from_rows(&[vec![1, 2], vec![29]]).unwrap();
    refused(
        ForwardRequest::new(&unknown),
        "row 1, position 0: token id 29 is outside the vocabulary, ids are 0 to 28",
    );
    refused(
        ForwardRequest::new(&batch).record(&[Site::PosEmbed]),
        "positions are rotary",
    );
    refused(
        ForwardRequest::new(&batch)
            .stop_after_layer(0)
            .record(&[Site::ResidPre(1)]),
        "not computed",
    );
    refused(
        ForwardRequest::new(&batch).stop_after_layer(3),
        "stop layer 3 is out of range",
    );
    refused(
        ForwardRequest::new(&batch)
            .stop_after_layer(1)
            .logits(LogitPositions::Last),
        "has no logits",
    );
    let short = [0.0; 5];
    let start = |layer| Start::Layer {
        layer,
        residual: Residual::Host(&short),
    };
    refused(
        ForwardRequest::new(&batch).start(start(4)),
        "start layer 4 is out of range, valid are 0 to 3",
    );
    refused(ForwardRequest::new(&batch).start(start(1)), "holds 5 values");
    let chosen = |row, position| LogitPositions::Chosen(vec![LogitPosition { row, position }]);
    refused(
        ForwardRequest::new(&batch).logits(chosen(1, 1)),
        "positions 0 to 0",
    );
    refused(ForwardRequest::new(&batch).logits(chosen(2, 0)), "rows 0 to 1");
    refused(
        ForwardRequest::new(&batch).prompt_lengths(&[1]),
        "1 entries, the batch has 2 rows",
    );

    let mut cache = KvCache::new(&backend, config, 2, 4);
    let mut other = KvCache::new(&backend, config, 3, 4);
    refused(
        ForwardRequest::new(&batch).cache(&mut other),
        "the cache has 3 entries",
    );
    let prepare = ForwardRequest::new(&batch).stop_after_layer(1).cache(&mut cache);
    model.forward(&mut model.workspace(), prepare).unwrap();
    refused(
        ForwardRequest::new(&batch).cache(&mut cache),
        "must be of one length",
    );
    let next = TokenBatch::from_rows(&[vec![4], vec![7]]).unwrap();
    refused(
        ForwardRequest::new(&next).cache(&mut cache),
        "holds only blocks 0 to 1",
    );
    cache.truncate(0);
    assert!(
        model
            .forward(
                &mut model.workspace(),
                ForwardRequest::new(&batch).cache(&mut cache)
            )
            .is_ok()
    );
    assert!(cache.fork(&[2], 0).is_err() && cache.retain(&[0, 5]).is_err());
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let backend = CpuBackend;
    for family in FAMILIES {
        let model = random_model::model(&backend, family, 9);
        let batch = TokenBatch::from_rows(&[vec![4, 5, 6], vec![7, 3]]).unwrap();
        let mut spoilt = vec![0.0; model.config().d_mlp];
        spoilt[7] = f32::NAN;
        let program = only(RowIntervention {
            rows: BatchRows::One(1),
            positions: Positions::Absolute(vec![1]),
            ..one(Site::MlpPost(1), Arc::new(Add::new(&backend, &spoilt).unwrap()))
        });
        for cached in [false, true] {
            let mut cache = KvCache::new(&backend, model.config(), 2, 4);
            let mut request = ForwardRequest::new(&batch).program(&program);
            if cached {
                request = request.cache(&mut cache);
            }
            let error = model.forward(&mut model.workspace(), request).unwrap_err();
            let ForwardError::NonFinite {
                place,
                row,
                position,
                element,
                value,
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(
                (place.as_str(), row, position, element),
                ("blocks.1.mlp.hook_post", 1, 1, 7)
            );
            assert!(value.is_nan());
            assert_eq!(cache.filled(), 0, "a failed pass adds nothing to the cache");
        }
        // Without logits the residual stream is looked at.
        let program = only(one(Site::NormScale(Norm::Mlp(0)), Arc::new(Zero)));
        let request = ForwardRequest::new(&batch).stop_after_layer(0).program(&program);
        let error = model
            .forward(&mut model.workspace(), request)
            .unwrap_err()
            .to_string();
        assert!(error.contains("blocks.0.ln2.hook_normalized"), "{error}");
    }
}

/// Refuses its second site.
struct Refusing(u32);

impl<B: Backend> SiteVisitor<B> for Refusing {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::ResidPre(_))
    }

    fn visit(&mut self, _backend: &B, view: &SiteView<'_, B>) -> Result<(), VisitError> {
        self.0 += 1;
        if self.0 == 2 {
            Err(format!("no room for {:?}", view.shape()).into())
        } else {
            Ok(())
        }
    }
}

#[test]
fn a_visitors_error_names_the_site() {
    let model = random_model::model(&CpuBackend, FAMILIES[0], 9);
    let batch = TokenBatch::from_row(&[4, 5, 6]).unwrap();
    let mut visitor = Refusing(0);
    let error = model
        .forward(
            &mut model.workspace(),
            ForwardRequest::new(&batch).visitor(&mut visitor),
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the visitor of `blocks.1.hook_resid_pre` failed: no room for [1, 3, 12]"
    );
}
