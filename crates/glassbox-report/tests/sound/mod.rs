//! What every page must be: well-formed, and loading nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// Every element is closed in order, and no attribute loads anything from elsewhere.
pub fn assert_sound(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        let end = rest
            .find('>')
            .unwrap_or_else(|| panic!("unclosed tag: {}", &rest[..rest.len().min(80)]));
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '\n', '/'])
            .next()
            .unwrap();
        assert!(
            name.chars().all(|letter| letter.is_ascii_alphanumeric()),
            "odd tag <{tag}>"
        );
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another element");
        } else if !tag.ends_with('/') && !["meta", "link", "br", "wbr", "input"].contains(&name) {
            open.push(name);
        }
        for attribute in [" src=", " href=", " srcset=", " action=", " xlink:href="] {
            if let Some(at) = tag.find(attribute) {
                let value = tag[at + attribute.len()..].trim_start_matches('"');
                assert!(value.starts_with('#') || value.starts_with("data:,"), "<{tag}>");
            }
        }
        if ["style", "script"].contains(&name) && !tag.starts_with('/') {
            let end = rest.find(&format!("</{name}>")).unwrap();
            for loading in ["http:", "https:", "url(", "@import", "fetch(", "import("] {
                assert!(!rest[..end].contains(loading), "{name} has {loading}");
            }
            rest = &rest[end..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    let shown = &page[..page.find("<script>").unwrap()];
    assert!(!shown.contains("NaN") && !shown.contains(">inf") && !shown.contains("\"inf"));
}
