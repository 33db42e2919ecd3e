"""What Rust's tools say, as values. Pure: texts in, values out; who runs the tools is not known here."""
