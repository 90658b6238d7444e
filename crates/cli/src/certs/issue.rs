//! Issues certificates.

use crate::error::{CliError, Exit, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// How much longer an authority is valid than its certificates.
const AUTHORITY_FACTOR: u16 = 10;

/// An authority that signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate to sign.
pub(super) struct LeafCertificate<'a> {
    pub(super) name: &'a str,
    pub(super) uris: Vec<String>,
    pub(super) hosts: &'a [String],
    pub(super) days: u16,
}

impl Authority {
    /// Creates an authority.
    pub(super) fn create(trust_domain: &str, days: u16) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        // The identifier of its key distinguishes authorities of the same name.
        params.distinguished_name = named(&format!("GoConductor authority of {trust_domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, days.saturating_mul(AUTHORITY_FACTOR))?;
        let key = KeyPair::generate().map_err(failed)?;
        let pem = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// Loads an authority from its certificate and its key.
    pub(super) fn load(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(failed)?;
        Ok(Self { issuer, pem: certificate.to_owned() })
    }

    /// Returns the certificate.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the private key.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Returns a certificate and its private key, for a server and a client.
    pub(super) fn sign(&self, leaf: LeafCertificate<'_>) -> Result<(String, String)> {
        let LeafCertificate { name, uris, hosts, days } = leaf;
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.distinguished_name = named(name);
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(failed)?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, days)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Sets the validity from yesterday, because clocks differ, for a number of days from today.
fn set_validity(params: &mut CertificateParams, days: u16) -> Result<()> {
    let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
    let (year, month, day) = parts(today.checked_sub(1.day()).map_err(failed)?)?;
    params.not_before = date_time_ymd(year, month, day);
    let end = today.checked_add(i64::from(days).saturating_add(1).days()).map_err(failed)?;
    let (year, month, day) = parts(end)?;
    params.not_after = date_time_ymd(year, month, day);
    Ok(())
}

fn parts(date: Date) -> Result<(i32, u8, u8)> {
    let part = |value: i8| u8::try_from(value).map_err(failed);
    Ok((date.year().into(), part(date.month())?, part(date.day())?))
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Other, format!("failed to create a certificate: {error}"))
}
