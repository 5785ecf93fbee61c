//! The manual pages have what the programs' help has. The section SYNOPSIS of the daemons' pages is made from it; to write it
//! anew: `UPDATE=1 cargo test --test fleet -- manual_pages`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use palisade_e2e::documented::repository;
use palisade_e2e::tools;
use palisade_e2e::{Doing as _, Outcome, story};

const DAEMONS: [&str; 4] = ["palisade-lapi", "palisade-firewall", "palisade-proxy", "palisade-webhook"];

fn help(program: &str, words: &[&str]) -> Outcome<String> {
    let said = tools::run(tools::command(tools::ours(program)?)?.args(words), "")?;
    Ok(said.out + &said.err)
}

/// The lines of a daemon's help that name something: `-c file` of the daemon, `lookup address`, and `-json` of a command.
struct Named {
    flags: Vec<String>,
    commands: Vec<(String, Vec<String>)>,
}

impl Named {
    fn read(program: &str) -> Outcome<Self> {
        let mut named = Self { flags: Vec::new(), commands: Vec::new() };
        let text = help(program, &["-help"])?;
        for line in text.lines() {
            let name = line.trim_start();
            // Explanations are indented by eight blanks.
            match line.len() - name.len() {
                2 if name.starts_with('-') => named.flags.push(name.to_owned()),
                2 => named.commands.push((name.to_owned(), Vec::new())),
                4 => {
                    let (_, flags) =
                        named.commands.last_mut().doing(format_args!("a command before {line}"))?;
                    flags.push(name.to_owned());
                }
                _ => {}
            }
        }
        assert!(named.flags.contains(&"-t".to_owned()), "{text}");
        assert!(program == "palisade-lapi" || named.commands.len() > 2, "{text}");
        Ok(named)
    }

    fn synopsis(&self, program: &str) -> String {
        let mut text = String::from("\n");
        let mut line = |command: &str, flags: &[String]| {
            let mut words = command.split(' ');
            let name = words.next().unwrap_or_default();
            let _ = writeln!(text, ".B {program}");
            if !name.is_empty() {
                // Every command accepts the flags of the daemon; this one matters.
                let _ = writeln!(text, ".RB [ \\-c\n.IR file ]\n.B {name}");
            }
            for flag in flags {
                let _ = match flag.split_once(' ') {
                    Some((flag, value)) => {
                        writeln!(text, ".RB [ \\{flag}\n.IR {} ]", quoted(value))
                    }
                    None => writeln!(text, ".RB [ \\{flag} ]"),
                };
            }
            for word in words {
                let _ = match word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
                    Some(word) => writeln!(text, ".RI [ {word} ]"),
                    None => writeln!(text, ".I {word}"),
                };
            }
            text.push_str(".br\n");
        };
        line("", &self.flags);
        for (command, flags) in &self.commands {
            line(command, flags);
        }
        text.truncate(text.len() - ".br\n".len());
        text
    }
}

fn quoted(value: &str) -> String {
    if value.contains(' ') { format!("\"{value}\"") } else { value.to_owned() }
}

#[test]
fn the_synopsis_is_made_from_the_help() -> Outcome {
    let mut old = Vec::new();
    for program in DAEMONS {
        let path = format!("docs/man/{program}.8");
        let page = repository(&path)?;
        let (before, rest) = page.split_once(".SH SYNOPSIS").doing(&path)?;
        let (present, after) = rest.split_once(".SH DESCRIPTION").doing(&path)?;
        let expected = Named::read(program)?.synopsis(program);
        if present != expected {
            if std::env::var_os("UPDATE").is_some() {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&path);
                fs::write(file, format!("{before}.SH SYNOPSIS{expected}.SH DESCRIPTION{after}"))?;
            }
            old.push(path);
        }
    }
    assert!(old.is_empty(), "not as the help: {old:?}; to write them: UPDATE=1");
    Ok(())
}

/// The words of a manual page; flags with their dash.
fn words_of(page: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let text =
        ["\\fB", "\\fI", "\\fR", "\\fP"].iter().fold(page.to_owned(), |text, font| text.replace(font, " "));
    text.replace("\\-", "-").split(|c| !is_part(c)).map(str::to_owned).collect()
}

#[test]
fn manual_pages_have_every_flag_and_command_of_the_help() -> Outcome {
    let mut missing = Vec::new();
    for program in DAEMONS {
        // Without the section that is made from the help.
        let text = repository(&format!("docs/man/{program}.8"))?;
        let page = words_of(text.split_once(".SH DESCRIPTION").doing(program)?.1);
        let named = Named::read(program)?;
        let commands = named.commands.iter().flat_map(|(command, flags)| flags.iter().chain([command]));
        let first_words = named.flags.iter().chain(commands).filter_map(|name| name.split(' ').next());
        missing
            .extend(first_words.filter(|name| !page.contains(*name)).map(|name| format!("{program} {name}")));
    }
    let page = words_of(&repository("docs/man/palisade.1")?);
    let commands = |words: &[&str]| -> Outcome<Vec<String>> {
        let text = help("palisade", &[words, &["--help"]].concat())?;
        let listed =
            text.split_once("\nCommands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap_or(rest));
        let listed = listed.unwrap_or_default().lines();
        Ok(listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    };
    let nouns = commands(&[])?;
    assert!(nouns.contains(&"decisions".to_owned()), "{nouns:?}");
    for noun in &nouns {
        let verbs = commands(&[noun])?;
        missing.extend(
            [noun]
                .into_iter()
                .chain(&verbs)
                .filter(|name| !page.contains(*name))
                .map(|name| format!("palisade {noun}: {name}")),
        );
    }
    assert!(missing.is_empty(), "not in the manual pages: {missing:#?}");
    Ok(())
}

/// Every command that can be run on its own has a page with the flags of its help.
#[test]
fn each_command_has_a_manual_page_made_from_its_help() -> Outcome {
    story(|world| {
        let folder = world.fresh_path("man");
        fs::create_dir_all(&folder)?;
        let palisade = |words: &[&str]| -> Outcome<String> {
            tools::run(tools::command(tools::ours("palisade")?)?.args(words), "")?.into_stdout()
        };
        palisade(&["manual-pages", &folder.display().to_string()])?;
        let mut pages = 0;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_stem().doing("a page has a name")?.to_string_lossy().into_owned();
            let page = fs::read_to_string(&path)?.replace("\\-", "-");
            let usage = page.split(".SH SYNOPSIS").nth(1).and_then(|rest| rest.split("\\fB").nth(1));
            let usage = usage.and_then(|rest| rest.split("\\fR").next()).doing(&name)?;
            let words: Vec<&str> = usage.split(' ').skip(1).collect();
            let help = palisade(&[&words[..], &["--help"]].concat())?;
            for flag in help.split(|c: char| c.is_whitespace() || ",[]".contains(c)) {
                let is_flag = flag.starts_with("--") && flag.len() > 2;
                assert!(!is_flag || page.contains(flag), "{flag} is not in {name}");
            }
            pages += 1;
        }
        assert!(pages > 35, "{pages}");
        // It would hide the page of the daemon.
        assert!(!folder.join("palisade-lapi.1").exists());
        Ok(())
    })
}
