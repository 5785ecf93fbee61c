//! Every page is in the table of contents, every link leads somewhere, and the book is of this repository alone.

use std::collections::BTreeSet;

use palisade_book::page::{anchors, is_broken, links, pages, target};
use palisade_book::{read, root};

const SUMMARY: &str = "docs/SUMMARY.md";

#[test]
fn every_page_is_in_the_table_of_contents() {
    let listed: Vec<String> =
        links(&read(SUMMARY)).into_iter().map(|(_, link)| target(SUMMARY, &link).0).collect();
    let unique: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice: {listed:?}");
    let pages = pages();
    let expected: BTreeSet<&String> = pages.iter().filter(|page| *page != SUMMARY).collect();
    assert_eq!(unique, expected);
}

#[test]
fn links_lead_somewhere() {
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(others.map(str::to_owned)) {
        for (line, link) in links(&read(&page)) {
            let is_elsewhere = link.contains("://") || link.starts_with("mailto:");
            if !is_elsewhere && is_broken(&page, &link) {
                broken.push(format!("{page}:{line}: {link}"));
            }
            // In the built book, what is outside of docs/ is not there.
            if page.starts_with("docs/") && !is_elsewhere && !target(&page, &link).0.starts_with("docs/") {
                broken.push(format!("{page}:{line}: {link} leads out of the book; name the file as code"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn no_page_names_a_folder_of_a_developer() {
    let here = root().canonicalize().expect("the repository is there");
    let here = here.display().to_string();
    for page in pages() {
        let text = read(&page);
        for folder in ["/work/", "/tmp/w/", "/root/", "file://", here.as_str()] {
            assert!(!text.contains(folder), "{page} names {folder}");
        }
    }
}

#[test]
fn every_picture_is_small_and_described() {
    let mut shown = BTreeSet::new();
    for page in pages() {
        let text = read(&page);
        for picture in text.split("![").skip(1) {
            let (alt, rest) = picture.split_once("](").unwrap_or((picture, ""));
            let path = target(&page, rest.split(')').next().unwrap_or_default()).0;
            assert!(alt.len() > 40, "{page}: say in words what is on {path}: {alt}");
            shown.insert(path);
        }
    }
    let folder = std::fs::read_dir(root().join("docs/pictures")).expect("there are pictures");
    for entry in folder {
        let path = format!(
            "docs/pictures/{}",
            entry.expect("an entry of the folder can be read").file_name().to_string_lossy()
        );
        let text = read(&path);
        assert!(text.len() < 10_000 && text.contains("viewBox=") && text.contains("<title"), "{path}");
        assert!(shown.contains(&path), "no page shows {path}");
    }
}

#[test]
fn anchors_are_those_of_the_built_book() {
    let found = anchors("# One `two_three`\n## 4. Four, five\n## 4. Four, five\n```sh\n# none\n```\n");
    let expected = ["one-two_three", "4-four-five", "4-four-five-1"];
    assert_eq!(found, expected.map(str::to_owned).into());
}
