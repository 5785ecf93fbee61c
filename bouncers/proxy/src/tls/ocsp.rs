//! Decides whether an OCSP response may be stapled to a certificate. Pure.
//!
//! The signature is not verified: the file is the administrator's, and clients verify it. What is checked are the
//! mistakes that happen: a response for another certificate, an expired one, or one that says "revoked".

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::der::{Der, tag};

/// `id-pkix-ocsp-basic`, 1.3.6.1.5.5.7.48.1.1.
const OCSP_BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// `id-sha1`, 1.3.14.3.2.26.
const SHA1_OID: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// `id-sha256`, 2.16.840.1.101.3.4.2.1.
const SHA256_OID: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// How far the clocks of the responder and of this machine may differ.
const CLOCK_SKEW: i64 = 5 * 60;
/// How long a response without an end is used.
const WITHOUT_END: i64 = 24 * 60 * 60;

/// What identifies a certificate in an OCSP response.
#[derive(Debug, Clone, Default)]
pub(super) struct Subject {
    /// The bytes of the serial number's INTEGER.
    pub(super) serial: Vec<u8>,
    /// The issuer's name, DER.
    pub(super) issuer: Vec<u8>,
    /// The issuer's public key (the content of the BIT STRING); `None` when the chain does not include the issuer.
    pub(super) issuer_key: Option<Vec<u8>>,
}

/// Why a response is not stapled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OcspError {
    #[error("it is not a DER-encoded OCSP response; PEM must be converted first")]
    Malformed,
    #[error("the responder did not answer the request (status {0}); request it again")]
    Unsuccessful(u8),
    #[error("it is for another certificate; request one for the certificate in use")]
    OtherCertificate,
    #[error("it says that the certificate is revoked; replace the certificate")]
    Revoked,
    #[error("the responder does not know the certificate; check the issuer that was used for the request")]
    UnknownCertificate,
    #[error("it is not valid yet; check the clock")]
    NotYetValid,
    #[error("it has expired; renew it")]
    Expired,
}

/// Until when `response` may be stapled to the certificate of `subject`, in seconds since 1970.
pub(super) fn valid_until(response: &[u8], subject: &Subject, now: i64) -> Result<i64, OcspError> {
    let mut outer = Der(response).enter(tag::SEQUENCE).ok_or(OcspError::Malformed)?;
    match outer.take(tag::ENUMERATED).ok_or(OcspError::Malformed)? {
        [0] => {}
        [status] => return Err(OcspError::Unsuccessful(*status)),
        _ => return Err(OcspError::Malformed),
    }
    let mut responses = single_responses(outer).ok_or(OcspError::Malformed)?;
    while let Some(mut single) = responses.enter(tag::SEQUENCE) {
        let mut certificate = single.enter(tag::SEQUENCE).ok_or(OcspError::Malformed)?;
        if is_for(&mut certificate, subject).ok_or(OcspError::Malformed)? {
            return validity(single, now);
        }
    }
    Err(OcspError::OtherCertificate)
}

/// The `responses` of a `BasicOCSPResponse`.
fn single_responses(mut outer: Der<'_>) -> Option<Der<'_>> {
    let mut bytes = outer.enter(tag::explicit(0))?.enter(tag::SEQUENCE)?;
    if bytes.take(tag::OBJECT_IDENTIFIER)? != OCSP_BASIC {
        return None;
    }
    let mut basic = Der(bytes.take(tag::OCTET_STRING)?).enter(tag::SEQUENCE)?;
    let mut data = basic.enter(tag::SEQUENCE)?;
    basic.enter(tag::SEQUENCE)?;
    // Without a signature, clients would refuse the handshake.
    basic.take(tag::BIT_STRING)?;
    data.skip(tag::explicit(0))?;
    // Responder: by name or by key.
    data.any()?;
    data.take(tag::GENERALIZED_TIME)?;
    data.enter(tag::SEQUENCE)
}

fn is_for(certificate: &mut Der<'_>, subject: &Subject) -> Option<bool> {
    let algorithm = certificate.enter(tag::SEQUENCE)?.take(tag::OBJECT_IDENTIFIER)?;
    let name = certificate.take(tag::OCTET_STRING)?;
    let key = certificate.take(tag::OCTET_STRING)?;
    let serial = certificate.take(tag::INTEGER)?;
    let algorithm = match algorithm {
        SHA1_OID => &SHA1_FOR_LEGACY_USE_ONLY,
        SHA256_OID => &SHA256,
        // Cannot be compared, and no client sends it either.
        _ => return Some(false),
    };
    let equals = |hash: &[u8], content: &[u8]| digest::digest(algorithm, content).as_ref() == hash;
    Some(
        serial == subject.serial
            && equals(name, &subject.issuer)
            && subject.issuer_key.as_ref().is_none_or(|issuer| equals(key, issuer)),
    )
}

/// From `certStatus` on.
fn validity(mut single: Der<'_>, now: i64) -> Result<i64, OcspError> {
    let (status, _) = single.any().ok_or(OcspError::Malformed)?;
    match status & 0x1f {
        0 => {}
        1 => return Err(OcspError::Revoked),
        _ => return Err(OcspError::UnknownCertificate),
    }
    let from = single.take(tag::GENERALIZED_TIME).and_then(seconds).ok_or(OcspError::Malformed)?;
    let until = match single.peek() {
        Some(next) if next == tag::explicit(0) => single
            .enter(next)
            .and_then(|mut inner| inner.take(tag::GENERALIZED_TIME))
            .and_then(seconds)
            .ok_or(OcspError::Malformed)?,
        _ => from.saturating_add(WITHOUT_END),
    };
    if from > now.saturating_add(CLOCK_SKEW) {
        return Err(OcspError::NotYetValid);
    }
    if until <= now {
        return Err(OcspError::Expired);
    }
    Ok(until)
}

/// `YYYYMMDDHHMMSSZ`, the only form that DER allows in OCSP responses.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<i8>().ok());
    let year = text.get(..4)?.parse::<i16>().ok()?;
    let time = jiff::civil::DateTime::new(
        year,
        number(4, 6)?,
        number(6, 8)?,
        number(8, 10)?,
        number(10, 12)?,
        number(12, 14)?,
        0,
    )
    .ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::ocsp_response;
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn subject() -> Subject {
        Subject { serial: vec![0, 0xca, 0xfe], issuer: b"issuer".to_vec(), issuer_key: Some(b"key".to_vec()) }
    }

    #[test]
    fn a_current_response_for_the_certificate_is_stapled_until_its_end() {
        let response = ocsp_response(&subject(), 0, NOW - 60, Some(NOW + 3600));
        assert_eq!(valid_until(&response, &subject(), NOW), Ok(NOW + 3600));
        let unknown_issuer = Subject { issuer_key: None, ..subject() };
        assert_eq!(valid_until(&response, &unknown_issuer, NOW), Ok(NOW + 3600));
        let endless = ocsp_response(&subject(), 0, NOW - 60, None);
        assert_eq!(valid_until(&endless, &subject(), NOW), Ok(NOW - 60 + WITHOUT_END));
    }

    #[test]
    fn a_response_that_clients_would_refuse_is_not_stapled() {
        let made = |status, from, until| ocsp_response(&subject(), status, from, Some(until));
        let tried = |response: &[u8]| valid_until(response, &subject(), NOW).unwrap_err();
        assert_eq!(tried(&made(1, NOW - 60, NOW + 60)), OcspError::Revoked);
        assert_eq!(tried(&made(2, NOW - 60, NOW + 60)), OcspError::UnknownCertificate);
        assert_eq!(tried(&made(0, NOW - 60, NOW)), OcspError::Expired);
        assert_eq!(tried(&made(0, NOW + 3600, NOW + 7200)), OcspError::NotYetValid);
        assert_eq!(tried(&[0x30, 0x03, 0x0a, 0x01, 0x03]), OcspError::Unsuccessful(3));
        assert_eq!(tried(b"-----BEGIN OCSP RESPONSE-----"), OcspError::Malformed);
        for other in [
            Subject { serial: vec![1], ..subject() },
            Subject { issuer: b"other".to_vec(), ..subject() },
            Subject { issuer_key: Some(b"other".to_vec()), ..subject() },
        ] {
            let response = made(0, NOW - 60, NOW + 60);
            assert_eq!(valid_until(&response, &other, NOW), Err(OcspError::OtherCertificate));
        }
    }

    proptest! {
        #[test]
        fn a_damaged_response_is_refused_or_read_but_never_panics(position: prop::sample::Index, value: u8) {
            let mut response = ocsp_response(&subject(), 0, NOW - 60, Some(NOW + 60));
            let position = position.index(response.len());
            response[position] = value;
            let _ = valid_until(&response, &subject(), NOW);
            let _ = valid_until(&response[..position], &subject(), NOW);
        }
    }
}
