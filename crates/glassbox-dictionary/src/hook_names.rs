//! Sites by the names that other programs give them: modules of Hugging Face models, and their inputs and outputs.

use glassbox_model::site::Site;

/// Which side of a module is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

/// What [`site_of_module`] understands, for messages.
pub(crate) const MODULES: &str = "layers.N, layers.N.mlp, layers.N.self_attn, layers.N.self_attn.o_proj and embed_tokens, or h.N, \
                                  h.N.mlp, h.N.attn and wte, after any prefix such as model. or transformer.";

/// The site at a side of a module named by its path, `model.layers.3.mlp` for example; `None` if no site lies there.
pub(crate) fn site_of_module(module: &str, side: Side) -> Option<Site> {
    let parts: Vec<&str> = module.split('.').collect();
    let Some(at) = parts.iter().position(|part| matches!(*part, "layers" | "h")) else {
        let embedding = matches!(parts.last(), Some(&("embed_tokens" | "wte" | "embed_in")));
        return (embedding && side == Side::Output).then_some(Site::Embed);
    };
    let layer: u32 = parts.get(at + 1)?.parse().ok()?;
    let site = match (&parts[at + 2..], side) {
        ([], Side::Input) => Site::ResidPre,
        ([], Side::Output) => Site::ResidPost,
        // What a layer calls pre- and post_feedforward_layernorm (Gemma) lies on both sides of its MLP.
        (["mlp"], Side::Input) | (["pre_feedforward_layernorm"], Side::Output) => Site::MlpIn,
        (["mlp"] | ["post_feedforward_layernorm"], Side::Output) => Site::MlpOut,
        (["mlp", "down_proj" | "c_proj" | "dense_4h_to_h"], Side::Input) => Site::MlpPost,
        (["self_attn" | "attn" | "attention"], Side::Output) => Site::AttentionOut,
        (["self_attn" | "attn" | "attention", "o_proj" | "c_proj" | "dense"], Side::Input) => Site::Mixed,
        _ => return None,
    };
    Some(site(layer))
}

/// The site of a name that ends in its side: `model.layers.3.mlp.output`.
pub(crate) fn site_of_hook(name: &str) -> Option<Site> {
    let (module, side) = name.rsplit_once('.')?;
    match side {
        "input" => site_of_module(module, Side::Input),
        "output" => site_of_module(module, Side::Output),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_sites() {
        for (name, site) in [
            ("layers.3.output", Some(Site::ResidPost(3))),
            ("model.layers.3.input", Some(Site::ResidPre(3))),
            ("gpt_neox.layers.11.mlp.output", Some(Site::MlpOut(11))),
            ("transformer.h.0.mlp.input", Some(Site::MlpIn(0))),
            ("transformer.h.0.attn.output", Some(Site::AttentionOut(0))),
            ("model.layers.5.self_attn.o_proj.input", Some(Site::Mixed(5))),
            (
                "model.layers.5.pre_feedforward_layernorm.output",
                Some(Site::MlpIn(5)),
            ),
            (
                "model.layers.5.post_feedforward_layernorm.output",
                Some(Site::MlpOut(5)),
            ),
            ("model.embed_tokens.output", Some(Site::Embed)),
            ("model.embed_tokens.input", None),
            ("model.layers.5.self_attn.input", None),
            ("model.layers.x.output", None),
            ("model.layers.5", None),
            ("", None),
        ] {
            assert_eq!(site_of_hook(name), site, "{name}");
        }
    }
}
