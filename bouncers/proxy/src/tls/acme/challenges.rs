//! Answers to the challenges of orders under way.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

/// Answers to challenges. Requests and handshakes read them without a lock; there is one writer. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Challenges {
    answers: Arc<ArcSwap<Answers>>,
}

#[derive(Debug, Clone, Default)]
struct Answers {
    /// HTTP-01: by token.
    responses: HashMap<String, Arc<str>>,
    /// TLS-ALPN-01: by server name.
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

/// Withdraws the answer to one challenge when dropped.
#[derive(Debug)]
pub(super) struct Published {
    challenges: Challenges,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Token(String),
    Name(String),
}

impl Challenges {
    /// The body of the response for `/.well-known/acme-challenge/TOKEN`, as `application/octet-stream`; `None` when no
    /// order under way has this token.
    pub fn response(&self, token: &str) -> Option<Arc<str>> {
        self.answers.load().responses.get(token).cloned()
    }

    /// The certificate that proves `name` in a handshake.
    pub(in super::super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.answers.load().certificates.get(name).cloned()
    }

    pub(super) fn publish_response(&self, token: &str, response: &str) -> Published {
        self.change(|answers| {
            answers.responses.insert(token.to_owned(), response.into());
        });
        Published { challenges: self.clone(), key: Key::Token(token.to_owned()) }
    }

    pub(super) fn publish_certificate(&self, name: &str, certificate: Arc<CertifiedKey>) -> Published {
        self.change(|answers| {
            answers.certificates.insert(name.to_owned(), certificate.clone());
        });
        Published { challenges: self.clone(), key: Key::Name(name.to_owned()) }
    }

    fn change(&self, change: impl Fn(&mut Answers)) {
        self.answers.rcu(|answers| {
            let mut answers = Answers::clone(answers);
            change(&mut answers);
            answers
        });
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.challenges.change(|answers| match &self.key {
            Key::Token(token) => drop(answers.responses.remove(token)),
            Key::Name(name) => drop(answers.certificates.remove(name)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_given_only_while_its_order_is_under_way() {
        let challenges = Challenges::default();
        assert_eq!(challenges.response("token"), None);
        let (one, other) =
            (challenges.publish_response("token", "token.key"), challenges.publish_response("t2", "x"));
        assert_eq!(challenges.response("token").as_deref(), Some("token.key"));
        assert_eq!(challenges.response("toke"), None);
        drop(one);
        assert_eq!(challenges.response("token"), None);
        assert_eq!(challenges.response("t2").as_deref(), Some("x"));
        drop(other);
    }
}
