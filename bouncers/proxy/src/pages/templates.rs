//! Compiles the built-in and the operator's templates, and renders them within bounds.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::error::PagesError;
use super::kind::{PageFormat, PageKind};

/// The largest file of an operator, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// minijinja's fuel for one page: about 100,000 instructions or 6 MB written. The largest file, once, needs a tenth.
const FUEL: u64 = 100_000;

const STYLE: &str = "style.css";
/// The template of all pages that have none of their own.
const PAGE: &str = "page";

const BUILTIN_STYLE: &str = include_str!("builtin/style.css");

const fn builtin(format: PageFormat) -> (&'static str, &'static str) {
    match format {
        PageFormat::Html => ("builtin/page.html", include_str!("builtin/page.html")),
        PageFormat::Json => ("builtin/page.json", include_str!("builtin/page.json")),
        PageFormat::Text => ("builtin/page.txt", include_str!("builtin/page.txt")),
    }
}

/// All templates.
pub(super) struct Templates {
    environment: Environment<'static>,
    /// The operator's files by their names.
    files: BTreeMap<String, PathBuf>,
    style: String,
}

impl Templates {
    /// Compiles the built-in templates, and those of the operator's folder.
    pub(super) fn load(directory: Option<&Path>) -> Result<Self, PagesError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(auto_escape);
        let mut templates = Self { environment, files: BTreeMap::new(), style: BUILTIN_STYLE.to_owned() };
        for format in PageFormat::ALL {
            let (name, source) = builtin(format);
            templates.add(name, source, Path::new(name))?;
            // An operator's `ban.html` may extend `page.html`, be it built in or not.
            templates.add(&file_name(PAGE, format), source, Path::new(name))?;
        }
        if let Some(directory) = directory {
            templates.read_directory(directory)?;
        }
        Ok(templates)
    }

    fn add(&mut self, name: &str, source: &str, path: &Path) -> Result<(), PagesError> {
        self.environment
            .add_template_owned(name.to_owned(), source.to_owned())
            .map_err(|error| template_error(&error, path))
    }

    fn read_directory(&mut self, directory: &Path) -> Result<(), PagesError> {
        let unreadable = |cause| PagesError::Read { path: directory.to_owned(), cause };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            paths.push(entry.map_err(unreadable)?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Editors and package managers leave such files.
            if name.starts_with('.') || name.ends_with('~') || name.contains(".dpkg-") || path.is_dir() {
                continue;
            }
            if name == STYLE {
                self.style = read(&path)?;
                continue;
            }
            if !is_page_file(&name) {
                let known = PageKind::ALL.map(PageKind::name).join(", ");
                return Err(PagesError::UnknownFile { path, known: format!("{PAGE}, {known}") });
            }
            let source = read(&path)?;
            self.add(&name, &source, &path)?;
            self.files.insert(name, path);
        }
        Ok(())
    }

    pub(super) fn style(&self) -> &str {
        &self.style
    }

    /// The operator's template of a page, if there is one.
    pub(super) fn operator_file(&self, kind: PageKind, format: PageFormat) -> Option<(&str, &Path)> {
        [kind.name(), PAGE].into_iter().find_map(|name| {
            let (name, path) = self.files.get_key_value(&file_name(name, format))?;
            Some((name.as_str(), path.as_path()))
        })
    }

    /// Renders an operator's template.
    pub(super) fn render(&self, name: &str, values: Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(name)?.render(values)
    }

    /// Renders a built-in template.
    pub(super) fn render_builtin(
        &self,
        format: PageFormat,
        values: Value,
    ) -> Result<String, minijinja::Error> {
        self.render(builtin(format).0, values)
    }

    /// An error in the file that it is in: a page that extends another may fail in either.
    pub(super) fn error_in(&self, error: &minijinja::Error, path: &Path) -> PagesError {
        let path = error.name().and_then(|name| self.files.get(name)).map_or(path, PathBuf::as_path);
        template_error(error, path)
    }
}

fn file_name(name: &str, format: PageFormat) -> String {
    format!("{name}.{}", format.extension())
}

fn is_page_file(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    PageFormat::ALL.iter().any(|format| format.extension() == extension)
        && (stem == PAGE || PageKind::ALL.iter().any(|kind| kind.name() == stem))
}

fn auto_escape(name: &str) -> AutoEscape {
    match name.rsplit('.').next() {
        Some("html") => AutoEscape::Html,
        Some("json") => AutoEscape::Json,
        _ => AutoEscape::None,
    }
}

fn read(path: &Path) -> Result<String, PagesError> {
    let unreadable = |cause| PagesError::Read { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let length = file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| {
        unreadable(match error.kind() {
            io::ErrorKind::InvalidData => io::Error::new(error.kind(), "it is not UTF-8"),
            _ => error,
        })
    })?;
    if length as u64 > MAX_FILE {
        return Err(PagesError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    Ok(text)
}

fn template_error(error: &minijinja::Error, path: &Path) -> PagesError {
    let reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    PagesError::Template { path: path.to_owned(), line: error.line().unwrap_or(0), reason }
}
