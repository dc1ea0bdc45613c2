//! What of a URL may appear in telemetry.
//!
//! Credentials never, and no value of a query parameter whose name says that it is a secret: the
//! four that the HTTP conventions list, and the names that APIs commonly use.

use std::borrow::Cow;

use reqwest::Url;

const REDACTED: &str = "REDACTED";

const SECRET_PARAMETERS: [&str; 11] = [
    "access_token",
    "api_key",
    "apikey",
    "awsaccesskeyid",
    "key",
    "password",
    "secret",
    "sig",
    "signature",
    "token",
    "x-goog-signature",
];

/// The query string with the values of secret parameters replaced.
pub(crate) fn query(query: &str) -> Cow<'_, str> {
    let secret = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, _)| {
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            SECRET_PARAMETERS
                .iter()
                .any(|secret| secret.eq_ignore_ascii_case(&name))
        })
    };
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let redacted: Vec<Cow<'_, str>> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if secret(parameter) => Cow::Owned(format!("{name}={REDACTED}")),
            _ => Cow::Borrowed(parameter),
        })
        .collect();
    Cow::Owned(redacted.join("&"))
}

/// The whole URL for `url.full`, without its fragment.
pub(crate) fn full(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    // Both setters refuse only URLs without a host, which hold no credentials.
    if !url.username().is_empty() {
        let _ = url.set_username(REDACTED);
    }
    if url.password().is_some() {
        let _ = url.set_password(Some(REDACTED));
    }
    let redacted = url.query().map(|text| query(text).into_owned());
    url.set_query(redacted.as_deref());
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_query_are_replaced_and_the_rest_is_kept() {
        let cases = [
            ("", ""),
            ("a=1&b=2", "a=1&b=2"),
            ("token=abc", "token=REDACTED"),
            ("a=1&Sig=x%3D&b", "a=1&Sig=REDACTED&b"),
            (
                "X-Goog-Signature=1&AWSAccessKeyId=2",
                "X-Goog-Signature=REDACTED&AWSAccessKeyId=REDACTED",
            ),
            ("%74oken=abc", "%74oken=REDACTED"),
            ("token", "token"),
            ("tokens=2&sigma=3", "tokens=2&sigma=3"),
            ("&&=&", "&&=&"),
        ];
        for (given, expected) in cases {
            assert_eq!(query(given), expected);
        }
    }

    #[test]
    fn a_full_url_shows_no_credentials_and_no_fragment() {
        let cases = [
            (
                "http://u:p@h:81/a?token=x&b=1#f",
                "http://REDACTED:REDACTED@h:81/a?token=REDACTED&b=1",
            ),
            ("http://u@h/", "http://REDACTED@h/"),
            ("http://:p@h/", "http://:REDACTED@h/"),
            ("http://h/a%20b?q=%C3%A9", "http://h/a%20b?q=%C3%A9"),
        ];
        for (given, expected) in cases {
            assert_eq!(full(&given.parse().unwrap()), expected);
        }
    }
}
