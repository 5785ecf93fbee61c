//! The background task: makes orders when they are due, one after the other.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier, Error, Key};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::failure::OrderError;
use super::name_state::{NameState, Task};
use super::order::{ORDER_TIMEOUT, OrderContext};
use super::schedule::{Attempts, Failure, renewal_time};
use super::storage::Kind;
use super::{Setup, Shared};
use crate::tls::certificate::{Certificate, unix_now};
use crate::tls::file_certificate::timestamp;

/// The longest sleep: the clock may be set meanwhile.
const MAX_SLEEP: i64 = 3600;
/// After a rate limit, no order for any name is made in this many seconds.
const RATE_LIMITED_PAUSE: i64 = 60;
/// How often the directory is asked for suggestions at most and at least, in seconds.
const SUGGESTION_INTERVAL: (i64, i64) = (3600, 24 * 3600);

/// Never returns; safe to be dropped at any point.
pub(super) async fn run(shared: &Shared) {
    let mut changes = shared.setup.subscribe();
    // Of the setup it was made with.
    let mut account: Option<(Arc<Setup>, Account)> = None;
    loop {
        let setup = changes.borrow_and_update().clone();
        let next = shared
            .names()
            .iter()
            .map(|state| (state.next(), state.name.clone()))
            .min_by_key(|((_, at), _)| *at);
        let pause = match (setup, next) {
            (Some(setup), Some(((task, at), name))) if at <= unix_now() => {
                if account.as_ref().is_some_and(|(of, _)| !Arc::ptr_eq(of, &setup)) {
                    account = None;
                }
                let ours = match &account {
                    Some((_, account)) => Ok(account.clone()),
                    None => open_account(&setup).await,
                };
                if let Ok(opened) = &ours {
                    account = Some((setup.clone(), opened.clone()));
                }
                let performed = match task {
                    Task::Order => make_order(shared, &setup, &name, ours).await,
                    Task::Suggestion => ask_for_suggestion(shared, &setup, &name, ours).await,
                };
                if !performed {
                    // It may be the account that does not exist any more; opening it again costs little.
                    account = None;
                }
                continue;
            }
            (_, Some(((_, at), _))) => (at - unix_now()).clamp(1, MAX_SLEEP),
            (_, None) => MAX_SLEEP,
        };
        let pause = Duration::from_secs(pause.unsigned_abs());
        tokio::select! {
            // The sender is part of `shared`.
            _ = changes.changed() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Finds the account of our key, or creates it. The key is kept before it is used, so that there is never more than one
/// account.
async fn open_account(setup: &Setup) -> Result<Account, OrderError> {
    let storage = &setup.storage;
    let kept = storage.read(Kind::AccountKey).map_err(|cause| OrderError::storage(&cause))?;
    let der: PrivatePkcs8KeyDer<'static> = match kept {
        Some(pem) => PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|cause| {
            let file = storage.path(Kind::AccountKey);
            OrderError::refused(format!(
                "the account's key {} cannot be used ({cause}); restore it, or remove it for a new account",
                file.display()
            ))
        })?,
        None => {
            let key = rcgen::KeyPair::generate().map_err(|cause| OrderError::refused(cause.to_string()))?;
            storage
                .write(Kind::AccountKey, &key.serialize_pem())
                .map_err(|cause| OrderError::storage(&cause))?;
            key.serialize_der().into()
        }
    };
    let key = Key::from_pkcs8_der(der.clone_key())?;
    let directory = setup.config.directory.clone();
    let opening = async {
        let builder = Account::builder_with_http(Box::new(setup.http.clone()));
        let (account, _) = builder.create_from_key((key, PrivateKeyDer::Pkcs8(der)), directory).await?;
        if !setup.config.email.is_empty() {
            let contact = match setup.config.email.strip_prefix("mailto:") {
                Some(_) => setup.config.email.clone(),
                None => format!("mailto:{}", setup.config.email),
            };
            account.update_contacts(&[&contact]).await?;
        }
        Ok::<_, Error>(account)
    };
    let account = timeout(ORDER_TIMEOUT, opening).await.unwrap_or(Err(Error::Timeout(None)))?;
    debug!(account = account.id(), directory = setup.config.directory, "ACME account opened");
    Ok(account)
}

/// Makes an order and records what became of it; returns whether it succeeded.
async fn make_order(
    shared: &Shared,
    setup: &Setup,
    name: &str,
    account: Result<Account, OrderError>,
) -> bool {
    let obtained = match &account {
        Ok(account) => {
            let begun = change(shared, name, |state| {
                state.attempts.begin(unix_now());
                state.attempts.clone()
            });
            save_attempts(setup, name, begun.as_ref());
            let context = OrderContext {
                account,
                storage: &setup.storage,
                challenges: &shared.challenges,
                challenge: setup.config.challenge,
                name,
            };
            let replaced = replaced(shared, name);
            let late = OrderError::refused("the order did not end in time");
            timeout(ORDER_TIMEOUT, context.obtain(replaced)).await.unwrap_or(Err(late))
        }
        Err(cause) => {
            failed(shared, setup, name, cause);
            postpone_all(shared, name, cause);
            return false;
        }
    };
    match obtained {
        Ok(certificate) => {
            succeeded(shared, setup, name, certificate);
            true
        }
        Err(cause) => {
            failed(shared, setup, name, &cause);
            if cause.rate_limited {
                slow_down(shared, name);
            }
            false
        }
    }
}

/// Without an account, orders for the other names would fail like that for `name`: they wait as long as it does.
fn postpone_all(shared: &Shared, name: &str, cause: &OrderError) {
    let mut names = shared.names();
    let Some(until) = names.iter().find(|state| state.name == name).map(|state| state.attempts.not_before)
    else {
        return;
    };
    for state in names.iter_mut().filter(|state| state.name != name) {
        state.attempts.not_before = state.attempts.not_before.max(until);
        state.attempts.error.get_or_insert_with(|| cause.text.clone());
    }
}

/// Some limits hold for all names of an account together, others only for one name; which one it was is not told.
fn slow_down(shared: &Shared, name: &str) {
    let until = unix_now().saturating_add(RATE_LIMITED_PAUSE);
    for state in shared.names().iter_mut().filter(|state| state.name != name) {
        state.attempts.not_before = state.attempts.not_before.max(until);
    }
}

/// The certificate that is renewed, for directories that make suggestions.
fn replaced(shared: &Shared, name: &str) -> Option<CertificateIdentifier<'static>> {
    let names = shared.names();
    let state = names.iter().find(|state| state.name == name && state.suggestion.is_some())?;
    let certificate = state.certificate.as_ref()?;
    CertificateIdentifier::try_from(certificate.key.cert.first()?).ok().map(CertificateIdentifier::into_owned)
}

fn succeeded(shared: &Shared, setup: &Setup, name: &str, certificate: Certificate) {
    let now = unix_now();
    let certificate = Arc::new(certificate);
    let validity = certificate.validity;
    info!(name, expires = %timestamp(validity.until), "certificate obtained by ACME");
    let attempts = change(shared, name, |state| {
        state.certificate = Some(certificate.clone());
        state.attempts = Attempts::default();
        state.suggestion = None;
        state.next_suggestion = now.saturating_add(SUGGESTION_INTERVAL.0);
        if renewal_time(validity, None) <= now {
            // Otherwise one order would follow the other.
            let reason = "the certificate issued is due for renewal already; check the clock".to_owned();
            warn!(name, reason, "the next order is postponed");
            state.attempts.fail(Failure::Refused(None), reason, now, fastrand::f64());
        }
        state.attempts.clone()
    });
    // `None`: no longer in the configuration.
    if attempts.is_some() {
        shared.presented.rcu(|presented| {
            let mut presented = std::collections::HashMap::clone(presented);
            presented.insert(name.to_owned(), certificate.clone());
            presented
        });
    }
    save_attempts(setup, name, attempts.filter(|attempts| *attempts != Attempts::default()).as_ref());
}

fn failed(shared: &Shared, setup: &Setup, name: &str, cause: &OrderError) {
    let now = unix_now();
    let kind = cause.kind(setup.http.retry_after());
    let changed = change(shared, name, |state| {
        state.attempts.fail(kind, cause.text.clone(), now, fastrand::f64());
        (state.attempts.clone(), state.is_valid(now))
    });
    let Some((attempts, valid)) = changed else { return };
    let next = timestamp(attempts.not_before);
    match valid {
        true => warn!(name, error = cause.text, next, "the certificate could not be renewed by ACME"),
        false => {
            error!(name, error = cause.text, next, "no valid certificate: none could be obtained by ACME")
        }
    }
    if kind != Failure::Unreachable {
        save_attempts(setup, name, Some(&attempts));
    }
}

/// Asks when to renew (RFC 9773); returns whether the directory answered.
pub(super) async fn ask_for_suggestion(
    shared: &Shared,
    setup: &Setup,
    name: &str,
    account: Result<Account, OrderError>,
) -> bool {
    let certificate = change(shared, name, |state| {
        // Whatever happens, not again at once.
        state.next_suggestion = unix_now().saturating_add(SUGGESTION_INTERVAL.1 / 4);
        state.certificate.clone()
    });
    let Some(certificate) = certificate.flatten() else { return true };
    let Some(Ok(id)) = certificate.key.cert.first().map(CertificateIdentifier::try_from) else { return true };
    let Ok(account) = account else {
        let until = unix_now().saturating_add(SUGGESTION_INTERVAL.0);
        for state in shared.names().iter_mut() {
            state.next_suggestion = state.next_suggestion.max(until);
        }
        return false;
    };
    let (suggestion, next) = match account.renewal_info(&id).await {
        Ok((info, delay)) => {
            let window = info.suggested_window;
            let (start, end) = (window.start.unix_timestamp(), window.end.unix_timestamp());
            let delay = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
            let next = unix_now().saturating_add(delay.clamp(SUGGESTION_INTERVAL.0, SUGGESTION_INTERVAL.1));
            // Somewhere in the window, so that renewals of many hosts are spread.
            (Some(fastrand::i64(start..end.max(start.saturating_add(1)))), next)
        }
        // Until the next start.
        Err(Error::Unsupported(_)) => (None, i64::MAX),
        Err(cause) => {
            debug!(name, error = %OrderError::from(cause), directory = setup.config.directory, "no suggestion for renewal");
            return false;
        }
    };
    change(shared, name, |state| {
        state.suggestion = suggestion;
        state.next_suggestion = next;
    });
    true
}

/// Changes the state of a name; `None` when it is no longer in the configuration.
fn change<R>(shared: &Shared, name: &str, change: impl FnOnce(&mut NameState) -> R) -> Option<R> {
    shared.names().iter_mut().find(|state| state.name == name).map(change)
}

/// Keeps what a restart must know; `None` removes it.
fn save_attempts(setup: &Setup, name: &str, attempts: Option<&Attempts>) {
    let saved = match attempts.map(serde_json::to_string) {
        Some(Ok(text)) => setup.storage.write(Kind::Attempts(name), &text),
        Some(Err(cause)) => Err(cause.into()),
        None => setup.storage.remove(Kind::Attempts(name)),
    };
    if let Err(cause) = saved {
        warn!(name, error = %cause, "the ACME storage cannot be written");
    }
}
