//! Reads what the tests need of a Markdown page: headings, links and fenced blocks. Knows the constructs that the book
//! uses, not Markdown as a whole.

use std::collections::BTreeSet;

use crate::{read, root};

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of the opening fence, counted from 1.
    pub line: usize,
    /// What follows the fence, such as `sh`.
    pub language: String,
    /// The text between the fences, without the indentation of the fence.
    pub text: String,
}

/// The pages of the book, by their paths from the root of the repository.
///
/// # Panics
/// When the folder cannot be read.
pub fn pages() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::from("docs")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder)).expect("the folder of the book can be read");
        for entry in entries {
            let entry = entry.expect("an entry of the folder can be read");
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The fenced blocks of a text.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let fence = bare.strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let block =
                    Block { line: index + 1, language: language.trim().to_owned(), text: String::new() };
                open = Some((line.len() - bare.len(), block));
            }
            (Some(_), Some(_)) => found.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                let skipped = line.len().min(*indent);
                block.text.push_str(line.get(skipped..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The lines outside of fenced blocks, with their numbers.
pub fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            return None;
        }
        (!in_block).then_some((index + 1, line))
    })
}

/// The targets of links and pictures outside of code, each with its line.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second part is code.
        for part in line.split('`').step_by(2) {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.map(|target| (number, target.to_owned())));
        }
        // A link whose text is code begins in one part and ends in another.
        for rest in line.split("`](").skip(1) {
            found.extend(rest.split(')').next().map(|target| (number, target.to_owned())));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The anchors of the headings, as mdBook and GitHub make them.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        let slug: String =
            heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        let mut numbered = slug.clone();
        let mut count = 0;
        while !found.insert(numbered.clone()) {
            count += 1;
            numbered = format!("{slug}-{count}");
        }
    }
    found
}

/// Where a link on `page` leads: a path from the root of the repository and an anchor.
pub fn target(page: &str, link: &str) -> (String, String) {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    if file.is_empty() {
        return (page.to_owned(), anchor.to_owned());
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    (parts.join("/"), anchor.to_owned())
}

/// Whether a link of the page leads nowhere.
pub fn is_broken(page: &str, link: &str) -> bool {
    let (path, anchor) = target(page, link);
    !root().join(&path).exists() || (!anchor.is_empty() && !anchors(&read(&path)).contains(&anchor))
}
