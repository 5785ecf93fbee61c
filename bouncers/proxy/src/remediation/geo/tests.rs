//! Databases of addresses, and what replaces them.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

// Three small databases in MaxMind's format, as `palisade_e2e::write_mmdb` makes them.
const COUNTRIES: &[u8] = include_bytes!("testdata/countries.mmdb");
const OTHER_COUNTRIES: &[u8] = include_bytes!("testdata/other-countries.mmdb");
const SYSTEMS: &[u8] = include_bytes!("testdata/systems.mmdb");

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn country(geo: &Geo, address: &str) -> Option<String> {
    geo.country(address.parse().unwrap()).map(|country| country.to_string())
}

#[test]
fn places_are_found_by_the_fields_that_databases_have() {
    let folder = tempfile::tempdir().unwrap();
    let files = GeoFiles {
        country: Some(file(&folder, "c.mmdb", COUNTRIES)),
        asn: Some(file(&folder, "a.mmdb", SYSTEMS)),
    };
    let geo = Geo::open(&files).unwrap();
    for (address, expected) in [
        ("192.0.2.7", Some("FR")),
        ("192.0.2.200", Some("DE")),
        ("198.51.100.1", Some("JP")),
        ("2001:db8::1", Some("ES")),
        ("203.0.113.1", None),
        ("10.0.0.1", None),
    ] {
        assert_eq!(country(&geo, address).as_deref(), expected, "{address}");
    }
    let system = |address: &str| geo.autonomous_system(address.parse().unwrap());
    assert_eq!(system("192.0.2.7"), Some(SystemNumber(64500)));
    assert_eq!(system("2001:db8::1"), Some(SystemNumber(4_200_000_000)));
    assert_eq!(system("10.0.0.1"), None);
    // A database of the other kind knows nothing.
    let swapped = Geo::open(&GeoFiles { country: files.asn, asn: files.country }).unwrap();
    assert_eq!(country(&swapped, "192.0.2.7"), None);
    assert_eq!(country(&Geo::default(), "192.0.2.7"), None);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        |path: PathBuf| Geo::open(&GeoFiles { country: Some(path), asn: None }).unwrap_err().to_string();
    assert!(error(folder.path().join("none")).contains("correct its path in `geo`"));
    assert!(error(file(&folder, "junk", b"junk")).contains("is no MaxMind database"));
    assert!(error(file(&folder, "cut", &COUNTRIES[..300])).contains("is no MaxMind database"));
}

#[tokio::test]
async fn a_file_that_changes_is_read_and_one_that_cannot_be_used_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "c.mmdb", COUNTRIES);
    let geo = Geo::open(&GeoFiles { country: Some(path.clone()), asn: None }).unwrap();
    let stop = CancellationToken::new();
    let watching = geo.watch_every(Duration::from_millis(5), stop.clone());
    let changing = async {
        let becomes = async |expected: &str| {
            let began = Instant::now();
            while country(&geo, "192.0.2.7").as_deref() != Some(expected) {
                assert!(began.elapsed() < Duration::from_secs(20), "it never becomes {expected}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Renamed over it, as programs that fetch databases do.
        std::fs::rename(file(&folder, "new", OTHER_COUNTRIES), &path).unwrap();
        becomes("IT").await;
        for junk in [&b"junk"[..], &COUNTRIES[..300], b""] {
            std::fs::write(&path, junk).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            becomes("IT").await;
        }
        std::fs::remove_file(&path).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        becomes("IT").await;
        std::fs::write(&path, COUNTRIES).unwrap();
        becomes("FR").await;
        stop.cancel();
    };
    tokio::join!(watching, changing);
}

#[test]
fn a_damaged_database_says_nothing_and_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Each byte of tree and data in turn.
    for at in (0..COUNTRIES.len()).step_by(7) {
        let mut damaged = COUNTRIES.to_vec();
        damaged[at] ^= 0xff;
        let path = file(&folder, "d.mmdb", &damaged);
        if let Ok(geo) = Geo::open(&GeoFiles { country: Some(path), asn: None }) {
            for address in ["192.0.2.7", "255.255.255.255", "2001:db8::1", "ffff::"] {
                country(&geo, address);
            }
        }
    }
}
