//! Audits logs in one pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::comparison::ParserComparison;
use super::finding::{counted, grouped, percent};
use super::plan_checks::Grid;
use super::problem_tally::{ProblemCount, ProblemTally};
use super::{
    Analysis, AuditReport, AuditSettings, Criterion, Example, Finding, FindingKind, LayerCount, Severity,
    Totals, amount_checks, feature_checks, outcome_checks, support, trial_checks,
};
use crate::{
    AggregateRecord, Batch, Condition, FeatureId, FeatureRecord, IndexBuilder, IndexPart, Logs, LogsError,
    OutcomeSource, ReadReport, ReadWatch, TrialIndex, TrialRecord,
};

/// Criteria of an analysis, by which compared parsers are told apart.
pub type CriteriaOf<'a> = &'a (dyn Fn(Analysis) -> Vec<&'a dyn Criterion> + Sync);

/// Reads all files and says what is in them, and whether they support the analysis. `criteria` decide what a finding of the
/// analysis is when parsers are compared.
///
/// # Errors
/// Those of [`Logs::read`] and of the criteria. What is wrong with the logs is no error but a finding.
pub fn audit(
    logs: &Logs,
    settings: &AuditSettings,
    criteria: CriteriaOf<'_>,
    watch: &dyn ReadWatch,
) -> Result<AuditReport, LogsError> {
    let mut sources = vec![settings.outcome.clone()];
    if let Some(parsers) = &settings.compare {
        sources.extend(
            parsers
                .iter()
                .map(|parser| OutcomeSource::Parsed(Box::new(parser.clone()))),
        );
    }
    let mut gathered = Gathered::new(sources.len());
    let read = logs.read(
        |batch| Part::new(batch, &sources, settings),
        |part| {
            gathered.add(part);
            Ok(())
        },
        watch,
    )?;
    gathered.report(logs, read, settings, criteria)
}

/// What is taken of one batch.
struct Part {
    index: IndexPart,
    features: Vec<FeatureRecord>,
    aggregates: Vec<AggregateRecord>,
    problems: ProblemTally,
    names: HashMap<String, u64>,
}

impl Part {
    fn new(batch: &Batch<'_>, sources: &[OutcomeSource], settings: &AuditSettings) -> Self {
        let mut names: HashMap<String, u64> = HashMap::new();
        // Trials of one condition follow one another.
        let name_of = |trial: &TrialRecord<'_>| trial.condition_name.as_deref().map(str::to_owned);
        for run in batch
            .trials
            .chunk_by(|before, trial| before.condition_name == trial.condition_name)
        {
            if let Some(name) = run.first().and_then(name_of) {
                *names.entry(name).or_default() += run.len() as u64;
            }
        }
        Self {
            index: IndexPart::new(batch, sources, |response| settings.echo.is_in(response)),
            features: batch.features.clone(),
            aggregates: batch.aggregates.clone(),
            problems: ProblemTally::new(&batch.problems),
            names,
        }
    }
}

struct Gathered {
    index: IndexBuilder,
    features: Vec<FeatureRecord>,
    aggregates: Vec<AggregateRecord>,
    problems: ProblemTally,
    names: BTreeMap<String, u64>,
}

impl Gathered {
    fn new(sources: usize) -> Self {
        Self {
            index: IndexBuilder::new(sources),
            features: Vec::new(),
            aggregates: Vec::new(),
            problems: ProblemTally::default(),
            names: BTreeMap::new(),
        }
    }

    fn add(&mut self, part: Part) {
        self.index.add(part.index);
        self.features.extend(part.features);
        self.aggregates.extend(part.aggregates);
        self.problems.add(part.problems);
        for (name, count) in part.names {
            *self.names.entry(name).or_default() += count;
        }
    }

    fn report(
        self,
        logs: &Logs,
        read: ReadReport,
        settings: &AuditSettings,
        criteria: CriteriaOf<'_>,
    ) -> Result<AuditReport, LogsError> {
        let index = self.index.finish();
        let analysis = settings
            .analysis
            .unwrap_or_else(|| support::usual_analysis(&index));
        let in_logs: BTreeSet<FeatureId> = index.cells().iter().filter_map(|cell| cell.feature).collect();
        let grid = Grid::new(&index);
        let totals = Totals {
            planned: grid.plan(settings.planned_trials),
            listed_features: distinct(&self.features) as u64,
            counted_cells: self.aggregates.len() as u64,
            ..totals(&index, &in_logs)
        };
        let problems = self.problems.counts(&read);
        let mut findings = Vec::new();
        check_reading(&read, &problems, &mut findings);
        trial_checks::check(&index, logs.files(), &totals, &mut findings);
        grid.check(totals.planned.as_ref(), settings.fewest_trials, &mut findings);
        let treatments = outcome_checks::treatments(&index);
        let fewest = settings.fewest_trials;
        outcome_checks::check(&index, &treatments, &totals, analysis, fewest, &mut findings);
        let decides = totals.trials == 0 && analysis != Analysis::Words;
        outcome_checks::check_aggregates(&self.aggregates, decides, &mut findings);
        amount_checks::check(&index, &mut findings);
        feature_checks::check(&self.features, &in_logs, &settings.dictionaries, &mut findings);
        let asked_for = settings.analysis.is_some();
        let support = support::judge(
            &index,
            &self.aggregates,
            analysis,
            asked_for,
            fewest,
            &mut findings,
        );
        let comparison = match &settings.compare {
            Some([first, second]) => Some(ParserComparison::new(
                &index,
                [first, second],
                [1, 2],
                criteria(analysis),
            )?),
            None => None,
        };
        findings.sort_by_key(|finding| finding.severity);
        Ok(AuditReport {
            support,
            findings,
            treatments,
            layers: layers(&index, &self.features, &self.aggregates),
            totals,
            comparison,
            condition_names: self
                .names
                .keys()
                .map(|name| (name.clone(), Condition::parse(name.as_str().into()).to_string()))
                .collect(),
            problems,
            read,
        })
    }
}

fn distinct(features: &[FeatureRecord]) -> usize {
    features
        .iter()
        .map(|record| record.feature)
        .collect::<BTreeSet<_>>()
        .len()
}

fn totals(index: &TrialIndex, in_logs: &BTreeSet<FeatureId>) -> Totals {
    let count = |test: fn(&crate::IndexedTrial) -> bool| {
        index.trials().iter().filter(|trial| test(trial)).count() as u64
    };
    Totals {
        rows: index.trials().len() as u64,
        trials: count(|trial| trial.counts(crate::Repeats::First)),
        surplus_rows: count(crate::IndexedTrial::is_repeat),
        later_attempts: count(crate::IndexedTrial::is_later_attempt),
        features: in_logs.len() as u64,
        layers: in_logs.iter().map(|id| id.layer).collect::<BTreeSet<_>>().len() as u64,
        cells: index.cells().len() as u64,
        ..Totals::default()
    }
}

fn layers(index: &TrialIndex, listed: &[FeatureRecord], aggregates: &[AggregateRecord]) -> Vec<LayerCount> {
    #[derive(Default)]
    struct Layer {
        features: BTreeSet<u32>,
        rows: u64,
        listed: BTreeSet<u32>,
        causal: BTreeSet<u32>,
    }
    let mut layers: BTreeMap<u32, Layer> = BTreeMap::new();
    for (number, cell) in index.cells().iter().enumerate() {
        if let Some(id) = cell.feature {
            let layer = layers.entry(id.layer).or_default();
            layer.features.insert(id.feature);
            layer.rows += index.rows_of(number).len() as u64;
        }
    }
    for id in aggregates.iter().filter_map(|record| record.feature) {
        layers.entry(id.layer).or_default().features.insert(id.feature);
    }
    for record in listed {
        let layer = layers.entry(record.feature.layer).or_default();
        layer.listed.insert(record.feature.feature);
        if record.measures.causal == Some(true) {
            layer.causal.insert(record.feature.feature);
        }
    }
    layers
        .into_iter()
        .map(|(layer, counts)| LayerCount {
            layer,
            features: counts.features.len() as u64,
            rows: counts.rows,
            listed_features: counts.listed.len() as u64,
            called_causal: counts.causal.len() as u64,
        })
        .collect()
}

fn check_reading(read: &ReadReport, problems: &[ProblemCount], findings: &mut Vec<Finding>) {
    if !read.absent.is_empty() {
        let examples = read
            .absent
            .iter()
            .map(|(path, reason)| Example::new(path.display().to_string(), 1, reason.clone()));
        let count = read.absent.len() as u64;
        let what = format!("{} cannot be read", counted(count, "path"));
        findings.push(
            Finding::new(Severity::Warning, FindingKind::AbsentPaths, count, what)
                .remedy("correct the paths; the rest was audited")
                .examples(examples),
        );
    }
    let rows: u64 = read.files.iter().map(|file| file.rows).sum();
    let unusable: u64 = problems.iter().map(|problem| problem.count).sum();
    if unusable > 0 {
        let files: BTreeSet<_> = problems.iter().map(|problem| &problem.path).collect();
        let what = format!(
            "{} of {} ({}) in {} cannot be used",
            grouped(unusable),
            counted(rows.max(unusable), "row"),
            percent(unusable, rows.max(unusable)),
            counted(files.len() as u64, "file")
        );
        let examples = problems.iter().map(|problem| {
            let note = problem.first.first().map_or(String::new(), ToString::to_string);
            Example::new(problem.path.display().to_string(), problem.count, note)
        });
        findings.push(
            Finding::new(Severity::Warning, FindingKind::UnusableRows, unusable, what)
                .remedy("`glassbox import` lists every one of them with its place")
                .examples(examples),
        );
    }
    let repaired: u64 = read.files.iter().map(|file| file.repaired).sum();
    if repaired > 0 {
        let what = format!(
            "{} hold NaN or Infinity, read as missing",
            counted(repaired, "row")
        );
        findings.push(Finding::new(
            Severity::Fact,
            FindingKind::NonFiniteNumbers,
            repaired,
            what,
        ));
    }
}
