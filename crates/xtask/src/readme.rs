//! `assets/demo/README.md`, written from the measured figures so that the two cannot differ.

use std::fmt::Write as _;

use crate::evaluation::{Figures, Rates};

/// The page.
pub fn readme(figures: &Figures) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_introduction(&mut page, figures);
    let _ = write_figures(&mut page, figures);
    page
}

fn write_introduction(page: &mut String, figures: &Figures) -> std::fmt::Result {
    let recipe = &figures.recipe;
    let training = &recipe.model;
    write!(
        page,
        "# The shipped model

A small language model of slot-machine players, one sparse dictionary per layer, and prompts for the shipped
experiment. All of it is made by

```
cargo xtask demo-model             # all of it, in this order: prompts, model, dictionaries, figures
cargo xtask demo-model --evaluate  # only the figures below, from the files that are here
```

The source is `crates/xtask/src`; every setting is in `recipe.rs` and repeated in `figures.json`. Training took
{model_minutes:.0} minutes for the model and {dictionary_minutes:.0} for the dictionaries on two cores that had other
work besides, built with `RUSTFLAGS=\"-C target-cpu=native\"` on an AVX-512 processor. Sums are made in a fixed order, so
the same build on the same processor gives the same files again; another gives weights that differ by rounding, and
so other figures within the noise of training.

| file | content |
|---|---|
| `model/` | Hugging Face Llama checkpoint in bf16, {weights} weights: 6 blocks, d_model 128, 4 heads, 2 key-value heads, MLP width 384, tied head; byte-level BPE tokenizer with {vocabulary} tokens. `<s>` (id 0) must be put before every text by the caller; `</s>` (id 1) ends a response |
| `dictionaries/L0` … `L5` | dictionaries on `blocks.{{l}}.hook_resid_post`, 2048 features with one threshold per dictionary (BatchTopK written as JumpReLU), this program's own layout; f16 matrices, f32 biases and thresholds; for raw activations, unit decoder rows |
| `dictionaries.toml` | the job that made them; written by hand, not by this command |
| `prompts/safe.jsonl`, `risky.jsonl` | {selection} matched pairs of held-out prompts for selecting features: `{{\"id\", \"text\"}}` per line |
| `prompts/safe_sweep.jsonl`, `risky_sweep.jsonl` | {sweep} further pairs for the sweep; no prompt text occurs in both |
| `train_log.jsonl`, `dictionary_log.jsonl` | progress of the two trainings |
| `figures.json` | what was measured, and the settings |
| `scenario.toml` | the shipped experiment; written by hand, not by this command |

## The game and its text

A session starts with $100. A round is won with probability 30 %, and a win returns three times the bet. The
machine takes either $10 only (fixed) or any amount from $5 to $100 (variable). A document is a prompt that shows
the last three or four rounds, the balance, perhaps a goal, perhaps the odds, perhaps a line about patterns, and
the options, then a response of one to three sentences and the decision:

```
{example}
```

A response comes from one of eight players: cautious, calculator, content, goal-seeker, chaser (wants lost money
back), doubler (doubles after a loss), lucky, whim. How likely each is depends on what the prompt shows (goal line,
bet format, recent losses and wins, balance, odds, patterns), each decides with its own probability of stopping and
its own rule for the amount, and one response in sixteen changes its mind in the last line.

The two families of the experiment are matched pairs: the same rounds, balance and optional lines, all past bets
$10. `safe` offers a fixed bet and shows no goal; `risky` offers a variable bet and shows a goal. So neither
history nor balance tells the families apart.

## Recipe

All random numbers come from ChaCha8 with seed {seed}, a key per purpose and a stream per item; training,
development, held-out and prompt games have different keys.

Model: {steps} updates of {batch} documents, each document seen once, no padding, loss on every token after `<s>`;
AdamW (betas 0.9 and 0.95, weight decay {decay}, gradient norm at most {clip}), learning rate {rate} with {warm_up}
steps of warm-up and a cosine to a twentieth. All figures below are measured on the bf16 weights.

Dictionaries: made by `glassbox run dictionaries.toml`, on the text of {documents} training games: one pass writes the
activations of all layers, one run trains the six dictionaries on them. Every setting stands in that file, and what each does in
`docs/concepts/training.md`.
",
        model_minutes = figures.training_seconds.model / 60.0,
        dictionary_minutes = figures.training_seconds.dictionaries / 60.0,
        weights = figures.weights,
        vocabulary = figures.vocabulary,
        selection = recipe.selection_pairs,
        sweep = recipe.sweep_pairs,
        example = figures.example,
        seed = recipe.seed,
        steps = training.steps,
        batch = training.documents_per_step,
        decay = training.weight_decay,
        clip = training.clip,
        rate = training.rate,
        warm_up = training.warm_up,
        documents = recipe.dictionary_documents,
    )
}

fn write_figures(page: &mut String, figures: &Figures) -> std::fmt::Result {
    let p = &figures.perplexity;
    write!(
        page,
        "
## Measured

Perplexity per token on {documents} held-out documents. The trigram model is interpolated Kneser–Ney with three
discounts per order, counted on the {counted} documents that the model was trained on, its discounts tuned on
development text; both predict the same tokens.

| tokens | n | trigram | model | below |
|---|---|---|---|---|
| prompt and response | {n} | {trigram:.3} | {model:.3} | {below:.1} % |
| response alone | {rn} | {rtrigram:.3} | {rmodel:.3} | {rbelow:.1} % |

Splits are disjoint by key; by chance {rdocuments} of the held-out documents and {rprompts} of their prompts also occur in
the training text word for word, and so do {rsafe} of the {prompts} shipped safe and {rrisky} of the {prompts} shipped risky
prompts (short histories at a fixed bet repeat themselves).

Decisions on the shipped prompts ({prompts} per family, selection and sweep). `data` is the generator, `model` is
sampled at the given temperature. Legal bets are of an offered amount not above the balance.

| source | family | n | parsed | stop rate | mean bet, $ | legal bets |
|---|---|---|---|---|---|---|
",
        documents = p.documents,
        counted = p.trigram_documents,
        n = p.tokens,
        trigram = p.trigram,
        model = p.model,
        below = 100.0 * p.below_trigram,
        rn = p.response_tokens,
        rtrigram = p.trigram_response,
        rmodel = p.model_response,
        rbelow = 100.0 * p.below_trigram_response,
        rdocuments = figures.repeated.documents,
        rprompts = figures.repeated.prompts,
        rsafe = figures.repeated.shipped_safe,
        rrisky = figures.repeated.shipped_risky,
        prompts = figures.recipe.selection_pairs + figures.recipe.sweep_pairs,
    )?;
    for rates in figures.data_rates.iter().chain(&figures.model_rates) {
        write_rates(page, rates)?;
    }
    page.push_str(
        "
Dictionaries on the same held-out documents, as stored, measured by `glassbox evaluate`'s library. EV is explained variance,
1 - sum |x - x̂|² / sum |x - mean|², L0 the mean number of active features per token, dead the share of features active on no
held-out token; loss is the model's cross-entropy in nats per token with the reconstruction in place of the residual, recovered
its share of the way from zero ablation (0 %) to the model itself (100 %). Position 0 (`<s>`) is left out of all; the last column
is the explained variance there.

| dictionary | tokens | EV | L0 | dead | loss | loss, spliced | recovered | KL | EV at position 0 |
|---|---|---|---|---|---|---|---|---|---|
",
    );
    for q in &figures.dictionaries {
        let first = q
            .explained_variance_position_zero
            .map_or_else(|| "no variance".to_owned(), |value| format!("{value:.3}"));
        writeln!(
            page,
            "| {} | {} | {:.4} | {:.2} | {:.1} % | {:.4} | {:.4} | {:.1} % | {:.4} | {first} |",
            q.name,
            q.tokens,
            q.explained_variance,
            q.l0,
            100.0 * q.dead_share,
            q.loss,
            q.spliced_loss,
            100.0 * q.loss_recovered,
            q.divergence,
        )?;
    }
    Ok(())
}

fn write_rates(page: &mut String, rates: &Rates) -> std::fmt::Result {
    let source = match rates.temperature {
        None => "data".to_string(),
        Some(temperature) => format!("model, temperature {temperature}"),
    };
    writeln!(
        page,
        "| {source} | {} | {} | {:.1} % | {:.3} | {:.2} | {:.1} % |",
        rates.family,
        rates.n,
        100.0 * rates.parsed,
        rates.stop_rate,
        rates.mean_bet,
        100.0 * rates.legal_bets
    )
}
