use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;

use crate::host::is_loopback;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// By which addresses the page is reached.
pub struct Place {
    /// Through another web server.
    url: Option<String>,
    /// And directly, by this machine's loopback addresses.
    is_on_loopback: bool,
}

impl Place {
    /// Scheme and host of a web server in front, and whether browsers on this machine come without it.
    #[must_use]
    pub fn new(url: Option<String>, is_on_loopback: bool) -> Self {
        Self { url, is_on_loopback }
    }

    /// The origin that a request was made to. `None` for a name that is not ours: another page had it resolve to here.
    pub(super) fn origin(&self, parts: &Parts) -> Option<String> {
        let host = only(parts, HOST)?.to_ascii_lowercase();
        if parts.uri.authority().is_some_and(|other| !other.as_str().eq_ignore_ascii_case(&host)) {
            return None;
        }
        let is_its = |url: &&String| url.split_once("://").is_some_and(|(_, authority)| authority == host);
        match self.url.as_ref().filter(is_its) {
            Some(url) => Some(url.clone()),
            None => (self.is_on_loopback && is_loopback(&host)).then(|| format!("http://{host}")),
        }
    }

    /// Whether a request that does something came from a page of that origin. Browsers always say where a form is from.
    pub(super) fn is_from(parts: &Parts, origin: &str) -> bool {
        // An old browser does not say, but names the origin all the same.
        let says = parts.headers.contains_key(SEC_FETCH_SITE);
        (!says || only(parts, SEC_FETCH_SITE) == Some("same-origin")) && only(parts, ORIGIN) == Some(origin)
    }
}

/// Of several none is believed.
fn only(parts: &Parts, name: HeaderName) -> Option<&str> {
    let mut all = parts.headers.get_all(name).iter();
    let one = all.next()?.to_str().ok();
    if all.next().is_some() { None } else { one }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_names_of_this_machine_or_of_the_server_in_front_are_taken() {
        let (alone, behind) = (Place::new(None, true), Place::new(Some("https://usage.example.com".into()), false));
        let both = Place::new(Some("https://usage.example.com".into()), true);
        for (host, here, there) in [
            ("127.0.0.1:9479", Some("http://127.0.0.1:9479"), None),
            ("LocalHost:9479", Some("http://localhost:9479"), None),
            ("usage.example.com", None, Some("https://usage.example.com")),
            ("Usage.Example.com", None, Some("https://usage.example.com")),
            ("usage.example.com:8443", None, None),
            ("usage.example.com.evil.example", None, None),
            ("evil.example", None, None),
            ("127.0.0.1.evil.example", None, None),
            ("", None, None),
        ] {
            let asked = parts("/", &[("Host", host)]);
            assert_eq!((alone.origin(&asked).as_deref(), behind.origin(&asked).as_deref()), (here, there), "{host}");
            assert_eq!(both.origin(&asked).as_deref(), here.or(there), "{host}");
        }
        for doubtful in [
            parts("/", &[]),
            parts("/", &[("Host", "localhost"), ("Host", "evil.example")]),
            parts("http://evil.example/", &[("Host", "localhost")]),
        ] {
            assert_eq!(alone.origin(&doubtful), None, "{doubtful:?}");
        }
    }

    #[test]
    fn what_does_something_has_to_come_from_this_page() {
        let here = "http://127.0.0.1:9479";
        let from = |headers: &[(&str, &str)]| Place::is_from(&parts("/", headers), here);
        assert!(from(&[("Origin", here)]) && from(&[("Origin", here), ("Sec-Fetch-Site", "same-origin")]));
        for foreign in [
            &[][..],
            &[("Origin", "null")],
            &[("Origin", "http://127.0.0.1:9480")],
            &[("Origin", "https://127.0.0.1:9479")],
            &[("Origin", here), ("Origin", "http://evil.example")],
            &[("Origin", here), ("Sec-Fetch-Site", "same-site")],
            &[("Origin", here), ("Sec-Fetch-Site", "cross-site")],
        ] {
            assert!(!from(foreign), "{foreign:?}");
        }
    }
}
