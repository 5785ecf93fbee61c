//! Checks the `mirror` block.

use std::collections::BTreeSet;

use super::super::file::{ListFile, MirrorFile};
use super::super::{ListAccess, ListConfig, ListFormat, MirrorConfig};
use super::Check;

/// Where the stock mirror listens.
const DEFAULT_LISTEN: &str = "127.0.0.1:41412";
/// The most lists.
const MAX_LISTS: usize = 100;

impl Check<'_> {
    pub(super) fn mirror(&mut self, file: MirrorFile) -> MirrorConfig {
        let listen = file.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        if listen.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
            self.wrong.add("mirror.listen", "write it as HOST:PORT");
        }
        let tls = file.tls.unwrap_or_default();
        let tls = self.certificate("mirror.tls", tls.certificate, tls.key);
        let files = file.lists.unwrap_or_default();
        if files.is_empty() || files.len() > MAX_LISTS {
            self.wrong.add("mirror.lists", format!("name at least one list and at most {MAX_LISTS}"));
        }
        let mut lists: Vec<ListConfig> = Vec::new();
        let mut paths = BTreeSet::new();
        for (index, file) in files.into_iter().enumerate().take(MAX_LISTS) {
            let key = format!("mirror.lists[{index}]");
            let list = self.list(&key, file);
            if !paths.insert(list.path.clone()) {
                self.wrong.add(format!("{key}.path"), "another list has this path");
            }
            lists.push(list);
        }
        let metrics_path = file.metrics_path;
        if let Some(path) = &metrics_path
            && (!is_path(path) || paths.contains(path))
        {
            self.wrong
                .add("mirror.metrics_path", "it must be a path that begins with / and is not that of a list");
        }
        MirrorConfig {
            listen,
            tls,
            lists,
            metrics_path,
            access_log: file.access_log,
            empty_is_not_found: file.empty_is_not_found.unwrap_or(false),
        }
    }

    fn list(&mut self, key: &str, file: ListFile) -> ListConfig {
        let path = file.path.unwrap_or_default();
        if !is_path(&path) {
            self.wrong
                .add(format!("{key}.path"), "give the list a path that begins with /, such as /blocklist");
        }
        let password = self.secret(&format!("{key}.password"), file.password, file.password_file);
        let allow_from =
            file.allow_from.map(|texts| self.wrong.prefixes(&format!("{key}.allow_from"), &texts));
        let access = match (file.user, password, allow_from) {
            (None, None, None) => ListAccess::Open,
            (Some(user), Some(password), None) => ListAccess::Basic { user, password },
            (None, None, Some(set)) => ListAccess::Addresses(Box::new(set)),
            (_, _, Some(_)) => {
                self.wrong
                    .add(format!("{key}.allow_from"), "give either `user` and `password` or `allow_from`");
                ListAccess::Addresses(Box::default())
            }
            _ => {
                self.wrong.add(format!("{key}.user"), "give both `user` and `password`");
                ListAccess::Addresses(Box::default())
            }
        };
        ListConfig {
            path,
            format: file.format.unwrap_or(ListFormat::PlainText),
            access,
            filter: self.filter(&format!("{key}.filter"), file.filter),
            aggregate: file.aggregate.unwrap_or(false),
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 256
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%'))
}
