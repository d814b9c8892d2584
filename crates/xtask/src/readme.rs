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
    let dictionary = &recipe.dictionary;
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
| `dictionaries/L0` … `L5` | thresholded (JumpReLU) dictionaries on `blocks.{{l}}.hook_resid_post`, {features} features, SAELens 6 layout; f16 weights, f32 biases and threshold; for raw activations, `apply_b_dec_to_input` false, unit decoder rows |
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

Dictionaries: width 16 d, on activations of {documents} training documents without position 0, centred and scaled to
mean squared norm 1 (folded back on saving); {epochs} passes in random order with last prompt tokens used {cue} times
and response tokens {response} times per pass, {tokens} tokens per update, Adam at {drate} with {dwarm} steps of
warm-up, falling to zero over the last third. The first third of training keeps the {whole} largest features of every
token (TopK), the rest {active} per token on average over the batch (BatchTopK). Decoder rows are unit vectors that
start at mutually distant tokens (k-means++). Features silent for {dead} tokens join an auxiliary loss, and are pointed
at poorly reconstructed tokens after each but the last two passes. A common threshold is set on development text to
{active} active features per token.
Then every feature that fires on fewer than one in ten thousand training tokens gets a lower threshold of its own, at which
it fires on that share (its largest positive pre-activations). This brings rare features back and leaves explained
variance and mean L0 as they were, within 0.0001 and 0.05.
",
        model_minutes = figures.training_seconds.model / 60.0,
        dictionary_minutes = figures.training_seconds.dictionaries / 60.0,
        weights = figures.weights,
        vocabulary = figures.vocabulary,
        features = dictionary.expansion * 128,
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
        active = dictionary.active,
        whole = dictionary.active as usize,
        documents = dictionary.documents,
        epochs = dictionary.epochs,
        tokens = dictionary.batch,
        drate = dictionary.rate,
        dead = dictionary.dead_after,
        cue = dictionary.cue_repeats,
        response = dictionary.response_repeats,
        dwarm = dictionary.warm_up,
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
Dictionaries on the same held-out documents, with the stored weights and threshold. EV is explained variance,
1 - sum |x - x̂|² / sum |x - mean|², L0 the mean number of active features per token, dead the share of features
active on no held-out token. Position 0 (`<s>`) is left out but for the columns that say so. The last prompt token is
always the same, so early layers hold almost nothing there that varies, and its explained variance at L0 is a share of
very little.

| layer | tokens | EV | L0 | dead | EV with `<s>` | L0 with `<s>` | EV last prompt token | L0 | EV response | L0 |
|---|---|---|---|---|---|---|---|---|---|---|
",
    );
    for (layer, q) in figures.dictionaries.iter().enumerate() {
        writeln!(
            page,
            "| L{layer} | {} | {:.4} | {:.2} | {:.1} % | {:.4} | {:.2} | {:.4} | {:.2} | {:.4} | {:.2} |",
            q.tokens,
            q.explained_variance,
            q.mean_l0,
            100.0 * q.dead_share,
            q.explained_variance_with_bos,
            q.mean_l0_with_bos,
            q.explained_variance_last_prompt,
            q.mean_l0_last_prompt,
            q.explained_variance_response,
            q.mean_l0_response,
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
