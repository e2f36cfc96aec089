//! `[dashboard]`: where the usage page is, and who it lets in.

use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;
use toml::de::DeValue;

use super::provider::key_file;
use super::section::{Findings, Section};
use super::values::{Read, refuse, text};

/// The usage page.
#[derive(Debug, Clone, Default)]
pub struct Dashboard {
    /// Where it is; without a place there is none.
    pub listen: Option<Listen>,
    /// What people log in with. On a Unix socket there may be none: whoever may open it answers for those behind it.
    pub token: Option<SecretString>,
    /// Scheme and host, and a port where there is one, by which browsers reach it through another web server.
    pub url: Option<String>,
}

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A socket's path, for a web server on this machine.
    Unix(PathBuf),
}

/// With the file that holds the token.
pub(super) fn read(mut section: Section<'_>, findings: &mut Findings<'_>) -> (Dashboard, Option<PathBuf>) {
    let listen = section.get("listen", place, findings);
    let url = section.get("url", url, findings);
    let token_file = section.get("token_file", key_file, findings);
    if matches!(listen, Some(Listen::Unix(_))) && url.is_none() && !findings.concern("dashboard") {
        let hint = "write url = \"https://usage.example.com\": what stands in front of the socket, as browsers see it";
        section.complain("listen", "is a socket, and nothing says by which address browsers reach it", hint, findings);
    }
    section.close(findings);
    (Dashboard { listen, token: None, url }, token_file)
}

fn place(value: &DeValue<'_>) -> Read<Listen> {
    let hint = "write it as \"127.0.0.1:9479\", \"[::1]:9479\", or \"unix:/run/usaged/dashboard.sock\"";
    let text = text(value)?;
    if let Some(path) = text.strip_prefix("unix:").map(PathBuf::from) {
        return if path.is_absolute() {
            Ok(Listen::Unix(path))
        } else {
            refuse("names a socket without its absolute path", hint)
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Listen::Tcp(address)),
        Ok(address) => refuse(
            format!("is {address}, which other machines may reach, and what travels there is not encrypted"),
            "write a loopback address, as \"127.0.0.1:9479\", and let a web server with TLS on this machine carry it on",
        ),
        Err(_) => refuse("is neither a loopback IP address with a port nor a socket", hint),
    }
}

/// Compared with what browsers say, which write the host in lower case and no port that goes without saying: so does [`Url`].
fn url(value: &DeValue<'_>) -> Read<String> {
    let hint = "write scheme and host, as \"https://usage.example.com\"; the page lies at its root";
    let text = text(value)?;
    let Ok(url) = Url::parse(&text) else { return refuse("is not a URL", hint) };
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !matches!(url.scheme(), "https" | "http") || !is_bare || url.password().is_some() {
        return refuse("holds more than scheme, host and port", hint);
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::tests::{faults_of, loaded};

    fn dashboard(text: &str) -> Dashboard {
        loaded(&format!("[dashboard]\n{text}")).config.dashboard
    }

    #[test]
    fn without_a_word_there_is_no_page() {
        assert_eq!(loaded("").config.dashboard.listen, None);
    }

    #[test]
    fn it_is_on_a_loopback_address_or_on_a_socket_behind_a_web_server() {
        let tcp = |text: &str| Some(Listen::Tcp(text.parse().unwrap()));
        assert_eq!(dashboard("listen = \"127.0.0.1:9479\"").listen, tcp("127.0.0.1:9479"));
        assert_eq!(dashboard("listen = \"[::1]:0\"").listen, tcp("[::1]:0"));
        let behind =
            dashboard("listen = \"unix:/run/usaged/dashboard.sock\"\nurl = \"https://Usage.example.com:443/\"");
        assert_eq!(behind.listen.unwrap(), Listen::Unix("/run/usaged/dashboard.sock".into()));
        assert_eq!(behind.url.unwrap(), "https://usage.example.com");
    }

    #[test]
    fn what_other_machines_could_reach_or_nobody_could_check_is_refused() {
        for (text, key) in [
            ("listen = \"0.0.0.0:9479\"", "listen"),
            ("listen = \"10.0.0.1:9479\"", "listen"),
            ("listen = \"[::]:9479\"", "listen"),
            ("listen = \"localhost:9479\"", "listen"),
            ("listen = \"unix:dashboard.sock\"", "listen"),
            ("listen = 9479", "listen"),
            ("listen = \"unix:/run/usaged/dashboard.sock\"", "listen"),
            ("url = \"usage.example.com\"", "url"),
            ("url = \"https://usage.example.com/here\"", "url"),
            ("url = \"https://u:p@usage.example.com\"", "url"),
            ("url = \"ftp://usage.example.com\"", "url"),
            ("token_file = \"token\"", "token_file"),
            ("token = \"a token in the place of its file\"", "token"),
        ] {
            let faults = faults_of(&format!("[dashboard]\n{text}"));
            assert_eq!((faults.len(), &*faults[0].key), (1, &*format!("dashboard.{key}")), "{text}: {faults:?}");
        }
    }
}
