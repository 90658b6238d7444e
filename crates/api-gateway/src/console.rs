//! The files of the web console, which are embedded in the program.
//!
//! `scripts/console build` writes them to `crates/api-gateway/console`: `index.html`, files with a hash of their content in
//! `assets`, and `SOURCE` with the digest of the sources. `NAME.br` is the file `NAME` compressed with Brotli, beside it or
//! instead of it. Nothing is compressed at run time.
//!
//! The console is a single-page application. Its own paths are those below `/ui`, which are not paths of the API.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};
use std::borrow::Cow;
use std::io::Read;

/// The page of all paths of the console.
const INDEX: &str = "index.html";
/// The directory of the files whose names contain a hash.
const ASSETS: &str = "assets/";
/// The suffix of compressed files.
const COMPRESSED: &str = ".br";
/// The digest of the sources, which is not part of the console.
const SOURCE: &str = "SOURCE";
/// The content security policy. Scripts and styles are files, and the console connects only to this server.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; \
                      object-src 'none'";
/// A file with a hash in its name never changes.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// Maximum bytes of a decompressed file.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Bytes of a buffer of the decompression.
const BUFFER_BYTES: usize = 16 << 10;

#[derive(RustEmbed)]
#[folder = "console"]
struct ConsoleFiles;

/// A file in the form in which it is sent.
struct Representation {
    name: String,
    body: FileBody,
    tag: String,
}

enum FileBody {
    Plain(Bytes),
    /// Sent as it is.
    Compressed(Bytes),
    /// Decompressed for a client that does not accept Brotli.
    Packed(Bytes),
}

/// Responds to a request for a path below `/ui/`. Returns `None` if the path is that of an asset that does not exist.
pub(crate) async fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let found = find(path, accepts_brotli(headers));
    let found = match found {
        None if path.starts_with(ASSETS) => None,
        None => find(INDEX, accepts_brotli(headers)),
        found => found,
    };
    Some(respond(found?, headers).await)
}

/// Responds with the page of the console.
pub(crate) async fn index(headers: &HeaderMap) -> Response {
    match find(INDEX, accepts_brotli(headers)) {
        Some(found) => respond(found, headers).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Finds a file by its exact name. Names of compressed files, and of files that are not part of the console, are not found.
fn find(name: &str, accepts_brotli: bool) -> Option<Representation> {
    if name.ends_with(COMPRESSED) || name == SOURCE {
        return None;
    }
    let compressed = ConsoleFiles::get(&format!("{name}{COMPRESSED}"));
    let plain = ConsoleFiles::get(name);
    let (file, body, suffix): (EmbeddedFile, fn(Bytes) -> FileBody, &str) = match (compressed, plain) {
        (Some(compressed), _) if accepts_brotli => (compressed, FileBody::Compressed, ""),
        (_, Some(plain)) => (plain, FileBody::Plain, ""),
        (Some(compressed), None) => (compressed, FileBody::Packed, "-plain"),
        (None, None) => return None,
    };
    let hash = file.metadata.sha256_hash();
    let hash: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let data = match file.data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        Cow::Owned(data) => Bytes::from(data),
    };
    Some(Representation { name: name.to_owned(), body: body(data), tag: format!("\"{hash}{suffix}\"") })
}

async fn respond(file: Representation, headers: &HeaderMap) -> Response {
    let Representation { name, body, tag } = file;
    let mut response = if matches_tag(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match body {
            FileBody::Plain(bytes) => bytes.into_response(),
            FileBody::Compressed(bytes) => {
                let mut response = bytes.into_response();
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
                response
            }
            FileBody::Packed(bytes) => match tokio::task::spawn_blocking(move || decompress(&bytes)).await {
                Ok(Ok(bytes)) => bytes.into_response(),
                Ok(Err(_)) | Err(_) => StatusCode::NOT_FOUND.into_response(),
            },
        }
    };
    let is_asset = name.starts_with(ASSETS);
    let mut insert = |name: HeaderName, value: &'static str| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    insert(header::CONTENT_TYPE, content_type(&name));
    insert(header::CACHE_CONTROL, if is_asset { IMMUTABLE } else { "no-cache" });
    insert(header::VARY, "accept-encoding");
    insert(header::CONTENT_SECURITY_POLICY, POLICY);
    insert(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    insert(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn decompress(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut plain = Vec::new();
    brotli_decompressor::Decompressor::new(bytes, BUFFER_BYTES)
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut plain)?;
    Ok(Bytes::from(plain))
}

/// Returns whether a client accepts Brotli (RFC 9110, section 12.5.3).
fn accepts_brotli(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case("br") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// Returns whether a client has the representation with a tag (RFC 9110, section 13.1.2).
fn matches_tag(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter();
    let mut tags = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tags.any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

fn content_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn brotli_is_sent_only_to_clients_that_accept_it() {
        for (value, is_accepted) in [
            ("br", true),
            ("gzip, deflate, br, zstd", true),
            ("gzip;q=1.0, BR;q=0.5", true),
            ("br;q=0", false),
            ("br;q=0.000, gzip", false),
            ("br;q=x", false),
            ("gzip", false),
            ("brotli", false),
            ("", false),
        ] {
            assert_eq!(accepts_brotli(&headers(&[(header::ACCEPT_ENCODING, value)])), is_accepted, "{value}");
        }
        assert!(!accepts_brotli(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn page_is_sent_for_every_path_of_the_console_and_validated_by_its_tag() {
        for path in ["", "workflows", "workflows/1", "locks/customer.7", "x/../assets/nope.js", "SOURCE"] {
            let response = file(path, &HeaderMap::new()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
            assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], POLICY, "{path}");
        }
        let tag = index(&HeaderMap::new()).await.headers()[header::ETAG].to_str().unwrap().to_owned();
        let known = format!("\"other\", W/{tag}");
        let response = index(&headers(&[(header::IF_NONE_MATCH, &known)])).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        let other = index(&headers(&[(header::IF_NONE_MATCH, "\"other\"")])).await;
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn assets_are_immutable_and_unknown_ones_do_not_exist() {
        for path in ["assets/nope.js", "assets/", "assets/../index.html", "assets/%2e%2e/index.html"] {
            assert!(file(path, &HeaderMap::new()).await.is_none(), "{path}");
        }
        for name in ConsoleFiles::iter().filter(|name| name.starts_with(ASSETS)) {
            let name = name.strip_suffix(COMPRESSED).unwrap_or(&name);
            for coding in ["br", "identity"] {
                let response = file(name, &headers(&[(header::ACCEPT_ENCODING, coding)])).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK, "{name}");
                assert_eq!(response.headers()[header::CACHE_CONTROL], IMMUTABLE, "{name}");
                assert_ne!(response.headers()[header::CONTENT_TYPE], "application/octet-stream", "{name}");
            }
        }
    }

    /// The policy allows neither inline scripts nor inline styles, nor files of other hosts.
    #[tokio::test]
    async fn page_obeys_the_policy() {
        let page = axum::body::to_bytes(index(&HeaderMap::new()).await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8(page.to_vec()).unwrap();
        assert!(!page.contains("<style") && !page.contains(" style="), "{page}");
        for script in page.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(" src=\"/ui/assets/"), "{tag}");
        }
        assert!(!page.contains("\"//") && !page.contains("\"http"), "{page}");
    }

    #[test]
    fn compressed_file_is_decompressed() {
        // "aaaaaaaaaa" as a stream of Brotli.
        let packed = [0x1b, 0x09, 0x00, 0xf8, 0x25, 0xc2, 0x82, 0x84, 0x00, 0x00];
        assert_eq!(decompress(&packed).unwrap(), Bytes::from_static(b"aaaaaaaaaa"));
    }
}
