//! `cargo xtask bench-peers --quality`: dictionaries of this program and of others, trained on the same activations.

mod corpora;

pub fn try_corpora() -> anyhow::Result<()> {
    corpora::sample_from_model(std::path::Path::new("/work/shared/models/stories260k"), 2_400_000, std::path::Path::new("/tmp/stories.jsonl"))?;
    corpora::draw_games(1, crate::rng::Split::Train, 24_000, std::path::Path::new("/tmp/games.jsonl"))
}
