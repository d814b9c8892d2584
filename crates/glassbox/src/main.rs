//! glassbox.
fn main() {}
