//! Parses the part of RouterOS' script language that edits address lists, and nothing else: a text that has broken out
//! of its quotes is an error. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Do { body: Vec<Self>, on_error: Vec<Self> },
    Put(String),
    Add { menu: String, list: String, address: String },
    Remove { menu: String, list: String, address: String },
}

struct Parser<'a> {
    rest: &'a str,
}

/// All commands of a script.
pub(super) fn parse(script: &str) -> Result<Vec<Command>, String> {
    let mut parser = Parser { rest: script };
    let commands = parser.commands()?;
    if parser.rest.is_empty() { Ok(commands) } else { Err(parser.unexpected()) }
}

impl Parser<'_> {
    fn unexpected(&self) -> String {
        format!("unexpected in a script: {:?}", self.rest.chars().take(80).collect::<String>())
    }

    fn accept(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.accept(text) { Ok(()) } else { Err(format!("{}, not {text:?}", self.unexpected())) }
    }

    fn commands(&mut self) -> Result<Vec<Command>, String> {
        let mut commands = Vec::new();
        while !self.rest.is_empty() && !self.rest.starts_with('}') {
            commands.push(self.command()?);
            if !self.accept(";") && !self.accept("\n") {
                break;
            }
        }
        Ok(commands)
    }

    fn block(&mut self) -> Result<Vec<Command>, String> {
        self.expect("{")?;
        let commands = self.commands()?;
        self.expect("}")?;
        Ok(commands)
    }

    fn command(&mut self) -> Result<Command, String> {
        if self.accept(":do ") {
            let body = self.block()?;
            self.expect(" on-error=")?;
            return Ok(Command::Do { body, on_error: self.block()? });
        }
        if self.accept(":put ") {
            return Ok(Command::Put(self.quoted()?));
        }
        let menus = ["/ip/firewall/address-list", "/ipv6/firewall/address-list"];
        let Some(menu) = menus.into_iter().find(|menu| self.accept(menu)) else {
            return Err(self.unexpected());
        };
        let is_removal = self.accept("/remove [find ");
        if !is_removal {
            self.expect("/add ")?;
        }
        let mut values = self.values()?;
        if is_removal {
            self.expect("]")?;
        }
        let mut take = |key: &str| values.remove(key).ok_or_else(|| format!("no {key}"));
        let (list, address) = (take("list")?, take("address")?);
        check_address(menu, &address)?;
        if !is_removal {
            check_timeout(&take("timeout")?)?;
            let comment = take("comment")?;
            if comment.encode_utf16().count() > 256 {
                return Err("a long comment".to_owned());
            }
        }
        if let Some(other) = values.keys().next() {
            return Err(format!("another property, {other}"));
        }
        let menu = menu.to_owned();
        Ok(match is_removal {
            true => Command::Remove { menu, list, address },
            false => Command::Add { menu, list, address },
        })
    }

    fn values(&mut self) -> Result<BTreeMap<String, String>, String> {
        let mut values = BTreeMap::new();
        loop {
            let key = self.word(|c| c.is_ascii_lowercase() || c == '-');
            self.expect("=")?;
            let value = match self.rest.starts_with('"') {
                true => self.quoted()?,
                false => self.word(|c| c.is_ascii_alphanumeric() || ".:/".contains(c)),
            };
            values.insert(key, value);
            if !self.accept(" ") {
                return Ok(values);
            }
        }
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// In quotes; a backslash is followed by two hexadecimal digits, and nothing is expanded.
    fn quoted(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let (inside, rest) = self.rest.split_once('"').ok_or("an open quote")?;
        let mut bytes = Vec::new();
        let mut parts = inside.split('\\');
        bytes.extend(parts.next().unwrap_or_default().bytes());
        for part in parts {
            let digits = part.get(..2).ok_or("an unfinished escape")?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| format!("the escape {digits:?}"))?);
            bytes.extend(part[2..].bytes());
        }
        if inside.contains(|c: char| c == '$' || c.is_control() || !c.is_ascii()) {
            return Err(format!("unquoted: {inside:?}"));
        }
        self.rest = rest;
        String::from_utf8(bytes).map_err(|error| error.to_string())
    }
}

/// IPv4 alone or with a length below 32, IPv6 with its length: as RouterOS shows them, which `find` compares with.
fn check_address(menu: &str, text: &str) -> Result<(), String> {
    let (base, length) = text.split_once('/').map_or((text, None), |(base, length)| (base, Some(length)));
    let base: IpAddr = base.parse().map_err(|_| format!("the address {text:?}"))?;
    let length = length.map(|length| length.parse::<u8>().unwrap_or(u8::MAX));
    match (base.is_ipv4(), menu.starts_with("/ip/"), length) {
        (true, true, None | Some(0..32)) | (false, false, Some(0..=128)) => Ok(()),
        _ => Err(format!("the address {text:?} in {menu}")),
    }
}

/// `1d2h3m4s`.
fn check_timeout(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split_inclusive(|c: char| c.is_ascii_lowercase()).collect();
    let is_part = |part: &&str| {
        part.split_at_checked(part.len() - 1)
            .is_some_and(|(number, unit)| number.parse::<u32>().is_ok() && "dhms".contains(unit))
    };
    if !parts.is_empty() && parts.iter().all(is_part) { Ok(()) } else { Err(format!("the timeout {text:?}")) }
}
