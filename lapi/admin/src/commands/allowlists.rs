//! The `allowlists` commands. Changes go to the database, reads over HTTP.

use std::io::Read;

use palisade_go_compat::quote;
use palisade_lapi_config::Output;
use palisade_net::InvalidAddress;
use palisade_store::{NewAllowlistItem, Store, StoreError};
use palisade_wire::{Allowlist, AllowlistItem, GoDuration, NO_EXPIRATION, UnixMillis};
use serde::Deserialize;

use super::input::{Rejects, check_address, open_input, optional_text, read_csv, read_text, without_comment};
use crate::failure::{Failure, while_doing};
use crate::output::{csv, json, line, one_line, print, properties};
use crate::session::Session;
use crate::table::{Column, Table};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create a new allowlist
    Create {
        allowlist_name: String,
        /// description of the allowlist
        #[arg(long, short)]
        description: String,
    },
    /// List all allowlists
    List,
    /// Delete an allowlist
    Delete { allowlist_name: String },
    /// Add content to an allowlist
    Add {
        allowlist_name: String,
        #[arg(required = true)]
        value: Vec<String>,
        /// expiration duration
        #[arg(long, short)]
        expiration: Option<GoDuration>,
        /// comment for the value
        #[arg(long, short = 'd', default_value = "", hide_default_value = true)]
        comment: String,
    },
    /// Import values to an allowlist from a CSV file
    Import {
        allowlist_name: String,
        /// input file, - for standard input
        #[arg(long, short)]
        input: String,
        /// import nothing if a line cannot be used
        #[arg(long)]
        strict: bool,
    },
    /// remove content from an allowlist
    Remove {
        allowlist_name: String,
        #[arg(required = true)]
        value: Vec<String>,
    },
    /// Inspect an allowlist
    Inspect { allowlist_name: String },
    /// Check if a value is in an allowlist
    Check {
        #[arg(required = true)]
        value: Vec<String>,
    },
}

impl Command {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create { allowlist_name: name, description } => create(session, &name, &description).await,
            Self::List => list(session).await,
            Self::Delete { allowlist_name: name } => delete(session, &name).await,
            Self::Add { allowlist_name: name, value: values, expiration, comment } => {
                if expiration.is_some_and(|span| span.nanos() <= 0) {
                    return Err(Failure::Command(EXPIRED.to_owned()));
                }
                let expires_at = expiration.map(|span| UnixMillis::now().plus(span));
                let item = |value| NewAllowlistItem { value, comment: comment.clone(), expires_at };
                put(session, &name, values.into_iter().map(item).collect()).await
            }
            Self::Import { allowlist_name: name, input, strict } => {
                let mut rejects = Rejects::default();
                let items = rows(open_input(&input)?, UnixMillis::now(), &mut rejects)?;
                rejects.report(session, strict)?;
                if items.is_empty() {
                    return Err(Failure::Command("no values to import".to_owned()));
                }
                put(session, &name, items).await
            }
            Self::Remove { allowlist_name: name, value: values } => remove(session, &name, &values).await,
            Self::Inspect { allowlist_name: name } => inspect(session, &name).await,
            Self::Check { value: values } => check(session, &values).await,
        }
    }
}

const EXPIRED: &str = "the expiration is over before it begins; give a positive duration";

async fn create(session: &Session, name: &str, description: &str) -> Result<(), Failure> {
    let create = async |store: &Store| {
        store.create_allowlist(UnixMillis::now(), name, description).await.map_err(|error| match error {
            StoreError::Exists { .. } => Failure::Command(format!("allowlist '{name}' already exists")),
            other => Failure::from(other).doing("unable to create allowlist"),
        })
    };
    session.change(create).await?;
    session.report(&format!("allowlist '{name}' created successfully"))
}

/// The named list, which must exist and be managed locally.
async fn ours(store: &Store, name: &str, verb: &str) -> Result<palisade_store::Allowlist, Failure> {
    let Some(list) = store.allowlist(UnixMillis::now(), name).await? else {
        return Err(Failure::Command(format!("allowlist '{name}' not found")));
    };
    if list.console_managed {
        return Err(Failure::Command(format!(
            "allowlist {name} is managed by console, cannot {verb} with cscli. Please visit \
             https://app.crowdsec.net/allowlists/{} to {verb}",
            list.allowlist_id
        )));
    }
    Ok(list)
}

async fn delete(session: &Session, name: &str) -> Result<(), Failure> {
    let delete = async |store: &Store| {
        ours(store, name, "delete").await?;
        store.delete_allowlist(name).await.map_err(while_doing("unable to delete allowlist"))
    };
    session.change(delete).await?;
    session.report(&format!("allowlist '{name}' deleted successfully"))
}

/// Adds items and ends the decisions that they cover.
async fn put(session: &Session, name: &str, items: Vec<NewAllowlistItem>) -> Result<(), Failure> {
    session.change(async |store: &Store| put_into(store, session, name, items).await).await
}

async fn put_into(
    store: &Store,
    session: &Session,
    name: &str,
    items: Vec<NewAllowlistItem>,
) -> Result<(), Failure> {
    // Before anything is written: the console would overwrite changes to its lists.
    ours(store, name, "update").await?;
    let now = UnixMillis::now();
    let added = store
        .add_to_allowlist(now, name, items)
        .await
        .map_err(while_doing("unable to add values to allowlist"))?;
    for (value, known) in &added.existing {
        let spelled = if value == known { String::new() } else { format!(" as {known}") };
        session.log.warn(&format!("value {value} already in allowlist{spelled}"));
    }
    let any_invalid = !added.invalid.is_empty();
    for value in added.invalid {
        session.log.error(&InvalidAddress(value).to_string());
    }
    if !added.added.is_empty() {
        session.report(&format!("added {} values to allowlist {name}", added.added.len()))?;
    } else if !any_invalid {
        session.report("no new values for allowlist")?;
    }
    // Also when nothing was added: an earlier run may have been interrupted before this.
    let ended = store
        .apply_allowlists(now)
        .await
        .map_err(while_doing("unable to apply allowlists to existing decisions"))?;
    if ended.count > 0 {
        session.report(&format!("{} decisions deleted by allowlists", ended.count))?;
    }
    Ok(())
}

/// A row of the file for `import`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CsvRow {
    #[serde(deserialize_with = "optional_text")]
    value: String,
    #[serde(deserialize_with = "optional_text")]
    expiration: String,
    #[serde(deserialize_with = "optional_text")]
    comment: String,
}

/// Parses the file; expirations are relative to `now`.
fn rows(from: impl Read, now: UnixMillis, rejects: &mut Rejects) -> Result<Vec<NewAllowlistItem>, Failure> {
    let text = read_text(from, rejects)?;
    let mut items = Vec::new();
    for (place, row) in read_csv(&text, rejects)? {
        match row_item(row, now) {
            Ok(item) => items.push(item),
            Err(reason) => rejects.add(place, reason),
        }
    }
    Ok(items)
}

fn row_item(row: CsvRow, now: UnixMillis) -> Result<NewAllowlistItem, String> {
    let value = without_comment(&row.value, true);
    if value.is_empty() {
        return Err("missing 'value'".to_owned());
    }
    check_address(value)?;
    let expires_at = match row.expiration.as_str() {
        "" => None,
        text => {
            let span: GoDuration =
                text.parse().map_err(|error| format!("invalid expiration {}: {error}", quote(text)))?;
            if span.nanos() <= 0 {
                return Err(EXPIRED.to_owned());
            }
            Some(now.plus(span))
        }
    };
    Ok(NewAllowlistItem { value: value.to_owned(), comment: row.comment, expires_at })
}

async fn remove(session: &Session, name: &str, values: &[String]) -> Result<(), Failure> {
    let remove = async |store: &Store| {
        ours(store, name, "update").await?;
        store
            .remove_from_allowlist(UnixMillis::now(), name, values)
            .await
            .map_err(while_doing("unable to remove values from allowlist"))
    };
    let removed = session.change(remove).await?;
    for value in &removed.missing {
        session.log.warn(&format!("value {value} is not in allowlist"));
    }
    match removed.count {
        0 => session.report("no value to remove from allowlist"),
        // No final newline, as in `cscli`.
        count if session.as_cscli => print(&format!("removed {count} values from allowlist {name}")),
        count => session.report(&format!("removed {count} values from allowlist {name}")),
    }
}

fn yes_no(managed: bool) -> String {
    if managed { "yes" } else { "no" }.to_owned()
}

async fn list(session: &Session) -> Result<(), Failure> {
    let (client, _) = session.client()?;
    let lists = client.allowlists(true).await?;
    let managed = |list: &Allowlist| list.console_managed;
    match session.output {
        Output::Json => line(&json(&lists, 2)),
        Output::Raw => print(&csv(
            "name,description,created_at,updated_at,console_managed,size",
            lists.iter().map(|list| list_cells(list, managed(list).to_string())),
        )?),
        Output::Human => {
            let header = ["Name", "Description", "Created at", "Updated at", "Managed by Console", "Size"];
            let rows = lists.iter().map(|list| list_cells(list, yes_no(managed(list))));
            // Numbers stand to the right.
            let columns = [vec![Column::LEFT; header.len() - 1], vec![Column::RIGHT]].concat();
            print(&Table::plain(session.fancy).header(&header).columns(columns).rows(rows).render())
        }
    }
}

fn list_cells(list: &Allowlist, managed: String) -> Vec<String> {
    vec![
        list.name.clone(),
        list.description.clone(),
        list.created_at.clone(),
        list.updated_at.clone(),
        managed,
        list.items.len().to_string(),
    ]
}

fn expiration(item: &AllowlistItem) -> String {
    let never = item.expiration.is_empty() || item.expiration == NO_EXPIRATION;
    if never { "never".to_owned() } else { item.expiration.clone() }
}

async fn inspect(session: &Session, name: &str) -> Result<(), Failure> {
    let (client, _) = session.client()?;
    let list = client.allowlist(name, true).await.map_err(while_doing("unable to get allowlist"))?;
    match session.output {
        Output::Json => line(&json(&list, 2)),
        Output::Raw => print(&inspect_raw(&list)?),
        Output::Human => {
            let table = || Table::plain(session.fancy);
            print(&properties(
                table().title(&format!("Allowlist: {}", list.name)),
                vec![
                    ("Name", list.name.clone()),
                    ("Description", list.description.clone()),
                    ("Created at", list.created_at.clone()),
                    ("Updated at", list.updated_at.clone()),
                    ("Managed by Console", yes_no(list.console_managed)),
                ],
            ))?;
            let rows = list.items.iter().map(|item| {
                vec![item.value.clone(), item.description.clone(), expiration(item), item.created_at.clone()]
            });
            let header = ["Value", "Comment", "Expiration", "Created at"];
            print(&format!("\n{}", table().header(&header).rows(rows).render()))
        }
    }
}

fn inspect_raw(list: &Allowlist) -> Result<String, Failure> {
    let rows = list.items.iter().map(|item| {
        vec![
            list.name.clone(),
            list.description.clone(),
            item.value.clone(),
            item.description.clone(),
            expiration(item),
            item.created_at.clone(),
            list.console_managed.to_string(),
        ]
    });
    csv("name,description,value,comment,expiration,created_at,console_managed", rows)
}

async fn check(session: &Session, values: &[String]) -> Result<(), Failure> {
    let (client, _) = session.client()?;
    // Checks all values, where the stock CLI stops at the first that is on no list.
    for value in values {
        let answer = client
            .check_allowlist(value)
            .await
            .map_err(while_doing("unable to check if value is in allowlist"))?;
        if answer.allowlisted {
            session.report(&format!("{value} is allowlisted by item {}", one_line(&answer.reason)))?;
        } else {
            session.report(&format!("{value} is not allowlisted"))?;
        }
    }
    Ok(())
}

/// Names for completion.
pub(super) async fn names(session: &Session) -> Result<Vec<String>, Failure> {
    let lists = session.store().await?.allowlists(UnixMillis::now(), false).await?;
    Ok(lists.into_iter().map(|list| list.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_values_is_read_or_rejected_by_line() {
        let now = UnixMillis::parse_rfc3339("2026-07-01T10:00:00Z").unwrap();
        let read = |text: &str| {
            let mut rejects = Rejects::default();
            rows(text.as_bytes(), now, &mut rejects).map(|items| (items, rejects.count()))
        };
        let (items, bad) =
            read("\u{feff}# ours\r\nvalue,expiration,comment\r\n10.0.0.0/8,1d,lan\r\n1.2.3.4 # x,,\r\n")
                .unwrap();
        assert_eq!(items[0].expires_at.unwrap().rfc3339(), "2026-07-02T10:00:00Z");
        assert_eq!((&*items[0].comment, &*items[1].value, items[1].expires_at), ("lan", "1.2.3.4", None));
        assert_eq!(bad, 0);
        for (text, good, bad) in [
            ("value\n", 0, 0),
            ("value,comment\n1.2.3.4,x\n,y\n", 1, 1),
            ("value,expiration\n1.2.3.4,soon\n\n1.2.3.5\nx\n", 1, 2),
        ] {
            let (items, rejected) = read(text).unwrap();
            assert_eq!((items.len(), rejected), (good, bad), "{text}");
        }
        assert!(read("1.2.3.4\n").unwrap_err().to_string().contains("does not name a column 'value'"));
    }

    #[test]
    fn items_without_expiration_are_shown_as_never() {
        let item = |expiration: &str| AllowlistItem {
            value: "10.0.0.0/8".into(),
            description: "lan".into(),
            expiration: expiration.into(),
            created_at: "2026-07-01T10:00:00.000Z".into(),
        };
        let list = Allowlist {
            name: "office".into(),
            description: "our ranges".into(),
            items: vec![item(NO_EXPIRATION), item("2026-07-02T10:00:00.000Z")],
            ..Allowlist::default()
        };
        assert_eq!(
            inspect_raw(&list).unwrap(),
            "name,description,value,comment,expiration,created_at,console_managed\n\
             office,our ranges,10.0.0.0/8,lan,never,2026-07-01T10:00:00.000Z,false\n\
             office,our ranges,10.0.0.0/8,lan,2026-07-02T10:00:00.000Z,2026-07-01T10:00:00.000Z,false\n"
        );
    }
}
