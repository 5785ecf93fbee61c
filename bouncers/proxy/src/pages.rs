//! Renders the responses to remediated requests: HTML, JSON or text, in the visitor's language.
